"""Checks of the exercises of chapter 1, the forward process."""

import torch

from helpers import data, schedules
from helpers.checks import Property, close
from helpers.forward import posterior_coefficients, posterior_variance
from helpers.streaming import Moments


def exercise_1(variance_after):
    """variance_after(V, t, schedule): variance of a pixel at t that had V at t = 0."""
    linear = schedules.linear()
    yield Property(
        "at t = 0 nothing has happened yet",
        close(variance_after(4.0, 0, linear), 4.0),
        ("How many steps lie between t = 0 and t = 0?",),
    )
    yield Property(
        "a pixel of variance 1 keeps it, at every t",
        all(close(variance_after(1.0, t, linear), 1.0) for t in (1, 300, 1000)),
        (
            "Both terms of a step have a variance, and the two are independent.",
            "A factor in front of a number acts on its variance by its square.",
        ),
    )
    yield Property(
        "it is what step after step gives, for other schedules as well",
        all(close(variance_after(V, t, s), stepped(V, t, s)) for V, t, s in WALKS),
        ("Which steps have been made when the pixel is at t?",),
    )


WALKS = (
    (4.0, 1, schedules.linear()),
    (4.0, 300, schedules.linear()),
    (0.0, 40, schedules.constant(50)),
    (9.0, 7, schedules.cosine(20)),
)


def stepped(V, t, schedule):
    """The variance, one step after the other."""
    for beta in schedule.beta[1 : t + 1]:
        V = (1 - beta) * V + beta
    return V


def exercise_2(crossing):
    """crossing(beta): the first t with SNR below 1, if every beta_t is this number."""
    found = {beta: int(crossing(beta)) for beta in (0.3, 0.02, 0.003, 0.001)}
    yield Property(
        "at this t less than half of the variance is signal",
        all((1 - beta) ** t < 0.5 for beta, t in found.items()),
        (
            "SNR is 1 where signal and noise have the same variance.",
            "And the two variances add up to 1.",
        ),
    )
    yield Property(
        "one step earlier it is still half or more",
        all((1 - beta) ** (t - 1) >= 0.5 for beta, t in found.items()),
        ("Which power is the first below one half? Mind the entry 0 of a table.",),
    )
    yield Property(
        "it is a whole number",
        all(crossing(beta) == t for beta, t in found.items()),
        ("A walk has no half steps.",),
    )


def exercise_3(back):
    """back(a, b, v, t, schedule): factor of x_0, and variance, of the x it leads to."""
    linear = schedules.linear()
    yield Property(
        "if the step back keeps x_t as it is, they are those of x_t",
        close(back(0.0, 1.0, 0.0, 300, linear), at(linear, 300)),
        ("Put the jump in the place of x_t, and collect what has x_0 in it.",),
    )
    yield Property(
        "a step that knows x_0 and adds noise has this factor and this variance",
        close(back(0.3, 0.0, 0.2, 300, linear), (0.3, 0.2)),
        ("v is a variance already.",),
    )
    yield Property(
        "with the coefficients of the posterior they are those of x_{t-1}",
        all(
            close(back(*posterior(linear, t), t, linear), at(linear, t - 1))
            for t in (2, 50, 1000)
        ),
        ("A factor in front of noise acts on its variance by its square.",),
    )
    yield Property(
        "a simulation with other coefficients agrees to 2 %",
        close(back(-0.5, 1.5, 0.3, 200, linear), simulated(linear, 200), rtol=0.02),
        ("The two noises are independent.",),
    )


def at(schedule, t):
    """Factor of x_0, and variance, of the jump to t."""
    return schedule.alpha_bar[t].sqrt().item(), schedule.noise_variance[t].item()


def posterior(schedule, t):
    """Both coefficients and the variance of one step back that knows x_0."""
    a, b = posterior_coefficients(schedule, t, t - 1)
    return a.item(), b.item(), posterior_variance(schedule, t, t - 1).item()


def simulated(schedule, t):
    """-0.5 x_0 + 1.5 x_t + noise of variance 0.3, a hundred thousand times."""
    x0, eps, z = torch.randn(3, 100_000, generator=torch.Generator().manual_seed(0))
    signal, spread = at(schedule, t)
    x = -0.5 * x0 + 1.5 * (signal * x0 + spread**0.5 * eps) + 0.3**0.5 * z
    factor = (x * x0).mean() / x0.square().mean()
    return factor, (x - factor * x0).var()


def exercise_4(quiet):
    """quiet(t, s, schedule): a, b of x_s = a x_0 + b x_t, of the right distribution."""
    linear, pairs = schedules.linear(), ((2, 1), (300, 299), (1000, 500))
    found = [(t, s, quiet(t, s, linear)) for t, s in pairs]
    yield Property(
        "x_s has noise of the right variance",
        all(close(b**2 * at(linear, t)[1], at(linear, s)[1]) for t, s, (_, b) in found),
        (
            "All noise in x_s comes from x_t now.",
            "Solve for b first: what must the noise in x_t be multiplied by?",
        ),
    )
    yield Property(
        "x_s has the right share of x_0",
        all(
            close(a + b * at(linear, t)[0], at(linear, s)[0]) for t, s, (a, b) in found
        ),
        ("x_t brings some x_0 along. How much is missing?",),
    )
    yield Property(
        "the noise keeps its sign: what was too bright stays too bright",
        all(b > 0 for *_, (_, b) in found),
        ("A square has two roots.",),
    )


def exercise_5(evenly):
    """evenly(lam, T): a schedule in which equally many components drown in a step."""
    power = torch.logspace(1, -6, 1000, dtype=torch.float64)
    shuffled = power[torch.randperm(1000, generator=torch.Generator().manual_seed(0))]
    schedule = evenly(power, 50)
    yield Property(
        "it has T steps, and the last one drowns the largest component",
        schedule.T == 50 and bool(schedule.sigma[-1] ** 2 >= power.max() * (1 - 1e-9)),
        ("A component drowns when sigma_t^2 exceeds its eigenvalue.",),
    )
    yield Property(
        "after t of T steps the share t / T of the components has drowned, to 1 %",
        uneven(schedule, power) < 0.01,
        (
            "Which eigenvalue has the share t / T of the others below it?",
            "`schedules.from_sigma` takes the levels for t = 1, ..., T.",
        ),
    )
    yield Property(
        "the order in which the eigenvalues are given does not matter",
        uneven(evenly(shuffled, 50), power) < 0.01,
        ("Sort, or ask for quantiles.",),
    )
    alive = torch.linalg.eigvalsh(Moments().update(data.load("digits")).cov())
    alive = alive[alive > 1e-6]
    yield Property(
        "it works for the digits, which have fewer components than a walk has steps",
        uneven(evenly(alive, 1000), alive) < 1.01 / len(alive),
        ("Between two eigenvalues the level must rise, too.",),
    )


def uneven(schedule, lam):
    """The largest difference of the share that has drowned from t / T."""
    drowned = (lam <= schedule.sigma[:, None] ** 2 * (1 + 1e-9)).double().mean(dim=1)
    share = torch.arange(schedule.T + 1) / schedule.T
    return (drowned - share).abs().max()
