"""The board game: every function against a list of all games, and exact facts."""

import itertools
import math
import time
from collections import Counter, defaultdict
from fractions import Fraction as F

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import board
from helpers.board import Game, Unreachable, uniform

ONE = Game(uniform([0]))


@st.composite
def laws(draw, low, high, size):
    """A random law: different whole numbers with random weights."""
    values = draw(st.lists(st.integers(low, high), min_size=1, max_size=size))
    weights = {x: draw(st.integers(1, 5)) for x in values}
    return {x: F(w, sum(weights.values())) for x, w in weights.items()}


games = st.builds(Game, laws(-6, 6, 4), laws(-2, 4, 3))


def all_games(game, turns):
    """{(start, spins): probability} of every game, by writing them all down."""
    table = {}
    for x, *spins in itertools.product(game.starts, *[game.spinner] * turns):
        p = math.prod(game.spinner[s] for s in spins)
        table[x, tuple(spins)] = game.starts[x] * p
    return table


def law_of(table, value):
    """The law of a number that is a function of the history."""
    weights = defaultdict(F)
    for history, p in table.items():
        weights[value(*history)] += p
    mass = sum(weights.values())
    return {x: weights[x] / mass for x in sorted(weights)}


def rng(seed=0):
    return np.random.default_rng(seed)


@settings(max_examples=25)
@given(games, st.integers(0, 4), st.data())
def test_everything_agrees_with_the_list_of_all_games(game, turn, data):
    everything = all_games(game, turn)
    squares = board.squares(game, turn)
    assert squares == law_of(everything, lambda x, spins: x + sum(spins))
    assert list(squares) == sorted(squares)
    here = data.draw(st.sampled_from(list(squares)))
    at = data.draw(st.integers(0, turn))
    past = {h: p for h, p in everything.items() if h[0] + sum(h[1]) == here}
    then = law_of(past, lambda x, spins: x + sum(spins[:at]))
    assert board.earlier(game, here, turn, at) == then
    assert board.start(game, here, turn) == law_of(past, lambda x, spins: x)
    assert board.count(game, here, turn) == len(past)
    mass = sum(past.values())
    listed = board.histories(game, here, turn)
    assert listed == {h: p / mass for h, p in past.items()}
    assert list(listed) == sorted(listed)
    assert board.reverse_mean(game, here, turn)[turn - at] == board.mean(then)
    if turn:
        before = law_of(past, lambda x, spins: x + sum(spins[:-1]))
        assert board.previous(game, here, turn) == before
        spin = board.last_spin(game, here, turn)
        assert spin == law_of(past, lambda x, spins: spins[-1])
        assert list(spin) == sorted(spin)


@settings(max_examples=20)
@given(laws(-3, 5, 4), st.integers(0, 5))
def test_total_is_the_repeated_convolution(spinner, k):
    expected = {0: F(1)}
    for _ in range(k):
        both = itertools.product(expected.items(), spinner.items())
        expected = law_of({((x, s),): p * q for (x, p), (s, q) in both}, sum)
    assert board.total(spinner, k) == expected
    assert board.mean(board.total(spinner, k)) == k * board.mean(spinner)
    assert board.variance(board.total(spinner, k)) == k * board.variance(spinner)


@settings(max_examples=15)
@given(games, st.integers(1, 5))
def test_mixing_the_ways_back_gives_the_squares_of_the_turn_before(game, turn):
    mixed = defaultdict(F)
    for here, p in board.squares(game, turn).items():
        for x, q in board.previous(game, here, turn).items():
            mixed[x] += p * q
    assert mixed == board.squares(game, turn - 1)


@settings(max_examples=15)
@given(games, st.integers(1, 5))
def test_what_the_square_tells_about_the_last_spin(game, turn):
    """H(spin | x_k) = H(spin) + H(x_{k-1}) - H(x_k), by the chain rule twice."""
    after = board.squares(game, turn)
    average = sum(
        float(p) * board.entropy(board.last_spin(game, here, turn))
        for here, p in after.items()
    )
    before = board.entropy(board.squares(game, turn - 1))
    expected = board.entropy(game.spinner) + before - board.entropy(after)
    assert average == pytest.approx(expected, abs=1e-12)


