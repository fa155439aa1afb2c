"""The student edition holds no line of a solution, nor of a note for teachers.

Every file of `_build/student` is searched: pages, sources, notebooks, the search index,
downloads, homework, archives of these. Lines are compared as rows of words, so it does
not matter whether a line is marked up, coloured, or escaped for HTML or JSON.
"""

import html
import io
import json
import re
import subprocess
import sys
import zipfile
from collections import defaultdict

import chapters
import editions
import nbformat
import pytest
from sphinx.search.en import SearchEnglish

SECRET = {"solution", "instructor"}
LONG = 24  # letters that make a line particular, with at least so many words:
KEY = 4
TAG = re.compile(r"<[^>]*>")
WORD = re.compile(r"[^\W_]+")
# Between sentences; references and numbers that the build fills in.
BETWEEN = re.compile(r"(?<=[.:;?!])\s|\{[a-z-]+\}`[^`]*`|\{\{.*?\}\}")
ESCAPE = re.compile(r'\\(?:u([0-9a-fA-F]{4})|([ntr])|(["\\/]))')
MAKERS = ("workflow/assemble.py", "workflow/editions.py")
STUDENT, READER = chapters.BUILD / "student", chapters.BUILD / "html"


def words(text) -> list[str]:
    return WORD.findall(text)


def texts_of(cell) -> str:
    """What a cell says: its source, and what it has printed or shown as a table."""
    said = [cell.source]
    for output in cell.get("outputs", []):
        shown = output.get("data", {})
        said += [output.get("text", ""), shown.get("text/plain", "")]
        said.append(TAG.sub(" ", shown.get("text/html", "")))
    return "\n".join(said)


def lines(cell) -> set[tuple[str, ...]]:
    """The particular pieces of a cell: sentences, lines, what is between references."""
    pieces = (p for line in texts_of(cell).splitlines() for p in BETWEEN.split(line))
    rows = {tuple(words(piece)) for piece in pieces}
    return {r for r in rows if len(r) >= KEY and sum(map(len, r)) >= LONG}


def all_cells():
    """Cells of every chapter, as it is written and as it was executed."""
    for name in chapters.names():
        yield from chapters.read(name).cells
        yield from nbformat.read(chapters.BUILD / "woven" / f"{name}.ipynb", 4).cells


class Search:
    """Finds rows of words in texts, all of them at once."""

    def __init__(self, rows):
        self.by_key = defaultdict(list)
        for row in rows:
            self.by_key[row[:KEY]].append(row)

    def __call__(self, text) -> set[tuple[str, ...]]:
        found, seen = set(), words(text)
        for place, key in enumerate(zip(*(seen[k:] for k in range(KEY)))):
            for row in self.by_key.get(key, ()):
                if tuple(seen[place : place + len(row)]) == row:
                    found.add(row)
        return found


def secrets(tag) -> set[tuple[str, ...]]:
    """Lines of the cells with a tag that no cell has which students get."""
    cells = list(all_cells())
    hidden = set().union(*(lines(c) for c in cells if tag in editions.tags(c)))
    search, known = Search(hidden), set()
    for cell in cells:
        if not editions.tags(cell) & SECRET:
            known |= search(texts_of(cell))
    return hidden - known


@pytest.fixture(scope="module")
def solutions():
    return secrets("solution")


@pytest.fixture(scope="module")
def notes():
    return secrets("instructor")


def unescaped(match) -> str:
    code, space, same = match.groups()
    return chr(int(code, 16)) if code else " " if space else same


def strings(node):
    """Every text inside of JSON, of a drawing only what is said in it."""
    if isinstance(node, list) and all(isinstance(each, str) for each in node):
        node = "".join(node)  # as notebooks keep their lines
    if isinstance(node, str):
        yield TAG.sub("", node) if "<svg" in node else node
    elif isinstance(node, dict | list):
        for each in node.values() if isinstance(node, dict) else node:
            yield from strings(each)


def readings(name, data: bytes):
    """The texts of a file as one would read them; an archive file by file."""
    if name.endswith(".zip"):
        with zipfile.ZipFile(io.BytesIO(data)) as pack:
            for inside in pack.namelist():
                yield from readings(inside, pack.read(inside))
    elif name.endswith((".ipynb", ".json")):
        yield from strings(json.loads(data))
    elif b"\0" not in data:
        text = data.decode(errors="replace")
        if name.endswith(".html"):
            text = TAG.sub("", text)
        if name.endswith(("js", ".map")):
            text = ESCAPE.sub(unescaped, text)
        yield html.unescape(text)


