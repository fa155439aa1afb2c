"""A chapter saved from JupyterLab changes only where the reader changed it.

Jupytext writes a whole chapter anew: it drops the header's `book:`, breaks captions
elsewhere, and so would change lines that nobody touched. Here the text before is
written by jupytext too, and only what differs between these two goes into the file.
"""

import os
import re

import jupytext
from merge3 import Merge3

HEADER = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)


def by_jupytext(text) -> str:
    """What jupytext makes of a chapter that was opened and saved unchanged."""
    return jupytext.writes(jupytext.reads(text, fmt="md:myst"), fmt="md:myst")


def merged(old, base, new) -> str:
    """The changes from `base` to `new`, made in `old`; where in doubt, as in `new`."""
    lines = []
    merge = Merge3(*(t.splitlines(keepends=True) for t in (base, old, new)))
    for kind, *groups in merge.merge_groups():
        lines += groups[2] if kind == "conflict" else groups[0]
    return "".join(lines)


def kept(old, new) -> str:
    """The text to write: `new`, from jupytext, with the header and habits of `old`.

    A merge that would not read back as the reader's notebook is given up.
    """
    new, base = HEADER.sub("", new), HEADER.sub("", by_jupytext(old))
    header = HEADER.match(old)[0]
    text = merged(HEADER.sub("", old), base, new)
    return header + (text if same_cells(header + text, header + new) else new)


def same_cells(one, other) -> bool:
    cells = [jupytext.reads(t, fmt="md:myst").cells for t in (one, other)]
    plain = [[(c.cell_type, c.source, c.metadata) for c in some] for some in cells]
    return plain[0] == plain[1]


def keep_text(model, path, contents_manager):
    """What JupyterLab calls before it writes a file (its `pre_save_hook`)."""
    file = os.path.join(contents_manager.root_dir, path.strip("/"))
    if not path.endswith(".md") or model["type"] != "file" or not os.path.exists(file):
        return
    with open(file) as stored:
        old = stored.read()
    header = HEADER.match(model["content"])
    if HEADER.match(old) and header and "jupytext_version" in header[0]:
        model["content"] = kept(old, model["content"])
