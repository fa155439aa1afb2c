"""What is measured of the nets of train_ablation.py, and with which images.

Images are at the size of the device, see locality_sets.py, with levels rounded to 256.
"""

import statistics
import time

import locality_sets
import torch
from sample_quality import EYES, distance
from torch.nn.functional import avg_pool2d
from unet_bits import strata

from helpers import bound, data, metrics, networks, objectives, training
from helpers.classifier import features, load_classifier
from helpers.forward import gaussian_noise

NAME = "fashion_mnist"
N = {"cpu": 1000, "cuda": 5000}  # samples; they are compared with 5000 images
BOUND_IMAGES = {"cpu": 100, "cuda": 1000}
SIGMAS = [0.15, 0.3, 0.6, 1.2, 2.5, 5.0, 10.0]  # inside the range of every schedule
FORWARD, REPEATS = 100, 11


def rounded(images):
    """The mean of four pixels as one of 256 levels, which the decoder knows."""
    return data.to_unit(data.to_pixels(images))


def image_sets(device):
    """Training and held-out images; half of the test images, and N of the others."""
    images, held_out = locality_sets.split(NAME, device)
    test = data.load(NAME, "test")
    half = len(test) // 2
    parts = test[:half], test[half : half + N[device]]
    shrink = test.shape[-1] // images.shape[-1]
    parts = [avg_pool2d(part, shrink) for part in parts]
    return [rounded(x) for x in (images, held_out, *parts)]


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def interval(values):
    """The mean of independent values, or null."""
    if not bool(torch.isfinite(values).all()):
        return None
    return list(metrics.bootstrap(values.double().cpu(), seeded(0)))


def large(images):
    """28 x 28 for the classifier, each pixel repeated."""
    k = max(1, 28 // images.shape[-1])
    return images.repeat_interleave(k, -1).repeat_interleave(k, -2)


def quality(samples, halves, fabric):
    """FCD of samples, and of N real images, to half of the test images."""
    eyes = fabric.to_device(load_classifier(EYES[NAME]))
    reference, other = (large(x) for x in halves)
    target = features(eyes, reference)
    table = {"floor": distance(other, target, eyes), "fcd": None}
    table["clipped"] = (samples.abs() > 1).double().mean()
    if bool(torch.isfinite(samples).all()):
        table["fcd"] = distance(large(samples.clamp(-1, 1)), target, eyes)
    return table


@torch.no_grad()
def levels(net, schedule, held_out, fabric, predicts="v"):
    """The error of x_0 at fixed noise levels; the same noise for all nets."""
    noise, intervals = gaussian_noise(seeded(2)), []
    denoise = networks.denoiser(net, schedule, predicts=predicts)
    for sigma in SIGMAS:
        eps = noise(held_out)
        parts = zip(held_out.split(128), eps.split(128))
        errors = [
            metrics.mse(denoise(fabric.to_device(x + sigma * e), sigma).cpu(), x)
            for x, e in parts
        ]
        intervals.append(interval(torch.cat(errors)))
    return {"sigma": SIGMAS, "mse": intervals}


@torch.no_grad()
def bits(net, how, schedule, images, fabric):
    """The bound: every t up to 10, then one of each 10, as in unet_bits.py."""
    generator, parts = seeded(3), []
    for first, last, size in strata(schedule.T):
        t = torch.randint(first, last + 1, (len(images),), generator=generator)
        eps = gaussian_noise(generator)(images)
        drawn = training.Draw(*map(fabric.to_device, (images, t, eps)))
        found = objectives.bound_terms(net, drawn, schedule, clip=True, **how)
        parts.append(size * bound.bits(found.cpu()))
    terms = torch.stack(parts)  # (strata, images)
    prior = bound.bits(bound.prior_kl(schedule, images.double().square().mean()))
    table = {"bits": interval(terms.sum(0) + prior), "prior": prior}
    return table | {
        "first": [a for a, *_ in strata(schedule.T)],
        "terms": terms.mean(1),
    }


@torch.no_grad()
def milliseconds(net, like):
    """A forward pass of a batch, the median of several."""
    x, times = like.new_zeros(FORWARD, *like.shape[1:]), []
    for _ in range(REPEATS + 1):  # the first one warms up
        began = time.perf_counter()
        net(x, 500).sum().item()  # waits for the device
        times.append(1e3 * (time.perf_counter() - began))
    return statistics.median(times[1:])
