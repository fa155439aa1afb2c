r"""The softmax of each square window over a training set, in compiled loops.

A sum over a window of side s is put together from sums over 1, 2, 4, ... neighbours, so
that a pixel costs about $2 \log_2 s$ additions and nothing is subtracted: squares of
differences cancel no digits. A core takes 16 images at a time through squares, sums and
exponentials while all of it is in its own cache, as in `helpers.lanes`. Numba compiles
again when this file changes: who changes the rows of `helpers.lanes` touches it too.
"""

import math

import numpy as np
import torch
from numba import njit, types
from numba.extending import intrinsic
from torch import Tensor

from helpers.lanes import COMPILED, LANES, REACH, Rows, dot, least, turn, weigh
from helpers.loops import merged, tasks, threaded
from helpers.streaming import SoftmaxMean

LOG2E = 1 / math.log(2)


def window_sums(
    data: Tensor, x: Tensor, variance: Tensor, side: int, pad: int, channels: int
) -> SoftmaxMean:
    r"""Peak, in bits, and mass (windows, b, 1) of the softmax over `data` (N, C, H, W)
    of each window of this side, for x (b, C, H, W) and `variance` float64 (b,).

    $\ell = -\sum_{q \in \Omega} (x_q - y_q)^2 / 2 \sigma^2$, for all windows inside of
    the image with `pad` zeros around it. With `channels` = C, where each pixel has its
    window, also the weighted sums of the pixel, (H W, b, C); else 0.
    """
    numbers = flat(x), _factor(x, variance), tuple(data.shape[2:]), side, pad, channels

    def sums(part):
        return add_windows(flat(part.to(x.dtype)), *numbers)

    return merged(threaded(sums, tasks(data)))


def crop_sums(
    data: Tensor, x: Tensor, variance: Tensor, side: int, softmax: SoftmaxMean
) -> Tensor:
    r"""Posterior means of the crops inside of the image, summed where they lie, as x.

    $\sum_{\Omega \ni q} \sum_y w_\Omega(y) y_q$ in place q, with the weights $w_\Omega
    = 2^{\ell} / \sum 2^{\ell}$ of `softmax`, what `window_sums` gave for the windows of
    this side with `pad` = 0 and the same data (N, C, H, W), x (b, C, H, W), variance.
    """
    top, mass = (v[..., 0].T.contiguous() for v in (softmax.top, softmax.mass))
    numbers = flat(x), _factor(x, variance), tuple(data.shape[2:]), side
    numbers += top.numpy(), (1 / mass).numpy()

    def sums(part):
        return torch.from_numpy(spread_windows(flat(part.to(x.dtype)), *numbers))

    return sum(threaded(sums, tasks(data))).view_as(x)


def flat(x: Tensor) -> np.ndarray:
    """Images as rows (B, n)."""
    return x.flatten(1).contiguous().numpy()


def _factor(x, variance) -> np.ndarray:
    """Bits of a logit for a unit of squared distance."""
    return (LOG2E / 2 / variance).to(x.dtype).numpy()


@njit(**COMPILED)
def add_windows(y, x, factor, size, side, pad, channels):
    """Peak, mass (windows, B, 1) and weighted sums (windows, B, channels) of images.

    Images y (K, n) and x (B, n) of `size` (H, W). Logits, in bits, are minus factor
    (B,) times the sum of (x - y)^2 in windows of this side, inside of the image with
    `pad` zeros around. With channels each pixel has a window, which averages the pixel.

    The running softmax is that of `lanes.add_images`, written again: shared, even
    inlined by Numba, it counts references and takes 1.4 times as long.
    """
    (K, n), B, P = y.shape, len(x), size[0] * size[1]
    a, b, c, line, total = _room(y, size, side, pad)
    windows, last = len(c) - 2, len(c) - 1
    images = np.empty((n, LANES), y.dtype)
    top = np.full((B, windows), np.finfo(y.dtype).min, y.dtype)
    mass = np.zeros((B, windows), y.dtype)
    mean = np.zeros((B, windows, channels), y.dtype)
    for start in range(0, K, LANES):
        turn(y[start : start + LANES], images, c)
        for i in range(B):
            _squares(a, images, x[i])
            _boxes(a, b, c, line, total, size, side, pad, factor[i])
            for r in range(windows):
                peak = -least(c, r, last)
                if peak < top[i, r] - REACH * y.itemsize:
                    continue
                if peak > top[i, r]:
                    decay = np.exp2(top[i, r] - peak)
                    top[i, r] = peak
                    mass[i, r] *= decay
                    for k in range(channels):
                        mean[i, r, k] *= decay
                mass[i, r] += weigh(c, r, last, top[i, r], last - 1)
                for k in range(channels):
                    mean[i, r, k] += dot(c, images, last - 1, r + k * P)
    mean = mean.transpose(1, 0, 2)
    return np.expand_dims(top.T, 2), np.expand_dims(mass.T, 2), mean


