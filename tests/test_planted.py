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


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_scrambled_images(share):
    x = images(300)[..., :5]
    shape = x.shape[1:]
    order = planted.permutation(5, share, generator())
    moved = (order != torch.arange(25)).sum()
    assert sorted(order.tolist()) == list(range(25)) and moved <= round(25 * share)
    assert (moved > 0) == (share > 0)
    edited = planted.scramble(x, order)
    predicted = planted.scrambled_moments(*moments(x), shape, order)
    for found, expected in zip(moments(edited), predicted):  # exact, of the sample too
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    assert torch.equal(edited[7, 1].flatten()[3], x[7, 1].flatten()[order[3]])
    before, after = Wiener(*moments(x), shape), Wiener(*predicted, shape)
    row = before.row((1, *divmod(int(order[3]), 5)), 0.5)
    row = planted.scramble(row[None], order)[0]
    torch.testing.assert_close(after.row((1, 0, 3), 0.5), row)


def test_bad_permutations():
    with pytest.raises(ValueError, match=r"not 1\.5"):
        planted.permutation(4, 1.5, generator())
    with pytest.raises(ValueError, match="each place of the images once"):
        planted.scramble(images(2), torch.zeros(30, dtype=torch.long))
