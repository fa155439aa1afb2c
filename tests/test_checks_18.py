"""Answers that are nearly right are refused by the checks of chapter 18."""

import math

import pytest
import torch
from scipy import stats

from helpers import schedules
from helpers.checks import check


def widths(schedule):
    return schedule.sigma[1:].log().diff()


@pytest.mark.parametrize(
    "practice",
    [
        widths,
        lambda schedule: schedule.T * widths(schedule),
        lambda schedule: 1 / widths(schedule),
        lambda schedule: 1 / (schedule.T * schedule.sigma[1:].diff()),
        lambda schedule: 1 / (schedule.T * schedule.sigma[1:].log2().diff()),
        lambda schedule: 1 / ((schedule.T - 1) * widths(schedule)),
        lambda schedule: 1 / (2 * schedule.T * widths(schedule)),  # of the SNR
        lambda schedule: -1 / (schedule.T * widths(schedule)),
        lambda schedule: (1 / (schedule.T * widths(schedule))).sum(),
        lambda schedule: schedule.noise_variance[1:-1] / 6,
    ],
)
def test_practice(practice):
    assert not check("18.1", practice)


def interval(a, b, t=2.776, correction=1, power=0.5, paired=False):
    a, b = (torch.tensor(v, dtype=torch.float64) for v in (a, b))
    middle, n = (a - b).mean(), len(a)
    variance = a.var(correction=correction) + b.var(correction=correction)
    if paired:
        variance = (a - b).var()
    half = t * (variance / n) ** power
    return [v.item() for v in (middle, middle - half, middle + half)]


@pytest.mark.parametrize(
    "unpaired",
    [
        lambda a, b: interval(b, a),
        lambda a, b: interval(a, b, t=4.303),
        lambda a, b: interval(a, b, t=1.96),
        lambda a, b: interval(a, b, correction=0),
        lambda a, b: interval(a, b, power=1),
        lambda a, b: interval(a, b, t=4.303, paired=True),
        lambda a, b: interval(a, b, t=2.776 * 3**0.5),  # not of the mean
        lambda a, b: interval(a, b)[1:],
        lambda a, b: sorted(interval(a, b)),
        lambda a, b: interval(a, b)[::2] + interval(a, b)[1:2],
    ],
)
def test_unpaired(unpaired):
    assert not check("18.2", unpaired)


def quantile(freedom, level=0.975):
    return stats.t(freedom).ppf(level)


@pytest.mark.parametrize(
    "break_even",
    [
        lambda n: 0.58,
        lambda n: 1 - quantile(2 * n - 2) / quantile(n - 1),
        lambda n: (quantile(2 * n - 2) / quantile(n - 1)) ** 2,
        lambda n: 1 - (quantile(2 * n - 1) / quantile(n - 1)) ** 2,
        lambda n: 1 - (quantile(2 * n - 2, 0.95) / quantile(n - 1, 0.95)) ** 2,
        lambda n: 1 - (1.96 / quantile(n - 1)) ** 2,
        lambda n: (1 - (quantile(2 * n - 2) / quantile(n - 1)) ** 2) / 2,
    ],
)
def test_break_even(break_even):
    assert not check("18.3", break_even)


def chance(rows, shared, longer, t=4.303, root=3**0.5, every="any", rounds=20_000):
    """`shared` is the number of baselines: 0, 1, or one for each row."""
    draws = torch.Generator().manual_seed(1)
    apart = torch.randn(rounds, rows, 3, generator=draws)
    if shared:
        apart = apart - torch.randn(rounds, shared, 3, generator=draws)
    missed = apart.mean(2).abs() > longer * t * apart.std(2) / root
    return getattr(missed, every)(1).double().mean().item()


@pytest.mark.parametrize(
    "at_least_one",
    [
        lambda rows, shared, longer: chance(rows, 0, longer),
        lambda rows, shared, longer: chance(rows, 1, longer),
        lambda rows, shared, longer: chance(rows, rows * shared, longer),
        lambda rows, shared, longer: chance(rows, int(shared), 1),
        lambda rows, shared, longer: chance(rows, int(shared), longer, t=1.96),
        lambda rows, shared, longer: chance(rows, int(shared), longer, t=2.776),
        lambda rows, shared, longer: chance(rows, int(shared), longer, root=1),
        lambda rows, shared, longer: chance(rows, int(shared), longer, every="all"),
        lambda rows, shared, longer: 1 - chance(rows, int(shared), longer),
        lambda rows, shared, longer: 1 - 0.95**rows,
        lambda rows, shared, longer: min(0.05 * rows / longer, 1),
    ],
)
def test_at_least_one(at_least_one):
    assert not check("18.4", at_least_one)


