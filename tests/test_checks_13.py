"""Chapter 13: plausible wrong answers are refused."""

import numpy as np
import pytest
import torch
from torch.nn.functional import pad, unfold

from helpers import toy_faces
from helpers.checks import check
from helpers.denoisers import Optimal
from helpers.metrics import mse
from helpers.windows import LocalScore


def two(x, sigma, factor=1.0, power=2, swap=False, same=False):
    both = np.tanh(factor * sum(x) / sigma**power)
    alone = [np.tanh(factor * value / sigma**power) for value in x]
    pair = [both, both], [both, both] if same else alone
    return pair[::-1] if swap else pair


TWO = {
    "factor 2": {"factor": 2.0},
    "half": {"factor": 0.5},
    "standard deviation": {"power": 1},
    "swapped": {"swap": True},
    "one denoiser": {"same": True},
}


@pytest.mark.parametrize("name", TWO)
def test_two_images(name):
    assert not check("13.1", lambda *case: two(*case, **TWO[name]))


def outside(denoise, train, x, sigma, ends=2, each=0, total=False, positive=True):
    answer, axes = denoise(x, sigma), (0, 1, 2, 3) if each else 0
    below, above = train.amin(axes) - answer, answer - train.amax(axes)
    beyond = torch.maximum(below, above) if ends == 2 else above
    beyond = beyond.clamp_min(0) if positive else beyond
    return float(beyond.mean() if total else beyond.max())


OUTSIDE = {
    "above only": {"ends": 1},
    "one range for all pixels": {"each": 1},
    "mean": {"total": True},
    "below 0": {"positive": False},
}


@pytest.mark.parametrize("name", OUTSIDE)
def test_outside(name):
    assert not check("13.2", lambda *case: outside(*case, **OUTSIDE[name]))


def curve(train, counts, k, clean, noisy, sigma, wider=0, root=False, end=False, f=1):
    parts = [train[-n:] if end else train[:n] for n in counts]
    answers = [LocalScore(y, min(k + wider, 15))(noisy, f * sigma) for y in parts]
    errors = [float(mse(answer, clean).mean()) for answer in answers]
    return [e**0.5 if root else e for e in errors]


CURVES = {
    "root": {"root": True},
    "the last images": {"end": True},
    "a wider window": {"wider": 2},
    "half of the noise": {"f": 0.5},
}


@pytest.mark.parametrize("name", CURVES)
def test_curve(name):
    assert not check("13.3", lambda *case: curve(*case, **CURVES[name]))
    assert not check("13.3", lambda t, c, k, clean, x, s: [0.1] * len(c))


def patch(x, train, k, border="circular", divide=True, corner=False):
    r, (H, W) = k // 2, x.shape[2:]
    windows = unfold(pad(x, (r, r, r, r), mode=border), k).transpose(1, 2)
    patches = unfold(train, k).transpose(1, 2)
    flat = patches.flatten(0, 1)
    index = torch.cdist(windows.flatten(0, 1), flat).argmin(dim=1)
    owner = index // patches.shape[1] if divide else index % len(train)
    centre = flat[index, 0 if corner else k * k // 2]
    return owner.view(-1, H, W), centre.view(-1, H, W)


PATCHES = {
    "zeros about the image": {"border": "constant"},
    "owner": {"divide": False},
    "corner of the patch": {"corner": True},
}


@pytest.mark.parametrize("name", PATCHES)
def test_patches(name):
    assert not check("13.4", lambda *case: patch(*case, **PATCHES[name]))
    assert not check("13.4", lambda *case: [v.flatten(1) for v in patch(*case)])


ORDERS = {
    "as it comes": lambda images, labels: torch.arange(len(images)),
    "backwards": lambda images, labels: torch.arange(len(images)).flip(0),
    "all classes in each": lambda images, labels: (
        labels.argsort(stable=True).view(10, -1).T.flatten()
    ),
    "the labels": lambda images, labels: labels,
    "from 1": lambda images, labels: labels.argsort() + 1,
    "one class": lambda images, labels: (labels == 3).nonzero()[:, 0],
}


@pytest.mark.parametrize("name", ORDERS)
def test_orders(name):
    assert not check("13.5", ORDERS[name])


def gap(images, mask="left", flip=True, kind="rms"):
    masks = dict(zip(("left", "right"), map(torch.tensor, toy_faces.eyes(16))))
    masks["all"] = torch.ones(16, 16, dtype=torch.bool)
    other = images.flip(-1) if flip else images.roll(8, -1)
    between = (images - other)[:, 0, masks[mask]]
    square = between.square().mean(1)
    return {
        "rms": square.sqrt(),
        "variance": square,
        "mean": between.mean(1),
        "absolute": between.abs().mean(1),
        "sum": between.square().sum(1).sqrt(),
        "one": square.mean().sqrt(),
    }[kind]


GAPS = {
    "whole image": {"mask": "all"},
    "not mirrored": {"flip": False},
    "square": {"kind": "variance"},
    "signs cancel": {"kind": "mean"},
    "absolute value": {"kind": "absolute"},
    "sum": {"kind": "sum"},
    "one number": {"kind": "one"},
}


@pytest.mark.parametrize("name", GAPS)
def test_gaps(name):
    assert not check("13.6", lambda images: gap(images, **GAPS[name]))


def classes(x, sigma, images, labels, how="sum"):
    weights = Optimal(images).weights(x, sigma)
    of_class = torch.nn.functional.one_hot(labels, 10).double()
    return {
        "sum": weights @ of_class,
        "nearest": of_class[weights.argmax(1)],
        "mean": weights @ (of_class / of_class.sum(0)),
        "normalised mean": weights @ (of_class / of_class.sum(0)) * len(labels) / 10,
        "images": weights,
    }[how]


@pytest.mark.parametrize("how", ["nearest", "mean", "normalised mean", "images"])
def test_classes(how):
    assert not check("13.7", lambda *case: classes(*case, how=how))


def test_without_the_mistakes_they_are_accepted():
    """So that each of the answers above fails because of its mistake."""
    answers = [two, outside, curve, patch, lambda _, y: y.argsort(), gap, classes]
    for k, answer in enumerate(answers, start=1):
        assert check(f"13.{k}", answer)
