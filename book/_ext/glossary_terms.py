"""The glossary from `glossary.yml`, and its terms in the prose of the chapters.

`{glossary-of-book}` writes Sphinx's own glossary, so that `{term}` works. In each
chapter the first occurrence of a term in the text becomes a reference to it: not in
headings, links, code, formulas, captions or tables.
"""

import re
from functools import cache
from pathlib import Path

import yaml
from docutils import nodes
from docutils.statemachine import StringList
from sphinx import addnodes
from sphinx.util.docutils import SphinxDirective

NOT_HERE = (
    *(nodes.title, nodes.reference, nodes.literal, nodes.literal_block, nodes.math),
    *(nodes.caption, nodes.figure, nodes.table, nodes.raw, nodes.term, nodes.image),
    *(nodes.math_block, nodes.rubric, nodes.topic, addnodes.pending_xref),
)


@cache
def entries(path) -> list[dict]:
    """The terms of the file, in its order; none if the book has no glossary."""
    path = Path(path)
    return yaml.safe_load(path.read_text()) if path.exists() else []


def glossary(srcdir) -> list[dict]:
    return entries(str(Path(srcdir) / "glossary.yml"))


def definition(entry) -> str:
    """A term as lines of a Sphinx glossary: Japanese, meaning, chapters."""
    where = ", ".join(f"{{doc}}`notebooks/{name}`" for name in entry["where"])
    says = f'<span lang="ja">{entry["ja"]}</span>. {entry["says"]}'
    return f"{entry['term']}\n  {says} → {where}\n"


class Glossary(SphinxDirective):
    def run(self):
        block = "\n".join(definition(e) for e in glossary(self.env.srcdir))
        text = f"````{{glossary}}\n:sorted:\n\n{block}````"
        self.env.note_dependency("glossary.yml")
        node = nodes.container(classes=["glossary-of-book"])
        self.state.nested_parse(
            StringList(text.splitlines()), self.content_offset, node
        )
        return [node]


def pattern(words) -> str:
    """A term at the start of a sentence or within, one or many; acronyms exactly."""
    word = re.escape(words)
    if words[0].islower():
        word = f"[{words[0].upper()}{words[0]}]{re.escape(words[1:])}"
    return word.replace(r"\ ", r"\s+") + "s?"


@cache
def finder(path) -> tuple[re.Pattern, dict]:
    """One expression for all terms, the longest first, and which group is which."""
    known = {
        word: entry["term"]
        for entry in entries(path)
        if entry.get("link", True)
        for word in [entry["term"], *entry.get("also", [])]
    }
    words = sorted(known, key=len, reverse=True)
    groups = "|".join(f"({pattern(word)})" for word in words)
    return re.compile(rf"(?<![\w-])(?:{groups})(?![\w-])"), [known[w] for w in words]


def is_prose(text) -> bool:
    """Whether a piece of text stands in a paragraph where a reference may be."""
    node, in_paragraph = text.parent, False
    while node is not None:
        if isinstance(node, NOT_HERE):
            return False
        in_paragraph = in_paragraph or isinstance(node, nodes.paragraph)
        node = node.parent
    return in_paragraph


def reference(term, words, docname):
    """What `{term}` would have made."""
    return addnodes.pending_xref(
        "",
        nodes.inline("", words, classes=["xref", "std", "std-term"]),
        refdomain="std",
        reftype="term",
        reftarget=term,
        refexplicit=True,
        refdoc=docname,
        refwarn=True,
    )


def linked(text, found, terms, seen, docname) -> list:
    """A text as a list of texts and references to terms that were not yet seen."""
    pieces, end = [], 0
    for match in found.finditer(text):
        term = terms[match.lastindex - 1]
        if term not in seen:
            seen.add(term)
            pieces += [nodes.Text(text[end : match.start()])]
            pieces += [reference(term, match[0], docname)]
            end = match.end()
    return [*pieces, nodes.Text(text[end:])] if pieces else []


def link_terms(app, doctree):
    docname, path = app.env.docname, str(Path(app.srcdir) / "glossary.yml")
    if not docname.startswith("notebooks/") or not entries(path):
        return
    found, terms = finder(path)
    seen = {x["reftarget"] for x in doctree.findall(addnodes.pending_xref)}
    for text in list(doctree.findall(nodes.Text)):
        if is_prose(text):
            pieces = linked(str(text), found, terms, seen, docname)
            if pieces:
                text.parent.replace(text, pieces)


def setup(app):
    app.add_directive("glossary-of-book", Glossary)
    app.connect("doctree-read", link_terms)
    return {"version": "1", "parallel_read_safe": True}
