"""Samplers on data where the whole chain has a closed form."""

import pytest
import torch
from golden import GOLDEN, RTOL

from helpers import forward, sampling, schedules
from helpers.denoisers import Optimal, clipped
from helpers.forward import gaussian_noise, posterior_variance, step_variance
from helpers.networks import denoiser
from helpers.schedules import leading
from helpers.wiener import Wiener

LINEAR = schedules.linear()
FIXED_X0 = torch.tensor(0.5, dtype=torch.float64)


def gaussian(lam):
    """The exact denoiser of independent numbers N(0, lam)."""
    return lambda x, sigma: lam / (lam + sigma**2) * x


def number(value):
    return torch.full((1, 1, 1, 1), value, dtype=torch.float64)


def x0_from_eps_03(xt, t):
    """The x0_hat that belongs to eps_hat = 0.3."""
    return (xt - LINEAR.noise_variance[t].sqrt() * 0.3) / LINEAR.alpha_bar[t].sqrt()


@pytest.mark.parametrize("row", GOLDEN["ddim"], ids=str)
def test_one_ddim_step(row):
    t, s, eta = row["t"], row["tp"], row["eta"]
    xt = number(0.5)
    x0_hat = x0_from_eps_03(xt, t)
    assert x0_hat.item() == pytest.approx(row["x0"], rel=RTOL)
    mean = sampling.ddim_step(x0_hat, xt, t, s, LINEAR, eta)
    assert mean.item() == pytest.approx(row["mean"], rel=RTOL)
    noisy = sampling.ddim_step(x0_hat, xt, t, s, LINEAR, eta, torch.ones_like(xt))
    added = (noisy - mean).item()
    assert added == pytest.approx(row["sigma"], rel=RTOL, abs=1e-15)


def test_one_step_of_a_0_based_library():
    """Its t = 500 -> 400 is the paper's 501 -> 401: the classic shift by one."""
    xt = number(0.5)
    x0_hat = x0_from_eps_03(xt, 501)
    assert x0_hat.item() == pytest.approx(0.75973517, rel=1e-6)  # float32 there
    mean = sampling.ddim_step(x0_hat, xt, 501, 401, LINEAR)
    assert mean.item() == pytest.approx(0.60366333, rel=1e-6)


def test_clipped_steps_of_a_0_based_library():
    """Its t = 900: x0_hat clipped to 1, and eps derived from the clipped one (DDIM)."""
    xt = number(0.5)
    x0_hat = clipped(lambda x, _: x0_from_eps_03(xt, 901))(xt, None)
    assert x0_hat.item() == 1
    mean = sampling.ddim_step(x0_hat, xt, 901, 801, LINEAR)
    assert mean.item() == pytest.approx(0.52208835, rel=1e-5)  # float32 there
    mean = forward.posterior_mean(x0_hat, xt, 901, LINEAR)
    assert mean.item() == pytest.approx(0.49576923, rel=1e-6)
    mean = forward.posterior_mean(x0_from_eps_03(xt, 501), xt, 501, LINEAR)
    assert mean.item() == pytest.approx(0.49937549, rel=1e-6)


def test_one_ancestral_step_is_eq_7_and_eq_11():
    xt, t = number(0.5), 500
    mean = forward.posterior_mean(x0_from_eps_03(xt, t), xt, t, LINEAR).item()
    beta, noise = LINEAR.beta[t], LINEAR.noise_variance[t]
    eq_11 = (0.5 - beta / noise.sqrt() * 0.3) / LINEAR.alpha[t].sqrt()
    assert mean == pytest.approx(GOLDEN["ddpm_mean_eq7_t500"], rel=RTOL)
    assert eq_11.item() == pytest.approx(GOLDEN["ddpm_mean_eq11_t500"], rel=RTOL)


@pytest.mark.parametrize("row", GOLDEN["ddim_gauss"], ids=str)
def test_ddim_on_a_gaussian_is_the_golden_linear_map(row):
    steps = sampling.ddim(
        gaussian(row["lam"]), number(1.0), LINEAR, leading(1000, row["S"])
    )
    gain = sampling.last(steps).x0_hat.item()
    assert gain == pytest.approx(row["gain"], rel=RTOL)
    assert gain**2 == pytest.approx(row["var"], rel=RTOL)


def chain_variance(lam, times, variance):
    """Variance of the samples, without randomness.

    The chain is linear, so each pixel of one image carries the coefficient of one of
    the independent normals: pixel 0 that of x_T, pixel i that of the i-th injected
    noise.
    """
    n = len(times) + 1
    basis = iter(torch.eye(n, dtype=torch.float64)[1:])
    start = torch.eye(n, dtype=torch.float64)[0].view(1, 1, 1, n)
    steps = sampling.ancestral(
        gaussian(lam),
        start,
        LINEAR,
        lambda x: next(basis).view_as(x),
        times,
        variance,
    )
    return sampling.last(steps).x0_hat.square().sum().item()


