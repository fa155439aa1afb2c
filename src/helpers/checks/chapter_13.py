"""Checks of the exercises of chapter 13, local denoisers."""

from functools import cache

import numpy as np
import torch

from helpers import data, toy_faces
from helpers.checks import Property, close, given, numbers
from helpers.denoisers import Optimal
from helpers.masked import Masked
from helpers.masks import pixel_mask, window_mask
from helpers.metrics import mse
from helpers.patches import EquivariantLocalScore
from helpers.wiener import Wiener
from helpers.windows import LocalScore


@cache
def digits():
    """Digits and their classes, always in the same random order."""
    order = torch.randperm(1797, generator=torch.Generator().manual_seed(1))
    labels = torch.tensor(data.read("digits").labels)
    return data.load("digits")[order], labels[order]


def noise(like, seed=0):
    return torch.randn(like.shape, generator=torch.Generator().manual_seed(seed))


def exercise_1(two_answers):
    """two_answers(x, sigma): of both denoisers, two numbers each, for x = (a, b)."""
    whole, alone = two_answers((1.0, -1.0), 0.3)
    yield Property(
        "for (1, -1) and little noise only one of them leaves the line of both images",
        close(whole[0], whole[1]) and alone[0] * alone[1] < -0.9,
        ("Which distances are compared, for the image and for one pixel?",),
    )
    turned = two_answers((0.4, 1.0), 0.8), two_answers((1.0, 0.4), 0.8)
    yield Property(
        "if the pixels of x change places, so do those of both answers",
        all(close(a, b[::-1]) for a, b in zip(*turned)),
        ("Both pixels are treated alike.",),
    )
    yield Property(
        "both are what the library answers",
        all(
            close(answer, expected, rtol=1e-4, atol=1e-5)
            for x in ((1.0, -1.0), (0.7, 0.1), (-0.2, 1.4))
            for answer, expected in zip(two_answers(x, 0.9), asked(x, 0.9))
        ),
        ("The softmax has the squared distance over 2 sigma^2.",),
    )


def asked(x, sigma):
    images = torch.tensor([1.0, -1.0]).view(2, 1, 1, 1).expand(2, 1, 1, 2).contiguous()
    x = torch.tensor(x).view(1, 1, 1, 2)
    machines = Optimal(images), Masked(images, pixel_mask((1, 1, 2)))
    return [machine(x, sigma).flatten() for machine in machines]


def exercise_2(outside):
    """outside(denoise, train, x, sigma): how far an answer leaves its range, or 0."""
    train, x = digits()[0][:300], noise(digits()[0][:20])
    above = outside(lambda x, s: train.amax(0).expand_as(x) + 0.25, train, x, 1.0)
    below = outside(lambda x, s: train.amin(0).expand_as(x) - 0.5, train, x, 1.0)
    yield Property(
        "a denoiser that says a quarter more than the largest value has 0.25",
        close(above, 0.25, 1e-5),
        ("Each pixel has a range of its own.",),
    )
    yield Property(
        "one that says half less than the smallest has 0.5",
        close(below, 0.5, 1e-5),
        ("There are two ends to leave a range by.",),
    )
    yield Property(
        "one that always says 1 leaves the range of a pixel that is always black",
        close(outside(lambda x, s: 1 + 0 * x, train, x, 1.0), 2.0, 1e-5),
        ("The smallest value is that of this pixel, not that of all pixels.",),
    )
    grey = noise(x).sign() * 0.8  # each pixel has the range from -0.8 to 0.8
    yield Property(
        "a denoiser that stays well inside has 0",
        close(outside(lambda x, s: 0 * x, grey, x, 1.0), 0.0),
        ("Nothing is less than 0 outside.",),
    )
    yield Property(
        "local denoisers have 0 on pure noise, and the Wiener filter has not",
        close(outside(LocalScore(train, 3), train, x, 1.0), 0.0, atol=1e-5)
        and outside(Wiener.fit(train), train, x, 1.0) > 1e-3,
        ("The answer is asked for x, at this sigma.",),
    )


def exercise_3(curve):
    """curve(train, counts, k, clean, noisy, sigma): the errors, one for each count."""
    images = digits()[0]
    train, clean = images[:500], images[1500:1530]
    case = (clean, clean + 0.5 * noise(clean), 0.5)
    yield Property(
        "one training image is the answer to everything",
        close(curve(train, [1], 3, *case), [mse(train[:1], clean).mean()], 1e-4),
        ("The first images of the training set, as many as the count says.",),
    )
    whole = [mse(Optimal(train[:n])(*case[1:]), clean).mean() for n in (20, 500)]
    yield Property(
        "a window that always holds the whole image gives the perfect denoiser",
        close(curve(train, [20, 500], 15, *case), whole, 1e-3),
        ("The mean over all images and pixels.",),
    )
    yield Property(
        "with windows of 3 x 3 it is what a masked softmax gives",
        close(curve(train, [50, 200], 3, *case), masked(train, [50, 200], *case), 1e-3),
        ("The side of the window is k.",),
    )


