"""Training, quality and costs of the variants: tiny images, tiny nets."""

import importlib
import sys

import pytest
import tiny
import torch

from helpers import artifacts, metrics
from helpers.classifier import Classifier, features

FEW = {"ddim_2": 2, "ddim_3": 3}


@pytest.fixture
def script(tmp_path, root, monkeypatch):
    """The script in a project of its own, for 6 updates, with images of noise."""
    found = tiny.script("train_variants", tmp_path, root, monkeypatch, EVERY=1)
    parts = ("variants", "watched", "judge")
    rows, watched, judge = (importlib.import_module(name) for name in parts)
    monkeypatch.setattr(judge, "N", {"cpu": 80, "cuda": 80})
    for name in ("NETS", "SHORT", "LONG"):
        monkeypatch.setattr(rows, name, getattr(watched, name))
    few = dict.fromkeys(rows.SAMPLERS, FEW)
    few |= {"ancestral": {"ancestral_2": 2, "ancestral_3": 3}}
    few |= {row: rows.SAMPLERS[row] for row in rows.SAMPLERS if "consist" in row}
    for module in (found, rows, judge):
        monkeypatch.setattr(module, "SAMPLERS", few)
    torch.manual_seed(0)
    eyes = Classifier(1).eval().requires_grad_(False)
    images = torch.rand(300, 1, 14, 14) * 2 - 1
    monkeypatch.setattr(judge, "load_classifier", lambda _: eyes)
    monkeypatch.setattr(found, "split", lambda *_: (images, images[:20]))
    monkeypatch.setattr(judge, "held_out", lambda _: (images[:200], images[200:280]))
    monkeypatch.setattr(found, "stored", lambda _: [])
    return found


def run(script, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["train_variants.py", *arguments])
    script.main()
    return artifacts.load(f"results/variant_{arguments[0]}_0.json")


def finite(intervals):
    return all(low <= value <= high for value, low, high in intervals)


@pytest.mark.parametrize("row", ["ddpm", "ancestral", "dit"])
def test_one_net_and_its_samplers(script, monkeypatch, row):
    table = run(script, monkeypatch, row, "--ship")
    assert table["updates"] == [6] and table["presentations"] == [24]
    assert table["evaluations"] == [2, 3] and finite(table["fcd_half"])
    halves = row == "ancestral"  # it draws half as many samples
    assert table["fcd"] == [None, None] if halves else finite(table["fcd"])
    shown = artifacts.load(f"results/variant_{row}_0.safetensors")
    assert {k: v.shape for k, v in shown.items()} == dict.fromkeys(
        table["samplers"], (4, 1, 14, 14)
    )
    assert all(v.dtype == torch.uint8 for v in shown.values())


def test_a_latent_row_counts_its_autoencoder(script, monkeypatch):
    table = run(script, monkeypatch, "latent")
    assert table["stages"] == ["autoencoder", "codes"] and table["updates"] == [2, 4]
    assert table["code"] == [2, 7, 7] and table["rmse"] > 0 and table["code_noise"] > 0
    job = script.Job("latent", torch.zeros(2, 1, 14, 14), None, Fabric(), 0)
    nets = [job.fresh(stage) for stage in table["stages"]]
    assert table["parameters"] == sum(p.numel() for n in nets for p in n.parameters())
    assert nets[1].config["channels"] == 2 * tiny.NETS["unet"]["channels"]


class Fabric:
    """As much of a fabric as a job asks for."""

    device = torch.device("cpu")


def test_a_teacher_is_the_net_of_ddpm_and_is_not_trained_again(script, monkeypatch):
    first = run(script, monkeypatch, "ddpm")
    table = run(script, monkeypatch, "consistency")
    assert table["updates"] == [6, 3] and table["presentations"] == [24, 12]
    assert table["seconds"][0] == first["seconds"][0]
    assert table["loss"][0] == first["loss"][0]
    assert table["parameters"] == first["parameters"]
    equal = run(script, monkeypatch, "consistency_equal")
    assert equal["updates"] == [3, 3] and finite(equal["fcd"])
    again = run(script, monkeypatch, "consistency_equal")  # from its checkpoints
    assert again["fcd"] == equal["fcd"] and again["loss"] == equal["loss"]
    checkpoints = sorted(p.stem for p in script.paths.CACHE.glob("*.ckpt"))
    names = ["consistency_equal_student", "consistency_equal_unet"]
    names = [*names, "consistency_student", "ddpm_unet"]
    assert checkpoints == [f"variant_{name}_0" for name in names]


