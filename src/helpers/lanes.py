r"""The innermost loops of the masked denoiser, compiled by Numba.

A table (rows, LANES) holds what is summed for LANES training images side by side. A
loop over so short a row is unrolled into single numbers before a compiler looks for
vectors, and where it cannot know that rows do not overlap it checks that each time. So
the operations on rows are written for LLVM as vectors, which it spreads over as many
registers as a processor needs. All of them are in this file: Numba compiles again when
the file of a function changes, not the file of one that it calls.
"""

import math
from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core.cgutils import get_or_insert_function
from numba.extending import intrinsic

LANES = 16  # in float32 a row is one cache line
SUMS = 4  # sums that grow at the same time, since an addition waits for the one before
LOWEST = -100.0  # a weight below 2^-100 counts as one: denormal numbers are slow
TAYLOR = [math.log(2) ** k / math.factorial(k) for k in range(14)]
FAST = ("reassoc", "contract")
# An image is left out if its weight is below 2^-44 of the largest in float32, 2^-88 in
# float64: bits for each byte of a number. N of them change a mean by N times that.
REACH = 11
FAR = 1e25  # half the square of a patch that is none
COMPILED = {"nogil": True, "cache": True}


@njit(**COMPILED)
def add_images(
    y, x, centre, scale, squares, first, middle, entry, order, full, channels
):
    """Peak, mass (rows, B, 1) and weighted sums (rows, B, channels) of a task.

    All in one function: Numba counts references at each call that takes an array, which
    here would take as long as the sums.
    """
    (K, n), B, rows = y.shape, len(x), len(order)
    weights, last = n + 2 + rows, n + 3 + rows  # row n + 1 + rows: zeros
    top = np.full((B, rows), np.finfo(y.dtype).min, y.dtype)
    mass = np.zeros((B, rows), y.dtype)
    total = np.zeros((B, rows, channels), y.dtype)
    table = np.zeros((last + 1, LANES), y.dtype)  # the last row: `turn`
    images = np.empty((n, LANES), y.dtype)
    for start in range(0, K, LANES):
        turn(y[start : start + LANES], images, table)
        for b in range(B):
            _fill(table, images, x[b], centre, scale, squares)
            if full:
                _sum_all(table, n)
            for r in range(rows):
                row = n + 1 + r
                add_rows(table, entry, first[r], middle[r], first[r + 1], row)
                peak = -least(table, row, last)
                if peak < top[b, r] - REACH * y.itemsize:
                    continue
                if peak > top[b, r]:
                    decay = np.exp2(top[b, r] - peak)
                    top[b, r] = peak
                    mass[b, r] *= decay
                    for c in range(channels):
                        total[b, r, c] *= decay
                mass[b, r] += weigh(table, row, last, top[b, r], weights)
                for c in range(channels):
                    place = order[r] + c * (n // channels)
                    total[b, r, c] += dot(table, images, weights, place)
    total = total.transpose(1, 0, 2)
    return np.expand_dims(top.T, 2), np.expand_dims(mass.T, 2), total


@njit(**COMPILED)
def add_patches(p, v, q):
    """Peak, mass (m, 1) and weighted sums (m, C) of patches p (n, d), values v (n, C).

    The logits of a query are minus its row of q (m, d + 1) times (p, |p|^2 / 2).
    """
    (n, d), m, channels = p.shape, len(q), v.shape[1]
    top = np.full((m, 1), np.finfo(p.dtype).min, p.dtype)
    mass = np.zeros((m, 1), p.dtype)
    total = np.zeros((m, channels), p.dtype)
    table = np.zeros((d + 4, LANES), p.dtype)  # patch, square, logits, zeros, weights
    values = np.zeros((channels, LANES), p.dtype)
    for start in range(0, n, LANES):
        _turn_patches(p[start : start + LANES], v[start : start + LANES], table, values)
        for r in range(m):
            combine_rows(table, q, r * (d + 1), d + 1, d + 1)
            peak = -least(table, d + 1, d + 2)
            if peak < top[r, 0] - REACH * p.itemsize:
                continue
            if peak > top[r, 0]:
                decay = np.exp2(top[r, 0] - peak)
                top[r, 0] = peak
                mass[r, 0] *= decay
                for c in range(channels):
                    total[r, c] *= decay
            mass[r, 0] += weigh(table, d + 1, d + 2, top[r, 0], d + 3)
            for c in range(channels):
                total[r, c] += dot(table, values, d + 3, c)
    return top, mass, total


@njit(**COMPILED)
def _turn_patches(p, v, table, values):
    """Patches and values side by side; where none is left, the last one, too far."""
    K, d = p.shape
    for k in range(LANES):
        j, half = min(k, K - 1), 0 * p[0, 0]
        for i in range(d):
            table[i, k] = p[j, i]
            half += p[j, i] * p[j, i] / 2
        table[d, k] = half if k < K else FAR
        for c in range(v.shape[1]):
            values[c, k] = v[j, c]


@njit(**COMPILED)
def turn(y, images, table):
    """Images y (K, n) side by side, (n, LANES). Where none is left the last one stands
    again, and the last row of the table holds a number that takes all weight from it.
    """
    K, n = y.shape
    table[-1, K:] = np.finfo(np.float32).max / 2
    for first in range(0, n, LANES):  # in squares, which a cache holds
        for k in range(LANES):
            for i in range(first, min(first + LANES, n)):
                images[i, k] = y[min(k, K - 1), i]


@njit(**COMPILED)
def _fill(table, images, x, centre, scale, squares):
    """What is to be summed, into the first rows of the table."""
    half = scale / (scale + scale) * scale
    for i in range(len(x)):
        if squares:
            put_square(table, images, i, scale, x[i])
        else:
            put_product(table, images, i, centre[i], half, x[i])


@njit(**COMPILED)
def _sum_all(table, n):
    """The sum of the first n rows of the table, into row n."""
    table[n] = 0
    for i in range(n):
        for k in range(LANES):
            table[n, k] += table[i, k]


@intrinsic
def add_rows(typing, table, entry, first, middle, last, row):
    """table[row] = the rows of the entries from `first` on, minus from `middle` on."""

    def build(context, builder, signature, arguments):
        rows = Rows(context, builder, table, arguments[0])
        begin, turn, end, row = arguments[2:]
        listed = _data(context, builder, entry, arguments[1])
        plus, minus = (rows.sum(listed, *span) for span in ((begin, turn), (turn, end)))
        rows.store(row, builder.fsub(plus, minus))
        return context.get_dummy_value()

    return types.void(table, entry, first, middle, last, row), build


@intrinsic
def combine_rows(typing, table, factors, first, count, row):
    """table[row] = the first `count` rows times the factors from place `first` on."""

    def build(context, builder, signature, arguments):
        rows = Rows(context, builder, table, arguments[0])
        listed = _data(context, builder, factors, arguments[1])
        rows.store(arguments[4], rows.combined(listed, *arguments[2:4]))
        return context.get_dummy_value()

    return types.void(table, factors, first, count, row), build


@intrinsic
def put_square(typing, table, images, row, scale, x):
    """table[row] = (x - scale * images[row])^2."""

    def build(context, builder, signature, arguments):
        rows, y = _two(context, builder, signature, arguments)
        row, scale, x = arguments[2:]
        z = builder.fsub(rows.splat(x), builder.fmul(rows.splat(scale), y.load(row)))
        rows.store(row, builder.fmul(z, z))
        return context.get_dummy_value()

    return types.void(table, images, row, table.dtype, table.dtype), build


@intrinsic
def put_product(typing, table, images, row, centre, scale, x):
    """table[row] = z (scale * z - x) with z = images[row] - centre."""

    def build(context, builder, signature, arguments):
        rows, y = _two(context, builder, signature, arguments)
        row, (centre, scale, x) = arguments[2], map(rows.splat, arguments[3:])
        z = builder.fsub(y.load(row), centre)
        factor = builder.fsub(builder.fmul(scale, z, FAST), x, FAST)
        rows.store(row, builder.fmul(z, factor))
        return context.get_dummy_value()

    return types.void(table, images, row, *[table.dtype] * 3), build


@intrinsic
def least(typing, table, row, more):
    """The least number of table[row] + table[more]."""

    def build(context, builder, signature, arguments):
        rows = Rows(context, builder, table, arguments[0])
        return rows.reduced("fmin", rows.plus(*arguments[1:]))

    return table.dtype(table, row, more), build


@intrinsic
def weigh(typing, table, row, more, peak, weights):
    r"""table[weights] = $2^{-peak - table[row] - table[more]}$; their sum."""

    def build(context, builder, signature, arguments):
        rows = Rows(context, builder, table, arguments[0])
        top = builder.fneg(rows.splat(arguments[3]))
        weight = rows.exp2(builder.fsub(top, rows.plus(*arguments[1:3])))
        rows.store(arguments[4], weight)
        return rows.reduced("fadd", weight)

    return table.dtype(table, row, more, table.dtype, weights), build


@intrinsic
def dot(typing, table, values, row, m):
    """The inner product of table[row] and values[m]."""

    def build(context, builder, signature, arguments):
        rows, v = _two(context, builder, signature, arguments)
        product = builder.fmul(rows.load(arguments[2]), v.load(arguments[3]))
        return rows.reduced("fadd", product)

    return table.dtype(table, values, row, m), build


def _data(context, builder, kind, value):
    """Where the numbers of an array begin."""
    return context.make_array(kind)(context, builder, value).data


def _two(context, builder, signature, arguments):
    return [
        Rows(context, builder, kind, value)
        for kind, value in zip(signature.args[:2], arguments)
    ]


class _Format(NamedTuple):
    """A kind of floating-point number, for `Rows.exp2`."""

    bits: int
    terms: int  # of the series, for |u| <= 1/2
    bias: int  # of the exponent
    mantissa: int  # its bits


FORMATS = {"float": _Format(32, 8, 127, 23), "double": _Format(64, 14, 1023, 52)}


class Rows:
    """The rows of an array as vectors, while code for LLVM is written."""

    def __init__(self, context, builder, kind, value):
        self.builder, self.data = builder, _data(context, builder, kind, value)
        self.number = context.get_value_type(kind.dtype)
        self.vector = ir.VectorType(self.number, LANES)
        self.format = FORMATS[str(self.number)]

    def _place(self, row):
        first = self.builder.mul(row, ir.Constant(row.type, LANES))
        start = self.builder.gep(self.data, [first])
        return self.builder.bitcast(start, self.vector.as_pointer())

    def load(self, row):
        value = self.builder.load(self._place(row))
        value.align = 4
        return value

    def store(self, row, value):
        self.builder.store(value, self._place(row)).align = 4

    def plus(self, a, b):
        return self.builder.fadd(self.load(a), self.load(b))

    def all(self, number):
        """A constant vector."""
        return ir.Constant(self.vector, [number] * LANES)

    def splat(self, number):
        """The same number in all places."""
        index, empty = ir.IntType(32), ir.Constant(self.vector, ir.Undefined)
        one = self.builder.insert_element(empty, number, ir.Constant(index, 0))
        nowhere = ir.Constant(ir.VectorType(index, LANES), None)
        return self.builder.shuffle_vector(one, empty, nowhere)

    def reduced(self, name, value):
        """Sum or least of the numbers of a vector."""
        start = [ir.Constant(self.number, 0)] if name == "fadd" else []
        flags = ("reassoc", "nnan")
        return self._call(
            f"vector.reduce.{name}", self.number, *start, value, flags=flags
        )

    def _call(self, name, answer, *arguments, flags=()):
        """An operation that LLVM has for vectors of every length."""
        kind = ir.FunctionType(answer, [v.type for v in arguments])
        name = f"llvm.{name}.v{LANES}f{self.format.bits}"
        function = get_or_insert_function(self.builder.module, kind, name)
        return self.builder.call(function, arguments, fastmath=flags)

    def exp2(self, v):
        r"""$2^v$ for $v \le 0$; the integer part of v becomes the exponent."""
        b, terms = self.builder, TAYLOR[: self.format.terms]
        v = b.select(b.fcmp_ordered(">", v, self.all(LOWEST)), v, self.all(LOWEST))
        near = self._call("rint", self.vector, v)
        u, power = b.fsub(v, near), self.all(terms[-1])
        for c in terms[-2::-1]:
            power = b.fadd(b.fmul(power, u, FAST), self.all(c), FAST)
        whole = ir.VectorType(ir.IntType(self.format.bits), LANES)
        bias, shift = (ir.Constant(whole, [k] * LANES) for k in self.format[2:])
        exponent = b.shl(b.add(b.fptosi(near, whole), bias), shift)
        return b.fmul(power, b.bitcast(exponent, self.vector))

    def sum(self, entry, first, last):
        """The sum of the rows of the entries from `first` to `last`."""
        return self._grown(first, last, lambda e, one: self._added(entry, e, one))

    def combined(self, factors, first, count):
        """The sum of the first `count` rows times their factors."""
        start = ir.Constant(first.type, 0)
        return self._grown(
            start, count, lambda e, one: self._scaled(factors, first, e, one)
        )

    def _grown(self, first, last, grow):
        """`grow(e, one)` adds item e to a sum; SUMS of them while there are enough."""
        sums = [ir.Constant(self.vector, None)] * SUMS
        first, sums = self._loop(first, last, sums, grow)
        while len(sums) > 1:
            sums = [self.builder.fadd(a, b) for a, b in zip(sums[::2], sums[1::2])]
        return self._loop(first, last, sums, grow)[1][0]

    def _loop(self, first, last, sums, grow):
        """One item more for each of the sums, while there are enough of them."""
        b, before, step = self.builder, self.builder.block, len(sums)
        head, body, after = (b.append_basic_block() for _ in range(3))
        b.branch(head)
        b.position_at_end(head)
        state = [b.phi(value.type) for value in (first, *sums)]
        e, following = state[0], b.add(state[0], ir.Constant(first.type, step))
        b.cbranch(b.icmp_unsigned("<=", following, last), body, after)
        b.position_at_end(body)
        items = [b.add(e, ir.Constant(e.type, k)) for k in range(step)]
        grown = [grow(item, one) for item, one in zip(items, state[1:])]
        for phi, old, new in zip(state, (first, *sums), (following, *grown)):
            phi.add_incoming(old, before)
            phi.add_incoming(new, body)
        b.branch(head)
        b.position_at_end(after)
        return e, state[1:]

    def _added(self, entry, e, one):
        """With the row that entry e names."""
        row = self.builder.load(self.builder.gep(entry, [e]))
        return self.builder.fadd(one, self.load(self.builder.zext(row, e.type)))

    def _scaled(self, factors, first, e, one):
        """With row e times its factor."""
        place = self.builder.gep(factors, [self.builder.add(first, e)])
        factor = self.splat(self.builder.load(place))
        return self.builder.fadd(
            one, self.builder.fmul(factor, self.load(e), FAST), FAST
        )
