"""Exercises of chapter 15: plausible wrong answers are refused."""

import pytest
import torch

from helpers import planted
from helpers.checks import check
from helpers.checks.chapter_15 import gain


def strength_of_two(s, lam, sigma, kappa=2.0, power=2, limit=1.0):
    q = 1 / (lam + sigma**2)
    return limit * sigma**2 * q**2 * s**power / (1 + s**power * kappa * q)


WRONG_1 = {
    "kappa of one pixel": lambda *c: strength_of_two(*c, kappa=1.0),
    "s for its square": lambda *c: strength_of_two(*c, power=1),
    "twice": lambda *c: strength_of_two(*c, limit=2.0),
    "always one half": lambda s, lam, sigma: s**2 / (2 * s**2 + sigma**2),
    "the own place, too": lambda s, lam, sigma: (
        strength_of_two(s, lam, sigma) + lam / (lam + sigma**2)
    ),
    "sigma for its square": lambda s, lam, sigma: strength_of_two(s, lam, sigma**0.5),
}


@pytest.mark.parametrize("answer", WRONG_1.values(), ids=WRONG_1)
def test_two_pixels(answer):
    assert not check("15.1", answer)


NUMBERS = {0.01: 1_668_000, 0.02: 109_400, 0.1: 490}  # about right

WRONG_2 = {
    "error for its square": lambda s: (1200 * NUMBERS[s]) ** 0.5,
    "as large as what it adds": lambda s: NUMBERS[s] / 100,
    "of a half": lambda s: NUMBERS[s] / 4,
    "of a twentieth": lambda s: NUMBERS[s] * 4,
    "as s^-2": lambda s: 5 / s**2,
}


@pytest.mark.parametrize("answer", WRONG_2.values(), ids=WRONG_2)
def test_numbers_of_leaves(answer):
    assert not check("15.2", answer)


def test_about_the_right_number_of_leaves_is_enough():
    assert check("15.2", NUMBERS.get)


def woodbury(R, sigma, p1, p2, s1, s2, own=1.0, mixed=1.0, scale=None):
    B = torch.stack([s1 * p1, s2 * p2], dim=1)
    inside = B.T @ R @ B
    inside = mixed * inside + (1 - mixed) * inside.diag().diag() + own * torch.eye(2)
    scale = sigma**2 if scale is None else scale
    return scale * R @ B @ torch.linalg.pinv(inside.to(B)) @ B.T @ R


def squares(f):
    return lambda R, sigma, p1, p2, s1, s2: f(R, sigma, p1, p2, s1**0.5, s2**0.5)


WRONG_3 = {
    "one by one": lambda *c: woodbury(*c, mixed=0.0),
    "no sigma squared": lambda *c: woodbury(*c, scale=1.0),
    "the sign": lambda *c: -woodbury(*c),
    "no identity": lambda *c: woodbury(*c, own=0.0),
    "the change of the covariance": lambda R, sigma, p1, p2, s1, s2: (
        s1**2 * p1.outer(p1) + s2**2 * p2.outer(p2)
    ),
    "doses for their squares": squares(woodbury),
    "one pattern": lambda R, sigma, p1, p2, s1, s2: woodbury(R, sigma, p1, p1, s1, s2),
}


@pytest.mark.parametrize("answer", WRONG_3.values(), ids=WRONG_3)
def test_changes_by_two_patterns(answer):
    assert not check("15.3", answer)


def courses(cov, p, sigma, eta, own):
    """The strength along 600 steps, and in the end."""
    lam, U = torch.linalg.eigh(cov)
    weight = ((p @ U) ** 2 - (not own) * (p @ U**2)) * lam / (lam + sigma**2)
    left = (1 - eta * (lam + sigma**2)) ** torch.arange(600)[:, None]
    return torch.cat([(1 - left) @ weight, weight.sum()[None]])


def half(cov, p, s, sigma, eta, own=False, alone=False, late=0, dose=2):
    added = courses(cov + s**dose * p.outer(p), p, sigma, eta, own)
    added = added if alone else added - courses(cov, p, sigma, eta, own)
    return int((added[:-1] >= added[-1] / 2).nonzero()[0]) + late


WRONG_4 = {
    "one step late": lambda *c: half(*c, late=1),
    "the place itself, too": lambda *c: half(*c, own=True),
    "with the pattern alone": lambda *c: half(*c, alone=True),
    "the dose for its square": lambda *c: half(*c, dose=1),
    "the rate of one pixel": lambda cov, p, s, sigma, eta: (
        0.69 / (eta * (s**2 + sigma**2))
    ),
    "rule of thumb": lambda cov, p, s, sigma, eta: (
        0.69 / (eta * (p @ cov @ p / p.sum() + s**2 * p.sum() + sigma**2))
    ),
}


