"""Time, memory and rounding of the local denoisers, as ratios in one run.

    python benchmarks/local_denoisers.py [--images 10000] [--patches 2000] [--batch 8]

Four tables: the time of LS over the side of its window; ELS over the noise, in seconds
a step; each denoiser against its formula as the paper writes it, one pixel, crop, patch
patch after the other, and against the best simple vectorised torch version, in turn;
float32 against float64. The images are of CIFAR-10 if it is at hand, else of random
levels. The slow rivals get few images, and the ratios are for that few.
"""

import argparse
import math
import statistics
from functools import partial

import torch
from exact_denoisers import forget_peak, memory_gb, seconds
from torch.nn.functional import avg_pool2d, pad, unfold

from helpers import data
from helpers.denoisers import Optimal
from helpers.masked import Masked
from helpers.masks import wiener_mask
from helpers.patches import BoundaryBroken, EquivariantLocalScore, EquivariantScore
from helpers.smoothed import Smoothed
from helpers.wiener import Wiener
from helpers.windows import CropMean, LocalScore

SIDES = (3, 5, 9, 15, 23, 31, 47, 63)
ELS_SIGMAS = (0.01, 0.1, 0.5, 1.2)
SIGMAS = (0.01, 0.1, 1.0)
FEW = 400  # images for denoisers that move them


def images(split, n):
    if data.available("cifar10", split):
        return data.load("cifar10", split, n)
    generator = torch.Generator().manual_seed(0 if split == "train" else 1)
    shape = (n, 32, 32, 3)
    levels = torch.randint(256, shape, generator=generator, dtype=torch.uint8)
    return data.to_unit(levels.numpy())


def literal_local_score(x0, x, sigma, k):
    """Kamb & Ganguli, Eq. 8: one pixel after the other."""
    answer, r = torch.empty_like(x), k // 2
    for i in range(x.shape[2]):
        for j in range(x.shape[3]):
            window = (
                ...,
                slice(max(0, i - r), i + r + 1),
                slice(max(0, j - r), j + r + 1),
            )
            gap = (x[:, None][window] - x0[window]).square().sum(dim=(2, 3, 4))
            weight = (-gap / (2 * sigma**2)).softmax(dim=1)
            answer[:, :, i, j] = weight @ x0[:, :, i, j]
    return answer


