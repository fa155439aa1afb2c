"""A drawing of matplotlib as light as it can be while it looks the same.

Coordinates are kept to a hundredth of a point, paths step from point to point instead
of naming each place, groups and names that nothing refers to are dropped, pictures
inside are packed without loss, and the letters are handed out so that all figures of
a page can share them.
"""

import base64
import functools
import io
import itertools
import re
import zlib
from xml.etree import ElementTree

from PIL import Image

SVG, XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"
TOKEN = re.compile(r"[A-Za-z]|-?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?")
NUMBER = re.compile(r"-?\d+\.\d+(?:e[-+]?\d+)?")
LETTER = re.compile(r"[A-Za-z][\w-]+-[0-9a-f]+$")  # the name of a glyph
MOVE = re.compile(r"translate\(([-\d.]+)[ ,]+([-\d.]+)\)$")
UNIT = 100  # steps in one point
LONG, LONG_UNIT = 40, 20  # a line of so many points is wider than a coarser step
CLOUD = 20  # points in a row that are worth a marker
CLOUD_MARK = {"markerUnits": "userSpaceOnUse", "overflow": "visible"}


@functools.lru_cache(100_000)  # the same numbers come again and again
def short(value, digits=2) -> str:
    """A number without what cannot be seen: 0.5000001 -> .5"""
    text = f"{float(value):.{digits}f}".rstrip("0").rstrip(".")
    if text.startswith("0."):
        return text[1:]
    if text.startswith("-0"):
        return "0" if text == "-0" else f"-{text[2:]}"
    return text


def joined(numbers, unit) -> str:
    """Numbers in steps, with a space only where they would run together."""
    text = ""
    for number in (short(n / unit) for n in numbers):
        text += f" {number}" if text and not number.startswith("-") else number
    return text


def steps(path, unit):
    """(command, relative numbers in steps) of a path of M, L, Q, C and z."""
    tokens, here, start = TOKEN.findall(path), (0, 0), (0, 0)
    at = 0
    while at < len(tokens):
        command, numbers = tokens[at], []
        at += 1
        while at < len(tokens) and not tokens[at].isalpha():
            numbers.append(round(float(tokens[at]) * unit))
            at += 1
        yield command.lower(), [n - here[i % 2] for i, n in enumerate(numbers)]
        here = tuple(numbers[-2:]) or start
        start = here if command == "M" else start


def lighter_path(path) -> str:
    """The same path in steps; a command is named only when it changes.

    A path with other commands than matplotlib's is left as it is.
    """
    if set(re.findall("[A-DF-Za-df-z]", path)) - set("MLQCZz"):
        return path
    text, last = "", None
    unit = LONG_UNIT if path.count("L") > LONG else UNIT
    for command, numbers in steps(path, unit):
        body = joined(numbers, unit)
        if command == last and numbers:
            text += body if body.startswith("-") else f" {body}"
        else:
            text += command + body
        last = "l" if command == "m" else command
    return text


def lighter_style(style) -> str:
    """Without blanks; without the colour of the text, which every figure has anyway."""
    style = re.sub(r"\s*([;:])\s*", r"\1", style)
    style = "" if style == "fill:currentColor" else style
    return NUMBER.sub(lambda m: short(m[0], 3), style)


def lighter_transform(text) -> str:
    """Places to a hundredth; a scale keeps its digits, for it is small."""
    parts = re.findall(r"(\w+)\(([^)]*)\)", text)
    digits = {"translate": 2, "rotate": 2}
    return "".join(
        f"{name}({NUMBER.sub(lambda m, n=name: short(m[0], digits.get(n, 6)), body)})"
        for name, body in parts
    )


def packed(data_url) -> str:
    """A picture of PNG as lossless WebP, if that is smaller; its pixels stay."""
    data = base64.b64decode(data_url.split(",", 1)[1])
    picture, file = Image.open(io.BytesIO(data)), io.BytesIO()
    picture.save(file, "WEBP", lossless=True, quality=75, method=4, exact=True)
    kind, best = min(("png", data), ("webp", file.getvalue()), key=lambda p: len(p[1]))
    return f"data:image/{kind};base64,{base64.b64encode(best).decode()}"


