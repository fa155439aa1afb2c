"""Training with one thing changed: tiny images, tiny nets, every row once."""

import math
import re
import sys

import pytest
import tiny
import torch

from helpers import artifacts, bound, data, networks, schedules, training
from helpers.classifier import Classifier
from helpers.forward import gaussian_noise
from helpers.recipe import Recipe

NET = {"unet": {"channels": 8, "multipliers": (1, 2), "blocks": 1}}
SMALLER = {
    "N": {"cpu": 80, "cuda": 80},
    "BATCH": {"cpu": 40, "cuda": 40},
    "BOUND_IMAGES": {"cpu": 3, "cuda": 3},
    "SIGMAS": [0.15, 10.0],
    "DDIM_STEPS": 3,
    "NOTES": 2,
    "REPEATS": 2,
    "FORWARD": 2,
}


def fake(name, split="train", n=None):
    """Smooth images with 256 levels, (n, 1, 28, 28)."""
    generator = torch.Generator().manual_seed(len(split))
    coarse = torch.rand(n or 200, 1, 4, 4, generator=generator) * 2 - 1
    smooth = torch.nn.functional.interpolate(coarse, 28, mode="bilinear")
    return data.to_unit(data.to_pixels(smooth))


@pytest.fixture
def script(tmp_path, root, monkeypatch):
    """The script in a project of its own, for 6 steps."""
    nets = {"NETS": {"cpu": NET, "cuda": NET}, "TESTS": 20}
    script = tiny.script("train_ablation", tmp_path, root, monkeypatch, **nets)
    for key, value in SMALLER.items():
        for part in (script, script.measures):
            if hasattr(part, key):
                monkeypatch.setattr(part, key, value)
    monkeypatch.setattr(data, "load", fake)
    monkeypatch.setattr(script, "stored", lambda _: [])
    short = schedules.linear(40, 1e-3, 0.4)  # nearly the same levels
    monkeypatch.setattr(schedules, "linear", lambda: short)
    parts = [(1, 1, 1), (2, 10, 9), (11, 40, 30)]
    monkeypatch.setattr(script.measures, "strata", lambda _: parts)
    eyes = Classifier(1).eval()
    monkeypatch.setattr(script.measures, "load_classifier", lambda _: eyes)
    return script


def run(script, monkeypatch, row, seed=0):
    monkeypatch.setattr(sys, "argv", ["train_ablation.py", row, "--seed", str(seed)])
    script.main()
    return artifacts.load(f"results/ablation_{row}_{seed}.json")


def loss_and_net(script, row, shape=(1, 14, 14)):
    torch.manual_seed(0)
    schedule = getattr(schedules, script.ROWS[row].get("schedule", "linear"))()
    net = script.build(script.ROWS[row], shape, "cpu")
    return script.loss_of(script.ROWS[row], schedule), net, schedule


def test_every_row_is_built_and_changes_what_it_says(script):
    assert len(script.TABLE_2) == 6 and len(script.ROWS) == 21
    images = script.measures.rounded(fake("x", n=8)[..., ::2, ::2])
    losses, counts, outputs = {}, {}, {}
    for row in script.ROWS:
        loss, net, schedule = loss_and_net(script, row)
        drawn = training.draw(images, schedule, Recipe(1, batch=8), 0)
        losses[row] = loss(net, drawn, schedule).item()
        counts[row] = networks.parameters(net)
        outputs[row] = net(images, 5).shape[1]
        assert math.isfinite(losses[row])
    noise = drawn.eps.square().mean().item()  # all nets say 0 at first
    assert losses["eps_simple"] == pytest.approx(noise, rel=1e-5)
    assert losses["answers_eps"] == losses["eps_simple"]
    clean = drawn.x0.square().mean().item()
    assert losses["answers_x0"] == pytest.approx(clean, rel=1e-5)
    base = counts.pop("baseline")
    assert counts["eps_simple"] == counts["mu_bound"] == base
    assert counts["adaptive_skips"] - base == 4
    for row in ("no_skips", "no_time", "no_attention", "narrow", "shallow"):
        assert counts[row] < base
    for row in ("wide", "deep", "mu_learned", "eps_learned"):
        assert counts[row] > base
    assert {r for r, C in outputs.items() if C == 2} == {"mu_learned", "eps_learned"}


