"""The script that trains the book's networks, on a set and a net that are tiny."""

import importlib
import json
import sys

import pytest
import torch

from helpers import artifacts, networks, paths


@pytest.fixture
def script(tmp_path, root, monkeypatch):
    """The script in a project of its own, for 40 steps on the digits."""
    monkeypatch.syspath_prepend(root / "workflow" / "scripts")
    script = importlib.import_module("train_unet")
    for name in ("DATA", "BUILD", "CACHE"):
        monkeypatch.setattr(paths, name, tmp_path / name)
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    (tmp_path / "requirements.lock").write_text("")
    net = {"image_size": 8, "in_channels": 1, "attention": ()}
    tiny = {"channels": 4, "blocks": 1, "dropout": 0.5, "groups": 2}
    for name, value in {
        "__file__": str(tmp_path / "train_unet.py"),
        "SETS": {"digits": net},
        "WITHOUT_TEST": {"digits"},
        "HELD_OUT": 100,
        "DRAWN": 16,
        "NET": {"cpu": tiny, "cuda": tiny},
        "MULTIPLIERS": {8: (1,)},
        "STEPS": {"digits": 40},
        "SHORT": script.SHORT | {"batch": 4},
        "LONG": script.LONG | {"batch": 4, "steps": 40},
    }.items():
        monkeypatch.setattr(script, name, value)
    monkeypatch.setattr(sys, "argv", ["train_unet.py", "digits"])
    return script


def made():
    weights = artifacts.load("weights/digits.safetensors")
    return artifacts.load("results/unet_digits.json"), weights


def test_a_killed_run_ships_what_a_whole_run_ships(script, monkeypatch, capsys):
    script.main()
    losses, weights = made()
    assert losses["step"] == list(range(1, 41)) and len(losses["held_out"]) == 40
    net = networks.load_net("digits")
    assert torch.equal(net.head.weight, weights["head.weight"].float())
    assert net.config["image_size"] == 8 and not net.training
    assert losses["held_out"][0] == pytest.approx(1, abs=0.3)

    script.main()  # at its end already: the same once more
    assert made()[0] == losses

    for file in paths.CACHE.iterdir():
        file.unlink()
    write = script.Log.add

    def killed(log, step, *row):
        if step == 20:
            raise KeyboardInterrupt
        write(log, step, *row)

    with monkeypatch.context() as patch:
        patch.setattr(script.Log, "add", killed)
        with pytest.raises(KeyboardInterrupt):
            script.main()
    saved = json.loads((paths.CACHE / "unet_digits.json").read_text())
    assert saved["step"] == list(range(1, 20))
    script.main()
    again, same = made()
    assert again == losses
    assert all(torch.equal(value, same[name]) for name, value in weights.items())
