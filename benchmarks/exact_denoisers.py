"""Time and memory of the optimal denoiser and of streaming moments, as ratios in one
run.

    python benchmarks/exact_denoisers.py [--images 50000] [--batch 64]

The optimal denoiser needs two matrix products of the training set with the batch; the
covariance needs one product of the training set with itself. Both are timed here
against just these products, in turn, several times, on 3072-dimensional images of
random levels (uniform levels: the cost does not depend on what the images show, except
where the distances are refined, so CIFAR-10 is used when it is at hand). A walk of 50
DDIM steps is timed against two products for each step. Then come the shortcuts: the
pruned denoiser against the full one, which it must equal, and the search for the one or
the 200 nearest by bounds, by one product, and by FAISS where it is installed.
"""

import argparse
import statistics
import time
from pathlib import Path

import torch

from helpers import data, metrics, sampling, schedules
from helpers.denoisers import Optimal
from helpers.search import Search, faiss_nearest
from helpers.streaming import Moments
from helpers.truncation import Pruned

SIGMAS = (0.002, 0.02, 0.2, 1.0, 2.0, 5.0, 20.0)


def images(n):
    if data.available("cifar10", "train") and n <= 50_000:
        return torch.from_numpy(data.read("cifar10", "train").images[:n]), "CIFAR-10"
    generator = torch.Generator().manual_seed(0)
    shape = (n, 32, 32, 3)
    levels = torch.randint(256, shape, generator=generator, dtype=torch.uint8)
    return levels, "random levels"


def seconds(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def paired(ours, products, repeats):
    """Seconds of both, in turn, and the median of the ratios."""
    pairs = [(seconds(ours), seconds(products)) for _ in range(repeats)]
    ratios = [a / b for a, b in pairs]
    return [statistics.median(column) for column in zip(*pairs)] + [
        statistics.median(ratios),
        min(ratios),
        max(ratios),
    ]


def memory_gb(field):
    """VmRSS, what the process holds, or VmHWM, the most it held (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024**2
    raise ValueError(field)


def forget_peak():
    """Let VmHWM start again from what is held now."""
    Path("/proc/self/clear_refs").write_text("5")


def walk(optimal, x, steps):
    """The last answer of DDIM from these starts."""
    schedule = schedules.linear()
    times = schedules.leading(schedule.T, steps)
    return sampling.last(sampling.ddim(optimal, x, schedule, times)).x0_hat


def shortcuts(x0, optimal, noisy, repeats):
    """Pruned against full denoiser, and three ways to find the 200 nearest."""
    start = time.perf_counter()
    search = Search(x0)
    print(f"index for the search: {time.perf_counter() - start:.1f} s, once")
    pruned = Pruned(x0, search)
    find = {"bounds": search.nearest}
    try:
        find["FAISS"] = faiss_nearest(x0)
    except ImportError:
        print("FAISS is not installed")
    for sigma in SIGMAS:
        compare_shortcuts(noisy(sigma), sigma, pruned, optimal, find, repeats)


def compare_shortcuts(x, sigma, pruned, optimal, find, repeats):
    """One noise level of `shortcuts`."""
    numbers = paired(lambda: pruned(x, sigma), lambda: optimal(x, sigma), repeats)
    report(f"pruned / full, sigma {sigma:g}", numbers)
    difference = (pruned(x, sigma) - optimal(x, sigma)).abs().max()
    print(f"{'':32s} largest difference {difference:.1e}")
    for k in (1, 200):
        for name, nearest in find.items():
            numbers = paired(
                lambda f=nearest, k=k: f(x, k),
                lambda k=k: metrics.nearest(x, optimal.data, k),
                repeats,
            )
            report(f"{k} nearest, {name} / product", numbers)


def report(name, numbers):
    ours, products, ratio, low, high = numbers
    print(
        f"{name:32s} {ours:8.3f} s {products:8.3f} s   "
        f"ratio {ratio:.2f} ({low:.2f} to {high:.2f})",
        flush=True,
    )


def main(n, batch, repeats):
    levels, what = images(n)
    x0 = data.to_unit(levels.numpy())
    flat = x0.flatten(1)
    threads = torch.get_num_threads()
    print(f"{n} x {flat.shape[1]} {what}, batch {batch}, {threads} threads")
    print(f"{'':32s} {'ours':>10s} {'products':>10s}")
    generator = torch.Generator().manual_seed(1)
    pick = torch.randperm(n, generator=generator)[:batch]
    noise = torch.randn(batch, *x0.shape[1:], generator=generator)
    optimal = Optimal(x0)
    weights = torch.rand(batch, n, generator=generator)

    def two_products(x):
        return (x.flatten(1) @ flat.T, weights @ flat)

    def compare(x, sigma):
        return paired(lambda: optimal(x, sigma), lambda: two_products(x), repeats)

    forget_peak()
    before = memory_gb("VmRSS")
    for sigma in SIGMAS:
        optimal(x0[pick] + sigma * noise, sigma)
    extra = memory_gb("VmHWM") - before
    print(f"optimal denoiser, memory beyond the data: {extra:.2f} GB")
    for sigma in SIGMAS:
        numbers = compare(x0[pick] + sigma * noise, sigma)
        report(f"optimal denoiser, sigma {sigma:g}", numbers)

    start = torch.randn(batch, *x0.shape[1:], generator=generator)
    forget_peak()
    before = memory_gb("VmRSS")
    numbers = paired(
        lambda: walk(optimal, start, 50),
        lambda: [two_products(start) for _ in range(50)],
        max(1, repeats // 2),
    )
    report("DDIM, 50 steps", numbers)
    print(f"memory beyond the data: {memory_gb('VmHWM') - before:.2f} GB")
    shortcuts(x0, optimal, lambda sigma: x0[pick] + sigma * noise, repeats)

    def covariance(batch):
        moments = Moments()
        for block in batch.split(4096):
            moments.update(block)
        return moments.cov()

    for name, batch in (("uint8", levels.permute(0, 3, 1, 2)), ("float32", x0)):
        numbers = paired(lambda b=batch: covariance(b), lambda: flat.T @ flat, 3)
        report(f"streaming covariance, {name}", numbers)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    main(options.images, options.batch, options.repeats)
