"""The script that trains a net and watches its fields: tiny images, tiny nets."""

import json
import sys

import pytest
import tiny
import torch

from helpers import artifacts, metrics, networks, paths, schedules
from helpers.dit import DiT
from helpers.resnet import ResNet


@pytest.fixture
def script(tmp_path, root, monkeypatch):
    """The script in a project of its own, for 6 steps on toy faces of 16 x 16."""
    return tiny.script("train_locality", tmp_path, root, monkeypatch)


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
    Log = sys.modules["watched"].Log
    add = Log.add

    def killed(log, step, numbers):
        if step == 6:
            raise KeyboardInterrupt
        add(log, step, numbers)

    with monkeypatch.context() as patch:
        patch.setattr(Log, "add", killed)
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
