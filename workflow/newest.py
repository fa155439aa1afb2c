"""Lock the newest version of every package: for the weekly canary, never to commit.

`python3 workflow/newest.py` loosens the pins of pyproject.toml and resolves
requirements.lock again. Two pins stay: uv, which only installs, and Jupyter Book below
version 2, since that one ignores `_config.yml`.
"""

import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
KEPT = {"uv": "uv=={version}", "jupyter-book": "jupyter-book<2"}
PIN = re.compile(r'"(?P<name>[\w.-]+)==(?P<version>[^"]+)"')


def loosened(project: str) -> str:
    """The text of pyproject.toml, each `NAME==VERSION` in it without its version."""

    def one(pin):
        return '"' + KEPT.get(pin["name"], pin["name"]).format(**pin.groupdict()) + '"'

    return PIN.sub(one, project)


def resolving(lock: str) -> list[str]:
    """The command that a lock says it was made with, for the newest versions."""
    made_with = re.search(r"^#\s+uv (pip compile .*)$", lock, re.MULTILINE)[1]
    return [sys.executable, "-m", "uv", *shlex.split(made_with), "--upgrade", "-q"]


def main():
    project, lock = ROOT / "pyproject.toml", ROOT / "requirements.lock"
    project.write_text(loosened(project.read_text()))
    subprocess.run(resolving(lock.read_text()), cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
