r"""Two denoisers made from the optimal one: smoothed, and rounded to one image."""

from collections.abc import Callable

import torch
from torch import Tensor

from helpers.data import check_images
from helpers.denoisers import Optimal, check_noisy
from helpers.metrics import nearest
from helpers.targets import from_sigma, noise_level

QUERIES = 256  # noisy images that are asked about at once: bounds the memory


class Smoothed:
    r"""The smoothed closed form of Scarvelis, Borde & Solomon (2025).

    $$D_s(x; \sigma) = \frac1M \sum_m D\big(x + s (1 + \sigma) \epsilon_m; \sigma\big)$$

    with $D$ the optimal denoiser. Theirs is the flow $z_t = t x_0 + (1 - t) \epsilon$
    from noise at $t = 0$ to data at $t = 1$, with $k_t(z) = \sum_n w_n t y_n$, $w =
    \mathrm{softmax}_n(-\|z - t y_n\|^2 / 2 (1 - t)^2)$ and the velocity $(k_t(z) - t z)
    / t (1 - t)$. They put $k_{s,t}(z) = \frac1M \sum_m k_t(z + s \epsilon_m)$ in its
    place and keep z. Now $x = z / t$ and $\sigma = (1 - t) / t$, thus $t = 1 / (1 +
    \sigma)$, $k_t(z) = t D(x; \sigma)$, and a step $s \epsilon$ in z is one of $s (1 +
    \sigma) \epsilon$ in x.

    At little noise each D is one training image, and the answer is the barycentre of M
    of them (their Thm. 1). `data` are float (N, C, H, W) in [-1, 1]; `noises` are the
    $\epsilon_m$, (M, C, H, W), drawn once by the caller and kept; `s` is in the units
    of z. ValueError for other shapes, no noise, or s below 0.
    """

    def __init__(self, data: Tensor, noises: Tensor, s: float):
        self.optimal = Optimal(data)
        check_noisy(noises, data.shape[1:])
        if not len(noises) or not 0 <= s < float("inf"):
            raise ValueError(f"need a noise and s >= 0, not {len(noises)} and s = {s}")
        self.noises, self.s = noises, s

    def __call__(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        check_noisy(x, self.noises.shape[1:])
        level = noise_level(sigma, x).expand(len(x), 1, 1, 1)
        rows = max(1, QUERIES // len(self.noises))
        means = [self._mean(*part) for part in zip(x.split(rows), level.split(rows))]
        return torch.cat(means)

    def _mean(self, x, level) -> Tensor:
        steps = self.s * (1 + level[:, None]) * self.noises.to(x)  # (b, M, C, H, W)
        moved = (x[:, None] + steps).flatten(0, 1)
        each = level.flatten().repeat_interleave(len(self.noises))
        return self.optimal(moved, each).unflatten(0, (len(x), -1)).mean(dim=1)


class Nearest:
    r"""The nearest training image, $y_{n^*}$ with $n^* = \arg\min_n \|x - y_n\|$.

    What the optimal denoiser becomes at little noise, at any noise. With `scaled=False`
    the distance is that of DDPM's $x_t = x / \sqrt{1 + \sigma^2}$, which is too small
    by this factor, from the images at full size: the baseline in the released code of
    Lukoianov et al. (2025). `find(x)` is the search, `metrics.nearest` unless given.
    `data` are float (N, C, H, W) in [-1, 1]. The gradient is 0, as it is almost
    everywhere.
    """

    def __init__(self, data: Tensor, scaled: bool = True, find: Callable | None = None):
        if not len(check_images(data)):
            raise ValueError("the training set holds no image")
        self.data, self.scaled = data, scaled
        self.find = find or (lambda x: nearest(x, data))

    def __call__(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        check_noisy(x, self.data.shape[1:])
        noise_level(sigma, x)
        query = x if self.scaled else from_sigma(x, sigma)
        index = self.find(query.detach()).index[:, 0].to(self.data.device)
        return self.data[index].to(x) + 0 * x
