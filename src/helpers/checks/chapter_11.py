"""Checks of the exercises of chapter 11, the Wiener filter."""

import math
from functools import cache

import numpy as np
import torch

from helpers import artifacts, data, sampling, schedules
from helpers.checks import Property, close
from helpers.forward import gaussian_noise, posterior_variance, step_variance
from helpers.targets import timestep
from helpers.wiener import Wiener, ddim_gain


def exercise_1(field):
    """field(rho, sigma): weights of both noisy pixels in the answer for the first."""
    yield Property(
        "a second pixel that knows nothing of the first is not listened to",
        close(field(0.0, 0.7)[1], 0.0),
        ("Which eigenvectors and eigenvalues has the covariance?",),
    )
    yield Property(
        "two equal pixels are listened to equally, at any noise",
        all(close(*field(1.0, s)) and field(1.0, s)[0] > 0 for s in (0.1, 1.0, 5.0)),
        (
            "One of the two factors is 0 then.",
            "A row of S sums over eigenvectors: factor, its entry here, the vector.",
        ),
    )
    yield Property(
        "these weights have the smallest squared error",
        all(close(field(*case), fitted(*case)) for case in PIXELS),
        ("Does the noise count with its variance?", "The eigenvectors have norm 1."),
    )


PIXELS = ((0.3, 0.5), (-0.6, 2.0), (0.95, 0.2))


def fitted(rho, sigma):
    """The row of the library's filter for two such pixels."""
    cov = torch.tensor([[1, rho], [rho, 1]], dtype=torch.float64)
    return Wiener(torch.zeros(2), cov).row(0, sigma)


@cache
def digits():
    return data.load("digits").double()


@cache
def of_digits():
    return Wiener.fit(digits())


def exercise_2(needed_noise):
    """needed_noise(wiener, pixel, share): the least sigma, in units of pixels."""
    alone = Wiener(torch.zeros(1), torch.tensor([[2.25]]), (1, 1, 1))
    yield Property(
        "of a single pixel half is missing where the noise is as strong as the image",
        close(needed_noise(alone, (0, 0, 0), 0.5), 1.5, rtol=1e-3),
        ("By which factor is a component of S smaller than that of its limit?",),
    )
    levels = [float(needed_noise(of_digits(), p, 0.1)) for p in PLACES]
    yield Property(
        "no pixel of the digits needs more than the largest component does",
        0 < max(levels) < 3.001 * float(of_digits().lam.max()) ** 0.5,
        ("The field must be compared with a row of the covariance over sigma^2.",),
    )
    yield Property(
        "at this noise the distance is a tenth of the norm of the limit, to 1 %",
        all(close(apart(p, s), 0.1, rtol=0.01) for p, s in zip(PLACES, levels)),
        (
            "The limit, too, depends on sigma.",
            "The distance falls as sigma grows: halve an interval, or use brentq.",
        ),
    )


PLACES = ((0, 3, 4), (0, 0, 2), (0, 6, 5))


def apart(pixel, sigma):
    """How far the field is from its limit, over the norm of the limit."""
    flat = digits().flatten(1)
    limit = flat.T.cov(correction=0)[8 * pixel[1] + pixel[2]] / sigma**2
    return (of_digits().row(pixel, sigma).flatten() - limit).norm() / limit.norm()


