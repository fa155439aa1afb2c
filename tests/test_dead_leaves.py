"""The drawn leaves against the formulas of their mean and covariance."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.integrate import quad

from helpers import dead_leaves
from helpers.dead_leaves import VARIANCE, correlation, covariance, covariogram, sample

LAWS = [(3.0, 1.0, 16.0), (2.5, 0.5, 300.0), (1.0, 2.0, 9.0), (0.0, 1.0, 5.0)]


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def naive_covariogram(h, alpha, r_min, r_max):
    """The area of a lens, averaged over f(r) by adaptive quadrature."""

    def lens(r):
        return 2 * r**2 * np.arccos(h / 2 / r) - h / 2 * np.sqrt(4 * r**2 - h**2)

    if h >= 2 * r_max:
        return 0.0
    start = max(r_min, h / 2)
    top = quad(lambda r: lens(r) * r**-alpha, start, r_max, epsrel=1e-11, limit=200)
    all_radii = quad(lambda r: r**-alpha, r_min, r_max, epsrel=1e-11, limit=200)
    return top[0] / all_radii[0]


def units(images):
    """(N, H, W, C) uint8 to (N, n) in [-1, 1], in the order of a (C, H, W) tensor."""
    return np.moveaxis(images, -1, 1).reshape(len(images), -1) / 127.5 - 1


@pytest.mark.parametrize("law", LAWS)
def test_covariogram_equals_adaptive_quadrature(law):
    h = np.array([0, 0.1, 1, np.sqrt(5), 3.99, 4, 7, 9.5, 31.9, 40])
    ours = covariogram(h, alpha=law[0], r_min=law[1], r_max=law[2])
    assert_allclose(
        ours, [naive_covariogram(d, *law) for d in h], rtol=1e-10, atol=1e-10
    )


def test_covariogram_is_the_area_two_discs_share():
    r, h, m = 3.0, 2.5, 3000  # one radius, counted on a fine grid of points
    x = (np.arange(m) + 0.5) / m * 10 - 4
    inside = x**2 + x[:, None] ** 2 <= r**2
    both = inside & ((x - h) ** 2 + x[:, None] ** 2 <= r**2)
    ours = covariogram(h, r_min=r, r_max=r + 1e-6)
    assert_allclose(ours, both.sum() * (10 / m) ** 2, rtol=1e-3)


def test_correlation_limits():
    rho = correlation(np.array([0, 1e-12, 8, 20]), r_max=4.0)
    assert_allclose(rho, [1, 1, 0, 0], atol=1e-11)
    assert (np.diff(correlation(np.linspace(0, 8), r_max=4.0)) < 0).all()


def test_variance_is_that_of_the_256_levels():
    levels = np.arange(256) / 127.5 - 1
    assert_allclose([levels.mean(), levels.var()], [0, VARIANCE], atol=1e-15)


@pytest.mark.parametrize("law", [{}, {"alpha": 1.5, "r_min": 2.0, "r_max": 9.0}])
@pytest.mark.parametrize("channels", [1, 3])
def test_moments_agree_with_samples(rng, channels, law):
    """Every pair of coordinates, 4,096 or more: chance passes 5.5 errors 2 in 10,000.

    With probability cov / VARIANCE both carry one number, else independent ones.
    """
    side, N = (5, 8_000) if channels == 3 else (8, 8_000)
    x = units(sample(N, side, channels=channels, generator=rng, **law))
    mu, cov = dead_leaves.moments(side, channels=channels, **law)
    fourth = ((np.arange(256) / 127.5 - 1) ** 4).mean()
    share = cov / VARIANCE
    error = np.sqrt((share * fourth + (1 - share) * VARIANCE**2 - cov**2) / N)
    assert np.abs((x.T @ x / N - cov) / error).max() < 5.5
    assert np.abs((x.mean(0) - mu) / np.sqrt(VARIANCE / N)).max() < 5


def test_grey_sets_the_correlation_of_channels(rng):
    cov = covariance(2, channels=3, grey=0.3, r_max=2).reshape(3, 4, 3, 4)
    assert_allclose(cov[0, 0, 1, 0], 0.3 * VARIANCE)
    grey = sample(20, 8, channels=3, grey=1.0, generator=rng)
    assert (grey == grey[..., :1]).all()


def test_all_grey_levels_occur_equally_often(rng):
    """Chi-square over one pixel of each image, 255 degrees of freedom."""
    x = sample(10_000, 2, r_max=2, generator=rng)[:, 0, 0, 0]
    counts = np.bincount(x, minlength=256)
    chi2 = ((counts - counts.mean()) ** 2 / counts.mean()).sum()
    assert 255 - 5 * np.sqrt(510) < chi2 < 255 + 5 * np.sqrt(510)


def test_pixels_share_a_leaf_as_often_in_the_corner_as_in_the_middle(rng):
    """Stationary, and `correlation` is the probability of one leaf (+ chance 1/256)."""
    side, N = 16, 6_000
    x = sample(N, side, generator=rng)[..., 0]
    p = correlation(1.0, r_max=side / 2)
    expected = p + (1 - p) / 256
    for i, j in [(0, 0), (8, 8), (15, 0), (0, 14), (15, 14)]:
        same = (x[:, i, j] == x[:, i, j + 1]).mean()
        assert abs(same - expected) < 4.5 * np.sqrt(expected * (1 - expected) / N)


def test_covariance_is_stationary_symmetric_and_positive():
    cov = covariance(6, channels=3)
    assert_allclose(cov, cov.T)
    assert np.linalg.eigvalsh(cov)[0] > 0
    tensor = cov.reshape(3, 6, 6, 3, 6, 6)
    assert_allclose(tensor[0, 0, 0, 1, 2, 3], tensor[0, 3, 2, 1, 5, 5])


def test_radii_follow_the_law_of_the_discs_that_can_be_seen(rng):
    side, alpha, a, b = 9, 3.0, 1.0, 20.0
    y, x, r = dead_leaves._leaves(40_000, side, alpha, a, b, rng)
    assert (-r <= y).all() and (y <= side - 1 + r).all() and x.min() < -5

    def f(r):
        return r**-alpha * (side - 1 + 2 * r) ** 2

    for cut in (1.5, 4.0, 10.0):
        p = quad(f, a, cut)[0] / quad(f, a, b)[0]
        assert abs((r < cut).mean() - p) < 4.5 * np.sqrt(p * (1 - p) / len(r))


def test_front_is_the_first_leaf_that_covers_the_pixel(rng):
    n, side, leaves = 3, 7, 40
    y, x, r = dead_leaves._leaves(n * leaves, side, 2.0, 0.6, 4.0, rng)
    p, q = np.indices((side, side))
    naive = np.full((n, side, side), -1)
    for i in reversed(range(n * leaves)):
        naive[i // leaves][(p - y[i]) ** 2 + (q - x[i]) ** 2 <= r[i] ** 2] = i
    front = dead_leaves._front(n, side, y, x, r).reshape(n, side, side)
    assert (front == naive).all() and (naive >= 0).mean() > 0.5


def test_the_generator_decides_everything():
    first, again, other = (
        sample(5, 8, channels=3, generator=np.random.default_rng(s)) for s in (0, 0, 1)
    )
    assert first.shape == (5, 8, 8, 3) and first.dtype == np.uint8
    assert (first == again).all() and (first != other).any()


@pytest.mark.parametrize(
    "wrong", [{"r_min": 0}, {"r_min": 9}, {"grey": 1.5}, {"channels": 0}]
)
def test_impossible_laws_are_refused(rng, wrong):
    with pytest.raises(ValueError, match="not"):
        sample(1, 8, generator=rng, **wrong)
    with pytest.raises(ValueError, match="not"):
        covariance(8, **wrong)
