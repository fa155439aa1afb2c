"""The drawn faces: exact moments, mirror symmetry, and the knob of the eyes."""

from itertools import product

import numpy as np
import pytest
from numpy.testing import assert_allclose

from helpers import toy_faces
from helpers.toy_faces import base, eyes, factors, moments, sample

SIDES = (8, 11, 16, 32)


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.mark.parametrize("side", [*range(4, 34), 48, 64])
def test_grey_levels_never_leave_their_range(side):
    """Hence no clipping; the extremes over all faces are sums of extremes."""
    T = factors(side).values()
    assert (base(side) + sum(t.min(0) for t in T)).min() >= 0
    assert (base(side) + sum(t.max(0) for t in T)).max() <= 255


@pytest.mark.parametrize("rho", [0.0, 0.3, 1.0])
def test_moments_equal_enumeration_over_both_eyes(monkeypatch, rho):
    """Every face of a small world, each with its probability."""
    side = 7
    kept = {f: T[:: max(1, len(T) // 3)] for f, T in factors(side).items()}
    few = {f: kept[f] for f in ("skin", "mouth", "left_eye", "right_eye")}
    monkeypatch.setattr(toy_faces, "factors", lambda side: few)
    x, p = [], []
    for s in product(*(range(len(T)) for T in few.values())):
        x.append(base(side) + sum(T[i] for T, i in zip(few.values(), s)))
        alike, eye = s[-1] == s[-2], len(few["left_eye"])
        p.append((rho * alike + (1 - rho) / eye) / np.prod([*map(len, few.values())]))
    p = np.array(p) * len(few["right_eye"])
    x = np.array(x).reshape(len(x), -1) / 127.5 - 1
    mu, cov = moments(side, eye_correlation=rho)
    assert_allclose(p.sum(), 1)
    assert_allclose(mu, p @ x, atol=1e-13)
    assert_allclose(cov, ((x - mu) * p[:, None]).T @ (x - mu), atol=1e-13)


@pytest.mark.parametrize("rho", [0.0, 0.4, 1.0])
def test_moments_agree_with_samples(rng, rho):
    side, N = 10, 8_000
    x = sample(N, side, eye_correlation=rho, generator=rng).reshape(N, -1) / 127.5 - 1
    mu, cov = moments(side, eye_correlation=rho)
    z = x - mu
    error = np.sqrt((z.T**2 @ z**2 / N - cov**2) / N)  # of a mean of products
    assert np.abs((z.T @ z / N - cov) / error.clip(1e-12)).max() < 6
    assert np.abs(z.mean(0) / np.sqrt(np.diag(cov) / N)).max() < 5


@pytest.mark.parametrize("side", SIDES)
def test_templates_are_mirror_symmetric_and_the_eyes_mirror_each_other(side):
    T = factors(side)
    for name in set(T) - {"left_eye", "right_eye"}:
        assert (T[name] == T[name][:, :, ::-1]).all(), name
    assert (T["left_eye"] == T["right_eye"][:, :, ::-1]).all()
    assert (base(side) == base(side)[:, ::-1]).all()


@pytest.mark.parametrize("side", SIDES)
def test_every_factor_changes_the_picture_and_the_eyes_stay_apart(side):
    for name, T in factors(side).items():
        assert T.std(0).max() > 0, name
    left, right = eyes(side)
    assert not (left & right).any()
    assert left.any() and not left[:, (side + 1) // 2 :].any()


@pytest.mark.parametrize("rho", [0.0, 0.5])
def test_the_population_is_mirror_symmetric(rho):
    side = 9
    mu, cov = moments(side, eye_correlation=rho)
    flip = np.arange(side * side).reshape(side, side)[:, ::-1].ravel()
    assert_allclose(mu[flip], mu, atol=1e-14)
    assert_allclose(cov[np.ix_(flip, flip)], cov, atol=1e-14)


def test_the_knob_moves_only_the_covariance_between_the_eyes():
    side = 16
    left, right = (m.ravel() for m in eyes(side))
    none, half, full = (moments(side, eye_correlation=r)[1] for r in (0, 0.5, 1))
    between = np.outer(left, right) | np.outer(right, left)
    assert_allclose(half, (none + full) / 2, atol=1e-14)
    assert (none[~between] == full[~between]).all()
    assert np.abs(full - none).max() > 0.01


def test_knob_at_its_ends(rng):
    side, T = 16, factors(16)
    _, right = eyes(side)
    same = sample(200, side, eye_correlation=1.0, generator=rng)
    assert (same == same[:, :, ::-1]).all()
    free = sample(3_000, side, eye_correlation=0.0, generator=rng)
    alike = (free == free[:, :, ::-1])[:, right].all((1, 2)).mean()
    p = 1 / len(np.unique(T["left_eye"].reshape(len(T["left_eye"]), -1), axis=0))
    assert p / 2 < alike < 4 * p  # some states look the same at 16 pixels


def test_right_eye_repeats_the_left_one_rho_of_the_time(rng):
    side, rho, N = 32, 0.3, 8_000
    x = sample(N, side, eye_correlation=rho, generator=rng)[..., 0]
    _, right = eyes(side)
    alike = (x == x[:, :, ::-1])[:, right].all(1).mean()
    looks = factors(side)["left_eye"].reshape(len(toy_faces.EYE), -1)
    same = (looks[:, None] == looks).all(2).mean()
    p = rho + (1 - rho) * same
    assert abs(alike - p) < 4.5 * np.sqrt(p * (1 - p) / N)


def test_the_generator_decides_everything():
    first, again, other = (
        sample(5, 8, generator=np.random.default_rng(seed)) for seed in (0, 0, 1)
    )
    assert first.shape == (5, 8, 8, 1) and first.dtype == np.uint8
    assert (first == again).all() and (first != other).any()


@pytest.mark.parametrize("rho", [-0.1, 1.1, float("nan")])
def test_a_knob_out_of_range_is_refused(rng, rho):
    with pytest.raises(ValueError, match=r"eye_correlation is in \[0, 1\]"):
        sample(1, 8, eye_correlation=rho, generator=rng)
    with pytest.raises(ValueError, match=r"eye_correlation is in \[0, 1\]"):
        moments(8, eye_correlation=rho)


def test_a_side_too_small_for_a_face_is_refused(rng):
    with pytest.raises(ValueError, match="at least 4"):
        sample(1, 3, generator=rng)