def simple_local_score(x0, x, sigma, k):
    """All squares, then `avg_pool2d`."""
    gap = (x[:, None] - x0).square().sum(dim=2)  # (B, N, H, W)
    box = avg_pool2d(gap, k, stride=1, padding=k // 2, divisor_override=1)
    weight = (-box / (2 * sigma**2)).softmax(dim=1)
    return torch.einsum("bnhw,nchw->bchw", weight, x0)


def literal_crop_mean(x0, z, sigma, s):
    """Niedoba et al.: one crop after the other."""
    total, count = torch.zeros_like(z), torch.zeros_like(z)
    for i in range(z.shape[2] - s + 1):
        for j in range(z.shape[3] - s + 1):
            crop = (..., slice(i, i + s), slice(j, j + s))
            total[crop] += Optimal(x0[crop].contiguous())(z[crop].contiguous(), sigma)
            count[crop] += 1
    return total / count


def literal_els(x0, x, sigma, k):
    """Kamb & Ganguli, Eq. 10: one patch of the training images after the other."""
    r, (H, W) = k // 2, x.shape[2:]
    queries = unfold(pad(x, (r, r, r, r), mode="circular"), k)  # (B, d, P)
    logits, values = [], []
    for y in x0:
        for i in range(r, H - r):
            for j in range(r, W - r):
                patch = y[:, i - r : i + r + 1, j - r : j + r + 1].reshape(-1, 1)
                logits.append((queries - patch).square().sum(dim=1) / (-2 * sigma**2))
                values.append(y[:, i, j])
    weight = torch.stack(logits, dim=2).softmax(dim=2)  # (B, P, n)
    return (weight @ torch.stack(values)).transpose(1, 2).reshape(x.shape)


def simple_els(x0, x, sigma, k, chunk=16):
    """Streaming over whole blocks: `unfold`, `cdist`, running log mass."""
    r, C = k // 2, x.shape[1]
    queries = unfold(pad(x, (r, r, r, r), mode="circular"), k).transpose(1, 2)
    top, total, mass = -math.inf, 0, 0
    for y in x0.split(chunk):
        patches = unfold(y, k).transpose(1, 2).flatten(0, 1)  # (n, d)
        centre = patches.view(len(patches), C, -1)[..., k * k // 2]
        logits = torch.cdist(queries, patches).square() / (-2 * sigma**2)
        new = torch.maximum(torch.as_tensor(top), logits.amax(dim=2, keepdim=True))
        weight, decay = (logits - new).exp(), (top - new).exp()
        total, top = total * decay + weight @ centre, new
        mass = mass * decay + weight.sum(dim=2, keepdim=True)
    return (total / mass).transpose(1, 2).reshape(x.shape)


def shifted(x0, x, sigma):
    """The optimal denoiser of the set with all its circular shifts."""
    H, W = x.shape[2:]
    orbit = [x0.roll((i, j), dims=(2, 3)) for i in range(H) for j in range(W)]
    return Optimal(torch.cat(orbit))(x, sigma)


def literal_smoothed(x0, x, sigma, noises, s):
    """Scarvelis et al.: one noise after the other, in their t and z."""
    t, total = 1 / (1 + sigma), 0
    for eps in noises:
        z = t * x + s * eps
        gap = (z[:, None] - t * x0).square().sum(dim=(2, 3, 4))
        weight = (-gap / (2 * (1 - t) ** 2)).softmax(dim=1)
        total = total + torch.einsum("bn,nchw->bchw", weight, t * x0)
    return total / len(noises) / t


def paired(ours, other, repeats):
    """Median seconds of both, in turn, and the median of the ratios other / ours."""
    pairs = [(seconds(ours), seconds(other)) for _ in range(repeats)]
    mine, theirs = (statistics.median(column) for column in zip(*pairs))
    return mine, theirs, statistics.median(b / a for a, b in pairs)


def measured(function):
    """Seconds, and the memory beyond what was held before, in GB."""
    forget_peak()
    before = memory_gb("VmRSS")
    return seconds(function), memory_gb("VmHWM") - before


def say(line):
    print(line, flush=True)


def local_score_over_sides(x0, x, sigma, repeats):
    """The time must not depend on the side."""
    times = {k: [] for k in SIDES}
    for _ in range(repeats):  # in turn, so that a slow minute hits all sides
        for k in SIDES:
            times[k].append(measured(lambda k=k: LocalScore(x0, k)(x, sigma)))
    for k, rows in times.items():
        gb = max(memory for _, memory in rows)
        say(
            f"LS, k {k:2d} {statistics.median(t for t, _ in rows):28.3f} s  {gb:.2f} GB"
        )
    each = [statistics.median(t for t, _ in rows) for rows in times.values()]
    least = [min(t for t, _ in rows) for rows in times.values()]
    say(f"slowest / fastest side: {max(each) / min(each):.2f} (of the medians)")
    say(f"slowest / fastest side: {max(least) / min(least):.2f} (of the least times)")
    return {"k": list(times), "median": each, "least": least}


def els_over_noise(x0, clean, noise):
    rows = []
    for sigma in ELS_SIGMAS:
        x = clean + sigma * noise
        s, gb = measured(lambda x=x, s=sigma: EquivariantLocalScore(x0, 3)(x, s))
        rate = s / (len(x0) * 30**2 * len(x) * 32**2) * 1e9
        say(f"ELS, sigma {sigma:5g} {s:28.3f} s  {gb:.2f} GB  {rate:.2f} ns a logit")
        rows.append({"sigma": sigma, "seconds": s, "GB": gb})
    return rows


def compare(name, sigma, N, B, ours, other, repeats):
    """A row: seconds of both, and how far the answers are apart."""
    mine, theirs, ratio = paired(ours, other, repeats)
    gap = (ours() - other()).norm() / other().norm()
    say(
        f"{name:26s} N {N:4d} B {B} sigma {sigma:4g} {mine:8.3f} s {theirs:8.3f} s  "
        f"{ratio:7.1f} x  differ {gap:.0e}"
    )
    about = {"name": name, "sigma": sigma, "N": N, "B": B, "off": gap.item()}
    return about | {"ours": mine, "other": theirs, "ratio": ratio}


def window_rivals(x0, x, sigma, repeats):
    row, rows = partial(compare, sigma=sigma, N=len(x0), B=len(x)), []
    for k in (3, 15):
        ours = partial(LocalScore(x0, k), x, sigma)
        other = partial(literal_local_score, x0, x, sigma, k)
        rows.append(row(f"LS k {k} / formula", ours=ours, other=other, repeats=1))
        other = partial(simple_local_score, x0, x, sigma, k)
        rows.append(row(f"LS k {k} / simple", ours=ours, other=other, repeats=repeats))
    ours = partial(CropMean(x0, 7), x, sigma)
    other = partial(literal_crop_mean, x0, x, sigma, 7)
    rows.append(row("PSPC s 7 / formula", ours=ours, other=other, repeats=1))
    noises = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    ours = partial(Smoothed(x0, noises, 0.1), x, sigma)
    other = partial(literal_smoothed, x0, x, sigma, noises, 0.1)
    rows.append(row("Scarvelis M 4 / formula", ours=ours, other=other, repeats=repeats))
    return rows


def patch_rivals(x0, x, sigma, repeats):
    """Those that move patches and images, for few images."""
    row, rows = partial(compare, sigma=sigma, B=len(x)), []
    for k in (3, 7):
        for N, name, rival in ((2, "formula", literal_els), (64, "simple", simple_els)):
            ours = partial(EquivariantLocalScore(x0[:N], k), x, sigma)
            other = partial(rival, x0[:N], x, sigma, k)
            title = f"ELS k {k} / {name}"
            rows.append(row(title, N=N, ours=ours, other=other, repeats=repeats))
    ours = partial(EquivariantScore(x0[:32]), x, sigma)
    other = partial(shifted, x0[:32], x, sigma)
    rows.append(row("ES / all shifts", N=32, ours=ours, other=other, repeats=1))
    return rows


def rounding(x0, clean, noise):
    """Float32 answers against float64 ones, relative."""
    makers = {
        "LS k 3": lambda y: LocalScore(y, 3),
        "LS k 15": lambda y: LocalScore(y, 15),
        "PSPC s 7": lambda y: CropMean(y, 7),
        "ELS k 3": lambda y: EquivariantLocalScore(y, 3),
        "bbELS k 3": lambda y: BoundaryBroken(y, 3),
        "ES": EquivariantScore,
    }
    for name, make in makers.items():
        gaps = []
        for sigma in (0.002, 0.01, 0.03, 0.05, 0.2, 1.0, 5.0):
            x = clean + sigma * noise
            exact = make(x0.double())(x.double(), sigma)
            gaps.append((make(x0)(x, sigma) - exact).norm() / exact.norm())
        say(f"{name:10s} float32 - float64: " + " ".join(f"{g:.0e}" for g in gaps))


def over_images(clean, noise, counts, sigma=1.0):
    """Seconds and memory of one step of every denoiser, over the training images."""
    x, rows = clean + sigma * noise, []
    every = images("train", max(counts))
    mask = wiener_mask(Wiener.fit(every), sigma, 0.05)
    for x0 in (every[:N] for N in counts):
        N = len(x0)
        makers = {
            "optimal": lambda y: Optimal(y),
            "Wiener": lambda y: Wiener.fit(y),
            "LS": lambda y: LocalScore(y, 7),
            "PSPC-Square": lambda y: CropMean(y, 7),
            "masked": lambda y: Masked(y, mask),
            "ELS": lambda y: EquivariantLocalScore(y, 3),
            "ES": EquivariantScore,
        }
        for name, make in makers.items():
            if name in ("ELS", "ES") and N > FEW:
                continue
            denoise = make(x0)
            denoise(x[:1], sigma)  # plans and decompositions are made once
            took, gb = measured(lambda f=denoise: f(x, sigma))
            say(f"{name:12s} N {N:6d} {took:8.3f} s  {gb:.2f} GB")
            rows.append({"name": name, "N": N, "seconds": took, "GB": gb})
    return rows


def main(options):
    n, batch, repeats = options.images, options.batch, options.repeats
    x0, clean = images("train", n), images("test", batch)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))
    say(f"N {n}, B {batch}, {torch.get_num_threads()} threads")
    LocalScore(x0[:100], 3)(clean, 0.5)  # wake up the threads
    found = {"sides": local_score_over_sides(x0, clean + 0.5 * noise, 0.5, repeats)}
    say(f"ELS, N {options.patches}, B {batch}, k 3")
    found["els"] = els_over_noise(x0[: options.patches], clean, noise)
    say(f"{'':44s} {'ours':>10s} {'other':>10s}")
    noisy = [(clean + sigma * noise, sigma) for sigma in SIGMAS]
    found["rivals"] = []
    for x, sigma in noisy:
        found["rivals"] += patch_rivals(x0, x[:2], sigma, repeats)
    for N, B in ((200, 1), (200, batch), (1000, batch)):
        for x, sigma in noisy:
            found["rivals"] += window_rivals(x0[:N], x[:B], sigma, repeats)
    found["over_images"] = over_images(clean, noise, (100, 400, 1600, 6400, 25_600))
    say("sigma 0.002 0.01 0.03 0.05 0.2 1 5, test images, N 50")
    rounding(x0[:50], clean[:2], noise[:2])
    return found


def parser():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--images", type=int, default=10_000)
    options.add_argument("--patches", type=int, default=2_000)
    options.add_argument("--batch", type=int, default=8)
    options.add_argument("--repeats", type=int, default=3)
    return options


if __name__ == "__main__":
    main(parser().parse_args())
