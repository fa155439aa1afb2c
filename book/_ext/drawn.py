"""Figures drawn by a chapter become part of the page, so that they follow its theme.

An SVG image is put into the page itself. Two colours of the figure style are only
stand-ins: #000001 (text and axes) becomes the colour of the page's text, #fffffe (the
paper) becomes transparent. The alternative text becomes the label of the figure.
"""

import html
import re
from collections import Counter
from pathlib import Path

import drawing
from docutils import nodes

INK, PAPER = "#000001", "#fffffe"
LOOK = re.compile(r'\bstyle="([^"]+)"')
NAME = re.compile(r'(\bid="|href="#|url\(#)([^")]+)([")])')
WORD = re.compile(  # a group of letters and nothing else
    r'<g((?: (?:style|transform)="[^"]*")+)>'
    r'((?:<use href="#L\d+"(?: [xy]="[^"]*")*/>){2,})</g>'
)
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


def shared_looks(svgs) -> dict[str, str]:
    """A class for each style that several shapes of a page have."""
    count = Counter(look for svg in svgs for look in LOOK.findall(svg))
    often = [look for look, n in count.items() if n > 2 and "url(" not in look]
    return {look: f"k{place}" for place, look in enumerate(often)}


def with_classes(svg, looks) -> str:
    """The figure with classes in place of the styles that are shared."""

    def named(tag):
        if 'class="' in tag[0]:
            return tag[0]
        return LOOK.sub(
            lambda m: f'class="{looks[m[1]]}"' if m[1] in looks else m[0], tag[0]
        )

    return re.sub(r"<[^>]+>", named, svg)


def shared_words(svgs) -> dict[str, str]:
    """A name for each word, such as the number at a tick, that is worth sharing."""
    count = Counter(word for svg in svgs for _, word in WORD.findall(svg))
    often = [w for w, n in count.items() if (n - 1) * len(w) > 20 * n + 20]
    return {word: f"W{place}" for place, word in enumerate(often)}


def with_words(svg, words) -> str:
    """The figure with references in the place of the words that are shared."""

    def named(match):
        look, word = match.groups()
        return f'<use href="#{words[word]}"{look}/>' if word in words else match[0]

    return WORD.sub(named, svg)


def type_case(letters, words, looks) -> str:
    """What the figures of a page share: outlines of letters, words of them, styles."""
    paths = (
        f'<path id="L{place}" d="{outline}" transform="{transform}"/>'
        for place, (outline, transform) in enumerate(letters.values())
    )
    groups = (f'<g id="{name}">{word}</g>' for word, name in words.items())
    rules = (f".figure .{name}{{{look}}}" for look, name in looks.items())
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" class="letters" width="0" height="0" '
        f'aria-hidden="true"><style>{"".join(rules)}</style>'
        f"<defs>{''.join(paths)}{''.join(groups)}</defs></svg>"
    )


def on_one_page(svgs, letters) -> tuple[list[str], str]:
    """The figures of a page as far as they differ, and what they share."""
    words, looks = shared_words(svgs), shared_looks(svgs)
    lighter = [with_classes(with_words(svg, words), looks) for svg in svgs]
    return lighter, type_case(letters, words, looks)


def put_figures_into_page(app, doctree, docname):
    if app.builder.format != "html":
        return
    images = [n for n in doctree.findall(nodes.image) if n["uri"].endswith(".svg")]
    letters, svgs = {}, []
    for number, image in enumerate(images, start=1):
        path = Path(app.srcdir, image["uri"].lstrip("/"))
        path = path if path.exists() else Path(app.srcdir, docname).parent / path
        alt = image.get("alt", "")
        svgs.append(inline(path.read_text(), alt, f"f{number}-", letters))
    svgs, shared = on_one_page(svgs, letters)
    for image, svg in zip(images, svgs):
        image.replace_self(nodes.raw("", svg, format="html"))
    if images:
        doctree += nodes.raw("", shared, format="html")


def setup(app):
    app.connect("doctree-resolved", put_figures_into_page)
    return {"version": "1", "parallel_read_safe": True}
