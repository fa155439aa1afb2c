"""What equations, figures, chapters and papers are called, on slides as on the pages.

Numbers are read from the finished pages, and every reference leads there.
"""

import html
import re

import chapters
import slides
from chapters import ROOT
from pybtex.database import parse_file

EQUATION = re.compile(
    r'id="?equation-([\w-]+)"?[^>]*>\s*<span class="?eqno"?>(\([^)<]+\))'
)
FIGURE = re.compile(
    r'<figure[^>]* id="?([\w-]+)'
    r'|<span class="?caption-number"?>([^<]+?)\s*</span>'
)
TITLE = re.compile(r"<h1>(.*?)<", re.DOTALL)
ROLE = re.compile(r"\{(eq|numref|doc|cite)\}`([^`]+)`")
FORMULA = re.compile(
    r"^\$\$\n((?:(?!\$\$).)*)\n\$\$ \(([\w-]+)\)$", re.MULTILINE | re.DOTALL
)
INLINE = re.compile(r"(?<!\$)(\$[^$\n]+\$)([,.;:?!)]*)")


def numbered(page) -> dict[str, str]:
    """What a page calls its equations and figures: `(9.4)`, `Fig. 9.1`."""
    text, found, last = page.read_text(), {}, None
    for match in FIGURE.finditer(text):
        if match[1]:
            last = match[1]
        else:
            found[last] = match[2]
    return found | dict(EQUATION.findall(text))


def cited(entry) -> str:
    """`Song et al., 2021`, as the pages write it."""
    names = [" ".join(p.prelast_names + p.last_names) for p in entry.persons["author"]]
    names = [re.sub(r"[{}\\'\"]", "", name) for name in names]
    several = {1: "{0}", 2: "{0} and {1}"}.get(len(names), "{0} et al.")
    return f"{several.format(*names)}, {entry.fields['year']}"


def glued(match) -> str:
    """No end of a line between a formula and the comma behind it."""
    glue = f'<span class="glued">{match[0]}</span>'
    return glue if match[2] else match[0]


class Labels:
    """What a reference is called, and the page it leads to."""

    def __init__(self, site):
        self.known = {}
        for page in chapters.toc_pages():
            title = TITLE.search((site / f"{page}.html").read_text())[1]
            self.known["doc", f"/{page}"] = (html.unescape(title), f"../{page}.html")
        for name in chapters.names():
            page = f"../notebooks/{name}.html"
            title = slides.heading(name)[0]
            self.known["doc", name] = (title, page)
            self.known["doc", f"/notebooks/{name}"] = (title, page)
            for label, number in numbered(site / "notebooks" / f"{name}.html").items():
                kind = "eq" if number.startswith("(") else "numref"
                anchor = f"equation-{label}" if kind == "eq" else label
                self.known[kind, label] = (number, f"{page}#{anchor}")
        bibliography = ROOT / "book" / "references.bib"
        for key, entry in parse_file(str(bibliography)).entries.items():
            self.known["cite", key] = (cited(entry), "../bibliography.html")

    def link(self, role, target) -> str:
        if (role, target) not in self.known:
            raise chapters.BadProject(f"A slide refers to {target}, which is nowhere.")
        shown, address = self.known[role, target]
        return f'<a href="{address}">{html.escape(shown)}</a>'

    def resolved(self, text) -> str:
        """A text with links in the place of its references."""

        def role(match):
            keys = re.split(r", *", match[2]) if match[1] == "cite" else [match[2]]
            links = "; ".join(self.link(match[1], key) for key in keys)
            return f"[{links}]" if match[1] == "cite" else links

        return ROLE.sub(role, INLINE.sub(glued, FORMULA.sub(self.formula, text)))

    def formula(self, match) -> str:
        """A formula with its number beside it."""
        tex = html.escape(match[1], quote=False)
        number = self.link("eq", match[2])
        return f'<div class="formula"><div>$$\n{tex}\n$$</div>{number}</div>'
