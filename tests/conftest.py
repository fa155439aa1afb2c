"""What several test files share: the folders of the project and its own scripts."""

import os
import sys
from pathlib import Path

import pytest
from hypothesis import settings

# Two workers with two threads each would wait for each other. Before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# No deadlines: these machines are shared, and a slow minute is not a wrong answer.
settings.register_profile("book", deadline=None, max_examples=50)
settings.load_profile("book")

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "workflow"), str(ROOT / "book" / "_ext")]
pytest_plugins = ["browser"]  # its fixtures: base, browser, visit


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


def pytest_collection_modifyitems(items):
    """The longest files first, so that two workers end at about the same time."""
    longest = (
        *("site", "pipeline", "grade", "leaks", "survival", "reader", "access"),
        *("explorers", "slides", "notebooks", "claims_table", "field_explorer", "lab"),
    )
    order = {f"test_{name}.py": place for place, name in enumerate(longest)}
    items.sort(key=lambda item: order.get(item.path.name, len(longest)))
