"""Terms of the variational bound against golden values and closed forms."""

import math

import pytest
import torch
from golden import GOLDEN, RTOL
from hypothesis import given
from hypothesis import strategies as st

from helpers import bound, schedules
from helpers.forward import (
    diffuse,
    gaussian_noise,
    posterior_mean,
    posterior_variance,
)
from helpers.wiener import Wiener

LINEAR = schedules.linear()
LT = GOLDEN["LT"]


@pytest.mark.parametrize(
    ("moment", "key"),
    [
        (1.0, "LT_m2_1"),
        (0.0, "LT_m2_0"),
        (1 / 3, "LT_third"),
        (LT["m2_uniform256"], "LT_uniform256"),
        (LT["m2_cifar"], "LT_cifar"),
    ],
)
def test_prior_term(moment, key):
    # for moment 0 the value is a difference of order abar^2: float64 leaves 6 digits
    rel = 1e-6 if moment == 0 else RTOL
    got = bound.bits(bound.prior_kl(LINEAR, moment)).item()
    assert got == pytest.approx(LT[key], rel=rel)


def test_prior_term_of_the_cosine_schedule():
    got = bound.bits(bound.prior_kl(schedules.cosine(), 1.0)).item()
    assert got == pytest.approx(LT["LT_cosine1000_m2_1"], rel=RTOL)


@pytest.mark.parametrize("name", ["quad", "const0.02", "sigmoid", "exp(-12u)"])
def test_prior_term_of_other_schedules(name):
    from test_schedules import NAMED

    golden = GOLDEN["schedules"][name]["LT_bits_x2eq1"]
    got = bound.bits(bound.prior_kl(NAMED[name], 1.0)).item()
    assert got == pytest.approx(golden, rel=1e-8)


def pixel(k):
    return torch.tensor(float(k), dtype=torch.float64) / 127.5 - 1


@pytest.mark.parametrize("row", GOLDEN["decoder"], ids=str)
def test_decoder(row):
    sigma = 0.01 if "beta_1" in row["sig"] else GOLDEN["s_code"]
    mean = pixel(row["mu_pixel"])
    got = bound.decoder_log_likelihood(pixel(row["pixel"]), mean, sigma).item()
    assert got == pytest.approx(row["lnP_exact"], rel=RTOL)
    assert -bound.bits(got) == pytest.approx(row["bits_exact"], rel=RTOL)


@given(st.floats(-2, 2), st.floats(1e-3, 10))
def test_the_256_masses_sum_to_one(mean, sigma):
    x0 = torch.arange(256).double() / 127.5 - 1
    log = bound.decoder_log_likelihood(x0, torch.tensor(mean).double(), sigma)
    assert log.logsumexp(0).item() == pytest.approx(0, abs=1e-11)


def test_decoder_keeps_its_digits_in_the_tail():
    """40 standard deviations away: Phi(b) - Phi(a) itself would be 0."""
    mean, sigma = pixel(128) + 40 * 0.01, 0.01
    got = bound.decoder_log_likelihood(pixel(128), mean, sigma).item()
    b = 40 - bound.HALF_BIN / sigma  # Mills ratio: Phi(-b) ~ phi(b) / b (1 - 1/b^2)
    series = -(b**2) / 2 - math.log(b * math.sqrt(2 * math.pi)) - 1 / b**2
    far = 40 + bound.HALF_BIN / sigma
    assert got == pytest.approx(series, abs=1e-5 + math.exp(-(far**2 - b**2) / 2))


def test_decoder_refuses_what_is_no_pixel():
    with pytest.raises(ValueError, match="pixels"):
        bound.decoder_log_likelihood(pixel(3.5), pixel(3), 0.01)


def gaussian_bound(lam, mode):
    """All terms of Eq. 5 for x0 ~ N(0, lam) and its exact denoiser, nats."""
    one = torch.ones(1, 1, dtype=torch.float64)
    wiener = Wiener(torch.zeros(1, dtype=torch.float64), lam * one)
    t = torch.arange(2, 1001)
    mmse = wiener.expected_error(LINEAR.sigma[t])
    variance = {
        "opt": bound.best_variance(LINEAR, t, mmse),
        "large": LINEAR.beta[t],
        "small": posterior_variance(LINEAR, t, t - 1),
    }[mode]
    kl = bound.step_kl(LINEAR, t, mmse, variance)
    first = wiener.expected_error(LINEAR.sigma[1]).item()
    decoder = {
        "opt": first,
        "large": GOLDEN["s_code_var"],
        "small": GOLDEN["s_code_var"],
    }
    v = decoder[mode]
    L_0 = 0.5 * math.log(2 * math.pi * v) + first / (2 * v)
    return bound.prior_kl(LINEAR, lam).item(), kl, L_0


