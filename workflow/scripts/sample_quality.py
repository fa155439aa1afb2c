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


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=EYES)
    name = parser.parse_args().name
    fabric = Fabric(devices=1)
    fabric.launch()
    kind = fabric.device.type
    n, batch = N[kind], BATCH[kind]

    schedule, net = schedules.linear(), fabric.to_device(networks.load_unet(name))
    denoise = networks.denoiser(net, schedule, clip=True)
    eyes = fabric.to_device(load_classifier(EYES[name]))
    sets = [f"{name}-train"] + [f"{name}-test"] * (name != "celeba32")
    settings = {"N": n, "classifier": EYES[name], "shown": SHOWN}
    machine = training.describe(fabric)
    with Experiment(__file__, SEED, sets, settings, machine, [name]) as experiment:
        reference, other = halves(name, n)
        like = fabric.to_device(other[:1])
        target = features(eyes, reference)

        def score(schedule, times, eta):
            samples = draw(denoise, like, schedule, n, batch, times, eta)
            found = distance(samples, target, eyes)
            print(len(times), eta, found, table["halves"], flush=True)
            return found

        table = {"N": n, "reference": len(reference)}
        table["halves"] = distance(other, target, eyes)
        sweep = SWEEP if name == "fashion_mnist" else FEW
        table["S"], table["eta"] = zip(*((S, str(eta)) for S, eta in sweep))
        table["fcd"] = [score(schedule, leading(1000, S), eta) for S, eta in sweep]
        if name == "fashion_mnist":
            low, high = schedule.sigma[1].item(), schedule.sigma[-1].item()
            table["schedules"] = {
                label: score(grid, between(grid, low, high, 10), 0.0)
                for label, grid in OTHERS.items()
            }
        every = leading(schedule.T, schedule.T)
        shown = draw(denoise, like, schedule, SHOWN, SHOWN, every, "ddpm").cpu()
        training_images = data.load(name)
        for key, x in (("shown", shown), ("held_out", reference[:SHOWN])):
            table[f"nearest_{key}"] = nearest(x, training_images).distance[:, 0]
        experiment.save(f"results/quality_{name}.json", table)
        pixels = torch.from_numpy(data.to_pixels(shown)).permute(0, 3, 1, 2)
        experiment.save(
            f"results/samples_{name}.safetensors", {"images": pixels}, "uint8"
        )


if __name__ == "__main__":
    main()
