"""Exercises of chapter 16: plausible wrong answers are refused."""

import math
from itertools import permutations

import pytest
import torch

from helpers import nullspace, sampling, schedules
from helpers.checks import check
from helpers.denoisers import Optimal
from helpers.metrics import nearest
from helpers.nullspace import released_mask


def largest_first(*three):
    return sorted(three, key=abs, reverse=True)


def widest_error(*three):
    """The worst order instead of the best."""

    def off(order):
        a, b, c = order
        return abs(math.fsum(map(float, order)) - float((a + b) + c))

    return max(permutations(three), key=off)


WRONG_1 = {
    "as they come": lambda *three: three,
    "small numbers first": lambda *three: sorted(three, key=abs),
    "the worst order": widest_error,
    "rising": lambda *three: sorted(three),
    "the sum": lambda a, b, c: (a + c) + b,
}


@pytest.mark.parametrize("answer", WRONG_1.values(), ids=WRONG_1)
def test_orders(answer):
    assert not check("16.1", answer)


def test_the_largest_numbers_may_come_first():
    assert check("16.1", largest_first)


def decomposed(a):
    lam, U = torch.linalg.eigh(a.outer(a))
    U, s = U.flip(1), lam.flip(0).clamp_min(0)
    s[1:] = 0
    return U, s


def both_moved(a):
    U, s = decomposed(a)
    U = torch.cat([U[:, :1], U[:, 1:].roll(1, dims=1)], 1)
    return U, s, U.T


def a_sign(a):
    U, s = decomposed(a)
    V = U.clone()
    V[:, 1:] *= -1
    return U, s, V.T


def not_transposed(a):
    U, s = decomposed(a)
    return U, s, torch.cat([U[:, :1], U[:, 1:].roll(1, dims=1)], 1)


def all_moved(a):
    U, s = decomposed(a)
    return U, s, U.roll(1, dims=1).T


WRONG_2 = {
    "svd": lambda a: nullspace.svd(a.outer(a)),
    "U and V moved alike": both_moved,
    "other signs only": a_sign,
    "V instead of its transpose": not_transposed,
    "also the first moved": all_moved,
    "s not squared": lambda a: (
        both_moved(a)[0],
        decomposed(a)[1] ** 0.5,
        all_moved(a)[2],
    ),
}


@pytest.mark.parametrize("answer", WRONG_2.values(), ids=WRONG_2)
def test_decompositions(answer):
    assert not check("16.2", answer)


def along(cov, sigma, j, size=1e-3):
    u = torch.linalg.eigh(cov).eigenvectors[:, j]
    return size * sigma**2 * u.outer(u)


WRONG_3 = {
    "along the largest variance": lambda cov, s: along(cov, s, -1),
    "negative": lambda cov, s: -along(cov, s, 0),
    "of every direction": lambda cov, s: 1e-3 * s**2 * torch.eye(len(cov)),
    "sigma for its square": lambda cov, s: along(cov, s, 0) / s,
    "a vector": lambda cov, s: 1e-3 * s**2 * torch.linalg.eigh(cov).eigenvectors[:, 0],
    "too large": lambda cov, s: along(cov, s, 0, 1.0),
}


@pytest.mark.parametrize("answer", WRONG_3.values(), ids=WRONG_3)
def test_errors_of_a_covariance(answer):
    assert not check("16.3", answer)


def differing(S, right, tau, own=True, over=None):
    mask = released_mask(S, tau).mask | (own * torch.eye(len(S))).bool()
    return (mask ^ right).sum().item() / (over or right.sum().item())


WRONG_4 = {
    "outputs that see nothing": lambda *a: differing(*a, own=False),
    "of all entries": lambda S, r, t: differing(S, r, t, over=r.numel()),
    "the transpose": lambda S, r, t: differing(S.T, r, t),
    "entries that agree": lambda S, r, t: 1 - differing(S, r, t),
    "only what is missing": lambda S, r, t: (
        (r & ~(released_mask(S, t).mask | torch.eye(len(S)).bool())).sum() / r.sum()
    ),
    "each row its own threshold": lambda S, r, t: (
        ((S.abs() >= t * S.abs().amax(1, True)) ^ r).sum() / r.sum()
    ),
}


@pytest.mark.parametrize("answer", WRONG_4.values(), ids=WRONG_4)
def test_shares_of_a_mask(answer):
    assert not check("16.4", answer)


def varying(S):
    own = S.diagonal()
    return own[own >= nullspace.CONSTANT]


WRONG_5 = {
    "no square root": lambda S: varying(S).min() / varying(S).max(),
    "upside down": lambda S: (varying(S).max() / varying(S).min()) ** 0.5,
    "constant pixels, too": lambda S: (S.diagonal().min() / S.diagonal().max()) ** 0.5,
    "the released one": lambda S: 0.005,
    "one over the largest ratio": lambda S: 0.5 / released_mask(S, 0.1).largest,
    "always one": lambda S: 1.0,
}


@pytest.mark.parametrize("answer", WRONG_5.values(), ids=WRONG_5)
def test_thresholds(answer):
    assert not check("16.5", answer)


def within(train, x, share):
    square = (train.double() - x.double()).square().flatten(1).sum(1)
    return (square <= share * square.min()).nonzero()[:, 0].tolist()


WRONG_6 = {
    "argmin": lambda y, x: [int((y - x).square().flatten(1).sum(1).argmin())],
    "equal to the last bit": lambda y, x: within(y, x, 1.0),
    "ten percent": lambda y, x: within(y, x, 1.1),
    "always two": lambda y, x: nearest(x[None], y, 2).index[0].tolist(),
    "the images": lambda y, x: y[within(y, x, 1.0001)],
}


@pytest.mark.parametrize("answer", WRONG_6.values(), ids=WRONG_6)
def test_ties(answer):
    assert not check("16.6", answer)


def rounded(x, bits):
    m, e = torch.frexp(x)
    return torch.ldexp((m * 2**bits).round() / 2**bits, e)


def ends(y, start, bits, steps=10, what=lambda step: step.x0_hat):
    best = Optimal(y)
    times = schedules.leading(1000, steps)
    walk = sampling.ddim(
        lambda x, s: best(rounded(x, bits), s), start, schedules.linear(), times
    )
    return nearest(what(sampling.last(walk)), y).index[:, 0]


WRONG_7 = {
    "nothing rounded": lambda y, start, bits: ends(y, start, 52),
    "nearest to the start": lambda y, x, bits: nearest(rounded(x, bits), y).index[:, 0],
    "one step": lambda y, start, bits: ends(y, start, bits, 1),
    "two bits more": lambda y, start, bits: ends(y, start, bits + 2),
    "the start alone is rounded": lambda y, start, bits: ends(
        y, rounded(start, bits), 52, 5
    ),
    "distances": lambda y, start, bits: nearest(start, y).distance[:, 0],
}


@pytest.mark.parametrize("answer", WRONG_7.values(), ids=WRONG_7)
def test_walks(answer):
    assert not check("16.7", answer)
