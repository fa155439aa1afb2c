"""The site needs nothing from outside: MathJax comes along, remote scripts stay away.

MathJax is copied into the site after it is built, and not kept in `_static` of the
sources, because Jupyter Book would load every script found there on every page.
"""

import importlib.util
import re
from pathlib import Path

from sphinx.errors import ExtensionError
from sphinx.util.fileutil import copy_asset

# The parts of MathJax that a page loads (half a megabyte less than its ready-made
# bundle, which adds a menu and makes every formula a stop of the Tab key), and the
# fonts, which these load on demand. Screen readers are given each formula as MathML.
PARTS = ("core", "input/tex-base", "[tex]/ams", "output/chtml", "a11y/assistive-mml")
PACKAGES = {"[+]": ["ams"]}  # with these, any macro that is not known is an error
NEEDED = (
    "startup.js",
    *(f"{part.replace('[tex]', 'input/tex/extensions')}.js" for part in PARTS),
    "output/chtml/fonts",
)
REMOTE = ("http:", "https:", "//")
# Its script belongs to a launch button that this book does not have.
UNUSED = ("sphinx-thebe.", "THEBE_JS_URL")
# A script that serves one kind of thing comes only to pages that have it.
TOGGLE = re.compile(r'class="[^"]*(?:toggle|dropdown)')
ONLY_FOR = {
    "design-tabs": re.compile(r'class="sd-tab'),
    "togglebutton": TOGGLE,
    "toggleHint": TOGGLE,
    "toggleOpenOnPrint": TOGGLE,
    "copybutton": re.compile("<pre"),
    "clipboard": re.compile("<pre"),
    "copybutton.css": re.compile("<pre"),
    "mystnb.": re.compile('class="cell'),
    "sphinx-design.": re.compile(r'class="[^"]*\bsd-'),
    "course.css": re.compile('class="[^"]*(?:quiz|plan)'),
    "claims.css": re.compile("claims"),
    "explorer.css": re.compile("explorer"),
}


def mathjax_folder() -> Path:
    """Where the package sphinx-mathjax-offline keeps MathJax."""
    spec = importlib.util.find_spec("sphinx-mathjax-offline")
    if spec is None:
        raise ExtensionError("sphinx-mathjax-offline is missing: run `make book`.")
    return Path(spec.origin).parent / "static" / "mathjax"


def copy_mathjax(app, error):
    if error or app.builder.format != "html":
        return
    for name in NEEDED:
        target = Path(app.outdir) / "_static" / "mathjax" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        source = mathjax_folder() / name
        copy_asset(str(source), str(target if source.is_dir() else target.parent))
    remove_unused(Path(app.outdir) / "_static")


def choose_parts(_app, config):
    config.mathjax3_config["loader"] = {"load": list(PARTS)}
    config.mathjax3_config["tex"] = {"packages": PACKAGES}


def remove_unused(static):
    """Source maps and the script that no page loads: 3 MB that nobody reads."""
    for path in [*static.rglob("*.map"), *static.glob("sphinx-thebe.*")]:
        path.unlink()


def is_useful(asset, body) -> bool:
    """Whether a script or style comes from the site and has something to do."""
    name = str(getattr(asset, "filename", asset) or "")
    text = name + str(getattr(asset, "attributes", {}).get("body") or "")
    idle = any(
        mark in text and not sign.search(body) for mark, sign in ONLY_FOR.items()
    )
    return (
        not name.startswith(REMOTE) and not any(u in text for u in UNUSED) and not idle
    )


def keep_useful(_app, _page, _template, context, _doctree):
    body = context.get("body") or ""
    for kind in ("script_files", "css_files"):
        if kind in context:
            context[kind] = [a for a in context[kind] if is_useful(a, body)]


def setup(app):
    app.config.mathjax_path = "mathjax/startup.js"
    app.connect("config-inited", choose_parts)
    app.connect("html-page-context", keep_useful, priority=999)
    app.connect("build-finished", copy_mathjax)
    return {"version": "1", "parallel_read_safe": True}
