"""Checks of the exercises of chapter 18, ablations."""

from itertools import pairwise

import torch
from scipy import stats
from torch import nn

from helpers import bound, consistency, schedules
from helpers.checks import Property, close
from helpers.unet import UNet


def exercise_1(practice):
    """practice(schedule): g between neighbouring timesteps, T - 1 numbers."""
    even = schedules.from_sigma(torch.logspace(-2, 1, 41, dtype=torch.float64))
    yield Property(
        "it is one number for all where log sigma rises evenly, and the right one",
        close(practice(even), torch.full((40,), 40 / 41) / width_of(even), 1e-6),
        (
            "`schedule.sigma[1:]` are the levels of t = 1, ..., T.",
            "Natural logarithms: 1 / T, over how far ln sigma moves from t to t + 1.",
        ),
    )
    slow, fast = (
        torch.as_tensor(practice(schedules.exponential(1000, r))) for r in RATES
    )
    yield Property(
        "for an exponential schedule twice the rate halves it, at the end of both",
        close(fast[-1], slow[-1] / 2, rtol=0.01),
        ("More of t's range is spent where g is larger.",),
    )
    linear = schedules.linear(200, 5e-4, 0.1)
    inside = ((linear.sigma[1:] > 0.1) & (linear.sigma[1:] < 10)).double().mean()
    width, middle = linear.sigma[1:].log().diff(), linear.sigma[1:]
    middle = (middle[1:] * middle[:-1]).sqrt()
    among = (middle > 0.1) & (middle < 10)
    yield Property(
        "its sum over some levels is the share of the timesteps there",
        close((torch.as_tensor(practice(linear)) * width)[among].sum(), inside, 0.02),
        ("g times the width of each step in ln sigma is 1 / T.",),
    )


RATES = (12.0, 24.0)


def width_of(schedule):
    """The range of ln sigma."""
    return (schedule.sigma[-1] / schedule.sigma[1]).log()


def exercise_2(unpaired):
    """unpaired(a, b): middle, low and high end for the difference of two means."""
    a, b = [1.77, 1.79, 1.72], [1.27, 1.22, 1.31]
    found = unpaired(a, b)
    yield Property(
        "its middle is the difference of the means, first minus second",
        close(float(found[0]), sum(a) / 3 - sum(b) / 3),
        ("Three numbers: the middle first, then both ends.",),
    )
    moved = unpaired([a[1], a[2], a[0]], b)
    yield Property(
        "the order of the runs does not matter",
        close([float(v) for v in moved], [float(v) for v in found]),
        ("Nothing is subtracted seed by seed.",),
    )
    yield Property(
        "it is the interval of Student's test for two samples",
        close([float(v) for v in found[1:]], ends(a, b), 1e-3),
        (
            "A standard error is the standard deviation over the root of 3.",
            "The standard deviation divides by one less than the number of runs.",
        ),
    )


def ends(a, b):
    return list(stats.ttest_ind(a, b).confidence_interval())


def exercise_3(break_even):
    """break_even(n): the correlation above which the paired interval is shorter."""
    found = [float(break_even(n)) for n in (2, 3, 5, 10, 1000)]
    yield Property(
        "with more seeds pairing pays earlier, and nearly always with very many",
        all(1 > a > b > 0 for a, b in pairwise(found)) and found[-1] < 0.01,
        (
            "Pairing costs degrees of freedom only: n - 1 instead of 2 n - 2.",
            "The variance of a difference of two numbers with the same variance.",
        ),
    )
    ratios = [both_lengths(n, float(break_even(n))) for n in (3, 6)]
    yield Property(
        "at this correlation simulated intervals are equally long, in the mean square",
        close(ratios, [1.0, 1.0], rtol=0.05),
        (
            "Compare t times a standard error, squared.",
            "`stats.t(n - 1).ppf(0.975)`: both sides count.",
        ),
    )


