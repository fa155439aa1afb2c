"""The smoothed closed form against its own letters, and the nearest image."""

import math
from itertools import pairwise

import pytest
import torch
from torch.autograd import gradcheck

from helpers import smoothed
from helpers.denoisers import Optimal
from helpers.metrics import nearest
from helpers.search import Search
from helpers.smoothed import Nearest, Smoothed


def randn(*shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=dtype)


def images(N, seed=0):
    return randn(N, 2, 3, 4, seed=seed).clamp(-1, 1)


def theirs(data, z, t, noises, s):
    """$k_{s,t}(z)$ of one z with loops, as in Scarvelis et al."""
    total = torch.zeros_like(z)
    for eps in noises:
        gaps = [(z + s * eps - t * y).square().sum().item() for y in data]
        logits = [-g / (2 * (1 - t) ** 2) for g in gaps]
        masses = [math.exp(l - max(logits)) for l in logits]
        total += sum(m / sum(masses) * t * y for m, y in zip(masses, data))
    return total / len(noises)


@pytest.mark.parametrize("t", [0.02, 0.3, 0.7, 0.97])
@pytest.mark.parametrize("s", [0.0, 0.2, 1.0])
def test_it_is_their_formula_in_their_letters(t, s):
    """Denoiser and velocity, after z = t x and sigma = (1 - t) / t."""
    data, noises = images(7), randn(4, 2, 3, 4, seed=5)
    z = t * images(1, seed=1) + (1 - t) * randn(1, 2, 3, 4, seed=2)
    x, sigma = z / t, (1 - t) / t
    k = theirs(data, z[0], t, noises, s)
    got = Smoothed(data, noises, s)(x, sigma)
    torch.testing.assert_close(t * got[0], k, rtol=1e-9, atol=1e-12)
    score = (k - z[0]) / (1 - t) ** 2
    velocity = (z[0] + (1 - t) * score) / t
    # E[x0 - eps | z] with x0 = D and z = t x0 + (1 - t) eps
    torch.testing.assert_close((got[0] - z[0]) / (1 - t), velocity)


@pytest.mark.parametrize("sigma", [0.05, 0.8, 20.0])
def test_without_smoothing_it_is_the_optimal_denoiser(sigma):
    data, x = images(20), images(3, seed=1)
    expected = Optimal(data)(x, sigma)
    got = Smoothed(data, randn(5, 2, 3, 4), s=0.0)(x, sigma)
    torch.testing.assert_close(got, expected)


def test_little_noise_gives_the_barycentre_of_m_training_images():
    data, x, s = images(50), images(3, seed=1), 0.8
    noises, sigma = randn(4, 2, 3, 4, seed=5), 1e-3
    got = Smoothed(data, noises, s)(x, sigma)
    for answer, image in zip(got, x):
        index = nearest(image + s * (1 + sigma) * noises, data).index[:, 0]
        torch.testing.assert_close(answer, data[index].mean(dim=0))
        assert len(index.unique()) > 1  # or there was nothing to test


def test_the_last_step_of_the_flow_is_a_barycentre():
    """Euler steps of their velocity down to t = 1, as far as where they land."""
    data, noises = images(50), randn(3, 2, 3, 4, seed=5)
    denoise, z = Smoothed(data, noises, 0.3), randn(2, 2, 3, 4, seed=6)
    times = torch.linspace(0.02, 1.0, 80).tolist()
    for t, u in pairwise(times):
        k_t = t * denoise(z / t, (1 - t) / t)
        z = z + (u - t) * (k_t - t * z) / (t * (1 - t))
    last = denoise(z, 1e-4)
    torch.testing.assert_close(z, last, rtol=0, atol=1e-6)


