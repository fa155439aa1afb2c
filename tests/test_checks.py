"""Checks of the exercises: they accept what is right and nothing else."""

import importlib
import re

import chapters
import nbformat
import pytest

from helpers import checks
from helpers.checks import Property, check, close

NAMES = [
    n for n in chapters.names() if "### Exercise " in chapters.source(n).read_text()
]
HEADING = re.compile(r"^### Exercise (\d+\.\d+): \S", re.MULTILINE)


def exercises(name) -> list[str]:
    return HEADING.findall(chapters.source(name).read_text())


EVERY = [exercise for name in NAMES for exercise in exercises(name)]


def cells(name, tag):
    """Executed cells of a chapter with this tag: (exercise, source, printed)."""
    path, number = chapters.BUILD / "woven" / f"{name}.ipynb", None
    for cell in nbformat.read(path, 4).cells:
        number = next(iter(HEADING.findall(cell.source)), number)
        if cell.cell_type == "code" and tag in cell.metadata.get("tags", []):
            yield number, cell.source, "".join(map(shown, cell.outputs))


def shown(output) -> str:
    return output.get("text") or output.get("data", {}).get("text/plain", "")


@pytest.mark.parametrize("name", NAMES)
def test_each_exercise_has_a_stub_a_check_and_a_solution(name):
    """And numbers run from 1 to at least 4 without a gap."""
    chapter, found = int(name[:2]), exercises(name)
    assert found == [f"{chapter}.{i + 1}" for i in range(max(4, len(found)))]
    assert sorted({e for e, *_ in cells(name, "exercise")}, key=found.index) == found
    solved = [c.source for c in chapters.read(name).cells if solution(c)]
    assert len([s for s in solved if f'check("{chapter}.' in s]) == len(found)


def solution(cell):
    return cell.cell_type == "code" and "solution" in cell.metadata.get("tags", [])


@pytest.mark.parametrize("name", NAMES)
def test_stubs_are_not_accepted_and_solutions_are(name):
    for number, source, text in cells(name, "exercise"):
        assert f'check("{number}", ' in source
        assert f"Exercise {number}: no answer yet" in text
    for number, source, text in cells(name, "solution"):
        if "check(" in source:
            assert f"Exercise {number}: correct" in text


@pytest.mark.parametrize("exercise", EVERY)
@pytest.mark.parametrize("value", [0.0, float("nan"), "an answer", [], None])
def test_a_value_that_means_nothing_is_refused(exercise, value):
    assert not check(exercise, value)
    assert not check(exercise, lambda *_, **__: value)


@pytest.mark.parametrize("exercise", EVERY)
def test_what_an_answer_raises_is_told(exercise):
    def answer(*_, **__):
        raise KeyError("mine")

    assert not check(exercise, answer)
    with pytest.raises(ValueError, match=r"no exercise '2\.99'"):
        check("2.99", answer)


@pytest.mark.parametrize("name", NAMES)
def test_no_check_without_an_exercise(name):
    chapter = int(name[:2])
    module = importlib.import_module(f"helpers.checks.chapter_{chapter:02d}")
    found = [f"{chapter}.{k[9:]}" for k in vars(module) if k.startswith("exercise_")]
    assert sorted(found) == sorted(exercises(name))


def both(answer):
    yield Property("it is above 1", answer(0) > 1, ("Add.", "Add 2."))
    yield Property("it is 3", close(answer(0), 3))


@pytest.fixture
def sample(monkeypatch):
    monkeypatch.setattr(checks, "find", lambda _: both)
    checks.tries.clear()


def test_hints_come_one_by_one(sample):
    texts = [check("9.9", lambda _: 0).text for _ in range(4)]
    assert [t.count("Hint:") for t in texts] == [0, 1, 2, 2]
    assert [t.endswith("gives a hint.") for t in texts] == [True, True, False, False]
    assert "it is 3" in check("9.9", lambda _: 2).text
    assert "all 2 properties" in check("9.9", lambda _: 3).text


def test_an_empty_answer_costs_no_try(sample):
    for nothing in (None, ..., lambda _: None, lambda _: ...):
        assert "no answer yet" in check("9.9", nothing).text
    assert checks.tries["9.9"] == 0


@pytest.mark.parametrize("value", [float("nan"), "3", [3.0], 3.1, object()])
def test_close_refuses(value):
    assert not close(value, 3.0)
