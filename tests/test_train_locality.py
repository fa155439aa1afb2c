"""The script that trains a net and watches its fields: tiny images, tiny nets."""

import importlib
import json
import sys

import pytest
import torch

from helpers import artifacts, metrics, networks, paths, schedules
from helpers.dit import DiT
from helpers.resnet import ResNet
from helpers.wiener import Wiener

NET = {
    "unet": {"channels": 4, "multipliers": (1, 2), "blocks": 1},
    "resnet": {"channels": 4, "blocks": 0},
    "dit": {"width": 8, "depth": 1, "heads": 1},
    "mlp": {"width": 8, "depth": 0},
}


@pytest.fixture
def script(tmp_path, root, monkeypatch):
    """The script in a project of its own, for 6 steps on toy faces of 16 x 16."""
    monkeypatch.syspath_prepend(root / "workflow" / "scripts")
    script = importlib.import_module("train_locality")
    for name in ("DATA", "BUILD", "CACHE"):
        monkeypatch.setattr(paths, name, tmp_path / name)
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    (tmp_path / "requirements.lock").write_text("")
    for name, value in {
        "__file__": str(tmp_path / "train_locality.py"),
        "NETS": {"cpu": NET, "cuda": NET},
        "SHORT": script.SHORT | {"batch": 4, "steps": 6},
        "LONG": script.LONG | {"batch": 4, "steps": 6},
        "STEPS": (0, 2),
        "EVERY": 3,
        "SIGMAS": [0.1, 1.0, 10.0],
        "INPUTS": 4,
        "BLOCKS": 2,
        "IMAGES": 300,
        "TESTS": 20,
    }.items():
        monkeypatch.setattr(script, name, value)
    return script


def run(script, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["train_locality.py", *arguments])
    script.main()
    name = "locality_" + "_".join([*arguments[:2], "0"])
    fields = artifacts.load(f"results/{name}.safetensors")
    return artifacts.load(f"results/{name}.json"), fields


def test_a_killed_run_ends_with_the_table_of_a_whole_run(script, monkeypatch):
    table, fields = run(script, monkeypatch, "toy_faces", "dit", "--ship")
    assert table["step"] == [0, 2, 6]
    assert set(fields) == {"final", "architecture", "wiener"}
    assert all(f.shape == (3, 4, 1, 16, 16) for f in fields.values())
    assert table["within5"][0] == [[1.0] * 4] * 3  # D(x) = x
    assert table["varies"][0] == [[0.0] * 4] * 3
    assert table["off"][0] == [[0.0] * 4] * 3

    final, w = (fields[k].double().flatten(0, 1) for k in ("final", "wiener"))
    by_hand = metrics.pearson(final, w).view(3, 4).tolist()
    for found, expected in zip(table["pearson"][-1], by_hand):
        assert found == pytest.approx(expected, abs=2e-3)
    for key in ("pearson", "off", "r2"):
        for row, plain in zip(table[f"{key}_interval"], table[key][-1]):
            assert all(low <= value <= high for value, low, high in row)
            values = [value for value, _, _ in row]
            assert values == pytest.approx(plain, abs=0.1)  # two inputs a block

    weights = artifacts.load("weights/locality_toy_faces_dit_0.safetensors")
    entry = artifacts.manifest()["weights/locality_toy_faces_dit_0.safetensors"]
    net = DiT(**entry["parameters"]["net"]).eval()
    networks.load_weights(net, {k: v.float() for k, v in weights.items()})

    for file in paths.CACHE.iterdir():
        file.unlink()
    measure = script.Log.add

    def killed(log, step, numbers):
        if step == 6:
            raise KeyboardInterrupt
        measure(log, step, numbers)

    with monkeypatch.context() as patch:
        patch.setattr(script.Log, "add", killed)
        with pytest.raises(KeyboardInterrupt):
            run(script, patch, "toy_faces", "dit")
    log = json.loads((paths.CACHE / "locality_toy_faces_dit_0.json").read_text())
    assert set(log["rows"]) == {"0", "2"}
    again, same = run(script, monkeypatch, "toy_faces", "dit")
    assert again == table
    assert all(torch.equal(value, same[name]) for name, value in fields.items())


@pytest.mark.parametrize("kind", ["unet", "unet_plain", "resnet", "mlp"])
def test_the_other_nets(script, monkeypatch, kind):
    table, _ = run(script, monkeypatch, "toy_faces", kind)
    assert len(table["mse"]) == 3 and len(table["excess"]) == 3
    assert table.get("receptive_field") == (5 if kind == "resnet" else None)
    attentions = [
        module
        for module in script.build(kind, (1, 16, 16), "cpu").modules()
        if type(module).__name__ == "Attention"
    ]
    assert bool(attentions) == (kind == "unet")


def test_the_long_run_is_the_unet_with_more_steps(script):
    torch.manual_seed(0)
    nets = [script.build(kind, (3, 16, 16), "cpu") for kind in ("unet", "unet_long")]
    assert nets[0].config == nets[1].config
    short, long = (script.length(kind, "cpu") for kind in ("unet", "unet_long"))
    assert long.pop("steps") == 4 * short.pop("steps") and long == short


def test_the_filter_measured_as_a_net_agrees_with_itself(script):
    images, held_out = script.split("toy_faces", "cpu")
    assert images.shape == (300, 1, 16, 16) and len(held_out) == 20
    probe = script.probe("toy_faces", images, held_out, seed=0)
    wiener = Wiener.fit(images)
    numbers, _ = script.measure(wiener, probe, "cpu")
    ones = torch.ones(3, 4, dtype=torch.float64)
    for key in ("pearson", "r2", "off"):
        torch.testing.assert_close(numbers[key], ones, rtol=0, atol=1e-5)
    assert numbers["varies"].max() < 1e-8
    torch.testing.assert_close(probe.fields[1, 2], wiener.row((0, 8, 0), 1.0))
    x = held_out + 10 * probe.eps
    error = (wiener(x, 10.0) - held_out).square().mean()
    torch.testing.assert_close(numbers["mse"][2], error.double(), rtol=1e-5, atol=0)


def test_architecture_is_a_field_of_eps_alone(script):
    torch.manual_seed(0)
    images, held_out = script.split("toy_faces", "cpu")
    probe = script.probe("toy_faces", images, held_out, seed=0)
    net = ResNet(16, 1, channels=4, blocks=0)
    schedule = schedules.linear()
    numbers, field = script.architecture(net, schedule, probe, "cpu")
    assert not net(held_out, 5).any()  # the net itself is as it was
    corner = field[0, 3, 0]
    assert corner[:3, :3].all() and not corner[3:].any() and not corner[:, 3:].any()
    assert numbers["within5"][0, 0] == 1


def test_places_lie_in_the_image_and_the_mirror_windows_apart(script):
    for name in script.SETS:
        for side in (14, 16, 28, 32):
            places = script.places(name, side)
            assert all(0 <= v < side for place in places.values() for v in place)
            column = places["eye"][1]
            assert side - 1 - 2 * column >= script.MIRROR
