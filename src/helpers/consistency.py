r"""Consistency models: from any noise level to the image, in one call of a net.

The probability-flow ODE joins each noisy image to one clean image. A consistency
function f(x, sigma) names that end at once. It is learned from a denoiser, the teacher,
by asking that two neighbours on a path get the same answer. Names, algorithms and
equation numbers are those of Song, Dhariwal, Chen & Sutskever 2023; their time t is our
noise level sigma, their epsilon is `low`, the level at which a path ends. Images are
(B, C, H, W) in units of [-1, 1]; sigma is a float or (B,).
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from helpers.schedules import Schedule
from helpers.targets import from_sigma, noise_level, timestep
from helpers.wiener import Wiener

Denoiser = Callable[[Tensor, float | Tensor], Tensor]


def levels(low: float, high: float, N: int, rho: float = 7.0) -> Tensor:
    r"""$\sigma_n = (low^{1/\rho} + \frac{n - 1}{N - 1}
    (high^{1/\rho} - low^{1/\rho}))^\rho$, n = 1, ..., N, rising, (N,), float64.

    Sec. 2, from Karras et al. 2022, Eq. 5. ValueError unless 0 < low < high, N > 1.
    """
    if not 0 < low < high or N < 2:
        raise ValueError(f"need 0 < low < high and N > 1, not {low}, {high}, {N}")
    ramp = torch.linspace(low ** (1 / rho), high ** (1 / rho), N, dtype=torch.float64)
    grid = ramp**rho
    grid[0], grid[-1] = low, high  # without rounding: a net knows no other levels
    return grid


def boundary(sigma: float | Tensor, low: float) -> tuple[Tensor, Tensor]:
    r"""$c_{skip} = 1 / ((\sigma - low)^2 + 1)$ and
    $c_{out} = (\sigma - low) / \sqrt{1 + \sigma^2}$, float64, shape of sigma.

    App. C with $\sigma_{data} = 1$; exactly 1 and 0 at sigma = low.
    """
    sigma = torch.as_tensor(sigma, dtype=torch.float64)
    return 1 / ((sigma - low) ** 2 + 1), (sigma - low) / (1 + sigma**2).sqrt()


def consistent(net: Callable, schedule: Schedule) -> Denoiser:
    r"""$f_\theta(x, \sigma) = c_{skip}\, x - c_{out}\, v_\theta(x_t, t)$ (Eq. 5).

    $x_t = x / \sqrt{1 + \sigma^2}$ and $\sigma_t = \sigma$, as for every net here;
    low = $\sigma_1$. With low = 0 this would be `targets.x0_from_v`: a net that
    predicts v is already nearly a consistency function, and a student may start from
    its teacher's weights. f(x, low) = x, whatever the weights are. ValueError for a
    sigma outside $[\sigma_1, \sigma_T]$.
    """
    low, high = schedule.sigma[1].item(), schedule.sigma[-1].item()

    def f(x: Tensor, sigma: float | Tensor) -> Tensor:
        level = noise_level(torch.as_tensor(sigma, dtype=torch.float64), x.double())
        if level.min() < low * (1 - 1e-6) or level.max() > high * (1 + 1e-6):
            raise ValueError(f"sigma must lie in [{low:.4g}, {high:.4g}], not {sigma}")
        t = timestep(level.flatten().cpu(), schedule).to(x.device).expand(len(x))
        keep, add = (c.to(x) for c in boundary(level, low))
        return keep * x - add * net(from_sigma(x, sigma), t)

    return f


def slope(denoise: Denoiser, x: Tensor, sigma: float | Tensor) -> Tensor:
    r"""$dx / d\sigma = (x - D(x; \sigma)) / \sigma$, the ODE of Eq. 3."""
    return (x - denoise(x, sigma)) / noise_level(sigma, x)


def ode_step(
    denoise: Denoiser,
    x: Tensor,
    sigma: float | Tensor,
    lower: float | Tensor,
    heun: bool = True,
) -> Tensor:
    r"""$\hat x^\phi_{\sigma_n}$, one step of a solver from sigma to `lower` (Eq. 6).

    Heun's, which asks the denoiser twice, or Euler's, which asks once (and is DDIM).
    """
    step = noise_level(lower, x) - noise_level(sigma, x)
    first = slope(denoise, x, sigma)
    there = x + step * first
    if not heun:
        return there
    return x + step * (first + slope(denoise, there, lower)) / 2


def flow(denoise: Denoiser, x: Tensor, sigmas: Sequence[float], heun=True) -> Tensor:
    """The path from x at sigmas[0] down along `sigmas`, its last point."""
    for sigma, lower in pairwise(sigmas):
        x = ode_step(denoise, x, float(sigma), float(lower), heun)
    return x


def distillation_loss(
    f: Denoiser,
    target: Denoiser,
    denoise: Denoiser,
    x0: Tensor,
    n: Tensor,
    eps: Tensor,
    grid: Tensor,
    heun: bool = True,
) -> Tensor:
    r"""$E\, \|f_\theta(x, \sigma_{n+1}) - f_{\theta^-}(\hat x^\phi, \sigma_n)\|^2$ a
    pixel (Eq. 7 with $\lambda = 1$ and squared Euclidean d), one update of Alg. 2.

    $x = x_0 + \sigma_{n+1} \epsilon$, and $\hat x^\phi$ is one `ode_step` of the
    teacher `denoise` from there. n (B,) in 1, ..., N - 1; `grid` (N,) are the levels.
    No gradient reaches the teacher and the `target`, the average of the student's
    weights (Eq. 8). ValueError for another n.
    """
    n = n.cpu()
    if not bool(((n >= 1) & (n < len(grid))).all()):
        raise ValueError(f"n must lie in 1, ..., {len(grid) - 1}, not {n.tolist()}")
    upper, lower = grid[n], grid[n - 1]  # grid[0] is sigma_1
    x = x0 + noise_level(upper, x0) * eps
    with torch.no_grad():
        goal = target(ode_step(denoise, x, upper, lower, heun), lower)
    return (f(x, upper) - goal).square().mean()


def sample(
    f: Denoiser, x: Tensor, sigmas: Sequence[float], low: float, noise: Callable
) -> Iterator[Tensor]:
    r"""Multistep sampling (Alg. 1): yields f after each of `sigmas`, falling.

    x is noise of level sigmas[0]; then each answer gets noise again,
    $x = x_0 + \sqrt{\sigma^2 - low^2}\, z$. One sigma is sampling in one step. The last
    answer is the sample. ValueError unless the levels fall and stay above low.
    """
    falls = all(a > b for a, b in zip(sigmas, [*sigmas[1:], low]))
    if not len(sigmas) or not falls:
        raise ValueError(f"levels must fall and stay above {low}, not {list(sigmas)}")
    x0 = f(x, sigmas[0])
    yield x0
    for sigma in sigmas[1:]:
        x0 = f(x0 + (sigma**2 - low**2) ** 0.5 * noise(x0), sigma)
        yield x0


def gaussian(wiener: Wiener, low: float = 0.0) -> Denoiser:
    r"""The exact consistency function of Gaussian data, each mode by itself:

    $$f(x, \sigma) = \mu + U\, \mathrm{diag}\Big(
      \sqrt{\frac{\lambda + low^2}{\lambda + \sigma^2}}\Big)\, U^T (x - \mu)$$

    since the ODE keeps the quantile of each mode (`wiener.flow_gain`). One sigma for
    all images.
    """

    def f(x: Tensor, sigma: float) -> Tensor:
        def gain(lam):
            return ((lam + low**2) / (lam + float(sigma) ** 2)).sqrt()

        mu = wiener.mu.to(x)
        return (mu + wiener.apply(gain, x.flatten(1) - mu)).view_as(x)

    return f


def distilled_gain(lam: Tensor, grid: Tensor, heun: bool = True) -> Tensor:
    r"""What perfect distillation from a Wiener filter makes of each mode, (..., N).

    Entry n is the product of the factors of `ode_step` from $\sigma_n$ to $\sigma_1$:
    the only function without loss. It approaches `gaussian` as the grid gets finer,
    with Heun's steps at the square of the rate of Euler's (Theorem 1). float64.
    """
    lam, high, low = lam.double()[..., None], grid[1:], grid[:-1]
    first = high / (lam + high**2)  # the slope of a mode, over its value
    factors = 1 + (low - high) * first
    if heun:
        factors = 1 + (low - high) * (first + factors * low / (lam + low**2)) / 2
    return torch.cat([torch.ones_like(lam), factors.cumprod(dim=-1)], dim=-1)
