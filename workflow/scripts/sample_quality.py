"""Samples of a shipped U-Net and how far they are from held-out images.

    python workflow/scripts/sample_quality.py fashion_mnist

writes data/results/quality_NAME.json, Fréchet classifier distances (FCD, not FID) of
several samplers next to the distance between two halves of the held-out images, and
data/results/samples_NAME.safetensors, 24 samples of ancestral sampling with all steps.
"""

import argparse

import torch
from lightning_fabric import Fabric
from tqdm import tqdm

from helpers import data, networks, sampling, schedules, training
from helpers.artifacts import Experiment
from helpers.classifier import features, load_classifier
from helpers.forward import gaussian_noise
from helpers.metrics import frechet_distance, jackknife, nearest
from helpers.schedules import between, leading

SEED = 0
N = {"cpu": 500, "cuda": 5000}  # samples behind each distance
SHOWN = 24  # samples of all 1000 steps
BATCH = {"cpu": 100, "cuda": 1000}
EYES = {"fashion_mnist": "fashion_mnist", "cifar10": "cifar10", "celeba32": "cifar10"}
HELD_OUT = 2000  # as in train_unet.py
SWEEP = [(S, eta) for S in (5, 10, 20, 50) for eta in (0.0, 0.5, 1.0, "ddpm")]
SWEEP += [(200, 1.0)]
FEW = [(10, 0.0), (50, 0.0)]
OTHERS = {  # schedules to sample with; the nets were trained with the linear one
    "linear": schedules.linear(),
    "cosine": schedules.cosine(),
    "sigmoid": schedules.sigmoid(),
    "exponential": schedules.exponential(),
}


def halves(name, n):
    """Two disjoint sets of held-out images: all of one half, `n` of the other."""
    images = data.load(name)[-HELD_OUT:] if name == "celeba32" else None
    images = data.load(name, "test") if images is None else images
    half = len(images) // 2
    return images[:half], images[half : half + n]


def walk(denoise, xT, schedule, noise, times, eta):
    """DDIM with this eta, or "ddpm": ancestral sampling with variance beta_t."""
    if eta == "ddpm":
        return sampling.ancestral(denoise, xT, schedule, noise, times)
    return sampling.ddim(denoise, xT, schedule, times, eta, noise)


@torch.no_grad()
def draw(denoise, like, schedule, n, batch, times, eta):
    """`n` samples; the same starts for every sampler."""
    noise = gaussian_noise(torch.Generator().manual_seed(SEED))
    xT = sampling.start(n, like.shape[1:], noise, like)
    parts = tqdm(xT.split(batch), desc=f"S = {len(times)}, eta = {eta}")
    walks = (walk(denoise, x, schedule, noise, times, eta) for x in parts)
    return torch.cat([sampling.last(steps).x0_hat for steps in walks]).clamp(-1, 1)


def distance(samples, reference, eyes):
    """FCD to the reference features, with its interval over the samples."""
    found = features(eyes, samples)
    return list(jackknife(lambda f: frechet_distance(f, reference), found))


def sweep(name, score, schedule):
    """FCD by number of steps and eta; for clothes also by the schedule of the walk."""
    pairs = SWEEP if name == "fashion_mnist" else FEW
    table = {"S": [S for S, _ in pairs], "eta": [str(eta) for _, eta in pairs]}
    table["fcd"] = [score(schedule, leading(schedule.T, S), eta) for S, eta in pairs]
    if name == "fashion_mnist":
        low, high = schedule.sigma[1].item(), schedule.sigma[-1].item()
        table["schedules"] = {
            label: score(other, between(other, low, high, 10), 0.0)
            for label, other in OTHERS.items()
        }
    return table


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=EYES)
    name = parser.parse_args().name
    fabric = Fabric(devices=1)
    fabric.launch()
    n, batch = N[fabric.device.type], BATCH[fabric.device.type]

    schedule, net = schedules.linear(), fabric.to_device(networks.load_net(name))
    denoise = networks.denoiser(net, schedule, clip=True)
    eyes = fabric.to_device(load_classifier(EYES[name]))
    sets = [f"{name}-train"] + [f"{name}-test"] * (name != "celeba32")
    settings = {"N": n, "classifier": EYES[name], "shown": SHOWN}
    machine = training.describe(fabric)
    with Experiment(__file__, SEED, sets, settings, machine, [name]) as experiment:
        reference, other = halves(name, n)
        like, target = fabric.to_device(other[:1]), features(eyes, reference)

        def score(schedule, times, eta):
            samples = draw(denoise, like, schedule, n, batch, times, eta)
            return distance(samples, target, eyes)

        table = {"N": n, "reference": len(reference)}
        table["halves"] = distance(other, target, eyes)
        table |= sweep(name, score, schedule)
        every = leading(schedule.T, schedule.T)
        shown = draw(denoise, like, schedule, SHOWN, SHOWN, every, "ddpm").cpu()
        for key, x in (("shown", shown), ("held_out", reference[:SHOWN])):
            table[f"nearest_{key}"] = nearest(x, data.load(name)).distance[:, 0]
        experiment.save(f"results/quality_{name}.json", table)
        pixels = torch.from_numpy(data.to_pixels(shown)).permute(0, 3, 1, 2)
        experiment.save(
            f"results/samples_{name}.safetensors", {"images": pixels}, "uint8"
        )


if __name__ == "__main__":
    main()
