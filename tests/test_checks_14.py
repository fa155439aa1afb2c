"""Exercises of chapter 14: plausible wrong answers are refused."""

import pytest
import torch

from helpers import agreement, schedules
from helpers.checks import check
from helpers.metrics import bootstrap, pearson, r2_score


def plain(mean, std, grey, r=-1.0, negative=4.0, power=2):
    rest = (mean / std) ** 2
    return r, 1 - negative * (1 + rest), -(((grey - mean) / std) ** power)


WRONG_1 = {
    "r squared": lambda *c: plain(*c, r=1.0),
    "twice the error, not four times": lambda *c: plain(*c, negative=2.0),
    "no brightness": lambda mean, std, grey: (-1.0, -3.0, plain(mean, std, grey)[2]),
    "grey: no square": lambda *c: plain(*c, power=1),
    "grey: one less": lambda *c: (*plain(*c)[:2], plain(*c)[2] - 1),
    "grey is always 0": lambda *c: (*plain(*c)[:2], 0.0),
    "std for variance": lambda mean, std, grey: plain(mean, std**0.5, grey),
}


@pytest.mark.parametrize("answer", WRONG_1.values(), ids=WRONG_1)
def test_negatives(answer):
    assert not check("14.1", answer)


WRONG_2 = {
    "not swapped": lambda r, q, b: r**2 - (r - q) ** 2 - b**2,
    "contrast not inverted": lambda r, q, b: r**2 - (r - q) ** 2 - (b / q) ** 2,
    "brightness in old units": lambda r, q, b: r**2 - (r - 1 / q) ** 2 - b**2,
    "brightness times q": lambda r, q, b: r**2 - (r - 1 / q) ** 2 - (b * q) ** 2,
    "r for its square": lambda r, q, b: r - (r - 1 / q) ** 2 - (b / q) ** 2,
    "plus": lambda r, q, b: r**2 + (r - 1 / q) ** 2 + (b / q) ** 2,
}


@pytest.mark.parametrize("answer", WRONG_2.values(), ids=WRONG_2)
def test_swapped_roles(answer):
    assert not check("14.2", answer)


def scaled(a, u):
    """Fitted without an offset."""
    beta = (a * u).sum((1, 2, 3)) / a.square().sum((1, 2, 3))
    return r2_score(beta.view(-1, 1, 1, 1) * a, u)


def common_fit(a, u):
    """One scale and one offset for all images."""
    x = torch.stack([torch.ones_like(a).flatten(), a.flatten()], 1)
    fit = torch.linalg.lstsq(x, u.flatten()[:, None]).solution
    return r2_score((x @ fit).view_as(u), u)


WRONG_3 = {
    "r": pearson,
    "no fit": r2_score,
    "no offset": scaled,
    "one fit for all": common_fit,
    "the mean of all": lambda a, u: (pearson(a, u) ** 2).mean(),
    "1 - r^2": lambda a, u: 1 - pearson(a, u) ** 2,
}


@pytest.mark.parametrize("answer", WRONG_3.values(), ids=WRONG_3)
def test_best_cases(answer):
    assert not check("14.3", answer)


def after(S, first, second, start, times=schedules.leading, at=-1, score=None):
    path = schedules.linear()
    ends = [
        list(agreement.walk(d, start, path, times(path.T, S)))[at].x0_hat
        for d in (first, second)
    ]
    return (score or agreement.released_r2)(*ends).mean()


WRONG_4 = {
    "always ten": lambda S, *c: after(10, *c),
    "roles swapped": lambda S, a, b, start: after(S, b, a, start),
    "the usual R^2": lambda *c: after(*c, score=r2_score),
    "correlation": lambda *c: after(*c, score=pearson),
    "the first answers": lambda *c: after(*c, at=0),
    "one step before": lambda *c: after(*c, at=-2),
    "other timesteps": lambda *c: after(*c, times=schedules.trailing),
}


@pytest.mark.parametrize("answer", WRONG_4.values(), ids=WRONG_4)
def test_numbers_of_steps(answer):
    assert not check("14.4", answer)


def weights(first, second, clean, noisy, sigmas, turn=False, cut=True, each=False):
    found = []
    for x, s in zip(noisy, sigmas):
        a, b = first(x, s), second(x, s)
        a, b = (b, a) if turn else (a, b)
        dims = (1, 2, 3) if each else (0, 1, 2, 3)
        w = ((clean - a) * (b - a)).sum(dims) / (b - a).square().sum(dims)
        w = w.mean().item()
        found.append(min(1.0, max(0.0, w)) if cut else w)
    return found


WRONG_5 = {
    "of the first denoiser": lambda *c: weights(*c, turn=True),
    "not cut": lambda *c: weights(*c, cut=False),
    "mean of a weight for each image": lambda *c: weights(*c, each=True),
    "one for all levels": lambda *c: weights(*c)[:1] * 3,
    "one half": lambda *c: [0.5] * 3,
    "all or nothing": lambda *c: [round(w) for w in weights(*c)],
    "the order of levels": lambda *c: weights(*c)[::-1],
}


@pytest.mark.parametrize("answer", WRONG_5.values(), ids=WRONG_5)
def test_weights_of_a_blend(answer):
    assert not check("14.5", answer)


def seeded():
    return torch.Generator().manual_seed(1)


def unpaired(first, second):
    a, b = (bootstrap(v, seeded()) for v in (first, second))
    return a[0] - b[0], a[1] - b[2], a[2] - b[1]


def of_one_noise(first, second):
    gap = first - second
    edges = torch.tensor([0.025, 0.975], dtype=gap.dtype)
    return gap.mean(), *gap.quantile(edges)


def one_error(first, second):
    gap = first - second
    error = gap.std() / len(gap) ** 0.5
    return gap.mean(), gap.mean() - error, gap.mean() + error


WRONG_6 = {
    "intervals subtracted": unpaired,
    "second less first": lambda a, b: bootstrap(b - a, seeded()),
    "of one noise, not of the mean": of_one_noise,
    "one standard error": one_error,
    "only the mean": lambda a, b: (a - b).mean(),
    "sizes of the differences": lambda a, b: bootstrap((a - b).abs() * 2, seeded()),
}


@pytest.mark.parametrize("answer", WRONG_6.values(), ids=WRONG_6)
def test_differences(answer):
    assert not check("14.6", answer)


def choose(errors, choice=slice(None), test=slice(None)):
    """Chosen on these noises, and tested on those."""
    best = int(errors[:, choice].mean(dim=1).argmin())
    return best, float(errors[best, test].mean())


def halves(errors):
    half = errors.shape[1] // 2
    return slice(half), slice(half, None)


def each_noise(errors):
    first, second = halves(errors)
    best = int(errors[:, first].mean(dim=1).argmin())
    return best, errors[:, second].amin(dim=0).mean()


WRONG_7 = {
    "chosen on all": lambda e: choose(e, test=halves(e)[1]),
    "chosen on the second half": lambda e: choose(e, halves(e)[1], halves(e)[1]),
    "tested on the choice": lambda e: choose(e, halves(e)[0], halves(e)[0]),
    "tested on all": lambda e: choose(e, halves(e)[0]),
    "halves exchanged": lambda e: choose(e, *halves(e)[::-1]),
    "the best for each noise": each_noise,
    "the largest error": lambda e: choose(-e, *halves(e)),
}


@pytest.mark.parametrize("answer", WRONG_7.values(), ids=WRONG_7)
def test_choices(answer):
    assert not check("14.7", answer)
