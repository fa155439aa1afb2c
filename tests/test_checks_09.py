"""Answers that are nearly right are refused by the checks of chapter 9."""

import math

import pytest
import torch

from helpers import data
from helpers.checks import check
from helpers.denoisers import Optimal
from helpers.forward import gaussian_noise

DIGITS = data.load("digits")
NOISE = gaussian_noise(torch.Generator().manual_seed(0))


def odds(weight):
    return math.log(weight / (1 - weight))


@pytest.mark.parametrize(
    "largest_sigma",
    [
        lambda d, weight: d / math.sqrt(odds(weight)),
        lambda d, weight: d / (2 * odds(weight)),
        lambda d, weight: d**2 / (2 * odds(weight)),
        lambda d, weight: d / math.sqrt(-2 * math.log(1 - weight)),
        lambda d, weight: d / math.sqrt(2 * math.log2(weight / (1 - weight))),
        lambda d, weight: 0.3299 * d,  # for 0.99 only
    ],
)
def test_two_images(largest_sigma):
    assert not check("9.1", largest_sigma)


@pytest.mark.parametrize(
    "example",
    [
        lambda images: (images[:1], 0.3),  # without noise
        lambda images: (images[:1] + 20 * NOISE(images[:1]), 20.0),
        lambda images: (images[:1] + 5 * NOISE(images[:1]), 0.3),  # far-fetched
        lambda images: (images[:2] + 0.3 * NOISE(images[:2]), 0.3),
        lambda images: (0.3, images[:1]),
        lambda images: images[:1] + 0.3 * NOISE(images[:1]),
    ],
)
def test_outside(example):
    assert not check("9.2", example)


@pytest.mark.parametrize(
    "effective",
    [
        lambda w, copies: 1 / (w**2).sum(1),  # nothing changes
        lambda w, copies: 2 / (w**2).sum(1),
        lambda w, copies: 1 / (w**2 @ copies.to(w)),  # do not add up to 1
        lambda w, copies: 1 / ((w * copies) ** 2).sum(1),
        lambda w, copies: (w @ copies.to(w)) ** 2 / ((w * copies) ** 2).sum(1),
        lambda w, copies: copies.to(w).mean() / (w**2).sum(1),
        lambda w, copies: ((w @ copies.to(w)) ** 2 / (w**2 @ copies.to(w))).mean(),
    ],
)
def test_double_deck(effective):
    assert not check("9.3", effective)


def cumulant(images, x, sigma, centre=True):
    w, y = Optimal(images).weights(x, sigma)[0], images.flatten(1).double()
    y = y - w @ y if centre else y - y.mean(0)
    return torch.einsum("n,ni,nj,nk->ijk", w, y, y, y)


@pytest.mark.parametrize(
    "third",
    [
        cumulant,  # without sigma^2
        lambda images, x, sigma: cumulant(images, x, sigma) / sigma,
        lambda images, x, sigma: cumulant(images, x, sigma) / sigma**4,
        lambda images, x, sigma: -cumulant(images, x, sigma) / sigma**2,
        lambda images, x, sigma: cumulant(images, x, sigma, False) / sigma**2,
        lambda images, x, sigma: torch.zeros(3, 3, 3),
        lambda images, x, sigma: cumulant(images, x, sigma).sum(2) / sigma**2,
    ],
)
def test_second_derivative(third):
    assert not check("9.4", third)


def curves(x, sigma, unit=127.5 / 8):
    """Certificate and error for each k."""
    distance, order = (x - DIGITS).flatten(1).double().norm(dim=1).sort()
    w, y = (-(distance**2) / (2 * sigma**2)).exp(), DIGITS[order].flatten(1).double()
    answers = (w[:, None] * y).cumsum(0) / w.cumsum(0)[:, None]
    ratio = torch.arange(len(y) - 1, -1, -1) * w / w.cumsum(0)
    reach = (y - y.mean(0)).norm(dim=1).max() + (answers - y.mean(0)).norm(dim=1)
    error = (answers - answers[-1]).norm(dim=1)
    return ratio / (1 + ratio) * reach * unit, error * unit, ratio / (1 + ratio)


def first(curve, level=1.0):
    return int((curve < level).nonzero()[0]) + 1


def right(x, sigma):
    return tuple(first(curve) for curve in curves(x, sigma)[:2])


@pytest.mark.parametrize(
    "wrong",
    [
        lambda x, sigma: right(x, sigma)[::-1],
        lambda x, sigma: [k - 1 for k in right(x, sigma)],  # counted from 0
        lambda x, sigma: [first(c) for c in curves(x, sigma, 127.5)[:2]],  # lengths
        lambda x, sigma: [first(c) for c in curves(x, sigma, 1.0)[:2]],  # not in levels
        lambda x, sigma: (first(curves(x, sigma)[2], 0.01), right(x, sigma)[1]),
        lambda x, sigma: (len(DIGITS), right(x, sigma)[1]),
        lambda x, sigma: right(x, sigma)[0],
        lambda x, sigma: (200, 200),
    ],
)
def test_certificate(wrong):
    assert check("9.5", right)
    assert not check("9.5", wrong)


@pytest.mark.parametrize(
    "same_class",
    [
        lambda same, f: same + (1 - same) / len(f),  # all classes alike
        lambda same, f: same + (f**2).sum(),
        lambda same, f: (f**2).sum(),
        lambda same, f: same,
        lambda same, f: same * (f**2).sum(),
        lambda same, f: same + (1 - same) * f.max(),
        lambda same, f: same**2 + (1 - same**2) * (f**2).sum(),
    ],
)
def test_wrong_classes(same_class):
    assert not check("9.6", same_class)


def information(mixture, sigma, per_pixel=False, noisy=True):
    generator = torch.Generator().manual_seed(0)
    x0 = mixture.sample(4000, generator)
    eps = torch.randn(x0.shape, generator=generator, dtype=x0.dtype)
    given = torch.distributions.Normal(0.0, sigma).log_prob(sigma * eps).flatten(1)
    given = given.mean(1) if per_pixel else given.sum(1)
    x = x0 + sigma * eps if noisy else x0
    return (given - mixture.log_density(x, sigma)).mean().item()


@pytest.mark.parametrize(
    "answer",
    [
        lambda mixture, sigma: information(mixture, sigma) / math.log(2),  # bits
        lambda mixture, sigma: -information(mixture, sigma),
        lambda mixture, sigma: information(mixture, sigma, per_pixel=True),
        lambda mixture, sigma: information(mixture, sigma, noisy=False),
        lambda mixture, sigma: information(mixture, sigma**2),
        lambda mixture, sigma: information(mixture, sigma) / 2,
    ],
)
def test_information(answer):
    assert check("9.7", information)
    assert not check("9.7", answer)
