r"""An image as a stream of bytes: Algorithms 3 and 4 of Ho et al. 2020, made to run.

The sender walks down $q$ and names each $x_{t-1} \sim q(x_{t-1} | x_t, x_0)$ to a
receiver who knows only $p(x_{t-1} | x_t)$, as `helpers.candidates` tells; the last word
is $x_0$ itself, by the discretised decoder (Eq. 13). The price is the bound L (Eq. 5),
and for each name of $\kappa$ nats the price of not knowing q / p beforehand,
`candidates.overhead`, and the header of `helpers.envelope`. The search for a name needs
more than $e^\kappa$ candidates. So the pixels of one step may be dealt out to blocks,
and their size is a bargain between time and bits.

What the receiver must compute as the sender did: the numbers of `torch.Generator`, the
answers of the denoiser, and tables of chances. The same machine and versions are
assumed. Elsewhere x_t may differ in a last digit, which does harm only where it changes
a count of the tables, and then the checksum fails: no stream becomes a wrong image.
"""

import hashlib
import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from helpers import candidates, envelope, rangecoder
from helpers.forward import posterior_mean, posterior_variance
from helpers.sampling import predict
from helpers.schedules import Schedule

VERSION = b"D1"


class Sent(NamedTuple):
    """One word of the sender; after it both know x_t, and for t = 0 the image."""

    t: int
    kappa: list[float]  # nats that the receiver expects, of each block
    kl: list[float]  # KL(q || p) in nats, of each block; for t = 0 -ln p(x_0 | x_1)
    index: list[int]  # the name K of each block
    price: list[float]  # bits that such a name costs on average, by its exact law
    bits: float  # what was spent


class Received(NamedTuple):
    """What the receiver has after one word."""

    t: int
    xt: Tensor  # (C, H, W), float64; for t = 0 the pixels, uint8
    x0_hat: Tensor  # (C, H, W), what x_t tells; for t = 0 the image
    count: int  # bytes of the stream that were looked at, with the header


class Word(NamedTuple):
    """The next word: x_t under $p = N(mean, v)$, a draw of $q = N(\\cdot, u)$."""

    t: int
    mean: Tensor  # (1, C, H, W)
    v: float
    u: float
    blocks: list[slice]  # of the flat image

    def kappa(self, n: int) -> float:
        """KL of n pixels in nats, if v is the best variance: n/2 ln(v/u)."""
        return n / 2 * math.log(self.v / self.u)

    def sizes(self) -> list[int]:
        """How many pixels each block has."""
        return [len(range(self.mean.numel())[block]) for block in self.blocks]


