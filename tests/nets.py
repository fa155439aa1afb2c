"""Small nets with weights that are nowhere zero, for tests that write out a formula."""

import torch

from helpers.networks import NETS

SMALL = {
    "unet": {
        "image_size": 8,
        "in_channels": 3,
        "channels": 8,
        "multipliers": (1, 2),
        "blocks": 1,
        "attention": (4,),
        "groups": 4,
    },
    "resnet": {"image_size": 15, "in_channels": 2, "channels": 6, "blocks": 1},
    "dit": {
        "image_size": 6,
        "in_channels": 3,
        "patch": 2,
        "width": 8,
        "depth": 2,
        "heads": 2,
        "ratio": 3,
    },
    "mlp": {"image_size": 4, "in_channels": 2, "width": 12, "depth": 2, "E": 8},
}


def randn(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def images(net, n, seed=0):
    """Noise in the size of the images of a net."""
    size, C = net.config["image_size"], net.config["in_channels"]
    return randn(n, C, size, size, seed=seed)


def random(net, scale=0.3):
    """The net in float64, not training, with weights that are nowhere zero."""
    for seed, p in enumerate(net.double().parameters()):
        p.data = scale * randn(*p.shape, seed=seed)
    return net.eval()


def small(kind, **changes):
    """A net of this kind, small, with random weights."""
    scale = 0.2 if kind.startswith("unet") else 0.3  # deeper
    return random(NETS[kind](**SMALL[kind] | changes), scale)


def silu(h):
    return h / (1 + (-h).exp())
