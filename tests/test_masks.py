"""Masks against their definitions, entry by entry."""

import pytest
import torch

from helpers import masks
from helpers.data import load
from helpers.wiener import Wiener

SHAPE = (1, 8, 8)


@pytest.fixture(scope="module")
def wiener():
    return Wiener.fit(load("digits", n=300))


def literal(S, threshold, by_output, per_row):
    """The rule as a loop over outputs m and sources n, as the docstring states it."""
    S, n = S.clone(), len(S)
    for k in range(n):
        if S[k, k] < 1e-6:
            S[k, k] = 1
    R = torch.zeros(n, n, dtype=S.dtype)
    for m in range(n):
        for k in range(n):
            R[m, k] = abs(S[m, k]) / (S[m, m] if by_output else S[k, k])
    mask = torch.zeros(n, n, dtype=torch.bool)
    for m in range(n):
        top = R[m].max() if per_row else R.max()
        for k in range(n):
            mask[m, k] = R[m, k] >= threshold * top or m == k
    return mask


@pytest.mark.parametrize("by_output", [False, True])
@pytest.mark.parametrize("per_row", [False, True])
def test_wiener_mask_is_its_definition(wiener, by_output, per_row):
    """On digits, where some pixels never vary."""
    for sigma in (0.1, 2.0):
        expected = literal(wiener.matrix(sigma), 0.1, by_output, per_row)
        got = masks.wiener_mask(wiener, sigma, 0.1, by_output, per_row)
        assert torch.equal(got, expected)


def test_the_four_conventions_differ_where_pixels_hardly_vary(wiener):
    """S is symmetric: with the global maximum, source and output swap places."""
    by_source, row_source, by_output, row_output = (
        masks.wiener_mask(wiener, 0.3, 0.1, by_output, per_row)
        for by_output in (False, True)
        for per_row in (False, True)
    )
    assert torch.equal(by_source, by_output.T)
    assert not torch.equal(by_source, by_output)
    assert row_source.sum() > 2 * by_source.sum()
    assert row_output.sum() > row_source.sum()


def test_conventions_agree_for_stationary_data():
    """Equal variances and one kernel everywhere: rows and columns are alike."""
    place = torch.arange(12.0, dtype=torch.float64)
    gap = (place - place[:, None]).abs()
    cov = torch.exp(-torch.minimum(gap, 12 - gap) / 3)  # on a ring
    ring = Wiener(torch.zeros(12, dtype=torch.float64), cov)
    first = masks.wiener_mask(ring, 0.5, 0.1)
    assert 12 < first.sum() < 144
    for by_output in (False, True):
        for per_row in (False, True):
            other = masks.wiener_mask(ring, 0.5, 0.1, by_output, per_row)
            assert torch.equal(first, other)


def test_constant_pixels_see_themselves(wiener):
    constant = wiener.matrix(1.0).diagonal() < masks.CONSTANT
    assert constant.any()
    mask = masks.wiener_mask(wiener, 1.0, 0.05, by_output=True, per_row=True)
    assert torch.equal(mask[constant], torch.eye(64).bool()[constant])


def test_masks_shrink_with_the_noise_and_the_threshold(wiener):
    sizes = [masks.wiener_mask(wiener, s, 0.1).sum() for s in (0.05, 0.3, 2.0)]
    assert sizes[0] < sizes[1] < sizes[2]
    low, high = (masks.wiener_mask(wiener, 0.3, t) for t in (0.05, 0.2))
    assert (high <= low).all() and high.sum() < low.sum()


@pytest.mark.parametrize("threshold", [0, -0.1, 1.5, float("nan")])
def test_wrong_thresholds(wiener, threshold):
    with pytest.raises(ValueError, match="threshold"):
        masks.wiener_mask(wiener, 1.0, threshold)


@pytest.mark.parametrize("sigma", [0.0, -1.0, float("nan"), float("inf")])
def test_wrong_noise_levels(wiener, sigma):
    with pytest.raises(ValueError, match="sigma"):
        masks.wiener_mask(wiener, sigma, 0.1)


def test_window_is_the_square_around_the_pixel():
    C, H, W, k = 2, 4, 5, 3
    got = masks.window_mask((C, H, W), k).view(H, W, C, H, W)
    for i in range(H):
        for j in range(W):
            for a in range(H):
                for b in range(W):
                    seen = abs(a - i) <= 1 and abs(b - j) <= 1
                    assert (got[i, j, :, a, b] == seen).all()
    assert masks.window_mask((1, 4, 5), 9).all()
    assert torch.equal(masks.window_mask((1, 4, 5), 1), torch.eye(20).bool())


@pytest.mark.parametrize("k", [0, 2, -1, 11])
def test_wrong_windows(k):
    with pytest.raises(ValueError, match="side"):
        masks.window_mask((1, 4, 5), k)


def test_checked_masks():
    shape = torch.Size(SHAPE)
    assert masks.check_mask(masks.pixel_mask(SHAPE), shape).sum() == 64
    assert masks.check_mask(
        masks.window_mask((3, 4, 4), 3), torch.Size((3, 4, 4))
    ).any()
    empty = masks.pixel_mask(SHAPE)
    empty[3] = False
    wrong = {
        "1 rows": empty,
        r"\(64, 64\)": torch.ones(64, 63).bool(),
        "bool": torch.ones(64, 64),
        "not": torch.ones(64).bool(),
    }
    for words, mask in wrong.items():
        with pytest.raises(ValueError, match=words):
            masks.check_mask(mask, shape)
