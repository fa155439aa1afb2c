"""What a chapter has for slides: read from its source, by rules.

What one will learn, figures with the beginning of their captions, labelled equations
with the sentence before them, what to remember, exercises. A cell with the tag `slide`
becomes a slide as it is; one with `skip-slide` never does.
"""

import re
from dataclasses import dataclass, replace

import chapters
import editions
import pages

TOGETHER = 3  # equations on a slide
SHORT = 60  # letters of a sentence that says too little alone
PART = re.compile(r"[IVX]+ ")
BLOCK = re.compile(
    r"^(?P<level>\#{2,3})[ ](?P<heading>[^\n]+)$"
    r"|^\$\$\n(?P<formula>(?:(?!\$\$).)*)\n\$\$[ ]\((?P<label>[\w-]+)\)$"
    r"|^:::\{admonition\}[ ]What[ ]you[ ]will[ ]learn\n(?P<learn>.*?)^:::$",
    re.MULTILINE | re.DOTALL | re.VERBOSE,
)
EXERCISE = re.compile(r"^### (Exercise \d+\.\d+: .+)$", re.MULTILINE)
POINTS_BACK = re.compile(
    r"(So|And|Then|But|It|They|This|That|These|Here|Its|Their|If that|In both)\b"
)
REMEMBER = re.compile(r"^## What to remember\n(.*)", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Slide:
    """Text in Markdown, a picture as SVG, or both; the labels of what it shows."""

    kind: str  # chapter, figure, equation, text, remember, exercise
    title: str
    text: str = ""
    labels: tuple[str, ...] = ()
    svg: str = ""
    alt: str = ""
    notes: str = ""
    forced: bool = False


def parts() -> list[tuple[str, list[str]]]:
    """The parts of the book that have chapters: (caption, names of the chapters)."""
    found = []
    for part in chapters.toc_parts():
        inside = [f.split("/")[1] for f in part["files"] if f.startswith("notebooks/")]
        if inside:
            found.append((part["caption"], inside))
    return found


def deck_name(number, caption) -> str:
    """`1_diffusion` of the first part, `I Diffusion`."""
    word = PART.sub("", caption).lower()
    return f"{number}_{re.sub(r'[^a-z0-9]+', '_', word)}".strip("_")


def heading(name) -> tuple[str, str]:
    """The title of a chapter, and what stands behind its colon."""
    text = chapters.source(name).read_text()
    title = re.search(r"^# (.+)$", text, re.MULTILINE)[1]
    first, _, rest = title.partition(": ")
    return first, rest[:1].upper() + rest[1:]


def beginning(text) -> str:
    """The first sentence of a caption, and the next one if it is short."""
    first, *rest = re.split(r"(?<=[.!?])\s+(?=[A-Z])", " ".join(text.split()))
    too_little = len(first) < SHORT or first.startswith("Left:")
    return " ".join([first, *rest[:too_little]])


def lead(text) -> str:
    """The sentence that leads to an equation: chapters have one sentence on a line.

    One that points back, as with "So" or "It", brings the sentence before it along.
    """
    lines = text.split("$$")[-1].strip().splitlines()
    lines = [x for x in lines if not re.match(r"[#:$(`|+]|$", x)]
    back = len(lines) > 1 and POINTS_BACK.match(lines[-1])
    count = 2 if back and not lines[-2][0].islower() else 1
    return "\n".join(lines[-count:])


def going_on(text) -> str:
    """The rest of the sentence behind an equation, if it has one."""
    first = text.lstrip("\n").split("\n", 1)[0]
    return first if re.match(r"[a-z]", first) else ""


def equation_slides(text, title):
    """Each labelled equation of a text with its sentence; (slide, title) one by one.

    An equation whose sentence goes on from the one before stays with it.
    """
    found, end = [], 0
    for block in BLOCK.finditer(text):
        if block["heading"]:
            title = block["heading"]
        if block["formula"]:
            before = lead(text[end : block.start()])
            formula = f"$$\n{block['formula']}\n$$ ({block['label']})"
            shown = [before, formula, going_on(text[block.end() :])]
            new = Slide(
                "equation", title, "\n\n".join(filter(None, shown)), (block["label"],)
            )
            if found and belongs(before, found[-1], title):
                new = joined(found.pop(), new)
            found.append(new)
        end = block.end()
    return found, title


def belongs(text, before, title) -> bool:
    """Whether a sentence begins in the middle, and there is room where it began."""
    room = before.title == title and len(before.labels) < TOGETHER
    return room and not re.match(r"[A-Z$*{`\[]", text)


def joined(one, two):
    """Two slides as one; a rest that both have is not said twice."""
    tail = going_on(two.text)
    text = one.text.removesuffix(tail).rstrip() if tail else one.text
    return replace(one, text=f"{text}\n\n{two.text}", labels=one.labels + two.labels)


def figure_slide(cell, title):
    """The slide of a code cell that draws a figure with a name; None of others."""
    about = cell.metadata.get("mystnb", {})
    if "figure" not in about or not (svg := pages.svg(cell)):
        return None
    alt = " ".join(about.get("image", {}).get("alt", "").split())
    figure = about["figure"]
    caption = beginning(figure["caption"])
    return Slide("figure", title, caption, (figure["name"],), svg, alt)


def tagged_slide(cell, title):
    """The slide of a cell that its author wants to be one."""
    if found := figure_slide(cell, title):
        return replace(found, forced=True)
    text = cell.source
    if cell.cell_type == "code":
        text = f"```python\n{text}\n```"
    elif match := re.match(r"\s*#{2,3} (.+)\n", text):
        title, text = match[1], text[match.end() :]
    return Slide("text", title, text.strip(), forced=True)


def candidates(cells) -> list[Slide]:
    """All figures and equations of the text of a chapter, in its order."""
    found, title = [], ""
    for cell in cells:
        wanted = editions.tags(cell)
        new = []
        if cell.cell_type == "markdown":
            before = title
            new, title = equation_slides(cell.source, title)
            if "slide" in wanted:
                new = [tagged_slide(cell, before)]
        elif "slide" in wanted:
            new = [tagged_slide(cell, title)]
        elif slide := figure_slide(cell, title):
            new = [slide]
        found += [] if "skip-slide" in wanted else new
    return found


def learn(cells) -> str:
    """The list of what one will learn."""
    for cell in cells:
        for block in BLOCK.finditer(cell.source):
            if block["learn"]:
                return block["learn"].strip()
    return ""


def remember(cells) -> list[Slide]:
    found = (REMEMBER.search(c.source) for c in cells if c.cell_type == "markdown")
    return [
        Slide("remember", "What to remember", re.split(r"^#", m[1], flags=re.M)[0])
        for m in found
        if m
    ]


def exercises(cells) -> list[Slide]:
    """Every exercise: its text, and the notes of the instructor's edition."""
    found = []
    for cell in cells:
        kinds = editions.tags(cell)
        if cell.cell_type != "markdown" or "solution" in kinds:
            continue
        for piece in re.split(r"^(?=##)", cell.source, flags=re.MULTILINE):
            if match := EXERCISE.match(piece):
                text = piece[match.end() :].strip()
                forced = "slide" in kinds
                found.append(Slide("exercise", match[1], text, forced=forced))
            elif re.match("## (?!Exercises)", piece):
                return found
            elif found and "instructor" in kinds:
                found[-1] = replace(found[-1], notes=piece.strip())
    return found
