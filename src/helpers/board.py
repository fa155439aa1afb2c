r"""A board game, exactly: where the piece was, given where it is.

A piece stands on one of the starts, chosen by chance. In each turn a spinner is turned
and the piece moves that many squares on; there is no goal. $x_k$ is the square after k
turns. Forward play, $q(x_k | x_{k-1})$, is the spinner. The question is the way back,
$q(x_{k-1} | x_k)$.

All probabilities are fractions, without rounding. Inside, a law is a table of whole
numbers (weights), which is fast: 40 turns and 20 starts take milliseconds. The time
grows with the number of turns times the width of the spinner.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from numbers import Integral, Rational

import numpy as np

Law = dict[int, Fraction]
Weights = dict[int, int]


class Unreachable(ValueError):
    """No game is on this square after that many turns."""


def law(weights: Mapping) -> Law:
    """A distribution on whole numbers, checked: {value: probability}, sorted.

    Probabilities are Fractions, ints or strings such as "1/3". Values of probability 0
    are dropped. ValueError for floats, for values that are not whole numbers, for
    negative probabilities, and if they do not add up to exactly 1.
    """
    p = {}
    for value, weight in weights.items():
        if not isinstance(value, Integral):
            raise ValueError(f"a law lives on whole numbers, not on {value!r}")
        if not isinstance(weight, (Rational, str)):
            raise ValueError(
                f"the probability of {value} must be exact, not {weight!r}: "
                'write Fraction(1, 3), "1/3" or 1'
            )
        p[int(value)] = Fraction(weight)
        if p[int(value)] < 0:
            raise ValueError(f"the probability of {value} is negative: {weight}")
    if sum(p.values()) != 1:
        raise ValueError(f"probabilities must add up to 1, not to {sum(p.values())}")
    return {value: p[value] for value in sorted(p) if p[value]}


def uniform(values: Iterable[int]) -> Law:
    """Equal probability for each value; ValueError for none, or for one twice."""
    values = list(values)
    if not values or len(set(values)) < len(values):
        raise ValueError(f"one or more different values are needed, not {values}")
    return law(dict.fromkeys(values, Fraction(1, len(values))))


SPINNER = uniform(range(1, 11))


@dataclass(frozen=True)
class Game:
    """Where games start, and the spinner; each a Law (see `law` for the errors)."""

    starts: Law
    spinner: Law = field(default_factory=lambda: SPINNER)

    def __post_init__(self):
        object.__setattr__(self, "starts", law(self.starts))
        object.__setattr__(self, "spinner", law(self.spinner))


def total(spinner: Law, k: int) -> Law:
    """The law of the sum of k spins; ValueError if k is not a whole number >= 0."""
    return normalised(spins(pairs(law(spinner)), whole(k, "k", 0)))


def squares(game: Game, turn: int) -> Law:
    """$q(x_k)$: where the piece is after `turn` turns."""
    starts, spinner = tables(game)
    weights = {}
    for s, v in spins(spinner, whole(turn, "turn", 0)).items():
        for x, w in starts:
            weights[x + s] = weights.get(x + s, 0) + v * w
    return normalised(weights)


def earlier(game: Game, square: int, turn: int, at: int) -> Law:
    r"""$q(x_j | x_k)$: where the piece was after `at` turns, 0 <= at <= turn.

    $q(x_j | x_k) \propto q(x_j)\, q(x_k | x_j)$, and $x_k - x_j$ is the sum of $k - j$
    spins. Unreachable if no game is on this square after that many turns.
    """
    turn, at, square = whole(turn, "turn", 0), whole(at, "at", 0), whole(square)
    if at > turn:
        raise ValueError(f"at must not be later than turn {turn}, not {at}")
    starts, spinner = tables(game)
    then = spins(spinner, at)
    both = {}
    for s, weight in spins(spinner, turn - at).items():
        here = sum(w * then.get(square - s - x, 0) for x, w in starts)
        both[square - s] = weight * here
    if not any(both.values()):
        raise Unreachable(f"no game is on square {square} after {turn} turns")
    return normalised(both)


def previous(game: Game, square: int, turn: int) -> Law:
    """$q(x_{k-1} | x_k)$: where the piece was one turn ago; `turn` is at least 1."""
    return earlier(game, square, whole(turn, "turn", 1), turn - 1)


def last_spin(game: Game, square: int, turn: int) -> Law:
    """What the spinner showed in the last turn, given the square after it."""
    before = previous(game, square, turn)
    return {square - x: p for x, p in sorted(before.items(), reverse=True)}


def start(game: Game, square: int, turn: int) -> Law:
    """$q(x_0 | x_k)$: where the game started."""
    return earlier(game, square, turn, 0)


def count(game: Game, square: int, turn: int) -> int:
    """The number of histories (a start and `turn` spins) that end on the square."""
    spinner = tuple((s, 1) for s in game.spinner)
    sums = spins(spinner, whole(turn, "turn", 0))
    return sum(sums.get(whole(square) - x, 0) for x in game.starts)


def histories(
    game: Game, square: int, turn: int, limit: int = 100_000
) -> dict[tuple[int, tuple[int, ...]], Fraction]:
    """All histories that end on the square: {(start, spins): probability}, sorted.

    They are counted before they are listed: ValueError if there are more than `limit`,
    Unreachable if there is none.
    """
    number = count(game, square, turn)
    if number > limit:
        raise ValueError(f"there are {number:,} histories, more than {limit:,}")
    if number == 0:
        raise Unreachable(f"no game is on square {square} after {turn} turns")
    tails = [(square, ())]  # where the piece was, and all spins since
    for k in range(turn - 1, -1, -1):
        then = squares(game, k)
        steps = ((x - s, (s, *spun)) for x, spun in tails for s in game.spinner)
        tails = [(x, spun) for x, spun in steps if x in then]
    joint = {
        (x, spun): game.starts[x] * math.prod(game.spinner[s] for s in spun)
        for x, spun in sorted(tails)
    }
    evidence = sum(joint.values())
    return {history: p / evidence for history, p in joint.items()}


def mean(p: Law) -> Fraction:
    """The mean of a law, exactly."""
    return sum((x * weight for x, weight in p.items()), Fraction(0))


def variance(p: Law) -> Fraction:
    """The variance of a law, exactly."""
    return mean({x: x * weight for x, weight in p.items()}) - mean(p) ** 2


def entropy(p: Mapping) -> float:
    r"""$-\sum p \log_2 p$ in bits, of a law or of `histories`."""
    return math.fsum(
        float(w) * (math.log2(w.denominator) - math.log2(w.numerator))
        for w in p.values()
    )


def play(game: Game, turns: int, generator: np.random.Generator, n: int) -> np.ndarray:
    """n games: the squares $x_0, x_1, ...$ of each, an int array (n, turns + 1)."""
    first = draw(game.starts, n, generator)
    steps = draw(game.spinner, (n, whole(turns, "turns", 0)), generator)
    return np.cumsum(np.column_stack([first, steps]), axis=1)


def reverse(
    game: Game, square, turn: int, generator: np.random.Generator
) -> np.ndarray:
    r"""Walks back, each step drawn from $q(x_{k-1} | x_k)$: $x_k, x_{k-1}, ..., x_0$.

    `square` is one square or an array (n,), one for each walk; the result is an int
    array (n, turn + 1). All walks end on a start.
    """
    walk = [np.atleast_1d(square)]
    for here in np.unique(walk[0]).tolist():
        start(game, here, turn)  # Unreachable, if it is
    for k in range(turn, 0, -1):
        x = np.empty_like(walk[-1])
        for here in np.unique(walk[-1]).tolist():
            same = walk[-1] == here
            x[same] = draw(previous(game, here, k), same.sum(), generator)
        walk.append(x)
    return np.stack(walk, axis=1)


def reverse_mean(game: Game, square: int, turn: int) -> list[Fraction]:
    r"""The mean of all walks back: $E[x_j | x_k]$ for j = k, k - 1, ..., 0.

    Given the start, no spin differs from another, so each has the same mean,
    $(x_k - x_0) / k$: the mean walks on a straight line from the square to the mean
    start $E[x_0 | x_k]$. Its places need not be squares, nor its end a start.
    """
    end = mean(start(game, square, turn))
    return [end + (square - end) * Fraction(j, turn or 1) for j in range(turn, -1, -1)]


def draw(p: Law, shape, generator: np.random.Generator) -> np.ndarray:
    """Values drawn from a law, an int array of this shape."""
    return generator.choice(list(p), shape, p=[float(weight) for weight in p.values()])


def whole(value: int, name: str = "square", least: int | None = None) -> int:
    """A whole number that is not too small; ValueError otherwise."""
    if not isinstance(value, Integral) or (least is not None and value < least):
        limit = "" if least is None else f" from {least}"
        raise ValueError(f"{name} must be a whole number{limit}, not {value!r}")
    return int(value)


def pairs(p: Law) -> tuple[tuple[int, int], ...]:
    """A law as (value, weight) with whole weights over one common denominator."""
    common = math.lcm(*(w.denominator for w in p.values()))
    return tuple((x, w.numerator * (common // w.denominator)) for x, w in p.items())


def tables(game: Game):
    """The starts and the spinner as `pairs`."""
    return pairs(game.starts), pairs(game.spinner)


def normalised(weights: Weights) -> Law:
    """Whole weights as probabilities, sorted; weights of 0 are dropped."""
    mass = sum(weights.values())
    return {x: Fraction(w, mass) for x, w in sorted(weights.items()) if w}


@lru_cache(maxsize=1024)
def spins(spinner: tuple, k: int) -> Weights:
    r"""The weights of the sum of k spins; read only.

    They are the coefficients of the power $c = a^k$ of a polynomial. From
    $a c' = k a' c$ follows each from those before it (Miller's recurrence):
    $n a_0 c_n = \sum_{i \ge 1} (i (k + 1) - n) a_i c_{n - i}$.
    """
    low, first = spinner[0]
    rest = [(s - low, w) for s, w in spinner[1:]]
    c = [first**k]
    for n in range(1, k * (spinner[-1][0] - low) + 1):
        terms = ((i * (k + 1) - n) * w * c[n - i] for i, w in rest if i <= n)
        c.append(sum(terms) // (n * first))
    return {k * low + n: weight for n, weight in enumerate(c) if weight}
