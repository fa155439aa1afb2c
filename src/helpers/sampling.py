r"""From noise to image: ancestral sampling and DDIM, as generators.

Both walk down a list of timesteps and yield a `Step` each time the denoiser is asked,
so that the caller decides what to keep, draw or stop. The last step goes to t = 0,
where nothing is added: the sample is the `x0_hat` of the last `Step`.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from helpers.forward import (
    per_image,
    posterior_mean,
    posterior_variance,
    step_variance,
)
from helpers.schedules import Schedule
from helpers.targets import to_sigma

Denoiser = Callable[[Tensor, float | Tensor], Tensor]
Noise = Callable[[Tensor], Tensor]


class Step(NamedTuple):
    """One call of the denoiser on the way down."""

    t: int  # the timestep
    xt: Tensor  # (B, C, H, W), what the denoiser saw, in DDPM's scaling
    x0_hat: Tensor  # (B, C, H, W), what it answered


def predict(denoise: Denoiser, xt: Tensor, t: int, schedule: Schedule) -> Tensor:
    r"""$\hat x_0(x_t, t)$: the denoiser, asked in DDPM's variables."""
    return denoise(*to_sigma(xt, t, schedule))


def _pairs(times: Sequence[int], schedule: Schedule) -> list[tuple[int, int]]:
    times = list(times)
    falling = all(t > s for t, s in zip(times, [*times[1:], 0]))
    if not times or not falling or times[0] > schedule.T:
        raise ValueError(f"timesteps must fall from at most {schedule.T} to at least 1")
    return list(zip(times, [*times[1:], 0]))


def ancestral(
    denoise: Denoiser,
    xT: Tensor,
    schedule: Schedule,
    noise: Noise,
    times: Sequence[int] | None = None,
    variance: Callable = step_variance,
) -> Iterator[Step]:
    r"""Ancestral sampling (Ho et al. 2020, Alg. 2).

    $x_s = \tilde\mu(\hat x_0, x_t) + \sqrt{v}\, z$ along `times`, T, ..., 1 unless
    given. `variance(schedule, t, s)` is the paper's $\sigma_t^2$: `step_variance` for
    $\beta_t$, `posterior_variance` for $\tilde\beta_t$. `noise(x)` draws z like x. No
    noise is added in the last step. ValueError unless the timesteps fall within T, ...,
    1.
    """
    xt = xT
    times = range(schedule.T, 0, -1) if times is None else times
    for t, s in _pairs(times, schedule):  # ..., last s = 0
        x0_hat = predict(denoise, xt, t, schedule)
        yield Step(t, xt, x0_hat)
        xt = posterior_mean(x0_hat, xt, t, schedule, s)
        if s > 0:
            xt = xt + per_image(variance(schedule, t, s).sqrt(), xt) * noise(xt)


def ddim(
    denoise: Denoiser,
    xT: Tensor,
    schedule: Schedule,
    times: Sequence[int],
    eta: float = 0.0,
    noise: Noise | None = None,
) -> Iterator[Step]:
    r"""DDIM (Song, Meng & Ermon 2021, Eq. 12 and 16).

    $$x_s = \sqrt{\bar\alpha_s}\, \hat x_0 + \sqrt{1 - \bar\alpha_s - v}\, \hat\epsilon
      + \sqrt{v}\, z, \qquad v = \eta^2 \tilde\beta_{t \to s}$$

    With eta = 0 it is deterministic, with eta = 1 it is ancestral sampling with the
    posterior variance, and `noise` is needed. ValueError unless the timesteps fall
    within T, ..., 1 and 0 <= eta <= 1.
    """
    if not 0 <= eta <= 1 or (eta > 0 and noise is None):
        raise ValueError("eta must lie in [0, 1], and above 0 it needs `noise`")
    xt = xT
    for t, s in _pairs(times, schedule):
        x0_hat = predict(denoise, xt, t, schedule)
        yield Step(t, xt, x0_hat)
        if s > 0:
            z = noise(xt) if eta > 0 else None
            xt = ddim_step(x0_hat, xt, t, s, schedule, eta, z)


def ddim_step(
    x0_hat: Tensor,
    xt: Tensor,
    t: int,
    s: int,
    schedule: Schedule,
    eta: float = 0.0,
    z: Tensor | None = None,
) -> Tensor:
    """One step t -> s of `ddim` with the noise z; without z the mean of the step."""
    variance = eta**2 * posterior_variance(schedule, t, s)
    signal, direction = schedule.alpha_bar[s], schedule.noise_variance[s] - variance
    eps = (xt - per_image(schedule.alpha_bar[t].sqrt(), xt) * x0_hat) / per_image(
        schedule.noise_variance[t].sqrt(), xt
    )
    mean = per_image(signal.sqrt(), xt) * x0_hat
    mean = mean + per_image(direction.clamp_min(0).sqrt(), xt) * eps
    return mean if z is None else mean + per_image(variance.sqrt(), xt) * z


def last(steps: Iterator[Step]) -> Step:
    """The last step of a walk; its `x0_hat` is the sample. Keeps no other step."""
    return deque(steps, maxlen=1).pop()


def start(n: int, shape: tuple[int, int, int], noise: Noise, like: Tensor) -> Tensor:
    r"""$x_T \sim N(0, I)$, (n, C, H, W), dtype and device of `like`."""
    return noise(torch.empty(n, *shape, dtype=like.dtype, device=like.device))
