"""Checks of the exercises of chapter 3, the U-Net."""

from functools import cache

import torch

from helpers import artifacts, data, networks, schedules
from helpers.checks import Property, close
from helpers.forward import diffuse, gaussian_noise
from helpers.layers import ResBlock
from helpers.metrics import mse
from helpers.targets import to_sigma
from helpers.unet import UNet


def exercise_1(weights):
    """weights(C_in, C_out, E): those of a residual block; E tell the time."""
    yield Property(
        "each further number of the time costs one weight for each channel out",
        close(weights(32, 64, 300) - weights(32, 64, 200), 100 * 64),
        ("A linear layer takes the E numbers to C_out channels.",),
    )
    yield Property(
        "it is right for as many channels out as in",
        all(
            close(weights(*case), counted(*case)) for case in ((32, 32, 64), (8, 8, 4))
        ),
        (
            "Each convolution and the linear layer have a bias for each channel out.",
            "A normalisation has two numbers for each channel, a scale and a shift.",
            "The two normalisations need not have the same number of channels.",
        ),
    )
    yield Property(
        "it is right if the number of channels changes",
        all(
            close(weights(*case), counted(*case)) for case in ((32, 64, 64), (64, 8, 4))
        ),
        ("What does the short cut do then?",),
    )


def counted(C_in, C_out, E):
    return networks.parameters(ResBlock(C_in, C_out, E, dropout=0.0, groups=8))


def exercise_2(share):
    """share(widths): of the weights, and of the multiplications, that attention has."""
    weights, macs = share((16,))
    yield Property(
        "the middle keeps its attention",
        not close(weights, gone(6, 256, 16)[0], rtol=0.02),
        ("Which value of `attention` means nowhere, which means only in the middle?",),
    )
    yield Property(
        "at 16 pixels both are what the formulas of the chapter give",
        close((weights, macs), gone(5, 256, 16), rtol=1e-3),
        (
            "How many blocks has the decoder at a level, how many the encoder?",
            "They are shares of the net with attention.",
        ),
    )
    yield Property(
        "so they are at 32 pixels",
        close(share((32,)), gone(5, 128, 32), rtol=1e-3),
        ("Did you use `widths`?",),
    )


@cache
def plain():
    """Weights and multiplications of DDPM's net with attention in the middle only."""
    with torch.device("meta"):
        net = UNet(attention=()).eval()
    return networks.parameters(net), sum(networks.macs(net).values())


def gone(layers, C, width):
    """Shares of this many attention layers, by hand."""
    weights, macs = plain()
    N, four = width**2, layers * 4 * C**2
    extra = four + 6 * layers * C, four * N + 2 * layers * N**2 * C
    return extra[0] / (weights + extra[0]), extra[1] / (macs + extra[1])


def exercise_3(guess):
    """guess(net, xt, t, told, schedule): of x_0, not clipped, if told a wrong time."""
    linear = schedules.linear()
    x0, eps = torch.randn(2, 4, 1, 5, 5, generator=torch.Generator().manual_seed(0))
    xt, sigma = diffuse(x0, 300, linear, eps), linear.sigma[300].float()
    yield Property(
        "a net that knows the noise gives the clean image, whatever it is told",
        all(
            close(guess(lambda *_: eps, xt, 300, s, linear), x0, 1e-4, 1e-5)
            for s in TOLD
        ),
        ("Only the net is told a wrong time. The image has the right one.",),
    )
    yield Property(
        "the net hears the wrong time",
        close(guess(loud(eps), xt, 300, 600, linear), x0 - sigma * eps, 1e-4, 1e-5),
        ("Both t and told have a place in the formula.",),
    )
    yield Property(
        "a net that hears no noise gives x_t at full contrast",
        close(guess(still, xt, 300, 100, linear), to_sigma(xt, 300, linear)[0], 1e-4),
        ("Do not clip.",),
    )


TOLD = (100, 300, 600)


def loud(eps):
    """A net whose answer grows with the time that it is told."""
    return lambda xt, t: eps * float(torch.as_tensor(t).float().mean()) / 300


def still(xt, t):
    return torch.zeros_like(xt)


def exercise_4(harm):
    """harm(t): error without the skips of 28 pixels, over that with all."""
    yield Property(
        "it is above 1",
        all(harm(t) > 1 for t in (20, 700)),
        ("Which of the two errors stands above the line?",),
    )
    for t in (200, 20, 700):
        yield Property(
            f"at t = {t} it is what other noise gives, to 20 %",
            close(harm(t), measured(t), rtol=0.2),
            (
                "The error is the mean square of the difference from the clean images.",
                "Both guesses are clipped to [-1, 1], and see the same noisy images.",
            ),
        )


@cache
def measured(t):
    """The harm with noise of its own."""
    linear, net = schedules.linear(), networks.load_net("fashion_mnist")
    drawn = artifacts.load("results/samples_fashion_mnist.safetensors")["images"]
    x0 = data.to_unit(drawn.permute(0, 2, 3, 1).numpy())
    noise = gaussian_noise(torch.Generator().manual_seed(34))
    xt = diffuse(x0, t, linear, noise(x0))
    x, sigma = to_sigma(xt, t, linear)
    maps, emb = net.encode(xt, t)
    cut = [m * (m.shape[-1] < 28) for m in maps[:-1]] + maps[-1:]
    guesses = (x - sigma.float() * net.decode(m, emb) for m in (maps, cut))
    whole, less = (mse(guess.clamp(-1, 1), x0).mean().item() for guess in guesses)
    return less / whole


def exercise_5(apart):
    """apart(denoise, x, pixel, sigma): share of the rows that is not in their mean."""
    random = torch.Generator().manual_seed(0)
    x, pixel = torch.randn(64, 1, 6, 6, generator=random), (2, 3)
    weight = torch.randn(1, 1, 3, 3, generator=random)
    own = x[:, 0, *pixel]
    cases = {
        "of a linear denoiser all rows are the same, and the share is 0": (
            lambda x, s: torch.nn.functional.conv2d(x, weight, padding=1),
            0.0,
        ),
        "if the slope is 1 for some images and 0 for the others, it is that of the 0": (
            lambda x, s: x.clamp_min(0),
            (own <= 0).double().mean(),
        ),
        "for the square of a pixel it is one minus its squared mean over mean square": (
            lambda x, s: x**2,
            1 - own.double().mean() ** 2 / own.double().square().mean(),
        ),
        "a denoiser that is three times as strong has the same share": (
            lambda x, s: 3 * x.clamp_min(0),
            (own <= 0).double().mean(),
        ),
    }
    for claim, (denoise, expected) in cases.items():
        yield Property(
            claim,
            close(apart(denoise, x, pixel, 0.5), expected, 1e-3, 1e-5),
            (
                "Of each image one row: the derivative of its own guess at the pixel.",
                "Squares of the rows less their mean, over squares of the rows.",
            ),
        )
