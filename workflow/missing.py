"""Install what the library needs and this Python lacks: `python workflow/missing.py`.

For a machine that has most of it, such as Colab or Binder. What is there stays as it
is, in whatever version; what is missing comes from `requirements.lock`, by its hash.
"""

import json
import re
import subprocess
import sys
import tempfile
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet")


def present(name) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def locked(lock) -> dict[str, str]:
    """The entries of a lock that hold for this Python, with their hashes, by name."""
    plain = re.sub(r"^ *#.*\n", "", lock, flags=re.MULTILINE)
    found = {}
    for entry in re.split(r"\n(?=\S)", plain.strip()):
        wanted = Requirement(re.split(r"\\?\n|--hash", entry)[0].strip(" \\"))
        if wanted.marker is None or wanted.marker.evaluate():
            found[canonicalize_name(wanted.name)] = entry
    return found


def needed(project) -> list[str]:
    """The names of the packages that the library imports."""
    return [Requirement(line).name for line in project["project"]["dependencies"]]


def pinned(entry) -> str:
    """`name==version` of an entry, without its hashes and markers."""
    return re.match(r"[\w.-]+==[^\s;\\]+", entry)[0]


def with_dependencies(names, entries) -> list[str]:
    """What pip would install for these packages, if it may only add locked versions."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        absent = [pinned(e) for name, e in entries.items() if not present(name)]
        file.write("\n".join(absent))
        file.flush()
        command = [*PIP, "--dry-run", "--report", "-", "--constraint", file.name]
        done = subprocess.run([*command, *names], check=True, stdout=subprocess.PIPE)
    added = json.loads(done.stdout)["install"]
    return [canonicalize_name(package["metadata"]["name"]) for package in added]


def install(names, entries):
    """These packages and no others, each checked against its hash."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(entries[name] for name in names) + "\n")
        file.flush()
        command = [*PIP, "--no-deps", "--require-hashes", "--requirement", file.name]
        subprocess.run(command, check=True)


def main():
    entries = locked((ROOT / "requirements.lock").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    missing = [name for name in needed(project) if not present(name)]
    if missing:
        names = with_dependencies(missing, entries)
        install(names, entries)
        print("installed from the book's lock:", ", ".join(sorted(names)))


if __name__ == "__main__":
    main()
