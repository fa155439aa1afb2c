"""Put the outputs of an executed chapter into its text, and results into its prose.

`{{ key }}` or `{{ key:.3g }}` in the text, in captions and in alternative texts (with a
blank after the braces, unlike LaTeX's) is replaced by that value of the chapter's
results; `{{ key[2] }}` takes one item of a list, `{{ key[2][0] }}` one of a table. So
no number is typed by hand.
"""

import json
import os
import re
import sys

import chapters
import nbformat
from chapters import BUILD

FIELD = re.compile(r"\{\{\s+([A-Za-z_]\w*)((?:\[\d+\])*)(?::([^{}\s]+))?\s*\}\}")
LEFT_OVER = re.compile(r"\{\{\s.{0,40}")
POWER = re.compile(r"^(-?[\d.]+)e([+-]\d+)$")
OWN_FOLDER = re.compile(r"(?<=')/[^']*/(?=_build/|data/)")
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def formatted(value, spec) -> str:
    """A value as the reader sees it: -1.2e-05 becomes −1.2 × 10⁻⁵."""
    text = format(value, spec or ("" if isinstance(value, str | int) else ".3g"))
    if match := POWER.match(text):
        text = f"{match[1]} × 10{str(int(match[2])).translate(RAISED)}"
    return text if isinstance(value, str) else text.replace("-", "−")


def fill(text, results, where) -> str:
    """Replace every field of a text; an unknown key stops the build."""

    def value(match):
        key, indices, spec = match.groups()
        if key in results.get("skipped", {}):
            return f"(not computed in this build: {results['skipped'][key]})"
        if key not in results["values"]:
            raise chapters.BadProject(
                f"{where} asks for {{{{ {key} }}}}, but the chapter's results have no "
                f"such key. They have: {', '.join(results['values']) or 'none'}."
            )
        found = results["values"][key]
        for index in re.findall(r"\d+", indices):
            found = found[int(index)]
        return formatted(found, spec)

    filled = FIELD.sub(value, text)
    if match := LEFT_OVER.search(filled):
        raise chapters.BadProject(f"{where} has a field that is none: {match[0]}")
    return filled


def fill_tree(node, results, where):
    """The same for every string inside the metadata of a cell."""
    if isinstance(node, str):
        return fill(node, results, where)
    if isinstance(node, dict):
        return {k: fill_tree(v, results, where) for k, v in node.items()}
    return node


def weave(name, executed, results):
    """The chapter's text of now with the outputs of its last execution."""
    notebook = chapters.read(name)
    ran = iter(own_cells(executed))
    for number, cell in enumerate(notebook.cells, start=1):
        where = f"notebooks/{name}.md, cell {number} of {len(notebook.cells)},"
        if cell.cell_type == "markdown":
            cell.source = fill(cell.source, results, where)
        if cell.cell_type == "code":
            done = next(ran)
            cell.outputs = [without_folder(output) for output in done.outputs]
            cell.execution_count = done.execution_count
            if "mystnb" in cell.metadata:
                mystnb = fill_tree(cell.metadata["mystnb"], results, where)
                cell.metadata["mystnb"] = mystnb
    return notebook


def without_folder(output):
    """A path begins in the book's folder, wherever that is on this machine."""
    if "text/plain" in (data := output.get("data", {})):
        data["text/plain"] = OWN_FOLDER.sub("", data["text/plain"])
    return output


def own_cells(notebook):
    """The code cells of the chapter, without the one that papermill adds."""
    cells = [c for c in notebook.cells if c.cell_type == "code"]
    return [c for c in cells if "injected-parameters" not in c.metadata.get("tags", [])]


def main(name):
    executed = nbformat.read(BUILD / "executed" / f"{name}.ipynb", 4)
    results = json.loads((BUILD / "results" / f"{name}.json").read_text())
    run = json.loads((BUILD / "executed" / f"{name}.json").read_text())
    woven = weave(name, executed, results)
    keep = ("profile", "date", "seconds", "peak_mb", "versions")
    woven.metadata["executed"] = {key: run[key] for key in keep}
    target = BUILD / "woven" / f"{name}.ipynb"
    target.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(woven, target.with_suffix(".part"))
    os.replace(target.with_suffix(".part"), target)


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except chapters.BadProject as error:
        report = BUILD / "reports" / f"{sys.argv[1]}.txt"
        report.parent.mkdir(parents=True, exist_ok=True)
        report.write_text(f"{error}\n")
        sys.exit(1)
