r"""One softmax over all patches of all training images, in tiles that fit in the cache.

For 2,000 images of CIFAR-10 there are 1.8 million patches of 3 x 3 for each pixel of a
noisy image. A tile is one matrix product of some of these patches with some of those.
Weights are computed only where the largest logit of a noisy patch in the tile comes
close to its best so far. What is left out weighs less than 2.4e-16 of the rest; at
little noise that is nearly all. Logits are in bits, as powers of 2 are the faster ones.

On a processor patches of few numbers go through compiled loops (`helpers.loops`), where
a product would spend its time in memory.

A product loses digits. Where the rounding of float32 could be felt it is made in
float64; where even that would be felt, differences take its place.
"""

import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from helpers.denoisers import NATS, ROUNDING
from helpers.loops import patch_sums
from helpers.streaming import FLOOR

ROWS = 1024  # patches of noisy images in a tile
COLUMNS = 1024  # patches of training images in a tile: 4 MB of logits
SHORT = 75  # numbers of a patch up to which the compiled loops are faster
IMAGES = 8  # noisy images that they take at once
TASK = 8192  # patches of training images for one thread
COARSE = 4.0  # nats that rounding may cost where only the largest logits are sought


def rectangle(rows: range, columns: range, shape: torch.Size) -> Tensor:
    """Places of a rectangle in a flat image (C, H, W) relative to its centre, (d,).

    `rows` and `columns` are relative to the centre, and so is the answer.
    """
    C, H, W = shape
    c = H * W * torch.arange(C)[:, None, None]
    i = W * torch.tensor(rows)[:, None]
    return (c + i + torch.tensor(columns)).flatten()


def visible(i: int, j: int, r: int, shape: torch.Size) -> Tensor:
    """`rectangle` of the window of radius r around (i, j), cut at the border, (d,)."""
    H, W = shape[1:]
    rows = range(-min(i, r), min(H - 1 - i, r) + 1)
    columns = range(-min(j, r), min(W - 1 - j, r) + 1)
    return rectangle(rows, columns, shape)


def cells(rows: range, columns: range, width: int) -> Tensor:
    """Places of the pixels (i, j) in a flat channel of this width, row by row, (L,)."""
    return (width * torch.tensor(rows)[:, None] + torch.tensor(columns)).flatten()


def gather(images: Tensor, places: Tensor, window: Tensor) -> Tensor:
    """Patches (N L, d) at all places (L,) of images (N, C, H, W), image by image."""
    index = (places[:, None] + window).to(images.device)
    return images.flatten(1)[:, index].flatten(0, 1)


