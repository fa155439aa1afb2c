"""Build the site from the woven chapters and put it in place, whole or not at all.

The sources are staged in `_build/stage`, Jupyter Book writes into a new folder under
`_build/sites`, the result is verified, and only then `_build/html`, a symbolic link,
is turned to it.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import chapters
import status
from chapters import BUILD, ROOT

STAGE, SITES, LIVE = BUILD / "stage", BUILD / "sites", BUILD / "html"
NOT_SOURCES = shutil.ignore_patterns("__pycache__", "_ext", "_toc.yml")
KEPT = 2  # the live site and the one before it


def stage(profile):
    """All sources of the site in one folder: pages, chapters, moments, status page."""
    shutil.rmtree(STAGE, ignore_errors=True)
    shutil.copytree(ROOT / "book", STAGE, ignore=NOT_SOURCES)
    (STAGE / "notebooks").mkdir(exist_ok=True)
    for name in chapters.names():
        shutil.copy(BUILD / "woven" / f"{name}.ipynb", STAGE / "notebooks")
    moments = STAGE / "_static" / "moments"  # read by an explorer
    moments.mkdir(parents=True)
    for file in (ROOT / "data" / "moments").glob("*.safetensors"):
        shutil.copy(file, moments)
    (STAGE / "chapters.md").write_text(status.page(profile))


def build(target):
    """Run Jupyter Book into `target`; a warning is an error."""
    # The console script is not used: a moved environment would break it.
    run = "from jupyter_book.cli.main import main; main()"
    command = [
        *(sys.executable, "-c", run, "build", str(STAGE)),
        *("--config", str(ROOT / "_config.yml")),
        *("--toc", str(ROOT / "book" / "_toc.yml")),
        *("--path-output", str(target), "-W", "-n", "--keep-going"),
    ]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    (BUILD / "sphinx.log").write_text(done.stdout)
    if done.returncode:
        raise chapters.BadProject(complaints(done.stdout))


def complaints(log) -> str:
    """The warnings of a Sphinx log, without this machine's folders."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", log).replace(f"{STAGE}/", "")
    plain = re.sub(r"(notebooks/\w+)\.ipynb:(\d+)", in_chapter, plain)
    rows = [r for r in plain.splitlines() if re.search(r"WARNING|ERROR|CRITICAL", r)]
    found = "\n".join(dict.fromkeys(rows)) or "\n".join(plain.splitlines()[-15:])
    return f"Jupyter Book complains (all of it: _build/sphinx.log)\n{found}"


def in_chapter(match) -> str:
    """MyST-NB counts ten thousand lines for a cell; a reader counts cells."""
    return f"{match[1]}.md, cell {int(match[2]) // 10_000}"


def verify(site):
    """A site counts only if every page of the contents is there."""
    missing = [p for p in chapters.toc_pages() if not (site / f"{p}.html").exists()]
    if missing:
        raise chapters.BadProject(f"The new site lacks pages: {', '.join(missing)}")


def label(site, profile):
    """Say in the site itself what it is."""
    pages, count = len(chapters.toc_pages()), len(chapters.names())
    about = {"profile": profile, "pages": pages, "chapters": count}
    (site / "build.json").write_text(json.dumps(about) + "\n")


def swap(site):
    """Turn `_build/html` to the new site in one step; keep the one before."""
    if LIVE.is_dir() and not LIVE.is_symlink():
        LIVE.rename(SITES / f"{time.time_ns()}-replaced")
    link = BUILD / ".html.part"
    link.unlink(missing_ok=True)
    link.symlink_to(os.path.relpath(site, BUILD))
    os.replace(link, LIVE)
    for old in sorted(SITES.iterdir())[:-KEPT]:
        shutil.rmtree(old)


def main(profile):
    work = BUILD / "sites.part"
    shutil.rmtree(work, ignore_errors=True)
    print("building the pages", flush=True)
    stage(profile)
    build(work)
    built = work / "_build" / "html"
    verify(built)
    label(built, profile)
    SITES.mkdir(exist_ok=True)
    site = SITES / str(time.time_ns())
    built.rename(site)
    shutil.rmtree(work)
    swap(site)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", default="laptop")
    profile = parser.parse_args().profile
    try:
        main(profile)
    except chapters.BadProject as error:
        Path(BUILD / "reports").mkdir(exist_ok=True)
        (BUILD / "reports" / "site.txt").write_text(f"{error}\n")
        sys.exit(1)
