"""The local net: exactly 0 outside of its receptive field, something at its edge."""

import pytest
import torch
import torch.nn.functional as F
from nets import randn, random, silu

from helpers.layers import timestep_embedding
from helpers.resnet import PixelNorm, ResNet
from helpers.sensitivity import row

SMALL = {"image_size": 15, "in_channels": 2, "channels": 6, "blocks": 1}


@pytest.fixture(scope="module")
def net():
    return random(ResNet(**SMALL))


@pytest.mark.parametrize("blocks", [0, 1, 2])
def test_the_receptive_field(blocks):
    net = random(ResNet(**{**SMALL, "blocks": blocks}))
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
    code = timestep_embedding(t - 1, SMALL["channels"])

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


def test_the_first_output_is_zero_and_later_every_parameter_learns():
    torch.manual_seed(0)
    net = ResNet(**SMALL)
    x, target = randn(4, 2, 15, 15).float(), randn(4, 2, 15, 15, seed=1).float()
    assert not net(x, 5).any()
    optimiser = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(4):
        optimiser.zero_grad()
        F.mse_loss(net(x, torch.tensor([1, 9, 99, 999])), target).backward()
        optimiser.step()
    assert not {name for name, p in net.named_parameters() if not p.grad.any()}


def test_config_builds_the_same_net_again(net):
    again = type(net)(**net.config).double()
    again.load_state_dict(net.state_dict())
    x = randn(1, 2, 15, 15)
    assert torch.equal(again(x, 3), net(x, 3))
    assert torch.equal(net(x, 3), net(x, torch.tensor([3])))


@pytest.mark.parametrize(
    "change", [{"channels": 7}, {"channels": 2}, {"blocks": -1}, {"image_size": 0}]
)
def test_what_cannot_be_built(change):
    with pytest.raises(ValueError, match=rf"not .*{next(iter(change.values()))}"):
        ResNet(**{**SMALL, **change})


def test_images_and_timesteps_of_another_net(net):
    with pytest.raises(ValueError, match=r"expected images \(B, 2, 15, 15\)"):
        net(randn(1, 3, 15, 15), 1)
    for t in (0, 1001, torch.tensor([1, 2, 3])):
        with pytest.raises(ValueError, match=r"one per image, in 1, \.\.\., 1000"):
            net(randn(2, 2, 15, 15), t)
