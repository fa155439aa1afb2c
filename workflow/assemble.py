"""Build the site from the woven chapters and put it in place, whole or not at all.

The sources are staged in `_build/stage`, Jupyter Book writes into a new folder under
`_build/sites`, the result is verified, and only then `_build/html`, a symbolic link,
is turned to it. The editions for students and for instructors have the same folders
under `_build/student` and `_build/instructor`.
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
import decks
import editions
import nbformat
import pages
import status
from chapters import BUILD, ROOT

NOT_SOURCES = shutil.ignore_patterns("__pycache__", "_ext", "_toc.yml")
KEPT = 2  # the live site and the one before it


def home(edition) -> Path:
    """The folder of all that belongs to an edition."""
    return BUILD if edition == "reader" else BUILD / edition


def stage(folder, profile, edition):
    """All sources of the site in one folder: pages, chapters, moments, status page."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT / "book", folder, ignore=NOT_SOURCES)
    (folder / "notebooks").mkdir(exist_ok=True)
    for name in chapters.names():
        woven = nbformat.read(BUILD / "woven" / f"{name}.ipynb", 4)
        target = folder / "notebooks" / f"{name}.ipynb"
        nbformat.write(editions.strip(woven, edition), target)
    if pages.pictures():
        shutil.copytree(BUILD / "pictures", folder / pages.PICTURES)
    moments = folder / "_static" / "moments"  # read by an explorer
    moments.mkdir(parents=True)
    for file in (ROOT / "data" / "moments").glob("*.safetensors"):
        shutil.copy(file, moments)
    (folder / "chapters.md").write_text(status.page(profile))
    pages.complete(folder)
    decks.put_links(folder)


def build(sources, target):
    """Run Jupyter Book into `target`; a warning is an error."""
    # The console script is not used: a moved environment would break it.
    run = chapters.WITHOUT_SLOW + "from jupyter_book.cli.main import main; main()"
    command = [
        *(sys.executable, "-c", run, "build", str(sources)),
        *("--config", str(ROOT / "_config.yml")),
        *("--toc", str(ROOT / "book" / "_toc.yml")),
        *("--path-output", str(target), "-W", "-n", "--keep-going"),
    ]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    (sources.parent / "sphinx.log").write_text(done.stdout)
    if done.returncode:
        raise chapters.BadProject(complaints(done.stdout, sources))


def complaints(log, sources) -> str:
    """The warnings of a Sphinx log, without this machine's folders."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", log).replace(f"{sources}/", "")
    plain = re.sub(r"(notebooks/\w+)\.ipynb:(\d+)", in_chapter, plain)
    rows = [r for r in plain.splitlines() if re.search(r"WARNING|ERROR|CRITICAL", r)]
    found = "\n".join(dict.fromkeys(rows)) or "\n".join(plain.splitlines()[-15:])
    whole = (sources.parent / "sphinx.log").relative_to(ROOT)
    return f"Jupyter Book complains (all of it: {whole})\n{found}"


def in_chapter(match) -> str:
    """MyST-NB counts ten thousand lines for a cell; a reader counts cells."""
    return f"{match[1]}.md, cell {int(match[2]) // 10_000}"


def verify(site):
    """A site counts only if every page of the contents is there."""
    missing = [p for p in chapters.toc_pages() if not (site / f"{p}.html").exists()]
    if missing:
        raise chapters.BadProject(f"The new site lacks pages: {', '.join(missing)}")


def label(site, profile, edition):
    """Say in the site itself what it is."""
    pages, count = len(chapters.toc_pages()), len(chapters.names())
    about = {"profile": profile, "edition": edition, "pages": pages, "chapters": count}
    (site / "build.json").write_text(json.dumps(about) + "\n")


def swap(site, live):
    """Turn `live` to the new site in one step; keep the one before."""
    if live.is_dir() and not live.is_symlink():
        live.rename(site.parent / f"{time.time_ns()}-replaced")
    link = live.with_name(".html.part")
    link.unlink(missing_ok=True)
    link.symlink_to(os.path.relpath(site, live.parent))
    os.replace(link, live)
    for old in sorted(site.parent.iterdir())[:-KEPT]:
        shutil.rmtree(old)


def main(profile, edition):
    folder = home(edition)
    work, sites = folder / "sites.part", folder / "sites"
    shutil.rmtree(work, ignore_errors=True)
    print(f"building the pages of the {edition}'s edition", flush=True)
    stage(folder / "stage", profile, edition)
    build(folder / "stage", work)
    built = work / "_build" / "html"
    verify(built)
    decks.write(built, edition)
    label(built, profile, edition)
    sites.mkdir(exist_ok=True)
    site = sites / str(time.time_ns())
    built.rename(site)
    shutil.rmtree(work)
    swap(site, folder / "html")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", default="laptop")
    parser.add_argument("--edition", default="reader", choices=list(editions.LEFT_OUT))
    args = parser.parse_args()
    try:
        main(args.profile, args.edition)
    except chapters.BadProject as error:
        Path(BUILD / "reports").mkdir(exist_ok=True)
        (BUILD / "reports" / "site.txt").write_text(f"{error}\n")
        if "BOOK_LAUNCHER" not in os.environ:  # which prints the report itself
            print(error, file=sys.stderr)
        sys.exit(1)