def test_a_killed_student_goes_on_as_it_would_have(script, monkeypatch):
    whole = run(script, monkeypatch, "consistency")
    for path in script.paths.CACHE.glob("*_student_*"):
        path.unlink()
    update = script.training.Run.update
    steps = []

    def fails(self, *arguments):
        steps.append(self.step)
        if len(steps) == 3:
            raise KeyboardInterrupt
        return update(self, *arguments)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(script.training.Run, "update", fails)
        run(script, patch, "consistency")
    again = run(script, monkeypatch, "consistency")
    assert again["fcd"] == whole["fcd"] and again["loss"] == whole["loss"]


def test_every_row_but_one_has_the_same_budget(root, monkeypatch):
    monkeypatch.syspath_prepend(root / "workflow" / "scripts")
    rows = importlib.import_module("variants")
    for row, stages in rows.STAGES.items():
        job = rows.Job(row, None, None, Fabric(), 0)
        recipes = [job.recipe(stage) for stage in stages]
        presented = sum(recipe.steps * recipe.batch for recipe in recipes)
        assert presented == 96_000 * (1.5 if row == "consistency" else 1)


def test_small_images_are_shown_with_each_pixel_four_times(script, monkeypatch):
    monkeypatch.setattr(Fabric, "to_device", lambda self, x: x, raising=False)
    job = script.Job("ddpm", None, None, Fabric(), 0)
    a, b = torch.rand(90, 1, 14, 14), torch.rand(100, 1, 14, 14)
    judge = script.judge.Judge(job, b)
    wide = [x.repeat_interleave(2, 2).repeat_interleave(2, 3) for x in (a, b)]
    by_hand = [features(judge.eyes, x) for x in wide]
    whole, half = judge.both(a)
    assert whole[0] == pytest.approx(metrics.frechet_distance(*by_hand))
    first = metrics.frechet_distance(by_hand[0][:40], by_hand[1])
    assert half[0] == pytest.approx(first)


@pytest.fixture
def costs(script, tmp_path, monkeypatch):
    """The script of the costs, with the same tiny nets."""
    found = importlib.import_module("variant_costs")
    changes = {"__file__": str(tmp_path / "variant_costs.py"), "IMAGES": 8}
    rows = importlib.import_module("variants")
    changes |= {"BATCH": {"cpu": 4, "cuda": 4}, "SAMPLERS": rows.SAMPLERS}
    for name, value in changes.items():
        monkeypatch.setattr(found, name, value)
    return found


def test_costs_of_all_rows(costs):
    costs.main()
    table = artifacts.load("results/variant_costs.json")
    assert table["evaluations"] == [2, 3, 2, 3, 2, 3, 2, 3, 1, 2]
    assert table["stages"] == ["unet", "dit", "autoencoder", "codes", "student"]
    assert table["ratio"][1] == [1, 1, 1]  # the last of ddpm
    for value, low, high in table["milliseconds"] + table["update_milliseconds"]:
        assert 0 < low <= value <= high
    unet, student = (table["training_bytes"][k] for k in (0, 4))
    assert student > unet and min(table["sampling_bytes"]) > 4 * 4 * 196


def test_the_peak_is_that_of_what_lives_at_once(costs):
    def work():
        a = torch.zeros(250_000)
        del a
        b, c = torch.zeros(100_000), torch.zeros(100_000)
        return b, c

    size = costs.peak(work, "cpu")
    assert 1_000_000 <= size < 1_001_000
    assert 2_000_000 <= costs.peak(lambda: torch.zeros(250_000) + 1, "cpu") < 2_001_000
    net = torch.nn.Conv2d(1, 8, 3)

    def walk(steps):
        x = torch.zeros(2, 1, 9, 9)
        with torch.no_grad():
            for _ in range(steps):
                x = net(x).mean(1, keepdim=True)
                x = torch.nn.functional.pad(x, (1, 1, 1, 1))

    two, many = (costs.peak(lambda n=n: walk(n), "cpu") for n in (2, 20))
    assert two == many  # so two steps tell the memory of a thousand
