"""Measures of agreement against their definitions."""

import math

import numpy as np
import pytest
import scipy.linalg
import torch

from helpers import metrics


def randn(*shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=dtype)


def test_mse_and_r2_one_image_at_a_time():
    a, u = randn(3, 2, 4, 4), randn(3, 2, 4, 4, seed=1)
    for i in range(3):
        error = sum((p - q) ** 2 for p, q in zip(a[i].flatten(), u[i].flatten()))
        spread = sum((q - u[i].mean()) ** 2 for q in u[i].flatten())
        assert metrics.mse(a, u)[i].item() == pytest.approx(error.item() / 32)
        assert metrics.r2_score(a, u)[i].item() == pytest.approx(
            1 - (error / spread).item()
        )


def test_r2_at_its_ends():
    u = randn(2, 1, 3, 3)
    assert metrics.r2_score(u, u).tolist() == [1, 1]
    grey = u.mean((1, 2, 3), keepdim=True).expand_as(u)
    torch.testing.assert_close(metrics.r2_score(grey, u), torch.zeros(2).double())
    flat = torch.zeros(1, 1, 3, 3)
    assert metrics.r2_score(flat, flat).item() == 1
    assert metrics.r2_score(flat + 1, flat).item() == -math.inf


def test_pearson_is_blind_to_scale_and_offset():
    u, other = randn(3, 1, 4, 4), randn(3, 1, 4, 4, seed=1)
    torch.testing.assert_close(metrics.pearson(3 * u + 2, u), torch.ones(3).double())
    for i in range(3):
        both = torch.stack([u[i].flatten(), other[i].flatten()])
        expected = torch.corrcoef(both)[0, 1]
        torch.testing.assert_close(metrics.pearson(u, other)[i], expected)


@pytest.mark.parametrize("chunk", [1, 13, 1000])
def test_nearest_against_all_distances(chunk):
    data, x = randn(100, 1, 4, 4), randn(5, 1, 4, 4, seed=1)
    distance = torch.stack([(data - row).flatten(1).norm(dim=1) for row in x])
    expected = distance.topk(3, largest=False)
    got = metrics.nearest(x, data, k=3, chunk=chunk)
    assert torch.equal(got.index, expected.indices)
    torch.testing.assert_close(got.distance, expected.values)


def test_nearest_finds_copies_at_distance_zero_in_float32():
    data = randn(500, 3, 16, 16, dtype=torch.float32)
    got = metrics.nearest(data[:20], data)
    assert got.distance.max() == 0 and torch.equal(got.index[:, 0], torch.arange(20))


def test_nearest_needs_a_possible_k():
    for k in (0, 101):
        with pytest.raises(ValueError, match="between 1 and 100"):
            metrics.nearest(randn(1, 1, 2, 2), randn(100, 1, 2, 2), k=k)


def test_bootstrap_covers_the_truth_as_often_as_it_says():
    """95 % intervals of the mean of 60 normals, 300 times: 95 % +- 4 standard
    errors.
    """
    generator, hits = torch.Generator().manual_seed(0), 0
    for seed in range(300):
        interval = metrics.bootstrap(randn(60, seed=seed), generator, draws=300)
        hits += interval.low <= 0 <= interval.high
    assert abs(hits / 300 - 0.94) < 4 * math.sqrt(0.95 * 0.05 / 300)


def test_bootstrap_is_seeded_and_takes_any_statistic():
    values = randn(50)
    pair = [
        metrics.bootstrap(values, torch.Generator().manual_seed(1), torch.median)
        for _ in range(2)
    ]
    assert pair[0] == pair[1]
    assert pair[0].low <= pair[0].value <= pair[0].high
    assert pair[0].value == values.median().item()


@pytest.mark.parametrize(
    "bad", [torch.ones(1), torch.ones(2, 2), torch.tensor([1, math.nan])]
)
def test_bootstrap_refuses_too_little(bad):
    with pytest.raises(ValueError, match="two finite values"):
        metrics.bootstrap(bad, torch.Generator())


def features_of(n, d=5, seed=0, scale=1.0):
    mixing = randn(d, d, seed=99)
    return scale * randn(n, d, seed=seed) @ mixing


def test_frechet_distance_is_the_formula():
    """Against SciPy's matrix square root."""
    a, b = features_of(300), features_of(200, seed=1, scale=1.3) + 0.4
    C_a, C_b = np.cov(a.numpy().T), np.cov(b.numpy().T)
    cross = np.trace(scipy.linalg.sqrtm(C_a @ C_b).real)
    shift = (a.mean(0) - b.mean(0)).square().sum().item()
    expected = shift + np.trace(C_a) + np.trace(C_b) - 2 * cross
    assert metrics.frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)


def test_frechet_distance_is_a_distance():
    a, b = features_of(300), features_of(200, seed=1)
    there, back = metrics.frechet_distance(a, b), metrics.frechet_distance(b, a)
    assert there == pytest.approx(back, rel=1e-9) and there > 0
    assert metrics.frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    assert metrics.frechet_distance(a, a + 3) == pytest.approx(45, rel=1e-9)
    flat = torch.ones(10, 3)  # no variance at all: rank 0
    assert metrics.frechet_distance(flat, flat + 1) == pytest.approx(3)


@pytest.mark.parametrize(
    "a, b", [((4, 3), (4, 2)), ((1, 3), (4, 3)), ((4,), (4,))], ids=str
)
def test_frechet_distance_refuses_what_has_no_covariance(a, b):
    with pytest.raises(ValueError, match="features must be"):
        metrics.frechet_distance(torch.ones(a), torch.ones(b))


def test_jackknife_of_a_mean_is_the_standard_error():
    values = randn(400)
    interval = metrics.jackknife(lambda v: v.mean().item(), values, blocks=400 // 2)
    error = values.std().item() / 20
    assert interval.value == pytest.approx(values.mean().item())
    assert interval.high - interval.value == pytest.approx(1.96 * error, rel=0.1)
    assert interval.value - interval.low == pytest.approx(1.96 * error, rel=0.1)


def test_jackknife_needs_two_values_a_block():
    with pytest.raises(ValueError, match="at least 40 values"):
        metrics.jackknife(torch.mean, randn(39))
