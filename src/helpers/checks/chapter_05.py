"""Checks of the exercises of chapter 5, compression."""

import math
from functools import cache

import numpy as np
import torch

from helpers import candidates, envelope, rates, schedules
from helpers.checks import Property, close, given
from helpers.codec import Codec, send
from helpers.mixtures import Mixture, two_point, two_point_information

LN2 = math.log(2)


def exercise_1(label_bits):
    """label_bits(mixture, x, sigma): information of noisy x about the part, in bits."""
    coin, random = two_point(), torch.Generator().manual_seed(0)
    x0 = torch.tensor([1.0, -1.0]).double().repeat(5000).view(-1, 1, 1, 1)
    eps = torch.randn(x0.shape, generator=random, dtype=torch.float64)
    yield Property(
        "in the end a coin has told one bit, and in pure noise nothing",
        close(label_bits(coin, x0 + 0.1 * eps, 0.1), 1.0, 1e-3)
        and close(label_bits(coin, x0 + 100 * eps, 100.0), 0.0, atol=2e-3),
        (
            "Information is the entropy before, less the mean entropy afterwards.",
            "`mixture.responsibilities` gives the chances of the parts, afterwards.",
        ),
    )
    exact = two_point_information(1.0).item() / LN2
    yield Property(
        "in between it is what an integral gives, to 5 %",
        close(label_bits(coin, x0 + eps, 1.0), exact, 0.05),
        ("Take the entropy of each image first, and then the mean.",),
    )
    yield Property(
        "a part that is rare tells less",
        close(label_bits(two_point(0.9), 1 + 0.1 * eps, 0.1), 0.469, 1e-3),
        ("Before, the chances of the parts are `mixture.weights`.",),
    )


def exercise_2(waste):
    """waste(p): mean bits of the lengths ceil(-log2 p) beyond the entropy."""
    dyadic = torch.tensor([0.5, 0.25, 0.125, 0.125]).double()
    rows = torch.rand(50, 6, generator=torch.Generator().manual_seed(0)).double() ** 3
    rows = rows / rows.sum(1, keepdim=True)
    yield Property(
        "chances that are powers of 1/2 waste nothing",
        close(waste(dyadic), 0.0, atol=1e-9),
        ("Is everything in bits?",),
    )
    yield Property(
        "it is never negative, and always below one bit",
        all(0 <= waste(row) < 1 for row in rows),
        ("The mean length weighs each length with the chance of its symbol.",),
    )
    pixel = torch.tensor([0.99, 0.01]).double()
    yield Property(
        "a pixel that is black with the chance 0.99 wastes most of a bit",
        0.97 < waste(pixel) < 0.99,
        ("How long is the word for black?",),
    )
    ten = pixel
    for _ in range(9):
        ten = torch.outer(ten, pixel).flatten()
    yield Property(
        "ten such pixels, coded together, waste less than a bit between them",
        0.3 < waste(ten) < 1,
        ("The entropies of independent pixels add up; do your lengths?",),
    )


def exercise_3(race):
    """race(p, q, chance): (K, z), the number of the winner, from 1, and its symbol."""
    even = ran(race, (0.5, 0.5), (0.5, 0.5), 100)
    yield Property(
        "if q is p, the first candidate is taken",
        bool((even[:, 0] == 1).all()),
        (
            "What is w then, and which arrival is the smallest?",
            "K counts from 1.",
        ),
    )
    coin = ran(race, (0.5, 0.5), (1.0, 0.0), 4000)
    yield Property(
        "if q is certain of the first symbol, it comes out, and K has the mean 2",
        bool((coin[:, 1] == 0).all()) and close(coin[:, 0].mean(), 2.0, 0.05),
        ("A candidate with w = 0 never wins.", "When can no later candidate win?"),
    )
    biased = ran(race, (0.5, 0.5), (0.8, 0.2), 6000)
    yield Property(
        "the symbols have the chances of q, to 2 %",
        close((biased[:, 1] == 0).mean(), 0.8, 0.02),
        ("T_i grows from one candidate to the next. Divide by w, not by q.",),
    )
    yield Property(
        "K has the law of `helpers.candidates`",
        close(biased[:, 0].mean(), 1 + 0.8 * 0.5 * (1.6 - 0.4), 0.04),
        (
            "Accepting or rejecting one after the other is another game.",
            "The T_i are sums of independent exponential times.",
        ),
    )


