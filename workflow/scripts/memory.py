"""How the optimal denoiser remembers an image set, and what a trained net does instead.

    python workflow/scripts/memory.py fashion_mnist

writes data/results/memory_NAME.json:
(1) fates: two ancestral walks of the optimal denoiser from one noisy image end in the
    same training image with probability sum w^2, in the same class with probability
    sum over classes of (sum of w)^2, exactly. Means over noisy images, against sigma,
    for training sets of growing size; with the eigenvalues, from which both noise
    levels can be predicted.
(2) truncated: what it changes to keep the nearest k images only, along DDIM walks of
    the optimal denoiser, with the certified bound.
(3) walks: the distance of each prediction to the nearest training image, along DDIM
    from the same starts, for the optimal denoiser and for the trained net.
Numbers only.
"""

import argparse

import torch
from optimal_cifar10 import quartiles, rms_levels
from tqdm import tqdm

from helpers import data, networks, sampling, schedules
from helpers.artifacts import Experiment
from helpers.denoisers import Optimal
from helpers.forward import gaussian_noise
from helpers.metrics import mse, nearest, r2_score
from helpers.targets import to_sigma
from helpers.truncation import Truncated
from helpers.wiener import Wiener

SEED = 0
SIGMAS = torch.logspace(-1, 2, 37, dtype=torch.float64).tolist()
IMAGES = 100  # noisy training images for each sigma; they are in every training set
SAMPLES = 64
KEPT = (20, 200, 2000)
SIZES = (100, 300, 1000, 3000, 10_000, 30_000)  # and all


def shuffled(name):
    """The training images and their labels, in an order that follows from the seed."""
    found = data.read(name)
    order = torch.randperm(
        len(found.images), generator=torch.Generator().manual_seed(SEED)
    )
    return data.to_unit(found.images[order]), torch.from_numpy(found.labels)[order]


def fates(weights, labels, sizes):
    """P(same image) and P(same class), a row of means for each training set size."""
    classes = torch.nn.functional.one_hot(labels).double()  # (N, classes)
    rows = []
    for N in sizes:
        w = weights[:, :N] / weights[:, :N].sum(dim=1, keepdim=True)
        same_class = (w @ classes[:N]).square().sum(dim=1)
        rows.append([w.square().sum(dim=1).mean(), same_class.mean()])
    return torch.tensor(rows)  # (sizes, 2)


def fate_table(images, labels, noise):
    """Both probabilities, (sigmas, sizes), for noisy training images."""
    sizes, optimal = [*SIZES, len(images)], Optimal(images)
    x0 = images[:IMAGES]
    rows = [
        fates(optimal.weights(x0 + s * noise(x0), s), labels, sizes)
        for s in tqdm(SIGMAS, desc="fates")
    ]
    same_image, same_class = torch.stack(rows).unbind(dim=2)
    chance = labels.bincount().double().div(len(labels)).square().sum()
    return {
        "N": sizes,
        "sigma": SIGMAS,
        "same_image": same_image.T,
        "same_class": same_class.T,
        "chance": chance,
        "eigenvalues": Wiener.fit(images).lam.flip(0),
    }


def truncation_table(images, xT, schedule):
    """Error, certified bound and R^2 of the k nearest only, at the states of a walk."""

    def find(x, k):
        return nearest(x, images, k)

    few = {k: Truncated(images, k, find) for k in KEPT}
    times = schedules.leading(schedule.T, 10)
    walk = list(sampling.ddim(Optimal(images), xT, schedule, times))
    table = {"k": list(KEPT), "t": times, "rms": [], "bound": [], "r2": []}
    for step in tqdm(walk, desc="truncated"):
        x, sigma = to_sigma(step.xt, step.t, schedule)
        found = [few[k].certified(x, sigma) for k in KEPT]
        errors = [mse(f.x0_hat, step.x0_hat).sqrt() * 127.5 for f in found]
        table["rms"].append([e.median() for e in errors])
        table["bound"].append([rms_levels(f.error, images).median() for f in found])
        table["r2"].append([r2_score(f.x0_hat, step.x0_hat).mean() for f in found])
    last = sampling.last(sampling.ddim(few[200], xT, schedule, times)).x0_hat
    ends = [nearest(x, images).index[:, 0] for x in (last, walk[-1].x0_hat)]
    table["same_end"] = (ends[0] == ends[1]).double().mean()
    return table


@torch.no_grad()
def walk_table(denoise, xT, schedule, training):
    """Distances to the nearest training image along DDIM in 50 steps."""
    times, rows = schedules.leading(schedule.T, 50), []
    steps = sampling.ddim(denoise, xT, schedule, times)
    for step in tqdm(steps, total=50, desc="walk"):
        rows.append(rms_levels(nearest(step.x0_hat, training).distance[:, 0], training))
    return {
        "t": times,
        "distance": quartiles(rows),
        "largest_last": rows[-1].max(),
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=("fashion_mnist", "cifar10"))
    name = parser.parse_args().name
    sets = [f"{name}-train", f"{name}-test"]
    parameters = {"images": IMAGES, "samples": SAMPLES, "sigmas": len(SIGMAS)}
    with Experiment(__file__, SEED, sets, parameters, arguments=[name]) as experiment:
        noise = gaussian_noise(torch.Generator().manual_seed(SEED))
        schedule, (images, labels) = schedules.linear(), shuffled(name)
        xT = sampling.start(SAMPLES, images.shape[1:], noise, images)
        test = data.load(name, "test", SAMPLES)
        ruler = nearest(test, images).distance[:, 0]
        table = {
            "D": images[0].numel(),
            "ruler": quartiles([rms_levels(ruler, images)]),
        }
        table["fates"] = fate_table(images, labels, noise)
        table["truncated"] = truncation_table(images, xT, schedule)
        net = networks.denoiser(networks.load_net(name), schedule, clip=True)
        for label, denoise in (("optimal", Optimal(images)), ("net", net)):
            walk = walk_table(denoise, xT, schedule, images)
            table[f"walk_{label}"] = walk
        experiment.save(f"results/memory_{name}.json", table)


if __name__ == "__main__":
    main()
