"""Answers that are nearly right are refused by the checks of chapter 6."""

import numpy as np
import pytest
import torch
from scipy.stats import norm

from helpers import consistency, schedules
from helpers.checks import check
from helpers.checks.chapter_06 import GRID, HIGH, LOW, pixel
from helpers.wiener import ddim_gain

NOISE = torch.Generator().manual_seed(0)


def quantile(mixture, share, spreads):
    """Of a sum of bells, in units of x."""
    x, bells = (
        np.linspace(-40, 40, 20_001),
        zip(mixture.weights, mixture.means.flatten(), spreads),
    )
    below = sum(w.item() * norm.cdf(x, m.item(), float(s)) for w, m, s in bells)
    return np.interp(share, below, x)


def noisy(mixture, share, sigma):
    spreads = (mixture.lam.flatten() + sigma**2).sqrt()
    return quantile(mixture, share, spreads)


def clean(mixture, share, sigma):
    return quantile(mixture, share, mixture.lam.flatten().sqrt())


def no_mean(mixture, share, sigma):
    centred = pixel()
    centred.weights, centred.means = mixture.weights, mixture.means * 0
    return quantile(centred, share, (mixture.lam.flatten() + sigma**2).sqrt())


def one_bell(mixture, share, sigma):
    """With the right mean and variance."""
    w, means = mixture.weights, mixture.means.flatten()
    mean = (w * means).sum()
    variance = (w * (mixture.lam.flatten() + (means - mean) ** 2)).sum() + sigma**2
    return norm.ppf(share, mean.item(), variance.sqrt().item()) / sigma


@pytest.mark.parametrize(
    "border",
    [
        one_bell,
        lambda mixture, share, sigma: norm.ppf(share),
        lambda mixture, share, sigma: noisy(mixture, share, sigma),  # in units of x
        lambda mixture, share, sigma: noisy(mixture, 1 - share, sigma) / sigma,
        lambda mixture, share, sigma: -noisy(mixture, share, sigma) / sigma,
        lambda mixture, share, sigma: clean(mixture, share, sigma) / sigma,
        lambda mixture, share, sigma: no_mean(mixture, share, sigma) / sigma,
        lambda mixture, share, sigma: norm.ppf(share) - 0.3 / sigma,
        lambda mixture, share, sigma: noisy(mixture, share, sigma**2) / sigma**2,
    ],
)
def test_border(border):
    assert not check("6.1", border)


@pytest.mark.parametrize(
    "sides",
    [
        lambda c, lam, s: (c * s / (lam + s**2) ** 0.5,) * 2 + (0,),
        lambda c, lam, s: (c / (lam + s**2) ** 0.5, c * s / (lam + s**2) ** 0.5),
        lambda c, lam, s: (c / (2 * (lam + s**2) ** 0.5),) * 2,  # no inner derivative
        lambda c, lam, s: (c * s / (lam + s**2) ** 0.5, c * lam / (lam + s**2) ** 0.5),
        lambda c, lam, s: (-c * s / (lam + s**2) ** 0.5,) * 2,
        lambda c, lam, s: (c * s / (lam + s**2),) * 2,
        lambda c, lam, s: (c * s**2 / (lam + s**2) ** 0.5,) * 2,  # not over sigma
    ],
)
def test_sides(sides):
    assert not check("6.2", sides)


def ends(f, x0, n, eps, up=0, down=1, heun=True):
    """The answers at both ends of a step."""
    upper, lower = GRID[n - up], GRID[n - down]
    x = x0 + upper.view(-1, 1, 1, 1) * eps
    there = consistency.ode_step(pixel(), x, upper, lower, heun)
    return f(x, upper), f(there, lower)


def stopped(pair, stop):
    return pair[0] - (pair[1].detach() if stop else pair[1])


@pytest.mark.parametrize(
    "loss",
    [
        lambda f, x0, n, eps, stop: stopped(ends(f, x0, n, eps), stop).mean(),
        lambda f, x0, n, eps, stop: stopped(ends(f, x0, n, eps), stop).square().sum(),
        lambda f, x0, n, eps, stop: stopped(ends(f, x0, n, eps), stop).square(),
        lambda f, x0, n, eps, stop: stopped(ends(f, x0, n, eps), True).square().mean(),
        lambda f, x0, n, eps, stop: stopped(ends(f, x0, n, eps), False).square().mean(),
        lambda f, x0, n, eps, stop: (
            stopped(ends(f, x0, n, eps), not stop).square().mean()
        ),
        lambda f, x0, n, eps, stop: (
            stopped(ends(f, x0, n, eps)[::-1], stop).square().mean()
        ),
        lambda f, x0, n, eps, stop: (
            stopped(ends(f, x0, n, eps, heun=False), stop).square().mean()
        ),
        lambda f, x0, n, eps, stop: (
            stopped(ends(f, x0, n, eps, up=1, down=0), stop).square().mean()
        ),
        lambda f, x0, n, eps, stop: (
            stopped((ends(f, x0, n, eps)[0], x0), stop).square().mean()
        ),
    ],
)
def test_loss(loss):
    assert not check("6.3", loss)


def apart(x, N, heun, down=True, many=121, high=HIGH):
    rows, fine = (consistency.levels(LOW, high, n) for n in (N, many))
    rows = rows.flip(0) if down else rows
    there = consistency.flow(pixel(), x, rows, heun)
    return there - consistency.flow(pixel(), x, fine.flip(0))


