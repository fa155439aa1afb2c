"""The optimal denoiser on all 50,000 CIFAR-10 training images, alone and in a sampler.

    python workflow/scripts/optimal_cifar10.py

writes data/results/optimal_cifar10.json: (1) the effective number of training images
behind a prediction against sigma, for noisy training and test images; (2) the distance
from each prediction to its nearest training image along DDIM and ancestral sampling;
(3) the distance from test images to their nearest training image, as the ruler. Numbers
only: a sample of this denoiser is a training image, and none is kept.
"""

import torch

from helpers import data, sampling, schedules
from helpers.artifacts import Experiment
from helpers.denoisers import Optimal
from helpers.forward import gaussian_noise, posterior_variance
from helpers.metrics import nearest

SEED = 0
SIGMAS = torch.logspace(-2, 2, 33, dtype=torch.float64).tolist()
IMAGES = 64  # noisy images for each sigma
SAMPLES = 128


def rms_levels(distance, x):
    """A Euclidean distance as root mean square grey levels of a pixel, 0 to 255."""
    return distance / x[0].numel() ** 0.5 * 127.5


def effective_numbers(optimal, x0, noise):
    """(len(SIGMAS), IMAGES): 1 / sum w^2 of noisy versions of x0."""
    return [optimal.effective_number(x0 + s * noise(x0), s) for s in SIGMAS]


def distances(steps, training):
    """Timesteps, and for each the distances of x0_hat to its nearest image."""
    times, rows = [], []
    for step in steps:
        distance = nearest(step.x0_hat, training).distance[:, 0]
        times.append(step.t)
        rows.append(rms_levels(distance, training))
    return times, rows


def quartiles(rows):
    """(3, len(rows)): lower quartile, median, upper quartile of each row."""
    share = torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)
    return torch.stack([row.double().quantile(share) for row in rows], dim=1)


def walks(optimal, schedule, noise, like):
    """The three samplers compared, from one start."""
    xT = sampling.start(SAMPLES, like.shape[1:], noise, like)
    short, long = schedules.leading(1000, 10), schedules.leading(1000, 50)
    yield "ddim_10", sampling.ddim(optimal, xT, schedule, short)
    yield "ddim_50", sampling.ddim(optimal, xT, schedule, long)
    yield (
        "ancestral_50",
        sampling.ancestral(optimal, xT, schedule, noise, long, posterior_variance),
    )


def main():
    sets = ["cifar10-train", "cifar10-test"]
    parameters = {"images": IMAGES, "samples": SAMPLES, "sigmas": len(SIGMAS)}
    with Experiment(__file__, SEED, sets, parameters) as experiment:
        noise = gaussian_noise(torch.Generator().manual_seed(SEED))
        training, test = data.load("cifar10"), data.load("cifar10", "test", SAMPLES)
        optimal, schedule = Optimal(training), schedules.linear()
        table = {"N": len(training), "D": training[0].numel(), "sigma": SIGMAS}
        for name, x0 in (("train", training[:IMAGES]), ("test", test[:IMAGES])):
            numbers = effective_numbers(optimal, x0, noise)
            table[f"effective_number_{name}"] = quartiles(numbers)
        ruler = rms_levels(nearest(test, training).distance[:, 0], training)
        table["test_distance"] = quartiles([ruler])
        for name, walk in walks(optimal, schedule, noise, training):
            times, rows = distances(walk, training)
            table[name] = {"t": times, "distance": quartiles(rows)}
            table[name]["largest_last"] = rows[-1].max()
            print(name, rows[-1].max().item(), flush=True)
        experiment.save("results/optimal_cifar10.json", table)


if __name__ == "__main__":
    main()
