"""Plausible wrong answers to the exercises of chapter 5 are refused."""

import math

import numpy as np
import pytest
import torch

from helpers import candidates, envelope
from helpers.checks import check
from helpers.forward import posterior_variance

LN2 = math.log(2)


def entropy(p):
    return -torch.xlogy(p, p).sum(-1)


def known(mixture, x, sigma):
    return entropy(mixture.weights) - entropy(mixture.responsibilities(x, sigma)).mean()


WRONG_LABELS = {
    "nats": known,
    "what is not known": lambda m, x, s: entropy(m.responsibilities(x, s)).mean() / LN2,
    "all parts equally likely": lambda m, x, s: (
        (math.log(len(m.weights)) - entropy(m.responsibilities(x, s)).mean()) / LN2
    ),
    "entropy of the mean": lambda m, x, s: (
        (entropy(m.weights) - entropy(m.responsibilities(x, s).mean(0))) / LN2
    ),
    "how sure": lambda m, x, s: m.responsibilities(x, s).max(1).values.mean(),
    "sigma is a variance": lambda m, x, s: known(m, x, s**0.5) / LN2,
}


@pytest.mark.parametrize("name", WRONG_LABELS)
def test_1_which_digit_is_it(name):
    assert not check("5.1", WRONG_LABELS[name])


def beyond(p, length):
    return (p * (length + p.log2())).sum().item()


WRONG_WASTES = {
    "nats": lambda p: (p * ((-p.log()).ceil() + p.log())).sum().item(),
    "rounded down": lambda p: beyond(p, (-p.log2()).floor()),
    "rounded": lambda p: beyond(p, (-p.log2()).round()),
    "not weighed": lambda p: ((-p.log2()).ceil() + p.log2()).mean().item(),
    "the length": lambda p: (p * (-p.log2()).ceil()).sum().item(),
    "all words alike": lambda p: beyond(p, torch.tensor(len(p)).log2().ceil()),
    "a share": lambda p: beyond(p, (-p.log2()).ceil()) / (-(p * p.log2()).sum().item()),
}


@pytest.mark.parametrize("name", WRONG_WASTES)
def test_2_kraft(name):
    assert not check("5.2", WRONG_WASTES[name])


def compete(score, start=1, fresh=False, n=200):
    """A race among n candidates with another score."""

    def race(p, q, chance):
        z = chance.choice(len(p), p=p, size=n)
        times = chance.exponential(size=n)
        times = times if fresh else times.cumsum()
        with np.errstate(divide="ignore"):
            i = int(np.argmin(score(times, (q / p)[z], q[z])))
        return start + i, z[i]

    return race


def rejection(p, q, chance):
    w, K = q / p, 1
    while True:
        z = chance.choice(len(p), p=p)
        if chance.random() < w[z] / w.max():
            return K, z
        K += 1


WRONG_RACES = {
    "times w": compete(lambda T, w, q: T * w),
    "over q": compete(lambda T, w, q: T / w**2),
    "from 0": compete(lambda T, w, q: T / w, start=0),
    "no running sum": compete(lambda T, w, q: T / w, fresh=True),
    "one after the other": rejection,
    "q itself": lambda p, q, chance: (1, chance.choice(len(q), p=q)),
    "the largest w": compete(lambda T, w, q: -w),
}


def test_3_the_race_without_a_mistake():
    assert check("5.3", compete(lambda T, w, q: T / w))


@pytest.mark.parametrize("name", WRONG_RACES)
def test_3_a_race(name):
    assert not check("5.3", WRONG_RACES[name])


HEAD = envelope.HEADER.size


def shared(width):
    """Parcels with lengths of so many bytes that notice nothing."""

    def pack(streams):
        heads = [envelope.HEADER.unpack_from(s) for s in streams]
        lengths = [(h[3] % 256**width).to_bytes(width, "big") for h in heads]
        rows = zip(heads, lengths, streams)
        return streams[0][:6] + b"".join(h[2] + n + s[HEAD:] for h, n, s in rows)

    def unpack(parcel):
        place, streams = 6, []
        while place < len(parcel):
            start = place + 4 + width
            count = int.from_bytes(parcel[place + 4 : start], "big")
            head = parcel[2:6], parcel[place : place + 4], count
            place = start + count
            streams.append(
                envelope.HEADER.pack(parcel[:2], *head) + parcel[start:place]
            )
        return streams

    return pack, unpack


def split(parcel):
    """Streams that follow each other, taken apart by their own headers."""
    streams = []
    while parcel:
        end = HEAD + envelope.HEADER.unpack_from(parcel)[3]
        streams, parcel = [*streams, parcel[:end]], parcel[end:]
    return streams