def lighten_attributes(element):
    """Shorten each attribute; a reference loses its old prefix."""
    for name, value in list(element.attrib.items()):
        if name == "d":
            element.set("d", lighter_path(value))
        elif name == "style":
            element.set("style", lighter_style(value))
            if not element.get("style"):
                del element.attrib["style"]
        elif name == "transform":
            element.set("transform", lighter_transform(value))
        elif name in ("x", "y", "width", "height", "cx", "cy", "r"):
            element.set(name, NUMBER.sub(lambda m: short(m[0]), value))
        elif name == XLINK + "href":
            del element.attrib[name]
            value = packed(value) if value.startswith("data:image/png") else value
            element.set("href", value)


def place_letter(element):
    """A letter is put in its place by x and y: shorter than a transform."""
    move = MOVE.match(element.get("transform", ""))
    if element.tag == SVG + "use" and move and not element.get("x"):
        del element.attrib["transform"]
        for name, value in zip("xy", move.groups()):
            if float(value):
                element.set(name, short(value))


def gather_marks(element):
    """Points in a row that look the same carry their look once.

    A few stand in a group; a cloud becomes one line, unseen, with a mark at each point.
    """
    for child in element:
        gather_marks(child)
    children = []
    for style, run in itertools.groupby(element, mark_style):
        marks = list(run)
        if style and len(marks) >= CLOUD and len({m.get("href") for m in marks}) == 1:
            marks = cloud(marks, style)
        elif style and len(marks) > 1:
            marks = [grouped(marks, style)]
        children += marks
    element[:] = children


def grouped(marks, style):
    group = ElementTree.Element(SVG + "g", {"style": style})
    for mark in marks:
        del mark.attrib["style"]
    group.extend(marks)
    return group


def cloud(marks, style):
    """A marker, and a line through all points that shows nothing but the marker."""
    shape = marks[0].get("href")
    name = f"cloud{zlib.crc32((shape + style).encode()):x}"
    marker = ElementTree.Element(SVG + "marker", {"id": name, **CLOUD_MARK})
    ElementTree.SubElement(marker, SVG + "use", {"href": shape, "style": style})
    points = " L ".join(f"{m.get('x', 0)} {m.get('y', 0)}" for m in marks)
    line = {"d": lighter_path(f"M {points}"), "style": f"fill:none;marker:url(#{name})"}
    return [marker, ElementTree.Element(SVG + "path", line)]


def mark_style(element) -> str:
    """The look of a point; "" for all else and for what has more than a place."""
    plain = element.tag == SVG + "use" and "transform" not in element.attrib
    return element.get("style", "") if plain else ""


def referred(root) -> set[str]:
    """The names that something in the drawing refers to."""
    text = ElementTree.tostring(root, encoding="unicode")
    return set(re.findall(r'(?:href="#|url\(#)([^")]+)', text))


def prune(element, kept):
    """Drop names nobody uses, empty groups, and groups that say nothing."""
    children = []
    for child in list(element):
        prune(child, kept)
        if child.get("id") not in kept:
            child.attrib.pop("id", None)
        group = child.tag in (SVG + "g", SVG + "defs")
        if group and not len(child):
            continue
        bare = child.tag == SVG + "g" and not child.attrib
        children += list(child) if bare else [child]
    element[:] = children


def take_letters(element, letters):
    """Move the outlines of letters out of the drawing, into `letters` by their names.

    ValueError when a name stands for two different outlines.
    """
    for child in list(element):
        name = child.get("id", "")
        if child.tag != SVG + "path" or not LETTER.match(name):
            take_letters(child, letters)
            continue
        outline = child.get("d", ""), child.get("transform", "")
        if letters.setdefault(name, outline) != outline:
            raise ValueError(f"two outlines are called {name}")
        element.remove(child)


def drop_remarks(root):
    """No metadata, and not the style that the book's own style sheet contains."""
    for parent in list(root.iter()):
        for child in list(parent):
            own = child.tag == SVG + "style" and (child.text or "").startswith("*{")
            if own or child.tag == SVG + "metadata":
                parent.remove(child)


def visible(text) -> str | None:
    """Text that is more than an indentation."""
    return text if text and text.strip() else None


def lighten(svg, letters) -> str:
    """What is inside a drawing, lighter; outlines of letters go to `letters`."""
    root = ElementTree.fromstring(svg)  # comments are left out by the parser
    drop_remarks(root)
    for element in root.iter():
        element.text, element.tail = visible(element.text), visible(element.tail)
        lighten_attributes(element)
        place_letter(element)
    take_letters(root, letters)
    prune(root, referred(root))
    gather_marks(root)
    ElementTree.register_namespace("", SVG[1:-1])
    text = ElementTree.tostring(root, encoding="unicode")
    return re.sub(r"^<svg[^>]*>|</svg>$", "", text).replace(" />", "/>")