@pytest.mark.parametrize(
    ("S", "small", "large"),
    [
        (10, 0.11106430, 0.34695093),
        (50, 0.19724511, 0.26752601),
        (100, 0.21926356, 0.25856190),
        (1000, 0.24612521, 0.25075208),
    ],
)
def test_generated_variance_of_few_steps(S, small, large):
    """Section 2.6 of the fact sheet, eight digits: too little or too much variance."""
    times = leading(1000, S)
    got = chain_variance(0.25, times, posterior_variance)
    assert got == pytest.approx(small, abs=6e-9)
    assert chain_variance(0.25, times, step_variance) == pytest.approx(large, abs=6e-9)


def test_the_exact_reverse_variance_generates_the_exact_variance():
    """beta_t v_{t-1} / v_t with v_t = abar_t lam + 1 - abar_t, for lam = 0.25."""
    lam = 0.25

    def exact(schedule, t, s):
        v = schedule.alpha_bar * lam + schedule.noise_variance
        return step_variance(schedule, t, s) * v[s] / v[t]

    for row in GOLDEN["gauss"]:
        v = LINEAR.alpha_bar * row["lam"] + LINEAR.noise_variance
        for t, expected in row["rev"].items():
            got = step_variance(LINEAR, int(t), int(t) - 1) * v[int(t) - 1] / v[int(t)]
            if row["mode"] == "opt":
                assert got.item() == pytest.approx(expected, rel=RTOL)
    times = range(1000, 0, -1)
    # the last step adds no noise: its variance beta_1 lam / v_1 is missing
    missing = (
        LINEAR.beta[1] * lam / (LINEAR.alpha_bar[1] * lam + LINEAR.beta[1])
    ).item()
    got = chain_variance(lam, times, exact) + missing
    assert got == pytest.approx(0.25000000008, abs=1e-10)


TWO_VARIANCES = {"large": step_variance, "small": posterior_variance}
WITH_THEM = [row for row in GOLDEN["gauss"] if row["mode"] in TWO_VARIANCES]


@pytest.mark.parametrize("row", WITH_THEM, ids=lambda r: f"{r['lam']}-{r['mode']}")
def test_generated_variance_of_all_steps(row):
    """The paper's two variances, with the decoder's variance added at the end."""
    variance = TWO_VARIANCES[row["mode"]]
    got = chain_variance(row["lam"], range(1000, 0, -1), variance)
    got += GOLDEN["s_code_var"]
    assert got == pytest.approx(row["model_var"], rel=RTOL)


def test_eta_one_is_ancestral_sampling_with_the_posterior_variance():
    data = torch.tensor([[-1.0], [0.2], [1.0]]).double().reshape(3, 1, 1, 1)
    denoise, times = Optimal(data), leading(1000, 20)

    def seeded():
        return gaussian_noise(torch.Generator().manual_seed(3))

    xT = seeded()(torch.empty(6, 1, 1, 1, dtype=torch.float64))
    one = sampling.ddim(denoise, xT, LINEAR, times, eta=1.0, noise=seeded())
    two = sampling.ancestral(denoise, xT, LINEAR, seeded(), times, posterior_variance)
    for a, b in zip(one, two, strict=True):
        assert a.t == b.t
        torch.testing.assert_close(a.xt, b.xt, rtol=1e-9, atol=1e-10)


def test_wiener_with_ddim_is_linear_in_every_eigenmode():
    """c -> c (sqrt(abar') s / sqrt(abar) + sqrt(1-abar') (1-s) / sqrt(1-abar))."""
    generator = torch.Generator().manual_seed(0)
    data = torch.randn(50, 1, 2, 3, generator=generator, dtype=torch.float64)
    wiener = Wiener.fit(data.clamp(-1, 1))
    xT = torch.randn(4, 1, 2, 3, generator=generator, dtype=torch.float64)
    alpha_bar, noise = LINEAR.alpha_bar, LINEAR.noise_variance
    times = leading(1000, 10)
    c = (xT.flatten(1) - alpha_bar[times[0]].sqrt() * wiener.mu) @ wiener.U
    for t, s in zip(times, [*times[1:], 0]):
        gain = wiener.gain(LINEAR.sigma[t])[0]
        c = c * (
            alpha_bar[s].sqrt() * gain / alpha_bar[t].sqrt()
            + noise[s].sqrt() * (1 - gain) / noise[t].sqrt()
        )
    expected = (wiener.mu + c @ wiener.U.T).view_as(xT)
    got = sampling.last(sampling.ddim(wiener, xT, LINEAR, times)).x0_hat
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-11)


def test_ancestral_sampling_of_two_points_is_half_and_half():
    data = torch.tensor([-1.0, 1.0]).double().reshape(2, 1, 1, 1)
    noise = gaussian_noise(torch.Generator().manual_seed(0))
    xT = noise(torch.empty(4000, 1, 1, 1, dtype=torch.float64))
    walk = sampling.ancestral(Optimal(data), xT, LINEAR, noise, leading(1000, 50))
    sample = sampling.last(walk).x0_hat.flatten()
    assert sample.abs().sub(1).abs().max() < 1e-6  # only training points come out
    share = (sample > 0).double().mean().item()
    assert abs(share - 0.5) < 4 * 0.5 / 4000**0.5


