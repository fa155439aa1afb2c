r"""The softmax of a masked denoiser on a processor: work for the compiled loops.

`MaskSums.__call__` sums with tensor operations, many images at once, and waits for
memory most of the time. Here a core takes 16 images at a time through the sums, the
exponentials and the averages while all of it is in its own cache (`helpers.lanes`).
"""

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from helpers.lanes import add_images
from helpers.streaming import SoftmaxMean

TASK = 128  # images that one thread takes at once


class Loops(NamedTuple):
    """What to add for each row, parents before children."""

    first: np.ndarray  # (rows + 1,), where a row begins in `entry`
    middle: np.ndarray  # (rows,), from where on it subtracts
    entry: np.ndarray  # rows of the table
    order: np.ndarray  # (rows,), the output that a row is
    full: bool  # whether the sum of all is needed

    @classmethod
    def of(cls, levels: list, order: Tensor, full: bool) -> "Loops":
        """From the levels of a `MaskSums`."""
        sizes = [torch.diff(o, append=o.new_tensor([len(i)])) for i, o, _ in levels]
        sizes = torch.cat(sizes).long()
        entry, sign = (torch.cat([level[k] for level in levels]) for k in (0, 2))
        row = torch.arange(len(sizes)).repeat_interleave(sizes)
        added = torch.zeros_like(sizes).index_add(0, row, (sign > 0).long())
        entry = entry[(2 * row + (sign < 0)).argsort(stable=True)]
        first = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
        whole = (first, first[:-1] + added, entry.int(), order)
        return cls(*(v.numpy() for v in whole), full)


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
    running, dtype, parts = SoftmaxMean(torch.exp2), x.dtype, y.split(TASK)
    x, centre = x.contiguous().numpy(), centre.to(dtype).numpy()
    scaled = [scale * (x if squares else x - centre), centre, x.dtype.type(scale)]

    def sums(part):
        return add_images(
            part.to(dtype).contiguous().numpy(), *scaled, squares, *loops, channels
        )

    bar = {"total": len(parts), "leave": False, "delay": 5, "disable": None}
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        for part in tqdm(pool.map(sums, parts), "masked denoiser", **bar):
            running.merge(*map(torch.from_numpy, part))
    return running
