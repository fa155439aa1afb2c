"""The softmax over patches: its logits, its estimate of rounding, its tiles."""

import math

import pytest
import torch

from helpers import tiles
from helpers.loops import patch_sums
from helpers.tiles import (
    Dictionary,
    arithmetic,
    cells,
    gather,
    logits,
    patch_mean,
    rectangle,
    rounding,
)


def randn(*shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=dtype)


def pairs(d=27, sigma=0.3, n=200, m=50):
    p = randn(n, d).clamp(-1, 1)
    q = p[:m] + sigma * randn(m, d, seed=1)
    return p, q, torch.full((m,), sigma**2, dtype=torch.float64)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, None])
def test_logits_are_distances_in_bits(dtype):
    p, q, variance = pairs()
    gap = (p[:, None] - q).square().sum(dim=2)
    expected = -gap / (2 * variance * math.log(2))
    got = logits(p, q, variance, dtype).double()
    tolerance = 1e-3 if dtype == torch.float32 else 1e-11
    torch.testing.assert_close(got, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("d", [3, 27, 147, 867])
@pytest.mark.parametrize("sigma", [0.01, 0.3, 10.0])
def test_the_estimate_is_above_all_rounding(d, sigma):
    """Against float64 differences, in nats."""
    p, q, variance = pairs(d, sigma)
    exact = logits(p.float(), q.float(), variance, None)
    for dtype in (torch.float32, torch.float64):
        got = logits(p.float(), q.float(), variance, dtype).double()
        error = (got - exact).abs().max().item() * math.log(2)
        assert error < rounding(q.float(), variance, dtype)


def test_arithmetic_is_as_exact_as_it_must_be():
    q = randn(50, 27, dtype=torch.float32)
    kinds = [
        arithmetic(q, torch.full((50,), sigma**2, dtype=torch.float64), 2e-2)
        for sigma in (1.0, 1e-3, 1e-8)
    ]
    assert kinds == [torch.float32, torch.float64, None]


@pytest.mark.parametrize("sigma", [0.05, 0.3, 3.0])
@pytest.mark.parametrize("size", [1, 7, 200])
def test_blocks_change_nothing(sigma, size):
    p, q, variance = pairs(sigma=sigma)
    values = randn(200, 3, seed=2)
    gap = (p[:, None] - q).square().sum(dim=2)
    expected = (-gap / (2 * variance)).softmax(dim=0).T @ values
    blocks = zip(p.split(size), values.split(size))
    got = patch_mean(q, variance, blocks, len(p))
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("order", [1, -1])
def test_the_best_may_come_first_or_last(order):
    """Weights of all blocks but one vanish; the first case skips them."""
    p = torch.linspace(-1, 1, 21, dtype=torch.float64)[:, None].expand(21, 4)
    p = p if order == 1 else p.flip(0)
    q, variance = p[:1] + 1e-3, torch.full((1,), 1e-4, dtype=torch.float64)
    got = patch_mean(q, variance, zip(p.split(1), p[:, :1].split(1)), 21)
    torch.testing.assert_close(got, p[:1, :1])


def test_blocks_far_below_the_best_cost_no_weights(monkeypatch):
    """All blocks but the first are given up after their largest logit."""
    p, q, variance = pairs(sigma=0.01, m=1)
    asked = []
    plain = torch.Tensor.exp2_
    monkeypatch.setattr(torch.Tensor, "exp2_", lambda z: asked.append(0) or plain(z))
    patch_mean(q, variance, zip(p.split(1), p.split(1)), len(p))
    assert len(asked) == 1


def test_gather_takes_the_patches_of_all_images():
    images, places = randn(4, 2, 5, 6), torch.tensor([7, 8, 13])
    window = tiles.rectangle(range(-1, 2), range(-1, 2), images.shape[1:])
    got = gather(images, places, window)
    expected = [
        y[:, i - 1 : i + 2, j - 1 : j + 2].flatten()
        for y in images
        for i, j in ((1, 1), (1, 2), (2, 1))
    ]
    assert torch.equal(got, torch.stack(expected))


def test_the_value_of_a_patch_is_the_pixel_at_its_place():
    images, places = randn(4, 2, 5, 6).clamp(-1, 1), torch.tensor([7, 8, 13])
    window = tiles.rectangle(range(-1, 2), range(-1, 2), images.shape[1:])
    variance = torch.full((4,), 1e-6, dtype=torch.float64)
    got = Dictionary(images, places, window).mean(images, places, window, variance)
    assert torch.equal(got, images.flatten(2)[:, :, places].transpose(1, 2))


@pytest.mark.parametrize("sigma", [0.05, 0.3, 3.0])
@pytest.mark.parametrize(("n", "size"), [(1, 5), (16, 5), (33, 40), (200, 16)])
def test_loops_are_the_softmax(sigma, n, size):
    """For numbers of patches that do not fill a row, in blocks of any size."""
    p, q, variance = pairs(sigma=sigma, n=200)
    p, values = p[:n], randn(n, 3, seed=2)
    gap = (p[:, None] - q).square().sum(dim=2)
    expected = (-gap / (2 * variance)).softmax(dim=0).T @ values
    blocks = zip(p.split(size), values.split(size))
    got = patch_sums(q, variance, blocks).mean()
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("sigma", [1e-8, 1e-3, 0.3, 3.0])
def test_loops_and_products_agree(sigma, monkeypatch):
    """Also where loops need float64, and where they must leave it to differences."""
    images = randn(6, 3, 7, 8, dtype=torch.float32).clamp(-1, 1)
    near = range(-1, 2)
    places, window = (
        cells(range(1, 6), range(1, 7), 8),
        rectangle(near, near, (3, 7, 8)),
    )
    dictionary = Dictionary(images[2:], places, window)
    x = images[:2] + sigma * randn(2, 3, 7, 8, seed=1, dtype=torch.float32)
    variance = torch.full((2,), sigma**2, dtype=torch.float64)
    by_loops = dictionary.mean(x, places, window, variance)
    monkeypatch.setattr(tiles, "SHORT", 0)
    by_products = dictionary.mean(x, places, window, variance)
    torch.testing.assert_close(by_loops, by_products, rtol=0, atol=2e-5)
