"""The denoisers around the masked one against their formulas, one image at a time."""

import math

import pytest
import torch

from helpers.corrected import (
    Blend,
    Corrected,
    Weighted,
    blend_weight,
    by_level,
    gain_steps,
    interpolated,
)
from helpers.denoisers import Optimal
from helpers.masked import Masked
from helpers.masks import gain_ratio, wiener_mask
from helpers.wiener import Wiener

SHAPE, D = (2, 3, 4), 24


def randn(*shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=dtype)


MIXING = torch.linalg.qr(randn(D, D, seed=9)).Q * torch.linspace(0.1, 0.6, D)
DATA = (randn(30, D) @ MIXING.T).clamp(-1, 1).double().view(-1, *SHAPE)
WIENER = Wiener.fit(DATA)
X = randn(4, *SHAPE, seed=2)
ONES = torch.ones(D, D, dtype=torch.bool)


def mask(sigma):
    return wiener_mask(WIENER, sigma, 0.1)


def clouds(x, sigma, b):
    """Posterior mean of a mixture of Gaussians with full covariances, by densities."""
    y = DATA.flatten(1)
    mu = y.mean(dim=0)
    cov = (1 - b**2) * (y - mu).T @ (y - mu) / len(y)
    C = cov + sigma**2 * torch.eye(D, dtype=torch.float64)
    centres = mu + b * (y - mu)
    law = torch.distributions.MultivariateNormal
    answer = []
    for one in x.flatten(1):
        logs = torch.stack([law(c, C).log_prob(one) for c in centres])
        own = centres + (one - centres) @ torch.linalg.solve(C, cov)
        answer.append(logs.softmax(0) @ own)
    return torch.stack(answer).view_as(x)


