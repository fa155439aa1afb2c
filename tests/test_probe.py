"""What a denoiser is asked: the Wiener filter, asked the same, agrees with itself."""

import sys

import tiny
import torch

from helpers.wiener import Wiener


def test_the_filter_measured_as_a_net_agrees_with_itself(tmp_path, root, monkeypatch):
    script = tiny.script("probe", tmp_path, root, monkeypatch)
    images, held_out = sys.modules["locality_sets"].split("toy_faces", "cpu")
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
