r"""A range coder: numbers with known chances to bytes, and back (Martin 1979).

The code of a message is a number in [0, 1). Each symbol cuts the interval that is left
in the proportion of the chances, so that a message of chance P leaves a width of P and
needs about $-\log_2 P$ bits. Chances are counts out of $2^{16}$. Everything is done in
whole numbers, which are the same on every machine. First in, first out: a reader needs
the first bytes only to know the first symbols.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise

BITS = 16  # chances are whole multiples of 2^-16
LOW, WIDE = 32, 40  # the width stays between 2^32 and 2^40


class Encoder:
    """Takes symbols with `put` and ends with `finish`; `bits` is their exact price."""

    def __init__(self):
        self.low, self.width, self.bytes_out = 0, 1 << WIDE, 0

    @property
    def bits(self) -> float:
        """Bits of the symbols so far, $-\\log_2$ of the width that is left."""
        return 8 * self.bytes_out + WIDE - math.log2(self.width)

    def put(self, start: int, count: int, bits: int = BITS) -> None:
        """The symbol that owns [start, start + count) out of 2^bits, bits <= 16."""
        unit = self.width >> bits
        self.low, self.width = self.low + unit * start, unit * count
        while self.width < 1 << LOW:
            self.low, self.width = self.low << 8, self.width << 8
            self.bytes_out += 1

    def put_number(self, value: int, bits: int) -> None:
        """A whole number below 2^bits, all equally likely; the high digits first."""
        for shift, size in pieces(bits):
            self.put((value >> shift) & ((1 << size) - 1), 1, size)

    def finish(self) -> bytes:
        """The shortest bytes that name a number inside of the interval."""
        total, high = 8 * self.bytes_out + WIDE, self.low + self.width
        for n in range(total // 8 + 1):
            step = 1 << (total - 8 * n)
            value = -(-self.low // step)  # rounded up
            if value * step < high:
                return value.to_bytes(n, "big")
        raise AssertionError("an interval of width >= 1 holds a whole number")


class Decoder:
    """Gives the symbols back, in order.

    `data` may be the beginning of a longer code, of `total` bytes; ValueError when a
    symbol depends on bytes that are not there, or if no encoder makes these bytes.
    """

    def __init__(self, data: bytes, total: int | None = None):
        self.data, self.total = data, len(data) if total is None else total
        self.place, self.width, self.offset = 0, 1 << WIDE, 0
        for _ in range(WIDE // 8):
            self._read()

    @property
    def received(self) -> int:
        """How many bytes were looked at."""
        return min(self.place, self.total)

    def _read(self) -> None:
        """The next byte; after the end of the whole code, zeros."""
        if len(self.data) <= self.place < self.total:
            raise ValueError(
                f"the stream is truncated: {len(self.data)} of {self.total} bytes"
            )
        byte = self.data[self.place] if self.place < self.total else 0
        self.offset, self.place = (self.offset << 8) | byte, self.place + 1

    def slot(self, bits: int = BITS) -> int:
        """Where in [0, 2^bits) the code points: inside of the next symbol's range."""
        slot = self.offset // (self.width >> bits)
        if slot >= 1 << bits:
            raise ValueError("the stream is damaged: no encoder makes these bytes")
        return slot

    def drop(self, start: int, count: int, bits: int = BITS) -> None:
        """Go on after the symbol that owns [start, start + count)."""
        unit = self.width >> bits
        self.offset, self.width = self.offset - unit * start, unit * count
        while self.width < 1 << LOW:
            self.width <<= 8
            self._read()

    def get(self, starts: Sequence[int]) -> int:
        """The symbol k that owns [starts[k], starts[k + 1]), out of 2^16."""
        k = bisect_right(starts, self.slot()) - 1
        self.drop(starts[k], starts[k + 1] - starts[k])
        return k

    def get_number(self, bits: int) -> int:
        """A whole number below 2^bits."""
        value = 0
        for _, size in pieces(bits):
            digit = self.slot(size)
            self.drop(digit, 1, size)
            value = (value << size) | digit
        return value


def pieces(bits: int) -> list[tuple[int, int]]:
    """A number of `bits` bits in pieces of at most 16: (shift, size), highest first."""
    cuts = [*range(0, bits, BITS), bits]
    return [(a, b - a) for a, b in pairwise(cuts)][::-1]


def starts(cdf: Sequence[float]) -> list[int]:
    r"""Counts out of $2^{16}$ from $F_0 = 0, F_1, \ldots, F_m = 1$, at least 1 each.

    $round(F_k (2^{16} - m)) + k$: no symbol becomes impossible, the others pay at most
    a share of $m / 2^{16}$ for it. ValueError unless F rises from 0 to 1.
    """
    m = len(cdf) - 1
    rises = all(a <= b for a, b in pairwise(cdf))
    if not 1 <= m < 1 << BITS or cdf[0] != 0 or cdf[-1] != 1 or not rises:
        raise ValueError("a distribution function must rise from 0 to 1")
    return [round(F * ((1 << BITS) - m)) + k for k, F in enumerate(cdf)]