@pytest.mark.parametrize(
    "row", GOLDEN["gauss"], ids=lambda r: f"{r['lam']}-{r['mode']}"
)
def test_bound_of_a_gaussian(row):
    L_T, kl, L_0 = gaussian_bound(row["lam"], row["mode"])
    assert L_T == pytest.approx(row["L_T"], rel=RTOL)
    for t, expected in row["KL"].items():
        # differences of nearly equal logarithms: float64 leaves 1e-12 nats
        assert kl[int(t) - 2].item() == pytest.approx(expected, rel=RTOL, abs=1e-12)
    assert kl.sum().item() == pytest.approx(row["sumKL"], rel=RTOL)
    assert L_0 == pytest.approx(row["L_0"], rel=RTOL)
    entropy = 0.5 * math.log(2 * math.pi * math.e * row["lam"])
    assert entropy == pytest.approx(row["H"], rel=RTOL)
    gap = L_T + kl.sum().item() + L_0 - entropy
    assert gap == pytest.approx(row["gap"], rel=RTOL, abs=1e-11)


@pytest.mark.parametrize("row", GOLDEN["gauss"][::3], ids=lambda r: f"{r['lam']}")
def test_smallest_simple_loss_of_a_gaussian(row):
    """Mean over t of E|eps - eps_hat|^2 = SNR_t MMSE_t (Eq. 14 at its minimum)."""
    lam = torch.tensor([[row["lam"]]], dtype=torch.float64)
    wiener = Wiener(torch.zeros(1, dtype=torch.float64), lam)
    loss = LINEAR.snr[1:] * wiener.expected_error(LINEAR.sigma[1:])
    assert loss.mean().item() == pytest.approx(row["Lsimple"], rel=RTOL)


@pytest.mark.parametrize(
    ("T", "large", "small"),
    [
        (50, 0.02993, 1.99341),
        (250, 0.06087, 0.82002),
        (1000, 0.11467, 0.56993),
        (4000, 0.14195, 0.48726),
    ],
)
def test_gap_of_the_bound_for_other_lengths(T, large, small):
    """lam = 0.25, betas scaled by 1000 / T, decoder variance of step 2."""
    lam, schedule = 0.25, schedules.linear(T, 0.1 / T, 20 / T)
    t = torch.arange(2, T + 1)
    mmse = (
        lam
        * schedule.noise_variance
        / (lam * schedule.alpha_bar + schedule.noise_variance)
    )
    tilde = posterior_variance(schedule, t, t - 1)
    L_0 = 0.5 * (torch.log(2 * torch.pi * tilde[0]) + mmse[1] / tilde[0])
    entropy = 0.5 * math.log(2 * math.pi * math.e * lam)
    for variance, expected in ((schedule.beta[t], large), (tilde, small)):
        kl = bound.step_kl(schedule, t, mmse[t], variance).sum()
        gap = bound.prior_kl(schedule, lam) + kl + L_0 - entropy
        assert gap.item() == pytest.approx(expected, abs=6e-6)


def test_two_point_terms_follow_from_their_mmse():
    """KL with the posterior variance is half the loss of SNR times the MMSE."""
    t = torch.tensor([int(k) for k in GOLDEN["two_point"]["mmse"] if int(k) >= 100])
    mmse = torch.tensor([GOLDEN["two_point"]["mmse"][str(int(k))] for k in t])
    variance = posterior_variance(LINEAR, t, t - 1)
    kl = bound.bits(bound.step_kl(LINEAR, t, mmse.double(), variance))
    golden = next(r for r in GOLDEN["two_elbo"] if r["mode"] == "small")["KLbits"]
    for i, step in enumerate(t.tolist()):
        if str(step) in golden:
            assert kl[i].item() == pytest.approx(golden[str(step)], rel=1e-6)


def test_vlb_weight_is_smallest_at_349():
    t = torch.arange(1, 1001)
    weight = bound.vlb_weight(LINEAR, t, LINEAR.beta[t])
    assert int(weight.argmin()) + 1 == 349
    assert weight.min().item() == pytest.approx(0.00496786, abs=5e-9)
    tilde = posterior_variance(LINEAR, t[1:], t[1:] - 1)
    assert int(bound.vlb_weight(LINEAR, t[1:], tilde).argmin()) + 2 == 350


def test_fixed_variances():
    large, small = (bound.fixed_variance(LINEAR, kind) for kind in ("large", "small"))
    t = torch.arange(2, 1001)
    assert torch.equal(large[2:], LINEAR.beta[2:])
    assert torch.equal(small[2:], posterior_variance(LINEAR, t, t - 1))
    for table in (large, small):
        assert table[1].item() == pytest.approx(GOLDEN["s_code_var"], rel=RTOL)
    assert bound.fixed_variance(LINEAR, "large", first=0.1)[1] == 0.1
    with pytest.raises(ValueError, match="kind"):
        bound.fixed_variance(LINEAR, "medium")