def both_lengths(n, rho, rounds=40_000):
    """Mean square of the paired interval's length over that of the unpaired one's."""
    z = torch.randn(3, rounds, n, generator=torch.Generator().manual_seed(183)).double()
    a, b = (rho**0.5 * z[0] + (1 - rho) ** 0.5 * z[k] for k in (1, 2))
    t = [stats.t(d).ppf(0.975) ** 2 for d in (n - 1, 2 * n - 2)]
    paired = t[0] * (a - b).var(1).mean()
    return (paired / (t[1] * (a.var(1) + b.var(1)).mean())).item()


def exercise_4(at_least_one):
    """at_least_one(rows, shared, longer): how often an interval misses 0 by chance."""
    single = [float(at_least_one(1, shared, 1.0)) for shared in (False, True)]
    yield Property(
        "a single interval misses once in 20, with and without a shared baseline",
        close(single, [0.05, 0.05], rtol=0, atol=0.01),
        (
            "Student's t with two degrees of freedom, 4.303.",
            "It misses if |mean| exceeds half of its length.",
        ),
    )
    apart = [float(at_least_one(rows, False, 1.0)) for rows in (2, 6, 14)]
    yield Property(
        "rows that have nothing in common are as often all right as the product says",
        close(apart, [1 - 0.95**rows for rows in (2, 6, 14)], rtol=0, atol=0.02),
        ("At least one of the rows, in each round.",),
    )
    together = [float(at_least_one(rows, True, 1.0)) for rows in (6, 14)]
    yield Property(
        "with one baseline for all it is what we find, to 0.02",
        close(together, [counted(rows) for rows in (6, 14)], rtol=0, atol=0.02),
        ("Draw the three runs of the baseline once in each round.",),
    )
    long = [float(at_least_one(14, shared, 3.9)) for shared in (False, True)]
    yield Property(
        "with much longer intervals it becomes rare, but not impossible",
        all(0.01 < share < 0.06 for share in long),
        ("`longer` is a factor of the half length.",),
    )


def counted(rows, rounds=20_000):
    """The share of rounds, with Student's t from its definition."""
    draws = torch.Generator().manual_seed(184)
    runs = torch.randn(rounds, rows + 1, 3, generator=draws)
    apart = (runs[:, 1:] - runs[:, :1]).numpy()
    p = stats.ttest_1samp(apart, 0.0, axis=2).pvalue
    return (p < 0.05).any(axis=1).mean()


def exercise_5(stages):
    """stages(net): for each of the decoder, channels from below, from the skip, and
    how many groups of the first norm hold both."""
    for config in CONFIGS:
        net = UNet(**config)
        found, seen = stages(net), watched(net)
        yield Property(
            "there is one line for each stage of the decoder, with three numbers",
            len(found) == len(seen) and all(len(line) == 3 for line in found),
            ("`net.up` has levels, each with its `stages`.",),
        )
        yield Property(
            "the channels are those that come in when the net is used",
            close([list(line[:2]) for line in found], [line[:2] for line in seen]),
            (
                "`net.encode` gives the maps; the decoder takes the last one first.",
                "What a stage gives is what comes from below to the next one.",
            ),
        )
        yield Property(
            "where no group is mixed, a larger stored map does not change the norm",
            close([line[2] for line in found], [line[2] for line in seen]),
            (
                "Groups have equally many channels, in order, those from below first.",
                "A group is mixed if the border between the two falls inside of it.",
            ),
        )


CONFIGS = (
    {"image_size": 14, "in_channels": 1, "channels": 16, "groups": 4, "blocks": 1},
    {"image_size": 8, "in_channels": 1, "channels": 24, "groups": 6, "blocks": 2},
)
CONFIGS = tuple(c | {"multipliers": (1, 2), "attention": None} for c in CONFIGS)


def watched(net):
    """Below, skip and changed groups of each stage, seen while the net is used."""
    stages, lines = [s for level in net.up for s in level.stages], []
    size, C = net.config["image_size"], net.config["in_channels"]
    draws = torch.Generator().manual_seed(185)
    with torch.no_grad():
        maps, emb = net.encode(torch.randn(2, C, size, size, generator=draws), 500)
        skips = [stored.shape[1] for stored in maps[::-1]]
        hooks = [
            stage.block.norm1.register_forward_hook(
                lambda norm, given, _: lines.append((norm, given[0]))
            )
            for stage in stages
        ]
        net.decode(maps, emb)
    for hook in hooks:
        hook.remove()
    return [line(norm, x, skip) for (norm, x), skip in zip(lines, skips)]


