"""The image sets of train_edited.py: what is done to them, and what is planted where.

`edited` gives the images, the held-out images and the exact Wiener filter: that of the
moments of the unedited training images (of the law, for toy faces) and the closed form
of `helpers.planted`. STRENGTHS has the strengths of each edit.
"""

from typing import NamedTuple

import numpy as np
import torch
from locality_sets import EYE, IMAGES, TESTS, split
from torch import Tensor

from helpers import data, planted, responses, toy_faces
from helpers.wiener import Wiener

STRENGTHS = {
    "w_cifar10": (0.0, 0.04, 0.08, 0.12, 0.16, 0.2),
    "mirror_cifar10": (0.0, 0.1, 0.2, 0.4, 0.7, 1.0),
    "eyes": (0.0, 0.2, 0.4, 0.6, 0.8, 1.0),
    "whitened_celeba32": (0.0, 0.5, 1.0),
    "shifted_celeba32": (0.0, 0.25, 1.0),
    "scrambled_cifar10": (0.0, 1.0),
}
ROOM = 3**0.5 * STRENGTHS["w_cifar10"][-1]
LEFT = {"upper": (0.3, 0.25), "middle": (0.5, 0.15), "lower": (0.7, 0.25)}
FACE = {"eye": EYE["celeba32"], "cheek": (0.62, 0.3)}
MIRROR = 3  # side of the window about the mirror pixel
FIVE = {"upper left": (0.25, 0.25), "upper right": (0.25, 0.7), "middle": (0.5, 0.5)}
FIVE |= {"lower left": (0.7, 0.25), "lower right": (0.7, 0.7)}
ORDER = 6  # the seed of the permutation


class Edited(NamedTuple):
    """An edited set with what is planted where."""

    images: Tensor
    held_out: Tensor
    wiener: Wiener  # of the exact moments
    cov: Tensor
    outputs: dict[str, tuple[int, int]]
    places: Tensor  # bool (outputs, H, W)

    def controls(self):
        pairs = zip(self.places, self.outputs.values())
        return torch.stack([responses.controls(where, place) for where, place in pairs])


def edited(edit, strength, device):
    """The images of an edit, and the exact moments of the training images."""
    if edit == "eyes":
        images, held_out, moments = faces(strength, device)
    else:
        images, held_out = split(edit.partition("_")[2], device)
        how = {"w": with_w, "mirror": mirrored, "whitened": whitened}
        how |= {"shifted": shifted, "scrambled": scrambled}
        how = how[edit.partition("_")[0]]
        base = Wiener.fit(images)
        cov = base.apply(lambda lam: lam, torch.eye(len(base.mu)).double())
        images, held_out, moments = how(images, held_out, base, cov, strength)
    wiener = Wiener(*moments, images.shape[1:])
    return Edited(images, held_out, wiener, moments[1], *where(edit, images, moments))


def faces(strength, device):
    """Toy faces whose eyes agree more or less, and the moments of the law."""
    side = 16 if device == "cpu" else 32
    images, held_out = (
        data.to_unit(
            toy_faces.sample(
                n,
                side,
                eye_correlation=strength,
                generator=np.random.default_rng(seed),
            )
        )
        for n, seed in ((IMAGES, 0), (TESTS, 1))
    )
    moments = toy_faces.moments(side, eye_correlation=strength)
    return images, held_out, tuple(map(torch.from_numpy, moments))


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def with_w(images, held_out, base, cov, s):
    pattern = planted.letter_w(images.shape[-1])
    moments = planted.plant_moments(base.mu, cov, pattern, s, ROOM, images.shape[1])
    both = [
        planted.plant(x, pattern, s, planted.amplitudes(len(x), seeded(seed)), ROOM)
        for x, seed in ((images, 4), (held_out, 5))
    ]
    return *both, moments


def mirrored(images, held_out, base, cov, g):
    both = [planted.mirror(x, g) for x in (images, held_out)]
    return *both, planted.mirror_moments(base.mu, cov, images.shape[1:], g)


def whitened(images, held_out, base, _, w):
    scale = planted.whitening_scale(torch.cat([images, held_out]), base, w)
    both = [planted.whiten(x, base, w, scale) for x in (images, held_out)]
    return *both, planted.whitened_moments(base, w, scale)


def shifted(images, held_out, base, cov, share):
    reach = max(1, round(share * images.shape[-1]))
    both = [
        planted.shift(x, reach, seeded(seed))
        for x, seed in ((images, 4), (held_out, 5))
    ]
    return *both, planted.shift_moments(base.mu, cov, images.shape[1:], reach)


def scrambled(images, held_out, base, cov, share):
    order = planted.permutation(images.shape[-1], share, seeded(ORDER))
    both = [planted.scramble(x, order) for x in (images, held_out)]
    return *both, planted.scrambled_moments(base.mu, cov, images.shape[1:], order)


def where(edit, images, moments):
    """Outputs by name, and the planted places of each, bool (outputs, H, W)."""
    side = images.shape[-1]
    if edit == "w_cifar10":
        names = ("top left", "bottom left", "middle", "bottom right", "top right")
        outputs = dict(zip(names, planted.corners_w(side)))
        places = planted.letter_w(side).repeat(len(outputs), 1, 1)
    elif edit == "eyes":
        outputs, places = in_the_eye(side, moments[1])
    elif edit == "scrambled_cifar10":
        outputs = {k: tuple(int(v * side) for v in spot) for k, spot in FIVE.items()}
        places = torch.stack([neighbours(side, place) for place in outputs.values()])
    else:
        spots = LEFT if edit == "mirror_cifar10" else FACE
        outputs = {k: tuple(int(v * side) for v in spot) for k, spot in spots.items()}
        places = torch.zeros(len(outputs), side, side, dtype=torch.bool)
        for mask, (i, j) in zip(places, outputs.values()):
            r, k = MIRROR // 2, side - 1 - j
            mask[i - r : i + r + 1, k - r : k + r + 1] = True
    for mask, place in zip(places, outputs.values()):
        mask[place] = False
    return outputs, places


def in_the_eye(side, cov, n=3):
    """The pixels of the left eye that vary most; planted is the right eye."""
    left, right = (torch.from_numpy(eye) for eye in toy_faces.eyes(side))
    variance = torch.where(left, cov.diagonal().view(side, side), 0).flatten()
    best = [divmod(int(k), side) for k in variance.topk(n).indices]
    return {f"eye {k + 1}": place for k, place in enumerate(best)}, right.repeat(
        n, 1, 1
    )


def neighbours(side, place):
    """Where the pixels about the one that comes to a place go, bool (H, W)."""
    order = planted.permutation(side, 1.0, seeded(ORDER))
    rows, columns = order // side, order % side
    i, j = divmod(int(order[place[0] * side + place[1]]), side)
    near = ((rows - i).abs() <= 1) & ((columns - j).abs() <= 1)
    return near.view(side, side)
