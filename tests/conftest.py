"""What several test files share: the folders of the project and its own scripts."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "workflow"), str(ROOT / "book" / "_ext")]


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT
