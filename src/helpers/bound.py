r"""Terms of the variational bound on the negative log likelihood (Ho et al. 2020, Eq.
5).

All are in nats per dimension; `bits` converts. x_0 in units of [-1, 1], float64.
A table of variances has T + 1 entries, like those of a `Schedule`: entry t is
$\sigma_t^2$, entry 1 is the variance of the decoder, entry 0 is not used.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from helpers.forward import diffuse, posterior_coefficients, posterior_variance
from helpers.schedules import Schedule
from helpers.targets import to_sigma

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


def fixed_variance(
    schedule: Schedule, kind: str = "large", first: float | None = None
) -> Tensor:
    r"""A table of $\sigma_t^2$, (T + 1,): "large" is $\beta_t$, "small"
    $\tilde\beta_t$ (Sec. 3.2).

    $\sigma_1^2$ is `first`, or $\tilde\beta_2$ as in the code of Ho et al. ValueError
    for another kind.
    """
    t = torch.arange(1, schedule.T + 1)
    tilde = posterior_variance(schedule, t, t - 1)
    if kind not in ("large", "small"):
        raise ValueError(f'kind must be "large" or "small", not {kind!r}')
    table = schedule.beta.clone()
    table[1:] = schedule.beta[1:] if kind == "large" else tilde
    table[1] = tilde[1] if first is None else first
    return table


def gaussian_decoder(mmse, variance):
    r"""$L_0 = E[-\ln N(x_0; \hat x_0, v)]$ for data that are real numbers.

    $\frac12 [\ln(2 \pi v) + mmse / v]$
    """
    variance = torch.as_tensor(variance, dtype=torch.float64)
    return (torch.log(2 * torch.pi * variance) + mmse / variance) / 2


def all_terms(
    schedule: Schedule,
    second_moment: float,
    mmse: Tensor,
    variance: Tensor,
    L_0: float | None = None,
) -> Tensor:
    r"""$L_0, L_1, \ldots, L_T$ of Eq. 5 in this order, (T + 1,); their sum is L.

    `mmse` and `variance` are tables (T + 1,): $E(x_0 - \hat x_0)^2$ at each t and
    $\sigma_t^2$; `second_moment` is $E x_0^2$. Without `L_0` the decoder is the
    `gaussian_decoder`.
    """
    t = torch.arange(2, schedule.T + 1)
    first = gaussian_decoder(mmse[1], variance[1]) if L_0 is None else L_0
    steps = step_kl(schedule, t, mmse[t], variance[t])
    last = prior_kl(schedule, second_moment)
    ends = (torch.as_tensor(v, dtype=torch.float64).reshape(1) for v in (first, last))
    return torch.cat([next(ends), steps, next(ends)])


def image_terms(
    denoise: Callable,
    x0: Tensor,
    t: int | Tensor,
    schedule: Schedule,
    noise: Callable,
    variance: Tensor,
) -> Tensor:
    r"""One draw of $L_{t-1}$ for each image and any denoiser, (B,), float64, CPU.

    `denoise(x, sigma)` answers with $\hat x_0$; `x0` are images (B, C, H, W), `t` is an
    int or (B,) on the CPU, from 1 to T; `noise(x0)` is standard normal; `variance` is a
    table. For t > 1 it is the KL of Eq. 8 with its constant, for t = 1 the
    discretised decoder's $-\ln p(x_0 | x_1)$ (Eq. 13), for which `x0` must hold pixels
    $k / 127.5 - 1$. Its mean over images and noise estimates the term.
    """
    t = torch.as_tensor(t).expand(len(x0))
    x, sigma = to_sigma(diffuse(x0, t, schedule, noise(x0)), t, schedule)
    x0_hat, x0 = (v.cpu().double() for v in (denoise(x, sigma), x0))
    error = (x0 - x0_hat).square().flatten(1).mean(1)
    terms, first = step_kl(schedule, t.clamp_min(2), error, variance[t]), t == 1
    if bool(first.any()):
        log = decoder_log_likelihood(x0[first], x0_hat[first], variance[1].sqrt())
        terms[first] = -log.flatten(1).mean(1)
    return terms


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
