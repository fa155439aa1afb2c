"""The local net: exactly 0 outside of its receptive field, something at its edge."""

import pytest
import torch
import torch.nn.functional as F
from nets import SMALL, randn, silu, small

from helpers.layers import timestep_embedding
from helpers.resnet import PixelNorm
from helpers.sensitivity import row


@pytest.fixture(scope="module")
def net():
    return small("resnet")


@pytest.mark.parametrize("blocks", [0, 1, 2])
def test_the_receptive_field(blocks):
    net = small("resnet", blocks=blocks)
    reach = net.receptive_field // 2
    assert net.receptive_field == 2 * reach + 1 == 5 + 4 * blocks
    x, i, j = randn(2, 2, 15, 15), 7, 7

    def denoise(x, sigma):
        return net(x, 9)

    field = row(denoise, x, 1.0, (1, i, j)).abs().amax(dim=(0, 1))  # (15, 15)
    steps = torch.arange(15)
    far = torch.maximum((steps - i).abs()[:, None], (steps - j).abs())
    assert torch.equal(field != 0, far <= reach)
    corner = row(denoise, x, 1.0, (0, 0, 0)).abs().amax(dim=(0, 1))
    assert torch.equal(corner != 0, torch.maximum(steps[:, None], steps) <= reach)


def test_far_changes_do_not_change_an_answer_at_all(net):
    x = randn(1, 2, 15, 15)
    other = x.clone()
    other[..., 7:] += 5
    reach = net.receptive_field // 2
    same = (net(x, 9) == net(other, 9)).all(dim=1)[0].all(dim=0)
    assert same[: 7 - reach].all() and not same[7 - reach :].any()


def test_inside_it_moves_with_the_image(net):
    x, reach = randn(1, 2, 15, 15), net.receptive_field // 2
    moved = x.roll((1, 2), dims=(2, 3))
    inner = slice(reach + 2, -reach)
    expected = net(x, 9).roll((1, 2), dims=(2, 3))
    torch.testing.assert_close(
        net(moved, 9)[..., inner, inner], expected[..., inner, inner]
    )
    assert not torch.allclose(net(moved, 9), expected)  # the border is felt


def normalised(p, name, h):
    centred = h - h.mean(dim=1, keepdim=True)
    h = centred / (centred.square().mean(dim=1, keepdim=True) + 1e-5).sqrt()
    scale, shift = (p[f"{name}.{part}"].view(-1, 1, 1) for part in ("weight", "bias"))
    return h * scale + shift


def convolved(p, name, h):
    """3 x 3 with zeros around, as nine shifted products."""
    w, size = p[f"{name}.weight"], h.shape[-1]
    h = F.pad(h, (1, 1, 1, 1))
    parts = [
        torch.einsum("oc,bcij->boij", w[..., i, j], h[..., i : i + size, j : j + size])
        for i in range(3)
        for j in range(3)
    ]
    return sum(parts) + p[f"{name}.bias"].view(-1, 1, 1)


def test_the_formula_written_out(net):
    p, x, t = net.state_dict(), randn(2, 2, 15, 15), torch.tensor([1.0, 700.5])
    code = timestep_embedding(t - 1, SMALL["resnet"]["channels"])

    def linear(name, h):
        return h @ p[f"{name}.weight"].T + p[f"{name}.bias"]

    emb = silu(linear("time.out", silu(linear("time.wide", code))))
    h = convolved(p, "head", x)
    inner = convolved(p, "blocks.0.conv1", silu(normalised(p, "blocks.0.norm1", h)))
    inner = inner + linear("blocks.0.time", emb)[:, :, None, None]
    inner = silu(normalised(p, "blocks.0.norm2", inner))
    h = h + convolved(p, "blocks.0.conv2", inner)
    expected = convolved(p, "tail", silu(normalised(p, "norm", h)))
    torch.testing.assert_close(net(x, t), expected)


def test_the_norm_of_a_pixel_knows_no_other_pixel():
    norm, x = PixelNorm(6), randn(2, 6, 3, 3).float()
    answer = norm(x)
    assert answer.shape == x.shape
    torch.testing.assert_close(answer.mean(dim=1), torch.zeros(2, 3, 3))
    alone = norm(x[:, :, 1:2, 2:])
    torch.testing.assert_close(alone, answer[:, :, 1:2, 2:])