def ran(race, p, q, times):
    """Many races with the same chances, (times, 2)."""
    chance = np.random.default_rng(0)
    return np.array([race(np.array(p), np.array(q), chance) for _ in range(times)])


def exercise_4(answer):
    """(pack, unpack): streams of one codec to fewer bytes, and back to the streams."""
    pack, unpack = answer
    random = np.random.default_rng(0)
    lengths = [0, 300, *random.integers(20, 60, 38)]
    streams = [wrapped(random, int(n)) for n in lengths]
    parcel = given(pack(streams))
    yield Property(
        "all streams come back, byte for byte and in order",
        [bytes(s) for s in given(unpack(parcel))] == streams,
        (
            "The receiver must know where one body ends and the next begins.",
            "A body may be empty, and it may have more than 255 bytes.",
        ),
    )
    alone = [pack([stream]) for stream in streams]
    yield Property(
        "each stream after the first saves at least seven bytes",
        sum(map(len, streams)) - len(parcel) >= 7 * 39 - 6
        and all(unpack(a) == [s] for a, s in zip(alone, streams)),
        (
            "`envelope.HEADER.unpack_from` takes a header apart: what do all share?",
            "Four bytes are more than the length of a body needs.",
        ),
    )
    for name, call in {
        "streams of two codecs are refused": lambda: pack(
            [streams[2], wrapped(random, 30, b"mine")]
        ),
        "a parcel that has lost its last byte is refused": lambda: unpack(parcel[:-1]),
    }.items():
        yield Property(f"{name} with a ValueError", refused(call))


def wrapped(random, n, fingerprint=b"ours"):
    """A stream with a body of n bytes."""
    return envelope.wrap(b"D1", fingerprint, random.bytes(64), random.bytes(n))


def refused(call) -> bool:
    """Whether it raises a ValueError."""
    try:
        call()
    except ValueError:
        return True
    return False


def exercise_5(last_word):
    """last_word(x0_hat, pixels, variance): bits for each pixel; 17 values."""
    random = torch.Generator().manual_seed(0)
    guess = torch.rand(2, 1, 4, 4, generator=random, dtype=torch.float64) * 2 - 1
    own = torch.logspace(-4, -1, 16, dtype=torch.float64).view(1, 4, 4)
    bits = torch.stack([last_word(guess, plain(guess, k), own) for k in range(17)])
    yield Property(
        "the chances of the 17 values of a pixel add up to 1",
        close((2.0**-bits).sum(0), torch.ones(2, 1, 4, 4)),
        (
            "The lowest and the highest value reach to infinity.",
            "The others begin and end half way to their neighbours.",
        ),
    )
    yield Property(
        "no value costs more than 16 bits",
        bool((bits <= 16).all()),
        ("Before all else each value gets the chance 2^-16, as in the coder.",),
    )
    table = torch.tensor(toy(2).decoder(guess)).diff().view(2, 1, 4, 4, 17)
    k = table.argmax(-1)
    common = last_word(guess, k.to(torch.uint8), toy(2).variance[1])
    yield Property(
        "with one variance for all the likely values cost what the codec asks",
        close(2.0**-common, table.max(-1).values / 2**16, 1e-3),
        ("A variance is the square of a standard deviation.",),
    )
    flat = own.flatten()
    alone = (last_word(guess, plain(guess, 8), v).flatten(1) for v in flat)
    apart = torch.stack([row[:, i] for i, row in enumerate(alone)], 1)
    yield Property(
        "a pixel is paid by its own variance, whatever the others have",
        close(bits[8].flatten(1), apart),
        ("The shape of the variances is that of an image, (C, H, W).",),
    )


