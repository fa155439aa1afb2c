"""One environment: every package locked by its hash, and every list agrees."""

import importlib.metadata as packages
import re
import tomllib
from itertools import chain

import build
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version


@pytest.fixture(scope="module")
def lock(root):
    return (root / "requirements.lock").read_text()


@pytest.fixture(scope="module")
def entries(lock):
    """Each locked package with its hashes: [(name, version, text), ...]."""
    plain = re.sub(r"^\s*#.*$", "", lock, flags=re.MULTILINE)
    blocks = re.split(r"\n(?=\S)", plain.strip())
    return [(*re.match(r"([\w.-]+)==([\w.+!-]+)", b).groups(), b) for b in blocks]


def test_lock_names_no_address(lock):
    assert not re.search(r"https?:|--index|--extra-index|--find-links|@ ", lock)


def test_every_package_has_a_version_and_a_hash(entries):
    assert len(entries) > 100
    for name, _version, block in entries:
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", block), name


def wanted(root):
    project = tomllib.loads((root / "pyproject.toml").read_text())
    groups = project["dependency-groups"]
    return project["project"]["dependencies"] + list(chain(*groups.values()))


def test_lock_satisfies_the_project(root, entries):
    locked = {}
    for name, version, _ in entries:
        locked.setdefault(canonicalize_name(name), []).append(Version(version))
    for requirement in map(Requirement, wanted(root)):
        versions = locked.get(canonicalize_name(requirement.name), [])
        assert versions, f"{requirement.name} is not locked"
        assert all(v in requirement.specifier for v in versions), requirement.name


def test_installed_packages_are_the_locked_ones(entries):
    locked = {(canonicalize_name(n), v) for n, v, _ in entries}
    for name in ("torch", "numpy", "matplotlib", "snakemake", "jupyter-book", "sphinx"):
        assert (name, packages.version(name)) in locked


def test_conda_installs_exactly_the_lock(root):
    environment = yaml.safe_load((root / "environment.yml").read_text())
    *conda, pip = environment["dependencies"]
    assert pip == {"pip": ["-r requirements.lock"]}
    assert {re.split("[<>=]", package)[0] for package in conda} == {"python", "pip"}


def test_makefile_pins_the_locked_uv(root, entries):
    pin = re.search(r"^UV = uv==(\S+)$", (root / "Makefile").read_text(), re.MULTILINE)
    assert ("uv", pin[1]) in {(name, version) for name, version, _ in entries}


def test_jupyter_book_is_version_1():
    build.require_jupyter_book_1()


def test_jupyter_book_2_is_refused(monkeypatch):
    monkeypatch.setattr(packages, "version", lambda _: "2.1.7")
    with pytest.raises(SystemExit, match=r"needs jupyter-book 1\.x, but 2\.1\.7"):
        build.require_jupyter_book_1()


def test_readme_and_makefile_have_the_same_commands(root):
    makefile = (root / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[1].split()
    told = re.findall(r"`make (\w+)[` ]", (root / "README.md").read_text())
    for command in phony:
        assert re.search(rf"^{command}: .*; \S", makefile, re.MULTILINE), command
        assert command in told, command


def test_licenses_and_citation(root):
    assert (root / "LICENSE").read_text().startswith("MIT License")
    assert "CC BY 4.0" in (root / "LICENSE-TEXT").read_text()
    citation = yaml.safe_load((root / "CITATION.cff").read_text())
    assert citation["license"] == ["MIT", "CC-BY-4.0"]
