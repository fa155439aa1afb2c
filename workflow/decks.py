"""Decks of slides, one for each part of the book, next to its pages.

`python workflow/decks.py` makes those of the built site again; `assemble` makes them
with it. What is on them is decided in `choice`; nbconvert sorts them into stacks and
turns Markdown into HTML, with the template in `workflow/deck`.
"""

import argparse
import html
import importlib.util
import re
import shutil
import sys
from pathlib import Path

import chapters
import choice
import editions
import slides
import yaml
from chapters import BUILD, ROOT
from labels import Labels
from nbconvert import SlidesExporter
from nbformat.v4 import (
    new_code_cell,
    new_markdown_cell,
    new_notebook,
    new_output,
)

sys.path.append(str(ROOT / "book" / "_ext"))
import drawn  # how a figure becomes a part of an HTML page

FOLDER = "slides"  # of the site
PLACE = "<i>picture {}</i>"
TEMPLATE = ROOT / "workflow" / "deck"
LOOKS = ("slides.css", "slides.js", "theme.js")
REVEAL = ("dist/reveal.js", "dist/reveal.css", "plugin/notes/notes.js", "LICENSE")
LINKS = re.compile(r"^```\{slide-decks\}\s*^```$", re.MULTILINE)


def cells(slide, number, names):
    """The cells of a slide: text, or a place for the picture and its caption; notes."""
    about = {"kind": slide.kind, "id": "-".join(slide.labels) or f"slide-{number}"}
    place = PLACE.format(number)
    kind = "slide" if slide.kind in ("title", "chapter") else "subslide"
    start = {"slideshow": {"slide_type": kind}, "deck": about}
    head = f"<h2>{html.escape(slide.title, quote=False)}</h2>\n\n"
    if slide.kind in ("title", "chapter"):
        head = f"<h1>{html.escape(slide.title, quote=False)}</h1>\n\n"
    text = f'<div class="body">\n\n{names.resolved(slide.text)}\n\n</div>'
    if slide.kind == "figure":
        number, said = names.link("numref", slide.labels[0]), names.resolved(slide.text)
        caption = f'<div class="caption">\n\n{number} {said}\n\n</div>'
        yield new_markdown_cell(head, metadata=start)
        picture = new_output("display_data", {"text/html": place})
        yield new_code_cell(outputs=[picture])
        yield new_markdown_cell(caption)
    else:
        yield new_markdown_cell(head + text, metadata=start)
    if slide.notes:
        notes = {"slideshow": {"slide_type": "notes"}}
        yield new_markdown_cell(names.resolved(slide.notes), metadata=notes)


def title_slide(caption, found, names):
    """The first slide: the part, and a way to each of its chapters."""
    rows = []
    for name, _ in found:
        title = names.known["doc", name][0]
        rows.append(f'<li>{int(name[:2])} <a href="#/{name}">{html.escape(title)}</a>')
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    book = f'<p class="book"><a href="../index.html">{config["title"]}</a></p>'
    text = f"<ol>{''.join(rows)}</ol>{book}"
    return slides.Slide("title", caption, text)


def notebook(caption, found, names):
    """A part as a notebook whose cells are slides."""
    shown = [title_slide(caption, found, names), *flat(found)]
    made = [c for n, slide in enumerate(shown) for c in cells(slide, n, names)]
    metadata = {"title": caption, "notes": any(s.notes for s in shown)}
    return new_notebook(cells=made, metadata=metadata)


def flat(found):
    return [slide for _, several in found for slide in several]


def with_pictures(page, found) -> str:
    """Put the pictures in their places: nbconvert would parse each path of them."""
    letters, svgs = {}, {}
    for number, slide in enumerate(flat(found), start=1):
        if slide.svg:
            svgs[number] = drawn.inline(slide.svg, slide.alt, f"s{number}-", letters)
    lighter, shared = drawn.on_one_page(svgs.values(), letters)
    for number, svg in zip(svgs, lighter):
        page = page.replace(PLACE.format(number), svg)
    return page.replace("</main>", f"</main>\n{shared}")


def reveal_folder() -> Path:
    """Where the package sphinx-revealjs keeps reveal.js."""
    spec = importlib.util.find_spec("sphinx_revealjs")
    if spec is None:
        raise chapters.BadProject("sphinx-revealjs is missing: run `make book`.")
    return Path(spec.origin).parent / "_static" / "revealjs"


def bring_along(folder):
    """reveal.js and our own style and script, next to the decks."""
    (folder / "reveal").mkdir(parents=True)
    for name in REVEAL:
        shutil.copy(reveal_folder() / name, folder / "reveal")
    for name in LOOKS:
        shutil.copy(TEMPLATE / name, folder)


def decks() -> list[tuple[str, str, list[str]]]:
    """Each deck: its file, the caption of the part, and the chapters."""
    return [
        (f"{slides.deck_name(number, caption)}.html", caption, inside)
        for number, (caption, inside) in enumerate(slides.parts(), start=1)
    ]


def put_links(stage):
    """A list of all decks in the place of `{slide-decks}` in the staged pages."""
    for path in stage.rglob("*.md"):
        text = path.read_text()
        if LINKS.search(text):
            up = "../" * (len(path.relative_to(stage).parts) - 1)
            rows = (
                f'<li><a href="{up}{FOLDER}/{file}">{html.escape(caption)}</a></li>'
                for file, caption, _ in decks()
            )
            block = f"```{{raw}} html\n<ul>{''.join(rows)}</ul>\n```"
            path.write_text(LINKS.sub(block, text))


def write(site, edition) -> dict[str, int]:
    """The decks of a site: how many slides each of them has."""
    folder, made = site / FOLDER, {}
    shutil.rmtree(folder, ignore_errors=True)
    bring_along(folder)
    names, counts = Labels(site), choice.references()
    exporter = SlidesExporter(
        template_name="deck",
        extra_template_basedirs=[str(TEMPLATE.parent)],
        exclude_anchor_links=True,
    )
    for file, caption, inside in decks():
        found = choice.deck(inside, edition, counts)
        page = exporter.from_notebook_node(notebook(caption, found, names))[0]
        (folder / file).write_text(with_pictures(page, found))
        made[file] = 1 + len(flat(found))
    return made


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edition", default="reader", choices=list(editions.LEFT_OUT))
    edition = parser.parse_args().edition
    home = BUILD if edition == "reader" else BUILD / edition
    try:
        for name, count in write((home / "html").resolve(), edition).items():
            print(f"{count:3} slides: {home.relative_to(ROOT)}/html/{FOLDER}/{name}")
    except chapters.BadProject as error:
        sys.exit(str(error))
