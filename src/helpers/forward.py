r"""The forward process, and one step back from it when both ends are known.

Symbols and equation numbers are those of Ho et al. 2020. Images have shape (B, C, H, W)
in units of [-1, 1]; a timestep t is an int or an integer tensor of shape (B,), from 0
to T.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from helpers.schedules import Schedule


def per_image(value: float | Tensor, x: Tensor) -> Tensor:
    """Shape one number, or one number per image, to multiply a batch of images.

    A float, a scalar tensor or a tensor of shape (B,) becomes (1, 1, 1, 1) or (B, 1, 1,
    1) in the dtype and on the device of x. ValueError for any other shape.
    """
    if not torch.is_tensor(value):
        value = torch.tensor(value, dtype=x.dtype)  # never through float32
    value = value.to(x)
    if value.ndim > 1 or value.numel() not in (1, len(x)):
        raise ValueError(
            f"expected one number or one per image, shape ({len(x)},), "
            f"not shape {tuple(value.shape)}"
        )
    return value.reshape(-1, *[1] * (x.ndim - 1))


def gaussian_noise(generator: torch.Generator) -> Callable[[Tensor], Tensor]:
    """The function x -> standard normal noise like x, drawn from `generator`.

    The noise is drawn on the generator's own device, so that one seed gives the same
    images on every device.
    """

    def noise(x: Tensor) -> Tensor:
        device = generator.device
        return torch.randn(
            x.shape, generator=generator, dtype=x.dtype, device=device
        ).to(x.device)

    return noise


def step(x_prev: Tensor, t: int | Tensor, schedule: Schedule, eps: Tensor) -> Tensor:
    r"""$x_t = \sqrt{1 - \beta_t} x_{t-1} + \sqrt{\beta_t} \epsilon$ (Eq. 2).

    ValueError unless 0 <= t <= T.
    """
    schedule.check(t)
    keep, add = schedule.alpha[t].sqrt(), schedule.beta[t].sqrt()
    return per_image(keep, x_prev) * x_prev + per_image(add, x_prev) * eps


def diffuse(x0: Tensor, t: int | Tensor, schedule: Schedule, eps: Tensor) -> Tensor:
    r"""A draw of $q(x_t | x_0)$ (Eq. 4) from the noise `eps` (B, C, H, W).

    $x_t = \sqrt{\bar\alpha_t} x_0 + \sqrt{1 - \bar\alpha_t} \epsilon$. ValueError
    unless 0 <= t <= T.
    """
    schedule.check(t)
    keep, add = schedule.alpha_bar[t].sqrt(), schedule.noise_variance[t].sqrt()
    return per_image(keep, x0) * x0 + per_image(add, x0) * eps


def step_variance(schedule: Schedule, t: int | Tensor, s: int | Tensor) -> Tensor:
    r"""Variance of $q(x_t | x_s)$, s < t: $1 - \bar\alpha_t / \bar\alpha_s$, float64.

    For s = t - 1 it is $\beta_t$, the larger of the two variances of Sec. 3.2.
    """
    return -torch.expm1(schedule.log_alpha_bar[t] - schedule.log_alpha_bar[s])


def posterior_variance(schedule: Schedule, t: int | Tensor, s: int | Tensor) -> Tensor:
    r"""Variance of $q(x_s | x_t, x_0)$ for s < t, float64.

    $\frac{1 - \bar\alpha_s}{1 - \bar\alpha_t} (1 - \bar\alpha_t / \bar\alpha_s)$; for
    s = t - 1 it is $\tilde\beta_t$ (Eq. 7).
    """
    noise = schedule.noise_variance
    return noise[s] / noise[t] * step_variance(schedule, t, s)


def posterior_coefficients(
    schedule: Schedule, t: int | Tensor, s: int | Tensor
) -> tuple[Tensor, Tensor]:
    r"""What $x_0$ and $x_t$ contribute to the mean of $q(x_s | x_t, x_0)$, float64.

    $\sqrt{\bar\alpha_s} (1 - \bar\alpha_t / \bar\alpha_s) / (1 - \bar\alpha_t)$ and
    $\sqrt{\bar\alpha_t / \bar\alpha_s} (1 - \bar\alpha_s) / (1 - \bar\alpha_t)$; for
    s = t - 1 these are the two of Eq. 7.
    """
    noise, log = schedule.noise_variance, schedule.log_alpha_bar
    coef_x0 = (log[s] / 2).exp() * step_variance(schedule, t, s) / noise[t]
    coef_xt = ((log[t] - log[s]) / 2).exp() * noise[s] / noise[t]
    return coef_x0, coef_xt


def posterior_mean(
    x0: Tensor,
    xt: Tensor,
    t: int | Tensor,
    schedule: Schedule,
    s: int | Tensor | None = None,
) -> Tensor:
    r"""Mean of $q(x_s | x_t, x_0)$ (Eq. 7, $\tilde\mu_t$); s = t - 1 unless given.

    (B, C, H, W). ValueError unless 0 <= s < t <= T.
    """
    s = t - 1 if s is None else s
    low, high = torch.as_tensor(s), torch.as_tensor(t)
    if not bool(((low >= 0) & (low < high) & (high <= schedule.T)).all()):
        raise ValueError(f"need 0 <= s < t <= {schedule.T}, not s = {s}, t = {t}")
    coef_x0, coef_xt = posterior_coefficients(schedule, t, s)
    return per_image(coef_x0, x0) * x0 + per_image(coef_xt, xt) * xt
