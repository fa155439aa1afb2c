"""The scripts that train nets, in a project of their own: tiny images, tiny nets."""

import importlib

from helpers import paths

NETS = {
    "unet": {"channels": 4, "multipliers": (1, 2), "blocks": 1},
    "resnet": {"channels": 4, "blocks": 0},
    "dit": {"width": 8, "depth": 1, "heads": 1},
    "mlp": {"width": 8, "depth": 0},
}
LENGTH = {"batch": 4, "steps": 6}
FEWER = {
    "NETS": {"cpu": NETS, "cuda": NETS},
    "STEPS": (0, 2),
    "EVERY": 3,
    "SIGMAS": [0.1, 1.0, 10.0],
    "INPUTS": 4,
    "BLOCKS": 2,
    "IMAGES": 300,
    "TESTS": 20,
}
PARTS = ("locality_sets", "edited_sets", "watched", "probe")


def script(name, folder, root, monkeypatch, **changes):
    """A script of the workflow with 6 steps to go; what it makes is in `folder`."""
    monkeypatch.syspath_prepend(root / "workflow" / "scripts")
    parts = {part: importlib.import_module(part) for part in (*PARTS, name)}
    for place in ("DATA", "BUILD", "CACHE"):
        monkeypatch.setattr(paths, place, folder / place)
    monkeypatch.setattr(paths, "ROOT", folder)
    (folder / "requirements.lock").write_text("")
    monkeypatch.setattr(parts[name], "__file__", str(folder / f"{name}.py"))
    known = {key: getattr(parts["watched"], key) | LENGTH for key in ("SHORT", "LONG")}
    for key, value in (known | FEWER | changes).items():
        for part in parts.values():  # each has its own name for it
            if hasattr(part, key):
                monkeypatch.setattr(part, key, value)
    return parts[name]
