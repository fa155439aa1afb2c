"""The pipeline on a small book: what reruns, and what a failure says.

The tests share one small book and go from one state of it to the next; each leaves a
folder that builds.
"""

import os
import re
import subprocess
import sys
import time

import pytest
from small_book import (
    FROM_MODULE,
    ONE,
    TWO,
    build,
    good_build,
    made,
    page,
    runs,
    step_report,
    write,
)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return made(tmp_path_factory.mktemp("small") / "book")


def test_numbers_come_into_the_text(project):
    assert "The answer is 42.00." in page(project, ONE)
    assert 'class="section-number">2. </span>' in page(project, TWO)


def test_with_nothing_changed_nothing_runs(project):
    before, started = runs(project), time.monotonic()
    good_build(project)
    assert runs(project) == before
    assert time.monotonic() - started < 20


def test_only_the_changed_chapter_runs(project):
    before = runs(project)
    write(project, ONE, code="answer = 7 * 6")
    good_build(project, f"_build/woven/{ONE}.ipynb", f"_build/woven/{TWO}.ipynb")
    after = runs(project)
    assert after[ONE] > before[ONE] and after[TWO] == before[TWO]


def test_a_run_by_hand_of_another_text_is_run_again(project):
    """Back to the old text, of which Snakemake has a record."""
    write(project, ONE, code="answer = 6 * 6")
    executed, script = project / f"_build/executed/{ONE}.ipynb", "workflow/execute.py"
    subprocess.run([sys.executable, script, ONE], cwd=project, check=True)
    assert "6 * 6" in executed.read_text()
    write(project, ONE, code="answer = 7 * 6")
    good_build(project)
    assert "7 * 6" in executed.read_text()


def test_a_change_of_prose_runs_no_chapter(project):
    before = runs(project)
    write(project, ONE, code="answer = 7 * 6", prose="\nA new sentence.\n")
    good_build(project)
    assert runs(project) == before
    assert "A new sentence." in page(project, ONE)


def test_a_module_reruns_only_the_chapters_that_import_it(project):
    before = runs(project)
    (project / "src/helpers/constants.py").write_text("SIX = 6.0\n")
    good_build(project, f"_build/woven/{ONE}.ipynb", f"_build/woven/{TWO}.ipynb")
    after = runs(project)
    assert after[TWO] > before[TWO] and after[ONE] == before[ONE]


def test_a_failing_cell_is_the_last_thing_said(project):
    write(project, TWO, code="noise = 1\nnoise / 0")
    process, text = build(project)
    assert process.returncode != 0
    end = text.splitlines()[-25:]
    assert any(f"notebooks/{TWO}.md" in line for line in end)
    assert any(re.match(r"cell +2 of 3, line \d+$", line) for line in end)
    assert "ZeroDivisionError: division by zero" in end[-2]
    assert end[-1] == "_build/html is still the last good site."
    assert "A new sentence." in page(project, ONE)


def test_an_unknown_key_names_chapter_cell_and_key(project):
    write(project, TWO, code=FROM_MODULE)
    good_build(project, f"_build/woven/{TWO}.ipynb")
    write(project, TWO, code=FROM_MODULE, prose="\nIt is {{ anser }}.\n")
    text = step_report(project, "weave")
    assert f"notebooks/{TWO}.md, cell 5 of 5, asks for {{{{ anser }}}}" in text


def test_a_warning_of_the_book_fails_the_build(project):
    prose = "\nSee {eq}`no-such-equation`.\n"
    write(project, TWO, code=FROM_MODULE, prose=prose)
    old = os.readlink(project / "_build/html")
    process, text = build(project)
    assert process.returncode != 0
    assert "no-such-equation" in text and "WARNING" in text
    assert os.readlink(project / "_build/html") == old


def test_a_chapter_that_is_not_in_the_contents(project):
    write(project, "03_three")
    process, text = build(project)
    (project / "notebooks/03_three.md").unlink()
    assert process.returncode != 0
    assert "notebooks/ has chapters that book/_toc.yml lacks: ['03_three']" in text
