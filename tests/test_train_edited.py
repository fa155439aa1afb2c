"""Training on edited images and the dose-response table: tiny images, tiny nets."""

import collections
import importlib
import re
import shutil
import subprocess
import sys

import pytest
import tiny
import torch

from helpers import artifacts, data, responses
from helpers.wiener import Wiener


@pytest.fixture
def script(tmp_path, root, monkeypatch):
    """The script in a project of its own, for 6 steps."""
    fewer = {"SIGMAS": [0.2, 1.0], "IMAGES": 200, "TESTS": 10}
    return tiny.script("train_edited", tmp_path, root, monkeypatch, **fewer)


def run(script, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["train_edited.py", *arguments])
    script.main()
    edit, net, strength = arguments[:3]
    return artifacts.load(f"results/edited_{edit}_{net}_{strength}_0.json")


def test_doses_of_the_eyes_and_their_lines(script, tmp_path, monkeypatch, capsys):
    tables = {s: run(script, monkeypatch, "eyes", "dit", s) for s in ("0", "0.4", "1")}
    for table in tables.values():
        assert table["step"] == [0, 2, 6] and table["along"][0] == [0, 0]  # D(x) = x
        for name in ("strength", "control"):
            values = torch.tensor(table[f"{name}s"]).mean(dim=1)
            assert [v for v, _, _ in table[name]] == pytest.approx(
                values.tolist(), rel=2e-3, abs=1e-6
            )
        assert table["along"][-1] == pytest.approx([v for v, *_ in table["strength"]])
    wiener = [table["wiener"][0] for table in tables.values()]
    assert wiener == sorted(wiener) and wiener[2] > 3 * wiener[0]
    size = (tmp_path / "DATA/results/edited_eyes_dit_0.4_0.json").stat().st_size
    assert size < 20_000

    dose = importlib.import_module("dose")
    monkeypatch.setattr(dose, "__file__", str(tmp_path / "dose.py"))
    monkeypatch.setattr(sys, "argv", ["dose.py", "eyes"])
    dose.main()
    name = "results/dose_eyes_dit.json"
    table, entry = artifacts.load(name), artifacts.manifest()[name]
    assert entry["command"] == "python dose.py eyes"
    assert table["doses"] == [0, 0.4, 1] and table["seeds"] == [0]
    assert len(table["on_wiener"]["slope"]) == 2

    (tmp_path / "DATA/results/edited_eyes_dit_1_0.json").unlink()
    entries = artifacts.manifest()
    entries.pop("results/edited_eyes_dit_1_0.json")
    monkeypatch.setattr(artifacts, "manifest", lambda: entries)
    monkeypatch.setattr(sys, "argv", ["dose.py"])
    dose.main()
    assert "eyes dit left out" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["dose.py", "w_cifar10"])
    with pytest.raises(SystemExit):
        dose.main()
    assert "no run of w_cifar10 is recorded" in capsys.readouterr().err


@pytest.mark.parametrize("edit", ["w", "mirror", "whitened", "shifted", "scrambled"])
def test_an_edited_set_has_the_moments_that_it_says(script, monkeypatch, edit):
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(600, 3, 16, 16, generator=generator) * 1.6 - 0.8
    name = next(key for key in script.STRENGTHS if key.startswith(edit))
    sets = sys.modules["edited_sets"]
    monkeypatch.setattr(sets, "split", lambda *_: (images[:500], images[500:]))
    found = script.edited(name, script.STRENGTHS[name][-1], "cpu")
    assert len(found.images) == 500 and len(found.held_out) == 100
    data.check_images(found.images), data.check_images(found.held_out)
    mu, cov = found.wiener.mu, found.cov
    z = found.images.flatten(1).double() - mu
    again = z.T @ z / len(z)
    if edit in ("mirror", "whitened", "scrambled"):  # exact, of the sample too
        torch.testing.assert_close(again, cov, rtol=1e-5, atol=1e-5)
    u = found.places.any(dim=0).double().expand(3, 16, 16).flatten()
    assert u @ again @ u == pytest.approx((u @ cov @ u).item(), rel=0.25)
    error = again.trace() / cov.trace() - 1
    assert abs(error) < 0.02
    for mask, place in zip(found.places, found.outputs.values()):
        assert mask.any() and not mask[place]
    controls = found.controls()
    assert torch.equal(controls.sum((1, 2)), found.places.sum((1, 2)))
    assert not (controls & found.places).any()


