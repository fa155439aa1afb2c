"""Which slides a deck has: of what its chapters offer, as many as there is room for.

Of figures and equations those come first that the plans of the course show, then those
that the book refers to most.
"""

import re
from collections import Counter

import chapters
import editions
import nbformat
import slides
from chapters import BUILD, ROOT
from slides import Slide

MOST = 40  # slides in a deck
MOST_EACH = 16  # figures and equations of a chapter
PLANNED = 1000  # references that one by a plan of the course is worth
REFERENCE = re.compile(r"\{(?:numref|eq)\}`([^`]+)`")
PREDICT = re.compile(r"(Answer|Guess|Say so) first|Predict|Try to answer")


def references() -> Counter:
    """How often a label is referred to; what a plan of the course shows counts more."""
    found = Counter()
    for name in chapters.names():
        found.update(REFERENCE.findall(chapters.source(name).read_text()))
    for path in (ROOT / "book" / "course").glob("plans.yml"):
        for label in REFERENCE.findall(path.read_text()):
            found[label] += PLANNED
    return found


def ranked(several, counts) -> list[Slide]:
    """The most wanted first; of equals the one that comes first."""
    return sorted(
        several, key=lambda s: (not s.forced, -sum(counts[label] for label in s.labels))
    )


def chosen(several, counts, room) -> list[Slide]:
    """As many as there is room for, half of them figures if there are so many."""
    figures = ranked([s for s in several if s.kind == "figure"], counts)
    others = ranked([s for s in several if s.kind != "figure"], counts)
    half = max(room - room // 2, room - len(others))
    kept = figures[:half]
    kept += others[: room - len(kept)]
    return [slide for slide in several if any(slide is k for k in kept)]


def merged(several) -> list[Slide]:
    """Single equations that follow each other in one section, two on a slide."""
    found = []
    for slide in several:
        before = found[-1] if found else slide
        both = {before.kind, slide.kind} == {"equation"} and before.title == slide.title
        if found and both and len(before.labels + slide.labels) == 2:
            slide = slides.joined(found.pop(), slide)
        found.append(slide)
    return found


def split(notebook):
    """The cells of the text, and those of the exercises behind it."""
    for place, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown" and re.search(
            r"^## Exercises$", cell.source, re.MULTILINE
        ):
            return notebook.cells[:place], notebook.cells[place:]
    return notebook.cells, []


def discussed(found) -> list[Slide]:
    """The exercise to discuss: one with a tag, one that asks for a prediction before
    anything is computed, or that with most questions."""
    asks = [s for s in found if "*Research" not in s.text] or found

    def rank(slide):
        predict = PREDICT.search(slide.text)
        return not slide.forced, predict is None, -slide.text.count("?")

    return sorted(asks, key=rank)[:1]


def chapter_slides(name, edition, counts, share) -> list[Slide]:
    """The slides of a chapter in the order of its text, at most `share` of them."""
    woven = nbformat.read(BUILD / "woven" / f"{name}.ipynb", 4)
    text, behind = split(editions.strip(woven, edition))
    text = [c for c in text if not editions.tags(c) & {"solution", "instructor"}]
    title, rest = slides.heading(name)
    said = "\n\n".join(
        filter(None, [f"### {rest}" if rest else "", slides.learn(text)])
    )
    opening = Slide("chapter", f"{int(name[:2])} {title}", said, (name,))
    closing = [*slides.remember(text), *discussed(slides.exercises(behind))]
    room = min(MOST_EACH, share - 1 - len(closing))
    shown = merged(chosen(slides.candidates(text), counts, max(0, room)))
    return [opening, *shown, *closing]


def deck(names, edition, counts) -> list[tuple[str, list[Slide]]]:
    """The slides of the chapters of a part."""
    share = (MOST - 1) // len(names)
    return [(n, chapter_slides(n, edition, counts, share)) for n in names]
