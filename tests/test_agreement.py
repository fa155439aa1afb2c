"""Agreement of two denoisers against the definitions, the sampler, the benchmark."""

import importlib.util
import json
import math
import sys

import numpy as np
import pytest
import torch

from helpers import agreement, artifacts, data, metrics, paths, sampling, schedules
from helpers.denoisers import Optimal, clipped
from helpers.forward import gaussian_noise
from helpers.wiener import Wiener

LINEAR = schedules.linear()
TIMES = schedules.leading(LINEAR.T, 10)


def randn(*shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=dtype)


DATA = randn(12, 2, 3, 3).mul(0.4).clamp(-1, 1)
OPTIMAL, WIENER = Optimal(DATA), Wiener.fit(DATA)
XT = randn(5, 2, 3, 3, seed=1)


def steps(denoise, clip=True):
    return list(agreement.walk(denoise, XT, LINEAR, TIMES, clip))


def test_released_r2_one_image_at_a_time():
    """Against NumPy's unbiased variance."""
    a, u = randn(4, 2, 3, 5), randn(4, 2, 3, 5, seed=1) + 0.7
    for i, found in enumerate(agreement.released_r2(a, u).tolist()):
        v = np.var(u[i].numpy(), ddof=1)
        error = ((a[i] - u[i]) ** 2).sum().item()
        assert found == pytest.approx(1 - error / (30 * v), rel=1e-12)


def test_released_r2_and_the_usual_one():
    a, u = randn(6, 3, 4, 4), randn(6, 3, 4, 4, seed=1)
    usual, n = metrics.r2_score(a, u), 48
    expected = 1 - (n - 1) / n * (1 - usual)
    torch.testing.assert_close(agreement.released_r2(a, u), expected)
    assert (agreement.released_r2(a, u) > usual).all()
    assert agreement.released_r2(u, u).tolist() == [1.0] * 6


def test_a_reference_without_contrast_has_variance_one():
    flat, a = torch.full((1, 1, 2, 2), 0.3), torch.full((1, 1, 2, 2), 0.8)
    assert agreement.released_r2(a, flat).item() == pytest.approx(1 - 0.25)
    assert metrics.r2_score(a, flat).item() == -math.inf


def test_scores_are_the_measures_in_float64():
    a, u = randn(3, 1, 4, 4, dtype=torch.float32), randn(3, 1, 4, 4, seed=1)
    found = agreement.scores(a, u)
    assert {v.dtype for v in found} == {torch.float64}
    assert torch.equal(found.mse, metrics.mse(a.double(), u))
    assert torch.equal(found.r, metrics.pearson(a.double(), u))
    r = found.r  # the best that scale and offset can do: R^2 = r^2
    b, m = a.double(), (1, 2, 3)
    slope = r * (u.std(m) / b.std(m))
    fit = (b - b.mean(m, True)) * slope.view(-1, 1, 1, 1) + u.mean(m, True)
    torch.testing.assert_close(metrics.r2_score(fit, u), r**2)


@pytest.mark.parametrize("denoise", [OPTIMAL, WIENER], ids=["optimal", "wiener"])
def test_without_clipping_the_walk_is_ddim(denoise):
    expected = list(sampling.ddim(denoise, XT, LINEAR, TIMES))
    for a, b in zip(steps(denoise, clip=False), expected, strict=True):
        assert a.t == b.t and torch.equal(a.xt, b.xt)
        assert torch.equal(a.x0_hat, b.x0_hat)


def test_the_released_walk_in_their_words():
    """Fact sheet 3.3: the noise from the answer, the clip only in the first term."""

    def strong(x, sigma):
        return 3 * WIENER(x, sigma)

    x, t_alpha = XT, LINEAR.alpha_bar
    for step, s in zip(steps(strong), [*TIMES[1:], None], strict=True):
        a = t_alpha[step.t]
        torch.testing.assert_close(step.xt, x)
        x0 = strong(x / a.sqrt(), ((1 - a) / a).sqrt())
        torch.testing.assert_close(step.x0_hat, x0)
        if s is not None:
            eps = (x - a.sqrt() * x0) / (1 - a).sqrt()
            b = t_alpha[s]
            x = b.sqrt() * x0.clamp(-1, 1) + (1 - b).sqrt() * eps
    assert step.x0_hat.abs().max() > 1.5  # the sample is not clipped
    other = list(sampling.ddim(clipped(strong), XT, LINEAR, TIMES))
    assert (other[-1].xt - step.xt).abs().max() > 1e-3


def test_a_denoiser_that_stays_inside_walks_the_same_with_clipping():
    for a, b in zip(steps(OPTIMAL), steps(OPTIMAL, clip=False), strict=True):
        torch.testing.assert_close(a.xt, b.xt)


