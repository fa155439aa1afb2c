"""Every figure of a chapter says where it comes from.

A figure made from artifacts has a line of its own below it, written by the chapter. All
others were drawn while the chapter was executed, and get a line that says when.
"""

import json

from docutils import nodes

MARK = 'class="provenance"'


def cell_of(figure):
    """The code cell that drew a figure; None for a figure of the text."""
    node = figure
    while node is not None and node.get("nb_element") != "cell_code":
        node = node.parent
    return node


def is_provenance(node) -> bool:
    """Whether a node is a code cell that prints a line of provenance."""
    if not isinstance(node, nodes.Element) or node.get("nb_element") != "cell_code":
        return False
    return any(MARK in raw.astext() for raw in node.findall(nodes.raw))


def has_line(cell) -> bool:
    """Whether a line of provenance follows the cell at once."""
    after = cell.parent.children[cell.parent.index(cell) + 1 :]
    return bool(after) and is_provenance(after[0])


def line(cell, run) -> str:
    """`Drawn by cell [7] of ...`, from what papermill noted about the execution."""
    return (
        f'<p class="provenance">Drawn by cell [{cell["exec_count"]}] of this page\'s '
        f"notebook, executed on {run['date']} in the profile {run['profile']}; "
        f"{run['seconds']:.0f} s for the whole chapter.</p>"
    )


def add_lines(app, doctree, docname):
    run = app.env.metadata[docname].get("executed")
    if app.builder.format != "html" or not run:
        return
    run = json.loads(run) if isinstance(run, str) else run
    for figure in list(doctree.findall(nodes.figure)):
        cell = cell_of(figure)
        if cell is not None and not has_line(cell):
            place = figure.parent.index(figure) + 1
            figure.parent.insert(place, nodes.raw("", line(cell, run), format="html"))


def setup(app):
    app.connect("doctree-resolved", add_lines)
    return {"version": "1", "parallel_read_safe": True}
