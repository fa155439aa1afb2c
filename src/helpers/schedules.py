r"""Noise schedules: how fast the forward process destroys an image.

A `Schedule` holds the paper's $\beta_t$ (Ho et al. 2020, Sec. 2) for t = 1, ..., T.
Every table here has T + 1 entries, so that entry t is the paper's t and entry 0 is the
clean image ($\bar\alpha_0 = 1$). All tables are float64: in float32, $1 - \bar\alpha_1$
is already wrong in the fourth digit.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Schedule:
    r"""The variances $\beta_t$ of a forward process and what follows from them.

    `beta` has shape (T + 1,), float64, with `beta[0] = 0`. Raises ValueError when a
    value lies outside [0, 1] or `beta[0]` is not 0.
    """

    beta: Tensor

    def __post_init__(self):
        beta = self.beta
        if beta.ndim != 1 or len(beta) < 2 or beta.dtype != torch.float64:
            raise ValueError("beta must be a float64 vector with T + 1 >= 2 entries")
        if beta[0] != 0 or not bool(((beta >= 0) & (beta <= 1)).all()):
            raise ValueError("beta[0] must be 0 and each beta_t must lie in [0, 1]")

    @property
    def T(self) -> int:
        """Number of forward steps."""
        return len(self.beta) - 1

    def check(self, t: int | Tensor) -> None:
        """ValueError unless each t is a whole number in 0, ..., T.

        A table would take t = -1 for T, without a word.
        """
        t = torch.as_tensor(t)
        if t.is_floating_point() or not bool(((t >= 0) & (t <= self.T)).all()):
            raise ValueError(f"t must be a whole number in 0, ..., {self.T}, not {t}")

    @property
    def alpha(self) -> Tensor:
        r"""$\alpha_t = 1 - \beta_t$, shape (T + 1,)."""
        return 1 - self.beta

    @cached_property
    def log_alpha_bar(self) -> Tensor:
        r"""$\log \bar\alpha_t = \sum_{s \le t} \log(1 - \beta_s)$, shape (T + 1,)."""
        return torch.log1p(-self.beta).cumsum(0)

    @property
    def alpha_bar(self) -> Tensor:
        r"""$\bar\alpha_t = \prod_{s \le t} \alpha_s$ (Eq. 4), shape (T + 1,)."""
        return self.log_alpha_bar.exp()

    @property
    def noise_variance(self) -> Tensor:
        r"""$1 - \bar\alpha_t$ without cancellation near t = 0, shape (T + 1,)."""
        return 0 - torch.expm1(self.log_alpha_bar)  # 0 - 0 is +0, and 1 / +0 is +inf

    @property
    def snr(self) -> Tensor:
        r"""$\bar\alpha_t / (1 - \bar\alpha_t)$, infinite at t = 0, shape (T + 1,)."""
        return self.alpha_bar / self.noise_variance

    @property
    def sigma(self) -> Tensor:
        r"""$\sigma_t = \sqrt{(1 - \bar\alpha_t) / \bar\alpha_t}$ in units of [-1, 1].

        The noise level of $x_t / \sqrt{\bar\alpha_t} = x_0 + \sigma_t \epsilon$.
        Shape (T + 1,).
        """
        return (self.noise_variance / self.alpha_bar).sqrt()


def from_beta(beta: Tensor) -> Schedule:
    r"""A schedule from $\beta_1, \ldots, \beta_T$, shape (T,)."""
    beta = torch.as_tensor(beta, dtype=torch.float64)
    return Schedule(torch.cat([beta.new_zeros(1), beta]))


def from_sigma(sigma) -> Schedule:
    r"""A schedule with the noise levels $\sigma_1, \ldots, \sigma_T$, rising, (T,).

    $\bar\alpha_t = 1 / (1 + \sigma_t^2)$. ValueError unless they rise from above 0.
    """
    sigma = torch.as_tensor(sigma, dtype=torch.float64)
    rises = sigma.ndim == 1 and sigma[0] > 0 and bool((sigma.diff() > 0).all())
    if not rises:
        raise ValueError(f"noise levels must rise from above 0, not {sigma.tolist()}")
    noise = sigma**2
    before = torch.cat([noise.new_zeros(1), noise[:-1]])
    return from_beta((noise - before) / (1 + noise))  # 1 - (1 + before) / (1 + noise)


def from_alpha_bar(alpha_bar, T: int, beta_max: float = 1.0) -> Schedule:
    r"""A schedule from a function $\bar\alpha(u)$ of u = t / T in [0, 1].

    $\beta_t = \min(1 - \bar\alpha(t/T) / \bar\alpha((t-1)/T), \beta_{max})$
    (Nichol & Dhariwal 2021, Eq. 17 and the text below it).
    """
    level = alpha_bar(torch.linspace(0, 1, T + 1, dtype=torch.float64))
    return from_beta((1 - level[1:] / level[:-1]).clamp(max=beta_max))


def _ramp(start: float, end: float, T: int) -> Tensor:
    return torch.linspace(start, end, T, dtype=torch.float64)


def linear(T: int = 1000, beta_1: float = 1e-4, beta_T: float = 0.02) -> Schedule:
    r"""$\beta_t$ rises linearly: the schedule of Ho et al. 2020, Sec. 4."""
    return from_beta(_ramp(beta_1, beta_T, T))


def quadratic(T: int = 1000, beta_1: float = 1e-4, beta_T: float = 0.02) -> Schedule:
    r"""$\sqrt{\beta_t}$ rises linearly.

    Called `quad` in the code of Ho et al.; with 0.00085 and 0.012 it is the
    `scaled_linear` of latent diffusion (Rombach et al. 2022).
    """
    return from_beta(_ramp(beta_1**0.5, beta_T**0.5, T) ** 2)


def constant(T: int = 1000, beta: float = 0.02) -> Schedule:
    r"""$\beta_t = \beta$, one of the schedules compared by Ho et al. 2020, Sec. 4."""
    return from_beta(torch.full((T,), beta, dtype=torch.float64))


def warmup(
    T: int = 1000, beta_1: float = 1e-4, beta_T: float = 0.02, share: float = 0.1
) -> Schedule:
    r"""$\beta_t$ rises linearly during the first `share` of the steps, then stays."""
    beta = torch.full((T,), beta_T, dtype=torch.float64)
    ramp = int(T * share)
    beta[:ramp] = _ramp(beta_1, beta_T, ramp)
    return from_beta(beta)


def jsd(T: int = 1000) -> Schedule:
    r"""$\beta_t = 1 / (T - t + 1)$, so that $\bar\alpha_t = 1 - t / T$.

    The choice of Sohl-Dickstein et al. 2015, Sec. 2.4.1, for binary data.
    """
    return from_beta(1 / torch.arange(T, 0, -1, dtype=torch.float64))


def sigmoid(T: int = 1000, beta_1: float = 1e-4, beta_T: float = 0.02) -> Schedule:
    r"""$\beta_t$ rises from $\beta_1$ to $\beta_T$ along the logistic on [-6, 6]."""
    return from_beta(_ramp(-6, 6, T).sigmoid() * (beta_T - beta_1) + beta_1)


def exponential(T: int = 1000, rate: float = 12.0) -> Schedule:
    r"""$\bar\alpha(u) = e^{-rate\, u}$: each step loses the same share."""
    return from_alpha_bar(lambda u: torch.exp(-rate * u), T)


def cosine(T: int = 1000, s: float = 0.008, beta_max: float = 0.999) -> Schedule:
    r"""$\bar\alpha(u) \propto \cos^2\big(\frac{u + s}{1 + s} \frac{\pi}{2}\big)$.

    Nichol & Dhariwal 2021, Eq. 17. Only the last $\beta_T$ meets `beta_max`.
    """

    def alpha_bar(u):
        return torch.cos((u + s) / (1 + s) * math.pi / 2) ** 2

    return from_alpha_bar(alpha_bar, T, beta_max)


def abrupt(
    T: int = 1000, decades: float = 5.0, low: float = 0.01, high: float = 100.0
) -> Schedule:
    r"""$\log SNR$ falls linearly, but for `decades` decades in one step in the middle.

    $\sigma_t$ rises from `low` to `high`; from t = T / 2 to the next step SNR falls
    by $10^{decades}$. An example of how not to do it: no step has the noise levels at
    which an image gets its shape. ValueError unless T is even and at least 4, and the
    decades are above 0 and leave room for falling elsewhere.
    """
    room = 2 * math.log10(high / low) - decades
    if T < 4 or T % 2 or decades <= 0 or room <= 0:
        raise ValueError(
            f"T must be even and at least 4, and decades lie between 0 and"
            f" {room + decades:.4g}, not {T} and {decades}"
        )
    half = _ramp(0, room / 2, T // 2)  # decades of SNR lost since the first step
    lost = torch.cat([half, half + room / 2 + decades])
    return from_sigma(low * 10 ** (lost / 2))


def chen_sigmoid(
    u: Tensor, start: float = -3.0, end: float = 3.0, tau: float = 1.0
) -> Tensor:
    r"""$\gamma(u)$, the sigmoid schedule of Chen 2023 (arXiv 2301.10972).

    $\gamma$ plays the role of $\bar\alpha$; u in [0, 1]; clipped below at 1e-9.
    """
    u = torch.as_tensor(u, dtype=torch.float64)
    low, high = (torch.tensor(v / tau, dtype=u.dtype).sigmoid() for v in (start, end))
    gamma = (high - ((u * (end - start) + start) / tau).sigmoid()) / (high - low)
    return gamma.clamp(1e-9, 1.0)


def leading(T: int, S: int) -> list[int]:
    r"""S of T timesteps, equally spaced from 1: t = T - T/S + 1, ..., 1 + T/S, 1.

    In the 0-based count of common code this is 'leading' spacing (900, ..., 100, 0 for
    T = 1000, S = 10). The stride is floor(T / S). ValueError unless 1 <= S <= T.
    """
    if not 1 <= S <= T:
        raise ValueError(f"the number of steps S must be between 1 and {T}, not {S}")
    return [1 + (T // S) * i for i in range(S)][::-1]


def trailing(T: int, S: int) -> list[int]:
    r"""S of T timesteps, equally spaced down from T: t = T, T - T/S, ..., T/S.

    ValueError unless 1 <= S <= T.
    """
    if not 1 <= S <= T:
        raise ValueError(f"the number of steps S must be between 1 and {T}, not {S}")
    return [round(T - i * T / S) for i in range(S)]


def between(schedule: Schedule, low: float, high: float, S: int) -> list[int]:
    r"""S timesteps, equally spaced among those with low <= $\sigma_t$ <= high, falling.

    So that a network trained with one schedule can be sampled with another, at the
    noise levels that it knows. ValueError if there are fewer than S of them.
    """
    inside = ((schedule.sigma >= low) & (schedule.sigma <= high)).nonzero().flatten()
    if not 1 <= S <= len(inside):
        raise ValueError(
            f"{len(inside)} timesteps have sigma in [{low:g}, {high:g}], not S = {S}"
        )
    pick = torch.linspace(len(inside) - 1, 0, S, dtype=torch.float64).round().long()
    return inside[pick].tolist()