@pytest.mark.parametrize("answer", WRONG_4.values(), ids=WRONG_4)
def test_steps(answer):
    assert not check("15.4", answer)


def sized(x, pattern, s, a, room, generator, shape=None, common=False):
    sign = torch.randint(2, shape or x.shape, generator=generator) * 2 - 1
    a = a if common else a.abs()
    return (1 - room) * x + s * a.view(-1, 1, 1, 1) * sign * pattern


WRONG_5 = {
    "one sign for an image": lambda x, *c: sized(x, *c, shape=(len(x), 1, 1, 1)),
    "one sign for a place": lambda x, *c: sized(x, *c, shape=x.shape[1:]),
    "no sign": lambda x, p, s, a, room, g: planted.plant(x, p, s, a, room),
    "on all pixels": lambda x, p, *c: sized(x, torch.ones_like(p).float(), *c),
    "contrast kept": lambda x, p, s, a, room, g: sized(x, p, s, a, 0.0, g),
    "the square of a": lambda x, p, s, a, room, g: sized(x, p, s, a**2, room, g),
    "half of the pixels": lambda x, p, s, a, room, g: (
        (1 - room) * x + s * a.view(-1, 1, 1, 1) * torch.randint(2, x.shape) * p
    ),
}


@pytest.mark.parametrize("answer", WRONG_5.values(), ids=WRONG_5)
def test_shared_sizes(answer):
    assert not check("15.5", answer)


def window(side, k):
    i = torch.arange(side**2)
    steps = [(v[:, None] - v[None]).abs() for v in (i // side, i % side)]
    return torch.maximum(*steps) <= k // 2


def solved(cov, side, k, sigma, row=False, noise=1.0):
    found = torch.zeros_like(cov)
    for m, w in enumerate(window(side, k)):
        weights = gain(cov[w][:, w], noise * sigma)[:, (w.nonzero()[:, 0] == m)]
        found[m, w] = weights[:, 0]
    return found.T if row else found


WRONG_6 = {
    "the full filter, cut": lambda cov, side, k, sigma: (
        gain(cov, sigma).T * window(side, k)
    ),
    "the full filter": lambda cov, side, k, sigma: gain(cov, sigma),
    "the covariance, cut": lambda cov, side, k, sigma: gain(
        cov * window(side, k), sigma
    ),
    "columns for rows": lambda *c: solved(*c, row=True),
    "half of the noise": lambda *c: solved(*c, noise=0.5**0.5),
    "a larger window": lambda cov, side, k, sigma: solved(cov, side, k + 2, sigma),
}


@pytest.mark.parametrize("answer", WRONG_6.values(), ids=WRONG_6)
def test_windows(answer):
    assert not check("15.6", answer)


WRONG_7 = {
    "inverse permutation": lambda S, order, m: S[order.argsort()[m], order.argsort()],
    "only the output moved": lambda S, order, m: S[order[m]],
    "only the inputs moved": lambda S, order, m: S[m, order],
    "nothing moved": lambda S, order, m: S[m],
    "inputs the other way": lambda S, order, m: S[order[m], order.argsort()],
}


@pytest.mark.parametrize("answer", WRONG_7.values(), ids=WRONG_7)
def test_scrambled_rows(answer):
    assert not check("15.7", answer)


def power(exponent):
    return lambda lam: torch.where(lam > 0, lam, 1.0) ** exponent


def clothed(x, first, second, down=-0.5, up=0.5, back=1.0, turned=False):
    z = x.flatten(1) - first.mu
    roots = (first, power(down)), (second, power(up))
    for w, f in reversed(roots) if turned else roots:
        z = w.apply(f, z)
    return (z + back * second.mu).view_as(x)


WRONG_8 = {
    "the other way around": lambda x, a, b: clothed(x, b, a),
    "coloured first": lambda x, a, b: clothed(x, a, b, turned=True),
    "not a root": lambda x, a, b: clothed(x, a, b, -1.0, 1.0),
    "white only": lambda x, a, b: clothed(x, a, b, up=0.0),
    "no mean": lambda x, a, b: clothed(x, a, b, back=0.0),
    "a rotation between": lambda x, a, b: clothed(
        (clothed(x, a, a, up=0.0, back=0.0).flip(-1).flatten(1) @ root(a)).view_as(x)
        + a.mu.view(x.shape[1:]),
        a,
        b,
    ),
}


def root(wiener):
    return wiener.apply(torch.sqrt, torch.eye(len(wiener.mu)).double())


@pytest.mark.parametrize("answer", WRONG_8.values(), ids=WRONG_8)
def test_clothes(answer):
    assert not check("15.8", answer)
