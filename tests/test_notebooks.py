"""The notebooks for Colab and Binder, and the buttons that lead there.

One small book with a public address is built, and its notebooks are published into a
folder. Git is told to look for that address in a folder of this machine.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from unittest.mock import Mock

import chapters
import launch
import missing
import nbformat
import pytest
import yaml
from bs4 import BeautifulSoup
from small_book import ONE, TWO, good_build, made, page, write
from sphinx.errors import ExtensionError

import notebooks

ADDRESS = "https://github.com/someone/a-book"
PAGE = """# How to run

Always here.

````{only} launch
Only with buttons.
````
"""


def git(folder, *command) -> str:
    who = ("-c", "user.name=Test", "-c", "user.email=test@example.org")
    done = subprocess.run(
        ["git", *who, *command], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def published(project, target):
    """What the command says, and how it ends."""
    command = [sys.executable, "workflow/notebooks.py", str(target)]
    return subprocess.run(command, cwd=project, capture_output=True, text=True)


@pytest.fixture(scope="module")
def project(root, tmp_path_factory):
    """A small book, built without an address."""
    folder = made(tmp_path_factory, "public")
    for name in ("pyproject.toml", "environment.yml", ".gitignore"):
        shutil.copy(root / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def silent(project):
    """A chapter's page as long as the book has no address."""
    return page(project, ONE)


@pytest.fixture(scope="module")
def public(project, silent):
    """The same book with an address, and a page that has something to say about it."""
    (project / "book/run.md").write_text(PAGE)
    toc = project / "book/_toc.yml"
    toc.write_text(toc.read_text().replace("{file: chapters}", "{file: run}"))
    config = project / "_config.yml"
    config.write_text(config.read_text().replace('url: ""', f"url: {ADDRESS}"))
    good_build(project)
    git(project, "init", "--quiet")
    git(project, "add", "-A")
    git(project, "commit", "--quiet", "-m", "A small book")
    return project


@pytest.fixture(scope="module")
def target(public):
    folder = public.parent / "branch"
    done = published(public, folder)
    assert done.returncode == 0, done.stderr
    return folder


def links(html) -> dict[str, str]:
    found = BeautifulSoup(html, "lxml").select(".article-header-buttons a[href]")
    return {a.get_text(" ", strip=True): a["href"] for a in found}


def test_without_an_address_a_page_says_nothing(silent):
    assert not {"Colab", "Binder"} & links(silent).keys()
    assert "launch-buttons" not in silent and "colab" not in silent


def test_this_book_speaks_of_buttons_only_with_an_address(root):
    run = (root / "_build/html/run.html").read_text()
    assert ("Binder" in run) == bool(launch.repository().get("url"))


def test_buttons_lead_to_the_notebook_on_the_branch(public, target):
    found = links(page(public, ONE))
    path = f"notebooks/{ONE}.ipynb"
    assert found["Colab"] == (
        f"https://colab.research.google.com/github/someone/a-book/blob/notebooks/{path}"
    )
    assert found["Binder"] == (
        f"https://mybinder.org/v2/gh/someone/a-book/notebooks?urlpath=lab/tree/{path}"
    )
    assert (target / path).exists()
    run = (public / "_build/html/run.html").read_text()
    assert "Only with buttons." in run
    assert not {"Colab", "Binder"} & links(run).keys()


def test_buttons_load_nothing_from_outside(public):
    loaded = r"<(?:script|link|img|iframe)[^>]+(?:src|href)=\"(?:https?:)?//[^>]*>"
    assert re.findall(loaded, page(public, ONE)) == []


@pytest.mark.parametrize(
    "stage, buttons", [("_build/stage", True), ("_build/student/stage", False)]
)
def test_only_readers_are_led_to_notebooks_with_solutions(stage, buttons, monkeypatch):
    monkeypatch.setattr(launch, "repository", lambda: {"url": ADDRESS})
    app = Mock(srcdir=launch.CONFIG.parent / stage)
    launch.setup(app)
    assert app.tags.add.called == app.connect.called == buttons


def test_notes_for_teachers_are_not_published(tmp_path, monkeypatch):
    note = nbformat.v4.new_markdown_cell("A secret.", metadata={"tags": ["instructor"]})
    woven = nbformat.v4.new_notebook(cells=[note])
    woven.metadata["executed"] = {"date": "2026-01-01", "profile": "laptop"}
    name = chapters.names()[0]
    (tmp_path / "woven").mkdir()
    nbformat.write(woven, tmp_path / "woven" / f"{name}.ipynb")
    monkeypatch.setattr(notebooks, "BUILD", tmp_path)
    monkeypatch.setattr(notebooks, "repository", lambda: ADDRESS)
    text = nbformat.writes(notebooks.notebook(name, 40 * "a"))
    assert ADDRESS in text and "A secret." not in text


@pytest.mark.parametrize("address", ["git@host:a/b.git", "https://github.com/one"])
def test_another_kind_of_address_is_refused(address, tmp_path, monkeypatch):
    config = tmp_path / "_config.yml"
    config.write_text(yaml.safe_dump({"repository": {"url": address}}))
    monkeypatch.setattr(launch, "CONFIG", config)
    with pytest.raises(ExtensionError, match="OWNER/NAME"):
        launch.repository()


