"""Student, reader and instructor: what is left out is in no file of the source."""

import json
import re
from itertools import pairwise

import chapters
import editions
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

SECRET, NOTE = "the secret is 42", "ask them about 42"


@pytest.fixture
def notebook():
    tagged = [{"tags": ["solution"]}, {"tags": ["instructor"]}]
    cells = [
        new_markdown_cell("### Exercise 1.1: A question"),
        new_code_cell("check()"),
        new_markdown_cell(SECRET, metadata=tagged[0]),
        new_code_cell(f"print('{SECRET}')", metadata=tagged[0]),
        new_markdown_cell(NOTE, metadata=tagged[1]),
        new_markdown_cell("## What we left out"),
    ]
    return new_notebook(cells=cells, metadata={"title": "One"})


@pytest.mark.parametrize(
    ("edition", "solutions", "notes"),
    [("student", 0, 0), ("reader", 2, 0), ("instructor", 2, 1)],
)
def test_what_each_edition_has(notebook, edition, solutions, notes):
    left = json.dumps(editions.strip(notebook, edition))
    assert (left.count(SECRET), left.count(NOTE)) == (solutions, notes)
    assert editions.strip(notebook, edition).metadata == notebook.metadata
    assert len(notebook.cells) == 6


def test_an_unknown_edition_is_refused(notebook):
    with pytest.raises(chapters.BadProject, match="no edition 'teacher'"):
        editions.strip(notebook, "teacher")


SPECIAL = {"solution", "instructor"}


@pytest.mark.parametrize("name", chapters.names())
def test_solutions_start_with_text_and_end_before_text(name):
    """So that the page can fold them."""
    cells = [*chapters.read(name).cells, new_markdown_cell()]
    for before, after in pairwise(cells):
        if editions.tags(before) & SPECIAL != editions.tags(after) & SPECIAL:
            assert after.cell_type == "markdown", after.source


@pytest.mark.parametrize("name", chapters.names())
def test_nothing_of_a_chapter_stands_on_its_solutions(name):
    """No result of the chapter, no heading, no label that could be referred to."""
    for cell in chapters.read(name).cells:
        if editions.tags(cell) & (SPECIAL | {"exercise"}):
            assert "results[" not in cell.source
            assert "mystnb" not in cell.metadata
        if editions.tags(cell) & SPECIAL and cell.cell_type == "markdown":
            assert not re.search(r"^(#|\(.+\)=$|\$\$ \()", cell.source, re.MULTILINE)