WRONG_PARCELS = {
    "nothing saved": (b"".join, split),
    "one byte for a length": shared(1),
    "no complaint": shared(2),
    "backwards": (lambda s: shared(2)[0](s[::-1]), shared(2)[1]),
    "nothing comes back": (b"".join, lambda parcel: None),
    "one stream only": (lambda s: s[0], lambda parcel: [parcel]),
}


@pytest.mark.parametrize("name", WRONG_PARCELS)
def test_4_many_images_one_header(name):
    assert not check("5.4", WRONG_PARCELS[name])


def mass(x0_hat, pixels, variance, ends=True, half=0.5, power=0.5):
    def below(k):
        return torch.special.ndtr(((k - half) / 8 - 1 - x0_hat) / variance**power)

    k = pixels.double()
    low = torch.where((k > 0) | (not ends), below(k), 0.0)
    return torch.where((k < 16) | (not ends), below(k + 1), 1.0) - low


def mixed(p):
    return (1 - 17 / 2**16) * p + 2**-16


def bell(x0_hat, pixels, variance):
    z = (pixels / 8 - 1 - x0_hat) ** 2 / variance
    return (-z / 2).exp() / (2 * math.pi * variance).sqrt() / 8


WRONG_WORDS = {
    "standard deviation": lambda *a: -mixed(mass(*a, power=1)).log2(),
    "nats": lambda *a: -mixed(mass(*a)).log(),
    "no chance beforehand": lambda *a: -mass(*a).log2(),
    "more than 1": lambda *a: -(mass(*a) + 2**-16).log2(),
    "no ends": lambda *a: -mixed(mass(*a, ends=False)).log2(),
    "bins begin at the value": lambda *a: -mixed(mass(*a, half=0)).log2(),
    "density": lambda *a: -mixed(bell(*a)).log2(),
    "one width": lambda x, k, v: -mixed(mass(x, k, v.mean())).log2(),
    "chances": lambda *a: mixed(mass(*a)),
}


def test_5_the_decoder_without_a_mistake():
    assert check("5.5", lambda *a: -mixed(mass(*a)).log2())


@pytest.mark.parametrize("name", WRONG_WORDS)
def test_5_another_decoder(name):
    assert not check("5.5", WRONG_WORDS[name])


def kappas(codec, first=True, n=16):
    path, t = codec.schedule, torch.arange(2, codec.schedule.T + 1)
    steps = codec.variance[2:] / posterior_variance(path, t, t - 1)
    last = 1 / path.noise_variance[-1:]
    return (n / 2 * torch.cat([steps, last if first else last[:0]]).log()).tolist()


def extra(kappa):
    return candidates.expected_bits(kappa) - kappa / LN2


WRONG_OVERHEADS = {
    "bits less nats": lambda c: sum(candidates.expected_bits(k) - k for k in kappas(c)),
    "the whole price": lambda c: sum(candidates.expected_bits(k) for k in kappas(c)),
    "no first word": lambda c: sum(map(extra, kappas(c, first=False))),
    "one word too many": lambda c: sum(map(extra, [*kappas(c), kappas(c)[0]])),
    "of one pixel": lambda c: sum(map(extra, kappas(c, n=1))),
    "no half": lambda c: sum(map(extra, kappas(c, n=32))),
    "kappa in bits": lambda c: sum(extra(k / LN2) for k in kappas(c)),
    "a mean": lambda c: np.mean([extra(k) for k in kappas(c)]),
    "one long name": lambda c: extra(sum(kappas(c))),
}


@pytest.mark.parametrize("name", WRONG_OVERHEADS)
def test_6_more_words(name):
    assert not check("5.6", WRONG_OVERHEADS[name])


def price(told, true):
    return candidates.expected_bits(told, candidates.tail(true))


WRONG_LOSSES = {
    "exchanged": lambda true, told: price(true, told) - price(told, told),
    "nats": lambda true, told: (price(told, true) - price(true, true)) * LN2,
    "two lists, two laws": lambda true, told: price(told, told) - price(true, true),
    "against the KL": lambda true, told: price(told, true) - true / LN2,
    "difference": lambda true, told: abs(told - true) / LN2,
    "gain": lambda true, told: price(true, true) - price(told, true),
    "the price": lambda true, told: price(told, true),
}


@pytest.mark.parametrize("name", WRONG_LOSSES)
def test_7_worth_of_the_kl(name):
    assert not check("5.7", WRONG_LOSSES[name])
