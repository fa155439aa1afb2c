"""Mean, second moment and covariance spectrum of the CIFAR-10 training images.

    python workflow/scripts/cifar10_spectrum.py

writes data/results/cifar10_spectrum.json. The sums behind it are exact integers, so it
is the same on every machine up to the rounding of the eigenvalues.
"""

import torch

from helpers import data
from helpers.artifacts import Experiment
from helpers.streaming import Moments


def main():
    with Experiment(__file__, 0, ["cifar10-train"]) as experiment:
        images = data.read("cifar10").images
        levels = torch.from_numpy(images).permute(0, 3, 1, 2)
        moments = Moments()
        for block in levels.split(5000):
            moments.update(block)
        cov, mean = moments.cov(), moments.mean
        table = {
            "N": len(images),
            "channel_mean": mean.reshape(3, -1).mean(dim=1),
            "second_moment": (cov.diagonal() + mean**2).mean(),
            "eigenvalues": torch.linalg.eigvalsh(cov),  # ascending
        }
        experiment.save("results/cifar10_spectrum.json", table, precision="float64")


if __name__ == "__main__":
    main()
