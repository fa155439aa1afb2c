"""Checks of the exercises of chapter 7, the board game."""

import math
from itertools import pairwise

import numpy as np
import torch

from helpers import board, bound, schedules
from helpers.board import Game, uniform
from helpers.checks import Property, close
from helpers.mixtures import two_point_mmse

ONE, THREE = Game(uniform([0])), Game(uniform([0, 15, 30]))


def exercise_1(special):
    """special(k), for one start on 0: three lists of squares, from turn 2 on."""
    laws = {
        k: {x: board.last_spin(ONE, x, k) for x in board.squares(ONE, k)}
        for k in range(2, 7)
    }

    def right(which, has):
        lists = {k: [x for x, p in laws[k].items() if has(p)] for k in laws}
        return all(sorted(special(k)[which]) == lists[k] for k in laws)

    yield Property(
        "the first list has the squares on which one spin is left, and no other",
        right(0, lambda p: len(p) == 1),
        ("How few squares can k turns bring you, and how many?",),
    )
    yield Property(
        "the second list has the squares on which the mean of the last spin is 5",
        right(1, lambda p: board.mean(p) == 5),
        ("All k spins have the same mean, and you know what they add up to.",),
    )
    yield Property(
        "the third list has the squares on which s and 11 - s are equally probable",
        right(2, lambda p: p == {11 - s: w for s, w in p.items()}),
        ("What is the mean of such a law?", "Is there such a square at each turn?"),
    )


def exercise_2(blind):
    """blind(distance): on how many squares the friend learns nothing, two turns."""

    def right(distances):
        return all(float(blind(d)) == counted(d) for d in distances)

    yield Property(
        "for starts 10 squares apart it is what a count over all squares gives",
        right([10]),
        (
            "She learns nothing where the ten squares behind her are equally likely.",
            "Draw the law of the square after one turn, for both starts together.",
        ),
    )
    yield Property(
        "it is so, too, for starts 1 to 9 squares apart",
        right(range(1, 10)),
        ("Where the traces of two starts overlap, the law of x_1 has a step.",),
    )
    yield Property(
        "and for starts 11 to 30 squares apart",
        right(range(11, 31)),
        ("A gap between the traces: can ten squares in a row still be equal?",),
    )


def counted(distance):
    game = Game(uniform([0, distance]))
    spins = (board.last_spin(game, x, 2) for x in board.squares(game, 2))
    return sum(p == board.SPINNER for p in spins)


def exercise_3(friend):
    """friend(p): laws of start and last spin on 18 after two turns, p for start 0."""
    priors = ("1/2", "9/10", "1/100")
    games = [Game({0: p, 10: 1 - board.Fraction(p)}) for p in priors]
    answers = [friend(game.starts[0]) for game in games]
    yield Property(
        "both laws add up to exactly 1",
        all(sum(p.values()) == 1 for answer in answers for p in answer),
        ("Divide by the probability of the square.", "Keep fractions, no decimals."),
    )
    yield Property(
        "the law of the start is the library's, for several p",
        all(a[0] == board.start(g, 18, 2) for a, g in zip(answers, games)),
        (
            "How often do games from 0 come to 18 in two turns, and games from 10?",
            "Prior times likelihood, over their sum.",
        ),
    )
    yield Property(
        "the law of the last spin is the library's, for several p",
        all(a[1] == board.last_spin(g, 18, 2) for a, g in zip(answers, games)),
        ("Which spins belong to which start?",),
    )


UNFAIR = Game(uniform([0]), {1: "9/10", 10: "1/10"})


def exercise_4(doubt):
    """doubt(k): mean variance and mean entropy, bits, of the last spin, one start."""
    turns = range(1, 7)
    yield Property(
        "after one turn nothing is in doubt",
        all(abs(float(value)) < 1e-9 for value in doubt(1)),
        ("With one start, the square after one turn is the spin.",),
    )
    yield Property(
        "the variance is what an average over all squares gives, for six turns",
        all(close(float(doubt(k)[0]), average(k, board.variance)) for k in turns),
        (
            "Which property of the spinner did the proof use?",
            "V is that of this spinner, not 33/4.",
        ),
    )
    yield Property(
        "so is the entropy",
        all(close(float(doubt(k)[1]), average(k, board.entropy)) for k in turns),
        ("The spread of the crowd is taken from the entropy of this spinner.",),
    )


def average(turn, what):
    """What of the law of the last spin, averaged over all games."""
    crowd = board.squares(UNFAIR, turn).items()
    return sum(float(p * what(board.last_spin(UNFAIR, x, turn))) for x, p in crowd)


