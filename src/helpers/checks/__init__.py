"""Checks of the exercises: `check("2.1", my_function)` confirms without revealing.

The exercises of chapter 2 are the functions `exercise_1`, `exercise_2`, ... of
`helpers.checks.chapter_02`. Each takes the learner's answer and yields, one after the
other, properties that a right answer has. A check stops at the first that fails and
names it; from the second try on it gives hints. Checks look at what an answer does,
limits, symmetries, sums, a few values, and hold no solution.
"""

import functools
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import NamedTuple

import numpy as np

tries = Counter()  # of each exercise, since the notebook was started


class Property(NamedTuple):
    """Something that a right answer has."""

    claim: str  # "is 0 for equal bells"
    holds: bool
    hints: tuple[str, ...] = ()  # the first at the second try, then the others, too


class NoAnswer(Exception):
    """The place of the answer is still empty."""


@dataclass(frozen=True)
class Verdict:
    """What a check says; true if the answer is right."""

    exercise: str
    passed: bool
    text: str

    def __bool__(self) -> bool:
        return self.passed

    def __repr__(self) -> str:
        return f"Exercise {self.exercise}: {self.text}"


def check(exercise: str, answer) -> Verdict:
    """Try an answer, a function or a value as the exercise says, on its properties.

    Never raises because of the answer: what the answer raises is part of the verdict.
    ValueError if there is no such exercise.
    """
    properties, held = find(exercise), 0
    try:
        for found in properties(filled(answer)):
            if not found.holds:
                return Verdict(exercise, False, not_yet(exercise, found))
            held += 1
    except NoAnswer:
        return Verdict(exercise, False, "no answer yet.")
    except Exception as error:
        tries[exercise] += 1
        what = f"{type(error).__name__}: {error}"
        return Verdict(exercise, False, f"not yet. Your answer stopped with {what}")
    return Verdict(exercise, True, f"correct, all {held} properties hold.")


def find(exercise: str) -> Callable[..., Iterator[Property]]:
    """The function that checks "2.1"; ValueError if there is none."""
    try:
        chapter, number = map(int, exercise.split("."))
        module = import_module(f"helpers.checks.chapter_{chapter:02d}")
        return getattr(module, f"exercise_{number}")
    except (AttributeError, ImportError, ValueError):
        raise ValueError(f"There is no exercise {exercise!r} with a check.") from None


def filled(answer):
    """A function of which each call must give something; a value as it is."""
    if not callable(given(answer)):
        return answer

    @functools.wraps(answer)
    def call(*arguments, **options):
        return given(answer(*arguments, **options))

    return call


def given(value):
    """The value; NoAnswer for None and for `...`."""
    if value is None or value is ...:
        raise NoAnswer
    return value


def not_yet(exercise: str, failed: Property) -> str:
    """Which property fails, and as many hints as there were tries before."""
    hints = failed.hints[: tries[exercise]]
    tries[exercise] += 1
    text = f"not yet. This must hold, but does not: {failed.claim}."
    more = len(failed.hints) > len(hints)
    ask = " Another try gives a hint." if more else ""
    return text + "".join(f"\n  Hint: {hint}" for hint in hints) + ask


def close(value, expected, rtol: float = 1e-6, atol: float = 1e-9) -> bool:
    """Whether numbers, lists, arrays or tensors agree in shape and in value.

    |value - expected| <= atol + rtol |expected| in each place; False for NaN and for
    what is no number. NoAnswer for None.
    """
    value, expected = numbers(given(value)), numbers(expected)
    return (
        value is not None
        and value.shape == expected.shape
        and np.allclose(value, expected, rtol=rtol, atol=atol)
    )


def numbers(value) -> np.ndarray | None:
    """A number, a list, an array or a tensor as an array of float64; else None."""
    value = value.detach().cpu() if hasattr(value, "detach") else value
    try:
        array = np.asarray(value)
    except ValueError:  # a list of lists of different lengths
        return None
    return array.astype(np.float64) if array.dtype.kind in "biuf" else None