@dataclass(frozen=True, eq=False)
class Codec:
    r"""What sender and receiver agree on before the first image.

    `denoise(x, sigma)` takes and gives float64 images (B, C, H, W). `variance` is a
    table of $\sigma_t^2$, (T + 1,), as in `helpers.bound`, above $\tilde\beta_t$ for
    t > 1 (else q / p has no maximum): that of `rates.best_variances`, or "large".
    `shape` is (C, H, W). Pixel k of `levels` stands at $2 k / (levels - 1) - 1$. A
    block should need at most `block_bits` bits. `seed` is that of the candidates.
    ValueError when something does not fit.
    """

    denoise: Callable
    schedule: Schedule
    variance: Tensor
    shape: tuple[int, int, int]
    levels: int = 256
    block_bits: float = 8.0
    seed: int = 0

    def __post_init__(self):
        T, table = self.schedule.T, self.variance
        if table.shape != (T + 1,) or table.dtype != torch.float64:
            raise ValueError(f"variance must be float64, ({T + 1},), one for each t")
        t = torch.arange(2, T + 1)
        wide = table[2:] > posterior_variance(self.schedule, t, t - 1)
        if not table[1] > 0 or not bool(wide.all()):
            raise ValueError("variance must be above 0, for t > 1 above beta_tilde_t")
        sizes = self.shape, self.levels, self.block_bits
        if len(self.shape) != 3 or not 2 <= self.levels <= 256 or self.block_bits <= 0:
            raise ValueError(
                f"need (C, H, W), 2 to 256 levels and block_bits above 0, not {sizes}"
            )

    @cached_property
    def fingerprint(self) -> bytes:
        """Four bytes that tell this codec from others: from all that must be shared.

        The denoiser is known by its answers to one image at each t, to six decimals.
        """
        known = VERSION, tuple(self.shape), self.levels, self.block_bits, self.seed
        digest = hashlib.sha256(repr(known).encode())
        for table in (self.schedule.beta, self.variance):
            digest.update(table.numpy().tobytes())
        probe = torch.linspace(-1, 1, math.prod(self.shape), dtype=torch.float64)
        for t in range(1, self.schedule.T + 1):
            answer = predict(self.denoise, probe.view(1, *self.shape), t, self.schedule)
            digest.update((answer * 1e6).round().long().numpy().tobytes())
        return digest.digest()[:4]

    def check(self, pixels: Tensor) -> None:
        """ValueError unless this is an image of this codec, uint8 (C, H, W)."""
        kind = pixels.dtype, tuple(pixels.shape)
        if kind != (torch.uint8, tuple(self.shape)):
            raise ValueError(f"an image must be uint8 {tuple(self.shape)}, not {kind}")
        if (top := int(pixels.max())) >= self.levels:
            raise ValueError(f"a pixel is {top}, but there are {self.levels} levels")

    def unit(self, pixels: Tensor) -> Tensor:
        """Pixels 0, ..., levels - 1 to [-1, 1], float64."""
        return 2 * pixels.double() / (self.levels - 1) - 1

    def word(self, t: int, later: Tensor | None) -> Word:
        """What to say after x_{t+1} = `later`; after None, the first word x_T."""
        s, n = self.schedule, math.prod(self.shape)
        if later is None:
            mean = torch.zeros(1, *self.shape, dtype=torch.float64)
            v, u = 1.0, s.noise_variance[t].item()
        else:
            x0_hat = predict(self.denoise, later, t + 1, s)
            mean = posterior_mean(x0_hat, later, t + 1, s)
            v, u = self.variance[t + 1].item(), posterior_variance(s, t + 1, t).item()
        blocks = n / 2 * math.log2(v / u) / self.block_bits
        count = min(n, max(1, math.ceil(blocks)))
        return Word(t, mean, v, u, [slice(b, n, count) for b in range(count)])

    def aim(self, t: int, x0: Tensor, later: Tensor | None) -> Tensor:
        """The mean of q for x_t, which only the sender knows, (1, C, H, W)."""
        if later is None:
            return self.schedule.alpha_bar[t].sqrt() * x0
        return posterior_mean(x0, later, t + 1, self.schedule)

    def say(self, word: Word, K: list[int]) -> Tensor:
        """x_t from the indices of its blocks, (1, C, H, W)."""
        xt = word.mean.flatten().clone()
        for b, block in enumerate(word.blocks):
            z = candidates.candidate(self.name(word, b), K[b], len(xt[block]))
            xt[block] += math.sqrt(word.v) * z
        return xt.view_as(word.mean)

    def name(self, word: Word, block: int) -> str:
        """The candidates of a block are known by this name."""
        return f"{self.seed}/{word.t}/{block}"

    def decoder(self, x1: Tensor) -> list[list[int]]:
        """The chances of all levels of each pixel (Eq. 13), for the range coder."""
        x0_hat = predict(self.denoise, x1, 1, self.schedule).reshape(-1, 1)
        between = self.unit(torch.arange(1, self.levels) - 0.5)
        cdf = torch.special.ndtr((between - x0_hat) / self.variance[1].sqrt())
        return [rangecoder.starts([0.0, *row, 1.0]) for row in cdf.tolist()]


