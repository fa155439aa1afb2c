"""The transformer: its formulas written out; patches differ by their position alone."""

import math

import pytest
import torch
from nets import randn, silu, small

from helpers.dit import Block, DiT, positions, to_images, to_tokens
from helpers.layers import timestep_embedding


@pytest.fixture(scope="module")
def net():
    return small("dit")


def test_tokens_are_the_patches_row_by_row():
    x = torch.arange(2 * 3 * 4 * 4.0).view(2, 3, 4, 4)
    tokens = to_tokens(x, 2)
    assert tokens.shape == (2, 4, 12)
    assert torch.equal(tokens[1, 1].view(3, 2, 2), x[1, :, :2, 2:])
    assert torch.equal(tokens[1, 2].view(3, 2, 2), x[1, :, 2:, :2])
    assert torch.equal(to_images(tokens, 2), x)


def test_positions_by_their_formula():
    code, d = positions(3, 16), 16
    assert code.shape == (9, d) and len(code.unique(dim=0)) == 9
    for i, j in [(0, 0), (1, 2), (2, 1)]:
        for k in range(d // 4):
            f = 10000 ** (-k / (d // 4 - 1))
            found = code[3 * i + j, [k, k + 4, k + 8, k + 12]].tolist()
            wanted = [
                math.sin(i * f),
                math.cos(i * f),
                math.sin(j * f),
                math.cos(j * f),
            ]
            assert found == pytest.approx(wanted, abs=1e-15)


def gelu(h):
    inner = math.sqrt(2 / math.pi) * (h + 0.044715 * h**3)
    return h / 2 * (1 + inner.tanh())


def by_hand(p, x, t, depth, heads, side, patch):
    """One image; attention one pair of tokens at a time, in a float64 loop."""

    def linear(name, h):
        return h @ p[f"{name}.weight"].T + p[f"{name}.bias"]

    def normalised(h, shift, scale):
        centred = h - h.mean(dim=-1, keepdim=True)
        h = centred / (centred.square().mean(dim=-1, keepdim=True) + 1e-6).sqrt()
        return h * (1 + scale) + shift

    def attention(name, h):
        q, k, v = linear(f"{name}.qkv", h).chunk(3, dim=-1)
        parts = []
        for own in torch.arange(h.shape[-1]).chunk(heads):
            answers = []
            for query in q[:, own]:
                score = torch.stack([query @ key for key in k[:, own]])
                w = (score / math.sqrt(len(own))).exp()
                answers.append((w / w.sum()) @ v[:, own])
            parts.append(torch.stack(answers))
        return linear(f"{name}.out", torch.cat(parts, dim=1))

    d = p["head.weight"].shape[0]
    code = timestep_embedding(torch.tensor([t - 1.0]), d)[0]
    emb = silu(linear("time.out", silu(linear("time.wide", code))))
    corners = [(i, j) for i in range(0, side, patch) for j in range(0, side, patch)]
    tokens = [x[:, i : i + patch, j : j + patch].flatten() for i, j in corners]
    h = linear("head", torch.stack(tokens)) + positions(side // patch, d)
    for k in range(depth):
        m = linear(f"blocks.{k}.time", emb).view(6, d)
        h = h + m[2] * attention(f"blocks.{k}", normalised(h, m[0], m[1]))
        inner = gelu(linear(f"blocks.{k}.wide", normalised(h, m[3], m[4])))
        h = h + m[5] * linear(f"blocks.{k}.narrow", inner)
    shift, scale = linear("last", emb).view(2, d)
    out, image = linear("tail", normalised(h, shift, scale)), torch.empty_like(x)
    for token, (i, j) in zip(out, corners):
        image[:, i : i + patch, j : j + patch] = token.view(-1, patch, patch)
    return image


def test_the_formula_one_image_at_a_time(net):
    x, t, p = randn(2, 3, 6, 6), torch.tensor([1.0, 700.5]), net.state_dict()
    expected = [by_hand(p, v, s.item(), 2, 2, 6, 2) for v, s in zip(x, t)]
    # positions are float32 in the net
    torch.testing.assert_close(net(x, t), torch.stack(expected), rtol=1e-5, atol=1e-6)


def test_the_positions_are_no_weights(net):
    assert "places" not in net.state_dict()
    assert "places" not in dict(net.named_parameters())
    expected = positions(3, 8).float().double()
    assert torch.equal(net.places, expected)


def test_all_it_knows_of_the_places_is_their_code(net):
    order = torch.randperm(9, generator=torch.Generator().manual_seed(3))
    x = randn(2, 3, 6, 6)
    shuffled = to_images(to_tokens(x, 2)[:, order], 2)
    expected = to_tokens(net(x, 9), 2)[:, order]
    assert not torch.allclose(to_tokens(net(shuffled, 9), 2), expected)
    other = DiT(**net.config).double()
    other.load_state_dict(net.state_dict())
    other.places = net.places[order]
    torch.testing.assert_close(to_tokens(other(shuffled, 9), 2), expected)


def test_every_output_sees_every_input(net):
    J = torch.autograd.functional.jacobian(lambda v: net(v, 9), randn(1, 3, 6, 6))
    assert bool((J != 0).all())


def test_a_block_starts_as_the_identity():
    h, emb = randn(2, 9, 8).float(), randn(2, 8).float()
    assert torch.equal(Block(8, 2, 4)(h, emb), h)


def test_the_size_of_the_published_small_net():
    """DiT-S/2 of Peebles & Xie on latents 32 x 32 x 4: 33 million parameters.

    Theirs has classes, predicts variances and embeds the time from 256 numbers.
    """
    with torch.device("meta"):
        net = DiT(32, 4, patch=2, width=384, depth=12, heads=6)
    d, n, block = 384, 16, 18 * 384**2 + (6 + 3 + 1 + 4 + 1) * 384
    expected = 12 * block + 2 * (d * d + d) + (n * d + d) + 2 * (d * d + d) + d * n + n
    found = sum(p.numel() for p in net.parameters())
    assert found == expected and round(found / 1e6) == 33
