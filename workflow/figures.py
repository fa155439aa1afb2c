"""The figures of the chapters as files, for slides and for the release.

`python workflow/figures.py [FOLDER]` writes one SVG for each figure of the executed
chapters, named as the book names it. On the pages two colours of the figure style
stand for text and paper of the theme; here they are black and white.
"""

import re
import shutil
import sys
from pathlib import Path

import chapters
import nbformat

TARGET = chapters.BUILD / "figures"
COLOURS = {"#000001": "#000000", "#fffffe": "#ffffff"}


def drawn(notebook) -> dict[str, str]:
    """The figures of an executed chapter by name."""
    found = {}
    for cell in notebook.cells:
        name = cell.metadata.get("mystnb", {}).get("figure", {}).get("name")
        for output in cell.get("outputs", []):
            if name and (svg := output.get("data", {}).get("image/svg+xml")):
                found[name] = svg
    return found


def coloured(svg: str) -> str:
    for stand_in, colour in COLOURS.items():
        svg = re.sub(stand_in, colour, svg, flags=re.IGNORECASE)
    return svg


def write(target: Path = TARGET) -> int:
    """All figures of the book into `target`, nothing else; how many there are."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for name in chapters.names():
        path = chapters.BUILD / "executed" / f"{name}.ipynb"
        for figure, svg in drawn(nbformat.read(path, 4)).items():
            (target / f"{figure}.svg").write_text(coloured(svg))
    return len(list(target.iterdir()))


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET
    print(f"{write(folder)} figures in {folder}")