def leaks(folder, search) -> dict[str, set]:
    """The rows that a folder gives away, by the file that does."""
    files = [p for p in sorted(folder.rglob("*")) if p.is_file()]
    found = {}
    for path in files:
        for text in readings(path.name, path.read_bytes()):
            if rows := search(text):
                found.setdefault(str(path.relative_to(folder)), set()).update(rows)
    return found


@pytest.fixture(scope="module")
def student(root):
    """The folder of the student edition, built if it is not there or older."""
    site, woven = STUDENT / "html" / "build.json", chapters.BUILD / "woven"
    made_of = [*woven.glob("*.ipynb"), *map(root.joinpath, MAKERS)]
    newest = max(path.stat().st_mtime for path in made_of)
    if not site.exists() or site.stat().st_mtime < newest:
        command = [sys.executable, "workflow/assemble.py", "--edition", "student"]
        subprocess.run(command, cwd=root, check=True)
    return STUDENT


def test_student_edition_holds_no_solution_and_no_note(student, solutions, notes):
    assert leaks(student, Search(solutions | notes)) == {}


def test_student_edition_has_all_that_is_searched(student):
    """So that an empty folder does not pass."""
    suffixes = {p.name.rpartition(".")[2] for p in student.rglob("*") if p.is_file()}
    assert {"html", "ipynb", "js", "md"} <= suffixes
    for name in chapters.names():
        page = (student / "html" / "notebooks" / f"{name}.html").read_text()
        assert "Exercise" in page and "Worked solution" not in page
        assert (student / "html" / "_sources" / "notebooks" / f"{name}.ipynb").exists()


@pytest.mark.parametrize("kind", ["html", "ipynb"])
def test_same_search_finds_the_solutions_for_readers(solutions, kind):
    """In the reader's pages and in its notebooks, nearly every line."""
    found = leaks(READER.resolve(), Search(solutions))
    rows = set().union(*(r for name, r in found.items() if name.endswith(kind)))
    assert len(solutions) > 1000 and len(rows) > 0.95 * len(solutions)


def test_same_search_finds_notes_where_they_are(notes):
    """They are in no edition but the instructor's; the woven chapters have them."""
    assert leaks(READER.resolve(), Search(notes)) == {}
    found = leaks(chapters.BUILD / "woven", Search(notes))
    rows = set().union(*found.values())
    assert len(notes) > 100 and len(rows) > 0.95 * len(notes)


SOLUTION = 'answer = {"weights": w[:, None] * centred.T @ centred}  # see above'


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("page.html", html.escape(SOLUTION.replace("w[", "<b>w</b>["), quote=True)),
        ("_sources/one.ipynb", json.dumps({"cells": [{"source": [SOLUTION]}]})),
        ("data.js", f"set({json.dumps(SOLUTION)})"),
        ("notes.md", f"> {SOLUTION}"),
    ],
)
def test_a_planted_line_is_found(tmp_path, name, data):
    rows = lines(nbformat.v4.new_code_cell(SOLUTION))
    path = tmp_path / "html" / name
    path.parent.mkdir(parents=True)
    path.write_text(data.replace("&lt;b&gt;", "<b>").replace("&lt;/b&gt;", "</b>"))
    assert leaks(tmp_path, Search(rows)) == {f"html/{name}": rows}
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as pack:
        pack.write(path, name)
    path.unlink()
    assert leaks(tmp_path, Search(rows)) == {"all.zip": rows}


def terms(site) -> set[str]:
    """The words of a search index."""
    text = (site / "searchindex.js").read_text()
    return set(json.loads(text[text.index("(") + 1 : text.rindex(")")])["terms"])


def own_words(root) -> set[str]:
    """Words of solutions and notes that no other text of the book has."""
    stem = SearchEnglish({}).stem
    hidden, public = set(), set()
    for cell in all_cells():
        told = hidden if editions.tags(cell) & SECRET else public
        text = texts_of(cell) + str(cell.metadata.get("mystnb", ""))  # the captions
        told.update(re.findall("[a-z]+", text.lower()))
    for suffix in ("book/*.bib", "book/**/*.md", "book/**/*.yml", "workflow/*.py"):
        for path in root.glob(suffix):
            public.update(re.findall("[a-z]+", path.read_text().lower()))
    return {stem(w) for w in hidden if len(w) > 4} - {stem(w) for w in public}


def test_search_index_knows_no_word_of_a_solution_alone(student, root):
    ours = own_words(root)
    assert terms(student / "html") & ours == set()
    assert len(terms(READER) & ours) > 20
