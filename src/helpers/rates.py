r"""Rates: at which noise levels to speak, and what the words of an image should cost.

With the best variance $\sigma_t^2$ a word costs, per pixel and in nats,

$$\kappa_{t-1} = \tfrac12 \ln \frac{\sigma_t^2}{\tilde\beta_t}
  = \tfrac12 \ln \big[1 + (\mathrm{SNR}_{t-1} - \mathrm{SNR}_t)\, mse_t\big],$$

since $c_t^2 / \tilde\beta_t$ is the difference of the two signal-to-noise ratios. So
the levels can be chosen, from noise to image, such that all words cost the same.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from helpers import bound
from helpers.codec import Codec
from helpers.forward import diffuse
from helpers.metrics import mse
from helpers.sampling import predict
from helpers.schedules import Schedule


def error_curve(
    denoise: Callable, x0: Tensor, sigma: Tensor, noise: Callable
) -> Callable[[float], float]:
    r"""$E (x_0 - \hat x_0)^2$ at any noise level, from images (N, C, H, W).

    Measured at the levels `sigma`, rising, one draw of noise for each image; straight
    lines between them on logarithmic axes.
    """
    found = [mse(denoise(x0 + s * noise(x0), s), x0).mean().item() for s in sigma]
    at, log = np.log(np.asarray(sigma)), np.log(found)
    return lambda s: math.exp(np.interp(math.log(s), at, log))


def equal_words(error: Callable, first: float, last: float, T: int) -> Tensor:
    r"""Levels $\sigma_1$ = `first` < ... < $\sigma_T$ = `last`, (T,), float64.

    All words after the first cost the same $\kappa$: $\mathrm{SNR}_{t-1} =
    \mathrm{SNR}_t + (e^{2 \kappa} - 1) / mse_t$, with $\kappa$ found by bisection.
    `error` gives the mse at a level. ValueError unless 0 < first < last and T > 1.
    """
    if not 0 < first < last or T < 2:
        raise ValueError(f"need 0 < first < last, T > 1, not {first}, {last}, {T}")

    def climb(kappa: float) -> list[float]:
        snr = [last**-2]
        while len(snr) < T and snr[-1] < 2 * first**-2:
            snr.append(snr[-1] + math.expm1(2 * kappa) / error(snr[-1] ** -0.5))
        return snr

    low, high = 0.0, 1.0
    while climb(high)[-1] < first**-2:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if climb(middle)[-1] < first**-2 else (low, middle)
    levels = torch.tensor(climb(high)[::-1], dtype=torch.float64) ** -0.5
    levels[0], levels[-1] = first, last
    return levels


def best_variances(schedule: Schedule, error: Callable) -> Tensor:
    r"""The table $\sigma_t^2$, (T + 1,), that makes all terms smallest.

    `bound.best_variance` for t > 1; for the decoder the mse at t = 1.
    """
    mmse = schedule.sigma[1:].tolist()
    mmse = torch.tensor([error(s) for s in mmse], dtype=torch.float64)
    t = torch.arange(2, schedule.T + 1)
    best = bound.best_variance(schedule, t, mmse[1:])
    return torch.cat([mmse.new_zeros(1), mmse[:1], best])


def image_bits(codec: Codec, images: Tensor, noise: Callable) -> Tensor:
    r"""$L_0, \ldots, L_T$ of each image in bits, (N, T + 1), one draw of noise each.

    `images` are uint8 (N, C, H, W). The sum of a row estimates the bound of an image:
    what a code without any overhead needs on average over its walks. $L_0$ is counted
    in the chances of the range coder.
    """
    s, n, x0 = codec.schedule, math.prod(codec.shape), codec.unit(images)
    found = torch.zeros(len(images), s.T + 1, dtype=torch.float64)
    found[:, s.T] = n * bound.prior_kl(s, x0.square().flatten(1).mean(1))
    for t in range(s.T, 1, -1):
        x0_hat = predict(codec.denoise, diffuse(x0, t, s, noise(x0)), t, s)
        error = mse(x0_hat, x0)
        found[:, t - 1] = n * bound.step_kl(s, t, error, codec.variance[t])
    chances = torch.tensor(codec.decoder(diffuse(x0, 1, s, noise(x0)))).diff()
    own = chances.gather(1, images.reshape(-1, 1).long()) / (1 << 16)
    found[:, 0] = -own.log().view(len(images), n).sum(1)
    return bound.bits(found)
