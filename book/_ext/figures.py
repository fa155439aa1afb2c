"""Figures drawn by a chapter become part of the page, so that they follow its theme.

An SVG image is put into the page itself. Two colours of the figure style are only
stand-ins: #000001 (text and axes) becomes the colour of the page's text, #fffffe (the
paper) becomes transparent. The alternative text becomes the label of the figure.
"""

import html
import re
from pathlib import Path

import drawing
from docutils import nodes

INK, PAPER = "#000001", "#fffffe"
NAME = re.compile(r'(\bid="|href="#|url\(#)([^")]+)([")])')
OPENING = re.compile(r"<svg\b[^>]*>", re.DOTALL)


def own_ids(svg, prefix, shared=()) -> str:
    """Make every id, and every reference to one, particular to this figure.

    What all figures of the page share is named by its place in `shared`.
    """
    numbers, places = {}, {name: place for place, name in enumerate(shared)}

    def named(match):
        before, old, after = match.groups()
        if old in places:
            return f"{before}L{places[old]}{after}"
        return f"{before}{prefix}{numbers.setdefault(old, len(numbers))}{after}"

    return NAME.sub(named, svg)


def attribute(tag, name) -> str:
    match = re.search(rf'\b{name}="([^"]*)"', tag)
    return match[1] if match else ""


def opening_tag(old, alt) -> str:
    """The <svg> tag of a figure that has a label and scales down, never up.

    On a telephone it stays wide enough to be read, and its box scrolls.
    """
    label = html.escape(" ".join(alt.split()), quote=True)
    width = attribute(old, "width")
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" class="figure" role="img" '
        f'aria-label="{label}" viewBox="{attribute(old, "viewBox")}" '
        f'style="width: 100%; min-width: min({width}, 27rem); max-width: {width}">'
    )


def inline(svg, alt, prefix, letters=None) -> str:
    """The figure as a part of an HTML page; its letters are added to `letters`."""
    letters = {} if letters is None else letters
    match = OPENING.search(svg)
    body = svg[match.start() :]
    for stand_in, colour in ((INK, "currentColor"), (PAPER, "none")):
        body = re.sub(stand_in, colour, body, flags=re.IGNORECASE)
    body = own_ids(drawing.lighten(body, letters), prefix, letters)
    return f"{opening_tag(match[0], alt)}{body}</svg>"


def type_case(letters) -> str:
    """The letters of all figures of a page, once, where nobody sees them."""
    paths = (
        f'<path id="L{place}" d="{outline}" transform="{transform}"/>'
        for place, (outline, transform) in enumerate(letters.values())
    )
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" class="letters" width="0" height="0" '
        f'aria-hidden="true"><defs>{"".join(paths)}</defs></svg>'
    )


def put_figures_into_page(app, doctree, docname):
    if app.builder.format != "html":
        return
    images = [n for n in doctree.findall(nodes.image) if n["uri"].endswith(".svg")]
    letters = {}
    for number, image in enumerate(images, start=1):
        path = Path(app.srcdir, image["uri"].lstrip("/"))
        path = path if path.exists() else Path(app.srcdir, docname).parent / path
        svg = inline(path.read_text(), image.get("alt", ""), f"f{number}-", letters)
        image.replace_self(nodes.raw("", svg, format="html"))
    if letters:
        doctree += nodes.raw("", type_case(letters), format="html")


def setup(app):
    app.connect("doctree-resolved", put_figures_into_page)
    return {"version": "1", "parallel_read_safe": True}