@pytest.mark.parametrize("times", [[], [5, 5], [3, 7], [4, 0]], ids=str)
def test_the_walk_refuses_times_that_do_not_fall(times):
    with pytest.raises(ValueError, match="fall to at least 1"):
        list(agreement.walk(OPTIMAL, XT, LINEAR, times))


def test_trajectories_compare_answers_of_two_walks():
    model, net = steps(WIENER), steps(OPTIMAL)
    found = agreement.trajectory(iter(model), iter(net))
    assert found.r2.shape == found.mse.shape == found.r.shape == (10, 5)
    a, u = model[7].x0_hat, net[7].x0_hat
    assert torch.equal(found.r2[7], agreement.released_r2(a, u))
    assert agreement.trajectory(net, net).r2.unique().tolist() == [1.0]
    with pytest.raises(ValueError, match="other timesteps"):
        agreement.trajectory(model, net[:-1])


def test_single_steps_meet_at_the_points_of_one_walk():
    """The model is first, the net the reference, whoever walked."""
    model, net = steps(WIENER), steps(OPTIMAL)
    there = agreement.single_step(WIENER, net, LINEAR)
    back = agreement.single_step(OPTIMAL, model, LINEAR, of_net=False)
    for k, t in enumerate(TIMES):
        for found, path in ((there, net), (back, model)):
            a, u = (
                sampling.predict(d, path[k].xt, t, LINEAR) for d in (WIENER, OPTIMAL)
            )
            torch.testing.assert_close(found.r2[k], agreement.released_r2(a, u))
            torch.testing.assert_close(found.mse[k], metrics.mse(a, u))
    first = agreement.trajectory(model, net)  # all three begin at the same noise
    torch.testing.assert_close(there.r2[0], first.r2[0])
    torch.testing.assert_close(back.r2[0], first.r2[0])
    assert (there.r2[-1] - back.r2[-1]).abs().max() > 1e-3


def test_intervals_are_those_of_the_bootstrap():
    values = randn(2, 3, 40)
    found = agreement.intervals(values, torch.Generator().manual_seed(7), draws=300)
    assert found.shape == (2, 3, 3)
    for i in range(2):
        for j in range(3):
            generator = torch.Generator().manual_seed(7)
            one = metrics.bootstrap(values[i, j], generator, draws=300)
            torch.testing.assert_close(found[i, j], torch.tensor(one).double())


def test_intervals_of_a_difference_are_paired():
    """What is common to both models does not widen it."""
    common = 5 * randn(60)
    a, b = common + 1, common + 0.02 * randn(60, seed=1)
    generator = torch.Generator().manual_seed(0)
    one, gap = agreement.intervals(torch.stack([a, a - b]), generator)
    assert one[2] - one[1] > 1 > 0.05 > gap[2] - gap[1]


@pytest.mark.parametrize("bad", [torch.ones(3, 1), torch.tensor([1.0, math.nan, 2])])
def test_intervals_refuse_too_little(bad):
    with pytest.raises(ValueError, match="at least two images"):
        agreement.intervals(bad, torch.Generator())


# The script of the benchmark, in small, on handwritten digits


DIGITS = data.load("digits", n=70)
FEWER = {
    "SIDES": (3, 7),
    "SMOOTHING": (0.2, 0.4),
    "DRAWS": 2,
    "FACTORS": (2,),
    "BATCHES": (16, 1000),
    "CLOUDS": (0, 0.5, 1),
    "HOT": (1, 2),
    "POWERS": (1,),
    "PATCHES": 5,
    "STARTS": 2,
}


