"""The steps of the released code against the library, and what the null space does."""

import pytest
import torch

from helpers import masks, nullspace
from helpers.data import load
from helpers.masked import Masked
from helpers.nullspace import Rule, eigh, released_mask, reordered, rotation, svd
from helpers.wiener import Wiener

TAU = 0.05


@pytest.fixture(scope="module")
def digits():
    return load("digits", n=400)


@pytest.fixture(scope="module")
def wiener(digits):
    return Wiener.fit(digits)


@pytest.fixture(scope="module")
def cov(digits):
    return torch.cov(digits.flatten(1).double().T, correction=0)


@pytest.fixture
def rng():
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("decompose", [svd, eigh])
@pytest.mark.parametrize("sigma", [0.01, 0.5, 20.0])
def test_in_float64_each_way_is_the_wiener_filter(cov, wiener, decompose, sigma, rng):
    other = reordered(decompose, torch.randperm(64, generator=rng))
    for way in (decompose, other):
        S = way(cov).filter(sigma)
        torch.testing.assert_close(S, wiener.matrix(sigma), rtol=0, atol=1e-9)


@pytest.mark.parametrize("sigma", [0.01, 0.5, 20.0])
def test_in_float64_the_mask_is_that_of_the_library(cov, wiener, sigma):
    """But for what the library adds: each output sees itself."""
    rule = released_mask(svd(cov).filter(sigma), TAU)
    mask = rule.mask.clone().fill_diagonal_(True)
    assert torch.equal(mask, masks.wiener_mask(wiener, sigma, TAU))
    assert rule.largest == pytest.approx(float(masks.gain_ratio(wiener, sigma).max()))


def test_rule_entry_by_entry():
    """A matrix that is not symmetric, with a gain that counts as 0 and a negative."""
    S = torch.tensor([[0.5, 0.1, 0.0], [-0.2, 1e-9, 0.3], [0.04, 0.02, -0.1]]).double()
    rule = released_mask(S, 0.2)
    own = [0.5, 1.0, -0.1]
    R = [[1 if m == n else abs(S[n, m] / own[n]) for n in range(3)] for m in range(3)]
    assert rule.largest == pytest.approx(max(map(max, R)))
    expected = [[r >= 0.2 * rule.largest for r in row] for row in R]
    assert rule.mask.tolist() == expected


def test_an_output_may_see_nothing(digits, rng):
    """A threshold above 1 empties rows; their outputs are the mean of the data."""
    S = torch.eye(64, dtype=torch.float64)
    S[3, 5] = 40.0  # output 5 and source 3
    rule = released_mask(S, TAU)
    assert rule.empty.sum() == 63 and not rule.empty[5]
    x = digits[:3] + 0.1 * torch.randn(digits[:3].shape, generator=rng)
    answer = nullspace.released_answer(digits, rule, x, 0.1).flatten(1)
    mean = digits.mean(dim=0).flatten().expand(3, -1)
    torch.testing.assert_close(answer[:, rule.empty], mean[:, rule.empty])
    alone = torch.zeros(64, 64, dtype=torch.bool)
    alone.fill_diagonal_(True)
    alone[5] = False
    alone[5, 3] = True
    expected = Masked(digits, alone)(x, 0.1).flatten(1)[:, 5]
    torch.testing.assert_close(answer[:, 5], expected)


def test_a_rule_without_empty_rows_is_the_masked_denoiser(digits, wiener):
    mask = masks.wiener_mask(wiener, 0.3, TAU)
    x = digits[:2]
    answer = nullspace.released_answer(digits, Rule(mask, 1.0), x, 0.3)
    assert torch.equal(answer, Masked(digits, mask)(x, 0.3))


def test_a_positive_filter_bounds_the_ratio(cov):
    """Cauchy-Schwarz: R_mn <= sqrt(S_mm / S_nn); eigh keeps it, in float32 too."""
    S = eigh(cov.float()).filter(0.01)
    own = S.diagonal().double()
    varies = own > masks.CONSTANT
    bound = (own[varies, None] / own[varies]).sqrt()
    ratio = (S.T / S.diagonal()).abs()[varies][:, varies]
    assert (ratio <= bound * (1 + 1e-3)).all()


def test_turning_the_null_space_changes_no_filter_without_rounding(cov, rng):
    factors = eigh(cov)
    null = factors.s < 1e-12
    assert null.sum() > 1
    clean = factors._replace(s=torch.where(null, 0, factors.s))
    other = nullspace.turned(clean, 0.0, rng)
    assert (other.U - clean.U).abs().max() > 0.1
    assert (other.U - other.Vh.T).abs().max() > 0.1
    torch.testing.assert_close(other.filter(0.01), clean.filter(0.01))


def test_turning_it_matters_where_rounding_left_something(cov, rng):
    """The largest ratio runs away when U is not V, and stays when both turn alike."""
    factors = eigh(cov)
    noisy = factors._replace(s=factors.s.clamp_min(1e-7))
    alike = noisy.filter(0.01)
    differ = nullspace.turned(noisy, 1e-7, rng).filter(0.01)
    assert (alike - alike.T).abs().max() < 1e-12
    assert (differ - differ.T).abs().max() > 1e-5
    assert (differ.diagonal() < 0).any() and (alike.diagonal() > 0).all()


def test_rotation(rng):
    Q = rotation(5, rng)
    one = torch.eye(5, dtype=torch.float64)
    torch.testing.assert_close(Q @ Q.T, one)
    assert not torch.equal(Q, rotation(5, rng))


@pytest.mark.parametrize("sigma", [0.0, -1.0, float("nan"), float("inf")])
def test_wrong_noise_levels(cov, sigma):
    with pytest.raises(ValueError, match="sigma"):
        eigh(cov).filter(sigma)


@pytest.mark.parametrize("threshold", [0, -0.1, 1.5, float("nan")])
def test_wrong_thresholds(cov, threshold):
    with pytest.raises(ValueError, match="threshold"):
        released_mask(cov, threshold)


def test_a_filter_is_square(cov):
    with pytest.raises(ValueError, match="square"):
        released_mask(cov[:3], 0.1)
