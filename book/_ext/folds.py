"""The folds of the contents have a name, so that a screen reader says what unfolds."""

import re

FOLD = re.compile(
    r'(<a class="reference internal[^>]*>(?:<[^>]*>)*([^<]+)(?:</[^>]*>)*</a>\s*'
    r"<details[^>]*><summary)>"
)


def named(contents) -> str:
    """The contents as the theme wrote them; the title before a fold is its name."""
    return FOLD.sub(r'\1 aria-label="Pages of: \2">', str(contents))


def name_folds(_app, _page, _template, context, _doctree):
    if write := context.get("generate_toctree_html"):
        context["generate_toctree_html"] = lambda *a, **k: named(write(*a, **k))


def setup(app):
    app.connect("html-page-context", name_folds, priority=900)
    return {"version": "1", "parallel_read_safe": True}
