"""What submissions are graded with: an autograder, and the library without checks."""

import ast
import shutil
import tempfile
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import sandbox
from chapters import HELPERS, ROOT

WORKFLOW = Path(__file__).parent


@dataclass(frozen=True)
class Desk:
    """The bundle of a chapter in a folder of its own, and what may be used."""

    folder: Path
    points: dict  # of each exercise
    limits: sandbox.Limits
    safe: bool = True

    @property
    def bundle(self) -> Path:
        return self.folder / "autograder.zip"


def worth(bundle) -> dict[str, int]:
    """The exercises of a bundle with their points, in order."""
    found = {}
    with zipfile.ZipFile(bundle) as archive:
        for name in archive.namelist():
            if name.startswith("tests/"):
                constants = dict(settings(archive.read(name).decode()))
                found[constants["name"]] = constants["points"]
    return dict(sorted(found.items(), key=lambda item: number(item[0])))


def settings(source):
    """`name = "2.1"` and the like in a test file."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            yield node.targets[0].id, node.value.value


def number(exercise) -> list[int]:
    return [int(part) for part in exercise.split(".")]


@contextmanager
def set_up(bundle, limits, safe):
    """A folder with the bundle and the library, in which the checks are the judge's."""
    with tempfile.TemporaryDirectory(prefix="desk-") as folder:
        folder = Path(folder)
        shutil.copy(bundle, folder / "autograder.zip")
        library = folder / "src" / "helpers"
        without = shutil.ignore_patterns("checks", "__pycache__")
        shutil.copytree(HELPERS, library, ignore=without)
        (library / "checks").mkdir()
        shutil.copy(WORKFLOW / "asked.py", library / "checks" / "__init__.py")
        for name in ("wire.py", "parcels.py"):
            shutil.copy(WORKFLOW / name, folder / "src")
        (folder / "data").symlink_to(ROOT / "data")
        yield Desk(folder, worth(bundle), limits, safe)