def test_two_turns_and_eighteen_squares():
    third = F(1, 3)
    listed = {(0, spins): third for spins in ((8, 10), (9, 9), (10, 8))}
    assert board.histories(ONE, 18, 2) == listed
    assert board.squares(ONE, 2)[18] == F(3, 100)
    spin = board.last_spin(ONE, 18, 2)
    assert spin == board.previous(ONE, 18, 2) == {8: third, 9: third, 10: third}
    assert (board.mean(spin), board.variance(spin)) == (9, F(2, 3))
    gain = math.log2(10) - board.entropy(spin)
    assert gain == pytest.approx(1.73696559, abs=1e-8)


@pytest.mark.parametrize("square", range(2, 21))
def test_after_two_turns_the_last_spin_is_uniform_on_its_candidates(square):
    spin = board.last_spin(ONE, square, 2)
    assert len(spin) == 10 - abs(square - 11)
    assert set(spin.values()) == {F(1, len(spin))}
    assert (spin == board.SPINNER) == (square == 11)


def test_two_starts_ten_apart_take_all_the_gain_away():
    game = Game(uniform([0, 10]))
    assert board.start(game, 18, 2) == {0: F(3, 10), 10: F(7, 10)}
    assert board.last_spin(game, 18, 2) == board.SPINNER
    assert board.mean(board.start(game, 18, 2)) == 7
    assert board.reverse_mean(game, 18, 2) == [18, F(25, 2), 7]
    far = Game(uniform([0, 40]))
    assert board.start(far, 18, 2) == {0: 1}
    assert board.last_spin(far, 18, 2) == board.last_spin(ONE, 18, 2)


@pytest.mark.parametrize("k", range(1, 11))
def test_mean_and_variance_of_the_last_spin(k):
    """E b = n / k for each square n, and E Var b = 33/4 (1 - 1/k) over all games."""
    average = F(0)
    for n, p in board.squares(ONE, k).items():
        spin = board.last_spin(ONE, n, k)
        assert board.mean(spin) == F(n, k)
        line = [F(n * j, k) for j in range(k, -1, -1)]
        assert board.reverse_mean(ONE, n, k) == line
        average += p * board.variance(spin)
    assert average == F(33, 4) * (1 - F(1, k))


@settings(max_examples=15)
@given(games, st.integers(1, 4))
def test_doubt_about_the_start_adds_to_the_variance(game, k):
    """E Var b = V (1 - 1/k) + E Var(x_0 | x_k) / k^2, for any starts and spinner."""
    spin = start = F(0)
    for x, p in board.squares(game, k).items():
        spin += p * board.variance(board.last_spin(game, x, k))
        start += p * board.variance(board.start(game, x, k))
    assert spin == board.variance(game.spinner) * (1 - F(1, k)) + start / k**2


def test_entropy_of_the_last_spin_grows_with_the_turns():
    known = {1: 0, 2: 2.613295, 3: 3.001171, 4: 3.108442, 5: 3.158987}
    known |= {6: 3.189519, 10: 3.245794, 20: 3.284914, 40: 3.303664}
    for k, bits in known.items():
        before, after = (board.entropy(board.squares(ONE, j)) for j in (k - 1, k))
        assert math.log2(10) + before - after == pytest.approx(bits, abs=5e-7)


@pytest.mark.parametrize("turn", [1, 2, 5])
def test_with_starts_everywhere_the_last_spin_is_uniform(turn):
    game = Game(uniform(range(100)))
    for square in (10 * turn, 60, 99 + turn):
        assert board.last_spin(game, square, turn) == board.SPINNER
    for square in (10 * turn - 1, 100 + turn):
        assert board.last_spin(game, square, turn) != board.SPINNER


def test_values_far_apart_and_steps_back():
    wide = Game({0: F(1, 4), 10**9: "3/4"}, {-3: F(1, 2), 0: F(0), 4: F(1, 2)})
    assert 0 not in wide.spinner
    assert board.start(wide, 10**9 + 1, 2) == {10**9: 1}
    assert board.squares(wide, 2)[1] == F(1, 8)


def test_prior_of_the_starts_counts():
    game = Game({0: "9/10", 10: "1/10"})
    weights = {0: F(9, 10) * F(3, 100), 10: F(1, 10) * F(7, 100)}
    mass = sum(weights.values())
    assert board.start(game, 18, 2) == {x: w / mass for x, w in weights.items()}


def test_entropy():
    assert board.entropy({3: F(1)}) == 0
    assert board.entropy(uniform(range(8))) == 3
    coin = board.law({0: "1/4", 1: "3/4"})
    assert board.entropy(coin) == pytest.approx(2 - 0.75 * math.log2(3), abs=1e-15)
    tiny = F(1, 10**400)  # smaller than any float
    assert board.entropy({0: tiny, 1: 1 - tiny}) == pytest.approx(0, abs=1e-15)
    assert board.entropy(board.histories(ONE, 18, 2)) == pytest.approx(math.log2(3))


def test_play_follows_the_rules():
    game = Game({0: "1/4", 100: "3/4"}, {1: "1/2", 5: "1/3", -2: "1/6"})
    walk = board.play(game, 3, rng(), 40_000)
    assert walk.shape == (40_000, 4) and walk.dtype.kind == "i"
    assert set(np.diff(walk).ravel()) == {1, 5, -2}
    for turn in (0, 3):
        seen, squares = Counter(walk[:, turn].tolist()), board.squares(game, turn)
        assert set(seen) <= set(squares)
        for x, p in squares.items():
            error = 5 * math.sqrt(p * (1 - p) / len(walk))
            assert seen[x] / len(walk) == pytest.approx(float(p), abs=error)
    again = board.play(game, 3, rng(), 40_000)
    assert (walk == again).all()


def test_filtered_games_have_the_exact_posterior():
    game = Game(uniform([0, 10, 25]))
    walk = board.play(game, 3, rng(1), 60_000)
    walk = walk[walk[:, 3] == 28]
    for column, exact in ((2, board.previous), (0, board.start)):
        seen = Counter(walk[:, column].tolist())
        for x, p in exact(game, 28, 3).items():
            error = 5 * math.sqrt(p * (1 - p) / len(walk))
            assert seen[x] / len(walk) == pytest.approx(float(p), abs=error)


@settings(max_examples=15)
@given(games, st.integers(0, 6), st.data())
def test_every_walk_back_is_a_game_that_may_have_been(game, turn, data):
    here = data.draw(st.sampled_from(list(board.squares(game, turn))))
    walk = board.reverse(game, here, turn, rng())
    assert walk.shape == (1, turn + 1)
    assert walk[0, 0] == here and walk[0, -1] in game.starts
    assert set(-np.diff(walk[0])) <= set(game.spinner)


@pytest.mark.parametrize("k", [2, 5, 10])
def test_walks_back_have_the_exact_law_of_the_start(k):
    game = Game({0: "1/5", 7: "1/5", 30: "3/5"})
    ends = board.play(game, k, rng(2), 2000)[:, k]
    walk = board.reverse(game, ends, k, rng(3))
    assert walk.shape == (2000, k + 1) and (walk[:, 0] == ends).all()
    seen = Counter(walk[:, -1].tolist())
    assert set(seen) <= set(game.starts)
    for x, p in game.starts.items():
        error = 5 * math.sqrt(p * (1 - p) / len(walk))
        assert seen[x] / len(walk) == pytest.approx(float(p), abs=error)


def test_walks_back_from_one_square_have_its_posterior():
    game = Game(uniform([0, 10]))
    walk = board.reverse(game, [18] * 4000, 2, rng())
    assert (walk[:, -1] == 10).mean() == pytest.approx(0.7, abs=0.04)


def test_forty_turns_and_twenty_starts_take_milliseconds():
    game = Game(uniform(range(0, 400, 20)))
    for posterior in (board.previous, board.start, board.last_spin):
        board.spins.cache_clear()
        began = time.perf_counter()
        posterior(game, 420, 40)
        assert time.perf_counter() - began < 0.5


