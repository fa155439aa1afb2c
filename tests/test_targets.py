"""x0, eps, v and the score are one prediction; (x_t, t) and (x, sigma) one image."""

import math

import pytest
import torch
from golden import GOLDEN
from hypothesis import given
from hypothesis import strategies as st

from helpers import forward, schedules, targets

LINEAR = schedules.linear()
SIGMAS = st.floats(1e-3, 1e3)


def images(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(3, 2, 4, 4, generator=generator, dtype=torch.float64)


@given(SIGMAS)
def test_each_letter_and_back(sigma):
    x0, eps = images(), images(1)
    x = x0 + sigma * eps
    close = torch.testing.assert_close
    loose = {"rtol": 1e-9, "atol": 1e-12 * (1 + sigma**2) / min(sigma, 1)}
    close(targets.eps_from_x0(x, x0, sigma), eps, **loose)
    close(targets.x0_from_eps(x, eps, sigma), x0, **loose)
    close(targets.x0_from_score(x, -eps / sigma, sigma), x0, **loose)
    v = targets.v_from_x0(x, x0, sigma)
    close(targets.x0_from_v(x, v, sigma), x0, **loose)
    alpha_bar = 1 / (1 + sigma**2)  # the definition of v
    close(v, alpha_bar**0.5 * eps - (1 - alpha_bar) ** 0.5 * x0, **loose)


def test_score_is_the_gradient_of_the_log_density():
    """For x0 ~ N(0, 0.25): p_sigma = N(0, 0.25 + sigma^2)."""
    x, sigma = images().requires_grad_(), 0.7
    log_p = -(x**2).sum() / (2 * (0.25 + sigma**2))
    (gradient,) = torch.autograd.grad(log_p, x)
    x0_hat = 0.25 / (0.25 + sigma**2) * x
    torch.testing.assert_close(targets.score_from_x0(x, x0_hat, sigma), gradient)


@pytest.mark.parametrize("t", [1, 250, 999, torch.tensor([1, 500, 1000])])
def test_both_clothes(t):
    x0, eps = images(), images(1)
    xt = forward.diffuse(x0, t, LINEAR, eps)
    x, sigma = targets.to_sigma(xt, t, LINEAR)
    torch.testing.assert_close(x, x0 + forward.per_image(sigma, x) * eps)
    torch.testing.assert_close(targets.from_sigma(x, sigma), xt)


def test_timestep_inverts_sigma():
    t = torch.arange(1, 1001)
    back = targets.timestep(LINEAR.sigma[t], LINEAR)
    torch.testing.assert_close(back, t.double(), rtol=0, atol=1e-9)
    between = (LINEAR.sigma[10] * LINEAR.sigma[11]).sqrt()
    assert targets.timestep(between, LINEAR).item() == pytest.approx(10.5, abs=1e-9)
    assert targets.timestep(1e-9, LINEAR) == 1 and targets.timestep(1e9, LINEAR) == 1000


def test_two_point_posterior_mean_in_both_clothes():
    """E[x0 | x_t] = tanh(sqrt(abar) x_t / (1 - abar)) for x0 = +-1 is tanh(x /
    sigma^2).
    """
    for key, expected in GOLDEN["two_point"]["Ex0_given_xt"].items():
        t, value = (float(part.split("=")[1]) for part in key.split(","))
        xt = torch.full((1, 1, 1, 1), value, dtype=torch.float64)
        x, sigma = targets.to_sigma(xt, int(t), LINEAR)
        assert math.tanh(x.item() / sigma.item() ** 2) == pytest.approx(
            expected, rel=1e-9
        )


@pytest.mark.parametrize("sigma", [0.0, -1.0, math.nan, math.inf])
def test_impossible_noise_levels_are_refused(sigma):
    with pytest.raises(ValueError, match="sigma must be finite and above 0"):
        targets.eps_from_x0(images(), images(), sigma)


@pytest.mark.parametrize("shape", [(2,), (3, 1), (3, 1, 1, 1)])
def test_sigma_of_the_wrong_shape_is_refused(shape):
    with pytest.raises(ValueError, match="one number or one per image"):
        targets.score_from_x0(images(), images(), torch.ones(shape))
