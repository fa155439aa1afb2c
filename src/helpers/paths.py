"""The folders of the project, named once."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "data"  # what the book ships
CACHE = DATA / "cache"  # image sets obtained here, never in git
BUILD = ROOT / "_build"  # everything that `make book` writes
RESULTS = BUILD / "results"  # one NAME.json for each executed chapter


def image_sets() -> Path:
    """Where packed image sets are looked for first: `$HELPERS_DATA`, else `CACHE`."""
    return Path(os.environ.get("HELPERS_DATA") or CACHE)