def test_each_notebook_is_valid_executed_and_says_where_it_is_from(public, target):
    head = git(public, "rev-parse", "HEAD")
    for name in (ONE, TWO):
        notebook = nbformat.read(target / "notebooks" / f"{name}.ipynb", 4)
        nbformat.validate(notebook)
        first, *others = [c for c in notebook.cells if c.cell_type == "code"]
        assert f'COMMIT = "{head}"' in first.source
        assert f'REPOSITORY = "{ADDRESS}"' in first.source
        assert f"profile laptop, from the book at commit {head[:8]}" in first.source
        assert all(cell.execution_count for cell in others)


def test_the_index_and_what_binder_needs(target):
    index = (target / "README.md").read_text()
    for name in (ONE, TWO):
        assert re.search(rf"\(notebooks/{name}\.ipynb\) \| \d+ s \| \d+ MB", index)
    environment = yaml.safe_load((target / "binder/environment.yml").read_text())
    assert "python=3.12" in environment["dependencies"]
    assert os.access(target / "binder/postBuild", os.X_OK)


def test_no_folder_of_this_machine_is_named(public, target):
    text = "".join(p.read_text() for p in target.rglob("*") if p.is_file())
    for folder in (public, Path.home(), Path(sys.prefix)):
        assert f"{folder}/" not in text


def elsewhere(folder, repository) -> dict[str, str]:
    """The environment of a machine that has the packages, but not the book.

    As plain folders the packages do not bring our library, which is a link in them.
    """
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "PYTHONPATH": sysconfig.get_paths()["purelib"],
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{repository}/.git.insteadOf",
        "GIT_CONFIG_VALUE_0": ADDRESS,
    }


def run_in(folder, code, environment):
    """Run code in a new process without site packages that link to our library."""
    return subprocess.run(
        [sys.executable, "-S", "-c", code],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("name", [ONE, TWO])
def test_a_notebook_runs_on_another_machine(name, public, target, tmp_path):
    cells = nbformat.read(target / "notebooks" / f"{name}.ipynb", 4).cells
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    done = run_in(tmp_path, code, elsewhere(tmp_path, public))
    assert done.returncode == 0, done.stderr
    fetched = tmp_path / f"locality-{git(public, 'rev-parse', 'HEAD')[:8]}"
    results = json.loads((fetched / f"_build/results/{name}.json").read_text())
    assert results["values"] == {"answer": 42}


def test_binder_prepares_the_same_folder(public, target, tmp_path):
    script = (target / "binder/postBuild").read_text()
    done = run_in(tmp_path, script, elsewhere(tmp_path, public))
    assert done.returncode == 0, done.stderr
    (fetched,) = tmp_path.glob("locality-*")
    assert (fetched / "src/helpers/constants.py").exists()


def test_changes_without_a_commit_are_not_published(public, target):
    write(public, ONE, code="answer = 40 + 2")
    done = published(public, public.parent / "other")
    git(public, "checkout", "--quiet", "--", "notebooks")
    assert done.returncode == 1
    assert done.stderr.strip() == "There are changes without a commit. Commit first."
    assert not (public.parent / "other").exists()


def test_results_of_a_reader_do_not_come_into_a_page(public, target):
    """As a notebook with a changed parameter leaves them."""
    file = public / f"_build/results/{ONE}.json"
    found = json.loads(file.read_text())
    file.write_text(json.dumps(found | {"values": {"answer": 40}}))
    good_build(public, f"_build/woven/{ONE}.ipynb")
    assert json.loads(file.read_text()) == found
    woven = (public / f"_build/woven/{ONE}.ipynb").read_text()
    assert "The answer is 42.00." in woven


LOCK = """\
# made by a program
numpy==2.4.6 ; python_version >= '3' \\
    --hash=sha256:aa
numpy==1.0 ; python_version < '3' \\
    --hash=sha256:bb
not-there==0.1 \\
    --hash=sha256:cc \\
    --hash=sha256:dd
    # a comment
"""


def test_only_what_is_missing_is_taken_from_the_lock(tmp_path, monkeypatch):
    (tmp_path / "requirements.lock").write_text(LOCK)
    project = '[project]\ndependencies = ["numpy", "not-there>=0.1"]\n'
    (tmp_path / "pyproject.toml").write_text(project)
    calls = []

    def pip(command, check, **_):
        flag = "--constraint" if "--dry-run" in command else "--requirement"
        file = Path(command[command.index(flag) + 1])
        calls.append((command, file.read_text()))
        report = {"install": [{"metadata": {"name": "Not_There"}}]}
        return subprocess.CompletedProcess(command, 0, json.dumps(report))

    monkeypatch.setattr(missing, "ROOT", tmp_path)
    monkeypatch.setattr(missing.subprocess, "run", pip)
    missing.main()
    (plan, allowed), (install, entries) = calls
    assert plan[-1] == "not-there" and allowed == "not-there==0.1"
    assert "--require-hashes" in install and "--no-deps" in install
    assert "sha256:cc" in entries and "sha256:dd" in entries
    assert "numpy" not in entries


def test_every_locked_package_is_understood(root):
    entries = missing.locked((root / "requirements.lock").read_text())
    assert "sha256:" in entries["lightning-fabric"]
    assert missing.pinned(entries["torch"]) == "torch==2.13.0"