def test_a_walk_can_be_watched_and_stopped():
    calls = []

    def denoise(x, sigma):
        calls.append(float(sigma))
        return torch.zeros_like(x)

    walk = sampling.ddim(denoise, number(1.0), LINEAR, [900, 500, 1])
    first = next(walk)
    assert first.t == 900 and len(calls) == 1
    assert calls[0] == pytest.approx(LINEAR.sigma[900].item())
    assert [step.t for step in walk] == [500, 1]


def test_start_has_the_asked_shape():
    noise = gaussian_noise(torch.Generator().manual_seed(0))
    x = sampling.start(3, (1, 4, 4), noise, torch.empty(0, dtype=torch.float64))
    assert x.shape == (3, 1, 4, 4) and x.dtype == torch.float64


@pytest.mark.parametrize("times", [[], [3, 5], [5, 5], [1001, 4], [5, 0], [5, -1]])
def test_bad_timesteps(times):
    with pytest.raises(ValueError, match="timesteps must fall"):
        next(sampling.ddim(gaussian(1.0), number(1.0), LINEAR, times))


def test_eta_needs_noise_and_a_range():
    for eta in (0.5, 1.5, -0.1):
        with pytest.raises(ValueError, match="eta"):
            next(sampling.ddim(gaussian(1.0), number(1.0), LINEAR, [5, 1], eta))


def toy_eps(xt, t):
    """A nonlinear eps_theta(x_t, t); t counts from 1, one number or one per image."""
    t = torch.as_tensor(t, dtype=xt.dtype).reshape(-1, 1, 1, 1)
    return 0.9 * xt + 0.3 * torch.sin(3 * xt + t / 100) * (1.1 - t / 1000)


def scheduler(name, S, monkeypatch, **options):
    """A scheduler of diffusers for S steps, its tables in float64 like ours."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import diffusers

    theirs = getattr(diffusers, name)(timestep_spacing="leading", **options)
    theirs.set_timesteps(S)
    assert [t + 1 for t in theirs.timesteps.tolist()] == leading(1000, S)
    torch.testing.assert_close(
        theirs.alphas_cumprod.double(), LINEAR.alpha_bar[1:], rtol=2e-5, atol=0
    )
    theirs.alphas_cumprod = LINEAR.alpha_bar[1:]
    return theirs


def agree(theirs, walk, xT, **options):
    """Every step of the walk is the step that the scheduler makes, to 1e-7."""
    xt, count = xT, 0
    for step in walk:
        assert step.t == theirs.timesteps[count] + 1
        torch.testing.assert_close(step.xt, xt, rtol=1e-7, atol=1e-7)
        eps = toy_eps(xt, step.t)
        made = theirs.step(eps, step.t - 1, xt, **options)
        torch.testing.assert_close(
            step.x0_hat, made.pred_original_sample, rtol=1e-7, atol=1e-7
        )
        xt, count = made.prev_sample, count + 1
    assert count == len(theirs.timesteps)
    torch.testing.assert_close(step.x0_hat, xt, rtol=1e-7, atol=1e-7)


def generators():
    return (torch.Generator().manual_seed(7) for _ in range(2))


XT = torch.randn(
    4, 1, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64
)


@pytest.mark.parametrize("S", [30, 200])
@pytest.mark.parametrize("clip", [True, False], ids=["clipped", "not clipped"])
@pytest.mark.parametrize("kind", ["small", "large"])
def test_ancestral_sampling_agrees_with_diffusers(kind, clip, S, monkeypatch):
    options = {"variance_type": f"fixed_{kind}", "clip_sample": clip}
    theirs = scheduler("DDPMScheduler", S, monkeypatch, **options)
    ours, other = generators()
    walk = sampling.ancestral(
        denoiser(toy_eps, LINEAR, clip),
        XT,
        LINEAR,
        gaussian_noise(ours),
        leading(1000, S),
        TWO_VARIANCES[kind],
    )
    agree(theirs, walk, XT, generator=other)


@pytest.mark.parametrize("S", [10, 50])
@pytest.mark.parametrize("clip", [True, False], ids=["clipped", "not clipped"])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_ddim_agrees_with_diffusers(eta, clip, S, monkeypatch):
    theirs = scheduler("DDIMScheduler", S, monkeypatch, clip_sample=clip)
    ours, other = generators()
    walk = sampling.ddim(
        denoiser(toy_eps, LINEAR, clip),
        XT,
        LINEAR,
        leading(1000, S),
        eta,
        gaussian_noise(ours),
    )
    options = {"eta": eta, "generator": other, "use_clipped_model_output": clip}
    agree(theirs, walk, XT, **options)
