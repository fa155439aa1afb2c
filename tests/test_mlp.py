"""The perceptron: its formula written out, and that it knows nothing of images."""

import pytest
import torch
import torch.nn.functional as F
from nets import randn, random, silu

from helpers.layers import TimeEmbedding, timestep_embedding
from helpers.mlp import MLP

SMALL = {"image_size": 4, "in_channels": 2, "width": 12, "depth": 2, "E": 8}


@pytest.fixture(scope="module")
def net():
    return random(MLP(**SMALL))


def linear(p, name, h):
    return h @ p[f"{name}.weight"].T + p[f"{name}.bias"]


def normalised(p, name, h):
    centred = h - h.mean()
    h = centred / (centred.square().mean() + 1e-5).sqrt()
    return h * p[f"{name}.weight"] + p[f"{name}.bias"]


def by_hand(p, x, t, depth):
    """One flat image, from the formulas in the docstrings."""
    code = timestep_embedding(torch.tensor([t - 1.0]), SMALL["E"])[0]
    emb = silu(linear(p, "time.out", silu(linear(p, "time.wide", code))))
    h = linear(p, "head", x)
    for k in range(depth):
        at = f"layers.{k}"
        inner = linear(p, f"{at}.wide", silu(normalised(p, f"{at}.norm", h)))
        inner = inner + linear(p, f"{at}.time", emb)
        h = h + linear(p, f"{at}.out", silu(inner))
    out = linear(p, "tail", silu(normalised(p, "norm", h)))
    return linear(p, "scale", emb) * x + out


def test_the_formula_one_image_at_a_time(net):
    x, t = randn(3, 2, 4, 4), torch.tensor([1.0, 40.5, 1000.0])
    p = net.state_dict()
    expected = [by_hand(p, v.flatten(), s.item(), 2) for v, s in zip(x, t)]
    torch.testing.assert_close(net(x, t).flatten(1), torch.stack(expected))


def test_pixels_can_be_renamed(net):
    order = torch.randperm(32, generator=torch.Generator().manual_seed(0))
    other = MLP(**net.config).double()
    weights = {k: v.clone() for k, v in net.state_dict().items()}
    weights["head.weight"] = weights["head.weight"][:, order]
    for name in ("tail.weight", "tail.bias"):
        weights[name] = weights[name][order]
    other.load_state_dict(weights)
    x = randn(2, 2, 4, 4)
    shuffled = x.flatten(1)[:, order].view(x.shape)
    expected = net(x, 9).flatten(1)[:, order]
    torch.testing.assert_close(other(shuffled, 9).flatten(1), expected)


def test_every_output_sees_every_input(net):
    x = randn(1, 2, 4, 4)
    J = torch.autograd.functional.jacobian(lambda v: net(v, 9), x)
    assert bool((J != 0).all())


def test_the_first_output_is_zero_and_later_every_parameter_learns():
    torch.manual_seed(0)
    net = MLP(**SMALL)
    x, target = randn(4, 2, 4, 4).float(), randn(4, 2, 4, 4, seed=1).float()
    assert not net(x, 5).any()
    optimiser = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(4):
        optimiser.zero_grad()
        loss = F.mse_loss(net(x, torch.tensor([1, 9, 99, 999])), target)
        loss.backward()
        optimiser.step()
    assert not {name for name, p in net.named_parameters() if not p.grad.any()}


def test_config_builds_the_same_net_again(net):
    again = type(net)(**net.config).double()
    again.load_state_dict(net.state_dict())
    x = randn(2, 2, 4, 4)
    assert torch.equal(again(x, 3), net(x, 3))


def test_one_t_is_a_vector_of_it(net):
    x = randn(2, 2, 4, 4)
    assert torch.equal(net(x, 40), net(x, torch.tensor([40, 40])))
    assert not torch.allclose(net(x, 40), net(x, 40.5))


def test_the_time_embedding_takes_no_dtype_from_the_images():
    time = TimeEmbedding(8, 16)
    assert time(torch.tensor(3), randn(2, 1)).dtype == torch.float32
    assert time(torch.tensor(3), randn(5, 1)).shape == (5, 16)


@pytest.mark.parametrize(
    "change", [{"width": 7}, {"width": 2}, {"depth": -1}, {"image_size": 0}]
)
def test_what_cannot_be_built(change):
    with pytest.raises(ValueError, match=rf"not .*{next(iter(change.values()))}"):
        MLP(**{**SMALL, **change})


def test_images_and_timesteps_of_another_net(net):
    with pytest.raises(ValueError, match=r"expected images \(B, 2, 4, 4\)"):
        net(randn(1, 2, 5, 4), 1)
    for t in (0, 1001, torch.tensor([1, 2, 3])):
        with pytest.raises(ValueError, match=r"one per image, in 1, \.\.\., 1000"):
            net(randn(2, 2, 4, 4), t)
