"""Answers that are nearly right are refused by the checks of chapter 8."""

import math

import pytest
import torch

from helpers import sampling, schedules
from helpers.checks import check
from helpers.checks.chapter_08 import plane, sampled
from helpers.denoisers import Optimal
from helpers.forward import gaussian_noise, posterior_variance, step_variance
from helpers.mixtures import two_point

schedule = schedules.linear()


@pytest.mark.parametrize(
    "answer",
    [
        lambda x, sigma, p: math.tanh(x / sigma**2),  # no prior
        lambda x, sigma, p: math.tanh(x / sigma**2 + math.log(p / (1 - p))),
        lambda x, sigma, p: math.tanh(x / sigma**2 - math.log(p / (1 - p)) / 2),
        lambda x, sigma, p: math.tanh(x / sigma + math.log(p / (1 - p)) / 2),
        lambda x, sigma, p: math.tanh(x / sigma**2 + 2 * p - 1),
        lambda x, sigma, p: math.tanh(x / sigma**2) + 2 * p - 1,
    ],
)
def test_loaded_pixel(answer):
    assert not check("8.1", answer)


def gaussian(x, m, lam, sigma, total=None, sign=-1):
    total = total or lam + sigma**2
    log_density = -((x - m) ** 2 / total + math.log(2 * math.pi * total)) / 2
    score = sign * (x - m) / total
    return log_density, score, x + sigma**2 * score, lam * sigma**2 / total


@pytest.mark.parametrize(
    "answer",
    [
        lambda x, m, lam, sigma: gaussian(x, m, lam, sigma, sign=1),
        lambda x, m, lam, sigma: gaussian(x, m, lam, sigma, lam + sigma),
        lambda x, m, lam, sigma: gaussian(x, m, lam**2, sigma),  # lam as a deviation
        lambda x, m, lam, sigma: gaussian(x, 0.0, lam, sigma),
        lambda x, m, lam, sigma: (*gaussian(x, m, lam, sigma)[:3], lam + sigma**2),
        lambda x, m, lam, sigma: (
            *gaussian(x, m, lam, sigma)[:3],
            lam / (lam + sigma**2),  # without sigma^2
        ),
        lambda x, m, lam, sigma: (
            gaussian(x, m, lam, sigma)[0] + math.log(2 * math.pi) / 2,
            *gaussian(x, m, lam, sigma)[1:],
        ),
    ],
)
def test_gaussian_data(answer):
    assert not check("8.2", answer)


def spread(values, weights):
    return weights @ (values - weights @ values) ** 2


@pytest.mark.parametrize(
    "error",
    [
        lambda values, weights, k: spread(values, weights) * 2,
        lambda values, weights, k: spread(values, weights) / k,  # no truth
        lambda values, weights, k: spread(values, weights) * (1 + 1 / k**0.5),
        lambda values, weights, k: values.var(correction=0) * (1 + 1 / k),
        lambda values, weights, k: spread(values, weights) * (1 + 1 / (k + 1)),
        lambda values, weights, k: spread(values, weights) ** 0.5 * (1 + 1 / k),
        lambda values, weights, k: 1 + 1 / k,
    ],
)
def test_draws(error):
    assert not check("8.3", error)


@pytest.mark.parametrize(
    "better",
    [
        lambda x, sigma: x,
        lambda x, sigma: (x - plane()(x, sigma)) / sigma,  # the noise
        lambda x, sigma: plane()(x, sigma).flatten(1),
        lambda x, sigma: plane()(x * (1 + sigma**2) ** 0.5, sigma),  # x for x_t
        lambda x, sigma: plane()(x, sigma) + 0.05 * sigma,  # like the net: too far off
        lambda x, sigma: plane()(x, 2 * sigma),
        lambda x, sigma: 0 * x,
    ],
)
def test_better_net(better):
    assert not check("8.4", better)


def test_the_exact_denoiser_passes_for_a_better_net():
    assert check("8.4", plane())


def walked(times, variance=posterior_variance):
    generator = torch.Generator().manual_seed(1)
    noise = gaussian_noise(generator)
    start = sampling.start(500, (1, 1, 2), noise, plane().means)
    walk = sampling.ancestral(plane(), start, schedule, noise, times, variance)
    return plane().log_density(sampling.last(walk).x0_hat, 0.01)


@pytest.mark.parametrize(
    "share_off",
    [
        lambda times: 1 - sampled(plane(), times, 300, torch.Generator()),
        lambda times: 300 * sampled(plane(), times, 300, torch.Generator()),
        lambda times: (walked(times, step_variance) < -2.5).double().mean(),
        lambda times: (walked(times) < 0).double().mean(),  # another floor
        lambda times: 1 / len(times),
    ],
)
def test_share_off(share_off):
    assert not check("8.5", share_off)


def floors(images, x0, x, sigma):
    w, y = Optimal(images).weights(x, sigma), images.flatten(1)
    answer = w @ y
    error = (answer - x0.flatten(1)).square().sum(1)
    return error, w @ y.square().sum(1) - answer.square().sum(1)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda error, trace: (error / 64, trace / 64),
        lambda error, trace: (error, trace / 64),
        lambda error, trace: (error, error),
        lambda error, trace: (error.mean(), trace.mean()),
        lambda error, trace: (error.sqrt(), trace),
        lambda error, trace: (trace, error),
    ],
)
def test_floors(wrong):
    assert check("8.6", floors)
    assert not check("8.6", lambda *given: wrong(*floors(*given)))


def test_floors_without_the_noise_level():
    """At sigma = 1 a forgotten sigma^2 does no harm, so it is asked at another, too."""
    assert not check("8.6", lambda *given: floors(*given[:3], 1.0))


def moments(t, low, high, even=False):
    """Weights of points in the bin and the answers there."""
    points = torch.linspace(low, high, 1001, dtype=torch.float64)
    x = points.view(-1, 1, 1, 1) / schedule.alpha_bar[t].sqrt()
    p = two_point().log_density(x, schedule.sigma[t]).softmax(0)
    p = torch.full_like(p, 1 / len(p)) if even else p
    return p, two_point()(x, schedule.sigma[t]).flatten()


def gain(t, low, high, even=False):
    p, answers = moments(t, low, high, even)
    M = p @ answers
    return (1 - M**2) / (p @ (answers - M) ** 2)


@pytest.mark.parametrize(
    "answer",
    [
        lambda *bin_: 1 / gain(*bin_),
        lambda *bin_: gain(*bin_) ** 0.5,
        lambda *bin_: gain(*bin_) - 1,  # the mean posterior variance: in wide bins
        lambda *bin_: gain(*bin_, even=True),
        lambda t, low, high: gain(t, 2 * low, 2 * high),
        lambda t, low, high: 1 / (high - low) ** 2,
    ],
)
def test_gain(answer):
    assert check("8.7", gain)
    assert not check("8.7", answer)
