r"""The bound without overhead: bits-back coding along the same walk.

`helpers.codec` pays for naming a draw of $q(x_{t-1} | x_t, x_0)$ because its dice were
thrown beforehand. Here the dice are bits of another message (Hinton & van Camp 1993;
for images Townsend, Bird & Barber 2019): the sender *decodes* some of it with q, which
gives a draw and takes $-\log_2 q$ bits away, and *encodes* the draw with p, which adds
$-\log_2 p$. The receiver gets the draw, knows $x_0$ in the end, and puts the bits back.
For each image the stream grows by

$$-\log_2 p(x_0 | x_1)
  + \sum_{t} \log_2 \frac{q(x_{t-1} | x_t, x_0)}{p(x_{t-1} | x_t)} \quad \text{bits},$$

whose mean is L. The price is another. There must be such a message, the deposit, of
about T D k bits. And the bits of a draw come back only at the end of an image, so that
the beginning of a stream is no cheap estimate of it.

The message is one large whole number, a stack: the last symbol in is the first one out
(Duda 2013). A pixel of $x_{t-1}$ takes one of $2^k$ values, the medians of as many
parts of equal chance under p. The receiver must compute as the sender did, here to the
last digit of every count of q: see `helpers.codec`.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence

import torch
from torch import Tensor

from helpers import envelope, rangecoder
from helpers.codec import Codec, Word
from helpers.rangecoder import BITS

VERSION = b"B1"
MOST = 12  # k at most: 2^k parts must each have some of the 2^16 counts


class Stack:
    """Symbols on top of a message of bytes: the last one in is the first one out."""

    def __init__(self, message: bytes, mark: bytes = b"\1"):
        self.state = int.from_bytes(mark + message, "big")

    def push(self, start: int, count: int, bits: int = BITS) -> None:
        """The symbol that owns [start, start + count) out of 2^bits."""
        high, low = divmod(self.state, count)
        self.state = (high << bits) + low + start

    def pop(self, starts: Sequence[int]) -> int:
        """The symbol k that owns [starts[k], starts[k + 1]), out of 2^16."""
        if self.state >> BITS == 0:
            raise ValueError(
                "the message is used up: a deposit too short, or a stream altered"
            )
        slot = self.state & ((1 << BITS) - 1)
        k = bisect_right(starts, slot) - 1
        count = starts[k + 1] - starts[k]
        self.state = count * (self.state >> BITS) + slot - starts[k]
        return k

    def pop_number(self, bits: int) -> int:
        """A number below 2^bits, all equally likely."""
        value, self.state = self.state & ((1 << bits) - 1), self.state >> bits
        return value

    def bytes(self) -> bytes:
        """All there is, the mark at the beginning too."""
        return self.state.to_bytes((self.state.bit_length() + 7) // 8, "big")


def values(word: Word, part: Tensor, k: int) -> Tensor:
    """x_t from the numbers of the parts of all pixels, (1, C, H, W)."""
    z = torch.special.ndtri((part.double() + 0.5) / 2**k).view_as(word.mean)
    return word.mean + word.v**0.5 * z


def chances(word: Word, aim: Tensor, k: int) -> list[list[int]]:
    """How q, of mean `aim`, shares itself among the parts of p; one list a pixel."""
    between = torch.special.ndtri(torch.arange(1, 2**k, dtype=torch.float64) / 2**k)
    shift = (aim - word.mean).reshape(-1, 1) / word.v**0.5
    cdf = torch.special.ndtr((between - shift) / (word.u / word.v) ** 0.5)
    return [rangecoder.starts([0.0, *row, 1.0]) for row in cdf.tolist()]


def put(codec: Codec, stack: Stack, pixels: Tensor, k: int) -> None:
    """One image, uint8 (C, H, W), on top of the stack."""
    codec.check(pixels)
    x0, xt, parts = codec.unit(pixels)[None], None, []
    for t in range(codec.schedule.T, 0, -1):
        word = codec.word(t, xt)
        q = chances(word, codec.aim(t, x0, xt), k)
        parts.append([stack.pop(starts) for starts in q])
        xt = values(word, torch.tensor(parts[-1]), k)
    _push(stack, codec.decoder(xt), pixels.flatten().tolist())
    for part in parts[::-1]:
        for value in part[::-1]:
            stack.push(value, 1, k)


def get(codec: Codec, stack: Stack, k: int) -> Tensor:
    """The image on top of the stack, which is then as it was before `put`."""
    n, xt, walk = math.prod(codec.shape), None, []
    for t in range(codec.schedule.T, 0, -1):
        word, later = codec.word(t, xt), xt
        part = [stack.pop_number(k) for _ in range(n)]
        xt = values(word, torch.tensor(part), k)
        walk.append((word, later, part))
    levels = [stack.pop(starts) for starts in codec.decoder(xt)]
    pixels = torch.tensor(levels, dtype=torch.uint8).view(codec.shape)
    x0 = codec.unit(pixels)[None]
    for word, later, part in walk[::-1]:
        _push(stack, chances(word, codec.aim(word.t, x0, later), k), part)
    return pixels


def send(codec: Codec, images: Tensor, deposit: bytes, k: int = 6) -> bytes:
    """A stream of images, uint8 (N, C, H, W), on top of a message `deposit`.

    A pixel of each $x_t$ has $2^k$ values. ValueError for images that are not of this
    codec, and if the deposit has fewer than about T C H W k bits.
    """
    if not 1 <= k <= MOST:
        raise ValueError(f"k must be 1 to {MOST}, not {k}")
    stack = Stack(deposit)
    for pixels in images:
        put(codec, stack, pixels, k)
    stack.push(k, 1, 8)
    stack.push(len(images), 1, 32)
    content = _content(images, deposit)
    return envelope.wrap(VERSION, codec.fingerprint, content, stack.bytes())


def receive(codec: Codec, stream: bytes) -> tuple[Tensor, bytes]:
    """The images (N, C, H, W) and the deposit, bit for bit.

    ValueError for a stream that was truncated or altered, and for one of another
    version or codec.
    """
    check, body, total = envelope.unwrap(VERSION, codec.fingerprint, stream)
    if len(body) < total:
        raise ValueError(f"the stream is truncated: {len(body)} of {total} bytes")
    stack = Stack(body, mark=b"")
    count, k = stack.pop_number(32), stack.pop_number(8)
    images = [get(codec, stack, k) for _ in range(count)] if 1 <= k <= MOST else []
    found = torch.stack(images[::-1]) if images else torch.zeros(0, dtype=torch.uint8)
    deposit = stack.bytes()[1:]
    whole = stack.bytes()[:1] == b"\1"
    if not whole or envelope.checksum(_content(found, deposit)) != check:
        raise ValueError("the stream was altered: the images fail their checksum")
    return found, deposit


def _content(images: Tensor, deposit: bytes) -> bytes:
    """All that must come out as it went in."""
    return images.contiguous().numpy().tobytes() + deposit


def _push(stack: Stack, table: list[list[int]], symbols: list[int]) -> None:
    for starts, s in zip(table[::-1], symbols[::-1]):
        stack.push(starts[s], starts[s + 1] - starts[s])
