"""Homework: `python workflow/homework.py` (`make homework`).

For each chapter a notebook with its exercises, without solutions and notes, for
students: `_build/student/homework/NAME.ipynb`. And the tests that grade it, as a bundle
of Otter-Grader: `_build/instructor/autograder/NAME.zip`. Both are made from the woven
chapter. Otter's services for graders with accounts are not used.
"""

import ast
import json
import re
import shutil
import sys
import tempfile
from functools import cache
from pathlib import Path

import chapters
import editions
import excerpt
import labels
import nbformat
import status
import yaml
from chapters import BUILD, ROOT
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

STUDENT = BUILD / "student" / "homework"
BUNDLES = BUILD / "instructor" / "autograder"
HEADING = re.compile(r"^### Exercise (\d+\.\d+): (.+)$", re.MULTILINE)
ROLE = re.compile(r"\{(\w+)\}`([^`]+)`")
LABEL = re.compile(r"^\([\w-]+\)=\n|(?<=\$\$) \([\w-]+\)$", re.MULTILINE)
TITLE = """\
# Homework: {title}

Write your answers in the places of the dots and run the cells.
A check tells whether an answer is right, and if not, what it lacks; from the second try
on it gives hints. Explain your answers in cells of text.
Numbers of figures and equations are those of the chapter.

This notebook runs with the environment of the book *Where Locality Comes From*: put it
into the book's folder and open it with `make lab`. Hand in this file, saved, with your
answers under the names that they have now.
"""
BEFORE = """\
## From the chapter

What the exercises use of the chapter's code. Run it, and go on.
"""
TEST = '''\
"""Exercise {exercise}: whether `{answer}` has the properties of a right answer."""

from otter.test_files import test_case

OK_FORMAT = False
name = "{exercise}"
points = {points}


@test_case(name="{exercise}")
def test_answer(env):
    """The verdict is that of the book's own check, with its words."""
    from helpers.checks import check

    verdict = check("{exercise}", eval("{answer}", env))
    assert verdict, verdict.text
'''


def woven(name):
    """The chapter as it was built, with its numbers in the text."""
    path = BUILD / "woven" / f"{name}.ipynb"
    if not path.exists():
        raise chapters.BadProject(f"{name} is not executed: run `make book` first.")
    return nbformat.read(path, 4)


def parts(notebook) -> tuple[list, list]:
    """The cells before the exercises, and those of the exercises."""
    cells = notebook.cells
    starts = [i for i, c in enumerate(cells) if heads(c, "## ")]
    begin = next((i for i in starts if heads(cells[i], "## Exercises")), len(cells))
    end = next((i for i in starts if i > begin), len(cells))
    return cells[:begin], cells[begin:end]


def heads(cell, start) -> bool:
    return cell.cell_type == "markdown" and cell.source.startswith(start)


def code(cells) -> list[str]:
    return [c.source for c in cells if c.cell_type == "code"]


def exercises(name) -> dict[str, str]:
    """The exercises of a chapter with a check, and the names of their answers."""
    found = {}
    for cell in parts(woven(name))[1]:
        if cell.cell_type == "code" and "exercise" in editions.tags(cell):
            found |= dict(checked(cell.source))
    return found


def checked(source):
    """`check("2.1", divergence)` as the pair of exercise and answer."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "check":
            yield node.args[0].value, ast.unparse(node.args[1])


def names() -> list[str]:
    """The chapters that have exercises with a check."""
    return [name for name in chapters.names() if exercises(name)]


def words(cells) -> set[str]:
    """Names of code that the text of some cells mentions."""
    text = "\n".join(c.source for c in cells if c.cell_type == "markdown")
    return set(re.findall(r"(?<!\})`([A-Za-z_]\w*)", text))


def needed_code(before, section) -> list[str]:
    """The cells of the chapter, cut down to what questions and solutions need."""
    asked = editions.strip(new_notebook(cells=section), "student").cells
    wanted = excerpt.needs(code(section)) | words(asked)
    return [cell for cell in excerpt.excerpt(code(before), wanted) if cell]


# The text, for a reader without Sphinx


@cache
def site() -> dict[str, str]:
    """Numbers of figures and equations by their labels, from the built pages."""
    found = {}
    for page in sorted((BUILD / "html" / "notebooks").glob("*.html")):
        found |= labels.numbered(page)
    return found


def plain(text) -> str:
    """Text without the roles and labels that only the book's pages understand."""
    return ROLE.sub(lambda m: said(m[1], m[2]), LABEL.sub("", text))


