"""Chapter 12: plausible wrong answers are refused."""

import pytest
import torch

from helpers import toy_faces
from helpers.checks import check
from helpers.denoisers import Optimal
from helpers.fields import mirror_energy
from helpers.metrics import pearson, r2_score
from helpers.sensitivity import optimal_row


def untrained(row, m, sigma, power=2, swap=False, square=False):
    F = torch.zeros(1, len(row)).double()
    F[0, m] = 1 / (1 + sigma**power)
    pair = (F, row[None].double()) if swap else (row[None].double(), F)
    r = pearson(*pair)
    return float(r2_score(*pair)), float(r**2 if square else r)


STARTS = {"sigma": {"power": 1}, "swapped": {"swap": True}, "r²": {"square": True}}


@pytest.mark.parametrize("name", STARTS)
def test_before_training(name):
    assert not check("12.1", lambda *case: untrained(*case, **STARTS[name]))


def in_pairs(denoise, clean, noise, sigma, place, less="opposite", power=1):
    def ask(x):
        return denoise(x, sigma)[:, 0, *place].view(-1, 1, 1, 1)

    answer = ask(clean + sigma * noise)
    nothing = {
        "nothing": 0,
        "opposite": (answer + ask(clean - sigma * noise)) / 2,
        "clean answer": ask(clean),
        "clean image": clean[:, 0, *place].view(-1, 1, 1, 1),
        "mean": answer.mean(),
    }
    return ((answer - nothing[less]) * noise).mean(0) / sigma**power


ESTIMATES = {
    "plain": {"less": "nothing"},
    "less the clean image": {"less": "clean image"},
    "less the mean": {"less": "mean"},
    "over the variance": {"power": 2},
    "not over sigma": {"power": 0},
}


@pytest.mark.parametrize("name", ESTIMATES)
def test_no_derivative(name):
    assert not check("12.2", lambda *case: in_pairs(*case, **ESTIMATES[name]))


def test_the_clean_answer_may_be_subtracted_too():
    assert check("12.2", lambda *case: in_pairs(*case, less="clean answer"))


def descent(lam, sigma, eta, steps, rate=1.0, off=0, power=2):
    total = lam + sigma**power
    return lam / total * (1 - (1 - rate * eta * total) ** (steps + off))


STEPS = {
    "gradient of the whole square": {"rate": 2.0},
    "one step too many": {"off": 1},
    "standard deviation": {"power": 1},
}


@pytest.mark.parametrize("name", STEPS)
def test_descent(name):
    assert not check("12.3", lambda *case: descent(*case, **STEPS[name]))


def mirrored(mu, cov, shape, axis=-1, between=0.25, half=0.5):
    mirror = torch.arange(len(mu)).view(shape).flip(axis).flatten()
    gap = mu - mu[mirror]
    both = half * cov + (1 - half) * cov[mirror][:, mirror]
    return (mu + mu[mirror]) / 2, both + between * torch.outer(gap, gap)


def one_index(mu, cov, shape):
    mirror = torch.arange(len(mu)).view(shape).flip(-1).flatten()
    return mirrored(mu, cov, shape)[0], (cov + cov[mirror]) / 2


MIRRORS = {
    "no variance between": {"between": 0.0},
    "twice as much": {"between": 0.5},
    "rows": {"axis": -2},
    "the old covariance": {"half": 1.0},
}


@pytest.mark.parametrize("name", MIRRORS)
def test_mirrored(name):
    assert not check("12.4", lambda *case: mirrored(*case, **MIRRORS[name]))
    assert not check("12.4", one_index)


def of_skin(place, sigma, power=2, bounded=True, patch=False, scale=127.5):
    skin = toy_faces.factors(16)["skin"] / scale
    t = skin[-1] - skin.mean(0)
    levels = ((skin - skin.mean(0)) * t).sum((1, 2)) / (t**2).sum()
    if patch:
        t = t * 0
        t[place[0] - 2 : place[0] + 3, place[1] - 2 : place[1] + 3] = 0.3
    v = (levels**2).mean()
    return v * t[place] * t / (bounded * v * (t**2).sum() + sigma**power)


SKINS = {
    "a neighbourhood": {"patch": True},
    "the covariance": {"bounded": False},
    "standard deviation": {"power": 1},
    "grey levels": {"scale": 1.0},
}


@pytest.mark.parametrize("name", SKINS)
def test_skin(name):
    assert not check("12.5", lambda *case: of_skin(*case, **SKINS[name]))


def own(train, clean, noise, sigma, pixel, power=2, target="clean", root=1.0):
    x = clean + sigma * noise
    goal = clean if target == "clean" else x
    error = (goal - Optimal(train)(x, sigma))[:, *pixel].square().mean() ** root
    field = optimal_row(train, x, sigma, pixel).mean(0)[pixel]
    return float(field), float(error / sigma**power)


ERRORS = {
    "not divided": {"power": 0},
    "over sigma": {"power": 1},
    "root": {"root": 0.5},
    "from the noisy image": {"target": "noisy"},
}


@pytest.mark.parametrize("name", ERRORS)
def test_own_and_error(name):
    assert not check("12.6", lambda *case: own(*case, **ERRORS[name]))
    assert not check("12.6", lambda *case: own(*case)[::-1])


def short(wiener, sigma, steps, place, off=0, weight=1, window=3, turned=False):
    lam, total = wiener.lam, wiener.lam + sigma**2
    missing = (1 - total / total.max()) ** (steps + off)
    lost = (lam**2 / total**weight * missing**2).sum()
    U = wiener.U if not turned else wiener.U.T
    field = (
        U[wiener.shape[-1] * place[0] + place[1]] * lam / total * (1 - missing)
    ) @ U.T
    energy = mirror_energy(field.view(wiener.shape), place, window)
    return 1 + float(lost / wiener.expected_error(sigma)), float(energy)


SHORT = {
    "one step too few": {"off": -1},
    "weight of a gain": {"weight": 2},
    "5 x 5": {"window": 5},
    "transposed": {"turned": True},
}


@pytest.mark.parametrize("name", SHORT)
def test_short_training(name):
    assert not check("12.7", lambda *case: short(*case, **SHORT[name]))


def test_without_the_mistakes_they_are_accepted():
    """So that each of the answers above fails because of its mistake."""
    answers = [untrained, in_pairs, descent, mirrored, of_skin, own, short]
    for k, answer in enumerate(answers, start=1):
        assert check(f"12.{k}", answer)
