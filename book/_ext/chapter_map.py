"""The directive `{chapter-map}`: all chapters, and which one builds on which.

Order and parts come from the table of contents, all else from `chapters.yml` next to
the pages. The map is a list of links with arcs beside it, one for each prerequisite.
"""

import html
from pathlib import Path

import yaml
from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.errors import ExtensionError

ROW, WIDTH = 72, 120  # units of the drawing; CSS stretches it to the list
REACH = 150  # how far to the left the widest arc is pulled


class ChapterMap(nodes.General, nodes.Element):
    """Where the map will be, once all titles are known."""


class ChapterMapDirective(Directive):
    def run(self):
        return [ChapterMap()]


def parts(toc) -> list[tuple[str, list[str]]]:
    """(caption, chapters) of each part that has chapters, by their file names."""
    listed = yaml.safe_load(Path(toc).read_text())["parts"]
    found = [(p.get("caption", ""), [c["file"] for c in p["chapters"]]) for p in listed]
    only = [(c, [Path(f).name for f in fs if "notebooks/" in f]) for c, fs in found]
    return [(caption, names) for caption, names in only if names]


def table(path, names) -> dict:
    """What `chapters.yml` says, after a check that it fits the table of contents."""
    about = yaml.safe_load(Path(path).read_text())
    if missing := [n for n in names if n not in about]:
        raise ExtensionError(f"book/chapters.yml lacks {', '.join(missing)}.")
    if extra := [n for n in about if n not in names]:
        raise ExtensionError(
            f"book/chapters.yml has {', '.join(extra)}, which book/_toc.yml lacks."
        )
    for place, name in enumerate(names):
        for needed in about[name]["needs"]:
            if needed not in names[:place]:
                raise ExtensionError(
                    f"book/chapters.yml: {name} needs {needed}, but no earlier chapter "
                    "has that name."
                )
    return about


def arc(start, end, rows) -> str:
    """From one row down to another, with an arrow where it ends."""
    top, bottom = (ROW * (row + 0.5) for row in (start, end))
    pull = WIDTH - REACH * ((end - start) / max(rows - 1, 1)) ** 0.7
    curve = f"M{WIDTH} {top}C{pull:.0f} {top} {pull:.0f} {bottom} {WIDTH - 6} {bottom}"
    head = f"M{WIDTH} {bottom}l-8 -4v8z"
    return (
        f'<g class="from-{start} to-{end}"><path class="arc" d="{curve}"/>'
        f'<path class="head" d="{head}"/></g>'
    )


def drawing(names, about) -> str:
    """The arcs; screen readers get the same from the words "after ..."."""
    rows = len(names)
    arcs = "".join(
        arc(names.index(needed), row, rows)
        for row, name in enumerate(names)
        for needed in about[name]["needs"]
    )
    return (
        f'<svg class="arcs" aria-hidden="true" viewBox="0 0 {WIDTH} {ROW * rows}" '
        f'preserveAspectRatio="none">{arcs}</svg>'
    )


def entry(row, name, caption, about, title, link) -> str:
    """One chapter: number, title, a sentence, what comes before it, how long it is."""
    after = ", ".join(str(int(needed[:2])) for needed in about["needs"])
    part = f'<span class="part">{html.escape(caption)}</span>' if caption else ""
    return (
        f'<li class="row-{row}">{part}<a href="{link}"><span class="number">'
        f'{int(name[:2])}</span> <span class="title">{html.escape(title)}</span></a>'
        f'<span class="costs">{f"after {after} · " if after else ""}'
        f"{about['minutes']} min</span>"
        f'<span class="says">{html.escape(about["says"])}</span></li>'
    )


def light_up(rows) -> str:
    """A chapter that is pointed at or focused shows its arcs."""
    rules = (
        f".chapter-map:has(.row-{r}:is(:hover, :focus-within)) .from-{r}{{--arc:2}}"
        f".chapter-map:has(.row-{r}:is(:hover, :focus-within)) .to-{r}{{--arc:1}}"
        for r in range(rows)
    )
    return f"<style>{''.join(rules)}</style>"


def markup(app, docname) -> str:
    """The whole map as a part of a page."""
    sections = parts(app.config.external_toc_path)
    names = [name for _, chapters in sections for name in chapters]
    about = table(Path(app.srcdir) / "chapters.yml", names)
    captions = {chapters[0]: caption for caption, chapters in sections}
    entries = []
    for row, name in enumerate(names):
        title = app.env.titles[f"notebooks/{name}"].astext().split(":")[0]
        link = app.builder.get_relative_uri(docname, f"notebooks/{name}")
        caption = captions.get(name, "")
        entries.append(entry(row, name, caption, about[name], title, link))
    listed = "".join(entries)
    return (
        f'<nav class="chapter-map" aria-label="Map of the chapters">'
        f"{light_up(len(names))}{drawing(names, about)}<ol>{listed}</ol></nav>"
    )


def draw_maps(app, doctree, docname):
    for node in list(doctree.findall(ChapterMap)):
        text = markup(app, docname) if app.builder.format == "html" else ""
        node.replace_self(nodes.raw("", text, format="html"))


def setup(app):
    app.add_node(ChapterMap)
    app.add_directive("chapter-map", ChapterMapDirective)
    app.connect("doctree-resolved", draw_maps)
    return {"version": "1", "parallel_read_safe": True}
