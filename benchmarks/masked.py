"""The masked denoiser against its literal formula, as ratios in one run.

    python benchmarks/masked.py [--images 50000] [--literal 2000] [--threshold 0.05]

Ten DDIM steps of B = 8 starts at t = 900, ..., 100, 1 on CIFAR-10 (random levels where
it is not at hand), with the data-driven mask of each level. Compared are

* ours: `helpers.masked.Masked`, the whole training set, its plan for the sums included;
* the literal formula: squared differences (B, K, n) contracted with the mask (n, n);
* the best simple form: the square expanded, two products, one shared by the batch.

Both others cost the same whatever the noise; they are timed on `--literal` images, and
the time is scaled to all of them (checked at one level by twice as many). All three
form the same exact softmax. Then come the difference to a float64 evaluation, the peak
of the memory, and time over N and B.
"""

import argparse

import torch
from exact_denoisers import forget_peak, images, memory_gb, seconds

from helpers import data, sampling, schedules
from helpers.masked import Masked
from helpers.masks import wiener_mask
from helpers.streaming import Moments, SoftmaxMean
from helpers.wiener import Wiener

TIMES = [*range(900, 0, -100), 1]
BLOCK = 512  # training images at once, as in the released code


def literal(x0, mask, x, sigma):
    """The formula as it is written, a block of training images at a time."""
    x, M, running = x.flatten(1), mask.to(x), SoftmaxMean()
    for y in x0.flatten(1).split(BLOCK):
        distance = torch.einsum("bkn,mn->mbk", (x[:, None] - y.to(x)).square(), M)
        running.update(distance / (-2 * sigma**2), y.to(x).T[..., None])
    return running.mean()[..., 0].T


def expanded(x0, mask, x, sigma):
    """The square expanded: (y * y) M^T for all queries, y (x * M)^T for each."""
    x, M, running = x.flatten(1), mask.to(x), SoftmaxMean()
    for y in x0.flatten(1).split(BLOCK):
        square = M @ y.square().T  # (m, K)
        cross = torch.stack([(M * one) @ y.T for one in x], dim=1)  # (m, B, K)
        logits = (cross - square[:, None] / 2) / sigma**2
        running.update(logits, y.T[..., None])
    return running.mean()[..., 0].T


def walk(x0, wiener, threshold, options):
    """Ours along a DDIM trajectory; the others at the same noisy images."""
    schedule, kept = schedules.linear(), {}
    start = torch.randn(
        options.batch, *x0.shape[1:], generator=torch.Generator().manual_seed(0)
    )
    few, scale = x0[: options.literal], len(x0) / options.literal
    total = torch.zeros(4, dtype=torch.float64)

    def denoise(x, sigma):
        sigma = float(sigma.flatten()[0]) if torch.is_tensor(sigma) else sigma
        mask = wiener_mask(wiener, sigma, threshold)
        ours = Masked(x0, mask)
        plan = seconds(lambda: ours.sums(sigma))
        answer = []
        times = [seconds(lambda: answer.append(ours(x, sigma)))]
        times += [
            scale * seconds(lambda f=f: f(few, mask, x, sigma))
            for f in (literal, expanded)
        ]
        report(sigma, mask, ours.sums(sigma), plan, times)
        total.add_(torch.tensor([plan, *times]))
        kept[len(kept)] = (sigma, mask, x, answer[0], plan, times)
        return answer[0]

    for _ in sampling.ddim(denoise, start, schedule, TIMES):
        pass
    plan, *times = total.tolist()
    print(
        f"whole trajectory: plans {plan:.1f} s, ours {times[0]:.1f} s, literal / ours "
        f"{times[1] / (plan + times[0]):.1f}, expanded / ours "
        f"{times[2] / (plan + times[0]):.1f}"
    )
    low = [v for t, v in zip(TIMES, kept.values()) if t <= 200]
    ours, slow = sum(v[4] + v[5][0] for v in low), sum(v[5][1] for v in low)
    print(f"t <= 200: ours {ours:.1f} s, literal / ours {slow / ours:.1f}")
    return kept


def report(sigma, mask, sums, plan, times):
    ours, slow, other = times
    print(
        f"sigma {sigma:7.3f}  density {mask.float().mean():.4f}  entries added "
        f"{sums.entries / mask.numel():.4f}  plan {plan:.2f} s  ours {ours:6.2f} s  "
        f"literal {slow:6.1f} s ({slow / (ours + plan):5.1f})  "
        f"expanded {other:6.1f} s ({other / (ours + plan):5.1f})",
        flush=True,
    )


def accuracy(x0, kept, steps=(0, 3, 6, 8, 9)):
    """Largest relative difference to float64 over images, one query at each level."""
    for k in steps:
        sigma, mask, x, answer, *_ = kept[k]
        exact = literal(x0, mask, x[:1].double(), sigma)
        off = (answer[:1].flatten(1) - exact).norm() / exact.norm()
        print(f"sigma {sigma:7.3f}  relative difference to float64 {off:.1e}")


def scaling(x0, kept):
    """Time and memory of one step over the number of images and the batch."""
    sigma, mask, x, *_ = kept[5]
    for N in (len(x0) // 16, len(x0) // 4, len(x0)):
        for B in (1, 8, 32):
            ours = Masked(x0[:N], mask)
            ours.sums(sigma)
            noisy = x.repeat(4, 1, 1, 1)[:B]
            forget_peak()
            before = memory_gb("VmRSS")
            took = seconds(lambda f=ours, z=noisy: f(z, sigma))
            extra = memory_gb("VmHWM") - before
            print(
                f"sigma {sigma:.2f}, N {N}, B {B}: {took:.2f} s, "
                f"{took / N / B * 1e6:.1f} us a pair, {extra:.2f} GB beyond the data"
            )


def main(options):
    levels, what = images(options.images)
    x0 = data.to_unit(levels.numpy())
    moments = Moments()
    for block in levels.permute(0, 3, 1, 2).split(5000):
        moments.update(block)
    del levels
    wiener = Wiener(moments.mean, moments.cov(spend=True))
    threads = torch.get_num_threads()
    print(f"{len(x0)} {what}, batch {options.batch}, {threads} threads")
    forget_peak()
    kept = walk(x0, wiener, options.threshold, options)
    print(f"peak of the process: {memory_gb('VmHWM'):.2f} GB, literal formula included")
    sigma, mask, x, *_ = kept[4]
    one, two = (
        seconds(lambda m=m: literal(x0[: m * options.literal], mask, x, sigma))
        for m in (1, 2)
    )
    print(f"literal formula, twice the images: {two / one:.2f} times the time")
    accuracy(x0, kept)
    scaling(x0, kept)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--literal", type=int, default=2_000)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threshold", type=float, default=0.05)
    main(parser.parse_args())
