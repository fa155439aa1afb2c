"""Three editions from one source: reader, student, instructor.

Cells with the tag `solution` hold a worked solution, those with the tag `instructor` a
note for who teaches. What an edition must not have is taken out of the source before
pages are built from it, so that it is in none of the files that a site publishes.
"""

from types import MappingProxyType

import chapters

LEFT_OUT = MappingProxyType(
    {
        "reader": {"instructor"},
        "student": {"solution", "instructor"},
        "instructor": set(),
    }
)


def tags(cell) -> set[str]:
    return set(cell.metadata.get("tags", []))


def strip(notebook, edition):
    """The notebook without the cells that this edition leaves out."""
    if edition not in LEFT_OUT:
        known = ", ".join(LEFT_OUT)
        raise chapters.BadProject(f"There is no edition {edition!r}, only {known}.")
    kept = [c for c in notebook.cells if not tags(c) & LEFT_OUT[edition]]
    return type(notebook)(notebook | {"cells": kept})
