"""The image sets of the small nets: which images are held out, and where one looks."""

import sys

import pytest
import tiny
import torch

from helpers import data


@pytest.fixture
def script(tmp_path, root, monkeypatch):
    return tiny.script("probe", tmp_path, root, monkeypatch)


@pytest.fixture
def sets(script):
    return sys.modules["locality_sets"]


@pytest.mark.parametrize(("name", "kept"), [("afhq_cat32", 500), ("cifar10", 0)])
def test_no_image_is_trained_on_and_held_out(sets, monkeypatch, name, kept):
    stored = {"train": torch.rand(600, 1, 4, 4), "test": torch.rand(30, 1, 4, 4)}

    def load(name, split="train", count=None):
        return stored[split][:count]

    monkeypatch.setattr(data, "load", load)
    images, held_out = sets.split(name, "cuda")
    assert len(images) == 600 - kept and len(held_out) == (kept or sets.TESTS)
    together = torch.cat([images, held_out]) if kept else images
    assert torch.equal(together, stored["train"])
    assert kept or torch.equal(held_out, stored["test"][: sets.TESTS])
    means = sets.split(name, "cpu")[1]
    corner = held_out[:, :, :2, :2].mean(dim=(2, 3))
    torch.testing.assert_close(means[:, :, 0, 0], corner)
    assert means.shape[2:] == (2, 2)
    assert sets.stored(name) == [f"{name}-train"] + [f"{name}-test"] * (not kept)


def test_places_lie_in_the_image_and_the_mirror_windows_apart(sets, script):
    for name in sets.SETS:
        for side in (14, 16, 28, 32):
            places = sets.places(name, side)
            assert all(0 <= v < side for place in places.values() for v in place)
            column = places["eye"][1]
            assert side - 1 - 2 * column >= script.MIRROR
