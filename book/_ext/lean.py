"""Pages load only what they use: of the style sheets, of the icons, of the scripts.

When all pages are written, a rule of a style sheet goes if it asks for an element, a
class or an id that no page and no script names, then the variables that nothing uses,
and the icon fonts keep the icons that are left. It is the theme's sheets that shrink,
from about half a megabyte; those of the book stay whole.
"""

import itertools
import re
import shutil
from pathlib import Path

import markup
import tinycss2
from fontTools import subset
from fontTools.ttLib import TTFont

TEMPLATES = Path(__file__).with_name("templates")
# In the pages as they are, or shortened: class="one two", class=one, <p, id=here
CLASSES = re.compile(r'\bclass=(?:"([^"]*)"|([^\s">]+))')
NAMES = re.compile(r'<([a-z][\w-]*)|\bid="?([^\s">]+)')
IMPLIED = {"html", "head", "body", "tbody"}  # HTML lets a page leave out their tags
VARIABLE = re.compile(r"--[\w-]+")
VALUE = re.compile(r"""(?<=[{;])(--[\w-]+):([^;{}"']*)(?:;|(?=}))""")
WORD = re.compile(r"[A-Za-z_][\w-]*")
ICON = re.compile("[\ue000-\uf8ff]")  # icons are characters for private use
NESTED = ("media", "supports", "layer")
OWN = Path(__file__).parents[1] / "_static"  # what the book wrote itself
UNUSED = (
    "scripts/fontawesome.js*",
    "scripts/bootstrap.js*",
    "locales",
    "vendor/fontawesome/*.txt",
)


def names_in_use(site) -> set[str]:
    """Elements, classes and ids of the pages, and all words and variables of scripts.

    A script might set a class of such a name, or make such an element.
    """
    used = set(IMPLIED)
    for page in site.rglob("*.html"):
        text = page.read_text()
        for found in map("".join, [*CLASSES.findall(text), *NAMES.findall(text)]):
            used.update(found.split())
        used.update(VARIABLE.findall(text))
        used.update(WORD.findall(" ".join(re.findall(r"<script>.*?</script>", text))))
    for pattern in ("*.js", "*.mjs"):
        for script in (site / "_static").rglob(pattern):
            if "mathjax" not in script.parts:
                text = script.read_text()
                used.update(WORD.findall(text), VARIABLE.findall(text))
    return used


def selectors(prelude):
    """The selectors of a rule, as lists of tokens."""
    found = [[]]
    for token in prelude:
        if token == ",":
            found.append([])
        else:
            found[-1].append(token)
    return found


def asked(selector):
    """Element, classes and ids to be had; not those inside :not(...) or :is(...).

    Elements like <mjx-container> come into being in the browser.
    """
    for before, token in itertools.pairwise([None, *selector]):
        if token.type == "hash" or (token.type == "ident" and before == "."):
            yield token.value
        elif token.type == "ident" and before != ":" and "-" not in token.value:
            yield token.value.lower()


def trimmed(rules, used):
    """The rules that can apply to something, with the selectors that can."""
    for rule in rules:
        if rule.type == "qualified-rule":
            alive = [s for s in selectors(rule.prelude) if used.issuperset(asked(s))]
            if alive:
                heads = (tinycss2.serialize(s).strip() for s in alive)
                body = tinycss2.serialize(rule.content).strip()
                yield f"{','.join(heads)}{{{body}}}"
        elif (
            rule.type == "at-rule" and rule.lower_at_keyword in NESTED and rule.content
        ):
            inner = tinycss2.parse_rule_list(rule.content, True, True)
            if body := "".join(trimmed(inner, used)):
                head = tinycss2.serialize(rule.prelude).strip()
                yield f"@{rule.at_keyword} {head}{{{body}}}"
        else:
            yield rule.serialize()


def trim(sheet, used) -> str:
    rules = tinycss2.parse_stylesheet(sheet, skip_comments=True, skip_whitespace=True)
    return "\n".join(trimmed(rules, used))


def without_idle_variables(sheets, used) -> list[str]:
    """The sheets without the variables that nothing shows, directly or by another."""
    whole = "\n".join(sheets)
    needs = {}
    for name, value in VALUE.findall(whole):
        needs.setdefault(name, set()).update(VARIABLE.findall(value))
    shown = {n for n in VARIABLE.findall(VALUE.sub("", whole)) if n in needs}
    todo = list(shown | (used & needs.keys()))
    alive = set(todo)
    while todo:
        new = needs.get(todo.pop(), set()) - alive
        alive |= new
        todo += new
    return [VALUE.sub(lambda m: m[0] * (m[1] in alive), sheet) for sheet in sheets]


def keep_icons(font, codes):
    """The font with these characters only, as WOFF, in place of its files."""
    options = subset.Options(flavor="woff", desubroutinize=True, layout_features=[])
    small = TTFont(font)
    maker = subset.Subsetter(options)
    maker.populate(unicodes=codes)
    maker.subset(small)
    small.flavor = "woff"
    small.save(font.with_suffix(".woff"))
    font.with_suffix(".woff2").unlink(missing_ok=True)
    font.unlink()


def to_woff(sheet) -> str:
    """Point the icon fonts of a style sheet to the files that are left."""
    return re.sub(
        r"src:url\(([^)]*webfonts/[^)]*)\.woff2\)[^;}]*",
        r'src:url(\1.woff) format("woff")',
        sheet,
    )


def trim_sheets(static, used) -> list[str]:
    """Trim all style sheets but our own, whose variables count as used."""
    files = sorted(static.rglob("*.css"))
    ours = [f for f in files if (OWN / f.relative_to(static)).exists()]
    used = used.union(*(VARIABLE.findall(f.read_text()) for f in ours))
    theirs = [f for f in files if f not in ours]
    sheets = [to_woff(trim(f.read_text(), used)) for f in theirs]
    sheets = without_idle_variables(sheets, used)
    for file, sheet in zip(theirs, sheets):
        file.write_text(sheet)
    return sheets


def make_lean(app, error):
    if error or app.builder.format != "html":
        return
    static = Path(app.outdir) / "_static"
    for pattern in UNUSED:
        for path in static.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    markup.shorten_scripts(static)
    markup.shorten_pages(Path(app.outdir))
    sheets = trim_sheets(static, names_in_use(Path(app.outdir)))
    markup.shorten_sheets(static)
    codes = set(map(ord, ICON.findall("".join(sheets))))
    for font in static.glob("vendor/fontawesome/webfonts/*.ttf"):
        keep_icons(font, codes)


def setup(app):
    app.config.templates_path.insert(0, str(TEMPLATES))
    app.connect("build-finished", make_lean, priority=900)
    return {"version": "1", "parallel_read_safe": True}