@pytest.mark.parametrize("b", [0.2, 0.7, 0.95])
@pytest.mark.parametrize("sigma", [0.3, 1.0, 6.0])
def test_a_mask_of_ones_gives_the_mixture_of_clouds(b, sigma):
    found = Corrected(DATA, WIENER, lambda _: ONES, b)(X, sigma)
    torch.testing.assert_close(found, clouds(X, sigma, b), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("sigma", [0.3, 2.0])
def test_at_its_ends_it_is_the_filter_and_the_masked_denoiser(sigma):
    zero, one = (Corrected(DATA, WIENER, mask, b)(X, sigma) for b in (0, 1))
    assert torch.equal(zero, WIENER(X, sigma))
    torch.testing.assert_close(one, Masked(DATA, mask(sigma))(X, sigma))
    assert (zero - one).abs().max() > 0.01
    for b, end in ((1e-4, zero), (1 - 1e-9, one)):
        near = Corrected(DATA, WIENER, mask, b)(X, sigma)
        torch.testing.assert_close(near, end, rtol=0, atol=1e-3)


@pytest.mark.parametrize("sigma", [0.5, 3.0])
def test_the_masked_correction_one_output_at_a_time(sigma, b=0.6, T=2.0):
    """With the root of C itself."""
    mu, y = WIENER.mu, DATA.flatten(1)
    cov = (y - y.mean(0)).T @ (y - y.mean(0)) / len(y)
    C = (1 - b**2) * cov + sigma**2 * torch.eye(D, dtype=torch.float64)
    lam, U = torch.linalg.eigh(C)
    root = sigma * U @ torch.diag(lam**-0.5) @ U.T
    x_t, y_t = (X.flatten(1) - mu) @ root, b * (y - mu) @ root
    h = torch.empty_like(x_t)
    for m, row in enumerate(mask(sigma)):
        gaps = (x_t[:, None, row] - y_t[:, row]).square().sum(dim=2)
        h[:, m] = (-gaps / (2 * sigma**2 * T)).softmax(dim=1) @ y_t[:, m]
    own = (1 - b**2) * cov @ torch.linalg.inv(C)
    expected = mu + (X.flatten(1) - mu) @ own + h @ root
    found = Corrected(DATA, WIENER, mask, b, T)(X, sigma)
    torch.testing.assert_close(found.flatten(1), expected, rtol=1e-5, atol=1e-6)


def test_the_mask_of_the_whitened_images_is_that_of_the_images(sigma=0.8, b=0.6):
    lam, U = WIENER.lam, WIENER.U
    C = (1 - b**2) * lam + sigma**2
    cov = (U * (b**2 * sigma**2 * lam / C)) @ U.T
    white = Wiener(torch.zeros(D), cov, SHAPE)
    torch.testing.assert_close(
        white.matrix(sigma), b**2 * WIENER.matrix(sigma), rtol=0, atol=1e-9
    )
    assert torch.equal(wiener_mask(white, sigma, 0.1), mask(sigma))


def test_clouds_keep_mean_and_covariance(b=0.6):
    """By the law of total covariance."""
    y = DATA.flatten(1)
    mu = y.mean(dim=0)
    cov = (y - mu).T @ (y - mu) / len(y)
    centres = mu + b * (y - mu)
    total = (1 - b**2) * cov + centres.T.cov(correction=0)
    torch.testing.assert_close(total, cov)
    torch.testing.assert_close(centres.mean(dim=0), mu)


def test_numbers_may_depend_on_the_level_and_on_the_image():
    sigma = torch.tensor([0.4, 3.0, 0.4, 1.0])
    b = {0.4: 0.5, 3.0: 0.0, 1.0: 0.9}
    both = Corrected(DATA, WIENER, mask, lambda s: b[round(s, 3)])
    found = both(X, sigma)
    for i, level in enumerate(sigma.tolist()):
        single = Corrected(DATA, WIENER, mask, b[round(level, 3)])
        expected = single(X[i : i + 1], level)
        torch.testing.assert_close(found[i : i + 1], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("numbers", [(-0.1, 1), (1.1, 1), (0.5, 0), (0.5, math.inf)])
def test_corrected_refuses_other_numbers(numbers):
    with pytest.raises(ValueError, match="need 0 <= b <= 1"):
        Corrected(DATA, WIENER, mask, *numbers)(X, 1.0)


@pytest.mark.parametrize("sigma", [0.4, 2.0])
@pytest.mark.parametrize("Q", [1, 4])
def test_weights_one_pixel_at_a_time(sigma, Q):
    steps = torch.randint(Q + 1, (12, D), generator=torch.Generator().manual_seed(1))
    steps[torch.arange(12), torch.arange(12)] = Q
    found = Weighted(DATA, lambda _: steps, Q)(X, sigma).flatten(2)  # (B, C, H W)
    y, values = DATA.flatten(1), DATA.flatten(2)
    for p, w in enumerate(steps / Q):
        gaps = ((X.flatten(1)[:, None] - y).square() * w).sum(dim=2)
        expected = (-gaps / (2 * sigma**2)).softmax(dim=1) @ values[:, :, p]
        torch.testing.assert_close(found[:, :, p], expected, rtol=1e-5, atol=1e-6)


def test_full_weights_are_the_optimal_denoiser():
    steps = torch.full((12, D), 3)
    found = Weighted(DATA, lambda _: steps, 3)(X, 0.7)
    torch.testing.assert_close(found, Optimal(DATA)(X, 0.7), rtol=1e-6, atol=1e-8)


def test_weights_from_the_filter():
    ratio = gain_ratio(WIENER, 0.8).clamp(max=1).view(2, 12, D)
    found = gain_steps(WIENER, 0.8, Q=4, power=2.0)
    assert found.shape == (12, D)
    for p in range(12):
        assert found[p, p] == found[p, 12 + p] == 4
        for n in range(D):
            if n % 12 != p:
                assert found[p, n] == round(4 * ratio[:, p, n].max().item() ** 2)


@pytest.mark.parametrize("steps", [[-1, 2], [0, 5]])
def test_weights_refuse_other_steps(steps):
    bad = torch.tensor(steps).repeat(12, D // 2)
    with pytest.raises(ValueError, match="from 0 to 4"):
        Weighted(DATA, lambda _: bad)(X, 1.0)


def test_the_blend_weight_is_the_least_squares_one():
    clean, a = randn(5, *SHAPE, seed=3), randn(5, *SHAPE, seed=4)
    b = clean + 0.5 * randn(5, *SHAPE, seed=5)
    w = blend_weight(a, b, clean)
    grid = torch.linspace(0, 1, 1001)
    errors = [(torch.lerp(a, b, g.double()) - clean).square().mean() for g in grid]
    assert w == pytest.approx(grid[torch.stack(errors).argmin()].item(), abs=1e-3)
    assert blend_weight(a, clean, clean) == pytest.approx(1)
    assert blend_weight(clean, a, clean) == blend_weight(a, a, clean) == 0
    assert blend_weight(clean + a, clean + 2 * a, clean) == 0  # cut


def test_the_blend_is_the_weighted_mean_at_each_level():
    blend = Blend(WIENER, Optimal(DATA), interpolated([0.5, 2.0], [0.0, 1.0]))
    assert torch.equal(blend(X, 0.5), WIENER(X, 0.5))
    torch.testing.assert_close(blend(X, 2.0), Optimal(DATA)(X, 2.0))
    middle = (WIENER(X, 1.0) + Optimal(DATA)(X, 1.0)) / 2
    torch.testing.assert_close(blend(X, 1.0), middle)
    sigma = torch.tensor([0.5, 1.0, 1.0, 0.5])
    torch.testing.assert_close(blend(X, sigma)[1:3], middle[1:3])
    alone = Blend(WIENER, None, 0.0)  # what has no weight is not asked
    assert torch.equal(alone(X, 1.0), WIENER(X, 1.0))


def test_interpolated_is_linear_in_the_logarithm():
    value = interpolated([4.0, 1.0, 2.0], [5.0, 1.0, 3.0])
    assert [value(s) for s in (1, 2, 4)] == pytest.approx([1, 3, 5])
    assert value(2**0.5) == pytest.approx(2) and value(8**0.5) == pytest.approx(4)
    assert value(4 * (1 + 1e-7)) == 5
    for outside in (0.9, 4.1):
        with pytest.raises(ValueError, match="outside of 1 to 4"):
            value(outside)


@pytest.mark.parametrize("bad", [([1, 2], [1]), ([1, 1], [1, 2]), ([0, 1], [1, 2])])
def test_interpolated_refuses_tables_that_do_not_fit(bad):
    with pytest.raises(ValueError, match="one value for each"):
        interpolated(*bad)


def test_by_level_gives_each_image_its_own():
    sigma = torch.tensor([3.0, 1.0, 3.0, 2.0])
    found = by_level(lambda x, s: x * s, X, sigma)
    torch.testing.assert_close(found, X * sigma.view(-1, 1, 1, 1))
    with pytest.raises(ValueError, match="above 0"):
        by_level(lambda x, s: x, X, 0.0)
