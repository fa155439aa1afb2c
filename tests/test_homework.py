"""What students get: the questions and the code they stand on, and no answers."""

import re
import zipfile

import chapters
import desk
import editions
import excerpt
import homework
import nbformat
import pytest

NAMES = homework.names()
GIVEN = {"get_ipython", "display", "__name__"}  # by Jupyter


def section(name):
    return homework.parts(homework.woven(name))[1]


def tagged(name, tag):
    return [c.source for c in section(name) if tag in editions.tags(c)]


@pytest.fixture(scope="module")
def notebooks():
    return {name: homework.student(name) for name in NAMES}


def test_every_chapter_with_exercises_takes_part():
    texts = {n: chapters.source(n).read_text() for n in chapters.names()}
    assert [n for n, t in texts.items() if "### Exercise " in t] == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_all_questions_are_there_and_no_answer(name, notebooks):
    text = "\n".join(cell.source for cell in notebooks[name].cells)
    for exercise, answer in homework.exercises(name).items():
        assert f"### Exercise {exercise}: " in text
        assert f'check("{exercise}", {answer})' in text
    secret = tagged(name, "solution") + tagged(name, "instructor")
    public = chapters.source(name).read_text()
    for line in {line.strip() for cell in secret for line in cell.splitlines()}:
        if len(line) > 30 and public.count(line) == 1:
            assert line not in text


@pytest.mark.parametrize("name", NAMES)
def test_nothing_in_it_is_for_the_book_only(name, notebooks):
    for cell in notebooks[name].cells:
        assert not cell.get("outputs")
        if cell.cell_type == "markdown":
            assert not re.search(r"\{\w+\}`|:::|\{\{ |^\(\S+\)=$", cell.source, re.M)


@pytest.mark.parametrize("name", NAMES)
def test_every_name_that_it_needs_is_in_it(name, notebooks):
    """Also those of a solution, had a student written it."""
    code = homework.code(notebooks[name].cells)
    for cells in (code, [*code, *homework.code(section(name))]):
        needed = {n for n in excerpt.needs(cells) if not n.startswith("results[")}
        assert not needed - GIVEN


def test_a_notebook_runs_from_top_to_bottom(notebooks, tmp_path, monkeypatch):
    from nbclient import NotebookClient

    monkeypatch.setenv("PYTHONPATH", str(chapters.ROOT / "src"))
    monkeypatch.setenv("HELPERS_OFFLINE", "1")
    notebook = nbformat.from_dict(notebooks["17_claims_audit"])
    metadata = {"metadata": {"path": str(tmp_path)}}
    ran = NotebookClient(notebook, timeout=300, resources=metadata).execute()
    said = [o["data"]["text/plain"] for c in ran.cells for o in c.get("outputs", [])]
    assert len(said) == len(homework.exercises("17_claims_audit"))
    assert all("no answer yet" in text for text in said)


def test_references_are_numbers_as_on_the_page(notebooks):
    text = "\n".join(c.source for c in notebooks["02_variational_bound"].cells)
    assert re.search(r"the steps that are to blame in Fig\. 2\.\d", text)
    assert homework.said("eq", "vb-x0").startswith("(2.")
    with pytest.raises(chapters.BadProject, match="label no-such-figure"):
        homework.said("numref", "no-such-figure")


@pytest.mark.parametrize("name", NAMES[:3])
def test_a_bundle_has_all_exercises_and_no_solution(name, tmp_path):
    target = tmp_path / "bundle.zip"
    homework.bundle(name, target)
    worth = desk.worth(target)
    assert list(worth) == list(homework.exercises(name))
    assert set(worth.values()) == {homework.points()}
    with zipfile.ZipFile(target) as archive:
        text = b"\n".join(archive.read(n) for n in archive.namelist()).decode()
    for line in "\n".join(tagged(name, "solution")).splitlines():
        if len(line.strip()) > 30 and "check(" not in line:
            assert line.strip() not in text
    assert '"token"' not in text and "run_autograder" in "".join(archive.namelist())
