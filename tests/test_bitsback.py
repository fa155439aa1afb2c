"""Bits-back: the same walk, the bound itself, and the deposit comes back."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from test_codec import digits, gaussian_codec, image_bound

from helpers import bitsback
from helpers.bitsback import Stack
from helpers.envelope import HEADER

DEPOSIT = np.random.default_rng(0).bytes(200)


@pytest.fixture(scope="module")
def small():
    return gaussian_codec(digits(2), [0.15, 0.4, 1.0, 4.0])


@pytest.fixture(scope="module")
def stream(small):
    return bitsback.send(small, digits(2)[:3], DEPOSIT)


def decoder_bits(codec, pixels, draws=200):
    """E L_0 of one image, over draws of q(x_1 | x_0), by the counts of the coder."""
    generator, k = torch.Generator().manual_seed(0), pixels.flatten().tolist()
    x0, total = codec.unit(pixels)[None], 0.0
    for _ in range(draws):
        eps = torch.randn(x0.shape, generator=generator, dtype=torch.float64)
        signal, noise = codec.schedule.alpha_bar[1], codec.schedule.noise_variance[1]
        table = codec.decoder(signal.sqrt() * x0 + noise.sqrt() * eps)
        counts = [starts[j + 1] - starts[j] for j, starts in zip(k, table)]
        total += 16 * len(k) - np.log2(counts).sum()
    return total / draws


def test_images_and_deposit_come_back_at_the_bound(small):
    images = digits(2)[::120]
    stream = bitsback.send(small, images, DEPOSIT)
    found, deposit = bitsback.receive(small, stream)
    assert torch.equal(found, images)
    assert deposit == DEPOSIT
    rate = 8 * (len(stream) - HEADER.size - 5 - len(DEPOSIT)) / len(images)
    L = [image_bound(small, x) + decoder_bits(small, x, 5) for x in images]
    assert rate == pytest.approx(np.mean(L), rel=0.05)


def test_stack_undoes_itself_in_either_order():
    starts, stack = [0, 10, 30000, 65536], Stack(DEPOSIT)
    before = stack.state
    symbols = [stack.pop(starts) for _ in range(50)]
    for k in symbols[::-1]:
        stack.push(starts[k], starts[k + 1] - starts[k])
    assert stack.state == before
    for k in symbols:
        stack.push(starts[k], starts[k + 1] - starts[k])
    stack.push(77, 1, 8)
    price = sum(16 - math.log2(starts[k + 1] - starts[k]) for k in symbols) + 8
    assert math.log2(stack.state / before) == pytest.approx(price, abs=1e-6)
    assert stack.pop_number(8) == 77
    assert [stack.pop(starts) for _ in symbols] == symbols[::-1]
    assert stack.bytes() == b"\1" + DEPOSIT


def test_parts_are_draws_of_q(small):
    word = small.word(4, None)
    aim = torch.full((1, 1, 4, 4), 0.7, dtype=torch.float64)
    starts = bitsback.chances(word, aim, 8)[0]
    share = torch.tensor(starts).diff().double() / 2**16
    parts = torch.arange(256).expand(16, 256).T
    x = torch.stack([bitsback.values(word, part, 8).flatten()[0] for part in parts])
    mean = (share * x).sum()
    assert mean.item() == pytest.approx(0.7, abs=0.01)
    assert (share * (x - mean) ** 2).sum().item() == pytest.approx(word.u, rel=0.03)


def test_a_short_deposit(small):
    with pytest.raises(ValueError, match="deposit too short"):
        bitsback.send(small, digits(2)[:1], DEPOSIT[:20])


def test_streams_that_went_wrong(small, stream):
    with pytest.raises(ValueError, match="truncated"):
        bitsback.receive(small, stream[:-1])
    with pytest.raises(ValueError, match="1 bytes follow"):
        bitsback.receive(small, stream + b"\0")
    with pytest.raises(ValueError, match="version b'D1'"):
        bitsback.receive(small, b"D1" + stream[2:])
    other = dataclasses.replace(small, seed=3)
    with pytest.raises(ValueError, match="another model"):
        bitsback.receive(other, stream)


def test_every_altered_byte_is_found(small, stream):
    for place in range(0, len(stream), 17):
        altered = bytearray(stream)
        altered[place] ^= 0x10
        with pytest.raises(
            ValueError, match=r"altered|version|another|trunc|follow|used"
        ):
            bitsback.receive(small, bytes(altered))


def test_bad_images(small):
    with pytest.raises(ValueError, match="17 levels"):
        bitsback.send(small, digits(2)[:1] + 9, DEPOSIT)
    with pytest.raises(ValueError, match="k must be 1 to 12, not 13"):
        bitsback.send(small, digits(2)[:1], DEPOSIT, k=13)