@pytest.mark.parametrize(
    "weights, says",
    [
        ({}, "add up to 1, not to 0"),
        ({1: F(1, 2)}, "add up to 1, not to 1/2"),
        ({1: 0.5, 2: 0.5}, "must be exact, not 0.5"),
        ({1: F(3, 2), 2: F(-1, 2)}, "probability of 2 is negative: -1/2"),
        ({1.5: F(1)}, "whole numbers, not on 1.5"),
        ({"1": F(1)}, "whole numbers, not on '1'"),
        ({1: "a half"}, "Invalid literal"),
    ],
)
def test_what_is_no_law(weights, says):
    for make in (board.law, Game, lambda w: Game(uniform([0]), w)):
        with pytest.raises(ValueError, match=says):
            make(weights)


def test_laws_are_checked_copies():
    given = {np.int64(3): "1/2", 1: F(1, 2), 7: 0}
    checked = board.law(given)
    assert list(checked.items()) == [(1, F(1, 2)), (3, F(1, 2))]
    assert all(type(x) is int for x in checked)
    game = Game(given)
    given[1] = F(0)
    assert game.starts == checked and game.spinner == board.SPINNER
    board.squares(game, 2).clear()
    assert board.squares(game, 2)
    assert Game(uniform([0])) == ONE


def test_uniform_refuses_none_and_twice():
    for values in ([], [1, 2, 1]):
        with pytest.raises(ValueError, match="one or more different values"):
            uniform(values)


@pytest.mark.parametrize("square, turn", [(1, 2), (21, 2), (18, 1), (3, 0), (-5, 4)])
def test_an_unreachable_square_is_said_to_be_one(square, turn):
    says = f"no game is on square {square} after {turn} turns"
    ways = [board.start, board.histories, board.reverse_mean]
    ways += [board.previous, board.last_spin] if turn else []
    for ask in ways:
        with pytest.raises(Unreachable, match=says):
            ask(ONE, square, turn)
    with pytest.raises(Unreachable, match=says):
        board.reverse(ONE, square, turn, rng())
    assert board.count(ONE, square, turn) == 0


def test_a_start_is_where_a_game_without_turns_is():
    game = Game(uniform([0, 10]))
    assert board.start(game, 10, 0) == {10: 1}
    assert board.histories(game, 10, 0) == {(10, ()): 1}
    assert board.reverse_mean(game, 10, 0) == [10]
    assert board.reverse(game, 10, 0, rng()).tolist() == [[10]]


def test_bad_turns_and_squares():
    for ask in (board.previous, board.last_spin):
        with pytest.raises(
            ValueError, match="turn must be a whole number from 1, not 0"
        ):
            ask(ONE, 0, 0)
    for turn in (-1, 1.5):
        for ask in (board.start, board.count, board.histories, board.reverse_mean):
            with pytest.raises(ValueError, match=f"from 0, not {turn}"):
                ask(ONE, 3, turn)
        with pytest.raises(ValueError, match=f"from 0, not {turn}"):
            board.squares(ONE, turn)
        with pytest.raises(ValueError, match=f"from 0, not {turn}"):
            board.total(board.SPINNER, turn)
        with pytest.raises(ValueError, match=f"from 0, not {turn}"):
            board.play(ONE, turn, rng(), 1)
        with pytest.raises(ValueError, match=f"from 0, not {turn}"):
            board.reverse(ONE, 3, turn, rng())
    for ask in (board.previous, board.start, board.count):
        with pytest.raises(
            ValueError, match=r"square must be a whole number, not 18\.5"
        ):
            ask(ONE, 18.5, 2)
    with pytest.raises(ValueError, match=r"not 18\.0"):
        board.reverse(ONE, np.array([18.0]), 2, rng())
    with pytest.raises(ValueError, match="at must not be later than turn 2, not 3"):
        board.earlier(ONE, 18, 2, 3)


def test_too_many_histories_are_counted_first():
    number = board.count(ONE, 110, 20)
    assert number == board.total(board.SPINNER, 20)[110] * 10**20
    with pytest.raises(ValueError, match=f"{number:,} histories, more than 100,000"):
        board.histories(ONE, 110, 20)
    assert len(board.histories(ONE, 18, 2, limit=3)) == 3
    with pytest.raises(ValueError, match="3 histories, more than 2"):
        board.histories(ONE, 18, 2, limit=2)
