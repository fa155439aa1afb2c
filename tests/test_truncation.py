"""Images left out of the optimal denoiser: the bounds hold, pruning is exact."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.data import load
from helpers.denoisers import Optimal
from helpers.metrics import nearest
from helpers.truncation import Pruned, Truncated, missing_weight

DIGITS = load("digits")[:500].double()
OPTIMAL = Optimal(DIGITS)


def noisy(n, sigma, seed=1):
    generator = torch.Generator().manual_seed(seed)
    x = DIGITS[:n]
    return x + sigma * torch.randn(x.shape, generator=generator, dtype=x.dtype)


def find(x, k):
    return nearest(x, DIGITS, k)


@given(st.floats(0.05, 20.0), st.integers(1, 499))
@settings(max_examples=30, deadline=None)
def test_the_bounds_hold(sigma, k):
    x, few = noisy(8, sigma), Truncated(DIGITS, k, find)
    kept = OPTIMAL.weights(x, sigma).gather(1, find(x, k).index).sum(dim=1)
    found = few.certified(x, sigma)
    assert bool((1 - kept <= found.missing + 1e-12).all())
    error = (found.x0_hat - OPTIMAL(x, sigma)).flatten(1).norm(dim=1)
    assert bool((error <= found.error + 1e-10).all())


@pytest.mark.parametrize("sigma", [0.1, 1.0, 10.0])
def test_all_images_kept_is_the_optimal_denoiser(sigma):
    x, whole = noisy(8, sigma), Truncated(DIGITS, 500, find)
    torch.testing.assert_close(whole(x, sigma), OPTIMAL(x, sigma))
    assert torch.equal(whole.certified(x, sigma).error, torch.zeros(8).double())


def test_few_images_are_enough_at_low_noise_and_far_off_at_high():
    few = Truncated(DIGITS, 20)
    low, high = noisy(20, 0.3), noisy(20, 10.0)
    assert few.certified(low, 0.3).error.max() < 1e-3
    error = (few(high, 10.0) - OPTIMAL(high, 10.0)).flatten(1).norm(dim=1)
    assert error.median() > 1
    assert few.certified(high, 10.0).missing.min() > 0.5


def test_missing_weight_by_hand():
    """Two kept at distance 0 and 1, three left at 1 or farther, sigma = 1."""
    found = missing_weight(torch.tensor([[0.0, 1.0]]), 1.0, 3)
    left = 3 * math.exp(-0.5)
    assert found.item() == pytest.approx(left / (left + 1 + math.exp(-0.5)), rel=1e-12)


def test_missing_weight_far_away_is_not_nan():
    found = missing_weight(torch.tensor([[1e3, 1e3 + 1]]), 1e-3, 10)
    assert found.item() == 0.0


@pytest.mark.parametrize("sigma", [1e-3, 0.05, 0.3, 1.0, 5.0, 50.0])
def test_pruned_is_the_optimal_denoiser(sigma):
    x = noisy(12, sigma)
    torch.testing.assert_close(
        Pruned(DIGITS)(x, sigma), OPTIMAL(x, sigma), rtol=1e-12, atol=1e-13
    )


def test_pruned_leaves_images_out(monkeypatch):
    """At low noise the sum over all images is never asked for."""
    pruned, used = Pruned(DIGITS), []
    monkeypatch.setattr(
        "helpers.truncation.Optimal", lambda y: used.append(len(y)) or Optimal(y)
    )
    pruned(noisy(4, 0.1), 0.1)
    assert used and used[0] < 50


def test_one_sigma_per_image():
    x, sigma = noisy(3, 0.2), torch.tensor([0.05, 0.2, 2.0], dtype=torch.float64)
    pruned, few = Pruned(DIGITS), Truncated(DIGITS, 30)
    for i in range(3):
        one, s = x[i : i + 1], sigma[i].item()
        torch.testing.assert_close(pruned(x, sigma)[i : i + 1], pruned(one, s))
        torch.testing.assert_close(few(x, sigma)[i : i + 1], few(one, s))


def test_one_image_only():
    x = noisy(2, 1.0)
    for denoise in (Pruned(DIGITS[:1]), Truncated(DIGITS[:1], 1)):
        assert torch.equal(denoise(x, 1.0), DIGITS[:1].expand(2, -1, -1, -1))


@pytest.mark.parametrize("k", [0, 501])
def test_k_outside_the_set(k):
    with pytest.raises(ValueError, match="between 1 and 500"):
        Truncated(DIGITS, k)


@pytest.mark.parametrize("sigma", [0.0, -1.0, float("nan"), float("inf")])
def test_bad_sigma(sigma):
    for denoise in (Pruned(DIGITS), Truncated(DIGITS, 3)):
        with pytest.raises(ValueError, match="sigma"):
            denoise(noisy(2, 1.0), sigma)


def test_bad_images():
    for denoise in (Pruned(DIGITS), Truncated(DIGITS, 3)):
        with pytest.raises(ValueError, match="shape"):
            denoise(torch.zeros(2, 1, 4, 4), 1.0)
        with pytest.raises(ValueError, match="NaN"):
            denoise(noisy(2, 1.0) * float("nan"), 1.0)
