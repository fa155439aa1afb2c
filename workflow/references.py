"""Stored references: what each result of a chapter must be, and why that changed.

`data/results/reference/PROFILE.json` holds the value and the tolerance of each result,
chapter by chapter; under `accepted` the history with its reasons, and under `sealed` a
digest of each chapter. A file edited by hand no longer fits its seals, and nothing is
built with it: a reference changes by `check.py --accept "why"`, or not at all.
"""

import hashlib
import json
import os
from datetime import date
from pathlib import Path

import chapters
from chapters import ROOT

RTOL = 1e-6
LOG, SEALS = "accepted", "sealed"  # the keys that are no chapters


def place(profile, root=None) -> Path:
    return (root or ROOT) / "data" / "results" / "reference" / f"{profile}.json"


def read(profile, root=None) -> dict:
    path = place(profile, root)
    return json.loads(path.read_text()) if path.exists() else {}


def seals(known) -> dict[str, str]:
    """A digest of what is stored of each chapter."""
    texts = {k: json.dumps(known[k], sort_keys=True) for k in set(known) - {LOG, SEALS}}
    return {k: hashlib.sha256(text.encode()).hexdigest() for k, text in texts.items()}


def require_seals(profile, root=None):
    """BadProject, with the chapters, if the file was changed by another way."""
    known = read(profile, root)
    now, then = seals(known), known.get(SEALS, {})
    if changed := sorted(k for k in now | then if now.get(k) != then.get(k)):
        raise chapters.BadProject(
            f"data/results/reference/{profile}.json was edited by hand, for "
            f"{', '.join(changed)}. Take it back with `git checkout -- data/results`, "
            'or accept new results with `python workflow/check.py --accept "why"`.'
        )


def accepted(old, found) -> dict:
    """New references of a chapter; tolerances and skipped keys stay."""
    kept = {k: old[k] for k in found.get("skipped", {}) if k in old}
    new = {
        key: {"rtol": RTOL, **old.get(key, {}), "value": value}
        for key, value in found.get("values", {}).items()
    }
    return dict(sorted((kept | new).items()))


def accept(profile, why, found, tolerances=()):
    """Take the results `found`, by chapter, and tolerances `NAME:KEY=RTOL`."""
    known = read(profile)
    for name, results in found.items():
        known[name] = accepted(known.get(name, {}), results)
    for what in tolerances:
        set_tolerance(known, what)
    write(profile, known, why)


def set_tolerance(known, what):
    """One of `NAME:KEY=RTOL`; BadProject if there is no such reference."""
    where, _, rtol = what.rpartition("=")
    name, _, key = where.partition(":")
    if key not in known.get(name, {}):
        raise chapters.BadProject(f"There is no reference {where!r}: {what!r}")
    known[name][key]["rtol"] = float(rtol)


def write(profile, known, why):
    """Seal and replace the file, with one more line of its history."""
    if not why.strip():
        raise chapters.BadProject("A reference changes only for a reason: say it.")
    history = [*known.pop(LOG, []), {"date": f"{date.today()}", "why": why}]
    known.pop(SEALS, None)
    whole = dict(sorted(known.items())) | {SEALS: seals(known), LOG: history}
    path = place(profile)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(whole, indent=1, sort_keys=False) + "\n")
    os.replace(part, path)
