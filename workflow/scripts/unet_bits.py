"""The variational bound of a shipped U-Net in bits per dimension.

    python workflow/scripts/unet_bits.py cifar10

writes data/results/bits_NAME.json: the bound on test and training images with intervals
over images, for several choices of the variances sigma_t^2, and its terms along t. The
sum over t is estimated without bias: t = 1, ..., 10 are all computed; above, each image
meets one random t of every ten.
"""

import argparse

import torch
from lightning_fabric import Fabric
from tqdm import tqdm

from helpers import bound, data, networks, schedules, training
from helpers.artifacts import Experiment
from helpers.forward import diffuse, gaussian_noise
from helpers.metrics import bootstrap
from helpers.targets import to_sigma

SEED = 0
IMAGES = {"cpu": {"test": 400, "train": 160}, "cuda": {"test": 10000, "train": 2000}}
ALL, EVERY = 10, 10  # every t up to ALL, then one in each EVERY


def choices(schedule):
    """The fixed variances compared; the first is that of the authors' code."""
    beta_1 = schedule.beta[1].item()
    return {
        "large": bound.fixed_variance(schedule, "large"),
        "small": bound.fixed_variance(schedule, "small"),
        "large_beta_1": bound.fixed_variance(schedule, "large", beta_1),
    }


def strata(T):
    """The first and last timestep of each part of 1, ..., T, and how many it holds."""
    first = [*range(1, ALL + 1), *range(ALL + 1, T + 1, EVERY)]
    return [(a, b - 1, b - a) for a, b in zip(first, [*first[1:], T + 1])]


@torch.no_grad()
def terms(denoise, x0, t, schedule, noise, tables):
    """L_{t-1} of each image in bits per dimension, for each table of variances."""
    eps = noise(x0)
    x0_hat = denoise(*to_sigma(diffuse(x0, t, schedule, eps), t, schedule))
    return [
        bound.bits(
            bound.image_terms(
                lambda *_: x0_hat, x0, t, schedule, lambda _: eps, variance
            )
        )
        for variance in tables.values()
    ]


def estimate(denoise, images, schedule, device, batch):
    """(tables, strata, images): the sum of the terms over each part of 1, ..., T."""
    generator = torch.Generator().manual_seed(SEED)
    noise, tables = gaussian_noise(generator), choices(schedule)
    found = []
    for first, last, size in tqdm(strata(schedule.T)):
        t = torch.randint(first, last + 1, (len(images),), generator=generator)
        parts = zip(images.split(batch), t.split(batch))
        rows = [
            torch.stack(terms(denoise, x.to(device), s, schedule, noise, tables))
            for x, s in parts
        ]
        found.append(size * torch.cat(rows, dim=1))
    return torch.stack(found, dim=1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=["cifar10", "fashion_mnist"])
    name = parser.parse_args().name
    fabric = Fabric(devices=1)
    fabric.launch()
    kind = fabric.device.type
    schedule, net = schedules.linear(), fabric.to_device(networks.load_net(name))
    denoise = networks.denoiser(net, schedule, clip=True)
    sets, settings = [f"{name}-train", f"{name}-test"], {"images": IMAGES[kind]}
    machine = training.describe(fabric)
    with Experiment(__file__, SEED, sets, settings, machine, [name]) as experiment:
        edges = strata(schedule.T)
        table = {"first": [e[0] for e in edges], "last": [e[1] for e in edges]}
        for split, n in IMAGES[kind].items():
            images = data.load(name, split, n)
            found = estimate(denoise, images, schedule, fabric.device, batch=200)
            L_T = bound.bits(bound.prior_kl(schedule, images.double().square().mean()))
            table[split] = {"N": n, "L_T": L_T}
            for choice, rows in zip(choices(schedule), found):
                generator = torch.Generator().manual_seed(SEED)
                total = bootstrap(rows.sum(0) + L_T, generator)
                table[split][choice] = {"total": list(total), "terms": rows.mean(1)}
                print(split, choice, total, flush=True)
        experiment.save(f"results/bits_{name}.json", table)


if __name__ == "__main__":
    main()
