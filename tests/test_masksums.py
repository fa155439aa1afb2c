"""Sums along a tree of masks against the product that they stand for."""

import pytest
import torch

from helpers.masks import pixel_mask, window_mask
from helpers.masksums import MaskSums, neighbours, spanning_tree

SHAPES = [(1, 6, 6), (3, 4, 5), (1, 1, 7), (2, 2, 1)]


def discs(shape, radius):
    """A mask of a disc around each pixel, larger below, in all channels: (n, n)."""
    C, H, W = shape
    i, j = torch.meshgrid(torch.arange(H), torch.arange(W), indexing="ij")
    i, j = i.flatten(), j.flatten()
    far = (i - i[:, None]) ** 2 + (j - j[:, None]) ** 2
    return (far <= radius**2 + i[:, None] / 2).repeat(C, C)


def summed(sums, z):
    table = sums.table(z.shape[1], z.dtype)
    table[: sums.n] = z
    answer = torch.empty(sums.rows, z.shape[1], dtype=z.dtype)
    answer[sums.order] = sums(table)
    return answer


def masks_of(shape):
    n = torch.Size(shape).numel()
    generator = torch.Generator().manual_seed(0)
    yield torch.ones(n, n).bool()
    yield pixel_mask(shape)
    yield window_mask(shape, 3)
    yield from (discs(shape, r) for r in (0, 1.5, 3))
    random = torch.rand(n, n, generator=generator) < 0.5
    yield random | torch.eye(n).bool()
    yield ~discs(shape, 1) | torch.eye(n).bool()  # nearly full
    yield torch.zeros(n, n).bool()  # MaskSums itself has no objection


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dense", [True, False, None])
@pytest.mark.parametrize("differences", [True, False])
def test_every_way_is_the_product(shape, dense, differences):
    generator = torch.Generator().manual_seed(1)
    for mask in masks_of(shape):
        z = torch.randn(mask.shape[1], 5, dtype=torch.float64, generator=generator)
        sums = MaskSums(mask, shape if differences else None, dense)
        expected = mask.double() @ z
        torch.testing.assert_close(summed(sums, z), expected, rtol=0, atol=1e-12)
        product = torch.empty_like(expected)
        product[sums.order] = sums.product(z)
        torch.testing.assert_close(product, expected, rtol=0, atol=1e-12)


def test_whole_numbers_are_summed_exactly_in_float32():
    shape = (3, 8, 8)
    mask = discs(shape, 3)
    z = torch.randint(-1000, 1000, (192, 70)).float()
    exact = mask.long() @ z.long()
    for dense in (True, False):
        assert torch.equal(summed(MaskSums(mask, shape, dense), z).long(), exact)


def test_the_tree_adds_as_many_entries_as_it_says():
    shape = (1, 12, 12)
    for mask in (discs(shape, 4), discs(shape, 8), ~discs(shape, 2)):
        sums = MaskSums(mask, shape, dense=False)
        assert sums.entries == sum(len(index) for index, *_ in sums.levels) - int(
            sum((index == sums.n).sum() for index, *_ in sums.levels)
        )


def test_the_tree_is_much_smaller_than_the_masks():
    """A disc of radius r has pi r^2 pixels; moved by one, about 4 r change."""
    shape = (3, 24, 24)
    mask = discs(shape, 8)
    tree = spanning_tree(mask, shape)
    assert tree.entries < 0.1 * mask.sum()
    assert MaskSums(mask, shape, dense=False).entries == tree.entries


def test_parents_come_before_children():
    shape = (1, 12, 12)
    tree = spanning_tree(discs(shape, 4), shape)
    place = tree.order().argsort()
    child = (tree.parent >= 0).nonzero()[:, 0]
    assert len(child) > 100
    assert (place[tree.parent[child]] < place[child]).all()
    assert (tree.depth[tree.parent[child]] == tree.depth[child] - 1).all()


def test_full_masks_hang_on_the_sum_of_all():
    n, shape = 25, (1, 5, 5)
    tree = spanning_tree(torch.ones(n, n).bool(), shape)
    assert tree.full.sum() == 1 or tree.entries <= n
    assert tree.entries <= n  # one for each child at most
    assert spanning_tree(torch.zeros(n, n).bool(), shape).entries == 0


def test_neighbours_are_the_eight_around_and_the_other_channels():
    a, b = neighbours(2 * 3 * 4, (2, 3, 4))
    found = {(i, j) for i, j in zip(a.tolist(), b.tolist())}
    assert len(found) == len(a)
    place = [(c, i, j) for c in range(2) for i in range(3) for j in range(4)]
    for m, (c, i, j) in enumerate(place):
        for k, (d, p, q) in enumerate(place):
            around = c == d and max(abs(i - p), abs(j - q)) == 1
            other = c != d and (i, j) == (p, q)
            assert ((m, k) in found) == (around or other)
