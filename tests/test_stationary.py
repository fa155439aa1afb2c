"""On a torus the Fourier filter is the Wiener filter; elsewhere its error is known."""

import numpy as np
import pytest
import torch

from helpers import data, dead_leaves
from helpers.lowrank import certified, eigenbasis
from helpers.stationary import (
    Spectrum,
    Stationary,
    circulant_power,
    departure,
    square_of_covariance,
)
from helpers.wiener import Wiener

SHAPES = [(1, 4, 6), (3, 5, 4), (2, 5, 3), (3, 1, 7)]  # even, odd, not square


def randn(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def levels(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, shape, generator=generator, dtype=torch.uint8)


def shifts(images):
    """All images moved over the torus: their covariance is exactly circulant."""
    H, W = images.shape[2:]
    moved = [images.roll((i, j), (2, 3)) for i in range(H) for j in range(W)]
    return torch.cat(moved)


def moments(images):
    flat = images.flatten(1).double()
    return flat.mean(0), torch.cov(flat.T, correction=0)


def projected(cov, shape):
    """The nearest circulant matrix, as the mean over all shifts of both pixels."""
    C, H, W = shape
    pairs = cov.view(C, H, W, C, H, W)
    moved = [pairs.roll((i, j, i, j), (1, 2, 4, 5)) for i in range(H) for j in range(W)]
    return torch.stack(moved).mean(0).reshape(cov.shape)


@pytest.mark.parametrize("shape", SHAPES)
def test_on_a_torus_it_is_the_wiener_filter(shape):
    images = shifts(0.4 * randn(5, *shape).clamp(-2, 2))
    mu, cov = moments(images)
    stationary, wiener = Stationary.fit(images.split(7)), Wiener(mu, cov)
    x, sigma = randn(3, *shape, seed=1), torch.tensor([0.05, 0.5, 4.0])
    torch.testing.assert_close(
        stationary(x, sigma), wiener(x, sigma), rtol=1e-10, atol=1e-10
    )
    torch.testing.assert_close(
        stationary.expected_error(sigma),
        wiener.expected_error(sigma),
        rtol=1e-10,
        atol=0,
    )
    assert departure(stationary, cov) < 1e-6
    torch.testing.assert_close(stationary.mu.flatten(), mu, rtol=0, atol=1e-13)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_spectrum_is_the_diagonal_of_the_covariance(shape):
    """And the same from images, from their covariance, and by the mean over shifts."""
    images = 0.4 * randn(30, *shape)
    mu, cov = moments(images)
    power = Spectrum().update(images).power
    torch.testing.assert_close(circulant_power(cov, shape), power, rtol=0, atol=1e-12)
    circulant = projected(cov, shape)
    filtered = Stationary(mu.view(shape), power)
    x = randn(2, *shape, seed=1)
    torch.testing.assert_close(
        filtered(x, 0.3), Wiener(mu, circulant)(x, 0.3), rtol=1e-10, atol=1e-10
    )
    assert filtered.square == pytest.approx(circulant.square().sum().item(), rel=1e-12)
    distance = (cov - circulant).norm() / cov.norm()
    assert departure(filtered, cov) == pytest.approx(distance.item(), rel=1e-9)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_kernel_is_a_row_of_the_jacobian(shape):
    _, H, W = shape
    stationary = Stationary.fit([0.4 * randn(30, *shape)])
    x, i, j = randn(1, *shape, seed=1)[0], H // 2, W // 2
    rows = torch.autograd.functional.jacobian(
        lambda z: stationary(z[None], 0.7)[0, :, i, j], x
    )  # (C, C, H, W): with the output pixel in the middle nothing has to be moved
    torch.testing.assert_close(stationary.kernel(0.7), rows, rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_its_expected_error_holds_for_data_that_are_not_stationary(shape):
    """tr((I - S) cov (I - S)^T) + sigma^2 tr(S S^T), with S written out."""
    images, sigma = 0.4 * randn(12, *shape), 0.6
    mu, cov = moments(images)
    stationary, n = Stationary.fit([images]), len(mu)
    zero = stationary(torch.zeros(1, *shape).double(), sigma)
    S = (stationary(torch.eye(n).double().view(n, *shape), sigma) - zero).flatten(1).T
    rest = torch.eye(n) - S
    error = (rest @ cov @ rest.T).trace() + sigma**2 * S.square().sum()
    assert stationary.expected_error(sigma).item() == pytest.approx(error.item())
    assert error > Wiener(mu, cov).expected_error(sigma).item()


def test_shards_merge_and_levels_count_as_images():
    images = levels(60, 3, 4, 5)
    whole, merged = Spectrum().update(images), Spectrum()
    for part in images.split([10, 50]):
        merged.merge(Spectrum().update(part))
    merged.merge(Spectrum())
    torch.testing.assert_close(merged.power, whole.power, rtol=1e-12, atol=1e-12)
    floats = Spectrum().update(images.double() / 127.5 - 1)
    torch.testing.assert_close(floats.power, whole.power, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(floats.mean, whole.mean, rtol=1e-12, atol=1e-12)


def test_dead_leaves_pay_for_the_torus_at_their_borders():
    """Stationary but not periodic: the price is small in sum, and largest outside."""
    mu, cov = map(torch.from_numpy, dead_leaves.moments(16))
    power = circulant_power(cov, (1, 16, 16))
    stationary, wiener = Stationary(mu.view(1, 16, 16), power), Wiener(mu, cov)
    eye, zero = torch.eye(256).double().view(256, 1, 16, 16), mu.view(1, 1, 16, 16)
    for sigma in (0.1, 0.5, 2.0):
        price = stationary.expected_error(sigma) / wiener.expected_error(sigma) - 1
        assert 0 < price < 0.1
        extra = []  # mean squared error of each pixel
        for denoise in (stationary, wiener):
            S = (denoise(eye, sigma) - denoise(zero, sigma)).flatten(1).T
            rest = torch.eye(256) - S
            extra.append((rest @ cov @ rest.T + sigma**2 * S @ S.T).diagonal())
        extra = (extra[0] - extra[1]).view(16, 16)
        assert extra[[0, -1]].mean() > 5 * extra[6:10, 6:10].mean()


def test_the_expected_error_is_the_one_that_is_measured():
    """On fresh dead leaves, which are not periodic, within 4 standard errors."""
    law = {"channels": 3, "grey": 0.5}
    mu, cov = map(torch.from_numpy, dead_leaves.moments(12, **law))
    shape = (3, 12, 12)
    stationary = Stationary(mu.view(shape), circulant_power(cov, shape))
    draw = np.random.default_rng(0)
    x0 = data.to_unit(dead_leaves.sample(1500, 12, generator=draw, **law))
    for sigma in (0.1, 0.5, 2.0):
        noise = sigma * randn(*x0.shape).float()
        errors = (stationary(x0 + noise, sigma) - x0).square().sum(dim=(1, 2, 3))
        expected, standard = stationary.expected_error(sigma), errors.std() / 1500**0.5
        assert (errors.mean() - expected).abs() < 4 * standard < 0.1 * expected


def test_the_full_filter_gains_what_the_low_rank_bracket_allows():
    """For images of any size: no n x n matrix is used, but here to check."""
    images = 0.4 * randn(400, 1, 8, 8) * torch.linspace(0.01, 1, 64).view(8, 8)
    images = images + randn(400, 1, 1, 1, seed=1)
    stationary, read = Stationary.fit([images]), lambda: images.split(100)
    seeds = (torch.Generator().manual_seed(seed) for seed in (0, 1))
    low = eigenbasis(read, 40, next(seeds), dtype=torch.float64)
    low = certified(low, read, next(seeds), dtype=torch.float64)
    for sigma in (0.1, 0.5):
        full = Wiener(*moments(images)).expected_error(sigma).item()
        small, large = low.error_bracket(sigma)
        assert small <= full <= large < stationary.expected_error(sigma).item()


def test_the_norm_of_a_covariance_from_pairs_of_images():
    """Gaussian images: the estimate is within its error, most of the time."""
    shape = (1, 6, 6)
    cov = projected(moments(randn(9, *shape))[1], shape)
    root = torch.linalg.cholesky(cov + 1e-9 * torch.eye(36))
    truth, mu, z = cov.square().sum().item(), torch.zeros(36), []
    for seed in range(40):
        a, b = ((randn(150, 36, seed=1 + 2 * seed + i) @ root.T) for i in (0, 1))
        found, error = square_of_covariance(mu, a.view(-1, *shape), b.view(-1, *shape))
        z.append((found - truth) / error)
    z = torch.tensor(z)
    assert z.mean().abs() < 0.6 and 0.7 < z.std() < 1.5


def test_float32_and_mixed_noise_levels():
    stationary = Stationary.fit([0.4 * randn(30, 3, 8, 8)])
    x, sigma = randn(4, 3, 8, 8, seed=1), torch.tensor([0.1, 0.5, 2.0, 9.0])
    together = stationary(x, sigma)
    alone = [stationary(x[i : i + 1], sigma[i].item()) for i in range(4)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-12, atol=1e-12)
    single = stationary(x.float(), sigma)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), together, rtol=1e-5, atol=1e-5)


def test_bad_input():
    stationary = Stationary.fit([0.4 * randn(30, 3, 8, 6)])
    with pytest.raises(ValueError, match="shape"):
        stationary(torch.zeros(1, 3, 6, 8), 1.0)
    with pytest.raises(ValueError, match="sigma"):
        stationary(torch.zeros(1, 3, 8, 6), 0.0)
    with pytest.raises(ValueError, match="NaN"):
        stationary(torch.full((1, 3, 8, 6), torch.nan), 1.0)
    with pytest.raises(ValueError, match="needs a spectrum"):
        Stationary(torch.zeros(3, 8, 8), stationary.V)
    with pytest.raises(ValueError, match="NaN or infinite"):
        Stationary(torch.full((3, 8, 6), torch.nan), stationary.V)
    with pytest.raises(ValueError, match="no image"):
        Stationary.fit([])
    with pytest.raises(ValueError, match="the ones before"):
        Stationary.fit([torch.zeros(2, 1, 4, 4), torch.zeros(2, 1, 4, 5)])
    with pytest.raises(ValueError, match="finite"):
        Stationary.fit([torch.full((2, 1, 4, 4), torch.nan)])
    with pytest.raises(ValueError, match="are \\(n, C, H, W\\)"):
        Spectrum().update(torch.zeros(2, 4, 4))
    with pytest.raises(ValueError, match="not of images"):
        circulant_power(torch.eye(9), (1, 3, 4))
    with pytest.raises(ValueError, match="too few"):
        square_of_covariance(torch.zeros(4), torch.zeros(1, 4), torch.zeros(9, 4))
