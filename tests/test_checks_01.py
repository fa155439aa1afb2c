"""Plausible wrong answers to the exercises of chapter 1 are refused."""

import math

import pytest
import torch

from helpers import schedules
from helpers.checks import check
from helpers.forward import posterior_coefficients
from helpers.schedules import from_sigma


def keep(schedule, t):
    return schedule.alpha_bar[t]


def add(schedule, t):
    return schedule.noise_variance[t]


WRONG_VARIANCES = {
    "no noise": lambda V, t, s: keep(s, t) * V,
    "a factor, not its square": lambda V, t, s: keep(s, t).sqrt() * V + add(s, t),
    "standard deviation": lambda V, t, s: (keep(s, t) * V + add(s, t)).sqrt(),
    "one step late": lambda V, t, s: keep(s, t - 1) * V + add(s, t - 1) if t else V,
    "one step only": lambda V, t, s: s.alpha[t] * V + s.beta[t],
}


@pytest.mark.parametrize("name", WRONG_VARIANCES)
def test_1_forgetting_the_start(name):
    assert not check("1.1", WRONG_VARIANCES[name])


def exact(beta):
    return math.log(0.5) / math.log(1 - beta)


WRONG_CROSSINGS = {
    "one late": lambda beta: math.floor(exact(beta)) + 2,
    "one early": lambda beta: math.floor(exact(beta)),
    "no whole number": lambda beta: exact(beta) + 0.5,
    "contrast for variance": lambda beta: math.floor(2 * exact(beta)) + 1,
    "small beta": lambda beta: math.floor(math.log(2) / beta) + 1,
    "nothing left": lambda _: 1000,
}


@pytest.mark.parametrize("name", WRONG_CROSSINGS)
def test_2_another_schedule(name):
    assert not check("1.2", WRONG_CROSSINGS[name])


def factor(a, b, t, s):
    return a + b * keep(s, t).sqrt()


WRONG_WAYS = {
    "b is not squared": lambda a, b, v, t, s: (factor(a, b, t, s), b * add(s, t) + v),
    "v is squared": lambda a, b, v, t, s: (
        factor(a, b, t, s),
        b * b * add(s, t) + v * v,
    ),
    "x_t brings no x_0": lambda a, b, v, t, s: (a, b**2 * add(s, t) + v),
    "no root": lambda a, b, v, t, s: (a + b * keep(s, t), b**2 * add(s, t) + v),
    "always the truth": lambda a, b, v, t, s: (keep(s, t - 1).sqrt(), add(s, t - 1)),
}


@pytest.mark.parametrize("name", WRONG_WAYS)
def test_3_there_and_back(name):
    assert not check("1.3", WRONG_WAYS[name])


def posterior(t, s, schedule):
    return posterior_coefficients(schedule, t, s)


def ratio(t, s, schedule):
    b = add(schedule, s) / add(schedule, t)
    return keep(schedule, s).sqrt() - b * keep(schedule, t).sqrt(), b


def all_new(t, s, schedule):
    return keep(schedule, s).sqrt(), (add(schedule, s) / add(schedule, t)).sqrt()


def negative(t, s, schedule):
    b = -(add(schedule, s) / add(schedule, t)).sqrt()
    return keep(schedule, s).sqrt() - b * keep(schedule, t).sqrt(), b


@pytest.mark.parametrize("answer", [posterior, ratio, all_new, negative])
def test_4_a_step_back_without_noise(answer):
    assert not check("1.4", answer)


def levels(lam, T):
    share = torch.arange(1, T + 1, dtype=torch.float64) / T
    return lam.log().quantile(share)


def unsorted(lam, T):
    places = torch.linspace(len(lam) - 1, 0, T).round().long()
    return from_sigma(lam[places].sqrt())


WRONG_SCHEDULES = {
    "sigma for its square": lambda lam, T: from_sigma(levels(lam, T).exp()),
    "SNR for noise": lambda lam, T: from_sigma((-levels(lam, T).flip(0) / 2).exp()),
    "one step short": lambda lam, T: from_sigma((levels(lam, T)[:-1] / 2).exp()),
    "the usual one": lambda lam, T: schedules.linear(T, 0.1 / T, 20 / T),
    "even on a logarithmic axis": lambda lam, T: from_sigma(
        torch.logspace(lam.min().log10() / 2, lam.max().log10() / 2, T)
    ),
    "only if sorted": unsorted,
}


@pytest.mark.parametrize("name", WRONG_SCHEDULES)
def test_5_a_schedule_made_for_the_data(name):
    assert not check("1.5", WRONG_SCHEDULES[name])
