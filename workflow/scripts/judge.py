"""How good the samples of the variants are: the distance of Fréchet to held-out images.

What the numbers are says train_variants.py.
"""

import torch
from torch.nn.functional import avg_pool2d, interpolate
from variants import NAME, SAMPLERS, sampler

from helpers import data, metrics, sampling
from helpers.classifier import features, load_classifier
from helpers.forward import gaussian_noise

N = {"cpu": 1000, "cuda": 5000}  # samples behind each distance
BATCH = {"cpu": 100, "cuda": 1000}
SHOWN = 8


@torch.no_grad()
def samples(job, draw, shape, n):
    """`n` images, on the CPU; the same noise for each sampler of a seed."""
    noise = gaussian_noise(torch.Generator().manual_seed(job.seed))
    xT = sampling.start(n, shape, noise, torch.empty(0))
    parts = xT.split(BATCH[job.device])
    images = [draw(job.fabric.to_device(x), noise).cpu() for x in parts]
    return torch.cat(images).clamp(-1, 1)


def held_out(device):
    """Two halves of the held-out images: all of one, N of the other."""
    images = avg_pool2d(data.load(NAME, "test"), 2 if device == "cpu" else 1)
    half = len(images) // 2
    return images[:half], images[half : half + N[device]]


class Judge:
    """FCD to half of the held-out images."""

    def __init__(self, job, reference):
        self.eyes = job.fabric.to_device(load_classifier(NAME))
        self.half = N[job.device] // 2
        self.reference = self.look(reference)

    def look(self, images):
        """Features, of images twice as large if they are of half the size."""
        scale = 2 if images.shape[-1] < 28 else 1
        return features(self.eyes, interpolate(images, scale_factor=scale))

    def distance(self, found):
        def fcd(f):
            return metrics.frechet_distance(f, self.reference)

        return list(metrics.jackknife(fcd, found))

    def both(self, images):
        """The distance of all images, if they are N, and that of the first half."""
        found = self.look(images)
        whole = self.distance(found) if len(found) > self.half else None
        return whole, self.distance(found[: self.half])


def quality(job, nets, latents, judge):
    """The lines of the table that depend on samples, and some of these."""
    net, table = list(nets.values())[-1], {"fcd": [], "fcd_half": []}
    names, shown = list(SAMPLERS[job.row]), {}
    shape = job.images.shape[1:] if latents is None else latents.shape
    few = job.row == "ancestral" and job.device == "cpu"
    for name in names:
        draw = sampler(job, name, net, latents)
        images = samples(job, draw, shape, judge.half if few else N[job.device])
        for key, value in zip(("fcd", "fcd_half"), judge.both(images)):
            table[key].append(value)
        if name in (names[0], names[-1]):
            shown[name] = images[: SHOWN // len({names[0], names[-1]})]
    return table, shown


def of_code(job, latents, others, judge):
    """What the autoencoder alone loses."""
    codes = job.fabric.to_device(others)
    with torch.no_grad():
        s = (latents.net.encode(codes).log_variance / 2).exp().cpu() / latents.std
    decoded = latents.decode(job.fabric.to_device(latents.encode(others))).cpu()
    table = {"code": list(latents.shape), "code_noise": s.square().mean().sqrt()}
    table["rmse"] = metrics.mse(decoded, others).mean().sqrt()
    table["fcd_decoded"] = judge.both(decoded.clamp(-1, 1))[0]
    return table