def test_the_learned_variance_starts_at_one_and_the_fixed_one_is_beta(script):
    """A net that says 0: its losses in closed form."""
    images = script.measures.rounded(fake("x", n=64)[..., ::2, ::2])
    drawn = training.draw(images, schedules.linear(), Recipe(1, batch=64), 3)
    drawn = drawn._replace(t=drawn.t.clamp_min(2))
    for row in ("eps_bound", "eps_learned"):
        loss, net, schedule = loss_and_net(script, row)
        assert net(images, 5).abs().max() == 0
        table = bound.fixed_variance(schedule)
        v = torch.ones_like(table) if row == "eps_learned" else table
        noise, scale = schedule.noise_variance[drawn.t], schedule.alpha_bar[drawn.t]
        error = drawn.eps.double().square().flatten(1).mean(1) * noise / scale
        expected = bound.step_kl(schedule, drawn.t, error, v[drawn.t]).mean()
        found = loss(net, drawn, schedule).item()
        assert found == pytest.approx(expected.item(), rel=1e-5)


def test_a_row_of_table_2_from_start_to_end(script, monkeypatch):
    table = run(script, monkeypatch, "eps_learned")
    assert table["row"] == "eps_learned" and table["diverged"] is None
    assert table["step"] == [3, 6] and len(table["grad_norm"]) == 2
    assert all(a >= b for a, b in zip(table["largest_grad_norm"], table["grad_norm"]))
    assert table["bits"][0] == pytest.approx(
        sum(table["terms"]) + table["prior"], rel=0.01
    )
    assert table["first"] == [1, 2, 11] and len(table["terms"]) == 3
    assert "mse" not in table
    assert table["fcd"] is None or table["fcd"][0] > 0
    shown = artifacts.load("results/ablation_eps_learned_0.safetensors")["images"]
    assert shown.shape == (8, 1, 14, 14) and shown.dtype == torch.uint8
    again = run(script, monkeypatch, "eps_learned")  # from its last checkpoint
    same = ("loss", "held_out_loss", "bits", "fcd", "step", "train_seconds")
    assert all(again[key] == table[key] for key in same)


def test_a_net_that_answers_with_the_mean_is_sampled(script, monkeypatch):
    """Its answers stay what they are, whatever it was shown; so do the samples."""
    table = run(script, monkeypatch, "mu_simple", seed=1)
    assert table["N"] == 40 and table["fcd"][0] > 0


def test_a_row_of_the_u_net_from_start_to_end(script, monkeypatch, tmp_path):
    table = run(script, monkeypatch, "adaptive_skips", seed=1)
    assert not (
        tmp_path / "DATA/results/ablation_adaptive_skips_1.safetensors"
    ).exists()
    assert table["scales"] == pytest.approx([1] * 4, abs=0.01)  # 6 steps of warm-up
    assert table["sigma"] == [0.15, 10.0] and len(table["mse"]) == 2
    assert all(low <= value <= high for value, low, high in table["mse"])
    assert table["milliseconds"] > 0 and "bits" not in table
    assert (
        tmp_path / "DATA/results/ablation_adaptive_skips_1.json"
    ).stat().st_size < 3000
    entry = artifacts.manifest()["results/ablation_adaptive_skips_1.json"]
    assert entry["command"] == "python train_ablation.py adaptive_skips --seed 1"


def test_a_net_that_answers_with_the_image(script, monkeypatch):
    table = run(script, monkeypatch, "answers_x0", seed=1)
    assert table["mse"][1][0] < 10 and "bits" not in table  # as v it would say 100


