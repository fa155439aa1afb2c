"""The compiled operations on rows, one by one, against NumPy."""

import numpy as np
import pytest
from numba import njit

from helpers import lanes
from helpers.lanes import LANES


@njit
def added(table, entry, first, middle, last, row):
    lanes.add_rows(table, entry, first, middle, last, row)


@njit
def square(table, images, row, scale, x):
    lanes.put_square(table, images, row, scale, x)


@njit
def product(table, images, row, centre, scale, x):
    lanes.put_product(table, images, row, centre, scale, x)


@njit
def least(table, row, more):
    return lanes.least(table, row, more)


@njit
def combined(table, factors, first, count, row):
    lanes.combine_rows(table, factors, first, count, row)


@njit
def weighed(table, row, more, peak, images, m):
    mass = lanes.weigh(table, row, more, peak, len(table) - 1)
    return mass, lanes.dot(table, images, len(table) - 1, m)


KINDS = [(np.float32, 1e-6), (np.float64, 1e-14)]


def rows(count, dtype, seed=0):
    return np.random.default_rng(seed).normal(size=(count, LANES)).astype(dtype)


@pytest.mark.parametrize(("dtype", "rtol"), KINDS)
@pytest.mark.parametrize("counts", [(0, 0), (1, 0), (0, 1), (4, 3), (9, 17), (33, 8)])
def test_added_and_subtracted_rows(dtype, rtol, counts):
    plus, minus = counts
    entry = np.random.default_rng(1).integers(0, 20, 2 + plus + minus).astype(np.int32)
    table = rows(25, dtype)
    expected = table[entry[2:][:plus]].sum(0) - table[entry[2 + plus :]].sum(0)
    before = table.copy()
    added(table, entry, 2, 2 + plus, len(entry), 22)
    np.testing.assert_allclose(table[22], expected, atol=20 * rtol)
    before[22] = table[22]
    assert (table == before).all()  # no other row is touched


@pytest.mark.parametrize(("dtype", "rtol"), KINDS)
@pytest.mark.parametrize("count", [0, 1, 4, 7, 30])
def test_combined_rows(dtype, rtol, count):
    table, factors = rows(40, dtype), rows(3, dtype, seed=1).flatten()
    expected = factors[5 : 5 + count] @ table[:count]
    combined(table, factors, 5, count, 35)
    np.testing.assert_allclose(table[35], expected, atol=30 * rtol)


@pytest.mark.parametrize(("dtype", "rtol"), KINDS)
def test_what_is_summed(dtype, rtol):
    table, images = np.zeros((4, LANES), dtype), rows(4, dtype)
    square(table, images, 2, dtype(0.7), dtype(0.3))
    np.testing.assert_allclose(table[2], (0.3 - 0.7 * images[2]) ** 2, atol=3 * rtol)
    product(table, images, 1, dtype(0.2), dtype(0.7), dtype(0.3))
    z = images[1] - 0.2
    np.testing.assert_allclose(table[1], z * (0.7 * z - 0.3), atol=3 * rtol)
    assert not table[[0, 3]].any()


@pytest.mark.parametrize(("dtype", "rtol"), KINDS)
def test_least(dtype, rtol):
    table = rows(3, dtype)
    assert least(table, 0, 1) == (table[0] + table[1]).min()


@pytest.mark.parametrize(("dtype", "rtol"), KINDS)
@pytest.mark.parametrize("spread", [0, 1e-6, 0.3, 5, 99])
def test_weights_are_powers_of_two(dtype, rtol, spread):
    """To the accuracy of the numbers, for all exponents that count."""
    table, images = np.zeros((4, LANES), dtype), rows(2, dtype)
    table[0] = 7 + spread * np.linspace(0, 1, LANES)
    weights, values = weighed(table, 0, 2, dtype(-7), images, 1)
    exact = 2.0 ** -(table[0].astype(float) - 7)
    np.testing.assert_allclose(weights, exact.sum(), rtol=rtol)
    np.testing.assert_allclose(values, exact @ images[1], atol=rtol * exact.sum())


def test_a_hopeless_image_gets_no_weight():
    table, images = np.zeros((4, LANES), np.float32), rows(2, np.float32)
    table[2, 3:] = np.finfo(np.float32).max / 2
    weights, values = weighed(table, 0, 2, np.float32(0), images, 1)
    assert weights == 3
    np.testing.assert_allclose(values, images[1, :3].sum(), rtol=1e-6)
