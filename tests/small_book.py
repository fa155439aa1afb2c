"""A copy of the project with two tiny chapters, for the tests of the pipeline."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from filelock import FileLock

ROOT = Path(__file__).resolve().parents[1]
ONE, TWO = "01_one", "02_two"

TOC = """format: jb-book
root: index
parts:
  - caption: "I"
    numbered: 2
    chapters: [{file: notebooks/01_one}, {file: notebooks/02_two}]
  - caption: "About"
    chapters: [{file: chapters}]
"""
CHAPTER = """---
jupytext: {{text_representation: {{extension: .md, format_name: myst}}}}
kernelspec: {{display_name: Python 3, language: python, name: python3}}
---

# Chapter {name}

The answer is {{{{ answer:.2f }}}}.

```{{code-cell}} ipython3
:tags: [parameters]

profile = "none"
```

```{{code-cell}} ipython3
{code}
```

```{{code-cell}} ipython3
import json
from helpers.paths import RESULTS

RESULTS.mkdir(parents=True, exist_ok=True)
found = {{"chapter": "{name}", "profile": profile, "values": {{"answer": 42}}}}
_ = (RESULTS / "{name}.json").write_text(json.dumps(found))
```
"""

FROM_MODULE = "from helpers.constants import SIX\nanswer = 7 * SIX"


def write(project, name, code="answer = 6 * 7", prose=""):
    text = CHAPTER.format(name=name, code=code) + prose
    (project / "notebooks" / f"{name}.md").write_text(text)


def start(project, *extra):
    """Begin a build in a process group of its own, as a terminal does."""
    return subprocess.Popen(
        [sys.executable, "workflow/build.py", *extra],
        cwd=project,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def build(project, *extra):
    """Build and return (exit code, everything printed)."""
    process = start(project, *extra)
    return process, process.communicate(timeout=240)[0]


def good_build(project, *extra):
    process, text = build(project, *extra)
    assert process.returncode == 0, text
    return text


def step_report(project, script):
    """Run one failing step by itself, and read the report it leaves."""
    command = [sys.executable, f"workflow/{script}.py", TWO]
    assert subprocess.run(command, cwd=project, capture_output=True).returncode == 1
    return (project / "_build/reports" / f"{TWO}.txt").read_text()


def runs(project):
    """When each chapter was executed last."""
    files = {n: project / "_build/executed" / f"{n}.ipynb" for n in (ONE, TWO)}
    return {name: file.stat().st_mtime_ns for name, file in files.items()}


def page(project, name):
    return (project / "_build/html/notebooks" / f"{name}.html").read_text()


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


def made(factory, name):
    """The small book in a folder of its own, built; `factory` is tmp_path_factory.

    It is built once in a run of all tests, and copied with its times.
    """
    shared = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent  # of all workers
    original, folder = shared / "small_book", factory.mktemp(name) / "book"
    with FileLock(shared / "small_book.lock"):
        if not (original / "_build/html/index.html").exists():
            make(original)
    shutil.copytree(original, folder, symlinks=True)
    return folder


def make(folder):
    """Write the copy of the project in `folder` and build it."""
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for part in ("workflow", "src", "book/_ext", "book/_static"):
        shutil.copytree(ROOT / part, folder / part, ignore=ignore)
    for part in ("_config.yml", "requirements.lock", "book/references.bib"):
        shutil.copy(ROOT / part, folder / part)
    (folder / "notebooks").mkdir()
    (folder / "book/_toc.yml").write_text(TOC)
    (folder / "book/index.md").write_text("# A small book\n")
    (folder / "src/helpers/constants.py").write_text("SIX = 6\n")
    write(folder, ONE), write(folder, TWO, code=FROM_MODULE)
    good_build(folder)
