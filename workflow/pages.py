"""What the pages of `book/` take from the chapters: numbers and figures.

`{{ optimal_denoiser.sample_distance:.1f }}` in a page is replaced by that result of
the chapter, as `{{ sample_distance:.1f }}` is in the chapter itself (see `weave`). A
chapter is named without its number, because numbers may change. A block

    ```{chapter-figure} fig-optimal-samples
    ```

shows the figure of that name as the chapter drew it in its last execution, with its
alternative text; `{left-out}` collects what each chapter says that it leaves out. So a
page can neither drift from the chapters nor compute a thing twice.
"""

import json
import re
import textwrap

import chapters
import weave
from chapters import BUILD

FIELD = re.compile(r"\{\{\s+([a-z]\w*)\.(.*?)\s*\}\}")
FIGURE = re.compile(
    r"^( *)```\{chapter-figure\} *(\S+) *\n((?:(?!\s*```).*\n)*) *```$", re.MULTILINE
)
LEFT_OUT = re.compile(r"^```\{left-out\}\s*^```$", re.MULTILINE)
SECTION = re.compile(
    r"^## What we left out\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL
)
DOCUMENT = re.compile(r"(\{doc\}`)(\d\d_)")
PICTURE = re.compile(r"_pictures/(\w+)\.svg")
PICTURES = "_pictures"  # where a page finds its figures


def short(name) -> str:
    """A chapter's name without its number."""
    return name.split("_", 1)[1]


def results(name) -> dict:
    return json.loads((BUILD / "results" / f"{name}.json").read_text())


def filled(text, page) -> str:
    """The page with the numbers of the chapters in it."""
    known = {short(name): name for name in chapters.names()}

    def number(match):
        chapter, field = match.groups()
        if chapter not in known:
            raise chapters.BadProject(
                f"book/{page} asks for {match[0]}, but no chapter is named {chapter}. "
                f"There are: {', '.join(known)}."
            )
        where = f"book/{page} (chapter {chapter})"
        return weave.fill(f"{{{{ {field} }}}}", results(known[chapter]), where)

    return FIELD.sub(number, text)


def cells(stage, name) -> list[dict]:
    """The cells of a chapter as this edition has them."""
    return json.loads((stage / "notebooks" / f"{name}.ipynb").read_text())["cells"]


def prose(stage, name) -> str:
    texts = [c for c in cells(stage, name) if c["cell_type"] == "markdown"]
    return "\n\n".join("".join(cell["source"]) for cell in texts)


def drawn(stage) -> dict:
    """Every figure of the chapters by its name: (SVG, alternative text)."""
    found = {}
    for name in chapters.names():
        for cell in cells(stage, name):
            known = cell["metadata"].get("mystnb", {})
            if "figure" in known:
                alt = " ".join(known.get("image", {}).get("alt", "").split())
                found[known["figure"]["name"]] = (svg(cell), alt)
    return found


def svg(cell) -> str:
    """The first picture that a cell has drawn; empty if there is none."""
    for output in cell["outputs"]:
        if "image/svg+xml" in output.get("data", {}):
            return "".join(output["data"]["image/svg+xml"])
    return ""


def with_figures(text, page, stage) -> str:
    """The page with the figures of the chapters in the place of their names."""
    if not FIGURE.search(text):
        return text
    figures = drawn(stage)

    def block(match):
        indent, name = match[1], match[2]
        if not figures.get(name, ("",))[0]:
            raise chapters.BadProject(
                f"book/{page} shows {name}, but no chapter draws a figure of that name."
            )
        picture, alt = figures[name]
        (stage / PICTURES).mkdir(exist_ok=True)
        (stage / PICTURES / f"{name}.svg").write_text(picture)
        shown = f"```{{figure}} /{PICTURES}/{name}.svg\n:alt: {alt}\n\n```"
        return textwrap.indent(shown, indent)

    return FIGURE.sub(block, text)


def left_out(stage, name) -> str:
    """What a chapter says that it leaves out, under a heading that leads to it."""
    if not (section := SECTION.search(prose(stage, name))):
        raise chapters.BadProject(f'notebooks/{name}.md has no "What we left out".')
    said = DOCUMENT.sub(r"\1/notebooks/\2", section[1].strip())
    return f"### {int(name[:2])} {{doc}}`/notebooks/{name}`\n\n{said}\n"


def with_limits(text, stage) -> str:
    """The page with what all chapters leave out."""
    if not LEFT_OUT.search(text):
        return text
    collected = "\n".join(left_out(stage, name) for name in chapters.names())
    return LEFT_OUT.sub(lambda _: collected, text)


def pictures() -> list[str]:
    """Pictures that pages show and no chapter draws: `workflow/landing.py` does."""
    texts = (path.read_text() for path in (chapters.ROOT / "book").glob("*.md"))
    return sorted({name for text in texts for name in PICTURE.findall(text)})


def complete(stage):
    """Fill every page in the staged folder, and the tables that pages are made of."""
    for path in sorted([*stage.rglob("*.md"), *stage.glob("course/*.yml")]):
        page = path.relative_to(stage).as_posix()
        text = path.read_text()
        new = with_limits(with_figures(filled(text, page), page, stage), stage)
        if new != text:
            path.write_text(new)
