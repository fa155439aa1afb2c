"""Edited image sets: sample moments against the closed forms, and bad input."""

import pytest
import torch

from helpers import planted
from helpers.data import check_images
from helpers.stationary import Stationary, circulant_power, departure
from helpers.wiener import Wiener

SHAPE, N = (2, 5, 6), 4000
n = torch.Size(SHAPE).numel()


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def images(count=N, seed=0):
    """Uniform noise, smoothed a little, brighter to the right: (count, *SHAPE)."""
    z = torch.rand(count, *SHAPE, generator=generator(seed), dtype=torch.float64)
    z = (z + z.roll(1, 2) + 0.5 * z.roll(1, 3)) / 1.25 - 1
    return 0.7 * z + torch.linspace(-0.3, 0.3, SHAPE[2], dtype=torch.float64)


def moments(x):
    flat = x.flatten(1)
    return flat.mean(0), torch.cov(flat.T, correction=0)


def assert_same(x, predicted):
    """Sample moments within 6 standard errors of the predicted ones, everywhere."""
    check_images(x)
    mu, cov = predicted
    z = x.flatten(1) - mu
    error = z.std(dim=0) / len(x) ** 0.5
    assert bool((z.mean(0).abs() <= 6 * error + 1e-12).all())
    square, mean = z.square(), z.T @ z / len(x)
    error = ((square.T @ square / len(x) - mean.square()).clamp_min(0) / len(x)).sqrt()
    assert bool(((mean - cov).abs() <= 6 * error + 1e-12).all())


def test_a_w_is_its_own_mirror_image_with_four_strokes():
    for side in (8, 14, 16, 28, 32):
        w = planted.letter_w(side)
        assert bool((w == w.flip(1)).all()) and 0.08 < w.double().mean() < 0.35
        strokes = w[int(0.6 * side)].int().diff().clamp_min(0).sum()
        assert strokes == 4 or side < 16
        corners = planted.corners_w(side)
        assert len(set(corners)) == 5 and all(w[place] for place in corners)
        assert corners[0][0] == corners[4][0] < corners[2][0] < corners[1][0]
    with pytest.raises(ValueError, match="8 pixels, not 7"):
        planted.letter_w(7)


def test_amplitudes_have_mean_0_and_variance_1():
    a = planted.amplitudes(100_000, generator()).double()
    assert abs(a.mean()) < 5 / 100_000**0.5 and a.abs().max() <= 3**0.5 + 1e-6
    assert a.var().item() == pytest.approx(1, abs=5 * (0.8 / 100_000) ** 0.5)


@pytest.mark.parametrize("everywhere", [True, False])
def test_a_planted_pattern_adds_its_outer_product(everywhere):
    pattern = torch.zeros(SHAPE[1:] if everywhere else SHAPE)
    pattern[..., 2, 1], pattern[..., 4, 5] = 1, -0.5
    x = images()
    mu, cov = planted.plant_moments(*moments(images()), pattern, 0.2, 0.4, SHAPE[0])
    edited = planted.plant(x, pattern, 0.2, planted.amplitudes(N, generator(1)), 0.4)
    assert_same(edited, (mu, cov))
    same = planted.plant(x, pattern, 0.0, planted.amplitudes(N, generator(1)), 0.0)
    assert torch.equal(same, x)


def test_a_pattern_needs_its_room():
    x, a = torch.ones(2, *SHAPE), torch.tensor([1.0, -1.0])
    edge = planted.plant(x, torch.ones(SHAPE), 0.25, a, 0.25)
    assert edge.max() == 1 and edge.min() == 0.5
    for room in (0.2, -0.1, 1.5):
        with pytest.raises(ValueError, match=f"room is {room}"):
            planted.plant(x, torch.ones(SHAPE), 0.25, a, room)
    with pytest.raises(ValueError, match=r"moments must be \(30,\)"):
        planted.plant_moments(*moments(x), torch.ones(5, 6), 0.1, 0.2, 1)


