r"""The softmax of a masked denoiser on a processor: work for the compiled loops.

`MaskSums.__call__` sums with tensor operations, many images at once, and waits for
memory most of the time. Here a core takes 16 images at a time through the sums, the
exponentials and the averages while all of it is in its own cache (`helpers.lanes`).
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from helpers.lanes import LANES, SUMS, add_images, add_patches
from helpers.streaming import SoftmaxMean

AHEAD = 4  # parts that wait for a thread, for each thread
TASK = 512  # images that one thread takes at once: fewer cost more to put together,
PARTS = 16  # more than this part of all leave threads without work


class Loops(NamedTuple):
    """What to add for each row, parents before children."""

    first: np.ndarray  # (rows + 1,), where a row begins in `entry`
    middle: np.ndarray  # (rows,), from where on it subtracts
    entry: np.ndarray  # rows of the table
    order: np.ndarray  # (rows,), the output that a row is
    full: bool  # whether the sum of all is needed

    @classmethod
    def of(cls, sums) -> "Loops":
        """Those of a `MaskSums`. Entries to add, and to subtract, are filled up with a
        row of zeros to as many as the loops take at once.
        """
        counts = [
            torch.diff(o, append=o.new_tensor([len(i)])) for i, o, _ in sums.levels
        ]
        counts = torch.cat(counts).long()
        entry, sign = (torch.cat([level[k] for level in sums.levels]) for k in (0, 2))
        group = torch.arange(len(counts)).repeat_interleave(counts) * 2 + (sign < 0)
        sizes = group.bincount(minlength=2 * len(counts))
        begin = torch.cat([sizes.new_zeros(1), (-(-sizes // SUMS) * SUMS).cumsum(0)])
        shift = begin[:-1] - (sizes.cumsum(0) - sizes)  # by the zeros before a group
        full = torch.full((int(begin[-1]),), sums.n + 1 + sums.rows, dtype=torch.int32)
        order = group.argsort(stable=True)
        full[torch.arange(len(order)) + shift[group[order]]] = entry[order].int()
        arrays = (begin[::2], begin[1::2], full, sums.order)
        return cls(*(v.contiguous().numpy() for v in arrays), sums.full)


def softmax_sums(
    y: Tensor,
    x: Tensor,
    centre: Tensor,
    scale: float,
    squares: bool,
    loops: Loops,
    channels: int,
) -> SoftmaxMean:
    r"""The softmax of each output over the images y (N, n) for x (B, n), as it stands.

    Logits, in bits, are minus the sums of $(s (x - y))^2$ if `squares`, else of $s
    (y - c) ((y - c) / 2 - (x - c))$ with `centre` c (n,). Row m averages the
    coordinates m, m + n / channels, ... The images are shared out to as many threads as
    Torch uses; the result does not depend on their number.
    """
    dtype, parts = x.dtype, tasks(y)
    x, centre = x.contiguous().numpy(), centre.to(dtype).numpy()
    scaled = [scale * (x if squares else x - centre), centre, x.dtype.type(scale)]

    def sums(part):
        part = part.to(dtype).contiguous().numpy()
        return add_images(part, *scaled, squares, *loops, channels)

    bar = {"total": len(parts), "leave": False, "delay": 5, "disable": None}
    return merged(tqdm(threaded(sums, parts), "masked denoiser", **bar))


def patch_sums(q: Tensor, variance: Tensor, blocks: Iterable) -> SoftmaxMean:
    r"""The softmax of queries (m, d) over a dictionary, in the dtype of the queries.

    $\ell_{qj} = (\langle q, p_j \rangle - |p_j|^2 / 2) / \sigma^2 \log 2$, in bits, for
    `blocks` of patches p (n, d) and values (n, C); `variance` (m,), float64.
    """
    scale = 1 / (variance[:, None] * math.log(2))
    factors = torch.cat([-q.double() * scale, scale], dim=1).to(q.dtype).numpy()

    def sums(block):
        return add_patches(*(part.to(q.dtype).numpy() for part in block), factors)

    return merged(threaded(sums, blocks))


def tasks(images: Tensor) -> tuple[Tensor, ...]:
    """What a thread takes at once of the images (N, ...)."""
    return images.split(min(TASK, max(LANES, len(images) // PARTS)))


def compiled(x: Tensor) -> bool:
    """Whether the loops can take these images: on a processor, without a gradient."""
    fits = x.dtype in (torch.float32, torch.float64)
    return fits and x.device.type == "cpu" and not x.requires_grad


def threaded(work: Callable, parts: Iterable) -> Iterator:
    """`work` of each part, in order, on as many threads as Torch uses."""
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        waiting = deque()
        for part in parts:
            waiting.append(pool.submit(work, part))
            if len(waiting) > AHEAD * torch.get_num_threads():
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def merged(parts: Iterable) -> SoftmaxMean:
    """Peak, mass and sums of all parts."""
    running = SoftmaxMean(torch.exp2)
    for part in parts:
        running.merge(*map(torch.from_numpy, part))
    return running
