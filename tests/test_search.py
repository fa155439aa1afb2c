"""Exact search by bounds: never an image missing, whatever the directions."""

import functools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.data import load
from helpers.search import Search, faiss_nearest

DIGITS = load("digits")[:400]


def noisy(n, sigma, seed=1, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    x = DIGITS[:n].to(dtype)
    return x + sigma * torch.randn(x.shape, generator=generator, dtype=dtype)


def distances(x, data):
    """The definition: every difference, in float64."""
    return torch.cdist(
        x.flatten(1).double(),
        data.flatten(1).double(),
        compute_mode="donot_use_mm_for_euclid_dist",
    )


@functools.cache
def index(m):
    return Search(DIGITS, m)


@given(st.floats(1e-3, 30.0), st.sampled_from([1, 8, 64]), st.integers(1, 40))
@settings(max_examples=20, deadline=None)
def test_the_k_nearest_are_the_k_nearest(sigma, m, k):
    x = noisy(5, sigma)
    found = index(m).nearest(x, k)
    expected = distances(x, DIGITS).sort(dim=1).values[:, :k]
    torch.testing.assert_close(found.distance, expected, rtol=1e-12, atol=1e-12)
    picked = distances(x, DIGITS).gather(1, found.index)
    torch.testing.assert_close(picked, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("m", [1, 8, 64])
@pytest.mark.parametrize("spread", [0.0, 0.5, 20.0])
def test_no_candidate_is_missing(dtype, m, spread):
    data = DIGITS.to(dtype)
    x = noisy(20, 0.3, dtype=dtype)
    squares = distances(x, data).square()
    wanted = squares <= squares.amin(dim=1, keepdim=True) + spread
    candidates = Search(data, m).candidates(x, spread=spread)
    assert bool((candidates | ~wanted).all())


def test_good_directions_rule_most_images_out():
    candidates = Search(DIGITS, 16).candidates(noisy(20, 0.1), spread=0.1)
    assert candidates.float().mean() < 0.05


def test_bad_directions_only_cost_time(monkeypatch):
    """Directions in which nothing varies: the corner pixels of the digits."""
    corner = torch.eye(64, dtype=torch.float64)[:, [0, 56]]
    monkeypatch.setattr("helpers.search.directions", lambda data, m: corner)
    x = noisy(6, 0.2)
    found = Search(DIGITS, 2).nearest(x, 3)
    expected = distances(x, DIGITS).sort(dim=1).values[:, :3]
    torch.testing.assert_close(found.distance, expected, rtol=1e-12, atol=1e-12)


def test_copies_at_almost_the_same_distance():
    """Rounding must not decide which of two near copies is closer."""
    twins = torch.cat([DIGITS[:50], (DIGITS[:50] * (1 - 1e-6)).clamp(-1, 1)])
    x = noisy(20, 0.01)
    found = Search(twins, 16).nearest(x, 2)
    expected = distances(x, twins).sort(dim=1).values[:, :2]
    torch.testing.assert_close(found.distance, expected, rtol=1e-12, atol=1e-12)


def test_a_copy_is_at_distance_zero():
    found = Search(DIGITS).nearest(DIGITS[:10])
    assert torch.equal(found.distance, torch.zeros(10, 1).double())
    assert found.index[:, 0].tolist() == list(range(10))


def test_the_same_index_twice_and_no_trace_in_the_global_generator():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    a, b = Search(DIGITS, 8), Search(DIGITS, 8)
    assert torch.equal(a.q, b.q)
    assert torch.equal(torch.get_rng_state(), before)


def test_one_image_only():
    found = Search(DIGITS[:1]).nearest(noisy(3, 1.0))
    assert found.index.tolist() == [[0]] * 3


@pytest.mark.parametrize("k", [0, 401])
def test_k_outside_the_set(k):
    with pytest.raises(ValueError, match="between 1 and 400"):
        Search(DIGITS, 4).nearest(DIGITS[:2], k)


def test_nothing_to_search():
    with pytest.raises(ValueError, match="need an image"):
        Search(DIGITS[:0])
    with pytest.raises(ValueError, match="need an image"):
        Search(DIGITS, 0)


@pytest.mark.parametrize("sigma", [0.05, 2.0])
def test_faiss_agrees(sigma):
    pytest.importorskip("faiss")
    x = noisy(30, sigma)
    ours, theirs = Search(DIGITS).nearest(x, 5), faiss_nearest(DIGITS)(x, 5)
    torch.testing.assert_close(ours.distance, theirs.distance, rtol=1e-12, atol=1e-12)
