"""Checks of the exercises of chapter 10, generalisation."""

import math
from statistics import NormalDist

import torch
from scipy.stats import chi2, ncx2

from helpers import data, sampling, schedules
from helpers.checks import Property, close
from helpers.denoisers import Optimal
from helpers.forward import gaussian_noise
from helpers.metrics import mse, pearson
from helpers.wiener import Wiener

normal = NormalDist()


def exercise_1(touching):
    """touching(d, level): where the cones of two pixels at distance d touch."""
    yield Property(
        "it is twice as large for pixels twice as far apart",
        close(float(touching(0.8, 0.99)), 2 * float(touching(0.4, 0.99))),
        ("A cone is a triangle: its half-width is a number times sigma.",),
    )
    levels = (0.99, 0.9, 0.5)
    shares = [math.erf(0.2 / (float(touching(0.4, q)) * 2**0.5)) for q in levels]
    yield Property(
        "noise of this level stays within half of the distance as often as asked",
        close(shares, levels, rtol=1e-3),
        (
            "Two cones grow towards each other.",
            "2.58 belongs to 99 %; for another share take the quantile of a bell.",
            "The share counts both sides of the bell.",
        ),
    )


def exercise_2(thickness):
    """thickness(D, level): a quantile of the length of D noises over its median."""
    one = normal.inv_cdf(0.995) / normal.inv_cdf(0.75)
    yield Property(
        "for one pixel it is a ratio of two quantiles of the bell",
        close(float(thickness(1, 0.99)), one, rtol=1e-4),
        (
            "The length of one number is its absolute value.",
            "The median, not the mean.",
        ),
    )
    rayleigh = (math.log(0.1) / math.log(0.5)) ** 0.5  # P(length > r) = exp(-r^2 / 2)
    yield Property(
        "for two pixels and 90 % it is the root of ln 10 / ln 2",
        close(float(thickness(2, 0.9)), rayleigh, rtol=1e-4),
        ("chi2 is the law of the squared length.",),
    )
    excess = [(float(thickness(D, 0.99)) - 1) * (2 * D) ** 0.5 for D in (3072, 200_000)]
    yield Property(
        "for many pixels what it has above 1 falls like one over the root of D",
        close(excess, [normal.inv_cdf(0.99)] * 2, rtol=0.02),
        ("`scipy.stats.chi2.ppf(level, D)`.",),
    )


def exercise_3(share_outside):
    """share_outside(test, training, sigma, level): noised tests outside all cones."""
    digits = data.load("digits")
    first = digits[:1]
    many = first.repeat(4000, 1, 1, 1)
    own = [float(share_outside(many, first, 0.5, level)) for level in (0.99, 0.5)]
    yield Property(
        "noised copies of a training image leave its cone as often as the level says",
        abs(own[0] - 0.01) < 0.01 and abs(own[1] - 0.5) < 0.04,
        (
            "Compare |x - y|^2 / sigma^2 with a quantile of chi2.",
            "The degrees of freedom are the pixels of an image.",
            "Noise the test images, not the training images.",
        ),
    )
    other = digits[1:2]
    d, q = (first - other).norm().item(), chi2.ppf(0.99, 64)
    sigma = d / 5
    yield Property(
        "with one training image at a distance it is the noncentral law's share",
        abs(float(share_outside(many, other, sigma, 0.99)) - ncx2.sf(q, 64, 25)) < 0.04,
        ("Fresh noise for each test image.",),
    )
    crowd = digits[100:1500]
    both = float(share_outside(many, torch.cat([crowd, other]), sigma, 0.99))
    yield Property(
        "with more training images it is what the nearest to each noisy image says",
        abs(both - counted(many, torch.cat([crowd, other]), sigma, 0.99)) < 0.04,
        ("Outside of all cones is outside of each.",),
    )


def counted(test, training, sigma, level):
    """The share by the nearest training image of each noisy one."""
    x = test + sigma * gaussian_noise(torch.Generator().manual_seed(103))(test)
    near = torch.cdist(x.flatten(1), training.flatten(1)).amin(1) / sigma
    return (near**2 > chi2.ppf(level, test[0].numel())).double().mean().item()


