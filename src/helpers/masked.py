r"""Denoisers with a mask for each output: one softmax over the images per coordinate.

$$D(x; \sigma)[m] = \sum_k p_k(m)\, y_k[m], \qquad
  p(m) = \mathrm{softmax}_k\Big(-\sum_n M_{mn} (x[n] - y_k[n])^2 / 2\sigma^2\Big)$$

(Lukoianov et al. 2025, with their data-driven mask; with square windows the LS machine
of Kamb & Ganguli 2025, with masks from the gradients of a net PSPC-Flex of Niedoba et
al. 2025.) All ones give the optimal denoiser, the identity n scalar posteriors.

Taken literally this costs $B N n^2$. The sums over the masks are taken by `MaskSums`
instead, on a processor in compiled loops (`helpers.loops`). Squares of differences
cancel no digits, but a long sum of them is rounded; the outputs where that could be
felt are computed once more in float64.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from tqdm import tqdm

from helpers.data import check_images
from helpers.denoisers import check_noisy
from helpers.loops import compiled, softmax_sums
from helpers.masks import check_mask
from helpers.masksums import MaskSums
from helpers.streaming import SoftmaxMean
from helpers.targets import noise_level

COLUMNS = 512  # (noisy image, training image) pairs at once: what a cache can hold
IMAGES = 8  # noisy images at once
PLANS = 16  # masks of as many noise levels are remembered
LOG2E = 1 / math.log(2)
# From this noise level on the logits are formed from products instead of squares of
# differences, whose common part would be many times larger than what differs.
PRODUCTS = 1.0
ROUNDING = 1e-3  # bits of a logit that rounding may cost before float64 takes over
CANCELLED = 1e-2  # likewise, a worst case, before differences of sums are avoided
BITS = 52  # an image this far below the best has a weight under 2.3e-16


class Masked:
    r"""The masked denoiser of a training set.

    `data` float (N, C, H, W) in [-1, 1], used in place; `mask` a bool matrix (n, n) or
    (H W, n) (see `helpers.masks`), or a function of sigma that gives one. ValueError
    for a mask of another shape or with an empty row. `dense` forces the way the sums
    are taken; it changes the time, never more than rounding.
    """

    def __init__(
        self,
        data: Tensor,
        mask: Tensor | Callable[[float], Tensor],
        dense: bool | None = None,
    ):
        if not len(check_images(data)):
            raise ValueError("the training set holds no image")
        self.data, self.dense, self.plans = data, dense, {}
        self.mask = mask if callable(mask) else check_mask(mask, data.shape[1:])
        blocks = data.flatten(1).split(8192)
        self.mu = sum(y.double().sum(0) for y in blocks) / len(data)  # (n,)

    def sums(self, sigma: float, dtype=torch.float32) -> MaskSums:
        """The plan for the sums over the masks of this noise level, made once."""
        shape, level = self.data.shape[1:], float(sigma)
        alone = self._cancels(level, dtype)
        plan = level if callable(self.mask) else None, alone
        if plan not in self.plans:
            mask = self.mask
            if callable(mask):
                mask = check_mask(mask(level), shape)
            if len(self.plans) == PLANS:
                del self.plans[next(iter(self.plans))]
            mask = mask.to(self.data.device)
            self.plans[plan] = MaskSums(mask, None if alone else shape, self.dense)
        return self.plans[plan]

    def _cancels(self, sigma, dtype) -> bool:
        """Whether differences between the sums of neighbours would lose digits."""
        largest = self.data[0].numel() / (2 * sigma**2)
        return sigma < PRODUCTS and largest * torch.finfo(dtype).eps > CANCELLED

    def __call__(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        check_noisy(x, self.data.shape[1:])
        noise_level(sigma, x)
        levels = torch.as_tensor(sigma, dtype=torch.float64).reshape(-1).expand(len(x))
        answer = torch.empty_like(x)
        for level in levels.unique().tolist():
            for part in (levels == level).nonzero()[:, 0].split(IMAGES):
                answer = answer.index_copy(0, part, self._denoise(x[part], level))
        return answer

    def _denoise(self, x, sigma) -> Tensor:
        """A few images of one noise level."""
        sums = self.sums(sigma, x.dtype)
        running = self._pass(x, sigma, sums, sums.order, len(sums.mask))
        mean = torch.empty_like(running.mean())  # (rows, B, channels)
        mean = mean.index_copy(0, sums.order, running.mean())
        rows = self._rounded(running.top, sums)
        if sigma < PRODUCTS and len(rows):
            few = MaskSums(sums.mask[rows])
            again = self._pass(x.double(), sigma, few, rows, len(sums.mask))
            mean = mean.index_copy(0, rows, again.mean().to(mean))
        return mean.permute(1, 2, 0).reshape(x.shape)

    def _rounded(self, top, sums) -> Tensor:
        """The rows with a contender that may be rounded too much."""
        size = sums.mask.sum(dim=1, keepdim=True)[sums.order]
        unit = torch.finfo(top.dtype).eps / 2
        error = unit * (size + 2).sqrt() * (BITS - top[..., 0])
        return sums.order[(error > ROUNDING).any(dim=1)]

    def _pass(self, x, sigma, sums, order, rows) -> SoftmaxMean:
        """All training images, a block at a time, for the rows in this order."""
        channels, data = sums.n // rows, self.data.flatten(1)
        if self._compiled(x, sums):
            return self._loops(x.flatten(1), sigma, sums, order, channels)
        B, mu = len(x), self.mu.to(x)[:, None]
        table = sums.table(COLUMNS // B * B, x.dtype)
        centred = (x.flatten(1).T - mu)[..., None]  # (n, B, 1)
        running = SoftmaxMean(torch.exp2)
        blocks = data.split(COLUMNS // B)
        for y in tqdm(blocks, "masked denoiser", leave=False, delay=5, disable=None):
            y = y.to(x).T.contiguous()  # (n, K)
            bits = self._bits(centred, (y - mu)[:, None], sigma, sums, table)
            running.update(bits.neg_(), values(y, order, channels))
        return running

    def _compiled(self, x, sums) -> bool:
        """Whether the compiled loops can do it, which have no gradient."""
        return not sums.dense and compiled(x)

    def _loops(self, x, sigma, sums, order, channels) -> SoftmaxMean:
        squares = sigma < PRODUCTS
        scale = (LOG2E / 2) ** 0.5 / sigma if squares else LOG2E / sigma**2
        loops = sums.loops._replace(order=order.numpy())
        data = self.data.flatten(1)
        return softmax_sums(data, x, self.mu, scale, squares, loops, channels)

    def _bits(self, x, y, sigma, sums, table) -> Tensor:
        r"""$\sum_n M_{mn} (x_n - y_{kn})^2 / 2 \sigma^2 \log 2$, (rows, B, K), up to a
        constant for each m and x, from x (n, B, 1) and y (n, 1, K).
        """
        if x.requires_grad:  # autograd needs all that is overwritten below
            z = (x - y).square() * (LOG2E / 2 / sigma**2)
            return sums.product(z.flatten(1)).view(-1, *z.shape[1:])
        B, K = x.shape[1], y.shape[2]
        if K * B != table.shape[1]:
            table = sums.table(B * K, x.dtype)
        z = table[: sums.n].view(-1, B, K)
        if sigma < PRODUCTS:
            scale = (LOG2E / 2) ** 0.5 / sigma
            torch.sub(x * scale, y * scale, out=z).square_()
        else:
            scale = LOG2E / sigma**2
            torch.sub(y * (scale / 2), x * scale, out=z).mul_(y)
        return sums(table).view(-1, B, K)


def values(y: Tensor, order: Tensor, channels: int) -> Tensor:
    """What the softmaxes average: y (n, K) as (rows, K, channels that share a mask)."""
    return y.view(channels, -1, y.shape[1])[:, order].permute(1, 2, 0)
