"""The pipeline on a small book: what reruns, what a failure says, what survives it.

The tests share one copy of the project with two tiny chapters and go from one state of
it to the next; each leaves a folder that builds.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import build as launcher
import psutil
import pytest

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


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the project with two small chapters, built once."""
    folder = tmp_path_factory.mktemp("small") / "book"
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
    return folder


def test_numbers_come_into_the_text(project):
    assert "The answer is 42.00." in page(project, ONE)
    assert 'class="section-number">2. </span>' in page(project, TWO)


def test_with_nothing_changed_nothing_runs(project):
    before, started = runs(project), time.monotonic()
    good_build(project)
    assert runs(project) == before
    assert time.monotonic() - started < 20


def test_only_the_changed_chapter_runs(project):
    before = runs(project)
    write(project, ONE, code="answer = 7 * 6")
    good_build(project, f"_build/woven/{ONE}.ipynb", f"_build/woven/{TWO}.ipynb")
    after = runs(project)
    assert after[ONE] > before[ONE] and after[TWO] == before[TWO]


def test_a_change_of_prose_runs_no_chapter(project):
    before = runs(project)
    write(project, ONE, code="answer = 7 * 6", prose="\nA new sentence.\n")
    good_build(project)
    assert runs(project) == before
    assert "A new sentence." in page(project, ONE)


def test_a_module_reruns_only_the_chapters_that_import_it(project):
    before = runs(project)
    (project / "src/helpers/constants.py").write_text("SIX = 6.0\n")
    good_build(project, f"_build/woven/{ONE}.ipynb", f"_build/woven/{TWO}.ipynb")
    after = runs(project)
    assert after[TWO] > before[TWO] and after[ONE] == before[ONE]


def test_a_failing_cell_is_the_last_thing_said(project):
    write(project, TWO, code="noise = 1\nnoise / 0")
    process, text = build(project)
    assert process.returncode != 0
    end = text.splitlines()[-25:]
    assert any(f"notebooks/{TWO}.md" in line for line in end)
    assert any(re.match(r"cell +2 of 3, line \d+$", line) for line in end)
    assert "ZeroDivisionError: division by zero" in end[-2]
    assert end[-1] == "_build/html is still the last good site."
    assert "A new sentence." in page(project, ONE)


def test_an_unknown_key_names_chapter_cell_and_key(project):
    write(project, TWO, code=FROM_MODULE)
    good_build(project, f"_build/woven/{TWO}.ipynb")
    write(project, TWO, code=FROM_MODULE, prose="\nIt is {{ anser }}.\n")
    text = step_report(project, "weave")
    assert f"notebooks/{TWO}.md, cell 5 of 5, asks for {{{{ anser }}}}" in text


def test_a_warning_of_the_book_fails_the_build(project):
    prose = "\nSee {eq}`no-such-equation`.\n"
    write(project, TWO, code=FROM_MODULE, prose=prose)
    old = os.readlink(project / "_build/html")
    process, text = build(project)
    assert process.returncode != 0
    assert "no-such-equation" in text and "WARNING" in text
    assert os.readlink(project / "_build/html") == old


def test_a_chapter_that_is_not_in_the_contents(project):
    write(project, "03_three")
    process, text = build(project)
    (project / "notebooks/03_three.md").unlink()
    assert process.returncode != 0
    assert "notebooks/ has chapters that book/_toc.yml lacks: ['03_three']" in text


def slow(project, flag):
    """A chapter that says when it runs and then takes its time."""
    code = f"import pathlib, time\npathlib.Path('{flag}').touch()\ntime.sleep(SECONDS)"
    return lambda seconds: write(project, TWO, code.replace("SECONDS", str(seconds)))


def test_two_builds_at_once(project, tmp_path):
    slow(project, tmp_path / "flag")(6)
    first = start(project, f"_build/woven/{TWO}.ipynb")
    wait_for((tmp_path / "flag").exists)
    second, text = build(project)
    assert second.returncode != 0
    assert "Another build is running in this folder (process" in text
    assert "Wait until it ends" in text
    text = first.communicate(timeout=240)[0]
    assert first.returncode == 0, text


