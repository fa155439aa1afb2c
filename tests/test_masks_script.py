"""The script that compares masks, batches and denoisers, on handwritten digits."""

import importlib.util
import json
import sys
from functools import partial

import pytest
import torch

from helpers import artifacts, data, paths
from helpers.forward import gaussian_noise
from helpers.masks import gain_ratio
from helpers.metrics import bootstrap, mse
from helpers.wiener import Wiener

DIGITS = data.load("digits", n=60)
IMAGES, OTHERS, TEST = DIGITS.split([50, 5, 5])
THRESHOLD = 0.05


@pytest.fixture
def script(monkeypatch):
    """The script as a module, with fewer values to try."""
    path = paths.ROOT / "workflow/scripts/masks.py"
    monkeypatch.syspath_prepend(path.parent)
    spec = importlib.util.spec_from_file_location("masks_script", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "SIDES", (3, 7))
    monkeypatch.setattr(module, "SMOOTHING", (0.1, 0.4))
    monkeypatch.setattr(module, "THRESHOLDS", (0.02, THRESHOLD, 0.5))
    monkeypatch.setattr(module, "BATCHES", (8, 40, 1000))
    for part in (module, importlib.import_module("levels")):
        monkeypatch.setattr(part, "WALKS", 2)
    monkeypatch.setattr(module, "bootstrap", partial(bootstrap, draws=20))  # faster
    return module


def noise():
    return gaussian_noise(torch.Generator().manual_seed(0))


@pytest.fixture
def levels(script):
    return script.Levels(TEST, noise())


@pytest.fixture
def wiener(script):
    return script.moments_filter(IMAGES)


def literal(x, y, mask, sigma):
    """The masked denoiser as a loop over outputs, float64."""
    x, y = x.flatten(1).double(), y.flatten(1).double()
    squares = (x[:, None] - y).square()  # (B, N, n)
    answer = torch.empty_like(x)
    for m, row in enumerate(mask):
        logits = -squares[:, :, row].sum(dim=2) / (2 * sigma**2)
        answer[:, m] = logits.softmax(dim=1) @ y[:, m]
    return answer


@pytest.mark.parametrize("sigma", [0.4, 5.0])
def test_batches_count_the_same_even_a_short_one(script, wiener, sigma):
    """Batches of 20, 20 and 10 images, each with a softmax of its own."""
    x, mask = TEST + sigma * noise()(TEST), script.wiener_mask(wiener, sigma, 0.05)
    whole = script.masked(IMAGES, wiener, 0.05)
    expected = sum(literal(x, y, mask, sigma) for y in IMAGES.split(20)) / 3
    found = script.per_batch(whole, 20)(x, sigma).flatten(1).double()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    exact = literal(x, IMAGES, mask, sigma)
    torch.testing.assert_close(
        whole(x, sigma).flatten(1).double(), exact, rtol=0, atol=1e-5
    )
    assert (exact - expected).abs().max() > 0.01


def test_one_batch_is_exact_and_single_images_give_the_mean(script, wiener):
    whole, x = script.masked(IMAGES, wiener, 0.05), TEST + noise()(TEST)
    assert torch.equal(script.per_batch(whole, len(IMAGES))(x, 1.0), whole(x, 1.0))
    mean = IMAGES.mean(dim=0).expand_as(x)
    torch.testing.assert_close(script.per_batch(whole, 1)(x, 1.0), mean)


def test_batches_share_their_masks(script, wiener):
    whole, x = script.masked(IMAGES, wiener, 0.05), TEST + noise()(TEST)
    asked, mask = [], whole.mask
    whole.mask = lambda sigma: asked.append(sigma) or mask(sigma)
    for sigma in (1.0, 2.0):
        script.per_batch(whole, 20)(x, sigma)
        script.per_batch(whole, 8)(x, sigma)
        whole(x, sigma)
    assert asked == [1.0, 2.0]


def test_the_filter_computes_each_matrix_once(script, wiener, monkeypatch):
    """Also where a mask writes ones on the diagonal of what it was given."""
    expected = Wiener.fit(IMAGES)
    first = gain_ratio(wiener, 0.3)
    monkeypatch.setattr(wiener, "apply", None)  # it could not compute it again
    assert torch.equal(gain_ratio(wiener, 0.3), first)
    torch.testing.assert_close(first, gain_ratio(expected, 0.3))
    torch.testing.assert_close(wiener.matrix(0.3), expected.matrix(0.3))
    assert (wiener.matrix(0.3).diagonal() < 1e-6).any()


