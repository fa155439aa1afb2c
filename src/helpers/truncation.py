r"""The optimal denoiser from few of its images, with a bound on what is left out.

If the images left out have together the weight m, the answer moves by at most

$$\|D - D_k\| = m\, \Big\| \sum_{n\ left} \frac{w_n}{m} y_n - D_k \Big\|
  \le m\, \max_{n\ left} \|y_n - D_k\| ,$$

since $D$ is the mean of $D_k$ and of the mean of those left out, with the weights 1 - m
and m. So a bound on m, from their distances alone, certifies the answer.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from helpers.denoisers import NATS, Optimal, check_noisy
from helpers.search import Search, exhaustive
from helpers.targets import noise_level

SHARE = 0.1  # of the images, beyond which leaving out the others saves no time


def missing_weight(distance: Tensor, sigma: float | Tensor, left: int) -> Tensor:
    r"""The largest weight of `left` images at least as far as the k-th, (B,).

    $R / (1 + R)$ with $R = left\; e^{-d_k^2 / 2 \sigma^2} / \sum_{j \le k} e^{-d_j^2 /
    2 \sigma^2}$; `distance` (B, k) holds $d_1 \le \ldots \le d_k$.
    """
    variance = torch.as_tensor(sigma, dtype=torch.float64).reshape(-1, 1) ** 2
    logits = -distance.double().square() / (2 * variance)
    if left == 0:
        return torch.zeros_like(logits[:, 0])
    return (math.log(left) + logits[:, -1] - logits.logsumexp(dim=1)).sigmoid()


class Certified(NamedTuple):
    """An answer and how far it can be from that of all images."""

    x0_hat: Tensor  # (B, C, H, W)
    missing: Tensor  # (B,), the largest weight m of the images left out
    error: Tensor  # (B,), the largest possible |D - D_k|


class Truncated:
    """The posterior mean over the k nearest training images, as if these were all.

    A common shortcut (Lukoianov et al. 2025 keep 200). It is the optimal denoiser only
    where the noise is small enough; `certified` says how far off it may be. `find(x,
    k)` is the search, `search.exhaustive` unless given; the certificate is as exact as
    its distance to the k-th image. ValueError unless 1 <= k <= N.
    """

    def __init__(self, data: Tensor, k: int = 200, find: Callable | None = None):
        if not 1 <= k <= len(data):
            raise ValueError(f"k must be between 1 and {len(data)}, not {k}")
        self.data, self.k = data, k
        self.find = find or exhaustive(data)
        flat = data.flatten(1)
        self.mu = flat.mean(dim=0)
        self.radius = max((y - self.mu).norm(dim=1).max() for y in flat.split(8192))

    def __call__(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        return self.certified(x, sigma).x0_hat

    def certified(self, x: Tensor, sigma: float | Tensor) -> Certified:
        r"""The answer with its bounds.

        The farthest image left out is at most $\|D_k - \mu\| + \max_n \|y_n - \mu\|$
        away from the answer $D_k$.
        """
        check_noisy(x, self.data.shape[1:])
        noise_level(sigma, x)
        found = self.find(x, self.k)
        answer = self._mean(x, sigma, found)
        missing = missing_weight(found.distance, sigma, len(self.data) - self.k)
        reach = (answer - self.mu.to(answer)).norm(dim=1) + self.radius
        return Certified(answer.view_as(x), missing, missing * reach)

    def _mean(self, x, sigma, found) -> Tensor:
        """The mean of the images found under their weights, (B, D)."""
        variance = torch.as_tensor(sigma, dtype=torch.float64).reshape(-1, 1) ** 2
        weights = (-found.distance.square() / (2 * variance)).softmax(dim=1)  # (B, k)
        rows = zip(weights.to(x), found.index)
        return torch.stack([w @ self.data[j].flatten(1).to(x) for w, j in rows])


class Pruned:
    r"""The optimal denoiser over the images that can matter: the same to rounding.

    An image is left out if its distance must be so large that its weight is below
    $e^{-36} / N$ of that of another; all that is left out weighs less than 2.4e-16.
    Fast where the noise is small; where it is large, the sum runs over all images.
    """

    def __init__(self, data: Tensor, search: Search | None = None):
        self.search = search or Search(data)
        self.optimal = Optimal(data)
        self.reach = NATS + math.log(len(data))

    def __call__(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        check_noisy(x, self.optimal.data.shape[1:])
        noise_level(sigma, x)
        variance = torch.as_tensor(sigma, dtype=torch.float64) ** 2
        matter = self.search.candidates(x, spread=2 * variance * self.reach).any(dim=0)
        if matter.sum() > SHARE * len(matter):
            return self.optimal(x, sigma)
        return Optimal(self.optimal.data[matter])(x, sigma)
