"""What a screen reader is told where the theme and docutils do not say it right.

The folds of the contents have a name, so that it is said what unfolds. An entry of the
bibliography is an item of its list: as "doc-biblioentry" it would not count as one.
"""

import re

FOLD = re.compile(
    r'(<a class="(?:current )?reference internal[^>]*>(?:<[^>]*>)*([^<]+)(?:</[^>]*>)*'
    r"</a>\s*<details[^>]*><summary)>"
)
ENTRY = ' role="doc-biblioentry"'


def named(contents) -> str:
    """The contents as the theme wrote them; the title before a fold is its name."""
    return FOLD.sub(r'\1 aria-label="Pages of: \2">', str(contents))


def correct(_app, _page, _template, context, _doctree):
    if write := context.get("generate_toctree_html"):
        context["generate_toctree_html"] = lambda *a, **k: named(write(*a, **k))
    if body := context.get("body"):
        context["body"] = body.replace(ENTRY, ' role="listitem"')


def setup(app):
    app.connect("html-page-context", correct, priority=900)
    return {"version": "1", "parallel_read_safe": True}
