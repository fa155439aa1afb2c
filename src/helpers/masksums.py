r"""Sums of the same numbers under many masks, $Mz$, by differences along a tree.

The masks of neighbouring outputs differ in few places. So the sum of an output is that
of a neighbour, plus what its mask adds, minus what it drops. A spanning tree of the
outputs with few such differences (Prim 1957) needs 3 % of the entries of a dense M or
less for the masks of CIFAR-10, at every noise level: nearly empty masks hang on
nothing, nearly full ones on the sum of all.
"""

import heapq
import itertools
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from helpers.loops import Loops

DEPTH = 4  # entries that a level of the tree costs: a deep tree means many small steps
# A dense product adds this many entries in the time of one gathered entry.
SPEED = {"cpu": 3, "cuda": 60}


class MaskSums:
    r"""$z \mapsto M z$ for a bool mask (rows, n) and columns z, in place in a table.

    `sums = MaskSums(mask, shape)`; fill the first n rows of `sums.table(columns)` with
    z; then `sums(table)` is $Mz$, its rows in the order `sums.order`. `shape` (C, H, W)
    says which rows are neighbours; without it no differences are taken, each row is a
    sum of its own, so that numbers of one sign cancel no digits. A dense product is
    used where it is faster, or where `dense` says so.
    """

    def __init__(self, mask: Tensor, shape=None, dense: bool | None = None):
        self.mask, (self.rows, self.n) = mask, mask.shape
        tree = spanning_tree(mask.cpu(), shape) if shape else forest(mask.cpu())
        self.entries = tree.entries  # that are added, for each column
        fast = self.entries * SPEED.get(mask.device.type, 60) > mask.numel()
        self.dense = fast if dense is None else dense
        self.order = torch.arange(self.rows) if self.dense else tree.order()
        self.full = not self.dense and bool(tree.full.any())
        self.levels = [] if self.dense else tree.levels(mask.cpu())

    @cached_property
    def loops(self) -> Loops:
        """The same sums for `softmax_sums`; not for a dense product."""
        return Loops.of(self)

    def table(self, columns: int, dtype=torch.float32) -> Tensor:
        """Room for z, for the sum of all z, and for M z: (n + 1 + rows, columns)."""
        size = self.n + 1 + self.rows, columns
        return torch.empty(size, dtype=dtype, device=self.mask.device)

    def __call__(self, table: Tensor) -> Tensor:
        """$Mz$, (rows, columns), a view of the table."""
        z, answer = table[: self.n], table[self.n + 1 :]
        if self.dense:
            return torch.mm(self.mask.to(z), z, out=answer)
        if self.full:
            torch.sum(z, dim=0, out=table[self.n])
        first = 0
        for index, offset, sign in self.levels:
            level = answer[first : first + len(offset)]
            level.copy_(gathered(table, index, offset, sign))
            first += len(level)
        return answer

    def product(self, z: Tensor) -> Tensor:
        """$Mz$ by a dense product, not in place, so that autograd goes through it."""
        return self.mask[self.order.to(self.mask.device)].to(z) @ z


def gathered(table: Tensor, index: Tensor, offset: Tensor, sign: Tensor) -> Tensor:
    """Signed sums of rows of the table; sum r takes the entries from `offset[r]` on."""
    index, offset = index.to(table.device), offset.to(table.device)
    weights = sign.to(table)
    return embedding_bag(index, table, offset, mode="sum", per_sample_weights=weights)


