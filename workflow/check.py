"""Compare every result of the chapters with its stored reference (`make check`).

Results are in `_build/results/NAME.json`, references and tolerances in
`data/results/reference/PROFILE.json`. A value passes if
|value - reference| <= atol + rtol * |reference|; text must be equal; NaN never passes.
`--accept "why"` makes the present results the references and notes the reason, with
`--only NAME ...` those of these chapters; `--tolerance NAME:KEY=RTOL` sets a tolerance.
"""

import argparse
import json
import math
import sys
from typing import NamedTuple

import chapters
import references
from chapters import BUILD
from references import RTOL


class Row(NamedTuple):
    """One line of the table."""

    chapter: str
    key: str
    value: object
    reference: object
    tolerance: str
    verdict: str

    @property
    def bad(self):
        return not self.verdict.startswith(("within", "skipped"))


def results(name, build=BUILD) -> dict:
    path = build / "results" / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else {}


def close(value, reference, rtol=RTOL, atol=0.0) -> bool:
    """Equal within tolerance, for numbers, text, and lists of either."""
    if isinstance(reference, list) or isinstance(value, list):
        same = isinstance(value, list) and isinstance(reference, list)
        return (
            same
            and len(value) == len(reference)
            and all(close(v, r, rtol, atol) for v, r in zip(value, reference))
        )
    if not (number(value) and number(reference)):
        return type(value) is type(reference) and value == reference
    if not (math.isfinite(value) and math.isfinite(reference)):
        return False
    return abs(value - reference) <= atol + rtol * abs(reference)


def number(value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def compare(name, found, known) -> list[Row]:
    """Rows of one chapter: each value, each skipped one, each one that is missing."""
    values, skipped = found.get("values", {}), found.get("skipped", {})
    rows = []
    for key in dict.fromkeys([*values, *skipped, *known]):
        ref = known.get(key, {})
        limits = {k: ref[k] for k in ("rtol", "atol") if k in ref}
        if key in skipped:
            verdict = f"skipped: {skipped[key]}"
        elif key not in values:
            verdict = "MISSING from the results"
        elif key not in known:
            verdict = "NO REFERENCE"
        else:
            good = close(values[key], ref["value"], **limits)
            verdict = "within tolerance" if good else "OUT OF TOLERANCE"
        tolerance = ", ".join(f"{k} {v:g}" for k, v in limits.items()) or f"rtol {RTOL}"
        rows.append(
            Row(name, key, values.get(key), ref.get("value"), tolerance, verdict)
        )
    return rows


def check(name, profile) -> list[Row]:
    found = results(name)
    if not found:
        return [Row(name, "-", None, None, "", "NOT EXECUTED: run `make book`")]
    if found.get("profile") != profile:
        other = found.get("profile")
        return [Row(name, "-", None, None, "", f"NOT EXECUTED here, but in {other}")]
    return compare(name, found, references.read(profile).get(name, {}))


def short(value, width=24) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else json.dumps(value)
    return text if len(text) <= width else text[: width - 1] + "…"


def table(rows) -> str:
    """The comparison as aligned text."""
    head = ("chapter", "key", "value", "reference", "tolerance", "verdict")
    cells = [head] + [
        (r.chapter, r.key, short(r.value), short(r.reference), r.tolerance, r.verdict)
        for r in rows
    ]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(w) for cell, w in zip(row, widths)).rstrip()
        for row in cells
    )


def accept(args):
    """New references: of some chapters, or of all if only tolerances are not meant."""
    names = args.only or ([] if args.tolerance else chapters.names())
    found = {name: results(name) for name in names}
    if lacking := [name for name in names if not found[name]]:
        raise chapters.BadProject(f"Not executed: {', '.join(lacking)}. `make book`")
    references.accept(args.profile, args.accept, found, args.tolerance)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", default="laptop")
    parser.add_argument("--accept", metavar="WHY")
    parser.add_argument("--only", nargs="+", metavar="NAME", default=[])
    parser.add_argument("--tolerance", nargs="+", metavar="NAME:KEY=RTOL", default=[])
    args = parser.parse_args()
    if (args.only or args.tolerance) and args.accept is None:
        parser.error("--only and --tolerance need --accept WHY")
    return args


def main():
    args = arguments()
    try:
        if args.accept is None:
            references.require_seals(args.profile)
        else:
            accept(args)
    except chapters.BadProject as error:
        sys.exit(str(error))
    rows = [row for name in chapters.names() for row in check(name, args.profile)]
    bad = [row for row in rows if row.bad]
    print(table(rows))
    if bad:
        sys.exit(f"{len(bad)} of {len(rows)} results are not what they should be.")
    print(f"All {len(rows)} results agree with their references.")


if __name__ == "__main__":
    main()
