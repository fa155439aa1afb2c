"""Training against unseen images: the cones, and the error of three denoisers.

    python workflow/scripts/gap.py fashion_mnist

writes data/results/gap_NAME.json:
(1) cones: the share of noised test images that lie outside the cone of every training
    image, against sigma, for training sets of growing size. A noised image x is inside
    the cone of y if |x - y|^2 / sigma^2 does not exceed the 99 % quantile of the chi^2
    law with D degrees of freedom: 99 % of the noised versions of y are. With the
    distances of the test images to their nearest training image.
(2) errors: mean squared error of the optimal denoiser (for each size), of the Wiener
    filter and of the shipped net (for all images), on noised training and test images.
Numbers only.
"""

import argparse

import torch
from memory import SIZES, shuffled
from optimal_cifar10 import rms_levels
from scipy.stats import chi2
from tqdm import tqdm

from helpers import data, networks, schedules
from helpers.artifacts import Experiment
from helpers.denoisers import Optimal
from helpers.forward import gaussian_noise
from helpers.metrics import bootstrap, mse, nearest
from helpers.wiener import Wiener

SEED = 0
IMAGES = 100  # noised images for each sigma; those for training are in every set
CONES = torch.logspace(-1, 1.25, 28, dtype=torch.float64).tolist()
SIGMAS = torch.logspace(-1.25, 1.5, 12, dtype=torch.float64).tolist()
LEVEL = 0.99


def closest(x, images, sizes):
    """Squared distance to the nearest of the first N images, (sizes, B)."""
    flat = x.flatten(1)
    found = [
        flat.double().square().sum(1, keepdim=True)
        + y.double().square().sum(1)
        - 2 * (flat @ y.T).double()
        for y in images.flatten(1).split(8192)
    ]
    squares = torch.cat(found, dim=1)
    return torch.stack([squares[:, :N].amin(dim=1) for N in sizes])


def cone_table(images, test, sizes, noise):
    """Share of noised test images outside every cone, (sizes, sigmas)."""
    quantile = chi2.ppf(LEVEL, images[0].numel())
    outside = [
        closest(test + s * noise(test), images, sizes) > s**2 * quantile
        for s in tqdm(CONES, desc="cones")
    ]
    share = torch.stack(outside, dim=1).double().mean(dim=2)
    distances = [nearest(test, images[:N]).distance[:, 0] for N in sizes]
    return {
        "sigma": CONES,
        "level": LEVEL,
        "outside": share,
        "nearest": torch.stack(distances),
        "nearest_levels": [rms_levels(d, images).median() for d in distances],
    }


def interval(values):
    """Mean and 95 % interval over images."""
    generator = torch.Generator().manual_seed(SEED)
    return list(bootstrap(values.double(), generator))


@torch.no_grad()
def error_table(images, test, denoisers, noise):
    """Errors by image set, denoiser and sigma, each with its interval."""
    table = {"sigma": SIGMAS}
    for where, x0 in (("train", images[:IMAGES]), ("test", test)):
        noisy = [(x0 + s * noise(x0), s) for s in SIGMAS]
        table[where] = {
            label: [interval(mse(denoise(x, s), x0)) for x, s in noisy]
            for label, denoise in tqdm(denoisers.items(), desc=where)
        }
    return table


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=("fashion_mnist", "cifar10"))
    name = parser.parse_args().name
    sets = [f"{name}-train", f"{name}-test"]
    parameters = {"images": IMAGES, "cones": len(CONES), "sigmas": len(SIGMAS)}
    with Experiment(__file__, SEED, sets, parameters, arguments=[name]) as experiment:
        noise = gaussian_noise(torch.Generator().manual_seed(SEED))
        images, _ = shuffled(name)
        test, sizes = data.load(name, "test", IMAGES), [*SIZES, len(images)]
        net = networks.load_net(name)
        denoisers = {f"optimal_{N}": Optimal(images[:N]) for N in sizes}
        denoisers |= {
            "Wiener": Wiener.fit(images),
            "net": networks.denoiser(net, schedules.linear(), clip=True),
        }
        table = {"N": sizes, "D": images[0].numel()}
        table["cones"] = cone_table(images, test, sizes, noise)
        table["errors"] = error_table(images, test, denoisers, noise)
        experiment.save(f"results/gap_{name}.json", table)


if __name__ == "__main__":
    main()
