"""Checks of the exercises of chapter 14, the benchmark."""

import numpy as np
import torch

from helpers import schedules
from helpers.checks import Property, close, given, numbers
from helpers.metrics import mse, pearson, r2_score
from helpers.wiener import Wiener, ddim_gain


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def images(seed, n=6, mean=0.2, std=0.3):
    """Random images with exactly this mean and standard deviation, float64."""
    x = torch.randn(n, 1, 5, 5, generator=seeded(seed), dtype=torch.float64)
    x = x - x.mean(dim=(1, 2, 3), keepdim=True)
    return mean + std * x / x.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()


def exercise_1(of_plain_answers):
    """of_plain_answers(mean, std, grey): r and R^2 of the negative, R^2 of grey."""
    cases = ((0.0, 0.3, 0.1), (0.2, 0.5, -0.3), (-0.6, 0.2, -0.6))
    found = [numbers(of_plain_answers(*case)) for case in cases]
    pictures = [images(141, 1, mean, std) for mean, std, _ in cases]
    yield Property(
        "r of the negative is that of images with these numbers",
        all(close(f[0], pearson(-u, u)[0]) for f, u in zip(found, pictures)),
        ("r does not see contrast and brightness.",),
    )
    yield Property(
        "so is its R^2",
        all(close(f[1], r2_score(-u, u)[0]) for f, u in zip(found, pictures)),
        ("The error is 2 u in each pixel: what is the mean of its square?",),
    )
    grey = [r2_score(0 * u + c[2], u)[0] for c, u in zip(cases, pictures)]
    yield Property(
        "and that of a plain image",
        all(close(f[2], g) for f, g in zip(found, grey)),
        (
            "It is 0 for the right grey level.",
            "The variance of the image is one part of the error.",
        ),
    )


def exercise_2(swapped):
    """swapped(r, q, b): R^2 with the model as the reference."""
    yield Property(
        "for the same contrast and brightness the roles do not matter",
        close(swapped(0.8, 1.0, 0.0), 0.6) and close(swapped(1.0, 1.0, 0.0), 1.0),
        ("Start with R^2 itself, and exchange the two.",),
    )
    yield Property(
        "an answer with twice the contrast, all else right, has 3/4",
        close(swapped(1.0, 2.0, 0.0), 0.75),
        ("In units of the model's contrast: what is that of the network?",),
    )
    a, u = images(142, mean=0.1, std=0.5), images(143)
    a = a + 0.7 * u
    s_a, s_u = (v.flatten(1).std(dim=1, correction=0) for v in (a, u))
    b = (a - u).flatten(1).mean(dim=1) / s_u
    found = [swapped(*map(float, c)) for c in zip(pearson(a, u), s_a / s_u, b)]
    yield Property(
        "it is what the images give",
        close([float(f) for f in found], r2_score(u, a)),
        ("The difference in brightness changes its unit, too.",),
    )


def exercise_3(best_case):
    """best_case(a, u): R^2 (B,) after fitting alpha + beta a to u in each image."""
    u = images(144)
    a = 0.4 * u + images(145, std=0.2)
    found = best_case(a, u)
    yield Property(
        "contrast and brightness of the model's image do not matter",
        close(best_case(3 - 2 * a, u), found) and close(best_case(1 - u, u), [1.0] * 6),
        ("Each image has its own alpha and beta.",),
    )
    fits = [np.polyfit(v, w, 1) for v, w in zip(a.flatten(1), u.flatten(1))]
    fitted = torch.stack([beta * v + alpha for (beta, alpha), v in zip(fits, a)])
    yield Property(
        "it is the R^2 of a fit by least squares",
        close(found, r2_score(fitted, u)),
        ("Which terms of R^2 can a scale and an offset make zero?",),
    )


def exercise_4(agreement_after):
    """agreement_after(S, denoise, reference, start): mean R^2 of the samples."""
    Q = torch.linalg.qr(torch.randn(16, 16, generator=seeded(146)).double())[0]
    lams = [0.05 * torch.rand(16, generator=seeded(k)).double() for k in (147, 148)]
    mu = torch.linspace(-0.2, 0.2, 16).double()
    two = [Wiener(mu, (Q * lam) @ Q.T, (1, 4, 4)) for lam in lams]
    start = torch.randn(30, 1, 4, 4, generator=seeded(149)).double()
    yield Property(
        "a denoiser agrees with itself",
        close(agreement_after(10, two[0], two[0], start), 1.0),
        ("Both walks begin at `start`.",),
    )
    yield Property(
        "for two Wiener filters it is what the closed form of their walks gives",
        all(
            close(agreement_after(S, *two, start), of_filters(S, mu, Q, lams, start))
            for S in (5, 10, 40)
        ),
        (
            "`schedules.leading(schedule.T, S)` are the timesteps.",
            "The sample is the last answer; the second denoiser is the reference.",
            "R^2 of each image, with n - 1 in the variance, then the mean.",
        ),
    )


