"""Answers that are nearly right are refused by the checks of chapter 10."""

import pytest
import torch
from scipy.stats import chi2

from helpers import sampling, schedules
from helpers.checks import check
from helpers.checks.chapter_10 import err
from helpers.denoisers import Optimal
from helpers.forward import gaussian_noise
from helpers.metrics import pearson
from helpers.wiener import Wiener

NOISE = gaussian_noise(torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "touching",
    [
        lambda d, level: d / chi2.ppf(level, 1) ** 0.5,  # one cone only
        lambda d, level: d / (2 * 2.5758),  # 99 % only
        lambda d, level: d / (2 * chi2.ppf(level, 1)),
        lambda d, level: d / (2 * chi2.ppf((1 + level) / 2, 1) ** 0.5),
        lambda d, level: 2 * d * chi2.ppf(level, 1) ** 0.5,
        lambda d, level: d / (2 * chi2.ppf(level, 2) ** 0.5),
    ],
)
def test_touching(touching):
    assert not check("10.1", touching)


@pytest.mark.parametrize(
    "thickness",
    [
        lambda D, level: chi2.ppf(level, D) / chi2.ppf(0.5, D),  # squared lengths
        lambda D, level: (chi2.ppf(level, D) / D) ** 0.5,  # the mean square
        lambda D, level: (chi2.ppf(0.5, D) / chi2.ppf(level, D)) ** 0.5,
        lambda D, level: (chi2.ppf(0.99, D) / chi2.ppf(0.5, D)) ** 0.5,
        lambda D, level: 1 + 2.326 / (2 * D) ** 0.5,
        lambda D, level: chi2.ppf(level, D) ** 0.5,
    ],
)
def test_thickness(thickness):
    assert not check("10.2", thickness)


def outside(test, training, sigma, level, D=64, scale=1.0, which="amin"):
    x = test + sigma * NOISE(test)
    distance = torch.cdist(x.flatten(1), training.flatten(1))
    squares = (getattr(distance, which)(1) / sigma) ** 2 * scale
    return (squares > chi2.ppf(level, D)).double().mean()


@pytest.mark.parametrize(
    "share_outside",
    [
        lambda *given: 1 - outside(*given),
        lambda *given: outside(*given[:3], 0.99),
        lambda *given: outside(*given, D=1),
        lambda *given: outside(*given, scale=1 / 64),
        lambda *given: outside(*given, which="amax"),  # outside of some cone
        lambda *given: outside(*given, which="mean"),
        lambda test, training, sigma, level: outside(test, training, sigma**2, level),
        lambda test, training, sigma, level: float(sigma < 0.4),
    ],
)
def test_share_outside(share_outside):
    assert not check("10.3", share_outside)


def grid(known, images, sigma, factors):
    return min(factors, key=lambda c: err(known, images, sigma, c))


@pytest.mark.parametrize(
    "best_factor",
    [
        lambda known, images, sigma: 1.0,
        lambda known, images, sigma: 1.5,
        lambda known, images, sigma: grid(known, images, sigma, (0.25, 0.5, 0.75, 1)),
        lambda known, images, sigma: grid(known, images, sigma, (1, 5, 10)),
        lambda known, images, sigma: grid(known, known[:300], sigma, (0.7, 1, 1.4, 2)),
        lambda known, images, sigma: sigma * grid(known, images, sigma, (1, 1.4, 2, 3)),
        lambda known, images, sigma: 1 / grid(known, images, sigma, (1, 1.4, 2, 3)),
    ],
)
def test_best_factor(best_factor):
    assert not check("10.4", best_factor)


def samples(images, make, steps=25):
    schedule, noise = (
        schedules.linear(),
        gaussian_noise(torch.Generator().manual_seed(1)),
    )
    xT, times = sampling.start(100, (1, 8, 8), noise, images), schedules.leading
    walk = sampling.ddim(make(images), xT, schedule, times(1000, steps))
    return sampling.last(walk).x0_hat


@pytest.mark.parametrize(
    "compare",
    [
        lambda u, v: pearson(u, v.roll(1, 0)).mean(),  # different noises
        lambda u, v: pearson(u, v).square().mean(),
        lambda u, v: pearson(u, v),
        lambda u, v: -pearson(u, v).mean(),
        lambda u, v: pearson(u.mean(0, True), v.mean(0, True)).mean(),
    ],
)
def test_agreement(compare):
    def answer(a, b):
        return compare(samples(a, Wiener.fit), samples(b, Wiener.fit))

    assert not check("10.5", answer)


def test_agreement_of_other_denoisers_or_only_one_step():
    def optimal(a, b):
        return pearson(samples(a, Optimal), samples(b, Optimal)).mean()

    def one_step(a, b):
        return pearson(samples(a, Wiener.fit, 1), samples(b, Wiener.fit, 1)).mean()

    assert not check("10.5", optimal)
    assert not check("10.5", one_step)


@pytest.mark.parametrize(
    "compare",
    [
        lambda a, b, x, other, x0, s: pearson(a(x, s), b(x, s)).mean(),
        lambda a, b, x, other, x0, s: pearson(a(x, s) - x, b(x, s) - x).mean(),
        lambda a, b, x, other, x0, s: pearson(a(x, s) - x0, b(other, s) - x0).mean(),
        lambda a, b, x, other, x0, s: pearson(a(x0, s) - x0, b(x0, s) - x0).mean(),
        lambda a, b, x, other, x0, s: pearson(a(x, s) - x0, b(x, s) - x0),
        lambda a, b, x, other, x0, s: pearson(a(x, s) - x0, x0 - b(x, s)).mean(),
        lambda a, b, x, other, x0, s: (a(x, s) - b(x, s)).square().mean(),
        lambda a, b, x, other, x0, s: pearson(
            *(d(x, 2 * s) - x0 for d in (a, b))
        ).mean(),
    ],
)
def test_error_agreement(compare):
    def answer(a, b, x0, sigma):
        x, other = (x0 + sigma * NOISE(x0) for _ in range(2))
        return compare(a, b, x, other, x0, sigma)

    assert not check("10.6", answer)