def masked(train, counts, clean, noisy, sigma):
    """Errors of the formula with a 3 x 3 mask, written out."""
    M, errors = window_mask((1, 8, 8), 3).float(), []
    for y in (train[:n].flatten(1) for n in counts):
        squares = (noisy.flatten(1)[:, None] - y).square() @ M.T
        p = (-squares / (2 * sigma**2)).softmax(dim=1)
        errors.append(mse((p * y).sum(1).view_as(clean), clean).mean())
    return errors


def exercise_4(nearest_patch):
    """nearest_patch(x, train, k): index of the image, centre pixel, (B, H, W) each."""
    train = digits()[0][:40]
    owner, centre = nearest_patch(train[:5], train, 3)
    inner = (slice(None), slice(1, -1), slice(1, -1))
    yield Property(
        "both have one value for each pixel",
        tuple(owner.shape) == tuple(centre.shape) == (5, 8, 8),
        ("(B, H, W), without colours.",),
    )
    yield Property(
        "in the interior of a training image the centre is the pixel itself",
        close(centre[inner], train[:5, 0][inner]),
        ("Patches from inside of the images; the window of x has the same side.",),
    )
    moved = nearest_patch(train[:5].roll((2, 3), (2, 3)), train, 3)[1]
    yield Property(
        "if x is shifted around, so are the centres",
        close(moved, centre.roll((2, 3), (1, 2))),
        ("At the border the window continues on the other side.",),
    )
    x = digits()[0][100:105] + 0.2 * noise(train[:5])
    owner, centre = nearest_patch(x, train, 3)
    yield Property(
        "the centres are what ELS answers without noise, and the owners have them",
        close(centre, EquivariantLocalScore(train, 3)(x, 1e-3)[:, 0], atol=1e-5)
        and bool(
            (train[owner][..., 0, 1:-1, 1:-1] == centre[..., None, None])
            .flatten(3)
            .any(3)
            .all()
        ),
        ("Patches of one image follow each other: divide by their number.",),
    )


def exercise_5(harmful_order):
    """harmful_order(images, labels): a permutation of the training set, (N,)."""
    (images, labels), new = (d[:500] for d in digits()), digits()[0][1500:1560]
    order = torch.as_tensor(given(harmful_order(images, labels)))
    everything = order.shape == (500,) and close(order.sort().values, range(500))
    yield Property(
        "it is an order: each image once",
        bool(everything),
        ("Indices, from 0 to N - 1.",),
    )
    x, machine = new + 0.5 * noise(new), Masked(images, window_mask((1, 8, 8), 5))
    average = sum(Masked(y, machine.mask)(x, 0.5) for y in images[order].split(50)) / 10
    random = sum(Masked(y, machine.mask)(x, 0.5) for y in images.split(50)) / 10
    yield Property(
        "the average over ten batches errs by 30 % more than in a random order",
        bool(mse(average, new).mean() > 1.3 * mse(random, new).mean()),
        (
            "When is a batch without any good match?",
            "What do images that are alike have in common?",
        ),
    )


def exercise_6(eye_gap):
    """eye_gap(images): root mean square difference of the eyes, (B,)."""
    faces = data.to_unit(toy_faces.sample(30, 16, generator=np.random.default_rng(2)))
    left, right = (torch.tensor(eye) for eye in toy_faces.eyes(16))
    gaps = numbers(eye_gap(faces))
    yield Property(
        "it is 0 for each face of the training set",
        gaps.shape == (30,) and close(gaps, np.zeros(30), atol=1e-6),
        ("The right eye is the left one in the mirror.",),
    )
    brighter = faces + 0.3 * right
    yield Property(
        "a right eye that is brighter by 0.3 in all of its pixels has 0.3",
        close(eye_gap(brighter), np.full(30, 0.3), 1e-4),
        ("The mean is over the pixels of an eye, not over the image.",),
    )
    half = faces - 0.2 * left
    half[:, 0][:, left & (torch.arange(16) < 5)] += 0.5
    expected = (half - half.flip(-1))[:, 0, left].square().mean(1).sqrt()
    yield Property(
        "differences of both signs do not cancel, and nothing else counts",
        close(eye_gap(half), expected, 1e-4)
        and close(eye_gap(half + 0.4 * faces * ~(left | right)), expected, 1e-4),
        ("Square before the mean.", "toy_faces.eyes has the masks of both eyes."),
    )


def exercise_7(class_probabilities):
    """class_probabilities(x, sigma, images, labels): (B, 10)."""
    images, labels = (d[:600] for d in digits())
    x = images[:30] + 0.7 * noise(images[:30])
    p = class_probabilities(x, 0.7, images, labels)
    yield Property(
        "they are at least 0, and 1 together",
        tuple(p.shape) == (30, 10)
        and bool((p >= 0).all())
        and close(p.sum(1), np.ones(30), 1e-5),
        ("Each training image has a probability; each belongs to one class.",),
    )
    share = labels.bincount(minlength=10) / 600
    yield Property(
        "with very much noise they are the frequencies of the classes",
        close(class_probabilities(1e4 * x, 1e6, images, labels)[0], share, 1e-2),
        ("A class with more images has more probability.",),
    )
    weights = Optimal(images).weights(x, 0.7)
    yield Property(
        "they are what the weights of the perfect denoiser say, class by class",
        all(close(p[:, c], weights[:, labels == c].sum(1), 1e-4) for c in range(10)),
        ("Add the weights. The best image alone does not decide.",),
    )