@njit(**COMPILED)
def spread_windows(y, x, factor, size, side, top, share):
    """Sums over the windows inside of the image, (B, n): each adds, where it lies, the
    images under its softmax with this `top` and with 1 / mass `share` (B, windows).
    """
    (K, n), B, P = y.shape, len(x), size[0] * size[1]
    a, b, c, line, total = _room(y, size, side, 0)
    crops, last = (size[0] - side + 1, size[1] - side + 1), len(c) - 1
    back, middle, weights = _room(y, crops, side, side - 1)[:3]
    images, answer = np.empty((n, LANES), y.dtype), np.zeros((B, n), y.dtype)
    long, sums = _lines(y, crops, side - 1)
    one = y.dtype.type(1)
    for start in range(0, K, LANES):
        turn(y[start : start + LANES], images, c)
        for i in range(B):
            _squares(a, images, x[i])
            _boxes(a, b, c, line, total, size, side, 0, factor[i])
            for r in range(last - 1):
                weigh(c, r, last, top[i, r], r)
                put_scaled(back, r, c, r, share[i, r])
            _boxes(back, middle, weights, long, sums, crops, side, side - 1, one)
            for m in range(n):
                answer[i, m] += dot(weights, images, m % P, m)
    return answer


@njit(**COMPILED)
def _room(y, size, side, pad):
    """Tables for an image, its sums down and its sums both ways, and two lines."""
    (H, W), more = size, 2 * pad - side + 1
    line, total = _lines(y, size, pad)
    a = np.zeros((H * W, LANES), y.dtype)
    b = np.zeros(((H + more) * W, LANES), y.dtype)
    # two rows more: weights, and what takes all weight from an image that is none
    c = np.zeros(((H + more) * (W + more) + 2, LANES), y.dtype)
    return a, b, c, line, total


@njit(**COMPILED)
def _lines(y, size, pad):
    """A line of an image with zeros on both sides, and its sums."""
    length = max(size[0], size[1]) + 2 * pad
    return np.zeros((length, LANES), y.dtype), np.zeros((length, LANES), y.dtype)


@njit(**COMPILED)
def _squares(a, images, x):
    """a = the sum over the channels of (x - images)^2."""
    P = len(a)
    for p in range(P):
        put_gap(a, p, images, p, x[p])
    for m in range(P, len(x)):
        add_gap(a, m % P, images, m, x[m])


@njit(**COMPILED)
def _boxes(a, b, c, line, total, size, side, pad, factor):
    """b = sums of a over `side` rows, c = factor * sums of b over `side` columns."""
    (H, W), more = size, 2 * pad - side + 1
    for j in range(W):
        _fill_line(line, a, j, W, H, pad)
        _sum_line(line, total, H + 2 * pad, side)
        for i in range(H + more):
            put_row(b, i * W + j, total, i)
    for i in range(H + more):
        _fill_line(line, b, i * W, 1, W, pad)
        _sum_line(line, total, W + 2 * pad, side)
        for j in range(W + more):
            put_scaled(c, i * (W + more) + j, total, j, factor)


@njit(**COMPILED)
def _fill_line(line, a, first, step, length, pad):
    """Rows first, first + step, ... of a, with zeros around."""
    line[:pad] = 0
    line[pad + length : 2 * pad + length] = 0
    for i in range(length):
        put_row(line, pad + i, a, first + i * step)


@njit(**COMPILED)
def _sum_line(line, total, length, side):
    """total[i] = line[i] + ... + line[i + side - 1]; uses up the line."""
    count, width, offset, left = length - side + 1, 1, 0, side
    while left:
        if left & 1:  # line[i] is the sum of `width` numbers from i on
            for i in range(count):
                if offset:
                    add_row(total, i, line, i + offset)
                else:
                    put_row(total, i, line, i)
            offset += width
        left >>= 1
        if left:
            for i in range(length - 2 * width + 1):
                add_row(line, i, line, i + width)
            width *= 2


def _operation(build):
    """An intrinsic on rows of two tables: build(target, i, source, j, numbers)."""

    def codegen(context, builder, signature, arguments):
        target, source = (
            Rows(context, builder, signature.args[k], arguments[k]) for k in (0, 2)
        )
        build(target, arguments[1], source, arguments[3], arguments[4:])
        return context.get_dummy_value()

    return codegen


@intrinsic
def put_row(typing, target, i, source, j):
    """target[i] = source[j]."""

    def build(target, i, source, j, _):
        target.store(i, source.load(j))

    return types.void(target, i, source, j), _operation(build)


@intrinsic
def add_row(typing, target, i, source, j):
    """target[i] += source[j]."""

    def build(target, i, source, j, _):
        target.store(i, target.builder.fadd(target.load(i), source.load(j)))

    return types.void(target, i, source, j), _operation(build)


@intrinsic
def put_scaled(typing, target, i, source, j, factor):
    """target[i] = factor * source[j]."""

    def build(target, i, source, j, numbers):
        factor = target.splat(numbers[0])
        target.store(i, target.builder.fmul(factor, source.load(j)))

    return types.void(target, i, source, j, target.dtype), _operation(build)


def _squared(rows, j, x):
    """(x - row j)^2 as a vector."""
    gap = rows.builder.fsub(rows.splat(x), rows.load(j))
    return rows.builder.fmul(gap, gap)


@intrinsic
def put_gap(typing, target, i, source, j, x):
    """target[i] = (x - source[j])^2."""

    def build(target, i, source, j, numbers):
        target.store(i, _squared(source, j, *numbers))

    return types.void(target, i, source, j, target.dtype), _operation(build)


@intrinsic
def add_gap(typing, target, i, source, j, x):
    """target[i] += (x - source[j])^2."""

    def build(target, i, source, j, numbers):
        square = _squared(source, j, *numbers)
        target.store(i, target.builder.fadd(target.load(i), square))

    return types.void(target, i, source, j, target.dtype), _operation(build)
