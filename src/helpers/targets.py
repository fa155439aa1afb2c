r"""One prediction in four letters: $x_0$, $\epsilon$, $v$ and the score.

Whatever a network predicts, the others follow from the noisy image
$x = x_0 + \sigma \epsilon$. This module also changes clothes between DDPM's $(x_t, t)$
and $(x, \sigma)$: $x = x_t / \sqrt{\bar\alpha_t}$,
$\sigma^2 = (1 - \bar\alpha_t) / \bar\alpha_t$.
Images are (B, C, H, W) in units of [-1, 1]; sigma is a float or (B,), in these units.
"""

import torch
from torch import Tensor

from helpers.forward import per_image
from helpers.schedules import Schedule


def noise_level(sigma: float | Tensor, x: Tensor) -> Tensor:
    """Sigma, checked and shaped for the images x: (1, 1, 1, 1) or (B, 1, 1, 1).

    ValueError unless each sigma is a finite number above 0, and its square too.
    """
    level = per_image(sigma, x)
    if not bool((torch.isfinite(level**2) & (level > 0) & (level**2 > 0)).all()):
        raise ValueError(
            f"sigma must be finite and above 0, and so must its square, not {sigma}"
        )
    return level


def to_sigma(xt: Tensor, t: int | Tensor, schedule: Schedule) -> tuple[Tensor, Tensor]:
    r"""From DDPM's $(x_t, t)$ to $(x, \sigma_t)$ with $x = x_t / \sqrt{\bar\alpha_t}$.

    Returns x (B, C, H, W) and sigma, a float64 tensor, () or (B,). ValueError unless
    0 <= t <= T.
    """
    schedule.check(t)
    return xt / per_image(schedule.alpha_bar[t].sqrt(), xt), schedule.sigma[t]


def from_sigma(x: Tensor, sigma: float | Tensor) -> Tensor:
    r"""From $(x, \sigma)$ to DDPM's $x_t = \sqrt{\bar\alpha_t} x$.

    $\bar\alpha_t = 1 / (1 + \sigma^2)$; (B, C, H, W).
    """
    return x / (1 + noise_level(sigma, x) ** 2).sqrt()


def timestep(sigma: float | Tensor, schedule: Schedule) -> Tensor:
    r"""The real t with $\sigma_t = \sigma$, linear in $\log \sigma$ between steps.

    float64, shape of sigma. Below $\sigma_1$ the answer is 1, above $\sigma_T$ it is T.
    """
    log_sigma = torch.as_tensor(sigma, dtype=torch.float64).log()
    knots = schedule.sigma[1:].log()
    right = torch.searchsorted(knots, log_sigma.contiguous()).clamp(1, len(knots) - 1)
    left = right - 1
    share = (log_sigma - knots[left]) / (knots[right] - knots[left])
    return 1 + left + share.clamp(0, 1)


def eps_from_x0(x: Tensor, x0_hat: Tensor, sigma: float | Tensor) -> Tensor:
    r"""$\hat\epsilon = (x - \hat x_0) / \sigma$ (Ho et al. 2020, from Eq. 9)."""
    return (x - x0_hat) / noise_level(sigma, x)


def x0_from_eps(x: Tensor, eps: Tensor, sigma: float | Tensor) -> Tensor:
    r"""$\hat x_0 = x - \sigma \hat\epsilon$ (Ho et al. 2020, Eq. 15)."""
    return x - noise_level(sigma, x) * eps


def score_from_x0(x: Tensor, x0_hat: Tensor, sigma: float | Tensor) -> Tensor:
    r"""$\nabla_x \log p_\sigma(x) = (\hat x_0 - x) / \sigma^2$ (Tweedie's formula).

    It is the score of x. The score of DDPM's $x_t$ is this times
    $1/\sqrt{\bar\alpha_t}$.
    """
    return (x0_hat - x) / noise_level(sigma, x) ** 2


def x0_from_score(x: Tensor, score: Tensor, sigma: float | Tensor) -> Tensor:
    r"""$\hat x_0 = x + \sigma^2 \nabla_x \log p_\sigma(x)$ (Tweedie's formula)."""
    return x + noise_level(sigma, x) ** 2 * score


def v_from_x0(x: Tensor, x0_hat: Tensor, sigma: float | Tensor) -> Tensor:
    r"""$v = \sqrt{\bar\alpha} \hat\epsilon - \sqrt{1 - \bar\alpha} \hat x_0$.

    Salimans & Ho 2022, Sec. 4. With $\bar\alpha = 1 / (1 + \sigma^2)$:
    $v = (\hat\epsilon - \sigma \hat x_0) / \sqrt{1 + \sigma^2}$.
    """
    level = noise_level(sigma, x)
    return (eps_from_x0(x, x0_hat, sigma) - level * x0_hat) / (1 + level**2).sqrt()


def x0_from_v(x: Tensor, v: Tensor, sigma: float | Tensor) -> Tensor:
    r"""$\hat x_0 = \sqrt{\bar\alpha} x_t - \sqrt{1 - \bar\alpha} v$ with
    $x_t = x / \sqrt{1 + \sigma^2}$.

    In terms of $(x, \sigma)$:
    $\hat x_0 = (x - \sigma \sqrt{1 + \sigma^2} v) / (1 + \sigma^2)$.
    """
    level = noise_level(sigma, x)
    one = 1 + level**2
    return (x - level * one.sqrt() * v) / one
