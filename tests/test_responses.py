"""Responses at planted places, by hand and against the spread of fitted filters."""

import pytest
import torch
from test_planted import SHAPE, images, moments, n

from helpers import planted, responses
from helpers.wiener import Wiener


def test_controls_are_free_and_as_far():
    where = torch.zeros(16, 16, dtype=torch.bool)
    where[4:7, 11:14] = True
    found = responses.controls(where, (5, 3), gap=1)
    assert (
        found.sum() == 9 and not found[3:8, 10:15].any() and not found[4:7, 2:5].any()
    )

    def distances(mask):
        return (mask.nonzero() - torch.tensor([5, 3])).double().norm(dim=1).sort()[0]

    torch.testing.assert_close(distances(found), distances(where), rtol=0, atol=0.5)
    with pytest.raises(ValueError, match="200 planted places"):
        responses.controls(torch.arange(256).view(16, 16) < 200, (15, 15))


def test_strength_energy_and_covariance_by_hand():
    fields = torch.arange(2 * n, dtype=torch.float64).view(1, 2, *SHAPE) - n
    places = torch.zeros(2, *SHAPE[1:], dtype=torch.bool)
    places[0, 2, 1], places[0, 4, 5], places[1, 3, 3] = True, True, True
    a, b = fields[0]
    total = a[:, 2, 1].sum() + a[:, 4, 5].sum() + b[:, 3, 3].sum()
    assert responses.strength(fields, places).tolist() == [total / 2]
    first = a[:, 2, 1].square().sum() + a[:, 4, 5].square().sum()
    shares = first / a.square().sum(), b[:, 3, 3].square().sum() / b.square().sum()
    energy = responses.energy(fields, places)
    torch.testing.assert_close(energy, torch.stack(shares).mean().view(1))

    cov = torch.arange(n**2, dtype=torch.float64).view(n, n)
    found = responses.covariance(cov, SHAPE, [(0, 0, 0), (1, 0, 2)], places)
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
        found.append(responses.strength(fields, places))
    wiener = Wiener(*moments(x), SHAPE)
    error = responses.strength_error(wiener, x, pixels, places, 0.4) * len(part) ** -0.5
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
        found.append(responses.strength(row[None], places).item())
    # a white background: S = k I + (1 - k) s^2 p p^T / (v + s^2 p^T p), Woodbury
    p, k, v = pattern.sum().item(), 0.1 / 0.35, 0.35
    exact = [(p - 1) * (1 - k) * s**2 / (v + s**2 * p) for s in (0.0, 0.1, 0.2)]
    assert found == pytest.approx(exact, rel=1e-9, abs=1e-12)
