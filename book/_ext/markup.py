"""Pages, scripts and style sheets without what a browser does not need.

The colours of code stay, but for those of operators: words that look the same in both
themes share one mark, and neighbours of one look share it together. Then minify-html
drops what HTML lets one leave out.
"""

import re

import minify_html
import rcssmin
import rjsmin

CODE = re.compile(r'<div class="highlight"><pre>.*?</pre>', re.DOTALL)
SHEET = re.compile(r"(html\S+) \.highlight \.(\w+)\s*{([^}]*)}")
PAPER = re.compile(r"(html\S+) \.highlight\s*{[^}]*color: (#\w+)\s*}")
MARK = re.compile(r'<span class="(\w+)">([^<]*)</span>')
NEIGHBOURS = re.compile(
    r'<span class="(\w+)">([^<]*)</span>([ \n]*)<span class="\1">([^<]*)</span>'
)
OPERATOR = "o"


def looks(sheet) -> dict[str, dict]:
    """How each kind of word in code looks in each theme."""
    found = {}
    for theme, kind, look in SHEET.findall(sheet):
        found.setdefault(kind, {})[theme] = look.strip()
    return found


def kinds(sheet) -> dict[str, str]:
    """The kind to write in place of each kind: of one look one; "" for no mark.

    No mark is needed for the colour of all code. Nor for operators: there are a
    thousand on a page, and one sees what they are.
    """
    plain = {theme: f"color: {colour}" for theme, colour in PAPER.findall(sheet)}
    known, first = looks(sheet), {}
    for kind in sorted(known, key=lambda k: (len(k), k)):
        if kind != OPERATOR:
            first.setdefault(tuple(sorted(known[kind].items())), kind)
    names = {k: first.get(tuple(sorted(v.items())), "") for k, v in known.items()}
    return {
        k: "" if k == OPERATOR or known[k] == plain else n for k, n in names.items()
    }


def marked(code, names) -> str:
    """A block of code with as few marks as its colours need."""

    def renamed(match):
        kind = names.get(match[1], match[1])
        return f'<span class="{kind}">{match[2]}</span>' if kind else match[2]

    code, count = MARK.sub(renamed, code), 1
    while count:
        code, count = NEIGHBOURS.subn(r'<span class="\1">\2\3\4</span>', code)
    return code


def short(page, names) -> str:
    """The same page in fewer letters."""
    return minify_html.minify(CODE.sub(lambda block: marked(block[0], names), page))


def shorten_scripts(static):
    """Scripts without remarks and blanks; those of MathJax are short already."""
    for path in [*static.rglob("*.js"), *static.rglob("*.mjs")]:
        if "mathjax" not in path.parts:
            path.write_text(rjsmin.jsmin(path.read_text()))


def shorten_sheets(static):
    for path in static.rglob("*.css"):
        path.write_text(rcssmin.cssmin(path.read_text()))


def shorten_pages(site):
    """All pages of a site; the slides are not among them, they are made afterwards."""
    names = kinds((site / "_static" / "pygments.css").read_text())
    for path in site.rglob("*.html"):
        if "_static" not in path.parts:
            path.write_text(short(path.read_text(), names))
