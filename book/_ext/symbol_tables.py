"""The directives `{symbol-table}` and `{notation-map}`, from `symbols.yml`.

The first shows the symbols of one group: meaning, shape or unit, name in the
code, first chapter. The second maps them to the letters of the papers.
"""

from pathlib import Path

import yaml
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective

NOT_USED = "not used"


def rows(head, lines) -> str:
    """A table in Markdown."""
    cells = [head, ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells) + "\n"


def code(entry) -> str:
    """`helpers.schedules.Schedule.alpha_bar` as the reader writes it."""
    names = entry.get("code", [])
    return ", ".join(f"`{name}`" for name in names) or "–"


def symbol(entry) -> list[str]:
    first = f"{{doc}}`{int(entry['first'][:2])} </notebooks/{entry['first']}>`"
    return [
        entry["symbol"],
        entry["means"],
        entry.get("shape", "–"),
        code(entry),
        first,
    ]


def symbol_table(content, name) -> str:
    """The table of one group."""
    head = ["symbol", "meaning", "shape or unit", "in the code", "chapter"]
    found = [group for group in content["groups"] if group["name"] == name]
    if not found:
        raise ExtensionError(f"book/symbols.yml has no group {name!r}.")
    return rows(head, [symbol(entry) for entry in found[0]["symbols"]])


def notation_map(content) -> str:
    """One row a symbol that papers write differently, one column a paper."""
    papers = content["papers"]
    head = ["this book", *(f"{{cite}}`{p['cite']}`" for p in papers)]
    lines = [
        [line["ours"], *(line.get(p["key"], NOT_USED) for p in papers)]
        for line in content["notation"]
    ]
    return rows(head, lines)


class FromTable(SphinxDirective):
    """Markdown made from `symbols.yml`, as a part of the page."""

    optional_arguments, final_argument_whitespace = 1, True

    def run(self):
        path = Path(self.env.srcdir) / "symbols.yml"
        text = self.text(yaml.safe_load(path.read_text()), *self.arguments)
        self.env.note_dependency("symbols.yml")
        node = nodes.container(classes=[self.name])
        self.state.nested_parse(
            StringList(text.splitlines()), self.content_offset, node
        )
        return [node]


class SymbolTable(FromTable):
    text = staticmethod(symbol_table)


class NotationMap(FromTable):
    text = staticmethod(notation_map)


def setup(app):
    app.add_directive("symbol-table", SymbolTable)
    app.add_directive("notation-map", NotationMap)
    return {"version": "1", "parallel_read_safe": True}