@pytest.mark.parametrize(
    "solver_error",
    [
        lambda x, N, heun: apart(x, N, heun).square().mean(),
        lambda x, N, heun: apart(x, N, heun).abs().mean(),
        lambda x, N, heun: apart(x, N, heun).norm(),
        lambda x, N, heun: apart(x, N, not heun).square().mean().sqrt(),
        lambda x, N, heun: apart(x, N, True).square().mean().sqrt(),
        lambda x, N, heun: apart(x, N + 1, heun).square().mean().sqrt(),
        lambda x, N, heun: apart(x, N, heun, down=False).square().mean().sqrt(),
        lambda x, N, heun: apart(x, N, heun, many=18).square().mean().sqrt(),
        lambda x, N, heun: apart(x, N, heun, high=1.0).square().mean().sqrt(),
    ],
)
def test_solver_error(solver_error):
    assert not check("6.4", solver_error)


def fresh(answer):
    return torch.randn(answer.shape, generator=NOISE, dtype=answer.dtype)


def again(f, x, sigma, added):
    """Both answers; `added` makes the second input of the first answer."""
    answer = f(x, HIGH)
    return answer, f(added(answer, x), sigma)


@pytest.mark.parametrize(
    "second_call",
    [
        lambda f, x, s: again(f, x, s, lambda a, x: a + s * fresh(a)),
        lambda f, x, s: again(f, x, s, lambda a, x: a + (s - LOW) * fresh(a)),
        lambda f, x, s: again(f, x, s, lambda a, x: a + (s**2 - LOW**2) * fresh(a)),
        lambda f, x, s: again(
            f, x, s, lambda a, x: a + (s**2 - LOW**2) ** 0.5 * (x - a) / HIGH
        ),
        lambda f, x, s: again(
            f, x, s, lambda a, x: x + (s**2 - LOW**2) ** 0.5 * fresh(a)
        ),
        lambda f, x, s: again(f, x, HIGH, lambda a, x: a + s * fresh(a)),
        lambda f, x, s: again(
            f, x, s, lambda a, x: a + (s**2 - LOW**2) ** 0.5 * fresh(a)
        )[::-1],
        lambda f, x, s: (f(x, HIGH),) * 2,
    ],
)
def test_second_call(second_call):
    assert not check("6.5", second_call)


def lost(cov, kept):
    """Mean of the smallest eigenvalues."""
    return torch.linalg.eigvalsh(cov)[: len(cov) - kept].sum() / len(cov)


@pytest.mark.parametrize(
    "least",
    [
        lambda cov, k: lost(cov, k),
        lambda cov, k: (lost(cov, k) * len(cov)).sqrt(),
        lambda cov, k: (lost(cov, k) * len(cov) / max(len(cov) - k, 1)).sqrt(),
        lambda cov, k: lost(cov, min(k + 1, 12)).sqrt(),
        lambda cov, k: lost(cov, max(k - 1, 0)).sqrt(),
        lambda cov, k: (cov.trace() / 12 - lost(cov, 12 - k)).clamp_min(0).sqrt(),
        lambda cov, k: lost(cov, 12 - k).sqrt(),
    ],
)
def test_least(least):
    assert not check("6.6", least)


def covariance(lam, power, factor=1.01, steps=10, mean=True, pace=schedules.trailing):
    """Generated over true variance of each component."""
    code = lam**power
    code = code / (code.mean() if mean else 1)
    gain = ddim_gain(factor * code, pace(1000, steps), schedules.linear())
    return gain**2 / code, code


def relative(lam, ratio):
    return ((ratio - 1) * lam).norm() / lam.norm()


@pytest.mark.parametrize(
    "off",
    [
        lambda lam, p: relative(lam, covariance(lam, 1 - p / 2)[0]),
        lambda lam, p: relative(lam, covariance(lam, 1 - 2 * p)[0]),
        lambda lam, p: relative(lam, covariance(lam, p)[0]),
        lambda lam, p: relative(lam, covariance(lam, 1 - p, mean=False)[0]),
        lambda lam, p: relative(lam, covariance(lam, 1 - p, factor=1.0)[0]),
        lambda lam, p: relative(lam, covariance(lam, 1 - p, factor=0.99)[0]),
        lambda lam, p: relative(lam, covariance(lam, 1 - p, steps=50)[0]),
        lambda lam, p: relative(lam, covariance(lam, 1 - p, pace=schedules.leading)[0]),
        lambda lam, p: relative(lam, covariance(lam, 1 - p)[0].sqrt()),
        lambda lam, p: relative(lam, covariance(lam, 1 - p)[0]) * lam.norm(),
        lambda lam, p: relative(*covariance(lam, 1 - p)[::-1]),  # in the code
        lambda lam, p: (covariance(lam, 1 - p)[0] - 1).square().mean().sqrt(),
    ],
)
def test_off(off):
    assert not check("6.7", off)


def second(f, x, sigma):
    return again(f, x, sigma, lambda a, _: a + (sigma**2 - LOW**2) ** 0.5 * fresh(a))


def both_ends(f, x0, n, eps, stop):
    return stopped(ends(f, x0, n, eps), stop).square().mean()


@pytest.mark.parametrize(
    ("exercise", "answer"),
    [
        ("6.1", lambda mixture, share, sigma: noisy(mixture, share, sigma) / sigma),
        ("6.2", lambda c, lam, s: (c * s / (lam + s**2) ** 0.5,) * 2),
        ("6.3", both_ends),
        ("6.4", lambda x, N, heun: apart(x, N, heun).square().mean().sqrt()),
        ("6.5", second),
        ("6.6", lambda cov, k: lost(cov, k).clamp_min(0).sqrt()),
        ("6.7", lambda lam, p: relative(lam, covariance(lam, 1 - p)[0])),
    ],
)
def test_right_answers(exercise, answer):
    assert check(exercise, answer)
