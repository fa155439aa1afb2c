"""The pipeline on a small book: what reruns, and what a failure says.

The tests share one small book and go from one state of it to the next; each leaves a
folder that builds.
"""

import json
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
    return made(tmp_path_factory, "pipeline")


def test_numbers_come_into_the_text(project):
    assert "The answer is 42.00." in page(project, ONE)
    assert re.search(r'class="?section-number"?>2\.', page(project, TWO))


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
    """An equation that is not there, and a label that is there twice."""
    prose = "\nSee {eq}`no-such-equation`.\n\n(x-y)=\n## One\n\n(x-y)=\n## Two\n"
    write(project, TWO, code=FROM_MODULE, prose=prose)
    old = os.readlink(project / "_build/html")
    process, text = build(project)
    assert process.returncode != 0
    assert "no-such-equation" in text and "WARNING" in text
    assert f"notebooks/{TWO}.md, cell 5" in text and '"x-y"' in text
    assert os.readlink(project / "_build/html") == old


def test_a_chapter_that_is_not_in_the_contents(project):
    write(project, "03_three")
    process, text = build(project)
    (project / "notebooks/03_three.md").unlink()
    assert process.returncode != 0
    assert "notebooks/ has chapters that book/_toc.yml lacks: ['03_three']" in text


@pytest.fixture
def text_of_two(project):
    """The text of the second chapter; put back afterwards."""
    path = project / "notebooks" / f"{TWO}.md"
    good = path.read_text()
    yield good
    path.write_text(good)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("name: Python 3,", 'name: "Python 3,', ", line 3: its header is no YAML"),
        ("name: python3}", "name: julia}", "asks for the kernel 'julia'"),
        ("---\n", "", "has no header"),
    ],
)
def test_a_broken_header_is_named(project, text_of_two, old, new, message):
    write_text = (project / "notebooks" / f"{TWO}.md").write_text
    write_text(text_of_two.replace(old, new))
    process, text = build(project)
    assert process.returncode != 0 and "Traceback" not in text
    assert f"notebooks/{TWO}.md" in text and message in text


def test_a_cell_that_does_not_end_is_named(project, text_of_two):
    """What comes next becomes part of it."""
    lines = text_of_two.replace("SIX\n```", "SIX\n")
    (project / "notebooks" / f"{TWO}.md").write_text(lines)
    text = step_report(project, "execute")
    assert f"notebooks/{TWO}.md" in text and "cell      2 of 2, line 17" in text
    assert "SyntaxError" in text


def test_without_its_kernel_a_chapter_says_what_to_do(project, monkeypatch):
    kernels = project / "workflow/chapters.py"
    good = kernels.read_text()
    kernels.write_text(good.replace('KERNEL = "python3"', 'KERNEL = "none"'))
    text = step_report(project, "execute")
    kernels.write_text(good)
    assert "No such kernel named none" in text and "make book" in text


def test_an_artifact_that_is_not_the_recorded_one_is_named(project, text_of_two):
    """A file of another day, put back by hand: the build stops at who loads it."""
    (project / "data/results").mkdir(parents=True, exist_ok=True)
    (project / "data/results/old.json").write_text("{}")
    entry = {"sha256": "0" * 64, "command": "python workflow/scripts/old.py"}
    manifest = json.dumps({"results/old.json": entry})
    (project / "data/manifest.json").write_text(manifest)
    code = 'from helpers import artifacts\nanswer = artifacts.load("results/old.json")'
    write(project, TWO, code=code)
    text = step_report(project, "execute")
    assert f"notebooks/{TWO}.md" in text and "python workflow/scripts/old.py" in text
    assert "data/results/old.json is not the file that was recorded" in text


def test_a_reference_edited_by_hand_stops_the_build(project):
    path = project / "data/results/reference/laptop.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({ONE: {"answer": {"value": 41}}}))
    process, text = build(project)
    path.unlink()
    assert process.returncode != 0
    assert f"laptop.json was edited by hand, for {ONE}" in text


def test_changed_rules_are_read(tmp_path, monkeypatch):
    """Snakemake's copy of the Snakefile is not that of an earlier build."""
    import build as builder

    copy = tmp_path / ".cache/file/Snakefile"
    copy.parent.mkdir(parents=True)
    copy.write_text("old")
    monkeypatch.setattr(builder, "BUILD", tmp_path)
    builder.prepare("slurm")
    assert not copy.exists()