def plain(like, k):
    """Images of one grey value."""
    return torch.full(like.shape, k, dtype=torch.uint8)


@cache
def toy(T):
    """A codec for 4 x 4 independent pixels of variance 1/4, of T words."""

    def error(s):
        return 0.25 * s**2 / (0.25 + s**2)

    path = schedules.from_sigma(rates.equal_words(error, 0.15, 4.0, T))
    cov = 0.25 * torch.eye(16)[None]
    denoise = Mixture(torch.ones(1), torch.zeros(1, 1, 4, 4), cov)
    if T == 2:  # for the last word: the guess is what is given

        def denoise(x, sigma):
            return x * path.alpha_bar[1].sqrt()

    table = rates.best_variances(path, error)
    return Codec(denoise, path, table, (1, 4, 4), levels=17, block_bits=99)


def exercise_6(overhead):
    """overhead(codec): bits of all names of an image beyond the KL, by the law of K."""
    few, many = (overhead(toy(T)) for T in (4, 40))
    yield Property(
        "shorter words cost more, together",
        given(few) < given(many),
        ("Each word has a name, and each name its own overhead.",),
    )
    yield Property(
        "for four long words it is the closed form, to a tenth of a bit each",
        abs(few - closed(toy(4))) < 0.4,
        (
            "kappa is in nats, a price in bits. How many pixels has an image?",
            "The first word has p = N(0, 1), and u is the variance of q(x_T | x_0).",
            "The last word, the image itself, has no name.",
        ),
    )
    yield Property(
        "it is what images of the model paid by the exact law, to 15 %",
        close(many, paid(40), 0.15),
        ("Which two variances has the word x_t, after x_{t+1}?",),
    )


def closed(codec):
    """The overhead of all words by the closed form."""
    blank = torch.zeros(1, *codec.shape, dtype=torch.float64)
    later = [blank] * (codec.schedule.T - 1) + [None]
    words = (codec.word(t, x) for t, x in enumerate(later, 1))
    return sum(candidates.overhead(word.kappa(16)) for word in words)


@cache
def paid(T):
    """The mean over eight images of the model of the derived price, less the KL."""
    random = torch.Generator().manual_seed(0)
    pixels = (torch.randn(8, 1, 4, 4, generator=random) * 4 + 8).round().clamp(0, 16)
    sent = [send(toy(T), image.to(torch.uint8), seed=1)[1][:-1] for image in pixels]
    return np.mean([sum(w.price[0] - w.kl[0] / LN2 for w in words) for words in sent])


def exercise_7(lost):
    """lost(true, told): bits a name costs more if the list is made for `told` nats."""
    pairs = [(a * LN2, b * LN2) for a, b in BITS]
    yield Property(
        "a list that was made for the true KL loses nothing",
        all(close(lost(a, a), 0.0, atol=1e-6) for a, _ in pairs),
        ("Two prices: by the list of one KL, and by that of the other.",),
    )
    yield Property(
        "no other list is better",
        all(lost(a, b) >= 0 for a, b in pairs),
        ("The index has the law of the true KL, whatever the list says.",),
    )
    yield Property(
        "it is the divergence of the two laws of the number of digits, in bits",
        all(close(lost(a, b), divergence(a, b), 0.01, 0.005) for a, b in pairs),
        ("`candidates.tail` is a law, `candidates.expected_bits` a mean price.",),
    )


BITS = ((2, 4), (2, 7), (5, 4), (5, 7), (5, 12), (9, 7), (9, 12))


def divergence(true, told):
    """KL of the laws of the number of binary digits of K, in bits."""
    p, q = (-np.diff(candidates.tail(kappa)) for kappa in (true, told))
    seen = p > 1e-12
    return float((p[seen] * np.log2(p[seen] / q[seen])).sum())
