"""Figures drawn by a chapter become part of the page, so that they follow its theme.

An SVG image is put into the page itself. Two colours of the figure style are only
stand-ins: #000001 (text and axes) becomes the colour of the page's text, #fffffe (the
paper) becomes transparent. The alternative text becomes the label of the figure.
"""

import html
import re
from pathlib import Path

from docutils import nodes

INK, PAPER = "#000001", "#fffffe"
OPENING = re.compile(r"<svg\b[^>]*>", re.DOTALL)


def own_ids(svg, prefix) -> str:
    """Make every id, and every reference to one, particular to this figure."""
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}\1"', svg)
    svg = re.sub(r'href="#([^"]+)"', rf'href="#{prefix}\1"', svg)
    return re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}\1)", svg)


def attribute(tag, name) -> str:
    match = re.search(rf'\b{name}="([^"]*)"', tag)
    return match[1] if match else ""


def opening_tag(old, alt) -> str:
    """The <svg> tag of a figure that has a label and scales down, never up.

    On a telephone it stays wide enough to be read, and its box scrolls.
    """
    label, width = html.escape(alt, quote=True), attribute(old, "width")
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" '
        'xmlns:xlink="http://www.w3.org/1999/xlink" class="figure" role="img" '
        f'aria-label="{label}" viewBox="{attribute(old, "viewBox")}" '
        f'style="width: 100%; min-width: min({width}, 27rem); max-width: {width}">'
    )


def inline(svg, alt, prefix) -> str:
    """The figure as a part of an HTML page."""
    match = OPENING.search(svg)
    body = svg[match.end() :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    for stand_in, colour in ((INK, "currentColor"), (PAPER, "none")):
        body = re.sub(stand_in, colour, body, flags=re.IGNORECASE)
    return opening_tag(match[0], alt) + own_ids(body, prefix)


def put_figures_into_page(app, doctree, docname):
    if app.builder.format != "html":
        return
    images = [n for n in doctree.findall(nodes.image) if n["uri"].endswith(".svg")]
    for number, image in enumerate(images, start=1):
        path = Path(app.srcdir, image["uri"].lstrip("/"))
        path = path if path.exists() else Path(app.srcdir, docname).parent / path
        svg = inline(path.read_text(), image.get("alt", ""), f"f{number}-")
        image.replace_self(nodes.raw("", svg, format="html"))


def setup(app):
    app.connect("doctree-resolved", put_figures_into_page)
    return {"version": "1", "parallel_read_safe": True}