def exercise_5(rounding):
    """rounding(game, turn): {start: probability} for who goes to the most probable."""
    ends = rounding(THREE, 8)
    yield Property(
        "she arrives on the starts, with probabilities that add up to 1",
        set(ends) == set(THREE.starts) and close(float(sum(ends.values())), 1.0),
        ("Begin with the law of all squares at the last turn, and move it back.",),
    )
    yield Property(
        "the starts 0 and 30 are mirror images, and get the same share",
        close(float(ends[0]), float(ends[30])),
        ("If several squares are the most probable, each gets its part.",),
    )
    games = [(THREE, 2), (THREE, 8), (Game({0: "3/5", 15: "2/5"}), 8)]
    yield Property(
        "it is what one gets start by start, for three starts and for two",
        all(
            close([float(rounding(g, k).get(s, 0)) for s in g.starts], arrivals(g, k))
            for g, k in games
        ),
        (
            "She asks anew after each step, for the turn before.",
            "The most probable previous square, not the most probable start.",
        ),
    )


def arrivals(game, turn):
    """The share of each start: the chances of each square to get there, averaged."""
    chance = dict(zip(game.starts, np.eye(len(game.starts))))
    for k in range(1, turn + 1):
        chance = {x: best(game, x, k, chance) for x in board.squares(game, k)}
    return sum(float(p) * chance[x] for x, p in board.squares(game, turn).items())


def best(game, square, turn, chance):
    """The mean chances of the most probable squares before this one."""
    before = board.previous(game, square, turn)
    top = max(before.values())
    return np.mean([chance[y] for y, w in before.items() if w == top], axis=0)


def exercise_6(doubt):
    """doubt(game, turn): bits of doubt about the start, averaged over all squares."""
    yield Property(
        "before the first turn there is no doubt",
        close(float(doubt(THREE, 0)), 0.0),
        ("The square is the start. Doubt is what is missing, not what is known.",),
    )
    rising = [float(doubt(THREE, k)) for k in range(13)]
    yield Property(
        "it does not fall from turn to turn, nor exceed the entropy of the starts",
        all(a <= b + 1e-9 for a, b in pairwise(rising)) and rising[-1] < math.log2(3),
        ("A square counts as often as games are on it.",),
    )
    games = [(THREE, 1), (THREE, 8), (Game({0: "9/10", 10: "1/10"}), 5)]
    yield Property(
        "it is what an average over all squares gives",
        all(close(float(doubt(g, k)), mean_doubt(g, k)) for g, k in games),
        ("Bits are logarithms to the base 2.", "Weigh squares by `board.squares`."),
    )


def mean_doubt(game, turn):
    """The entropy of the start, square by square."""
    crowd = board.squares(game, turn).items()
    return sum(float(p) * board.entropy(board.start(game, x, turn)) for x, p in crowd)


def exercise_7(levels):
    """levels(T): noise levels sigma_1 < ... < sigma_T, ends as of the scaled linear."""
    linear = {T: schedules.linear(T, 0.1 / T, 20 / T) for T in (50, 100)}
    own = {T: schedules.from_sigma(torch.as_tensor(levels(T))) for T in linear}
    ends = [1, -1]
    yield Property(
        "there are T of them, with the first and the last of the linear schedule",
        all(
            s.T == T and close(s.sigma[ends], linear[T].sigma[ends], rtol=1e-4)
            for T, s in own.items()
        ),
        ("Only the levels between may move.", "Give levels sigma, not SNR, rising."),
    )
    few = {T: (excess(own[T]), excess(linear[T])) for T in linear}
    yield Property(
        "with 50 steps the excess is at most a third of the linear schedule's",
        few[50][0] < few[50][1] / 3,
        (
            "A term is half of ln(1 + (SNR_{t-1} - SNR_t) mmse_t).",
            "Where does the linear schedule spend steps on which nothing is decided?",
            "Let an optimiser move the differences of ln SNR.",
        ),
    )
    yield Property(
        "with 100 steps it is between 0.4 and 0.6 of that with 50",
        0.4 < few[100][0] / few[50][0] < 0.6,
        ("The levels must follow T: twice as dense everywhere.",),
    )


def excess(schedule):
    """Bits above the entropy for two starts, each step with its best variance."""
    t = torch.arange(2, schedule.T + 1)
    mmse = two_point_mmse(schedule.snr[t])
    steps = bound.step_kl(schedule, t, mmse, bound.best_variance(schedule, t, mmse))
    return bound.bits(steps.sum() + bound.prior_kl(schedule, 1.0)) - 1
