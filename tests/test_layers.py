"""The parts of the U-Net: against their formulas, written out."""

import pytest
import torch
from golden import GOLDEN, RTOL

from helpers.layers import (
    Attention,
    Downsample,
    ResBlock,
    Upsample,
    conv,
    timestep_embedding,
)


def randn(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def random(layer):
    """The layer in float64 with weights that are nowhere zero."""
    for seed, p in enumerate(layer.double().parameters()):
        p.data = 0.3 * randn(*p.shape, seed=seed)
    return layer


@pytest.mark.parametrize("t", GOLDEN["temb"])
def test_embedding_is_the_golden_one(t):
    code = timestep_embedding(torch.tensor([3, int(t)]), 128)[1]
    for place, expected in GOLDEN["temb"][t].items():
        assert code[int(place)].item() == pytest.approx(expected, rel=RTOL, abs=1e-12)


def test_embedding_takes_a_real_t():
    t = torch.tensor([0.0, 2.5])
    code = timestep_embedding(t, 4)
    angles = torch.tensor([[0.0, 0.0], [2.5, 2.5e-4]], dtype=torch.float64)
    expected = torch.cat([angles.sin(), angles.cos()], 1)
    torch.testing.assert_close(code, expected, rtol=RTOL, atol=1e-15)


@pytest.mark.parametrize("d", [0, 2, 5])
def test_embedding_of_an_impossible_width(d):
    with pytest.raises(ValueError, match=f"even d of at least 4, not {d}"):
        timestep_embedding(torch.tensor([1]), d)


def test_blocks_start_as_the_identity():
    x, emb = randn(2, 8, 4, 4).float(), randn(2, 16).float()
    assert torch.equal(ResBlock(8, 8, 16, 0.5, 4)(x, emb), x)
    assert torch.equal(Attention(8, 4)(x), x)
    wider = ResBlock(8, 12, 16, 0.5, 4)
    assert torch.equal(wider(x, emb), wider.shortcut(x))


def normalised(x, layer):
    """Group normalisation by its definition."""
    groups = x.reshape(len(x), layer.num_groups, -1)
    mean, var = groups.mean(-1, True), groups.var(-1, correction=0, keepdim=True)
    z = ((groups - mean) / (var + 1e-6).sqrt()).view_as(x)
    return z * layer.weight[:, None, None] + layer.bias[:, None, None]


def silu(x):
    return x / (1 + (-x).exp())


@pytest.mark.parametrize("C_out", [8, 12])
def test_residual_block_is_its_formula(C_out):
    block = random(ResBlock(8, C_out, 16, 0.5, 4)).eval()
    x, emb = randn(2, 8, 5, 5), randn(2, 16, seed=1)
    h = block.conv1(silu(normalised(x, block.norm1)))
    h = h + (silu(emb) @ block.time.weight.T + block.time.bias)[:, :, None, None]
    h = block.conv2(silu(normalised(h, block.norm2)))
    torch.testing.assert_close(block(x, emb), block.shortcut(x) + h)


def test_dropout_acts_only_in_training():
    block, x, emb = random(ResBlock(8, 8, 16, 0.5, 4)), randn(2, 8, 5, 5), randn(2, 16)
    torch.manual_seed(0)
    assert not torch.equal(block(x, emb), block(x, emb))
    block.eval()
    assert torch.equal(block(x, emb), block(x, emb))


def test_attention_is_softmax_written_out():
    C, layer, x = 8, random(Attention(8, 4)), randn(2, 8, 3, 5)
    z = normalised(x, layer.norm).flatten(2).transpose(1, 2)  # (B, N, C)
    W, b = layer.qkv.weight[:, :, 0, 0], layer.qkv.bias
    q, k, v = (z @ W.T + b).split(C, dim=-1)
    scores = (q @ k.transpose(1, 2) / C**0.5).exp()
    h = scores / scores.sum(-1, keepdim=True) @ v
    h = h @ layer.out.weight[:, :, 0, 0].T + layer.out.bias
    expected = x + h.transpose(1, 2).reshape(x.shape)
    torch.testing.assert_close(layer(x), expected)


def test_resizing_halves_and_doubles():
    x = randn(2, 4, 6, 8)
    down, up = random(Downsample(4)), random(Upsample(4))
    assert down(x).shape == (2, 4, 3, 4) and up(x).shape == (2, 4, 12, 16)
    # output pixel (i, j) of a stride-2 convolution sees rows 2i to 2i + 2
    seen = (down.conv.weight * x[:1, :, 2:5, 4:7]).sum((1, 2, 3)) + down.conv.bias
    torch.testing.assert_close(down(x)[0, :, 1, 2], seen)
    big = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(up(x), up.conv(big))


def test_first_weights_are_glorots():
    torch.manual_seed(0)
    layer = conv(64, 128)
    bound = (6 / (9 * (64 + 128))) ** 0.5
    assert 0.99 * bound < layer.weight.abs().max().item() <= bound
    assert not layer.bias.any() and not conv(4, 4, gain=0).weight.any()