def test_a_run_that_diverges_is_a_result(script, monkeypatch):
    calls = []

    def exploding(net, drawn, schedule):
        calls.append(1)
        factor = math.inf if net.training and len(calls) > 5 else 1.0
        return factor * training.v_loss(net, drawn, schedule)

    monkeypatch.setattr(script, "loss_of", lambda *_: exploding)
    table = run(script, monkeypatch, "mu_simple")
    assert table["diverged"] == 5 and table["step"] == [3]
    assert table["bits"] is None or table["bits"][0] > 0


def test_what_is_not_a_number_becomes_null(script):
    measures, fabric = script.measures, script.processes("32-true")
    halves = fake("x", n=80)[..., ::2, ::2].split(40)
    samples = torch.full((40, 1, 14, 14), math.nan)
    table = measures.quality(samples, halves, fabric)
    assert table["fcd"] is None and table["floor"][0] > 0
    assert measures.interval(torch.tensor([1.0, math.inf])) is None
    found = script.finite({"a": [1.0, math.nan, {"b": math.inf}], "c": 2})
    assert found == {"a": [1.0, None, {"b": None}], "c": 2}
    perfect = measures.quality(halves[0], halves, fabric)
    assert perfect["fcd"][0] == pytest.approx(0, abs=1e-6) and perfect["clipped"] == 0


def test_errors_at_fixed_levels_of_a_net_that_is_known(script):
    """A net that says v = 0: its x_0 is x / (1 + sigma^2)."""
    held_out = script.measures.rounded(fake("x", n=30)[..., ::2, ::2])
    fabric, schedule = script.processes("32-true"), schedules.linear()
    table = script.measures.levels(lambda x, t: 0 * x, schedule, held_out, fabric)
    noise = gaussian_noise(torch.Generator().manual_seed(2))
    for sigma, (value, low, high) in zip(table["sigma"], table["mse"]):
        eps = noise(held_out)
        answer = (held_out + sigma * eps) / (1 + sigma**2)
        assert value == pytest.approx((answer - held_out).square().mean().item())
        assert low < value < high


def test_the_images_have_256_levels_and_the_halves_differ(script):
    images, held_out, reference, other = script.measures.image_sets("cpu")
    assert images.shape == (200, 1, 14, 14) and len(held_out) == 20
    for x in (images, held_out, reference, other):
        level = (x + 1) * 127.5
        assert (level - level.round()).abs().max() < 1e-4
    assert (len(reference), len(other)) == (100, 80)  # half of 200, and N
    assert not torch.equal(reference, other)
    large = script.measures.large(reference)
    assert large.shape[-1] == 28 and torch.equal(large[..., ::2, 1::2], reference)


def test_every_schedule_knows_the_fixed_levels(script):
    for name in ("linear", *script.OTHERS):
        sigma = getattr(schedules, name)().sigma
        assert sigma[1] < min(script.measures.SIGMAS)
        assert sigma[-1] > max(script.measures.SIGMAS)


def test_the_abrupt_schedule_loses_five_decades_in_one_step():
    schedule = schedules.abrupt()
    lost = schedule.snr[1:].log10().diff()
    assert lost.argmin() == 499 and lost.min().item() == pytest.approx(-5)
    rest = torch.cat([lost[:499], lost[500:]])
    torch.testing.assert_close(rest, torch.full_like(rest, -3 / 998))
    ends = schedule.sigma[[1, -1]]
    torch.testing.assert_close(ends, torch.tensor([0.01, 100.0]).double())
    few = schedules.abrupt(T=10, decades=4.0).snr[1:].log10().diff()
    assert few.tolist() == pytest.approx([-0.5] * 4 + [-4.0] + [-0.5] * 4)
    for bad in ({"T": 3}, {"T": 2}, {"decades": 8.0}, {"decades": 0.0}):
        with pytest.raises(ValueError, match=r"even and at least 4.*between 0 and 8"):
            schedules.abrupt(**bad)


def test_the_plan_has_every_row(script, root):
    text = (root / "workflow/Snakefile").read_text()
    planned = " ".join(re.findall(r'^ABLATIONS \+?= "(.*)"', text, re.MULTILINE))
    assert planned.split() == list(script.ROWS)