def of_filters(S, mu, Q, lams, start):
    """Mean R^2 of the samples of two Wiener filters with the same eigenvectors."""
    path = schedules.linear()
    times = schedules.leading(path.T, S)
    z = (start.flatten(1) - path.alpha_bar[times[0]].sqrt() * mu) @ Q
    a, u = (mu + (z * ddim_gain(lam, times, path)) @ Q.T for lam in lams)
    return (1 - (a - u).square().mean(1) / u.var(dim=1)).mean()


def exercise_5(chosen_weights):
    """chosen_weights(first, second, clean, noisy, sigmas): w at each level."""
    clean, sigmas = images(151, 40, mean=0.0, std=0.3), [0.2, 0.5, 1.0]
    eps = torch.randn(clean.shape, generator=seeded(152)).double()
    noisy = [clean + s * eps for s in sigmas]
    dark, good = (lambda x, s: 0 * x), (lambda x, s: x / (1 + 9 * s**2))
    found = given(chosen_weights(dark, good, clean, noisy, sigmas))
    yield Property(
        "there is one for each level, from 0 to 1",
        len(found) == 3 and all(0 <= float(w) <= 1 for w in found),
        ("Cut what lies outside.",),
    )
    twice, half = (lambda x, s: 2 * good(x, s)), (lambda x, s: good(x, s) / 2)
    ends = [
        chosen_weights(*p, clean, noisy, sigmas) for p in ((good, twice), (dark, half))
    ]
    yield Property(
        "they are 0 where the second only makes it worse, 1 where it is best at full",
        close(ends[0], [0, 0, 0], atol=0.1) and close(ends[1], [1, 1, 1], atol=1e-9),
        ("The weight is that of the second denoiser.",),
    )
    pairs = [(twice, half), (half, twice), (dark, twice)]
    yield Property(
        "no other weight makes the error on the clean images smaller",
        all(
            least(w, first(x, s), second(x, s), clean)
            for first, second in pairs
            for w, x, s in zip(
                chosen_weights(first, second, clean, noisy, sigmas), noisy, sigmas
            )
        ),
        (
            "All numbers of all images together give one weight.",
            "Which difference is projected on which?",
        ),
    )


def least(w, first, second, clean):
    """Whether no weight nearby in [0, 1] is better."""
    near = [min(1.0, max(0.0, w + d)) for d in (-1e-3, 0.0, 1e-3)]
    errors = [mse(torch.lerp(first, second, v), clean).mean() for v in near]
    return bool(errors[1] <= min(errors) * (1 + 1e-9))


def exercise_6(difference):
    """difference(first, second): mean, low, high of the difference, noise by noise."""
    hard = torch.rand(60, generator=seeded(153)).double()
    small = 0.01 * torch.randn(60, generator=seeded(154)).double()
    mean, low, high = (float(v) for v in difference(hard + 0.1 + small, hard))
    yield Property(
        "the mean is that of first less second, and lies in its interval",
        close(mean, 0.1 + small.mean()) and low < mean < high,
        ("Positive where the first is larger.",),
    )
    width = 2 * 1.96 * float(small.std()) / 60**0.5
    yield Property(
        "the interval is as narrow as differences at the same noise allow",
        0.7 * width < high - low < 1.3 * width,
        (
            "Take the difference of each noise before the interval.",
            "The interval is one of the mean: with more noises it is narrower.",
        ),
    )
    shifted = [float(v) for v in difference(hard + 0.3, hard)]
    yield Property(
        "a difference that is the same at each noise has no width",
        close(shifted, [0.3] * 3),
        ("`bootstrap` gives the mean, the low and the high end.",),
    )


def exercise_7(chosen_and_tested):
    """chosen_and_tested(errors): chosen row of (K, B), its mean on the second half."""
    errors = torch.ones(3, 8)
    errors[1, :4], errors[1, 4:] = 0.5, 2.0
    errors[2, 4:] = 0.1
    best, tested = chosen_and_tested(errors)
    yield Property(
        "the second half of the noises has no say in the choice",
        int(best) == 1,
        ("The least mean error on the first half.",),
    )
    yield Property(
        "the error is that of the chosen row on the second half",
        close(tested, 2.0),
        ("An error on the noises of the choice would be too good.",),
    )
    luck = torch.rand(50, 40, generator=seeded(155)).double()
    yield Property(
        "where no row is better than another the test does not flatter",
        abs(float(chosen_and_tested(luck)[1]) - 0.5) < 0.15,
        ("Choose and test on different noises.",),
    )