def said(role, target) -> str:
    """A reference as a reader of the notebook can use it."""
    if match := re.match(r"(.+?) <(.+)>$", target):
        return match[1]
    if role == "doc":
        return f"*{page_title(Path(target).name)}*"
    if role in ("numref", "eq"):
        if target not in site():
            raise chapters.BadProject(f"No page of the site has the label {target}.")
        return site()[target]
    if role == "cite":
        return f"[{', '.join(key.strip() for key in target.split(','))}]"
    return target


def page_title(name) -> str:
    return f"{status.title(name)}" if name in chapters.names() else name


# What is written


def student(name):
    """The notebook that students get."""
    notebook = woven(name)
    before, section = parts(notebook)
    asked = editions.strip(new_notebook(cells=section), "student").cells
    cells = [
        new_markdown_cell(TITLE.format(title=status.title(name))),
        new_markdown_cell(BEFORE),
        *map(new_code_cell, needed_code(before, section)),
        *map(copied, asked),
    ]
    for number, cell in enumerate(cells):
        cell["id"] = f"{name[:2]}-{number}"  # the same each time
    return new_notebook(cells=cells, metadata=metadata(notebook))


def metadata(notebook) -> dict:
    return {"kernelspec": notebook.metadata["kernelspec"]}


def copied(cell):
    """A cell of the exercises without output, and without words for Sphinx."""
    if cell.cell_type == "code":
        return new_code_cell(
            cell.source, metadata={"tags": sorted(editions.tags(cell))}
        )
    return new_markdown_cell(plain(shorter(cell.source)))


def shorter(text) -> str:
    """The section's first cell says how a page works; the notebook has said it."""
    return "## Exercises" if text.startswith("## Exercises") else text


def points() -> int:
    """What the rubric of the course gives for an answer that the check confirms."""
    rubric = yaml.safe_load((ROOT / "book" / "course" / "rubric.yml").read_text())
    criteria = rubric["homework"]["criteria"]
    return next(c["points"] for c in criteria if c["name"] == "The answer")


def bundle(name, target):
    """An autograder of Otter for the exercises of a chapter."""
    from otter.generate import main as generate

    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for exercise, answer in exercises(name).items():
            text = TEST.format(exercise=exercise, answer=answer, points=points())
            (Path(folder) / f"{exercise.replace('.', '_')}.py").write_text(text)
        config = Path(folder) / "otter_config.json"
        config.write_text(json.dumps({"show_all_public": True, "pdf": False}))
        generate(
            tests_dir=folder,
            output_path=str(target),
            config=str(config),
            no_requirements=True,
            environment=str(ROOT / "environment.yml"),
        )


def write(name):
    """Both files of a chapter."""
    target = STUDENT / f"{name}.ipynb"
    notebook = student(name)
    nbformat.validate(notebook)
    nbformat.write(notebook, target)
    bundle(name, BUNDLES / f"{name}.zip")


def main():
    chosen = names()
    for folder in (STUDENT, BUNDLES):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    for name in chosen:
        write(name)
    print(f"{len(chosen)} notebooks: {STUDENT.relative_to(ROOT)}")
    print(f"their autograders: {BUNDLES.relative_to(ROOT)}")


if __name__ == "__main__":
    try:
        main()
    except chapters.BadProject as error:
        sys.exit(str(error))