@pytest.mark.parametrize("g", [0.0, 0.3, 1.0])
def test_a_mirror_image_is_a_linear_map(g):
    x = images(300)
    edited = planted.mirror(x, g)
    mu, cov = planted.mirror_moments(*moments(x), SHAPE, g)
    for found, predicted in zip(moments(edited), (mu, cov)):  # exact, of the sample too
        torch.testing.assert_close(found, predicted, rtol=0, atol=1e-12)
    check_images(edited)
    assert torch.equal(edited[..., :3], x[..., :3])
    if g == 1:
        assert torch.equal(edited, edited.flip(-1))


def test_bad_shares_of_the_mirror_image():
    for g in (-0.1, 1.1):
        with pytest.raises(ValueError, match=f"not {g}"):
            planted.mirror(images(2), g)
    with pytest.raises(ValueError, match="moments must be"):
        planted.mirror_moments(torch.zeros(3), torch.eye(3), SHAPE, 0.5)


@pytest.mark.parametrize("w", [0.0, 0.5, 1.0])
def test_whitening(w):
    x = images(2000)
    wiener = Wiener(*moments(x), SHAPE)
    scale = planted.whitening_scale(x, wiener, w)
    edited = planted.whiten(x, wiener, w, scale)
    predicted = planted.whitened_moments(wiener, w, scale)
    for found, expected in zip(moments(edited), predicted):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    assert edited.abs().max().item() == pytest.approx(1, abs=1e-5)
    check_images(edited)
    if w == 0:
        centred = scale * (x - x.mean(0))
        torch.testing.assert_close(edited, centred, rtol=0, atol=1e-12)
    if w == 1:  # white but for the floor
        lam = wiener.lam / (wiener.lam + 1e-3 * wiener.lam.mean())
        found = torch.linalg.eigvalsh(predicted[1]) / scale**2
        torch.testing.assert_close(found, lam.sort().values, rtol=1e-9, atol=1e-12)


def test_bad_whitening():
    x = images(100)
    wiener = Wiener(*moments(x), SHAPE)
    for w, scale, floor in ((-1, 1, 1), (1.5, 1, 1), (1, 0, 1), (1, 1, 0)):
        with pytest.raises(ValueError, match=f"w = {w}, floor = {floor}"):
            planted.whiten(x, wiener, w, scale, floor)


@pytest.mark.parametrize("reach", [1, 3, 5])
def test_shifted_images(reach):
    x = images(N)
    mu, cov = planted.shift_moments(*moments(images(N)), SHAPE, reach)
    assert_same(planted.shift(x, reach, generator(1)), (mu, cov))


