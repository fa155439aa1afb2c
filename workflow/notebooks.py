"""Write the folder of the branch that Colab and Binder open: `notebooks.py TARGET`.

It holds the executed chapters as notebooks, in the reader's edition, each with a first
cell that says where it comes from and brings library and data along, and what Binder
needs. It is generated from `_build/woven`, which `make book` makes, and never committed
to the book itself.
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

import chapters
import editions
import nbformat
import status
import yaml
from chapters import BUILD, ROOT

FOLDER = "notebooks"  # as in the book, so that a page and its notebook share a path
SET_UP = """\
# {what}
# Executed on {date} with profile {profile}, from the book at commit {short}.
# In the book's own environment this cell does nothing. Elsewhere, as on Colab, it
# fetches that commit and installs what is missing here, as the book has locked it.
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = "{repository}"
COMMIT = "{commit}"
if importlib.util.find_spec("helpers") is None:
    folder = Path.home() / f"locality-{{COMMIT[:8]}}"
    git = ["git", "-C", str(folder)]
    if not (folder / "src").exists():
        folder.mkdir(exist_ok=True)
        subprocess.run([*git, "init", "--quiet"], check=True)
        fetch = [*git, "fetch", "--quiet", "--depth", "1", REPOSITORY, COMMIT]
        subprocess.run(fetch, check=True)
        subprocess.run([*git, "checkout", "--quiet", "FETCH_HEAD"], check=True)
    subprocess.run([sys.executable, str(folder / "workflow/missing.py")], check=True)
    sys.path.insert(0, str(folder / "src"))
os.environ.setdefault("HELPERS_OFFLINE", "1")  # the book ships what a chapter needs
"""
README = """\
# Where Locality Comes From: the chapters as notebooks

Generated from commit `{commit}` of {repository}. Do not edit: the next publication
replaces everything here.

The first cell of a notebook fetches the book's library and data at that commit and
installs what is missing. Text and figures are those of the book's pages; references
between chapters work only there.

| chapter | time | memory |
|---|---|---|
{rows}

Time and memory were measured when the chapters were executed, on {machine}. A server of
mybinder.org has 1 GB of memory for certain and 2 GB at most.
"""


def repository() -> str:
    """The public address of the book, from the one place that names it."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    if url := (config.get("repository") or {}).get("url"):
        return url.strip("/")
    raise chapters.BadProject(
        "The notebooks fetch the book from its public address, and repository.url in "
        "_config.yml is empty. Write the address there."
    )


def commit() -> str:
    """The commit of this folder; the notebooks can only fetch what is committed."""
    git = ["git", "-C", str(ROOT)]
    changed = [*git, "status", "--porcelain", "--untracked-files=no"]
    if subprocess.run(changed, check=True, capture_output=True).stdout:
        raise chapters.BadProject("There are changes without a commit. Commit first.")
    head = [*git, "rev-parse", "HEAD"]
    done = subprocess.run(head, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def set_up(what, executed, commit) -> str:
    """The code that makes a machine ready for a chapter of this commit."""
    return SET_UP.format(
        what=what,
        date=executed["date"],
        profile=executed["profile"],
        repository=repository(),
        commit=commit,
        short=commit[:8],
    )


def notebook(name, commit):
    """The executed chapter with the set-up cell in front."""
    path = BUILD / "woven" / f"{name}.ipynb"
    if not path.exists():
        raise chapters.BadProject(f"{name} is not executed: run `make book` first.")
    woven = editions.strip(nbformat.read(path, 4), "reader")
    what = f'Chapter {status.title(name)}, of "Where Locality Comes From".'
    cell = nbformat.v4.new_code_cell(set_up(what, woven.metadata["executed"], commit))
    cell["id"] = "set-up"  # the same in every publication
    woven.cells.insert(0, cell)
    nbformat.validate(woven)
    return woven


def require_no_folder_of_ours(name, text):
    """A notebook that names a folder of this machine works nowhere else."""
    for folder in (ROOT, Path.home(), Path(sys.prefix)):
        if f"{folder}/" in text:
            raise chapters.BadProject(f"{name}: an output names the folder {folder}.")


def index(commit) -> str:
    """The README of the folder: a row for each chapter."""
    rows = []
    for name in chapters.names():
        run, link = status.run_record(name), f"{FOLDER}/{name}.ipynb"
        title = status.title(name)
        rows.append(
            f"| [{title}]({link}) | {run['seconds']:.0f} s | {run['peak_mb']} MB |"
        )
    machine = status.run_record(chapters.names()[0])["machine"]
    return README.format(
        commit=commit, repository=repository(), rows="\n".join(rows), machine=machine
    )


def environment() -> dict:
    """For Binder: Python as in the book's list for conda, and torch without CUDA.

    The locked torch brings CUDA along, which is more than Binder can hold.
    """
    ours = yaml.safe_load((ROOT / "environment.yml").read_text())
    python = next(p for p in ours["dependencies"] if str(p).startswith("python="))
    packages = [python, "pip", "pytorch-cpu", "torchvision"]
    return {"channels": ours["channels"], "dependencies": packages}


def write_binder(folder, commit):
    """What Binder installs, and the set-up of the notebooks run once beforehand."""
    folder.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(environment(), sort_keys=False)
    (folder / "environment.yml").write_text(text)
    code = set_up("Run by Binder.", status.run_record(chapters.names()[0]), commit)
    script = folder / "postBuild"
    script.write_text(f"#!/usr/bin/env python3\n{code}")
    script.chmod(0o755)


def main(target):
    made_from = commit()
    texts = {n: nbformat.writes(notebook(n, made_from)) for n in chapters.names()}
    for name, text in texts.items():
        require_no_folder_of_ours(name, text)
    shutil.rmtree(target / FOLDER, ignore_errors=True)
    (target / FOLDER).mkdir(parents=True)
    for name, text in texts.items():
        (target / FOLDER / f"{name}.ipynb").write_text(text + "\n")
    write_binder(target / "binder", made_from)
    (target / "README.md").write_text(index(made_from))
    print(f"{len(texts)} notebooks of commit {made_from[:8]}: {target}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", type=Path)
    try:
        main(parser.parse_args().target)
    except chapters.BadProject as error:
        sys.exit(str(error))
