"""Every chapter as text, and as it came out of its last execution."""

import ast
import re

import chapters
import check
import jupytext
import nbformat
import pytest

NAMES = chapters.names()
LONGEST = 25  # lines of a cell
MEMORY = 2000  # MB that a chapter may need


def cells(name, kind):
    return [c for c in chapters.read(name).cells if c.cell_type == kind]


def executed(name):
    path = chapters.BUILD / "woven" / f"{name}.ipynb"
    assert path.exists(), "not executed: run `make book` first"
    return nbformat.read(path, 4)


def python(cell) -> str:
    """The cell without the lines that only IPython understands."""
    return "\n".join(r for r in cell.source.splitlines() if not re.match(r"\s*[%!]", r))


def test_contents_and_folder_agree():
    assert chapters.names() == NAMES


def test_chapters_are_text():
    """No notebook file in the sources, so no output in git."""
    assert list((chapters.ROOT / "notebooks").glob("*.ipynb")) == []
    assert list((chapters.ROOT / "book").rglob("*.ipynb")) == []


@pytest.mark.parametrize("name", NAMES)
def test_text_survives_jupytext(name):
    """Opened and saved in Jupyter, a chapter keeps its cells."""
    notebook = chapters.read(name)
    again = jupytext.reads(jupytext.writes(notebook, fmt="md:myst"), fmt="md:myst")
    assert [c.source for c in again.cells] == [c.source for c in notebook.cells]


@pytest.mark.parametrize("name", NAMES)
def test_header_declares_only_what_exists(name):
    header = chapters.header(name)
    assert set(header) <= {"sets", "artifacts"}
    chapters.artifacts(name)


@pytest.mark.parametrize("name", NAMES)
def test_cells_are_short_and_define_no_class(name):
    for cell in cells(name, "code"):
        assert len(cell.source.splitlines()) <= LONGEST, cell.source
        tree = ast.parse(python(cell))
        assert not [n for n in ast.walk(tree) if isinstance(n, ast.ClassDef)]


def imports(name):
    """(module, name) of everything a chapter takes from the library."""
    for cell in cells(name, "code"):
        for node in ast.walk(ast.parse(python(cell))):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("helpers"):
                yield from ((node.module, alias.name) for alias in node.names)
            if isinstance(node, ast.Import):
                found = [a.name for a in node.names if a.name.startswith("helpers")]
                yield from ((module, "") for module in found)


@pytest.mark.parametrize("name", NAMES)
def test_only_public_parts_of_the_library_are_used(name):
    for module, what in imports(name):
        assert not what.startswith("_")
        assert not any(part.startswith("_") for part in module.split("."))


@pytest.mark.parametrize("name", NAMES)
def test_one_cell_takes_the_profile(name):
    tagged = [
        c for c in cells(name, "code") if "parameters" in c.metadata.get("tags", [])
    ]
    assert len(tagged) == 1 and "profile" in tagged[0].source


def figures(name):
    """Executed cells that show a picture."""
    for cell in executed(name).cells:
        kinds = {k for o in cell.get("outputs", []) for k in o.get("data", {})}
        if any(kind.startswith("image/") for kind in kinds):
            yield cell


@pytest.mark.parametrize("name", NAMES)
def test_every_figure_has_words(name):
    for cell in figures(name):
        about = cell.metadata.get("mystnb", {})
        assert about.get("image", {}).get("alt"), cell.source
        assert about.get("figure", {}).get("caption"), cell.source
        assert about.get("figure", {}).get("name"), cell.source


@pytest.mark.parametrize("name", NAMES)
def test_execution_was_clean(name):
    for cell in executed(name).cells:
        for output in cell.get("outputs", []):
            assert output.output_type != "error", output
            assert output.get("name") != "stderr", output


@pytest.mark.parametrize("name", NAMES)
def test_memory(name):
    assert executed(name).metadata["executed"]["peak_mb"] <= MEMORY


@pytest.mark.parametrize("name", NAMES)
def test_results_agree_with_references(name):
    profile = executed(name).metadata["executed"]["profile"]
    bad = [row for row in check.check(name, profile) if row.bad]
    assert not bad, "\n" + check.table(bad)
