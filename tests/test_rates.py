"""Rates: equal words, and the bound of an image against closed forms."""

import dataclasses

import pytest
import torch
from test_codec import digits, gaussian_codec, image_bound

from helpers import bound, rates
from helpers.forward import gaussian_noise
from helpers.schedules import from_sigma
from helpers.wiener import Wiener

WIENER = Wiener.fit(digits(2).double() / 8 - 1)
LAM = WIENER.lam.numpy()


def ERROR(sigma):
    """The mean squared error of a pixel, in closed form."""
    return float((LAM * sigma**2 / (LAM + sigma**2)).mean())


def noise(seed=0):
    return gaussian_noise(torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("T", [2, 5, 12])
def test_words_cost_the_same(T):
    levels = rates.equal_words(ERROR, 0.15, 4.0, T)
    schedule = from_sigma(levels)
    assert (len(levels), levels[0], levels[-1]) == (T, 0.15, 4.0)
    table = rates.best_variances(schedule, ERROR)
    t = torch.arange(2, T + 1)
    mmse = torch.tensor([ERROR(s) for s in schedule.sigma[1:].tolist()]).double()
    nats = bound.step_kl(schedule, t, mmse[1:], table[2:])
    assert nats.tolist() == pytest.approx([nats[0].item()] * (T - 1), rel=1e-6)


def test_many_small_words_add_up_to_the_information():
    """For Gaussian data: the mean over directions of 1/2 ln (lam + s^2) / s^2."""
    levels = rates.equal_words(ERROR, 0.15, 4.0, 400)
    schedule = from_sigma(levels)
    table = rates.best_variances(schedule, ERROR)
    t = torch.arange(2, 401)
    mmse = torch.tensor([ERROR(s) for s in levels.tolist()]).double()
    total = bound.step_kl(schedule, t, mmse[1:], table[2:]).sum().item()
    low, high = (torch.log1p(WIENER.lam / s**2).mean().item() / 2 for s in (4, 0.15))
    assert total == pytest.approx(high - low, rel=0.01)


def test_best_variances_are_best():
    schedule = from_sigma([0.2, 0.5, 2.0])
    best, mmse = rates.best_variances(schedule, ERROR), ERROR(0.5)
    terms = [
        bound.step_kl(schedule, 2, mmse, f * best[2]).item() for f in (0.9, 1, 1.1)
    ]
    assert terms[1] < min(terms[0], terms[2])
    assert best[1].item() == pytest.approx(ERROR(0.2))


def test_measured_errors_meet_the_exact_ones():
    x0 = digits(2).double() / 8 - 1
    grid = torch.logspace(-1, 1, 15, dtype=torch.float64)
    curve = rates.error_curve(WIENER, x0, grid, noise())
    for sigma in (0.13, 0.4, 2.2, 9.0):
        assert curve(sigma) == pytest.approx(ERROR(sigma), rel=0.03)


def test_bits_of_an_image_meet_the_closed_form():
    codec = gaussian_codec(digits(2), [0.15, 0.4, 1.0, 4.0])
    images = digits(2)[3:5]
    many = images.repeat_interleave(400, 0)
    found = rates.image_bits(codec, many, noise()).view(2, 400, 5)
    for image, rows in zip(images, found):
        walk = rows[:, 1:].sum(1)
        error = walk.std().item() / 20
        assert walk.mean().item() == pytest.approx(
            image_bound(codec, image), abs=4 * error
        )
    wide = dataclasses.replace(codec, variance=2 * codec.variance)
    assert rates.image_bits(wide, many, noise()).mean() > found.mean()


def test_first_price_is_that_of_the_decoder():
    """L_0 by hand: the mass of the bin, in counts of the coder."""
    codec = gaussian_codec(digits(2), [0.15, 1.0])
    image = digits(2)[:1]

    def silent(x):
        return torch.zeros_like(x)

    found = rates.image_bits(codec, image, silent)[0, 0].item()
    mean = codec.denoise(codec.unit(image), 0.15).flatten()
    law = torch.distributions.Normal(mean, codec.variance[1].sqrt())
    k = image.flatten().double()
    low = torch.where(k > 0, law.cdf((k - 0.5) / 8 - 1), 0.0)
    high = torch.where(k < 16, law.cdf((k + 0.5) / 8 - 1), 1.0)
    mass = (high - low) * (1 - 17 / 2**16) + 1 / 2**16
    assert found == pytest.approx(-mass.log2().sum().item(), abs=0.02)


@pytest.mark.parametrize("first, last, T", [(0.0, 1.0, 4), (2.0, 1.0, 4), (0.1, 1, 1)])
def test_bad_levels(first, last, T):
    with pytest.raises(ValueError, match="need 0 < first < last, T > 1"):
        rates.equal_words(ERROR, first, last, T)
