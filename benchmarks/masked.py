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
of the memory, and time over N, B and n.
"""

import argparse
import statistics

import torch
from exact_denoisers import forget_peak, images, memory_gb, seconds
from torch.nn.functional import adaptive_avg_pool2d

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


def levels(x0, wiener, options):
    """Ours along a DDIM trajectory, the others at the same noisy images: a row for each
    level, with all that it was about in `kept`.
    """
    schedule, rows, kept = schedules.linear(), [], []
    start = torch.randn(
        options.batch, *x0.shape[1:], generator=torch.Generator().manual_seed(0)
    )
    few, scale = x0[: options.literal], len(x0) / min(options.literal, len(x0))

    def denoise(x, sigma):
        sigma = float(sigma.flatten()[0]) if torch.is_tensor(sigma) else sigma
        mask = wiener_mask(wiener, sigma, options.threshold)
        ours, answer = Masked(x0, mask), []
        row = {"sigma": sigma, "density": mask.double().mean().item()}
        row["plan"] = seconds(lambda: ours.sums(sigma))
        row["entries"] = ours.sums(sigma).entries / mask.numel()
        row["ours"] = row["plan"] + seconds(lambda: answer.append(ours(x, sigma)))
        for name, form in (("literal", literal), ("expanded", expanded)):
            row[name] = scale * seconds(lambda f=form: f(few, mask, x, sigma))
        show(row)
        rows.append(row)
        kept.append((sigma, mask, x, answer[0]))
        return answer[0]

    for _ in sampling.ddim(denoise, start, schedule, TIMES):
        pass
    return rows, kept


def show(row):
    print(
        f"sigma {row['sigma']:7.3f}  density {row['density']:.4f}  entries added "
        f"{row['entries']:.4f}  plan {row['plan']:.2f} s  ours {row['ours']:6.2f} s  "
        + "  ".join(
            f"{name} {row[name]:6.1f} s ({row[name] / row['ours']:5.1f})"
            for name in ("literal", "expanded")
        ),
        flush=True,
    )


def totals(rows):
    """Seconds of the trajectory, and of its end, with the plans."""
    for name, some in (
        ("whole trajectory", rows),
        ("t <= 200", [r for t, r in zip(TIMES, rows) if t <= 200]),
    ):
        ours, slow, other = (
            sum(r[k] for r in some) for k in ("ours", "literal", "expanded")
        )
        print(
            f"{name}: ours {ours:.1f} s, literal / ours {slow / ours:.1f}, "
            f"expanded / ours {other / ours:.1f}"
        )


def accuracy(x0, rows, kept, steps=(0, 3, 6, 8, 9)):
    """Largest relative difference to float64 over images, one query at each level."""
    for k in steps:
        sigma, mask, x, answer = kept[k]
        exact = literal(x0, mask, x[:1].double(), sigma)
        off = (answer[:1].flatten(1) - exact).norm() / exact.norm()
        rows[k]["off"] = off.item()
        print(f"sigma {sigma:7.3f}  relative difference to float64 {off:.1e}")


def scaling(x0, kept):
    """Time and memory of one step over the number of images and the batch."""
    (sigma, mask, x, _), rows = kept[5], []
    for N in (len(x0) // 16, len(x0) // 4, len(x0)):
        for B in (1, 8, 32):
            ours = Masked(x0[:N], mask)
            ours.sums(sigma)
            noisy = x.repeat(4, 1, 1, 1)[:B]
            forget_peak()
            before = memory_gb("VmRSS")
            took = seconds(lambda f=ours, z=noisy: f(z, sigma))
            extra = memory_gb("VmHWM") - before
            rows.append({"N": N, "B": B, "seconds": took, "GB": extra})
            print(
                f"sigma {sigma:.2f}, N {N}, B {B}: {took:.2f} s, "
                f"{took / N / B * 1e6:.1f} us a pair, {extra:.2f} GB beyond the data"
            )
    return rows


def sizes(x0, options, sides=(8, 16, 32)):
    """The same images made smaller: one step at sigma 1, ours and literal."""
    rows = []
    for side in sides:
        small = adaptive_avg_pool2d(x0, side)
        mask = wiener_mask(Wiener.fit(small), 1.0, options.threshold)
        small = small[: options.literal]
        x = small[: options.batch] + torch.randn(
            small[: options.batch].shape, generator=torch.Generator().manual_seed(1)
        )
        ours = Masked(small, mask, dense=False)
        ours.sums(1.0)
        pairs = [
            (
                seconds(lambda f=ours, z=x: f(z, 1.0)),
                seconds(lambda y=small, m=mask, z=x: literal(y, m, z, 1.0)),
            )
            for _ in range(3)
        ]
        mine, theirs = (statistics.median(column) for column in zip(*pairs))
        n = small[0].numel()
        rows.append({"n": n, "N": len(small), "ours": mine, "literal": theirs})
        print(f"n {n}: ours {mine:.3f} s, literal / ours {theirs / mine:.1f}")
    return rows


def wiener_of(images):
    moments = Moments()
    for block in images.permute(0, 3, 1, 2).split(5000):
        moments.update(block)
    return Wiener(moments.mean, moments.cov(spend=True))


def main(options):
    stored, what = images(options.images)
    x0, wiener = data.to_unit(stored.numpy()), wiener_of(stored)
    del stored
    threads = torch.get_num_threads()
    print(f"{len(x0)} {what}, batch {options.batch}, {threads} threads")
    Masked(x0[:20], torch.eye(3072).bool())(x0[:1], 0.5)  # compiles, or loads
    forget_peak()
    rows, kept = levels(x0, wiener, options)
    totals(rows)
    peak = memory_gb("VmHWM")
    print(f"peak of the process: {peak:.2f} GB, literal formula included")
    sigma, mask, x, _ = kept[4]
    one, two = (
        seconds(lambda m=m: literal(x0[: m * options.literal], mask, x, sigma))
        for m in (1, 2)
    )
    print(f"literal formula, twice the images: {two / one:.2f} times the time")
    accuracy(x0, rows, kept)
    return {
        "levels": rows,
        "peak_GB": peak,
        "scaling": scaling(x0, kept),
        "sizes": sizes(x0, options),
    }


def parser():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--images", type=int, default=50_000)
    options.add_argument("--literal", type=int, default=2_000)
    options.add_argument("--batch", type=int, default=8)
    options.add_argument("--threshold", type=float, default=0.05)
    return options


if __name__ == "__main__":
    main(parser().parse_args())