def test_shifts_by_hand():
    x, side = images(40)[..., :5], (2, 5, 5)
    for reach in (3, 5):
        steps = range(-(reach // 2), reach - reach // 2)
        everything = torch.cat([x.roll((i, j), (2, 3)) for i in steps for j in steps])
        found = planted.shift_moments(*moments(x), side, reach)
        for value, expected in zip(found, moments(everything)):
            torch.testing.assert_close(value, expected, rtol=0, atol=1e-12)
        once = planted.shift(x, reach, generator(2))
        options = everything.view(reach**2, *x.shape)
        assert bool((options == once).flatten(2).all(2).any(0).all())
    mu, cov = found  # all shifts: circulant
    power = circulant_power(cov, side)
    stationary = Stationary(mu.view(side), power)
    assert departure(stationary, cov) < 1e-6
    field = Wiener(mu, cov, side).row((0, 3, 4), 0.5)
    kernel = stationary.kernel(0.5)[0]
    torch.testing.assert_close(field, kernel.roll((3 - 2, 4 - 2), (1, 2)))


def test_bad_reach():
    for reach in (0, 6):
        with pytest.raises(ValueError, match=f"not {reach}"):
            planted.shift(images(2), reach, generator())
        with pytest.raises(ValueError, match=f"not {reach}"):
            planted.shift_moments(*moments(images(2)), SHAPE, reach)


def test_controls_are_free_and_as_far():
    where = torch.zeros(16, 16, dtype=torch.bool)
    where[4:7, 11:14] = True
    found = planted.controls(where, (5, 3), gap=1)
    assert (
        found.sum() == 9 and not found[3:8, 10:15].any() and not found[4:7, 2:5].any()
    )

    def distances(mask):
        return (mask.nonzero() - torch.tensor([5, 3])).double().norm(dim=1).sort()[0]

    torch.testing.assert_close(distances(found), distances(where), rtol=0, atol=0.5)
    with pytest.raises(ValueError, match="200 planted places"):
        planted.controls(torch.arange(256).view(16, 16) < 200, (15, 15))


def test_strength_energy_and_covariance_by_hand():
    fields = torch.arange(2 * n, dtype=torch.float64).view(1, 2, *SHAPE) - n
    places = torch.zeros(2, *SHAPE[1:], dtype=torch.bool)
    places[0, 2, 1], places[0, 4, 5], places[1, 3, 3] = True, True, True
    a, b = fields[0]
    total = a[:, 2, 1].sum() + a[:, 4, 5].sum() + b[:, 3, 3].sum()
    assert planted.strength(fields, places).tolist() == [total / 2]
    first = a[:, 2, 1].square().sum() + a[:, 4, 5].square().sum()
    shares = first / a.square().sum(), b[:, 3, 3].square().sum() / b.square().sum()
    energy = planted.planted_energy(fields, places)
    torch.testing.assert_close(energy, torch.stack(shares).mean().view(1))

    cov = torch.arange(n**2, dtype=torch.float64).view(n, n)
    found = planted.planted_covariance(cov, SHAPE, [(0, 0, 0), (1, 0, 2)], places)
    row = cov[[0, 32]].view(2, *SHAPE)
    by_hand = (row[0, :, 2, 1].sum() + row[0, :, 4, 5].sum()) / 4
    assert found == pytest.approx(((by_hand + row[1, :, 3, 3].mean()) / 2).item())


def test_the_error_of_a_fitted_filter_is_its_spread():
    pixels = [(0, 2, 1), (1, 4, 5)]
    places = torch.zeros(2, *SHAPE[1:], dtype=torch.bool)
    places[0, 2:5, 3], places[1, 0, :3] = True, True
    x, found = images(), []
    for part in x.split(200):
        wiener = Wiener(*moments(part), SHAPE)
        fields = torch.stack([wiener.row(pixel, 0.4) for pixel in pixels])
        found.append(planted.strength(fields, places))
    wiener = Wiener(*moments(x), SHAPE)
    error = planted.strength_error(wiener, x, pixels, places, 0.4) * len(part) ** -0.5
    spread = torch.stack(found).std().item() * len(x) ** -0.5
    assert error == pytest.approx(spread, rel=0.4)  # 20 fits: 16 % a standard error


def test_the_filter_finds_the_pattern_and_more_of_it_when_there_is_more():
    pattern = planted.letter_w(16)
    pixel, cov = planted.corners_w(16)[2], 0.1 * torch.eye(256).double()
    own = torch.zeros_like(pattern)
    own[pixel] = True
    places = (pattern & ~own)[None]
    found = []
    for s in (0.0, 0.1, 0.2):
        mu, edited = planted.plant_moments(torch.zeros(256), cov, pattern, s, 0.0)
        row = Wiener(mu, edited, (1, 16, 16)).row((0, *pixel), 0.5)
        found.append(planted.strength(row[None], places).item())
    # a white background: S = k I + (1 - k) s^2 p p^T / (v + s^2 p^T p), Woodbury
    p, k, v = pattern.sum().item(), 0.1 / 0.35, 0.35
    exact = [(p - 1) * (1 - k) * s**2 / (v + s**2 * p) for s in (0.0, 0.1, 0.2)]
    assert found == pytest.approx(exact, rel=1e-9, abs=1e-12)
