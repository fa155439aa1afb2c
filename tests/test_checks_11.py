"""Chapter 11: plausible wrong answers are refused."""

import math

import pytest
import torch

from helpers import schedules
from helpers.checks import chapter_11, check


def two_pixels(rho, sigma, noise=2, scale=2.0):
    both, apart = (v / (v + sigma**noise) for v in (1 + rho, 1 - rho))
    return [(both + apart) / scale, (both - apart) / scale]


FIELDS = {
    "not normalised": lambda rho, s: two_pixels(rho, s, scale=1.0),
    "standard deviation": lambda rho, s: two_pixels(rho, s, noise=1),
    "order": lambda rho, s: two_pixels(rho, s)[::-1],
    "sign": lambda rho, s: two_pixels(-rho, s),
    "matrix": lambda rho, s: [two_pixels(rho, s), two_pixels(rho, s)[::-1]],
    "no witness": lambda rho, s: [1 / (1 + s**2), 0.0],
}


@pytest.mark.parametrize("name", FIELDS)
def test_two_pixels(name):
    assert not check("11.1", FIELDS[name])


def bound(wiener, pixel, share):
    return math.sqrt(wiener.lam.max() * (1 / share - 1))


def by_distance(wiener, pixel, share, limit):
    """The first of many noise levels that is near enough to a limit."""
    for sigma in torch.logspace(-1, 2, 600).tolist():
        goal = limit(wiener, pixel, sigma)
        if (wiener.row(pixel, sigma) - goal).norm() <= share * goal.norm():
            return sigma
    return None


def covariance_row(wiener, pixel, sigma):
    return wiener.row(pixel, 1e4) * 1e8


LEVELS = {
    "the largest component": bound,
    "variance": lambda w, p, s: bound(w, p, s) ** 2,
    "the variance of the pixel": lambda w, p, s: 1.5,
    "without sigma": lambda w, p, s: by_distance(w, p, s, covariance_row),
    "the norm of the field": lambda w, p, s: bound(w, p, s / (1 + s)),
}


@pytest.mark.parametrize("name", LEVELS)
def test_much_noise(name):
    assert not check("11.2", LEVELS[name])


def planted(wiener, p, a, pixel, sigma, power=2, inverse=True, q=None):
    K = wiener.matrix(sigma) if q is None else q
    q = p - (K @ p.flatten()).view_as(p)
    below = sigma**2 + a**power * (p * q).sum() if inverse else sigma**2
    return wiener.row(pixel, sigma) + a**power * q[pixel] * q / below


def scaled(wiener, p, a, pixel, sigma):
    return p / p.max()


PLANTED = {
    "a, not its square": {"power": 1},
    "no inverse": {"inverse": False},
    "the letter itself": {"q": torch.zeros(64, 64).double()},
}


@pytest.mark.parametrize("name", PLANTED)
def test_planted(name):
    assert not check("11.3", lambda *case: planted(*case, **PLANTED[name]))


def followed(lam, schedule, kind, start=1.0, square=2, last=False, root=False):
    beta, a = schedule.beta.tolist(), schedule.alpha_bar.tolist()
    variance = start
    for t in range(schedule.T, 0, -1):
        gain = lam * a[t] / (lam * a[t] + 1 - a[t])
        c_x0 = a[t - 1] ** 0.5 * beta[t] / (1 - a[t])
        c_xt = (1 - beta[t]) ** 0.5 * (1 - a[t - 1]) / (1 - a[t])
        small = (1 - a[t - 1]) / (1 - a[t]) * beta[t]
        v = small if kind == "small" else beta[t]
        v = (v**0.5 if root else v) if t > 1 or last else 0.0
        variance = (c_x0 * gain / a[t] ** 0.5 + c_xt) ** square * variance + v
    return variance


VARIANCES = {
    "noise at the end": {"last": True},
    "factor not squared": {"square": 1},
    "standard deviation of the noise": {"root": True},
}


@pytest.mark.parametrize("name", VARIANCES)
def test_variances(name):
    assert not check("11.4", lambda *case: followed(*case, **VARIANCES[name]))


STEPS = {
    "equal": schedules.leading(1000, 10),
    "even in log sigma": chapter_11.even(2.15, -2),
    "upwards": [67, 174, 298, 413, 509, 589, 659, 724, 792, 882],
    "nine": [882, 792, 724, 659, 589, 509, 413, 298, 174],
    "twice": [882, 792, 724, 659, 589, 509, 413, 298, 298, 67],
    "beyond": [1001, 792, 724, 659, 589, 509, 413, 298, 174, 67],
    "quadratic": [int(1000 * (k / 10) ** 2) for k in range(10, 0, -1)],
}


@pytest.mark.parametrize("name", STEPS)
def test_steps(name):
    assert not check("11.5", STEPS[name])


def on_images(few, others, sigma, seen):
    """The best of some values, by the error on `seen`."""
    choices = [0.0, *torch.logspace(-4, 1, 30).tolist()]
    return min(choices, key=lambda e: chapter_11.held_out(few, seen, sigma, e))


EPSILONS = {
    "chosen on the fifty": lambda few, others, s: on_images(few, others, s, few),
    "always the same": lambda *_: 0.04,
    "none": lambda *_: 0.0,
    "the variance of the noise": lambda few, others, s: s**2,
    "the root": lambda few, others, s: on_images(few, others, s, others) ** 0.5,
    "the mean variance": lambda few, *_: float(few.flatten(1).var(0).mean()),
}


@pytest.mark.parametrize("name", EPSILONS)
def test_epsilon(name):
    assert not check("11.6", EPSILONS[name])


def from_spectrum(images, sigma, norm="ortho", root=1.0, noise=2, turn=1.0):
    """The width by its formula, from a spectrum that may be a wrong one."""
    from numpy import hypot, log, meshgrid, pi, polyfit
    from scipy.special import beta

    power = torch.fft.fft2(images, norm=norm).abs().square().mean((0, 1)) ** root
    f = hypot(*meshgrid(*[torch.fft.fftfreq(n).numpy() for n in power.shape]))
    some = (f > 0.04) & (f < 0.3)
    slope, height = polyfit(log(f[some]), log(power.numpy()[some]), 1)
    f_c, a = math.exp((noise * math.log(sigma) - height) / slope), -slope
    return turn * a / (6 * beta(2 / a, 2 - 2 / a)) ** 0.5 / (2 * pi * f_c)


WIDTHS = {
    "sums, not means": {"norm": "backward"},
    "amplitude": {"root": 0.5},
    "standard deviation": {"noise": 1},
    "angle, not cycles": {"turn": 2 * math.pi},
}


@pytest.mark.parametrize("name", WIDTHS)
def test_width(name):
    assert not check("11.7", lambda *case: from_spectrum(*case, **WIDTHS[name]))


def test_answers_of_another_kind():
    swap = {"small": "large", "large": "small"}
    assert not check("11.3", scaled)
    assert not check("11.4", lambda lam, *_: lam)
    assert not check("11.4", lambda lam, s, k: followed(lam, s, swap[k]))
    assert not check("11.7", lambda images, sigma: 1.4 * sigma ** (2 / 3))


def test_without_the_mistakes_they_are_accepted():
    """So that each of the answers above fails because of its mistake."""
    assert check("11.1", two_pixels)
    assert check("11.3", planted)
    assert check("11.4", followed)
    assert check("11.6", lambda few, others, s: on_images(few, others, s, others))
    assert check("11.7", from_spectrum)