@pytest.mark.parametrize("to_group", [True, False], ids=["terminal", "launcher only"])
def test_an_interrupted_build_loses_nothing(project, tmp_path, to_group):
    slow(project, tmp_path / "flag")(100 + to_group)
    first = start(project)
    wait_for((tmp_path / "flag").exists)
    (os.killpg if to_group else os.kill)(first.pid, signal.SIGINT)
    text = first.communicate(timeout=30)[0]
    assert first.returncode != 0
    assert "The build was interrupted. Run the same command again" in text
    assert text.splitlines()[-1] == "_build/html is still the last good site."
    assert "A new sentence." in page(project, ONE)
    assert not kernels(project)


def kernels(project):
    """Processes that still work for this folder."""
    found = []
    for process in psutil.process_iter(["cmdline", "environ"]):
        environment = process.info["environ"] or {}
        if environment.get("PYTHONPATH", "").startswith(str(project)):
            found.append(process)
    return found


def test_a_killed_build_needs_no_repair(project, tmp_path):
    slow(project, tmp_path / "flag")(99)
    first = start(project)
    wait_for((tmp_path / "flag").exists)
    first.kill()
    first.wait()
    wait_for(lambda: not kernels(project), seconds=15)
    write(project, TWO)
    good_build(project, f"_build/woven/{TWO}.ipynb")
    assert "The answer is 42.00." in page(project, TWO)


def test_a_deleted_site_is_built_again(tmp_path, monkeypatch):
    """Without a site its stamp counts for nothing, so Snakemake makes both."""
    monkeypatch.setattr(launcher, "BUILD", tmp_path)
    (tmp_path / "site.stamp").touch()
    (tmp_path / "html").mkdir()
    (tmp_path / "html/index.html").touch()
    launcher.prepare("slurm")
    assert (tmp_path / "site.stamp").exists()
    (tmp_path / "html/index.html").unlink()
    launcher.prepare("slurm")
    assert not (tmp_path / "site.stamp").exists()


def test_a_cell_that_kills_its_kernel(project):
    write(project, TWO, code="import os\nos.kill(os.getpid(), 9)")
    text = step_report(project, "execute")
    assert f"notebooks/{TWO}.md" in text and "of 3, line" in text
    assert "Kernel died in this cell or the one before" in text


def test_an_altered_artifact(project):
    """The sentence of helpers.artifacts reaches the last lines of the build."""
    data = project / "data/results"
    data.mkdir(parents=True)
    (data / "answer.json").write_text("42\n")
    entry = {"sha256": "0" * 64, "bytes": 3, "command": "python workflow/scripts/a.py"}
    manifest = {"results/answer.json": entry}
    (project / "data/manifest.json").write_text(json.dumps(manifest))
    code = "from helpers.artifacts import load\nanswer = load('results/answer.json')"
    write(project, TWO, code)
    last = step_report(project, "execute").splitlines()[-1]
    assert "data/results/answer.json is not the file that was recorded" in last
    assert "run `git checkout data/results/answer.json`" in last


@pytest.mark.parametrize("profile", ["laptop", "full", "slurm"])
def test_dry_run(root, tmp_path, profile):
    """On the real project, whose state it does not touch."""
    folder = tmp_path / "book"
    folder.mkdir()
    for part in ("workflow", "src", "book", "notebooks", "data", "_config.yml"):
        (folder / part).symlink_to(root / part)
    (folder / "requirements.lock").symlink_to(root / "requirements.lock")
    text = dry_run(folder, profile)
    planned = set(re.findall(r"^rule (\w+):", text, re.MULTILINE))
    assert {"chapter", "weave", "site"} <= planned
    assert ("experiment" in planned) == (profile != "laptop" and has_experiments())


def has_experiments():
    return any((ROOT / "workflow/scripts").glob("*.py"))


def dry_run(folder, profile):
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--cores", "2"]
    command += ["--snakefile", str(ROOT / "workflow/Snakefile")]
    command += ["--workflow-profile", str(ROOT / "workflow/profiles" / profile)]
    command += ["--config", f"profile={profile}", "--quiet", "progress"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