def test_the_filter_measured_as_a_net_has_its_own_strength(script):
    found = script.edited("eyes", 0.6, "cpu")
    asked = script.probe(found, seed=2)
    table, _ = script.last_words(found.wiener, found, asked, "cpu")
    head = script.head("eyes", 0.6, found, asked)
    values = torch.tensor([v for v, _, _ in table["strength"]]).double()
    torch.testing.assert_close(values, head["wiener"], rtol=1e-4, atol=1e-6)
    exact = responses.strength(asked.fields, found.places)
    assert torch.equal(head["wiener"], exact)
    assert torch.allclose(table["energy"], head["wiener_energy"], rtol=1e-4)
    assert table["pearson"].min() > 1 - 1e-5
    fit = Wiener.fit(found.images)
    difference = torch.tensor(
        [fit.row(p, 1.0)[0][m].sum() for p, m in zip(asked.pixels(), found.places)]
    ).mean()
    assert head["wiener_fitted"][1] == pytest.approx(difference.item())


def test_a_line_is_found_with_its_interval(script):
    dose = importlib.import_module("dose")
    generator = torch.Generator().manual_seed(0)
    doses, tables = [0.0, 1.0, 2.0, 4.0], {}
    for d in doses:
        for seed in (0, 1):
            noise = 0.3 * torch.randn(2, 200, generator=generator)
            slopes = torch.tensor([[3.0], [0.5]])
            tables[d, seed] = {
                "strengths": (slopes * d + 1 + noise).tolist(),
                "controls": noise.tolist(),
                "planted_covariance": d,
                "wiener": [3 * d + 1, 2 * d],
                "sigma": [0.1, 1.0],
            }
    table = dose.table(tables)
    for (value, low, high), exact in zip(table["on_covariance"]["slope"], (3, 0.5)):
        assert low < value < high and abs(value - exact) < 0.05 and high - low < 0.1
    assert table["on_wiener"]["slope"][1][0] == pytest.approx(0.25, abs=0.02)
    assert table["prediction_r2"][0][0] > 0.999 and table["prediction_r2"][1][0] < 0
    assert table["on_covariance"]["r2"][1][0] > 0.99
    by_hand = torch.tensor([tables[d, s]["strengths"] for d in doses for s in (0, 1)])
    by_hand = by_hand.view(4, 2, 2, 200).mean(dim=(1, 3)).double()
    torch.testing.assert_close(table["net"], by_hand)
    with pytest.raises(ValueError, match="needs 3 strengths"):
        dose.complete({(0.0, 0): {}, (1.0, 0): {}})
    with pytest.raises(ValueError, match="one seed in common"):
        dose.complete({(0.0, 0): {}, (1.0, 0): {}, (2.0, 1): {}})


def test_the_full_profile_plans_runs_that_the_script_takes(script, root, tmp_path):
    """A dry run: each line through the doses waits for the nets of its edit."""
    for part in ("src", "workflow"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(root / part, tmp_path / part, ignore=ignore)
    command = [sys.executable, "-m", "snakemake", "--snakefile", "workflow/Snakefile"]
    command += ["--cores", "4", "--config", "profile=full", "--dry-run"]
    command += ["--printshellcmds", "--"]
    lines = [edit for edit, doses in script.STRENGTHS.items() if len(doses) > 2]
    command += [f"_build/experiments/dose_{edit}.done" for edit in lines]
    process = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert process.returncode == 0, process.stdout + process.stderr
    words = r"train_edited\.py (\w+) (\w+) (\S+) --seed (\d)( --ship)?"
    runs, shipped = collections.Counter(), 0
    for edit, net, strength, seed, ship in set(re.findall(words, process.stdout)):
        assert net in script.KINDS and float(strength) in script.STRENGTHS[edit]
        assert f"edited_{edit}_{net}_{strength}_{seed}.done" in process.stdout
        runs[edit] += 1
        shipped += bool(ship)
        assert not ship or seed == "0"
    many = {"w_cifar10": 3 * 5 * 2, "mirror_cifar10": 3 * 5, "eyes": 3 * 5 * 2}
    many["w_cifar10"] += 3 * 3 + 2  # the longer ones
    assert runs == many | dict.fromkeys(
        ("whitened_celeba32", "shifted_celeba32"), 3 * 3
    )
    assert shipped == 3 * (3 + 3 + 2 + 2 + 3 + 3) + 2
    found = re.findall(r"dose\.py (\w+)", process.stdout)
    assert sorted(set(found)) == sorted(lines)