def exercise_3(planted):
    """planted(wiener, pattern, a, pixel, sigma): the field, (C, H, W)."""
    letter = torch.zeros(1, 8, 8, dtype=torch.float64)
    letter[0, 1:7, 2] = letter[0, 6, 2:6] = 1
    case = (of_digits(), letter, 0.0, (0, 3, 2), 0.8)
    yield Property(
        "a letter without strength changes nothing",
        close(planted(*case), of_digits().row((0, 3, 2), 0.8), atol=1e-6),
        ("What does the letter add to the covariance?",),
    )
    empty = Wiener(torch.zeros(64), torch.zeros(64, 64), (1, 8, 8))
    field = torch.as_tensor(planted(empty, letter, 2.0, (0, 3, 2), 0.8))
    yield Property(
        "where nothing else varies the field is the letter",
        close(field / field.max(), letter, atol=1e-6),
        ("Then the covariance has one eigenvector. Which one?",),
    )
    images = digits()[:400] / 2
    both = torch.cat([images + 0.4 * letter, images - 0.4 * letter])
    case = (Wiener.fit(images), letter, 0.4)
    yield Property(
        "it is what `Wiener.fit` finds on digits with the letter",
        all(
            close(planted(*case, p, s), Wiener.fit(both).row(p, s), atol=1e-6)
            for p, s in (((0, 3, 2), 0.3), ((0, 6, 4), 1.5), ((0, 2, 5), 0.8))
        ),
        (
            "a is a standard deviation.",
            "A matrix plus an outer product has a known inverse (Sherman, Morrison).",
        ),
    )


def exercise_4(final_variance):
    """final_variance(lam, schedule, kind): at the end, `small` or `large` steps."""
    schedule, some = schedules.linear(), (0.05, 0.3, 1.0, 4.0)
    yield Property(
        "with the posterior variance and 1000 steps it is off by at most 1 % for 1",
        close(final_variance(1.0, schedule, "small"), 1.0, rtol=0.01),
        ("Begin with the variance of x_T.", "Which part of a step is random?"),
    )
    yield Property(
        "for components smaller than 1 the larger variance gives more than the smaller",
        all(
            final_variance(lam, schedule, "small")
            < final_variance(lam, schedule, "large")
            for lam in some[:2]
        ),
        ("small is posterior_variance, large is step_variance.",),
    )
    yield Property(
        "it is what `sampling.ancestral` gives, to 5 %",
        all(
            close(final_variance(lam, SHORT, kind), sampled(lam, kind), rtol=0.05)
            for lam in (0.004, 0.3, 4.0)
            for kind in ("small", "large")
        ),
        (
            "The mean of a step has two terms, and both hold x_t.",
            "No noise is added in the last step.",
        ),
    )


SHORT = schedules.linear(25, 4e-3, 0.6)


@cache
def sampled(lam, kind):
    """Variance of 20,000 samples of one pixel with the variance lam."""
    wiener = Wiener(torch.zeros(1), torch.tensor([[lam]]), (1, 1, 1))
    noise = gaussian_noise(torch.Generator().manual_seed(4))
    start = sampling.start(20_000, (1, 1, 1), noise, torch.zeros(1).double())
    rule = posterior_variance if kind == "small" else step_variance
    walk = sampling.ancestral(wiener, start, SHORT, noise, variance=rule)
    return float(sampling.last(walk).x0_hat.var())


def exercise_5(times):
    """times: ten timesteps of the linear schedule, falling."""
    steps = [int(t) for t in times]
    falling = all(a > b for a, b in zip([1001, *steps], [*steps, 0]))
    yield Property(
        "these are ten timesteps from 1000 to 1 that fall",
        len(steps) == 10 and falling,
        ("DDIM walks from noise to image.",),
    )
    yield Property(
        "they keep more of the variance than ten equal steps in time",
        kept(steps) > kept(schedules.leading(1000, 10)),
        (
            "The sum is over components of variance; who has most of it?",
            "The last step need not be short, nor the first early.",
        ),
    )
    yield Property(
        "they keep more than ten that are even in log sigma, whatever their ends",
        kept(steps) > max(kept(even(a, b)) for a in ENDS for b in -ENDS),
        (
            "Move one of the ten, and keep the change if it is better.",
            "Begin with long moves, end with short ones.",
        ),
    )


ENDS = np.linspace(0.4, 2.15, 8)  # exponents: sigma from 10^ENDS down to 10^-ENDS


def even(high, low):
    """Ten timesteps even in log sigma between two ends."""
    sigma = torch.logspace(high, low, 10).double()
    return timestep(sigma, schedules.linear()).round().long().tolist()


@cache
def of_cifar():
    """Eigenvalues of CIFAR-10, and how often each of them occurs."""
    moments = artifacts.load("moments/cifar10.safetensors")
    lam, rest, D = moments["lam"].double(), moments["rest"].double(), len(moments["mu"])
    return torch.cat([lam, rest[1:2]]), torch.tensor([1] * len(lam) + [D - len(lam)])