@pytest.mark.parametrize(
    "row", GOLDEN["gauss"], ids=lambda r: f"{r['lam']}-{r['mode']}"
)
def test_all_terms_of_a_gaussian(row):
    lam, noise = row["lam"], LINEAR.noise_variance
    mmse = lam * noise / (lam * LINEAR.alpha_bar + noise)
    if row["mode"] == "opt":
        variance = torch.zeros(1001, dtype=torch.float64)
        t = torch.arange(2, 1001)
        variance[t] = bound.best_variance(LINEAR, t, mmse[t])
        variance[1] = mmse[1]
    else:
        variance = bound.fixed_variance(LINEAR, row["mode"])
    terms = bound.all_terms(LINEAR, lam, mmse, variance)
    assert terms.shape == (1001,)
    assert terms[0].item() == pytest.approx(row["L_0"], rel=RTOL)
    assert terms[1:-1].sum().item() == pytest.approx(row["sumKL"], rel=RTOL)
    assert terms[-1].item() == pytest.approx(row["L_T"], rel=RTOL)
    assert terms.sum().item() == pytest.approx(row["total"], rel=RTOL)
    assert bound.all_terms(LINEAR, lam, mmse, variance, L_0=0.25)[0] == 0.25


@pytest.mark.parametrize("kind", ["large", "small"])
def test_image_terms_are_the_kl_of_two_gaussians(kind):
    """Against torch.distributions, for a denoiser that is no optimum."""
    noise = gaussian_noise(torch.Generator().manual_seed(0))
    x0, eps = noise(torch.zeros(2, 5, 3, 4, 4, dtype=torch.float64))
    t, table = torch.tensor([2, 3, 100, 500, 1000]), bound.fixed_variance(LINEAR, kind)

    def denoise(x, sigma):
        return 0.3 * x + sigma.reshape(-1, 1, 1, 1).tanh()

    got = bound.image_terms(denoise, x0, t, LINEAR, lambda x: eps, table)
    xt = diffuse(x0, t, LINEAR, eps)
    x0_hat = denoise(
        xt / LINEAR.alpha_bar[t].sqrt()[:, None, None, None], LINEAR.sigma[t]
    )
    tilde = posterior_variance(LINEAR, t, t - 1)
    q, p = (
        torch.distributions.Normal(
            posterior_mean(x, xt, t, LINEAR), v.sqrt()[:, None, None, None]
        )
        for x, v in ((x0, tilde), (x0_hat, table[t]))
    )
    expected = torch.distributions.kl_divergence(q, p).flatten(1).mean(1)
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-12)


def test_image_terms_at_one_are_the_decoder():
    x0 = torch.randint(256, (4, 3, 5, 5), generator=torch.Generator().manual_seed(1))
    x0, table = x0.float() / 127.5 - 1, bound.fixed_variance(LINEAR)
    t = torch.tensor([1, 700, 1, 1])
    shift = 1.5 / 127.5  # the answer is one and a half grey levels too bright
    got = bound.image_terms(
        lambda x, sigma: x0 + shift, x0, t, LINEAR, torch.zeros_like, table
    )
    log = bound.decoder_log_likelihood(
        x0.double(), (x0 + shift).double(), GOLDEN["s_code"]
    )
    expected = -log.flatten(1).mean(1)
    torch.testing.assert_close(got[t == 1], expected[t == 1], rtol=1e-9, atol=0)
    alone = bound.image_terms(
        lambda x, sigma: x0 + shift, x0, 700, LINEAR, torch.zeros_like, table
    )
    assert got[1] == alone[1]


def test_image_terms_average_to_the_term_of_a_gaussian():
    """Images from N(0, lam), their Wiener filter: the mean is the closed form."""
    lam, noise = 0.25, gaussian_noise(torch.Generator().manual_seed(2))
    x0 = lam**0.5 * noise(torch.zeros(400, 1, 16, 16))
    wiener = Wiener(torch.zeros(256), lam * torch.eye(256))
    table = bound.fixed_variance(LINEAR)
    for t in (2, 100, 500, 900):
        got = bound.image_terms(wiener, x0, t, LINEAR, noise, table)
        mmse = wiener.expected_error(LINEAR.sigma[t]) / 256
        expected = bound.step_kl(LINEAR, t, mmse, table[t]).item()
        spread = got.std().item() / 400**0.5
        assert got.mean().item() == pytest.approx(expected, abs=4 * spread)


def test_image_terms_at_one_average_to_the_code_length_of_a_gaussian():
    """Bins much narrower than sigma_1: a mass is the density times the bin."""
    noise = gaussian_noise(torch.Generator().manual_seed(3))
    x0 = ((0.25 * noise(torch.zeros(200, 1, 16, 16))).clamp(-0.98, 0.98) + 1) * 127.5
    x0 = x0.round() / 127.5 - 1
    variance = bound.fixed_variance(LINEAR, first=0.25**2)
    got = bound.image_terms(lambda x, s: x0 * 0, x0, 1, LINEAR, noise, variance)
    density = bound.gaussian_decoder(x0.double().square().mean(), 0.25**2)
    expected = density.item() - math.log(2 * bound.HALF_BIN)
    assert got.mean().item() == pytest.approx(expected, abs=1e-4)