class Tree(NamedTuple):
    """Which row each row starts from: a neighbour, the sum of all, or nothing."""

    parent: Tensor  # (rows,), -1: none
    depth: Tensor  # (rows,)
    full: Tensor  # (rows,), bool: starts from the sum of all
    entries: int  # that are added in all, for each column

    def order(self) -> Tensor:
        """The rows, parents before children."""
        return self.depth.argsort(stable=True)

    def levels(self, mask: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
        """What `gathered` needs, for the rows of one depth after the other."""
        n, order = mask.shape[1], self.order()
        place = torch.empty_like(order)
        place[order] = torch.arange(len(order))
        start = torch.where(self.parent >= 0, n + 1 + place[self.parent], -1)
        start[self.full] = n
        parts = order.split(self.depth.bincount().tolist())
        return [self._level(mask, start, rows) for rows in parts]

    def _level(self, mask, start, rows) -> tuple[Tensor, Tensor, Tensor]:
        """Entries, where each row begins, and signs, of the differences of the rows."""
        parent = self.parent[rows]
        before = torch.where(
            (parent >= 0)[:, None], mask[parent], self.full[rows, None]
        )
        row, entry = (mask[rows] != before).nonzero(as_tuple=True)
        sign = torch.where(mask[rows[row], entry], 1.0, -1.0)
        begun = (start[rows] >= 0).nonzero()[:, 0]
        row = torch.cat([begun, row])
        order = row.argsort(stable=True)
        index = torch.cat([start[rows[begun]], entry])[order].int()
        counts = row.bincount(minlength=len(rows))
        sign = torch.cat([torch.ones(len(begun)), sign])[order]
        return index, (counts.cumsum(0) - counts).int(), sign


def forest(mask: Tensor) -> Tree:
    """Each row by itself."""
    rows = torch.zeros(len(mask), dtype=torch.long)
    return Tree(rows - 1, rows, rows.bool(), int(mask.sum()))


def neighbours(rows: int, shape) -> tuple[Tensor, Tensor]:
    """Pairs of outputs whose masks may be alike: the eight around, other channels."""
    _, H, W = shape
    place = torch.arange(rows).view(-1, H, W)
    pairs = [
        (place[a].flatten(), place[b].flatten())
        for a, b in itertools.combinations(range(len(place)), 2)
    ]
    for di, dj in ((0, 1), (1, 0), (1, 1), (1, -1)):
        a = place[:, : H - di, max(0, -dj) : W - max(0, dj)]
        b = place[:, di:, max(0, dj) : W + min(0, dj)]
        pairs.append((a.flatten(), b.flatten()))
    a, b = (torch.cat(side) for side in zip(*pairs))
    return torch.cat([a, b]), torch.cat([b, a])


def spanning_tree(mask: Tensor, shape) -> Tree:
    """The tree of Prim's algorithm, with a price for depth.

    Without a neighbour, a row starts from nothing, or from the sum of all where its
    mask is more than half full.
    """
    rows, n = mask.shape
    size = mask.sum(dim=1)
    cost = torch.minimum(size, n - size).tolist()
    near = [[] for _ in range(rows)]
    a, b = neighbours(rows, shape)
    for i, j, change in zip(a.tolist(), b.tolist(), changes(mask, a, b)):
        near[i].append((j, change))
    parent, depth, best, done = [-1] * rows, [0] * rows, list(cost), [False] * rows
    queue = [(c, i) for i, c in enumerate(best)]
    heapq.heapify(queue)
    while queue:
        i = heapq.heappop(queue)[1]
        if done[i]:
            continue
        done[i] = True
        depth[i] = depth[parent[i]] + 1 if parent[i] >= 0 else 0
        for j, change in near[i]:
            price = change + DEPTH * (depth[i] + 1)
            if not done[j] and price < best[j]:
                best[j], parent[j], cost[j] = price, i, change
                heapq.heappush(queue, (price, j))
    parent = torch.tensor(parent)
    full = (parent < 0) & (size * 2 > n)
    return Tree(parent, torch.tensor(depth), full, sum(cost) + int((parent >= 0).sum()))


def changes(mask: Tensor, a: Tensor, b: Tensor) -> list[int]:
    """In how many places the masks of rows a and b differ."""
    bits = np.packbits(mask.numpy(), axis=1)  # eight places in a byte
    a, b = a.numpy(), b.numpy()
    return np.bitwise_count(bits[a] ^ bits[b]).sum(axis=1, dtype=np.int64).tolist()