def kept(times):
    """The share of the variance of CIFAR-10 that the walk has at its end."""
    lam, often = of_cifar()
    at_end = ddim_gain(lam, times, schedules.linear()).square()
    return float((often * at_end).sum() / (often * lam).sum())


def exercise_6(best_epsilon):
    """best_epsilon(few, others, sigma): what to add to the covariance of `few`."""
    order = torch.randperm(len(digits()), generator=torch.Generator().manual_seed(0))
    shuffled = digits()[order]
    few, more, others = shuffled[:50], shuffled[:200], shuffled[1500:]
    found = float(best_epsilon(few, others, 0.05))
    yield Property(
        "at sigma = 0.05 the held-out error falls to less than half",
        0 < held_out(few, others, 0.05, found) < held_out(few, others, 0.05, 0) / 2,
        (
            "Measure the error on images that the filter has not seen.",
            "Only the filter changes; the noise of the images stays what it is.",
        ),
    )
    yield Property(
        "with 200 images less has to be added",
        best_epsilon(more, others, 0.05) < found,
        ("Does your answer look at the images at all?",),
    )
    grid = np.logspace(-4, 1, 26)
    yield Property(
        "no other choice is better by more than 2 %, at three noise levels",
        all(
            held_out(few, others, s, float(best_epsilon(few, others, s)))
            < 1.02 * min(held_out(few, others, s, e) for e in grid)
            for s in (0.05, 0.1, 0.3)
        ),
        ("Try many values, each a little larger than the one before.",),
    )


def held_out(few, others, sigma, epsilon):
    """The exact squared error on other images, for each of them."""
    wiener = Wiener.fit(few)
    gain = (wiener.lam + epsilon) / (wiener.lam + epsilon + sigma**2)
    new = (others.flatten(1) - wiener.mu) @ wiener.U  # their coordinates
    return float(((1 - gain) * new).square().sum(1).mean() + sigma**2 * gain @ gain)


def exercise_7(predicted_width):
    """predicted_width(images, sigma): R in pixels, from images alone."""
    images = clouds(3.0)
    one = predicted_width(images, 1.0)
    yield Property(
        "images of twice the contrast have the same width at twice the noise",
        close(predicted_width(2 * images, 2.0), one, rtol=1e-3) and one > 0,
        ("The power grows with the square of the contrast.",),
    )
    yield Property(
        "it is the width of the true kernel, to 5 %, for exponents from 2.2 to 3.5",
        all(
            close(predicted_width(clouds(a), s), true_width(a, s), rtol=0.05)
            for a in (2.2, 3.0, 3.5)
            for s in (0.5, 1.5)
        ),
        (
            "With norm='ortho' the squares of the transform are eigenvalues.",
            "The line is fitted to the log of the power, not of the amplitude.",
            "Leave out the slowest waves, and those near half a cycle a pixel.",
        ),
    )


@cache
def waves(side=64):
    """Frequency and squared distance from the corner, each (side, side)."""
    f, i = np.fft.fftfreq(side), np.arange(side)
    i = np.minimum(i, side - i)
    squared = f[:, None] ** 2 + f**2
    squared[0, 0] = 1 / side**2
    return squared**0.5, i[:, None] ** 2 + i**2


@cache
def clouds(a):
    """Forty periodic images with a power law of exponent a, (40, 1, 64, 64)."""
    white = np.random.default_rng(7).standard_normal((40, 1, 64, 64))
    root = math.sqrt(0.002) * waves()[0] ** (-a / 2)
    return torch.tensor(np.fft.ifft2(np.fft.fft2(white) * root).real)


def true_width(a, sigma):
    """Of the kernel that belongs to the exact spectrum."""
    f, squared = waves()
    kernel = np.fft.ifft2(1 / (1 + sigma**2 * f**a / 0.002)).real
    return float((kernel**2 * squared).sum() / (kernel**2).sum()) ** 0.5
