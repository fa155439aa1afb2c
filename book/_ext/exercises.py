"""Worked solutions fold out on the page; notes for instructors stand in a box.

A solution is a run of cells with the tag `solution`, which begins with text and is
followed by text. The cells are marked while Sphinx reads a chapter, not in its file, so
that a downloaded notebook stays as it is.
"""

import json

FOLD = '<details class="solution"><summary>Worked solution</summary>\n\n'
NOTE = '<div class="instructor" role="note">\n\n'
OPENING = {"solution": FOLD, "instructor": NOTE}
CLOSING = {"solution": "\n</details>\n\n", "instructor": "\n</div>\n\n"}


def kind(cell) -> str:
    """`solution`, `instructor`, or nothing."""
    tags = cell["metadata"].get("tags", [])
    return next((k for k in OPENING if k in tags), "")


def mark(cells):
    """Open and close each run of special cells, at the start of texts."""
    before = ""
    for cell in cells:
        now = kind(cell)
        if now != before:
            marks = CLOSING.get(before, "") + OPENING.get(now, "")
            if cell["cell_type"] != "markdown":
                raise ValueError(f"text must stand here: {''.join(cell['source'])}")
            cell["source"] = marks + "".join(cell["source"])
        before = now


def mark_chapter(app, _docname, source):
    if source[0].startswith("{"):
        notebook = json.loads(source[0])
        mark(notebook["cells"])
        source[0] = json.dumps(notebook)


def setup(app):
    app.connect("source-read", mark_chapter)
    return {"version": "1", "parallel_read_safe": True}
