"""The folders of the project, named once, and how a file gets there whole."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "data"  # what the book ships
CACHE = DATA / "cache"  # image sets obtained here, never in git
BUILD = ROOT / "_build"  # everything that `make book` writes
RESULTS = BUILD / "results"  # one NAME.json for each executed chapter


def image_sets() -> Path:
    """Where packed image sets are looked for first: `$HELPERS_DATA`, else `CACHE`."""
    return Path(os.environ.get("HELPERS_DATA") or CACHE)


@contextmanager
def replacing(path: Path, size: int) -> Iterator[BinaryIO]:
    """A file of about `size` bytes to write, which then becomes `path`: all or nothing.

    A full disk, an error or an interrupt leaves `path` as it was, and nothing else.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with disk(path, size):
            with open(part, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def disk(path: Path, size: int) -> Iterator[None]:
    """Say how much room `path` needs if the disk is full while it is written."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise OSError(
            error.errno,
            f"The disk is full: {path.name} needs {size / 1e6:.1f} MB in {path.parent};"
            " free that much there, or make it a link to a larger disk, and repeat.",
        ) from error
