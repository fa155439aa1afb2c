"""Checks of the exercises of chapter 2, the variational bound."""

import math
from itertools import pairwise

import torch
from torch.distributions import Normal

from helpers import bound, data, schedules
from helpers.checks import Property, close
from helpers.forward import posterior_variance


def exercise_1(divergence):
    """divergence(a, u, b, v): nats from N(a, u) to N(b, v), u and v are variances."""
    yield Property(
        "it is 0 for a bell and itself",
        close(divergence(0.3, 2.0, 0.3, 2.0), 0.0),
        ("Both logarithms and both squares must cancel.",),
    )
    yield Property(
        "with equal widths it grows by the factor 4 when the distance doubles",
        close(divergence(0.0, 2.0, 6.0, 2.0), 4 * divergence(0.0, 2.0, 3.0, 2.0)),
        ("Take the expectation of both squares under the first bell.",),
    )
    yield Property(
        "it is what an integral over the line gives",
        all(close(divergence(*c), integral(*c), 1e-3) for c in BELLS),
        (
            "u and v are variances, not standard deviations.",
            "Which of the two bells takes the expectation?",
        ),
    )


BELLS = ((0.0, 1.0, 1.0, 2.0), (-1.0, 0.5, 0.5, 0.1), (2.0, 3.0, 2.0, 0.7))


def integral(a, u, b, v):
    """The divergence by adding up 20,000 small rectangles."""
    x = torch.linspace(-30, 30, 20_000, dtype=torch.float64)
    p, q = Normal(a, u**0.5), Normal(b, v**0.5)
    density = p.log_prob(x).exp()
    return torch.trapezoid(density * (p.log_prob(x) - q.log_prob(x)), x)


def exercise_2(coin_bound):
    """coin_bound(k): the bound, in bits, of a coin that is white k times in ten."""
    fair, loaded = coin_bound(5), coin_bound(9)
    yield Property(
        "for a fair coin it is that of the chapter, a bit and less than 1 % more",
        1 < fair < 1.01,
        (
            "Take nats to bits, and the best variances.",
            "The second moment is 1 for every coin, and L_0 is 0.",
        ),
    )
    entropy = -(0.9 * math.log2(0.9) + 0.1 * math.log2(0.1))
    yield Property(
        "for nine in ten it is above the entropy, by less than 1 %",
        entropy < loaded < 1.01 * entropy,
        (
            "The denoiser must know the frequencies: nine of its ten images are white.",
            "The errors of both sides count, each with its own frequency.",
        ),
    )


def exercise_3(gap):
    """gap(T, kind): nats of all t > 1 that the bound has too much, for lambda = 1/4."""
    large = [float(gap(T, "large")) for T in (250, 1000, 4000)]
    yield Property(
        "with beta_t it falls by about the factor 4 when T grows by it",
        all(3 < a / b < 5 for a, b in pairwise(large)),
        ("Do both ends of the linear schedule scale?",),
    )
    yield Property(
        "with the smaller variance it stays above a quarter of a nat",
        0.25 < gap(16_000, "small") < 0.5,
        ("The true variance over yours is in both terms of the divergence.",),
    )
    yield Property(
        "it is what step_kl has more than with the best variances",
        all(close(gap(250, kind), excess(250, kind)) for kind in ("large", "small")),
        ("Add up t = 2, ..., T, and leave out the ends.",),
    )


def excess(T, kind):
    """The sum of step_kl over t > 1, less that with the best variance at each t."""
    path, t = schedules.linear(T, 0.1 / T, 20 / T), torch.arange(2, T + 1)
    mmse = 0.25 / (1 + 0.25 * path.snr[t])
    variances = bound.fixed_variance(path, kind)[t], bound.best_variance(path, t, mmse)
    large, least = (bound.step_kl(path, t, mmse, v).sum() for v in variances)
    return large - least


def exercise_4(weights):
    """weights(schedule, t, variance): those of the squared errors of x0 and of v."""
    schedule = schedules.linear()
    t = torch.arange(2, schedule.T + 1)
    tilde = posterior_variance(schedule, t, t - 1)
    w_x0, w_v = (torch.as_tensor(w) for w in weights(schedule, t, tilde))
    yield Property(
        "for the smaller variance the weights of x0 add up to half of SNR_1 - SNR_T",
        close(w_x0.sum(), (schedule.snr[1] - schedule.snr[-1]) / 2),
        (
            "Start from the mean of the step back: which factor has x0 in it?",
            "A square of that factor, over twice the variance.",
        ),
    )
    w_eps = bound.vlb_weight(schedule, t, tilde)
    yield Property(
        "an error of v weighs less than the same error of eps, at every t",
        bool((w_v < w_eps).all()),
        ("With x_t fixed, by how much does v move if eps moves by 1?",),
    )
    yield Property(
        "at the last step the weights of v and of x0 are the same to 1 %",
        close(w_v[-1], w_x0[-1], rtol=0.01),
        ("At t = T the noisy image is noise: what is v there?",),
    )


def exercise_5(memory_bits):
    """memory_bits(images): bits of all t > 1, together, to tell one image of many."""
    digits = data.load("digits").double()
    apart = digits[[0, 1]]
    yield Property(
        "two different digits need one bit, to 15 %",
        close(memory_bits(apart), 1.0, rtol=0.15),
        (
            "image_terms is per dimension: a digit has 64 of them.",
            "To add up all t from a few: rectangles as wide as their distance.",
            "Draw the noise more than once for so few images.",
        ),
    )
    yield Property(
        "sixty-four digits need six, to 15 %",
        close(memory_bits(digits[:64]), 6.0, rtol=0.15),
        ("Take more values of t, and more draws of the noise.",),
    )


def exercise_6(total):
    """total(lam, schedule): nats of all t > 1 for N(0, lam), each variance the best."""
    schedule = schedules.linear(50, 0.1 / 50, 20 / 50)
    beta = schedule.beta[1:].clone()
    beta[1:] = beta[1:].flip(0)
    turned = schedules.from_beta(beta)
    yield Property(
        "it depends on the first and the last noise level, not on those between",
        close(total(0.25, schedule), total(0.25, turned)),
        ("Write the best variance by v_t and v_{t-1}, and look for a telescope.",),
    )
    yield Property(
        "a component without variance costs nothing",
        close(total(1e-12, schedule), 0.0, atol=1e-6),
        ("Then the true step back is q(x_{t-1} | x_t, x_0) itself.",),
    )
    yield Property(
        "it is what step_kl gives, term by term",
        all(close(total(lam, schedule), added(lam, schedule)) for lam in (0.1, 1, 9)),
        ("t = 1 is not part of the sum.",),
    )


def added(lam, schedule):
    """The sum over t > 1 with the variance that makes each term smallest."""
    t = torch.arange(2, schedule.T + 1)
    mmse = lam / (1 + lam * schedule.snr[t])
    variance = bound.best_variance(schedule, t, mmse)
    return bound.step_kl(schedule, t, mmse, variance).sum()
