"""Artifacts are whole, recorded and verified; results are plain numbers."""

import json
import math
import subprocess

import numpy as np
import pytest
import torch

from helpers import artifacts, paths
from helpers.artifacts import ArtifactError, Experiment, Results
from helpers.data import fingerprint, read

NAME = "results/test.json"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project folder of its own, with a git history and a lock file."""
    for name, folder in (("DATA", "data"), ("BUILD", "_build"), ("RESULTS", "r")):
        monkeypatch.setattr(paths, name, tmp_path / folder)
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    (tmp_path / "requirements.lock").write_text("numpy==1")
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "module.py").write_text("x = 1")
    git = ["git", "-C", str(tmp_path), "-c", "user.name=t", "-c", "user.email=t@t"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *command], check=True)
    return tmp_path


def saved(project, content=None, name=NAME):
    script = project / "workflow" / "scripts" / "test.py"
    with Experiment(script, 3, ["digits-train"], {"n": 2}, "cpu") as experiment:
        experiment.save(name, content or {"a": torch.ones(2), "b": np.float64(2)})
    return paths.DATA / name


def test_saved_numbers_come_back(project):
    saved(project)
    assert artifacts.load(NAME) == {"a": [1.0, 1.0], "b": 2.0}


def test_saved_tensors_come_back(project):
    tensors = {"w": torch.randn(3, 4, generator=torch.Generator().manual_seed(0))}
    saved(project, tensors, "weights/test.safetensors")
    torch.testing.assert_close(artifacts.load("weights/test.safetensors"), tensors)


def test_manifest_says_how_it_was_made(project):
    path = saved(project)
    entry = artifacts.manifest()[NAME]
    assert entry["bytes"] == path.stat().st_size
    assert entry["sha256"] == artifacts.sha256(path)
    images = read("digits").images
    assert entry["inputs"] == {"digits-train": fingerprint(images)}
    assert entry["script"] == "workflow/scripts/test.py" and entry["seed"] == 3
    assert len(entry["commit"]) == 40 and entry["parameters"] == {"n": 2}
    assert set(entry) >= {"lock", "device", "precision", "versions", "seconds", "date"}
    (project / "src" / "module.py").write_text("x = 2")
    assert artifacts.git_commit().endswith("+")  # made by code that no commit holds


def test_without_git_the_commit_is_unknown(project, monkeypatch):
    monkeypatch.setattr(paths, "ROOT", project.parent)
    assert artifacts.git_commit() == "unknown"
    monkeypatch.setenv("PATH", "")
    assert artifacts.git_commit() == "unknown"


def test_provenance_is_one_line_with_the_command(project):
    saved(project)
    line = artifacts.provenance(NAME)
    assert "\n" not in line and "python workflow/scripts/test.py" in line
    assert "digits-train" in line and line in line._repr_markdown_()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_text("{}"), "is not the file that was recorded"),
        (lambda path: path.write_bytes(path.read_bytes()[:-3]), "is not the file"),
        (lambda path: path.unlink(), "is missing"),
    ],
)
def test_altered_or_missing(project, damage, message):
    damage(saved(project))
    with pytest.raises(ArtifactError, match=message) as error:
        artifacts.load(NAME)
    for cure in (f"git checkout data/{NAME}", "python workflow/scripts/test.py"):
        assert cure in str(error.value)


def test_a_table_has_a_line_a_row(project):
    table = {"a": [[1, 2.5], [-3e-7, 4]], "words": ["[x,  y]", "z"], "none": []}
    path = saved(project, table)
    assert artifacts.load(NAME) == table
    assert "\n  [1, 2.5],\n  [-3e-07, 4]\n" in path.read_text()


def test_not_recorded(project):
    path = saved(project)
    path.with_name("other.json").write_text("{}")
    with pytest.raises(ArtifactError, match="not an artifact recorded"):
        artifacts.load("results/other.json")


def test_what_cannot_be_kept(project):
    with pytest.raises(ValueError, match=r"neither \.json nor \.safetensors"):
        saved(project, name="weights/test.pt")
    saved(project)
    with pytest.raises(ValueError):
        saved(project, {"a": math.nan})
    assert artifacts.load(NAME)["b"] == 2.0  # the good file is still there


def test_a_full_disk_keeps_the_old_artifact(project, monkeypatch):
    saved(project)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(paths.os, "fsync", full)
    with pytest.raises(OSError, match=r"The disk is full: test\.json needs"):
        saved(project, {"a": 3})
    assert artifacts.load(NAME)["b"] == 2.0
    assert [p.name for p in (paths.DATA / "results").iterdir()] == ["test.json"]


def test_the_shipped_artifacts_are_what_the_manifest_says():
    for name in artifacts.manifest():
        artifacts.verified(name)


def test_shipped_data_stay_small_and_recorded():
    tracked = subprocess.run(
        ["git", "-C", str(paths.ROOT), "ls-files", "data"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    size = sum((paths.ROOT / name).stat().st_size for name in tracked)
    assert size < 40e6
    made = {f"data/{name}" for name in artifacts.manifest()}
    about = [f"data/{n}" for n in ("manifest.json", "README.md", "claims.yml")]
    about.append("data/fingerprints.json")
    left = set(tracked) - made - set(about)
    assert all(name.startswith("data/results/reference/") for name in left), left


def test_results_are_plain_json(project):
    results = Results("chapter", "laptop")
    results["tensor"] = torch.tensor(1.5)
    results["array"] = np.arange(3)
    results["truth"] = bool(torch.tensor(True))
    results["list"] = [torch.tensor(1), "text"]
    results.skip("other", "not here")
    written = json.loads(results.write().read_text())
    assert written == {
        "chapter": "chapter",
        "profile": "laptop",
        "values": {
            "tensor": 1.5,
            "array": [0, 1, 2],
            "truth": True,
            "list": [1, "text"],
        },
        "skipped": {"other": "not here"},
    }
    assert results["tensor"] == 1.5


def test_results_refuse_what_is_no_number(project):
    results = Results("chapter", "laptop")
    with pytest.raises(TypeError, match="a number, a text or a list"):
        results["bad"] = object()
    results["nan"] = math.nan
    with pytest.raises(ValueError):
        results.write()
    assert not (paths.RESULTS / "chapter.json").exists()
