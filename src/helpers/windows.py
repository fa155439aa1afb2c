r"""Denoisers that look through a square window: LS machine and overlapping crops.

The optimal denoiser compares the whole noisy image with whole training images. Here a
softmax over the N training images decides for one small square alone, always the same
square of the noisy image and of the training images:

* `LocalScore`: a window around each pixel decides about that pixel (Kamb & Ganguli
  2025);
* `CropMean`: each crop inside of the image decides about all of its pixels, and crops
  that overlap are averaged (Niedoba et al. 2025).

On a processor the loops are compiled (`helpers.boxes`). Elsewhere, and for gradients,
all windows at once are two products with banded matrices of 0 and 1, one for the rows
and one for the columns. Either way the time hardly depends on the side of the window,
and a sum of squares of differences cancels no digits. What is left of rounding grows
with the distance over $\sigma^2$; where it could be felt, float64 is used.
"""

from collections.abc import Iterator
from functools import reduce

import torch
from torch import Tensor

from helpers.boxes import LOG2E, crop_sums, window_sums
from helpers.data import check_images
from helpers.denoisers import NATS, check_noisy
from helpers.loops import compiled
from helpers.scales import Side, by_side, check_side
from helpers.streaming import FLOOR, softmax_mean

LOGITS = 2**19  # (window, image) pairs at once: more do not stay in a cache
WINDOWS = 2**14  # windows of noisy images at once, likewise
ROUNDING = 2e-3  # nats of a logit that rounding may cost before float64 takes over