@pytest.fixture(scope="module")
def script():
    folder, monkey = paths.ROOT / "workflow" / "scripts", pytest.MonkeyPatch()
    monkey.syspath_prepend(str(folder))
    spec = importlib.util.spec_from_file_location("bench", folder / "agreement.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, value in FEWER.items():
        for part in (module, sys.modules["candidates"]):
            if hasattr(part, name):
                monkey.setattr(part, name, value)
    yield module
    monkey.undo()


@pytest.fixture(scope="module")
def table(script):
    """Everything, where the "net" is the Wiener filter of all digits."""
    noise = gaussian_noise(torch.Generator().manual_seed(0))
    net, sizes = Wiener.fit(DIGITS), (4, 30, 3)
    nets, clean = {"net": net, "again": net}, DIGITS[60:66]
    wiener = script.fitted(DIGITS[:60])
    found = script.everything(DIGITS[:60], clean, wiener, nets, 0.05, sizes, noise)
    tables = json.loads(artifacts.encode("table.json", found))
    sweeps = tables["net"].pop("sweeps")
    for rows in [table["main"] for table in tables.values()]:
        [row.pop("seconds") for row in rows.values()]
    assert tables["net"] == tables["again"]  # walks are kept for the second net
    tables["net"]["sweeps"] = sweeps
    return tables["net"]


def test_the_benchmark_is_as_documented(table):
    assert (table["N"], table["D"], table["samples"], table["few"]) == (60, 64, 4, 3)
    assert table["t"] == TIMES and len(table["sigma"]) == 10
    windows = {"local_score", "local_score_net", "crop_mean"}
    both = {"optimal", "wiener", "masked", "corrected", "blend"}
    simple = {"nearest", "nearest_released", "smoothed"}
    assert set(table["main"]) == both | windows | simple
    assert set(table["sweeps"]) == both | {
        *("output_global", "source_row", "output_row", "threshold_0.1"),
        *("batch_1", "batch_16"),
        *("tuned", "tempered", "weighted", "patches"),
    }
    for part in ("main", "sweeps"):
        for name, row in table[part].items():
            for way in ("trajectory", "along_model", "along_net"):
                for key, found in row[way].items():
                    short = ("mse", "r") if part == "sweeps" else ()
                    few = key in ("median_r2", *short)
                    width = () if few else (3,)
                    assert torch.tensor(found).shape == (10, *width)
                differs = part == "main" and name != "wiener"
                assert ("minus_wiener" in row[way]) == differs
            assert len(row["clamped"]) == 3
    assert set(table["samplers"]) == {"none", "answer"}
    assert {len(v) for k, v in table["chosen"].items() if k != "error"} == {10}
    assert torch.tensor(table["net_mse"]).shape == (10, 3)
    net, filter_ = (torch.tensor(table[f"{k}_mse"])[:, 0] for k in ("net", "wiener"))
    assert (net < filter_).all()  # the net knows the clean images


def test_the_whole_set_has_the_same_numbers_for_fewer_models(script, table):
    noise = gaussian_noise(torch.Generator().manual_seed(0))
    nets, clean = {"net": Wiener.fit(DIGITS)}, DIGITS[60:66]
    rest = (script.fitted(DIGITS[:60]), nets, 0.05, (4, 30, 3), noise, False, True)
    found = script.everything(DIGITS[:60], clean, *rest)
    found = json.loads(artifacts.encode("table.json", found))["net"]
    assert set(found["main"]) == {"wiener", "masked", "corrected", "blend"}
    assert "sweeps" not in found
    assert set(found["chosen"]) == {"error", "blend", "corrected"}
    for name, row in found["main"].items():
        assert row.pop("seconds") > 0
        assert row == table["main"][name]


def test_the_likeliest_model_wins_the_benchmark(table):
    """The filter of 60 digits is nearest to that of 70."""
    ends = {k: row["trajectory"]["r2"][-1][0] for k, row in table["main"].items()}
    assert max(ends, key=ends.get) in ("wiener", "corrected", "blend")
    assert ends["wiener"] > 0.9 > ends["optimal"]
    gap = table["main"]["optimal"]["trajectory"]["minus_wiener"][-1][0]
    assert gap == pytest.approx(ends["optimal"] - ends["wiener"], rel=1e-2)


def test_chosen_numbers_are_no_worse_than_the_published_ones(table):
    error = {k: torch.tensor(v) for k, v in table["chosen"]["error"].items()}
    for name in ("corrected", "tempered", "tuned", "blend"):
        assert (error[name] <= error["masked"] * 1.001).all()
    for name in ("corrected", "blend"):
        assert (error[name] <= error["wiener"] * 1.001).all()


def test_sides_rise_with_the_noise(script):
    """A family whose best side is 3 at little noise, 5 in the middle, else 9."""
    noise = gaussian_noise(torch.Generator().manual_seed(0))
    levels = script.Levels(DIGITS[:2], noise)
    want = [9 if s > 3 else 5 if s > 0.5 else 3 for s in levels.sigmas]
    right = dict(zip(levels.sigmas, want))

    def family(side):
        return lambda x, sigma: levels.clean + 0.1 * abs(side - right[sigma])

    found, errors = sys.modules["candidates"].rising(levels, family, (3, 5, 7, 9, 11))
    assert found == want and errors == [0.0] * 10


def test_a_remembered_denoiser_is_asked_once(script):
    """Twice the same images at the same level; never for other images or levels."""
    asked = []

    def slow(x, sigma):
        asked.append(float(sigma))
        return x * sigma

    denoise = sys.modules["candidates"].Remembered(slow)
    a, b = DIGITS[:2], DIGITS[2:4]
    for x, sigma in ((a, 1.0), (b, 1.0), (a, torch.tensor(1.0)), (a, 2.0), (b, 1.0)):
        assert torch.equal(denoise(x, sigma), x * sigma)
    assert asked == [1, 1, 2]


def test_numbers_have_four_digits(script):
    short = sys.modules["meetings"].short
    assert short(torch.tensor([[1 / 3, 12345.6]])) == [[0.3333, 12350.0]]
    assert short([2, 0.00012345]) == [2.0, 0.0001234]