def send(
    codec: Codec,
    pixels: Tensor,
    reach: float = 2.0,
    limit: int = 1 << 18,
    seed: int = 0,
) -> tuple[bytes, list[Sent]]:
    r"""Algorithm 3: the stream of an image, and what each word cost.

    `pixels` is uint8 (C, H, W), below `levels`. The search ends when no later
    candidate can win, or after $e^{KL + reach\, s}$ candidates, with s the standard
    deviation of ln w, or after `limit`. Then the draw is nearly one of q, and what it
    tells less of $x_0$ the later words must tell. `seed` is that of the sender's own
    chance. ValueError for an image that is not of this codec.
    """
    codec.check(pixels)
    x0, encoder, words, xt = codec.unit(pixels)[None], rangecoder.Encoder(), [], None
    chance = np.random.default_rng(seed)
    for t in range(codec.schedule.T, 0, -1):
        before, word = encoder.bits, codec.word(t, xt)
        shift = (codec.aim(t, x0, xt) - word.mean).flatten()
        kappa, kl, K, price = [word.kappa(n) for n in word.sizes()], [], [], []
        for b, block in enumerate(word.blocks):
            case = shift[block], word.v, word.u
            kl.append(candidates.kl(*case))
            depth = min(limit, candidates.depth(*case, reach))
            K.append(candidates.search(codec.name(word, b), *case, depth, chance))
            candidates.put(encoder, K[-1], kappa[b])
            law = candidates.exact_tail(*case, depth)
            price.append(candidates.expected_bits(kappa[b], law))
        xt = codec.say(word, K)
        words.append(Sent(t, kappa, kl, K, price, encoder.bits - before))
    before, nats = encoder.bits, _put_pixels(codec, encoder, pixels, xt)
    words.append(Sent(0, [], [nats], [], [], encoder.bits - before))
    content, body = pixels.contiguous().numpy().tobytes(), encoder.finish()
    return envelope.wrap(VERSION, codec.fingerprint, content, body), words


def _put_pixels(codec, encoder, pixels, x1) -> float:
    """The last word; returns -ln p(x_0 | x_1), by the counts of the coder."""
    nats = 0.0
    for k, starts in zip(pixels.flatten().tolist(), codec.decoder(x1)):
        count = starts[k + 1] - starts[k]
        encoder.put(starts[k], count)
        nats += math.log(starts[-1] / count)
    return nats


def receive(codec: Codec, stream: bytes) -> Iterator[Received]:
    """Algorithm 4: an estimate after each word, t = T, ..., 1, and the image at t = 0.

    The caller may stop at any t. A beginning of the stream gives the first estimates,
    then a ValueError; so does an altered stream, at the latest at t = 0; one of another
    version or codec gives none. Only the last answer has passed the checksum.
    """
    check, *body = envelope.unwrap(VERSION, codec.fingerprint, stream)
    return _words(codec, rangecoder.Decoder(*body), check)


def _words(codec, decoder, check) -> Iterator[Received]:
    xt, head = None, envelope.HEADER.size
    for t in range(codec.schedule.T, 0, -1):
        word = codec.word(t, xt)
        K = [candidates.get(decoder, word.kappa(n)) for n in word.sizes()]
        xt = codec.say(word, K)
        x0_hat = predict(codec.denoise, xt, t, codec.schedule)[0]
        yield Received(t, xt[0], x0_hat, head + decoder.received)
    levels = torch.tensor([decoder.get(starts) for starts in codec.decoder(xt)])
    pixels = levels.to(torch.uint8).view(codec.shape)
    if envelope.checksum(pixels.numpy().tobytes()) != check:
        raise ValueError("the stream was altered: the image fails its checksum")
    yield Received(0, pixels, codec.unit(pixels), head + decoder.total)


def decode(codec: Codec, stream: bytes) -> Tensor:
    """The image, uint8 (C, H, W), bit for bit; errors as `receive`."""
    return deque(receive(codec, stream), maxlen=1).pop().xt
