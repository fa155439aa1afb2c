"""The perceptron: its formula written out, and that it knows nothing of images."""

import pytest
import torch
from nets import SMALL, randn, silu, small

from helpers.layers import TimeEmbedding, timestep_embedding
from helpers.mlp import MLP


@pytest.fixture(scope="module")
def net():
    return small("mlp")


def linear(p, name, h):
    return h @ p[f"{name}.weight"].T + p[f"{name}.bias"]


def normalised(p, name, h):
    centred = h - h.mean()
    h = centred / (centred.square().mean() + 1e-5).sqrt()
    return h * p[f"{name}.weight"] + p[f"{name}.bias"]


def by_hand(p, x, t, depth):
    """One flat image, from the formulas in the docstrings."""
    code = timestep_embedding(torch.tensor([t - 1.0]), SMALL["mlp"]["E"])[0]
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


def test_the_time_embedding_takes_no_dtype_from_the_images():
    time = TimeEmbedding(8, 16)
    assert time(torch.tensor(3), randn(2, 1)).dtype == torch.float32
    assert time(torch.tensor(3), randn(5, 1)).shape == (5, 16)
