"""The script that ships moments, its shards, and the rule that runs them."""

import importlib.util
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

from helpers import artifacts, data, dead_leaves, paths
from helpers.lowrank import compress
from helpers.wiener import Wiener


@pytest.fixture
def script(monkeypatch, tmp_path):
    """The script as a module; its files go to a folder of this test."""
    path = paths.ROOT / "workflow/scripts/moments.py"
    spec = importlib.util.spec_from_file_location("moments_script", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(paths, "BUILD", tmp_path)
    monkeypatch.setenv("HELPERS_DATA", str(tmp_path))
    return module


def call(script, monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["moments.py", *words])
    script.main()


def stored_set(tmp_path):
    """An uncompressed set of 103 colour images that is not square."""
    generator = np.random.default_rng(0)
    images = generator.integers(256, size=(103, 4, 5, 3), dtype=np.uint8)
    data.write(tmp_path / "cifar10-train.npz", images)
    return torch.tensor(images).permute(0, 3, 1, 2)


@pytest.mark.parametrize("name", ["digits", "cifar10"])
def test_shards_add_up_to_the_single_pass(script, monkeypatch, tmp_path, name):
    stored_set(tmp_path)
    for shard in range(3):
        words = (name, "--shards", "3", "--shard", str(shard))
        call(script, monkeypatch, *words)
    assert len(list((tmp_path / "moments").iterdir())) == 3
    mu, cov, shape, N = script.known(name)
    merged = script.known(name, shards=3)
    assert torch.equal(merged[0], mu) and torch.equal(merged[1], cov)
    assert merged[2:] == (shape, N)
    assert (shape, N) == {"digits": ((1, 8, 8), 1797), "cifar10": ((3, 4, 5), 103)}[
        name
    ]


def test_moments_are_those_of_the_images(script, tmp_path):
    flat = stored_set(tmp_path).flatten(1).double() / 127.5 - 1
    mu, cov, *_ = script.known("cifar10")
    torch.testing.assert_close(mu, flat.mean(0))
    torch.testing.assert_close(cov, torch.cov(flat.T, correction=0))


def test_a_missing_or_empty_shard_is_an_error(script):
    with pytest.raises(FileNotFoundError):
        script.known("digits", shards=3)
    with pytest.raises(ValueError, match="no image"):
        script.write_shard("digits", 0, 5000)  # 1,797 images for 5000 shards


def test_what_the_script_saves(script, monkeypatch):
    kept = {}
    monkeypatch.setattr(
        artifacts.Experiment,
        "save",
        lambda _, name, content, precision: kept.update({name: content}),
    )
    call(script, monkeypatch, "digits")
    moments, table = (
        kept["moments/digits.safetensors"],
        kept["results/moments_digits.json"],
    )
    assert moments["N"].item() == table["N"] == 1797 and table["r"] == table["n"] == 64
    assert moments["shape"].tolist() == [1, 8, 8]
    assert table["variance_kept"].item() == pytest.approx(1)
    for error, bound in (
        ("error_worst", "bound_worst"),
        ("error_median", "bound_median"),
    ):
        assert (0 < table[error]).all() and (table[error] <= table[bound]).all()
    worst = script.row_bounds(Wiener.from_moments(moments), 1e-2).max().item()
    assert table["bound"] == pytest.approx(worst)
    assert artifacts.encode("x.json", table)


def test_errors_of_rows_against_the_filter_itself(script):
    """From the eigenbasis, against (cov + sigma^2)^-1 cov and U diag(g) U^T."""
    mu, cov = map(torch.from_numpy, dead_leaves.moments(6))
    kept, eye = compress(mu, cov, 10, (1, 6, 6)), torch.eye(36).double()
    low = kept["U"] * kept["scale"].double()
    for sigma in (0.02, 0.5, 10.0):
        exact = torch.linalg.solve(cov + sigma**2 * eye, cov)
        gain = kept["lam"] / (kept["lam"] + sigma**2)
        common = kept["rest"][1] / (kept["rest"][1] + sigma**2)
        ours = (low * gain) @ low.T + common * (eye - low @ low.T)
        short, full = Wiener.from_moments(kept), Wiener(mu, cov)
        errors = script.row_errors(short, full, sigma)
        torch.testing.assert_close(errors, (ours - exact).norm(dim=1))


def test_every_file_is_small(script):
    """Known from ranks and sizes alone: below 3.2 MB each and 15 MB together."""
    n = dict.fromkeys(script.RANKS, 3072)
    n |= dict.fromkeys(("dead_leaves", "toy_faces"), script.SIDE**2)
    n |= dict.fromkeys(("mnist", "fashion_mnist"), 28**2) | {"digits": 64}
    sizes = [n[name] * (2 * r + 4) + 12 * r + 600 for name, r in script.RANKS.items()]
    assert max(sizes) < 3.2e6 and sum(sizes) < 15e6


def test_the_full_profile_runs_shards_as_jobs_of_their_own(tmp_path):
    """A dry run: four shards of MNIST and one job that adds them up."""
    ignore = shutil.ignore_patterns("__pycache__")
    for part in ("src", "workflow"):
        shutil.copytree(paths.ROOT / part, tmp_path / part, ignore=ignore)
    command = [sys.executable, "-m", "snakemake", "--snakefile", "workflow/Snakefile"]
    command += ["--cores", "4", "--config", "profile=full", "--dry-run", "--quiet"]
    command += ["rules", "--", "_build/experiments/moments_mnist.done"]
    process = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    counts = dict(
        line.split() for line in process.stdout.splitlines() if len(line.split()) == 2
    )
    assert counts["moments_shard"] == "4" and counts["experiment"] == "1"
    assert counts["image_set"] == "1" and counts["total"] == "6"
