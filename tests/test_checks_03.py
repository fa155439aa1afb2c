"""Plausible wrong answers to the exercises of chapter 3 are refused."""

import pytest
import torch

from helpers import artifacts, data, networks, schedules
from helpers.checks import check
from helpers.forward import diffuse, gaussian_noise
from helpers.layers import ResBlock
from helpers.metrics import mse
from helpers.targets import to_sigma
from helpers.unet import UNet


def counted(C_in, C_out, E):
    return networks.parameters(ResBlock(C_in, C_out, E, dropout=0.0, groups=8))


WRONG_COUNTS = {
    "no bias": lambda a, b, E: counted(a, b, E) - 3 * b,
    "one norm": lambda a, b, E: counted(a, b, E) - 2 * a,
    "scales only": lambda a, b, E: counted(a, b, E) - a - b,
    "always a short cut": lambda a, b, E: counted(a, b, E) + (a == b) * (a * b + b),
    "no short cut": lambda a, b, E: counted(a, b, E) - (a != b) * (a * b + b),
    "the time twice": lambda a, b, E: counted(a, b, E) + E * b,
    "in and out": lambda a, b, E: counted(b, a, E),
}


@pytest.mark.parametrize("name", WRONG_COUNTS)
def test_1_count_the_weights(name):
    assert not check("3.1", WRONG_COUNTS[name])


def cost(widths):
    with torch.device("meta"):
        net = UNet(attention=widths).eval()
    return torch.tensor([networks.parameters(net), sum(networks.macs(net).values())])


WRONG_SHARES = {
    "the middle, too": lambda widths: 1 - cost(None) / cost(widths),
    "of the smaller net": lambda widths: cost(widths) / cost(()) - 1,
    "what is left": lambda widths: cost(()) / cost(widths),
    "numbers, not shares": lambda widths: cost(widths) - cost(()),
    "always at 16": lambda _: 1 - cost(()) / cost((16,)),
    "exchanged": lambda widths: (1 - cost(()) / cost(widths)).flip(0),
}


@pytest.mark.parametrize("name", WRONG_SHARES)
def test_2_what_attention_costs(name):
    assert not check("3.2", WRONG_SHARES[name])


def guessed(net, xt, of_image, of_net, schedule):
    x, sigma = to_sigma(xt, of_image, schedule)
    return x - sigma.float() * net(xt, of_net)


WRONG_GUESSES = {
    "told in the formula": lambda net, xt, t, told, s: guessed(net, xt, told, told, s),
    "exchanged": lambda net, xt, t, told, s: guessed(net, xt, told, t, s),
    "told the truth": lambda net, xt, t, told, s: guessed(net, xt, t, t, s),
    "clipped": lambda net, xt, t, told, s: guessed(net, xt, t, told, s).clamp(-1, 1),
    "dim": lambda net, xt, t, told, s: (
        guessed(net, xt, t, told, s) * s.alpha_bar[t].sqrt().float()
    ),
    "the noise": lambda net, xt, t, told, s: net(xt, told),
}


@pytest.mark.parametrize("name", WRONG_GUESSES)
def test_3_a_wrong_clock(name):
    assert not check("3.3", WRONG_GUESSES[name])


@pytest.fixture(scope="module")
def errors():
    """errors(t, width, clip): of the clothes, without the skips of this width."""
    linear, net = schedules.linear(), networks.load_net("fashion_mnist")
    drawn = artifacts.load("results/samples_fashion_mnist.safetensors")["images"]
    clothes = data.to_unit(drawn.permute(0, 2, 3, 1).numpy())
    eps = gaussian_noise(torch.Generator().manual_seed(0))(clothes)

    def error(t, width, clip=True):
        seen = diffuse(clothes, t, linear, eps)
        maps, emb = net.encode(seen, t)
        kept = [m * (m.shape[-1] != width) for m in maps[:-1]] + maps[-1:]
        x, sigma = to_sigma(seen, t, linear)
        found = x - sigma.float() * net.decode(kept, emb)
        return mse(found.clamp(-1, 1) if clip else found, clothes).mean().item()

    return error


WRONG_HARMS = {
    "upside down": lambda e, t: e(t, None) / e(t, 28),
    "the difference": lambda e, t: e(t, 28) - e(t, None),
    "roots": lambda e, t: (e(t, 28) / e(t, None)) ** 0.5,
    "other skips": lambda e, t: e(t, 14) / e(t, None),
    "no clip": lambda e, t: e(t, 28, clip=False) / e(t, None, clip=False),
    "always t = 200": lambda e, t: e(200, 28) / e(200, None),
}


@pytest.mark.parametrize("name", WRONG_HARMS)
def test_4_skips_at_other_times(name, errors):
    assert not check("3.4", lambda t: WRONG_HARMS[name](errors, t))
    assert check("3.4", lambda t: errors(t, 28) / errors(t, None))


def rows_of(denoise, x, pixel, sigma):
    x = x.detach().requires_grad_()
    return torch.autograd.grad(denoise(x, sigma)[:, 0, *pixel].sum(), x)[0][:, 0]


def squares(rows):
    return rows.square().sum()


WRONG_PARTS = {
    "of the mean": lambda r: squares(r.mean(0)) / squares(r.mean(0, True).expand_as(r)),
    "what is shared": lambda r: 1 - squares(r - r.mean(0)) / squares(r),
    "not a share": lambda r: squares(r - r.mean(0)),
    "over the mean": lambda r: squares(r - r.mean(0)) / (len(r) * squares(r.mean(0))),
    "no squares": lambda r: (r - r.mean(0)).abs().sum() / r.abs().sum(),
    "mean over pixels": lambda r: (
        squares(r - r.mean((1, 2), keepdim=True)) / squares(r)
    ),
}


@pytest.mark.parametrize("name", WRONG_PARTS)
def test_5_one_image_at_a_time(name):
    assert not check("3.5", lambda *of: WRONG_PARTS[name](rows_of(*of)))


def test_5_the_guess_itself_is_no_row():
    def values(denoise, x, pixel, sigma):
        found = denoise(x, sigma)[:, 0]
        return (found - found.mean(0)).square().sum() / found.square().sum()

    assert not check("3.5", values)
