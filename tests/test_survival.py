"""What a build survives: a second build, Ctrl-C, a kill, a dead kernel, altered files.

The tests share one small book and go from one state of it to the next.
"""

import json
import os
import re
import signal
import subprocess
import sys

import build as launcher
import execute
import psutil
import pytest
from small_book import (
    ONE,
    ROOT,
    TWO,
    build,
    good_build,
    made,
    page,
    start,
    step_report,
    wait_for,
    write,
)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return made(tmp_path_factory, "survival")


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
    assert "The answer is 42.00." in page(project, ONE)
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


@pytest.mark.parametrize(
    "profile, means", [("laptop", "laptop"), ("full", "full"), ("slurm", "full")]
)
def test_a_cluster_computes_what_the_full_profile_does(profile, means):
    assert f"profile={means}" in launcher.arguments(profile, [])


def test_a_page_without_its_record_is_made_again(tmp_path, monkeypatch):
    """As a build leaves it that is killed between execution and record."""
    monkeypatch.setattr(launcher, "BUILD", tmp_path)
    monkeypatch.setattr(launcher.chapters, "names", lambda: [TWO])
    woven = tmp_path / f"woven/{TWO}.ipynb"
    woven.parent.mkdir()
    woven.touch()
    launcher.forget_strangers("laptop")
    assert not woven.exists()


def test_a_cell_that_kills_its_kernel(project):
    write(project, TWO, code="import os\nos.kill(os.getpid(), 9)")
    text = step_report(project, "execute")
    assert f"notebooks/{TWO}.md" in text and "of 3, line" in text
    assert "Kernel died in this cell or the one before" in text


def test_a_kernel_that_ends_unnoticed(tmp_path, monkeypatch):
    """As once seen: an ended kernel that papermill never asked about."""

    def leave(status):
        raise SystemExit(status)

    monkeypatch.setattr(execute, "BUILD", tmp_path)
    monkeypatch.setattr(execute, "LOST", 0.05)
    monkeypatch.setattr(os, "_exit", leave)
    child = subprocess.Popen([sys.executable, "-c", ""])
    with pytest.raises(SystemExit):
        execute.watch_kernel(TWO)
    assert child.wait() == 0 and child.pid not in execute.fallen()
    assert "kernel ended without" in (tmp_path / f"reports/{TWO}.txt").read_text()


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