def test_levels_have_one_noise_and_end_where_the_denoiser_says(levels):
    assert levels.times == [901, 801, 701, 601, 501, 401, 301, 201, 101, 1]
    assert levels.sigmas == sorted(levels.sigmas, reverse=True)
    for x, sigma in zip(levels.noisy, levels.sigmas):
        eps = (levels.noisy[0] - TEST) / levels.sigmas[0]
        torch.testing.assert_close(x, TEST + sigma * eps, rtol=1e-5, atol=1e-5)
    run = levels.run(lambda x, sigma: torch.full_like(x, sigma))
    assert torch.equal(run.end, torch.full((2, 1, 8, 8), levels.sigmas[-1]))
    errors = levels.errors(run.answers)
    assert errors.shape == (10, len(TEST))
    assert torch.equal(errors[3], mse(torch.full_like(TEST, levels.sigmas[3]), TEST))


def test_the_best_value_is_taken_at_each_level(script, levels):
    """A family that is right with 1 at much noise and with 2 at little."""

    def family(value):
        return lambda x, sigma: TEST + value - (1 if sigma > 3 else 2)

    table, denoise = script.tune(family, (1, 2, 4), levels)
    assert table["best"] == [1 if s > 3 else 2 for s in levels.sigmas]
    assert table["mse"].shape == (3, 10)
    for answer in levels.answers(denoise):
        torch.testing.assert_close(answer, TEST, rtol=0, atol=1e-6)


def test_conventions_are_compared_with_the_first(script, wiener, levels):
    table, first = script.convention_table(IMAGES, wiener, THRESHOLD, levels)
    released = table["source_global"]
    assert released["r2"] == [[1.0, 1.0, 1.0]] * 10
    assert released["end_r2"] == [1.0, 1.0, 1.0]
    assert table["output_global"]["density"] == released["density"]  # transposed
    assert min(r2[0] for r2 in table["output_row"]["r2"]) < 0.99
    for level, sigma in enumerate(levels.sigmas):
        mask = script.wiener_mask(wiener, sigma, THRESHOLD, per_row=True)
        row = table["source_row"]
        assert row["density"][level] == mask.double().mean()
        alone = sum(m.sum() == 1 for m in mask) / len(mask)
        assert row["alone"][level].item() == pytest.approx(alone.item())
        ratio = gain_ratio(wiener, sigma)
        assert released["largest"][level] == ratio.max() >= 1
        still = (wiener.matrix(sigma).diagonal() < 1e-6).double().mean()
        assert released["still"][level] == still > 0
    answer = first.denoise(levels.noisy[0], levels.sigmas[0])
    assert torch.equal(first.answers[0], answer)


def test_all_tables_are_as_documented(script, monkeypatch):
    """The whole script for `digits`, in small; every number finite."""
    saved = {}
    monkeypatch.setitem(script.SETS, "digits", (50, THRESHOLD))
    monkeypatch.setattr(
        artifacts.Experiment,
        "save",
        lambda self, name, table: saved.update({name: artifacts.encode(name, table)}),
    )
    monkeypatch.setattr(sys, "argv", ["masks.py", "digits", "--tests", "4"])
    monkeypatch.setattr(script.data, "load", lambda *_: DIGITS)
    script.main()
    table = json.loads(saved["results/masks_digits.json"])
    assert table["N"] == 50 and table["tests"] == 4 and table["walks"] == 2
    assert len(table["t"]) == len(table["sigma"]) == 10
    for part in table["conventions"].values():
        keys = ("density", "alone", "largest", "still", "mse", "r2")
        assert all(len(part[key]) == 10 for key in keys) and len(part["end_r2"]) == 3
    thresholds, batches = table["thresholds"], table["batches"]
    assert len(thresholds["mse"]) == len(thresholds["density"]) == 3
    means = torch.tensor(thresholds["mse"])[..., 0]  # (thresholds, levels)
    assert thresholds["best"] == [script.THRESHOLDS[i] for i in means.argmin(dim=0)]
    released = table["conventions"]["source_global"]
    assert thresholds["mse"][1] == released["mse"] == batches["mse"][-1]
    assert batches["K"] == [8, 40, 50] and batches["end_r2"][-1] == [1.0, 1.0, 1.0]
    assert table["tuned"]["crop_mean"]["value"] == [3, 7, 8]  # 8: the whole image
    assert set(table["denoisers"]) == {
        *("mean", "nearest", "optimal", "wiener", "masked"),
        *("local_score", "crop_mean", "smoothed"),
    }
    for part in table["denoisers"].values():
        assert len(part["mse"]) == 10 and "net_r2" not in part


def test_agreement_with_the_net_where_there_is_one(script, levels):
    answers = {"net": [TEST] * 10, "grey": [0.5 * TEST] * 10}
    table = script.denoiser_table(answers, levels)
    assert table["net"]["net_r2"] == [[1.0, 1.0, 1.0]] * 10
    assert all(r2[0] < 1 for r2 in table["grey"]["net_r2"])
    assert script.network("digits", levels.schedule) == {}
