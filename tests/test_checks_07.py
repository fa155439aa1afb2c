"""Answers that are nearly right are refused by the checks of chapter 7."""

import math
from fractions import Fraction

import pytest
import torch

from helpers import board, schedules
from helpers.board import Game, uniform
from helpers.checks import check

SPINNER = {1: Fraction(9, 10), 10: Fraction(1, 10)}
V, H = board.variance(SPINNER), board.entropy(SPINNER)


@pytest.mark.parametrize(
    "special",
    [
        lambda k: ([k, 10 * k], [5 * k], [11 * k // 2]),  # also for odd k
        lambda k: ([k], [5 * k], [11 * k // 2] if k % 2 == 0 else []),
        lambda k: ([k, 10 * k], [5 * k], []),
        lambda k: ([k, 10 * k], [5 * (k - 1)], [11 * k // 2] if k % 2 == 0 else []),
        lambda k: ([k, 10 * k], [], [11 * k // 2] if k % 2 == 0 else []),
    ],
)
def test_special_squares(special):
    assert not check("7.1", special)


@pytest.mark.parametrize(
    "blind",
    [
        lambda distance: 11 if distance == 10 else 0,
        lambda distance: 11 if distance == 10 else 2,
        lambda distance: 10 if distance == 10 else 2 * (distance > 10),
        lambda distance: 11 - abs(distance - 10),
        lambda distance: 11 if distance == 10 else distance > 10,
    ],
)
def test_blind(blind):
    assert not check("7.2", blind)


def friend(p, low=7, high=3):
    total = high * p + low * (1 - p)
    spin = {s: (p if s > 7 else 1 - p) / total for s in range(1, 11)}
    return {0: high * p / total, 10: low * (1 - p) / total}, spin


@pytest.mark.parametrize(
    "answer",
    [
        lambda p: ({0: p, 10: 1 - p}, friend(p)[1]),  # the prior
        lambda p: friend(Fraction(1, 2)),  # no prior
        lambda p: friend(1 - p),
        lambda p: (friend(p)[0], board.SPINNER),
        lambda p: friend(float(p)),  # rounded
        lambda p: friend(p, low=7, high=7),  # not all add up to 1
        lambda p: friend(p)[::-1],
    ],
)
def test_prior(answer):
    assert not check("7.3", answer)


def doubt(k, V=V, H=H, unit=1.0):
    before, after = (board.entropy(board.total(SPINNER, j)) for j in (k - 1, k))
    return V * (1 - Fraction(1, k)), (H - (after - before)) * unit


@pytest.mark.parametrize(
    "answer",
    [
        lambda k: doubt(k, V=Fraction(33, 4)),
        lambda k: doubt(k, V=Fraction(27, 10)),  # the standard deviation
        lambda k: doubt(k, H=math.log2(10)),
        lambda k: doubt(k, unit=math.log(2)),  # nats
        lambda k: doubt(k + 1),
        lambda k: (V / k, doubt(k)[1]),
        lambda k: doubt(k)[::-1],
    ],
)
def test_unfair_spinner(answer):
    assert not check("7.4", answer)


def move(game, turn, pick):
    """The shares of the starts if a step goes to pick(previous law), equally often."""
    crowd = board.squares(game, turn)
    for k in range(turn, 0, -1):
        moved = {}
        for x, p in crowd.items():
            chosen = pick(board.previous(game, x, k))
            for y in chosen:
                moved[y] = moved.get(y, 0) + p / len(chosen)
        crowd = moved
    return crowd


def most_probable_start(game, turn):
    ends = dict.fromkeys(game.starts, 0)
    for x, p in board.squares(game, turn).items():
        origin = board.start(game, x, turn)
        best = [s for s in origin if origin[s] == max(origin.values())]
        for s in best:
            ends[s] += p / len(best)
    return ends


@pytest.mark.parametrize(
    "rounding",
    [
        lambda game, turn: game.starts,  # one who draws
        lambda game, turn: move(game, turn, list),  # any of the possible
        lambda game, turn: move(game, turn, lambda p: [max(p, key=p.get)]),  # ties
        lambda game, turn: move(game, turn - 1, list),
        most_probable_start,
    ],
)
def test_rounding(rounding):
    assert not check("7.5", rounding)


def start_doubt(game, k, unit=1.0):
    spread = board.entropy(board.total(game.spinner, k))
    bits = board.entropy(game.starts) + spread - board.entropy(board.squares(game, k))
    return bits * unit


def not_weighted(game, k):
    laws = [board.start(game, x, k) for x in board.squares(game, k)]
    return sum(map(board.entropy, laws)) / len(laws)


@pytest.mark.parametrize(
    "answer",
    [
        lambda game, k: start_doubt(game, k, math.log(2)),  # nats
        lambda game, k: board.entropy(game.starts) - start_doubt(game, k),
        lambda game, k: start_doubt(game, k + 1),
        lambda game, k: start_doubt(Game(uniform(game.starts)), k),
        not_weighted,
    ],
)
def test_start_doubt(answer):
    assert not check("7.6", answer)


def linear(T):
    return schedules.linear(T, 0.1 / T, 20 / T).sigma[1:]


def even(T):
    """Equal steps of ln sigma between the same ends: better, but not enough."""
    first, last = linear(T)[[0, -1]].log()
    return torch.linspace(first, last, T, dtype=torch.float64).exp()


@pytest.mark.parametrize(
    "levels",
    [
        linear,
        even,
        lambda T: linear(T).flip(0),
        lambda T: linear(T) ** -2,
        lambda T: linear(1000)[:: 1000 // T],
        lambda T: schedules.linear(T, 0.1 / T, 20 / T).sigma,
        lambda T: torch.linspace(0.3, 1.5, T),  # leaves out the ends
    ],
)
def test_levels(levels):
    assert not check("7.7", levels)
