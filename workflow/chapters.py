"""What the pipeline knows about a chapter: its header, its code, what it depends on.

A chapter is `notebooks/NAME.md`. Its YAML header may say what it needs:
`book: {sets: [cifar10-train], artifacts: [results/optimal_cifar10.json]}`.
"""

import functools
import hashlib
import json
import os
import re
import sys
from pathlib import Path

import yaml

# With this package jsonschema, and so nbformat, builds forty grammars of web addresses
# when it is imported: two seconds in every process. Notebooks have no such address.
SLOW = "rfc3987_syntax"
sys.modules.setdefault(SLOW, None)
WITHOUT_SLOW = f"import sys; sys.modules['{SLOW}'] = None; "  # for other programs

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "_build"
HELPERS = ROOT / "src" / "helpers"
KERNEL = "python3"
IMPORT = re.compile(
    r"^\s*(?:from|import)\s+(?:helpers\.|\.)(\w+)"  # from .data
    r"|^\s*from\s+(?:helpers|\.)\s+import\s+\(?([\w, ]+)",  # from helpers import data
    re.MULTILINE,
)


class BadProject(Exception):
    """Something in the folder is not as it should be; the message says what to do."""


def toc_files(entries) -> list[str]:
    """The files of some entries of the table of contents, and of those below them."""
    return [f for e in entries for f in (e["file"], *toc_files(e.get("sections", [])))]


def toc_parts(root=ROOT) -> list[dict]:
    """The parts of the table of contents, each with its caption and its files."""
    toc = yaml.safe_load((root / "book" / "_toc.yml").read_text())
    return [
        {"caption": p.get("caption", ""), "files": toc_files(p["chapters"])}
        for p in toc["parts"]
    ]


def toc_pages(root=ROOT) -> list[str]:
    """Every page that the site must have, by its path without a suffix."""
    return ["index", *(f for part in toc_parts(root) for f in part["files"])]


def names(root=ROOT) -> list[str]:
    """The chapters in reading order, after a check that contents and folder agree."""
    listed = [Path(f).name for f in toc_pages(root) if f.startswith("notebooks/")]
    found = {path.stem for path in (root / "notebooks").glob("*.md")}
    if missing := sorted(set(listed) - found):
        raise BadProject(f"book/_toc.yml lists chapters that do not exist: {missing}")
    if extra := sorted(found - set(listed)):
        raise BadProject(f"notebooks/ has chapters that book/_toc.yml lacks: {extra}")
    return listed


def source(name) -> Path:
    return ROOT / "notebooks" / f"{name}.md"


def read(name):
    """The chapter as a notebook without outputs."""
    import jupytext  # one second that most steps need not spend

    return jupytext.read(source(name), fmt="md:myst")


def front(name) -> dict:
    """The YAML header of the chapter; BadProject, with the line, if it is broken."""
    match = re.match(r"---\n(.*?)\n---\n", source(name).read_text(), re.DOTALL)
    try:
        found = yaml.safe_load(match[1]) if match else None
    except yaml.YAMLError as error:
        line = error.problem_mark.line + 2  # from 0, and below the line ---
        raise BadProject(
            f"notebooks/{name}.md, line {line}: its header is no YAML, {error.problem}."
        ) from None
    if not isinstance(found, dict):
        raise BadProject(f"notebooks/{name}.md has no header between two lines ---.")
    return found


def require_kernel(name):
    """BadProject if the chapter is written for another kernel than the book's."""
    kernel = front(name).get("kernelspec", {}).get("name")
    if kernel != KERNEL:
        raise BadProject(
            f"notebooks/{name}.md asks for the kernel {kernel!r} in its header; "
            f"the chapters of this book run with {KERNEL!r}."
        )


def header(name) -> dict:
    """What the chapter declares under `book:` in its YAML header; {} if nothing."""
    return front(name).get("book") or {}


def code(name) -> str:
    """The code of the chapter. Prose is not part of it: it changes no result."""
    return code_in(source(name).read_text())


@functools.cache  # a build asks three times for each chapter
def code_in(text) -> str:
    import jupytext

    cells = jupytext.reads(text, fmt="md:myst").cells
    cells = [cell for cell in cells if cell.cell_type == "code"]
    return "\n".join(f"# {c.metadata.get('tags', [])}\n{c.source}" for c in cells)


def imported(text) -> set[str]:
    """Names of the `helpers` modules that a piece of code imports."""
    found = set()
    for module, several in IMPORT.findall(text):
        found |= {module} if module else {m.strip() for m in several.split(",")}
    return {name for name in found if (HELPERS / f"{name}.py").exists()}


def checks(text) -> set[Path]:
    """The files that check the exercises of a piece of code."""
    folder, called = HELPERS / "checks", re.findall(r'\bcheck\("(\d+)\.', text)
    found = {folder / f"chapter_{int(chapter):02d}.py" for chapter in called}
    return found | ({folder / "__init__.py"} if found else set())


def modules(text) -> list[Path]:
    """The files of `helpers` that a piece of code depends on, directly or not."""
    found = checks(text)
    texts = [text, *(path.read_text() for path in found)]
    while texts:
        new = {HELPERS / f"{name}.py" for name in imported(texts.pop())} - found
        texts += [path.read_text() for path in new]
        found |= new
    styles = [p for p in HELPERS.glob("*.*") if p.suffix != ".py"]
    return sorted([*found, *styles])


def scripts(path) -> list[Path]:
    """An experiment's script and those next to it that it takes something from."""
    todo, seen = [ROOT / path], []
    while todo:
        seen.append(todo.pop())
        taken = re.findall(r"^from (\w+) import", seen[-1].read_text(), re.MULTILINE)
        near = [p for p in seen[-1].parent.glob("*.py") if p.stem in taken]
        todo += [p for p in near if p not in seen]
    return seen


def artifacts(name) -> list[Path]:
    """The files under `data/` that the chapter declares."""
    found = [ROOT / "data" / path for path in header(name).get("artifacts", [])]
    if missing := [p.relative_to(ROOT).as_posix() for p in found if not p.exists()]:
        raise BadProject(
            f"notebooks/{name}.md needs {', '.join(missing)}, which is not there. "
            "Get it back with `git checkout -- data`, or make it with "
            "`make book PROFILE=full`."
        )
    return found


def set_file(name) -> Path | None:
    """The packed file of an image set, if this machine has it."""
    folders = [os.environ.get("HELPERS_DATA"), ROOT / "data" / "cache"]
    files = [Path(folder) / f"{name}.npz" for folder in folders if folder]
    return next((path for path in files if path.exists()), None)


def sets_present(name) -> dict[str, int]:
    """Which of the declared image sets are here, with their sizes in bytes."""
    files = {s: set_file(s) for s in header(name).get("sets", [])}
    return {s: path.stat().st_size for s, path in files.items() if path}


def fingerprint(name, profile) -> str:
    """Changes when the chapter must be executed again for a reason of its own."""
    what = [code(name), profile, sets_present(name)]
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()


def results_hash(name) -> str | None:
    """Of the results that the chapter wrote; None without any."""
    path = BUILD / "results" / f"{name}.json"
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None


def relative(paths) -> list[str]:
    return [Path(path).relative_to(ROOT).as_posix() for path in paths]
