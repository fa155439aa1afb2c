"""Time and memory of moments at scale, as ratios in one run.

    python benchmarks/moments.py [--images 50000] [--large 4096] [--huge 256]

(1) The covariance of 64 x 64 x 3 images (n = 12,288, one matrix is 1.2 GB), streamed
from a file: the peak memory of the whole process. It comes first, when the process
holds nothing else.
(2) The covariance of 50,000 images 32 x 32 x 3, in turn with one product of the set
with itself in float32.
(3) The 50 largest eigenpairs of them from a stream, in turn with covariance and full
eigendecomposition; both answers compared.
(4) The same of images 256 x 256 x 3, of which no covariance fits in memory, in turn
with the bare products of the images with as many vectors, and the memory.
(5) The filter by FFT, fitted and applied at that size, in turn with the transforms.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from exact_denoisers import forget_peak, images, memory_gb, paired, report

from helpers import data, dead_leaves
from helpers.lowrank import certified, eigenbasis
from helpers.stationary import Stationary
from helpers.stored import stored_batches
from helpers.streaming import Moments

R, PASSES, EXTRA = 50, 6, 10
BATCH = 32  # images 256 x 256 x 3 at a time


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def covariance(batches):
    moments = Moments()
    for batch in batches:
        moments.update(batch)
    return moments.cov()


def peak_of_large(n):
    """Peak of the process for n = 12,288, from levels in a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "large-train.npz")
        levels = np.random.default_rng(0).integers(256, size=(n, 64, 64, 3))
        data.write(path, levels.astype(np.uint8))
        del levels
        forget_peak()
        covariance(stored_batches(path, 512))
        print(f"covariance, n = 12,288, {n} images: peak {memory_gb('VmHWM'):.2f} GB")


def against_one_product(levels, x0):
    flat = x0.flatten(1)
    for name, batch in (("uint8", levels), ("float32", x0)):
        numbers = paired(
            lambda b=batch: covariance(b.split(4096)), lambda: flat.T @ flat, 3
        )
        report(f"covariance {name} / product", numbers)


def against_all_pairs(levels):
    """Largest eigenpairs from a stream, and from the covariance."""
    found = {}

    def few():
        found["few"] = eigenbasis(lambda: levels.split(4096), R, generator())

    def all_pairs():
        found["all"] = torch.linalg.eigh(covariance(levels.split(4096)))

    report("eigenbasis / covariance + eigh", paired(few, all_pairs, 1))
    lam, low = found["all"].eigenvalues.flip(0), found["few"]
    low = certified(low, lambda: levels.split(4096), generator(1))
    error = ((low.lam - lam[:R]) / lam[:R]).abs().max()
    print(
        f"{R} eigenvalues: largest relative error {error:.1e}, largest residual "
        f"{low.residual.max() / lam[R - 1]:.1e} of the last; next {lam[R]:.3g}, "
        f"between {low.floor:.3g} and {low.ceiling:.3g}"
    )


def huge(n):
    """Images 256 x 256 x 3: low rank and FFT."""
    draw = np.random.default_rng(0)
    levels = dead_leaves.sample(n, 256, channels=3, generator=draw)
    levels = torch.from_numpy(levels).permute(0, 3, 1, 2)
    Q = torch.randn(levels[0].numel(), R + EXTRA, generator=generator())

    def read():
        return levels.split(BATCH)

    def bare_products():
        for _ in range(PASSES):
            for batch in read():
                z = batch.flatten(1).float()
                z.T @ (z @ Q)

    forget_peak()
    before = memory_gb("VmRSS")
    eigenbasis(read, R, generator(), EXTRA, PASSES)
    print(f"eigenbasis, n = 196,608: {memory_gb('VmHWM') - before:.2f} GB")
    report(
        "eigenbasis / products",
        paired(
            lambda: eigenbasis(read, R, generator(), EXTRA, PASSES), bare_products, 1
        ),
    )
    stationary = Stationary.fit(read())

    def transforms():
        for batch in read():
            torch.fft.rfft2(batch.double())

    report("fit by FFT / FFT", paired(lambda: Stationary.fit(read()), transforms, 3))
    x = data.to_unit(levels[:8].permute(0, 2, 3, 1).numpy())
    numbers = paired(
        lambda: stationary(x, 0.5),
        lambda: torch.fft.irfft2(torch.fft.rfft2(x)),
        3,
    )
    report("filter by FFT / FFT, B = 8", numbers)


def main(n, n_large, n_huge):
    print(f"{torch.get_num_threads()} threads; columns: ours, the other, ratio")
    peak_of_large(n_large)
    levels, what = images(n)
    print(f"{len(levels)} images 32 x 32 x 3: {what}")
    x0 = data.to_unit(levels.numpy())
    levels = levels.permute(0, 3, 1, 2)
    against_one_product(levels, x0)
    del x0
    against_all_pairs(levels)
    huge(n_huge)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--large", type=int, default=4096)
    parser.add_argument("--huge", type=int, default=256)
    options = parser.parse_args()
    main(options.images, options.large, options.huge)
