"""The forward process: one step many times is the jump, and Bayes' rule is the
posterior.
"""

import pytest
import torch
from golden import GOLDEN, RTOL
from hypothesis import given
from hypothesis import strategies as st

from helpers import forward, schedules, targets

LINEAR = schedules.linear()


def randn(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def test_many_single_steps_have_the_mean_and_variance_of_the_jump():
    """Eq. 2 composed t times is Eq. 4, as coefficients of x0 and of each step's
    noise.
    """
    t = 40
    keep, noise = torch.tensor(1.0).double(), torch.zeros(t + 1, dtype=torch.float64)
    for s in range(1, t + 1):
        keep, noise = keep * LINEAR.alpha[s].sqrt(), noise * LINEAR.alpha[s].sqrt()
        noise[s] = LINEAR.beta[s].sqrt()
    assert keep.item() == pytest.approx(LINEAR.alpha_bar[t].sqrt().item(), rel=1e-12)
    assert noise.square().sum().item() == pytest.approx(
        LINEAR.noise_variance[t].item(), rel=1e-12
    )


def test_step_and_diffuse_are_these_coefficients():
    x0, eps = randn(3, 1, 4, 4), randn(3, 1, 4, 4, seed=1)
    one = forward.step(x0, 1, LINEAR, eps)
    torch.testing.assert_close(one, forward.diffuse(x0, 1, LINEAR, eps))
    xt = forward.diffuse(x0, 300, LINEAR, eps)
    by_hand = (
        LINEAR.alpha_bar[300] ** 0.5 * x0 + (1 - LINEAR.alpha_bar[300]) ** 0.5 * eps
    )
    torch.testing.assert_close(xt, by_hand, rtol=1e-12, atol=1e-14)


def test_one_timestep_per_image_equals_one_by_one():
    x0, eps = randn(3, 2, 4, 4), randn(3, 2, 4, 4, seed=1)
    t = torch.tensor([1, 500, 1000])
    together = forward.diffuse(x0, t, LINEAR, eps)
    for i in range(3):
        alone = forward.diffuse(x0[i : i + 1], int(t[i]), LINEAR, eps[i : i + 1])
        torch.testing.assert_close(together[i : i + 1], alone, rtol=0, atol=0)


@given(st.integers(2, 1000), st.floats(-1, 1), st.floats(-3, 3))
def test_posterior_is_bayes_rule_on_a_grid(t, x0, xt):
    """q(x_s | x_t, x_0) from q(x_t | x_s) q(x_s | x_0), normalised numerically."""
    s = t - 1
    a, beta = LINEAR.alpha[t], LINEAR.beta[t]
    mean_s, var_s = LINEAR.alpha_bar[s].sqrt() * x0, LINEAR.noise_variance[s]
    precision = 1 / var_s + a / beta
    centre = (mean_s / var_s + a.sqrt() * xt / beta) / precision
    grid = centre + precision**-0.5 * torch.linspace(-9, 9, 4001, dtype=torch.float64)
    log = -((xt - a.sqrt() * grid) ** 2) / (2 * beta) - (grid - mean_s) ** 2 / (
        2 * var_s
    )
    weight = (log - log.max()).exp()
    mean = (weight * grid).sum() / weight.sum()
    variance = (weight * (grid - mean) ** 2).sum() / weight.sum()
    as_image = [torch.full((1, 1, 1, 1), v, dtype=torch.float64) for v in (x0, xt)]
    got = forward.posterior_mean(*as_image, t, LINEAR).item()
    assert got == pytest.approx(mean.item(), rel=1e-8, abs=1e-9)
    tilde = forward.posterior_variance(LINEAR, t, s).item()
    assert tilde == pytest.approx(variance.item(), rel=1e-8)


def test_identities_of_the_posterior():
    t = torch.arange(2, 1001)
    coef_x0, coef_xt = forward.posterior_coefficients(LINEAR, t, t - 1)
    tilde = forward.posterior_variance(LINEAR, t, t - 1)
    alpha_bar, noise = LINEAR.alpha_bar, LINEAR.noise_variance
    close = torch.testing.assert_close
    close(coef_x0 + alpha_bar[t].sqrt() * coef_xt, alpha_bar[t - 1].sqrt())
    close(tilde + coef_xt**2 * noise[t], noise[t - 1])
    close(1 / tilde, LINEAR.alpha[t] / LINEAR.beta[t] + 1 / noise[t - 1])
    gain = LINEAR.snr[t - 1] - LINEAR.snr[t]
    assert float((coef_x0**2 / tilde / gain - 1).abs().max()) < 1e-10


def test_variances_between_distant_steps():
    """The values that a common library returns for its 0-based pairs of steps."""
    for pair, expected in GOLDEN["diffusers_var"].items():
        t, s = (int(v) + 1 for v in pair.split(","))
        got = forward.posterior_variance(LINEAR, t, s).item()
        assert got == pytest.approx(expected, rel=RTOL, abs=1e-17)


def test_posterior_at_the_ends():
    x0, xt = randn(1, 1, 2, 2), randn(1, 1, 2, 2, seed=1)
    torch.testing.assert_close(forward.posterior_mean(x0, xt, 1, LINEAR), x0)
    assert forward.posterior_variance(LINEAR, 1, 0) == 0
    for t, s in [(5, 5), (3, 4), (1001, 2), (3, -1)]:
        with pytest.raises(ValueError, match="need 0 <= s < t <= 1000"):
            forward.posterior_mean(x0, xt, t, LINEAR, s)


def test_noise_comes_from_the_generator_alone():
    draws = [
        forward.gaussian_noise(torch.Generator().manual_seed(7))(
            torch.empty(2, 1, 3, 3)
        )
        for _ in range(2)
    ]
    torch.testing.assert_close(*draws, rtol=0, atol=0)


def test_wrong_number_of_timesteps():
    with pytest.raises(ValueError, match="one number or one per image"):
        forward.diffuse(
            randn(3, 1, 2, 2), torch.tensor([1, 2]), LINEAR, randn(3, 1, 2, 2)
        )


@pytest.mark.parametrize("t", [-1, 1001, 2.5, torch.tensor([3, -1])], ids=str)
def test_a_timestep_outside_the_schedule(t):
    """A table would answer t = -1 with T."""
    x = randn(2, 1, 2, 2)
    for use in (
        lambda: forward.diffuse(x, t, LINEAR, x),
        lambda: forward.step(x, t, LINEAR, x),
        lambda: targets.to_sigma(x, t, LINEAR),
    ):
        with pytest.raises(ValueError, match=r"whole number in 0, \.\.\., 1000"):
            use()