def tiles(images: Tensor, places: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Images and places that make up to `size` patches, until all were there."""
    for part in places.split(size):
        for some in images.split(max(1, size // len(part))):
            yield some, part


def rounding(q: Tensor, variance: Tensor, dtype: torch.dtype) -> float:
    r"""Estimate of how far, in nats, `logits` by a product in this dtype are off.

    $u (\sqrt d + 2) (\|q\| + \sqrt d)^2 / \sigma^2$, the largest of all; patches of
    numbers in [-1, 1] have a norm of at most $\sqrt d$. Probabilistic, as in Higham &
    Mary (2019): of a million random pairs the worst comes to 0.03 to 0.5 of it.
    """
    root = math.sqrt(q.shape[1])
    size = (q.detach().double().norm(dim=1) + root).square() / (2 * variance)
    return torch.finfo(dtype).eps * (root + 2) * size.max().item()


def arithmetic(q: Tensor, variance: Tensor, tolerance: float) -> torch.dtype | None:
    """The dtype of a product that rounds little enough; None if there is none."""
    for dtype in (q.dtype, torch.float64):
        if rounding(q, variance, dtype) <= tolerance:
            return dtype
    return None


def logits(p: Tensor, q: Tensor, variance: Tensor, dtype: torch.dtype | None) -> Tensor:
    r"""$-\|q - p\|^2 / 2 \sigma^2 \log 2$ of patches p (n, d) and q (m, d), (n, m).

    In bits: $2^\ell$ is the weight. One product of the given dtype; float64
    differences without one. `variance` is (m,), float64.
    """
    unit = variance * math.log(2)
    if dtype is None:
        # the name of the mode means: by differences
        mode = "donot_use_mm_for_euclid_dist"
        distance = torch.cdist(p.double(), q.double(), compute_mode=mode)
        return -distance.square() / (2 * unit)
    p, wide = p.to(dtype), q.double()
    # the square in three parts: one product of vectors of d + 2 numbers
    half_p = p.square().sum(dim=1, keepdim=True) / -2
    half_q = wide.square().sum(dim=1, keepdim=True) / -2
    q = torch.cat([wide, torch.ones_like(half_q), half_q], 1) / unit[:, None]
    return torch.cat([p, half_p, torch.ones_like(half_p)], dim=1) @ q.to(dtype).T


def patch_mean(q: Tensor, variance: Tensor, blocks: Iterable, size: int) -> Tensor:
    r"""$\sum_j \mathrm{softmax}_j(-\|q - p_j\|^2 / 2 \sigma^2)\, v_j$, (m, C).

    For queries (m, d) and a dictionary of `size` patches in `blocks` of patches p (n,
    d) and values v (n, C). A running maximum and mass for each query.
    """
    coarse, fine = (arithmetic(q, variance, e) for e in (COARSE, ROUNDING))
    # in bits; the largest logits are off by up to COARSE nats, in both directions
    reach = (NATS + math.log(size) + 2 * COARSE) / math.log(2)
    every = torch.arange(len(q), device=q.device)
    top, total = torch.full_like(variance, -torch.inf), 0.0
    for p, v in blocks:
        z = logits(p, q, variance, coarse)
        peak = z.detach().amax(dim=0).double()
        near = (peak >= top - reach).nonzero()[:, 0]
        if not len(near):
            continue
        if fine != coarse:
            z = logits(p, q[near], variance[near], fine)
        elif 2 * len(near) < len(q):
            z = z[:, near]
        else:  # faster than to pick the columns
            near = every
        old, top = top, torch.maximum(top, peak)
        weight = z.sub_(top[near].to(z)).clamp_min_(FLOOR).exp2_()  # (n, m')
        v = torch.cat([v, torch.ones_like(v[:, :1])], dim=1).to(weight)
        part = (v.T @ weight).T.double()  # (m', C + 1)
        decay = (old - top).exp2()[:, None]
        start = part.new_zeros(len(q), v.shape[1])
        total = total * decay + start.index_add(0, near, part)
    return (total[:, :-1] / total[:, -1:]).to(q)


class Dictionary:
    """The patches of a window at some places of all images, and their values.

    `window` (d,) and `places` (L,) index flat images; the value of a patch is the pixel
    at its place.
    """

    def __init__(self, data: Tensor, places: Tensor, window: Tensor):
        self.data, self.places, self.window = data, places, window
        C, H, W = data.shape[1:]
        self.pixel = H * W * torch.arange(C)
        self.size = len(data) * len(places)

    def mean(self, x, places, window, variance, bar=None) -> Tensor:
        """`patch_mean` at the places of noisy images (B, C, H', W'), (B, L, C)."""
        if x.device.type == "cpu" and len(window) <= SHORT and not x.requires_grad:
            some = zip(x.split(IMAGES), variance.split(IMAGES))
            return torch.cat([self._loops(*s, places, window, bar) for s in some])
        return self._products(x, places, window, variance, bar)

    def _loops(self, x, variance, places, window, bar) -> Tensor:
        """By compiled loops, if there is a dtype that rounds little enough."""
        q, level = gather(x, places, window), variance.repeat_interleave(len(places))
        dtype = arithmetic(q, level, ROUNDING)
        if dtype not in (torch.float32, torch.float64):
            return self._products(x, places, window, variance, bar)
        mean = patch_sums(q.to(dtype), level, self._blocks(q, TASK)).mean()
        if bar is not None:
            bar.update(len(q))
        return mean.to(x).view(len(x), len(places), -1)

    def _products(self, x, places, window, variance, bar) -> Tensor:
        """By matrix products, ROWS queries at a time."""
        parts = []
        for part in places.split(ROWS):
            means = []
            step = max(1, ROWS // len(part))
            for some, v in zip(x.split(step), variance.split(step)):
                q = gather(some, part, window)
                v = v.repeat_interleave(len(part))
                mean = patch_mean(q, v, self._blocks(q, COLUMNS), self.size)
                means.append(mean.view(len(some), len(part), -1))
                if bar is not None:
                    bar.update(len(q))
            parts.append(torch.cat(means))
        return torch.cat(parts, dim=1)

    def _blocks(self, q, size) -> Iterator[tuple[Tensor, Tensor]]:
        for y, part in tiles(self.data, self.places, size):
            y = y.to(q.device)
            yield gather(y, part, self.window), gather(y, part, self.pixel)
