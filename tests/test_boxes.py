"""The compiled sums over windows, and their operations on rows, against NumPy."""

import numpy as np
import pytest
from numba import njit

from helpers import boxes
from helpers.lanes import LANES

KINDS = [(np.float32, 1e-6), (np.float64, 1e-14)]


@njit
def operated(target, source, factor):
    """Each operation into its own row of the target, from row 1 of the source."""
    boxes.put_row(target, 0, source, 1)
    boxes.add_row(target, 1, source, 1)
    boxes.put_scaled(target, 2, source, 1, factor)
    boxes.put_gap(target, 3, source, 1, factor)
    boxes.add_gap(target, 4, source, 1, factor)


def rows(*shape, dtype=np.float64, seed=0):
    return np.random.default_rng(seed).normal(size=(*shape, LANES)).astype(dtype)


@pytest.mark.parametrize(("dtype", "rtol"), KINDS)
def test_operations_on_rows(dtype, rtol):
    target, source = rows(6, dtype=dtype), rows(3, dtype=dtype, seed=1)
    old, y, f = target.copy(), source[1], dtype(0.7)
    operated(target, source, f)
    expected = [y, old[1] + y, f * y, (f - y) ** 2, old[4] + (f - y) ** 2, old[5]]
    np.testing.assert_allclose(target, np.stack(expected), rtol=rtol, atol=rtol)
    assert (source == rows(3, dtype=dtype, seed=1)).all()


@pytest.mark.parametrize("length", range(1, 14))
def test_sums_of_a_line(length):
    """Each length in each longer line, by its powers of two."""
    for n in range(length, 16):
        line, total = rows(n), rows(n, seed=1)
        expected = [line[i : i + length].sum(axis=0) for i in range(n - length + 1)]
        boxes._sum_line(line, total, n, length)
        np.testing.assert_allclose(total[: len(expected)], expected, atol=1e-13)


@pytest.mark.parametrize("size", [(1, 1), (4, 6), (6, 4), (7, 7)])
@pytest.mark.parametrize("pad", [0, 1, 3])
def test_sums_of_squares(size, pad):
    H, W = size
    wide = np.pad(rows(H, W), [(pad, pad), (pad, pad), (0, 0)])
    for side in range(1, min(wide.shape[:2]) + 1):
        a, b, c, line, total = boxes._room(wide, size, side, pad)
        a[:] = rows(H * W)
        boxes._boxes(a, b, c, line, total, size, side, pad, 0.5)
        I, J = H + 2 * pad - side + 1, W + 2 * pad - side + 1
        expected = [
            wide[i : i + side, j : j + side].sum(axis=(0, 1)) / 2
            for i in range(I)
            for j in range(J)
        ]
        np.testing.assert_allclose(c[: I * J], expected, atol=1e-12)