def counted(net, order=-1, mixed=lambda below, skip, width: below % width > 0):
    """The stages of the decoder; `order` -1 takes the last map first."""
    size, C = net.config["image_size"], net.config["in_channels"]
    maps = net.encode(torch.zeros(1, C, size, size), 1)[0]
    below, lines = maps[-1].shape[1], []
    for stage in (s for level in net.up for s in level.stages):
        norm, skip = stage.block.norm1, maps.pop(order).shape[1]
        width = norm.num_channels // norm.num_groups
        lines.append((below, skip, int(mixed(below, skip, width))))
        below = stage.block.conv2.out_channels
    return lines


@pytest.mark.parametrize(
    "stages",
    [
        lambda net: counted(net, order=0),
        lambda net: counted(net)[::-1],
        lambda net: counted(net)[:-1],
        lambda net: [(skip, below, mixed) for below, skip, mixed in counted(net)],
        lambda net: [line[:2] for line in counted(net)],
        lambda net: counted(net, mixed=lambda *_: 0),
        lambda net: counted(net, mixed=lambda *_: 1),
        lambda net: counted(net, mixed=lambda below, skip, width: below % width == 0),
        lambda net: counted(net, mixed=lambda below, skip, width: below != skip),
        lambda net: counted(net, mixed=lambda below, skip, width: below % width),
    ],
)
def test_stages(stages):
    assert not check("18.5", stages)


@pytest.mark.parametrize(
    "remaining",
    [
        lambda e, tilde: math.log(1 + e / tilde),
        lambda e, tilde: math.log2(1 + e / tilde) / 2,
        lambda e, tilde: math.log(1 + e**2 / tilde) / 2,
        lambda e, tilde: -math.log(1 + e / tilde) / 2,
        lambda e, tilde: math.log(1 + e) / 2,
        lambda e, tilde: e / (2 * tilde),  # with the true variance
        lambda e, tilde: tilde + e,  # the best variance itself
        lambda e, tilde: (math.log(1 + e / tilde) + 1) / 2,
        lambda e, tilde: math.log(1 + tilde / e) / 2 if e else 0.0,
    ],
)
def test_remaining(remaining):
    assert not check("18.6", remaining)


def walk(lam, own, other, S, last=True, power=0.5):
    """Standard deviations of samples, and of the data."""
    times = schedules.between(other, *own.sigma[[1, -1]].tolist(), S)
    sigma = other.sigma[times][:, None]
    high, low = sigma[:-1], sigma[1:]
    spread = sigma[0] * ((lam + high * low) / (lam + high**2)).prod(0)
    if last:
        spread = spread * lam / (lam + sigma[-1] ** 2)
    return spread, lam**power


def squares(pair):
    return (pair[0] - pair[1]).square()


@pytest.mark.parametrize(
    "off",
    [
        lambda lam, own, other, S: squares(walk(lam, own, own, S)).sum(),
        lambda lam, own, other, S: squares(walk(lam, other, other, S)).sum(),
        lambda lam, own, other, S: squares(walk(lam, other, own, S)).sum(),
        lambda lam, own, other, S: squares(walk(lam, own, other, S)).mean(),
        lambda lam, own, other, S: squares(walk(lam, own, other, S)).sum().sqrt(),
        lambda lam, own, other, S: squares(walk(lam, own, other, S, last=False)).sum(),
        lambda lam, own, other, S: squares(walk(lam, own, other, S, power=1)).sum(),
        lambda lam, own, other, S: (
            (walk(lam, own, other, S)[0] ** 2 - lam).square().sum()
        ),
        lambda lam, own, other, S: squares(walk(lam, own, other, S + 1)).sum(),
        lambda lam, own, other, S: walk(lam, own, other, S)[0].sum(),
    ],
)
def test_off(off):
    assert not check("18.7", off)


@pytest.mark.parametrize(
    ("exercise", "answer"),
    [
        ("18.1", lambda schedule: 1 / (schedule.T * widths(schedule))),
        ("18.2", interval),
        ("18.3", lambda n: 1 - (quantile(2 * n - 2) / quantile(n - 1)) ** 2),
        ("18.4", lambda rows, shared, longer: chance(rows, int(shared), longer)),
        ("18.5", counted),
        ("18.6", lambda e, tilde: math.log(1 + e / tilde) / 2),
        ("18.7", lambda lam, *given: squares(walk(lam, *given)).sum()),
    ],
)
def test_right_answers(exercise, answer):
    assert check(exercise, answer)