def test_one_sigma_per_image_and_the_batch_change_nothing(monkeypatch):
    data, x = images(20), images(5, seed=1)
    sigma = torch.tensor([0.01, 0.1, 1.0, 9.0, 60.0])
    denoise = Smoothed(data, randn(3, 2, 3, 4), s=0.4)
    whole = denoise(x, sigma)
    monkeypatch.setattr(smoothed, "QUERIES", 6)  # two images at a time
    torch.testing.assert_close(denoise(x, sigma), whole)
    for i in range(5):
        alone = denoise(x[i : i + 1], float(sigma[i]))
        torch.testing.assert_close(whole[i : i + 1], alone)


@pytest.mark.parametrize("sigma", [0.002, 0.05, 3.0])
def test_float32_loses_nothing(sigma):
    data, noises = images(200).float(), randn(4, 2, 3, 4, seed=5).float()
    x = (images(3, seed=1) + sigma * randn(3, 2, 3, 4, seed=2)).float()
    expected = Smoothed(data.double(), noises.double(), 0.2)(x.double(), sigma)
    error = (Smoothed(data, noises, 0.2)(x, sigma) - expected).norm()
    assert error < 1e-5 * expected.norm()


def test_gradients_are_those_of_finite_differences():
    data, x = images(6), images(2, seed=1).requires_grad_()
    denoise = Smoothed(data, randn(3, 2, 3, 4), s=0.4)
    assert gradcheck(lambda x: denoise(x, 0.9), x)


def test_nearest_is_the_nearest():
    data, x = images(50), images(6, seed=1)
    gaps = torch.cdist(x.flatten(1), data.flatten(1))
    expected = data[gaps.argmin(dim=1)]
    for sigma in (0.01, 1.0, torch.linspace(0.1, 5, 6)):
        assert torch.equal(Nearest(data)(x, sigma), expected)
    found = Nearest(data, find=Search(data, 8).nearest)(x, 1.0)
    assert torch.equal(found, expected)


def test_without_scaling_it_is_the_nearest_to_x_t():
    data = images(50) * torch.linspace(0.1, 1, 50)[:, None, None, None]
    x, sigma = 2 * images(6, seed=1), torch.linspace(0.1, 5, 6)
    xt = x / (1 + sigma.double() ** 2).sqrt()[:, None, None, None]
    expected = data[torch.cdist(xt.flatten(1), data.flatten(1)).argmin(dim=1)]
    got = Nearest(data, scaled=False)(x, sigma)
    assert torch.equal(got, expected)
    assert not torch.equal(got, Nearest(data)(x, sigma))


def test_nearest_is_the_optimal_denoiser_at_little_noise():
    data, x = images(50), images(6, seed=1)
    torch.testing.assert_close(Nearest(data)(x, 1e-3), Optimal(data)(x, 1e-3))


def test_the_gradient_of_the_nearest_image_is_0():
    x = images(2, seed=1).requires_grad_()
    (gradient,) = torch.autograd.grad(Nearest(images(9))(x, 1.0).sum(), x)
    assert torch.equal(gradient, torch.zeros_like(x))


def test_bad_input():
    data, noises, x = images(3), randn(2, 2, 3, 4), images(2)
    for s in (-0.1, math.inf, math.nan):
        with pytest.raises(ValueError, match="s >= 0"):
            Smoothed(data, noises, s)
    with pytest.raises(ValueError, match="need a noise"):
        Smoothed(data, noises[:0], 0.1)
    with pytest.raises(ValueError, match="shape"):
        Smoothed(data, noises[..., 1:], 0.1)
    for make in (lambda data: Smoothed(data, noises, 0.1), Nearest):
        with pytest.raises(ValueError, match="no image"):
            make(images(0))
        with pytest.raises(ValueError, match=r"\[-1, 1\]"):
            make(3 + data)
        with pytest.raises(ValueError, match="shape"):
            make(data)(x[..., 1:], 1.0)
        with pytest.raises(ValueError, match="NaN"):
            make(data)(x * torch.nan, 1.0)
        for sigma in (0.0, math.inf, torch.ones(3)):
            with pytest.raises(ValueError, match=r"sigma|shape"):
                make(data)(x, sigma)
