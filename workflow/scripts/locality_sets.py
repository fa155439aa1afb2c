"""The image sets of train_locality.py: their sizes, splits and measured pixels."""

import numpy as np
from torch.nn.functional import avg_pool2d

from helpers import data, dead_leaves, toy_faces

SIDE = {"fashion_mnist": 28}  # at full size; all others 32
DRAWN = {"dead_leaves": dead_leaves.sample, "toy_faces": toy_faces.sample}
WITHOUT_TEST = {"celeba32": 1000, "afhq_cat32": 500}  # last images, kept from training
SETS = ("cifar10", "fashion_mnist", *WITHOUT_TEST, *DRAWN)
IMAGES, TESTS = 20_000, 1000  # drawn images; the most held-out images

# (row, column) of the left eye in units of the side
EYE = {"toy_faces": (0.46, 0.34), "celeba32": (0.41, 0.34)}
EYE_ELSEWHERE = (0.53, 0.34)  # that of the cats


def drawn(name, n, side, seed):
    """Images of a law, at the size they are trained on."""
    images = DRAWN[name](n, side, generator=np.random.default_rng(seed))
    return data.to_unit(images)


def split(name, device):
    """Training and held-out images at the size for this device."""
    shrink = 2 if device == "cpu" else 1
    if name in DRAWN:
        side = SIDE.get(name, 32) // shrink
        return drawn(name, IMAGES, side, 0), drawn(name, TESTS, side, 1)
    images = avg_pool2d(data.load(name), shrink)
    if name in WITHOUT_TEST:
        kept = WITHOUT_TEST[name]
        return images[:-kept], images[-kept:]
    return images, avg_pool2d(data.load(name, "test", TESTS), shrink)


def stored(name):
    """The stored sets that a run reads."""
    test = name not in WITHOUT_TEST
    return [] if name in DRAWN else [f"{name}-train"] + [f"{name}-test"] * test


def places(name, side):
    """The pixels by name: centre, left eye or the same place, border, corner."""
    eye = tuple(int(share * side) for share in EYE.get(name, EYE_ELSEWHERE))
    middle = side // 2
    return {
        "centre": (middle, middle),
        "eye": eye,
        "border": (middle, 0),
        "corner": (0, 0),
    }