def line(norm: nn.GroupNorm, x, skip):
    """How many groups of a norm change if the last `skip` channels are doubled."""
    below, draws = x.shape[1] - skip, torch.Generator().manual_seed(0)
    x = torch.randn(x.shape, generator=draws)
    larger = torch.cat([x[:, :below], 2 * x[:, below:]], dim=1)
    with torch.no_grad():
        apart = (norm(larger) - norm(x)).abs().amax((0, 2, 3))
    return [below, skip, int((apart.view(norm.num_groups, -1).amax(1) > 0.01).sum())]


def exercise_6(remaining):
    """remaining(e, tilde): nats of a term with the best variance, for an error e."""
    yield Property(
        "without an error nothing is left",
        close(float(remaining(0.0, 0.3)), 0.0),
        ("The best variance is then the true one.",),
    )
    grid = torch.logspace(-3, 3, 20_001, dtype=torch.float64)
    cases = [(0.5, 0.1), (0.01, 0.1), (4.0, 0.02)]
    terms = [bound_term(e, tilde, grid).min().item() for e, tilde in cases]
    yield Property(
        "no variance of a fine grid makes the term smaller, and one comes close",
        close([float(remaining(*case)) for case in cases], terms, 1e-4),
        (
            "Derive the term by the variance and set this to 0.",
            "Put the best variance back in: two of the three parts cancel.",
        ),
    )
    schedule = schedules.linear()
    beta = schedule.beta[100].item()
    tilde = bound.fixed_variance(schedule, "small")[100].item()
    e, h = beta - tilde, 1e-4 * beta
    rise = float(remaining(e + h, tilde)) - float(remaining(e - h, tilde))
    yield Property(
        "at t = 100 its slope is that of the term with beta_t where the best is beta_t",
        close(rise / (2 * h), 1 / (2 * beta), 1e-4),
        ("An error is a number of the size of a variance, not of its root.",),
    )


def bound_term(e, tilde, variance):
    """The term of the bound, nats."""
    return ((variance / tilde).log() + (tilde + e) / variance - 1) / 2


def exercise_7(off):
    """off(lam, own, other, S): Frechet distance after S steps at the other's levels."""
    schedule = schedules.linear()
    lam = torch.tensor([4.0, 0.5, 0.02], dtype=torch.float64)
    few, many = (float(off(lam, schedule, schedule, S)) for S in (10, 200))
    yield Property(
        "with its own levels and many steps little is wrong, with few more",
        0 < many < few / 20,
        ("Standard deviations of the samples against the roots of lam.",),
    )
    pairs = [
        (PATHS[a], PATHS[b], S) for a, b, S in ((0, 1, 10), (1, 0, 25), (2, 1, 25))
    ]
    twice = float(off(torch.cat([lam, lam]), *pairs[0]))
    yield Property(
        "components that come twice count twice",
        close(twice, 2 * float(off(lam, *pairs[0]))),
        ("A sum of squares, not its root, not a mean.",),
    )
    yield Property(
        "it is what `consistency.flow` makes of noise, component by component",
        all(close(float(off(lam, *p)), walked(lam, *p), 1e-4) for p in pairs),
        (
            "`schedules.between(other, low, high, S)` with the ends of `own`.",
            "Begin with noise of the highest level used, and the data are not in it.",
            "The sample is the last answer of the filter.",
        ),
    )


PATHS = schedules.linear(), schedules.cosine(), schedules.exponential()


def walked(lam, own, other, S):
    """The same, by walking with a filter of single pixels."""
    times = schedules.between(other, own.sigma[1].item(), own.sigma[-1].item(), S)
    sigmas, kept = other.sigma[times], lam.view(-1, 1, 1, 1)

    def denoise(x, sigma):
        return kept / (kept + float(sigma) ** 2) * x

    x = consistency.flow(denoise, sigmas[0] * torch.ones_like(kept), sigmas, heun=False)
    spread = denoise(x, sigmas[-1]).flatten()
    return (spread - lam.sqrt()).square().sum().item()
