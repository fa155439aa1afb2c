"""Pages load only what they use: of the style sheets, of the icons, of the scripts.

When all pages are written, a rule of a style sheet goes if it asks for a class that no
page and no script names, and the icon fonts keep the icons that are left. It is the
theme's sheets that shrink, from about half a megabyte; those of the book stay whole.
"""

import itertools
import re
import shutil
from pathlib import Path

import tinycss2
from fontTools import subset
from fontTools.ttLib import TTFont

TEMPLATES = Path(__file__).with_name("templates")
CLASSES = re.compile(r'\bclass="([^"]*)"')
WORD = re.compile(r"[A-Za-z_][\w-]*")
ICON = re.compile("[\ue000-\uf8ff]")  # icons are characters for private use
CODE = re.compile(r'<div class="highlight"><pre>.*?</pre>', re.DOTALL)
NESTED = ("media", "supports", "layer")
OWN = Path(__file__).parents[1] / "_static"  # what the book wrote itself
UNUSED = (
    "scripts/fontawesome.js*",
    "scripts/bootstrap.js*",
    "locales",
    "vendor/fontawesome/*.txt",
)


def names_in_use(site) -> set[str]:
    """Every class of a page and every word of a script, which might set a class."""
    used = set()
    for page in site.rglob("*.html"):
        text = page.read_text()
        used.update(*map(str.split, CLASSES.findall(text)))
        used.update(WORD.findall(" ".join(re.findall(r"<script>.*?</script>", text))))
    for pattern in ("*.js", "*.mjs"):
        for script in (site / "_static").rglob(pattern):
            if "mathjax" not in script.parts:
                used.update(WORD.findall(script.read_text()))
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
    """Classes that an element must have; not those inside :not(...) or :is(...)."""
    for before, token in itertools.pairwise(selector):
        if before == "." and token.type == "ident":
            yield token.value


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


def plain_tokens(sheet) -> set[str]:
    """Kinds of words in code that have the colour of all code, in each theme."""
    base = dict(re.findall(r"(html\S+) \.highlight\s*{[^}]*color: (#\w+)\s*}", sheet))
    looks = {}
    for theme, kind, look in re.findall(
        r"(html\S+) \.highlight \.(\w+)\s*{([^}]*)}", sheet
    ):
        looks.setdefault(kind, set()).add(look.strip() == f"color: {base.get(theme)}")
    return {kind for kind, plain in looks.items() if plain == {True}}


def without_plain_tokens(page, plain) -> str:
    """The page without the marks around words of code that change nothing."""
    kinds = "|".join(sorted(plain))
    mark = re.compile(rf'<span class="(?:{kinds})">([^<]*)</span>')
    return CODE.sub(lambda block: mark.sub(r"\1", block[0]), page)


def unmark_code(site):
    sheet = (site / "_static" / "pygments.css").read_text()
    if plain := plain_tokens(sheet):
        for page in site.rglob("*.html"):
            page.write_text(without_plain_tokens(page.read_text(), plain))


def make_lean(app, error):
    if error or app.builder.format != "html":
        return
    static = Path(app.outdir) / "_static"
    for pattern in UNUSED:
        for path in static.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    unmark_code(Path(app.outdir))
    used, codes = names_in_use(Path(app.outdir)), set()
    for sheet in static.rglob("*.css"):
        if not (OWN / sheet.relative_to(static)).exists():
            text = to_woff(trim(sheet.read_text(), used))
            codes |= set(map(ord, ICON.findall(text)))
            sheet.write_text(text)
    for font in static.glob("vendor/fontawesome/webfonts/*.ttf"):
        keep_icons(font, codes)


def setup(app):
    app.config.templates_path.insert(0, str(TEMPLATES))
    app.connect("build-finished", make_lean, priority=900)
    return {"version": "1", "parallel_read_safe": True}
