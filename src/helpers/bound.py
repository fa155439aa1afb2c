r"""Terms of the variational bound on the negative log likelihood (Ho et al. 2020, Eq.
5).

All are in nats per dimension; `bits` converts. x_0 in units of [-1, 1], float64.
"""

import math

import torch
from torch import Tensor

from helpers.forward import posterior_coefficients, posterior_variance
from helpers.schedules import Schedule

HALF_BIN = 1 / 255  # pixels k = 0, ..., 255 stand at k / 127.5 - 1


def bits(nats):
    """Nats to bits."""
    return nats / math.log(2)


def prior_kl(schedule: Schedule, second_moment: float | Tensor) -> Tensor:
    r"""$L_T = E\, KL(q(x_T | x_0) \| N(0, 1))$; `second_moment` is $E x_0^2$.

    $\frac12 [\bar\alpha_T E x_0^2 - \bar\alpha_T - \ln(1 - \bar\alpha_T)]$
    """
    alpha_bar = schedule.alpha_bar[-1]
    return (alpha_bar * second_moment - alpha_bar - torch.log1p(-alpha_bar)) / 2


def step_kl(schedule: Schedule, t: int | Tensor, mmse, variance) -> Tensor:
    r"""$L_{t-1} = E\, KL(q(x_{t-1} | x_t, x_0) \| N(\tilde\mu_t(\hat x_0, x_t), v))$.

    For t > 1:
    $\frac12 [\ln(v / \tilde\beta_t) + \tilde\beta_t / v - 1 + c_t^2\, mmse / v]$, where
    $c_t$ is the coefficient of $x_0$ in Eq. 7 and `mmse` $= E(x_0 - \hat x_0)^2$ (Eq. 8
    with its constant).
    """
    true = posterior_variance(schedule, t, t - 1)
    coef_x0, _ = posterior_coefficients(schedule, t, t - 1)
    return (torch.log(variance / true) + (true + coef_x0**2 * mmse) / variance - 1) / 2


def best_variance(schedule: Schedule, t: int | Tensor, mmse) -> Tensor:
    r"""The v that makes `step_kl` smallest: $\tilde\beta_t + c_t^2\, mmse$."""
    coef_x0, _ = posterior_coefficients(schedule, t, t - 1)
    return posterior_variance(schedule, t, t - 1) + coef_x0**2 * mmse


def vlb_weight(schedule: Schedule, t: int | Tensor, variance) -> Tensor:
    r"""$\lambda_t = \beta_t^2 / (2 v\, \alpha_t (1 - \bar\alpha_t))$.

    The weight that Eq. 12 gives $\|\epsilon - \hat\epsilon\|^2$.
    """
    alpha, noise = schedule.alpha[t], schedule.noise_variance[t]
    return schedule.beta[t] ** 2 / (2 * variance * alpha * noise)


def log_cdf_difference(low: Tensor, high: Tensor) -> Tensor:
    r"""$\ln[\Phi(high) - \Phi(low)]$ for low < high, exact in the tails.

    Both limits are moved to the left tail, where $\ln \Phi$ keeps its digits.
    """
    flip = low + high > 0
    low, high = torch.where(flip, -high, low), torch.where(flip, -low, high)
    upper = torch.special.log_ndtr(high)
    return upper + torch.log(-torch.expm1(torch.special.log_ndtr(low) - upper))


def decoder_log_likelihood(x0: Tensor, mean: Tensor, sigma: float | Tensor) -> Tensor:
    r"""$\ln p(x_0 | x_1)$ of the discretised decoder (Eq. 13), for each pixel.

    The mass that $N(mean, \sigma^2)$ gives to the bin of x_0, of half width 1/255; the
    bins of level 0 and 255 reach to infinity, so that the 256 masses sum to 1. `x0`
    holds pixels $k / 127.5 - 1$; ValueError for anything else.
    """
    level = (x0 + 1) * 127.5
    if not bool(((level - level.round()).abs() < 1e-3).all()):
        raise ValueError("x0 must hold pixels k / 127.5 - 1 with k = 0, ..., 255")
    level, inf = level.round(), torch.inf
    low = torch.where(level > 0, (x0 - HALF_BIN - mean) / sigma, -inf)
    high = torch.where(level < 255, (x0 + HALF_BIN - mean) / sigma, inf)
    return log_cdf_difference(low, high)
