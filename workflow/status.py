"""The page that says of every chapter how it was made and whether its results hold."""

import html
import json
import re
from pathlib import Path

import chapters
import check
from chapters import BUILD

HEAD = """# Chapters and checks

Every chapter of this book is a program that was executed to make its page.
This page says for each one how long that took, how much memory it needed, and whether
its results agree with the stored references.

"""


ABOUT = (
    "A value passes if |value - reference| is at most atol + rtol · |reference|. "
    "The command `make check` prints the same table."
)


def run_record(name) -> dict:
    return json.loads((BUILD / "executed" / f"{name}.json").read_text())


def verdict(rows) -> str:
    """`7 of 7 within tolerance`, and what was left out."""
    skipped = sum(row.verdict.startswith("skipped") for row in rows)
    good = sum(row.verdict.startswith("within") for row in rows)
    left_out = f", {skipped} not computed here" if skipped else ""
    return f"{good} of {len(rows) - skipped} within tolerance{left_out}"


def shown(value) -> str:
    return "–" if value is None else check.short(value)


def title(name) -> str:
    """`1 The forward process`, from the name of the file and its first heading."""
    text = chapters.source(name).read_text()
    return f"{int(name[:2])} {re.search(r'^# (.+)$', text, re.MULTILINE)[1]}"


def overview(part, rows) -> list[str]:
    """One line a chapter."""
    lines = []
    for file in part["files"]:
        if (name := Path(file).name) not in rows:
            continue
        run = run_record(name)
        lines.append(
            f"| {int(name[:2])} {{doc}}`{file}` | {verdict(rows[name])} "
            f"| {run['seconds']:.0f} s | {run['peak_mb']} MB "
            f"| {run['profile']} | {run['date']} |"
        )
    return lines


def cells(row) -> str:
    """One value of a chapter as a row of its table."""
    texts = shown(row.value), shown(row.reference), row.tolerance, row.verdict
    data = "".join(f"<td>{html.escape(text)}</td>" for text in texts)
    return f'<tr><th scope="row">{row.key}</th>{data}</tr>'


def details(name, rows) -> str:
    """Every value of one chapter with its reference.

    As HTML, because there are thousands of values in all: as Markdown they took more
    time than a chapter to build, and the page was four times as heavy.
    """
    heads = ("result", "value", "reference", "tolerance", "verdict")
    head = "".join(f'<th scope="col">{text}</th>' for text in heads)
    body = "\n".join(map(cells, rows))
    return (
        f"### {title(name)}\n\n```{{raw}} html\n"
        '<div class="pst-scrollable-table-container"><table class="table checks">'
        f"<thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>\n```\n"
    )


def machine(name) -> str:
    run = run_record(name)
    versions = ", ".join(f"{k} {v}" for k, v in run["versions"].items())
    return f"Executed on {run['machine']}, with {versions}.\n"


def page(profile) -> str:
    names = chapters.names()
    rows = {name: check.check(name, profile) for name in names}
    columns = ["chapter", "results", "time", "memory", "profile", "date"]
    head = f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}\n"
    lines = [row for part in chapters.toc_parts() for row in overview(part, rows)]
    about = f"\n## Number by number\n\n{ABOUT}\n\n"
    every = "\n".join(details(name, rows[name]) for name in names)
    return HEAD + head + "\n".join(lines) + f"\n\n{machine(names[0])}{about}{every}"
