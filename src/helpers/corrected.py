r"""Denoisers around the masked one, whose numbers are chosen without a network.

The masked denoiser of Lukoianov et al. (2025) answers with an average of training
images; the Wiener filter knows their covariance alone. None of the following is in
their paper:

* `Corrected`: each training image stands for a Gaussian cloud instead of a point. One
  number b leads from the Wiener filter (0) to the masked denoiser (1); a temperature
  makes the softmax softer;
* `Weighted`: weights between 0 and 1 in place of the mask;
* `Blend`: the weighted mean of two denoisers.

What is free may depend on the noise level (`interpolated`), and is to be chosen by the
error on clean images outside of the training set.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from helpers.denoisers import check_noisy
from helpers.masked import Masked
from helpers.masks import gain_ratio
from helpers.scales import EDGE
from helpers.targets import noise_level
from helpers.wiener import Wiener

Level = float | Callable[[float], float]  # a number, or one for each noise level


def at(value: Level, sigma: float) -> float:
    """The number that counts at this noise level."""
    return float(value(sigma) if callable(value) else value)


def interpolated(sigmas: Sequence[float], values: Sequence[float]) -> Callable:
    r"""A number for each noise level, linear in $\log \sigma$ between those given.

    ValueError unless there is a value for each sigma, they are above 0 and differ; and,
    when it is asked, for a sigma outside of their range.
    """
    pairs = sorted(zip(map(float, sigmas), map(float, values)))
    levels, found = (np.array(column) for column in zip(*pairs))
    if len(sigmas) != len(values) or levels[0] <= 0 or not (np.diff(levels) > 0).all():
        raise ValueError(f"need one value for each of {len(sigmas)} rising sigmas")

    def value(sigma: float) -> float:
        if not levels[0] * (1 - EDGE) <= sigma <= levels[-1] * (1 + EDGE):
            raise ValueError(
                f"sigma = {sigma:g} is outside of {levels[0]:g} to {levels[-1]:g}"
            )
        return float(np.interp(np.log(sigma), np.log(levels), found))

    return value


def by_level(denoise: Callable, x: Tensor, sigma: float | Tensor) -> Tensor:
    """`denoise(x, sigma)` for the images of each noise level, put together again."""
    noise_level(sigma, x)
    levels = torch.as_tensor(sigma, dtype=torch.float64).reshape(-1).expand(len(x))
    answer = torch.empty_like(x)
    for level in levels.unique().tolist():
        answer[levels == level] = denoise(x[levels == level], level)
    return answer


class Corrected:
    r"""The Wiener filter and a masked correction, for training images as clouds.

    Shrunk towards their mean and blurred in return, the training images become a
    density with the same mean and covariance (West 1993):

    $$x_0 \sim \frac1N \sum_k N\big(\mu + b\, (y_k - \mu),\; (1 - b^2)\, \Sigma\big).$$

    With $C = (1 - b^2) \Sigma + \sigma^2 I$ the noisy image is a cloud of covariance C
    around $\mu + b (y_k - \mu)$; in the coordinates $\tilde x = \sigma C^{-1/2} (x -
    \mu)$ it is a point with white noise of level $\sigma$ again. So the posterior mean
    is

    $$D(x; \sigma) = \mu + (1 - b^2)\, \Sigma\, C^{-1} (x - \mu)
      + \sigma C^{-1/2}\, \tilde D(\tilde x; \sigma)$$

    with $\tilde D$ the optimal denoiser of the images $\tilde y_k = b\, \sigma C^{-1/2}
    (y_k - \mu)$. Here it is the masked one. The Wiener filter of $\tilde y$ is $b^2 S$,
    so the data-driven mask is the one of the images themselves.

    b = 0 is the Wiener filter, b = 1 the masked denoiser; with a mask of ones and b = 1
    it is `Optimal`. `data` are float (N, C, H, W) in [-1, 1], used in place; `wiener`
    is their filter; `mask(sigma)` gives a bool (n, n) or (H W, n). `b` in [0, 1] and
    the temperature T, above 0, are numbers or functions of sigma; T divides the logits.
    ValueError otherwise.
    """

    def __init__(
        self,
        data: Tensor,
        wiener: Wiener,
        mask: Callable[[float], Tensor],
        b: Level = 1.0,
        temperature: Level = 1.0,
    ):
        self.data, self.wiener, self.mask = data, wiener, mask
        self.b, self.temperature = b, temperature

    def __call__(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        check_noisy(x, self.data.shape[1:])
        return by_level(self._denoise, x, sigma)

    def _numbers(self, sigma) -> tuple[float, float]:
        b, T = at(self.b, sigma), at(self.temperature, sigma)
        if not (0 <= b <= 1 and 0 < T < float("inf")):
            raise ValueError(
                f"need 0 <= b <= 1 and a temperature above 0, not {b}, {T}"
            )
        return b, T

    def _denoise(self, x, sigma) -> Tensor:
        b, T = self._numbers(sigma)
        if b == 0:
            return self.wiener(x, sigma)
        if b == 1:
            return Masked(self.data, self.mask(sigma))(x, sigma * T**0.5)
        mu, variance = self.wiener.mu.to(x), sigma**2

        def white(lam):  # sigma C^(-1/2)
            return (variance / ((1 - b**2) * lam + variance)).sqrt()

        def own(lam):  # (1 - b^2) Sigma C^(-1)
            return 1 - white(lam).square()

        z = x.flatten(1) - mu
        y = b * self._each(white, self.data.flatten(1), mu)
        # in [-1, 1], as images are; a denoiser does not care for the unit
        unit = max(1.0, y.abs().max().item())
        inner = Masked((y / unit).view_as(self.data), self.mask(sigma))
        point = (self.wiener.apply(white, z) / unit).view_as(x)
        h = inner(point, sigma * T**0.5 / unit).flatten(1) * unit
        answer = mu + self.wiener.apply(own, z) + self.wiener.apply(white, h)
        return answer.view_as(x)

    def _each(self, f, y, mu) -> Tensor:
        """f of the covariance, of all training images, in blocks."""
        return torch.cat([self.wiener.apply(f, part - mu) for part in y.split(4096)])


class Weighted:
    r"""The masked denoiser with weights between 0 and 1 in place of its mask.

    $$p(m) = \mathrm{softmax}_k\Big(-\frac{1}{2 \sigma^2} \sum_n w_{mn}\,
      (x[n] - y_k[n])^2\Big)$$

    the posterior mean of m if each input n has noise of variance $\sigma^2 / w_{mn}$.
    The channels of a pixel share a row. `steps(sigma)` gives whole numbers (H W, n)
    from 0 to Q, and w = steps / Q: with each image written Q times side by side the
    weights are a mask, exactly. `data` as for `Masked`. ValueError for steps outside of
    0, ..., Q, or a row of zeros.
    """

    def __init__(self, data: Tensor, steps: Callable[[float], Tensor], Q: int = 4):
        self.repeated, self.steps, self.Q = data.repeat(1, Q, 1, 1), steps, Q
        self.shape = data.shape[1:]

    def __call__(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        check_noisy(x, self.shape)
        return by_level(self._denoise, x, sigma)

    def _denoise(self, x, sigma) -> Tensor:
        steps = self.steps(sigma)
        if steps.min() < 0 or steps.max() > self.Q:
            raise ValueError(f"steps must be from 0 to {self.Q}")
        mask = torch.cat([steps > q for q in range(self.Q)], dim=1)  # (H W, Q n)
        inner = Masked(self.repeated, mask)
        answer = inner(x.repeat(1, self.Q, 1, 1), sigma * self.Q**0.5)
        return answer[:, : self.shape[0]]


def gain_steps(wiener: Wiener, sigma: float, Q: int = 4, power: float = 1.0) -> Tensor:
    r"""Weights for `Weighted` from the Wiener filter, whole numbers (H W, n).

    $Q\, \min(R, 1)^{power}$, rounded, with the ratio R of `masks.gain_ratio`, the
    largest over the channels of the output pixel. Each pixel counts itself in full.
    """
    C, H, W = wiener.shape
    ratio = gain_ratio(wiener, sigma).clamp(max=1).view(C, H * W, -1).amax(dim=0)
    steps = (Q * ratio**power).round().to(torch.uint8)
    own = torch.arange(H * W)
    steps.view(H * W, C, -1)[own, :, own] = Q
    return steps


class Blend:
    r"""The mean of two denoisers, $(1 - w(\sigma))\, D_1 + w(\sigma)\, D_2$.

    `weight` is a number or a function of sigma, such as `interpolated` of the weights
    that `blend_weight` finds.
    """

    def __init__(self, first: Callable, second: Callable, weight: Level):
        self.first, self.second, self.weight = first, second, weight

    def __call__(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        return by_level(self._denoise, x, sigma)

    def _denoise(self, x, sigma) -> Tensor:
        w = at(self.weight, sigma)
        if w in (0, 1):  # the other one need not be asked
            return (self.second if w else self.first)(x, sigma)
        return torch.lerp(self.first(x, sigma), self.second(x, sigma), w)


def blend_weight(first: Tensor, second: Tensor, clean: Tensor) -> float:
    r"""The weight in [0, 1] with the least squared error for two sets of answers.

    $$w = \frac{\langle x_0 - D_1,\, D_2 - D_1 \rangle}{\|D_2 - D_1\|^2}$$

    over all numbers of all images, cut to [0, 1]; 0 where the answers are the same.
    """
    gap, rest = (second - first).double(), (clean - first).double()
    square = gap.square().sum().item()
    return min(1.0, max(0.0, (gap * rest).sum().item() / square)) if square else 0.0
