"""Plausible wrong answers to the exercises of chapter 4 are refused."""

from itertools import pairwise

import pytest
import torch

from helpers import sampling, schedules
from helpers.checks import check
from helpers.forward import (
    diffuse,
    gaussian_noise,
    posterior_coefficients,
    posterior_variance,
    step_variance,
)

LINEAR = schedules.linear()


def loop(last_noise=0, shift=0, variance="beta", scale=0.5, first=1):
    """Algorithm 2 with one mistake."""

    def algorithm_2(net, x, schedule, noise):
        tilde = torch.arange(schedule.T + 1).clamp_min(1)
        tables = {
            "beta": schedule.beta,
            "tilde": posterior_variance(schedule, tilde, tilde - 1),
            "squared": schedule.beta**2,
        }
        for t in range(schedule.T, first - 1, -1):
            k = max(t - shift, 1)
            alpha, beta = schedule.alpha[k].float(), schedule.beta[k].float()
            spread = schedule.noise_variance[k].sqrt().float()
            x = (x - beta / spread * net(x, k)) / alpha**scale
            if t > 1 or last_noise:
                x = x + tables[variance][k].sqrt().float() * noise(x)
        return x

    return algorithm_2


WRONG_LOOPS = {
    "noise in the last step": loop(last_noise=1),
    "one late": loop(shift=1),
    "the other variance": loop(variance="tilde"),
    "variance for its root": loop(variance="squared"),
    "no root of alpha": loop(scale=1),
    "not scaled": loop(scale=0),
    "no last step": loop(first=2),
}


def test_1_the_loop_without_a_mistake():
    assert check("4.1", loop())


@pytest.mark.parametrize("name", WRONG_LOOPS)
def test_1_algorithm_2(name):
    assert not check("4.1", WRONG_LOOPS[name])


def level(schedule, t):
    return schedule.alpha_bar[t]


WRONG_STDS = {
    "variance": lambda a, lam: a * lam**2 / (a * lam + 1 - a) ** 2,
    "that of the data": lambda a, lam: lam**0.5,
    "no signal": lambda a, lam: 0 * a,
    "no root": lambda a, lam: a * lam / (a * lam + 1 - a),
    "start of variance a lam + 1 - a": lambda a, lam: (
        a.sqrt() * lam / (a * lam + 1 - a).sqrt()
    ),
    "shrunk at full contrast": lambda a, lam: lam / (lam + (1 - a) / a),
}


@pytest.mark.parametrize("name", WRONG_STDS)
def test_2_no_noise(name):
    wrong = WRONG_STDS[name]
    assert not check("4.2", lambda times, lam, s: wrong(level(s, times[0]), lam))


@pytest.mark.parametrize("place", [lambda times: 1000, lambda times: times[-1]])
def test_2_of_another_time(place):
    def answer(times, lam, s):
        a = level(s, place(times))
        return a.sqrt() * lam / (a * lam + 1 - a)

    assert not check("4.2", answer)


def forward_noise(denoise, x0, schedule, times):
    noise = gaussian_noise(torch.Generator().manual_seed(0))
    return diffuse(x0, times[0], schedule, noise(x0))


def down(denoise, x0, schedule, times):
    return sampling.last(sampling.ddim(denoise, x0, schedule, times)).x0_hat


def walk_up(old=True, keep=True):
    """DDIM upwards, with factors of the wrong time."""

    def code(denoise, x, schedule, times):
        rising = list(times)[::-1]
        for s, t in pairwise(rising):
            x0_hat = sampling.predict(denoise, x, s, schedule)
            a, b = level(schedule, s), level(schedule, t)
            eps = (x - a.sqrt() * x0_hat) / (1 - (a if old else b)).sqrt()
            x = (b if keep else a).sqrt() * x0_hat + (1 - b).sqrt() * eps
        return x

    return code


WRONG_CODES = {
    "some noise": forward_noise,
    "down": down,
    "the image": lambda denoise, x0, schedule, times: x0,
    "noise of the new time": walk_up(old=False),
    "signal of the old time": walk_up(keep=False),
}


def test_3_up_without_a_mistake():
    assert check("4.3", walk_up())


@pytest.mark.parametrize("name", WRONG_CODES)
def test_3_codes(name):
    assert not check("4.3", WRONG_CODES[name])


def std(times, lam, kind, last_noise=False):
    value = torch.ones_like(lam)
    for t, s in zip(times, [*times[1:], 0]):
        a, b = level(LINEAR, t), level(LINEAR, s)
        guess = a.sqrt() * lam / (a * lam + 1 - a)
        c0, ct = posterior_coefficients(LINEAR, t, s)
        if kind == "ddim":
            ct, c0 = (((1 - b) / (1 - a)).sqrt(), 0)
            value = value * (b.sqrt() * guess + ct * (1 - a.sqrt() * guess)) ** 2
            continue
        choice = step_variance if kind == "large" else posterior_variance
        added = choice(LINEAR, t, s) if s > 0 or last_noise else 0
        value = value * (c0 * guess + ct) ** 2 + added
    return value.sqrt()


def of(S, lam, kind, **options):
    lam = torch.tensor(lam, dtype=torch.float64)
    return std(schedules.leading(1000, S), lam, kind, **options)


EXCHANGED = {"large": "small", "small": "large", "ddim": "ddim"}
WRONG_SPREADS = {
    "variance": lambda S, lam, kind: of(S, lam, kind) ** 2,
    "exchanged": lambda S, lam, kind: of(S, lam, EXCHANGED[kind]),
    "noise at the end": lambda S, lam, kind: of(S, lam, kind, last_noise=True),
    "DDIM for the small one": lambda S, lam, kind: of(
        S, lam, "ddim" if kind == "small" else kind
    ),
    "lam is a standard deviation": lambda S, lam, kind: of(S, lam**2, kind),
    "relative": lambda S, lam, kind: of(S, lam, kind) / lam**0.5,
    "the truth": lambda S, lam, kind: lam**0.5,
}


@pytest.mark.parametrize("name", WRONG_SPREADS)
def test_4_fine_detail(name):
    assert not check("4.4", WRONG_SPREADS[name])


def rough(lam, S, far=(16,)):
    """A search that is not finished."""
    times = schedules.leading(1000, S)
    for by in far:
        for i in range(S):
            for new in (times[i] - by, times[i] + by):
                moved = sorted({*times[:i], new, *times[i + 1 :]}, reverse=True)
                if (
                    len(moved) == S
                    and moved[-1] > 0
                    and off(moved, lam) < off(times, lam)
                ):
                    times = moved
    return times


def off(times, lam):
    return (std(times, lam, "ddim") - lam.sqrt()).square().sum()


WRONG_TIMES = {
    "equal": lambda lam, S: schedules.leading(1000, S),
    "the other equal": lambda lam, S: schedules.trailing(1000, S),
    "rising": lambda lam, S: [19, 84, 175, 284, 405],
    "too few": lambda lam, S: [405, 175],
    "twice the same": lambda lam, S: [405, 284, 284, 84, 19],
    "down to 0": lambda lam, S: [405, 284, 175, 84, 0],
    "not finished": rough,
    "quadratic": lambda lam, S: [
        1 + round(999 * (i / S) ** 2) for i in range(S, 0, -1)
    ],
}


@pytest.mark.parametrize("name", WRONG_TIMES)
def test_5_the_best_ten_steps(name):
    assert not check("4.5", WRONG_TIMES[name])