def exercise_4(best_factor):
    """best_factor(known, images, sigma): c for which D(x; c sigma) errs least."""
    digits = shuffled()
    known, unseen = digits[:1500], digits[1500:]
    yield Property(
        "for the images that the denoiser was built from it is about 1",
        0.75 < float(best_factor(known, known[:300], 0.8)) < 1.3,
        (
            "There the perfect denoiser is perfect.",
            "Mean squared error to the clean x0.",
        ),
    )
    found = {s: float(best_factor(known, unseen, s)) for s in (0.3, 0.7)}
    yield Property(
        "on unseen digits a factor half as large errs more, at two noise levels",
        all(
            err(known, unseen, s, c) < err(known, unseen, s, c / 2)
            for s, c in found.items()
        ),
        ("Try factors above 1, too.",),
    )
    yield Property(
        "and so does one that is twice as large; the best lies between",
        all(
            err(known, unseen, s, c)
            < 1.03 * min(err(known, unseen, s, f * c) for f in (0.7, 0.85, 1.2, 1.4, 2))
            for s, c in found.items()
        ),
        ("Take a grid of factors from 0.5 to 8, closer than a fifth.",),
    )


def shuffled():
    """The digits in an order in which any part is like the whole."""
    digits = data.load("digits")
    return digits[
        torch.randperm(len(digits), generator=torch.Generator().manual_seed(0))
    ]


def err(known, images, sigma, factor):
    noise = gaussian_noise(torch.Generator().manual_seed(104))
    answer = Optimal(known)(images + sigma * noise(images), factor * sigma)
    return mse(answer, images).mean().item()


def exercise_5(agreement):
    """agreement(a, b): mean correlation of the samples of two Wiener filters."""
    digits = shuffled()
    halves = [(digits[:n], digits[-n:]) for n in (40, 800)]
    yield Property(
        "two filters from the same images agree completely",
        close(float(agreement(halves[0][0], halves[0][0])), 1.0, rtol=1e-4),
        ("Both walks begin with the same noise.", "DDIM draws no noise on its way."),
    )
    few, many = (float(agreement(*pair)) for pair in halves)
    yield Property(
        "with larger halves they agree more",
        few + 0.03 < many < 1,
        ("`Wiener.fit(images)` is a denoiser.", "The sample is the last `x0_hat`."),
    )
    yield Property(
        "for halves of 40 and of 800 digits it is what we find, to 0.03",
        all(
            abs(found - walked(*pair)) < 0.03
            for found, pair in zip((few, many), halves)
        ),
        (
            "`metrics.pearson` correlates image by image; take the mean.",
            "About a hundred noises, and 25 steps `schedules.leading`.",
        ),
    )


def walked(a, b):
    """The correlation, for noises of our own."""
    noise, schedule = (
        gaussian_noise(torch.Generator().manual_seed(105)),
        schedules.linear(),
    )
    xT, steps = sampling.start(100, a.shape[1:], noise, a), schedules.leading(1000, 25)
    ends = [
        sampling.last(sampling.ddim(Wiener.fit(y), xT, schedule, steps)).x0_hat
        for y in (a, b)
    ]
    return pearson(*ends).mean().item()


def exercise_6(error_agreement):
    """error_agreement(a, b, x0, sigma): mean correlation of two denoisers' errors."""
    digits, other = shuffled()[:40], shuffled()[40:80] / 10
    seen = float(error_agreement(*[lambda x, sigma: x] * 2, digits, 0.8))
    yield Property(
        "a denoiser that returns what it sees agrees completely with itself",
        close(seen, 1.0, rtol=1e-4),
        ("Both must see the same noisy images.", "Add noise of the level sigma."),
    )
    opposite = (lambda x, sigma, s=s: digits + s * other for s in (1, -1))
    yield Property(
        "it is -1 for two answers on opposite sides of the clean image",
        close(float(error_agreement(*opposite, digits, 0.8)), -1.0, rtol=1e-4),
        ("Correlate what is wrong with the answers, not the answers.",),
    )
    halves = [Optimal(shuffled()[100:500]), Wiener.fit(shuffled()[500:900])]
    yield Property(
        "for two denoisers of digits it is what we find at two levels, to 0.05",
        all(
            abs(float(error_agreement(*halves, digits, s)) - shared(*halves, digits, s))
            < 0.05
            for s in (0.3, 1.2)
        ),
        (
            "The mean over images of `metrics.pearson`.",
            "The error is a - x0, not a - x.",
        ),
    )


def shared(a, b, x0, sigma):
    """The correlation of errors, the mean of ten draws of the noise."""
    noise = gaussian_noise(torch.Generator().manual_seed(106))
    x0 = x0.repeat(10, 1, 1, 1)
    x = x0 + sigma * noise(x0)
    return pearson(a(x, sigma) - x0, b(x, sigma) - x0).mean().item()
