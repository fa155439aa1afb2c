"""Nets on N images of two disjoint halves: their errors, and when they agree.

    python workflow/scripts/generalisation.py

writes data/results/generalisation.json from the weights of train_halves.py, on the same
images (Fashion-MNIST at 14 x 14):
(1) errors: mean squared error on noised training and test images against sigma, of the
    net, the optimal denoiser and the Wiener filter with the same N images (half a);
(2) agreement: samples of both halves from the same noise, by DDIM in 50 steps: their
    correlation (and that of samples from different noise, as the ruler), the distance
    between them, and their distances to the N training images
    of their own half and of the other one.
"""

import torch
from gap import interval
from optimal_cifar10 import rms_levels
from tqdm import tqdm
from train_halves import ALL, SETS, SIZES, chosen, small

from helpers import networks, sampling, schedules
from helpers.artifacts import Experiment
from helpers.denoisers import Optimal, clipped
from helpers.forward import gaussian_noise
from helpers.metrics import mse, nearest, pearson
from helpers.wiener import Wiener

SEED = 0
IMAGES = 256  # noised images for each sigma
SAMPLES = 128
SIGMAS = torch.logspace(-1.25, 1.5, 12, dtype=torch.float64).tolist()
SCHEDULE = schedules.linear()


def denoisers(training, N, half):
    """The three of them, from the same images."""
    net = networks.load_net(f"halves_{N}_{half}")
    return {
        "optimal": Optimal(training),
        "Wiener": clipped(Wiener.fit(training)),
        "net": networks.denoiser(net, SCHEDULE, clip=True),
    }


@torch.no_grad()
def errors(denoise, x0):
    """Mean squared error at each sigma; the same noise for each denoiser."""
    noise = gaussian_noise(torch.Generator().manual_seed(SEED))
    return [interval(mse(denoise(x0 + s * noise(x0), s), x0)) for s in SIGMAS]


@torch.no_grad()
def samples(denoise, like):
    """DDIM in 50 steps; the same starts for each denoiser."""
    noise = gaussian_noise(torch.Generator().manual_seed(SEED))
    xT = sampling.start(SAMPLES, like.shape[1:], noise, like)
    times = schedules.leading(SCHEDULE.T, 50)
    return sampling.last(sampling.ddim(denoise, xT, SCHEDULE, times)).x0_hat


def agreement(a, b, images):
    """How alike the samples of two halves are, and whose images they are close to.

    Some images are close to many samples, and they may lie in either half. So `own`,
    `other` and `closer_to_own` are means over both halves: without any copying,
    `closer_to_own` is one half, whatever the images.
    """
    own = [to_nearest(x, y) for x, y in zip((a, b), images)]
    other = [to_nearest(x, y) for x, y in zip((b, a), images)]
    own, other = torch.stack(own), torch.stack(other[::-1])  # (samples of, SAMPLES)
    return {
        "pearson": interval(pearson(a, b)),
        "pearson_others": interval(pearson(a, b.roll(1, dims=0))),  # of other noise
        "between": interval(mse(a, b).sqrt() * 127.5),
        "own": interval(own.mean(dim=0)),
        "other": interval(other.mean(dim=0)),
        "closer_to_own": interval((own < other).double().mean(dim=0)),
    }


def to_nearest(x, images):
    """Distance to the nearest image, root mean square grey levels."""
    return rms_levels(nearest(x, images).distance[:, 0], x)


def row(train, test, N):
    """All numbers of one N, by denoiser."""
    halves = "ab" if N < ALL else "a"
    images = [chosen(train, N, half) for half in halves]
    sides = [denoisers(y, N, half) for y, half in zip(images, halves)]
    own, found = images[0][torch.arange(IMAGES) % N], {}
    for label, denoise in sides[0].items():
        found[label] = {"train": errors(denoise, own), "test": errors(denoise, test)}
        if N < ALL:
            drawn = [samples(side[label], test) for side in sides]
            found[label] |= agreement(*drawn, images)
    return found


def main():
    settings = {"images": IMAGES, "samples": SAMPLES, "sizes": list(SIZES)}
    with Experiment(__file__, SEED, SETS, settings) as experiment:
        train, test = small("train"), small("test")[:IMAGES]
        table = {"N": list(SIZES), "sigma": SIGMAS}
        table["rows"] = [row(train, test, N) for N in tqdm(SIZES)]
        experiment.save("results/generalisation.json", table)


if __name__ == "__main__":
    main()