def band(length: int, k: int) -> Tensor:
    """0/1 matrix (length, length): row i marks the window of odd side k around i.

    The window is cut at the border. Float64.
    """
    place = torch.arange(length)
    return ((place - place[:, None]).abs() <= k // 2).double()


def inside(length: int, s: int) -> Tensor:
    """0/1 matrix (length - s + 1, length): row i marks i, ..., i + s - 1. Float64."""
    place = torch.arange(length)
    start = place[: length - s + 1, None]
    return ((place >= start) & (place < start + s)).double()


def box_sums(z: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Sums of z (H, W, ...) over the rectangles that 0/1 matrices mark.

    `rows` (I, H) and `columns` (J, W); the answer is (I, J, ...).
    """
    H, W, *rest = z.shape
    z = (rows.to(z) @ z.reshape(H, -1)).view(len(rows), W, -1)
    return (columns.to(z) @ z).view(len(rows), len(columns), *rest)


def window_logits(x, y, variance, rows, columns) -> Tensor:
    r"""$-\sum_{q \in \Omega} (x_q - y_q)^2 / 2 \sigma^2$ for all windows at once.

    (I, J, b, n) from images x (b, C, H, W), `pixels` y (C, H, W, n) and the variance
    (b,), in the dtype of x, or in float64 if that would be off by over `ROUNDING`.
    """
    logits = _logits(x, y, variance, rows, columns)
    if x.dtype == torch.float64:
        return logits
    # A logit as large as the best or `NATS` below it is off by a few units.
    reach = logits.detach().amax(dim=-1).min().abs() + NATS
    if 2 * torch.finfo(x.dtype).eps * reach <= ROUNDING:
        return logits
    return _logits(x.double(), y, variance, rows, columns)


def _logits(x, y, variance, rows, columns) -> Tensor:
    square = torch.zeros((), dtype=x.dtype, device=x.device)
    for a, b in zip(pixels(x), y.to(x)):
        gap = a[..., None] - b[..., None, :]  # (H, W, b, n)
        square = torch.addcmul(square, gap, gap)
    return box_sums(square, rows, columns) / (-2 * variance[:, None]).to(x)


def pixels(y: Tensor) -> Tensor:
    """Images (n, C, H, W) as (C, H, W, n): all images of a pixel side by side."""
    return y.permute(1, 2, 3, 0).contiguous()


def log_mass(logits: Tensor) -> Tensor:
    r"""$\log \sum_n e^{\ell_n}$ of (..., n) with the digits of float64, (..., 1)."""
    top = logits.detach().amax(dim=-1, keepdim=True)
    weight = (logits - top).clamp_min(FLOOR).exp()
    return top.double() + weight.sum(dim=-1, keepdim=True).double().log()


def _parts(data, x, variance) -> Iterator[tuple[Tensor, Tensor, tuple]]:
    """Few enough noisy images, and blocks of so many training images."""
    P = data[0, 0].numel()
    batch = max(1, WINDOWS // P)
    for part, v in zip(x.split(batch), variance.split(batch)):
        yield part, v, data.split(max(1, LOGITS // (P * len(part))))


class LocalScore:
    r"""Each pixel from the window around it (the LS machine of Kamb & Ganguli 2025).

    $$D(x; \sigma)_p = \sum_n w_{pn}\, y_{n,p}, \qquad
      w_p = \mathrm{softmax}_n\big(-\|x_{\Omega_p} - y_{n,\Omega_p}\|^2
      / 2\sigma^2\big)$$

    $\Omega_p$ is the k x k square around p in all channels, cut at the border of the
    image; padding x and y with zeros is the same (Eq. 7-8, written as a denoiser).
    `data` are the images $y_n$, float (N, C, H, W) in [-1, 1], used in place. `k` is
    odd, or a function of sigma, such as `Scales`. From 2 max(H, W) - 1 on every window
    is the whole image, and the denoiser is `Optimal`; beyond, ValueError.

    Gradients flow through it, but then all B H W N logits are kept.
    """

    def __init__(self, data: Tensor, k: Side):
        self.data, self.k = check_set(data), k
        if not callable(k):
            check_side(k, self._largest())

    def __call__(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        check_noisy(x, self.data.shape[1:])
        return by_side(self.with_side, self.k, x, sigma)

    def _largest(self) -> int:
        return 2 * max(self.data.shape[2:]) - 1

    def with_side(self, x: Tensor, variance: Tensor, k: int) -> Tensor:
        r"""The same with this side, whatever `k` was; $\sigma^2$ is float64, (B,)."""
        H, W = self.data.shape[2:]
        k = check_side(k, self._largest())
        if compiled(x):
            return exact(self._compiled, x, variance, k)
        bands = band(H, k), band(W, k)
        means = [
            softmax_mean(self._blocks(part, v, blocks, bands))  # (H W, b, C)
            for part, v, blocks in _parts(self.data, x, variance)
        ]
        return torch.cat(means, dim=1).permute(1, 2, 0).reshape(x.shape)

    def _compiled(self, x, variance, k) -> tuple[Tensor, Tensor]:
        """Answer and peaks."""
        C = self.data.shape[1]
        softmax = window_sums(self.data, x, variance, k, k // 2, C)
        return softmax.mean().permute(1, 2, 0).reshape(x.shape), softmax.top

    def _blocks(self, x, variance, blocks, bands) -> Iterator[tuple[Tensor, Tensor]]:
        """Logits (H W, b, n) and values (H W, n, C)."""
        for y in map(pixels, blocks):
            logits = window_logits(x, y, variance, *bands).flatten(0, 1)
            yield logits, y.permute(1, 2, 3, 0).flatten(0, 1).to(x)


class CropMean:
    r"""Average over crops of their posterior means (PSPC-Square, Niedoba et al. 2025).

    $$D(z; \sigma) = \Big(\sum_C C^T C\Big)^{-1} \sum_C C^T E[x_C | z_C], \quad
      E[x_C | z_C] = \sum_n \mathrm{softmax}_n\big(-\|z_C - y_{n,C}\|^2
      / 2 \sigma^2\big)\, y_{n,C}$$

    over all s x s crops C inside of the image, without padding. `data` as for
    `LocalScore`; `s` from 1 to min(H, W), odd or even, or a function of sigma;
    ValueError otherwise. One crop that is the whole image gives `Optimal`.

    Two passes over the images: the first finds the mass of each crop's softmax, the
    second spreads the weights of the crops over their pixels, again with two banded
    products.
    """

    def __init__(self, data: Tensor, s: Side):
        self.data, self.s = check_set(data), s
        if not callable(s):
            self._check(s)

    def __call__(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        check_noisy(x, self.data.shape[1:])
        return by_side(self._denoise, self.s, x, sigma)

    def _check(self, s) -> int:
        largest = min(self.data.shape[2:])
        if int(s) != s or not 1 <= s <= largest:
            raise ValueError(f"the crop side must be from 1 to {largest}, not {s}")
        return int(s)

    def _denoise(self, x, variance, s) -> Tensor:
        H, W = self.data.shape[2:]
        s = self._check(s)
        crops = inside(H, s), inside(W, s)
        overlap = torch.outer(*(c.sum(dim=0) for c in crops)).to(x)  # (H, W)
        if compiled(x):
            return exact(self._compiled, x, variance, s) / overlap
        sums = [self._sum(*part, crops) for part in _parts(self.data, x, variance)]
        return torch.cat(sums, dim=2).permute(2, 3, 0, 1) / overlap

    def _compiled(self, x, variance, s) -> tuple[Tensor, Tensor]:
        """Sums over the crops, and peaks."""
        softmax = window_sums(self.data, x, variance, s, 0, 0)
        return crop_sums(self.data, x, variance, s, softmax), softmax.top

    def _sum(self, x, variance, blocks, crops) -> Tensor:
        """Posterior means of all crops, summed where they lie, (H, W, b, C)."""
        masses = (
            log_mass(window_logits(x, y, variance, *crops)) for y in map(pixels, blocks)
        )
        mass = reduce(torch.logaddexp, masses)  # (I, J, b, 1), float64
        top = mass.detach().to(x)  # mass is too large a number to lose its digits
        rest = (top - mass).exp().to(x)
        total = 0
        for y in map(pixels, blocks):
            logits = window_logits(x, y, variance, *crops)
            weight = (logits - top).clamp_min(FLOOR).exp().to(x) * rest
            spread = box_sums(weight, *(c.T for c in crops))  # (H, W, b, n)
            total = total + spread @ y.permute(1, 2, 3, 0).to(x)
        return total


def exact(work, x, variance, side) -> Tensor:
    """The answer of `work` in the dtype of x; in float64 for the images of x where
    rounding could be felt. `work` also gives the peaks of its logits, in bits.
    """
    answer, top = work(x, variance, side)
    reach = NATS - top[..., 0].amin(dim=0) / LOG2E
    felt = 2 * torch.finfo(x.dtype).eps * reach > ROUNDING
    if x.dtype == torch.float32 and felt.any():
        answer[felt] = work(x[felt].double(), variance[felt], side)[0].to(x)
    return answer


def check_set(data: Tensor) -> Tensor:
    """`data`, if it is a set of at least one image (N, C, H, W) in [-1, 1]."""
    if not len(check_images(data)):
        raise ValueError("the training set holds no image")
    return data
