"""Checks of the exercises of chapter 4, sampling."""

from functools import cache

import torch

from helpers import data, networks, sampling, schedules
from helpers.checks import Property, close
from helpers.forward import gaussian_noise, posterior_variance, step_variance
from helpers.metrics import mse
from helpers.mixtures import Mixture
from helpers.streaming import Moments

SHORT = schedules.linear(30, 1e-3, 0.3)


def exercise_1(algorithm_2):
    """algorithm_2(net, xT, schedule, noise): samples; the net answers net(xt, t)."""
    x0, xT = torch.rand(2, 3, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    yield Property(
        "a net that knows the only image there is ends at it",
        close(algorithm_2(knows(x0), xT, SHORT, seeded()), x0, 1e-3, 1e-3),
        (
            "Is there noise in the last step?",
            "t runs from T down to 1, and entry t of a table belongs to it.",
        ),
    )
    net = networks.denoiser(curious, SHORT)
    right = sampling.last(sampling.ancestral(net, xT, SHORT, seeded())).x0_hat
    yield Property(
        "with the same noise it is the sample of `sampling.ancestral`, to 0.001",
        close(algorithm_2(curious, xT, SHORT, seeded()), right, 1e-3, 1e-3),
        (
            "sigma_t is a standard deviation; the paper's first choice is beta_t.",
            "What is in the bracket is divided, too.",
        ),
    )


def knows(x0):
    """The perfect net for one image, on the short schedule."""

    def net(xt, t):
        t = torch.as_tensor(t).long().reshape(-1, 1, 1, 1)
        signal = SHORT.alpha_bar[t].sqrt().float()
        return (xt - signal * x0) / SHORT.noise_variance[t].sqrt().float()

    return net


def curious(xt, t):
    """A net of no use whose answer depends on all that it is told."""
    t = torch.as_tensor(t).to(xt).reshape(-1, 1, 1, 1)
    return 0.6 * xt.tanh() + 0.2 * (t / 7).sin()


def seeded():
    return gaussian_noise(torch.Generator().manual_seed(1))


def exercise_2(quiet_std):
    """quiet_std(times, lam, schedule): of the samples if no noise is ever added."""
    linear, ten = schedules.linear(), schedules.leading(1000, 10)
    yield Property(
        "for data without variance it is 0",
        close(quiet_std(ten, 1e-12, linear), 0.0, atol=1e-6),
        ("Then every guess is 0.",),
    )
    cases = ((ten, 0.25, linear), ([700, 30, 2], 4.0, linear), (ten, 1.0, QUICK))
    yield Property(
        "it is what the sampler makes of a start at 1, for other times as well",
        all(close(quiet_std(*case), walked(*case), 1e-4) for case in cases),
        (
            "A linear sampler multiplies its start, whose standard deviation is 1.",
            "A guess is a conditional mean: what is the mean of the means?",
        ),
    )


QUICK = schedules.cosine(1000)


def linear_guess(lam):
    """The best denoiser of data N(0, lam)."""
    return lambda x, sigma: lam * x / (lam + sigma**2)


def walked(times, lam, schedule):
    """Where ancestral sampling without noise takes the start 1."""
    start = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    denoise = linear_guess(lam)
    walk = sampling.ancestral(denoise, start, schedule, torch.zeros_like, times)
    return sampling.last(walk).x0_hat.item()


def exercise_3(code):
    """code(denoise, x0, schedule, times): the noise from which DDIM makes x0."""
    linear, x0 = schedules.linear(), torch.linspace(-2, 2, 5).double().view(5, 1, 1, 1)
    fine = schedules.leading(1000, 500)
    yield Property(
        "images of variance 1/4 and 4 have codes of variance 1, to 5 %",
        all(
            close(code(linear_guess(v), v**0.5 * x0, linear, fine), x0, 0.03, 0.01)
            for v in (0.25, 4.0)
        ),
        (
            "Walk along the times from the last to the first.",
            "Both factors with alpha_bar belong to the time that you go to.",
        ),
    )
    means = torch.tensor([[-1.0, 0.5], [1.0, 0.5]]).view(2, 1, 1, 2)
    cov = 0.05 * torch.eye(2).expand(2, 2, 2)
    two = Mixture(torch.tensor([0.3, 0.7]), means, cov)
    images = two.sample(20, torch.Generator().manual_seed(0))
    times = schedules.leading(1000, 200)
    walk = sampling.ddim(two, code(two, images, linear, times), linear, times)
    yield Property(
        "DDIM brings images of two kinds back, with an error below a tenth",
        bool(mse(sampling.last(walk).x0_hat, images).mean() < 0.01),
        ("The guess and its noise are asked for at the time that you come from.",),
    )


def exercise_4(generated_std):
    """generated_std(S, lam, kind): kind is "large", "small" or "ddim"."""
    yield Property(
        "for data of variance 1 the large variance gives 1, for any number of steps",
        all(close(generated_std(S, 1.0, "large"), 1.0, 1e-3) for S in (2, 10, 300)),
        ("Follow the variance through one step: what is multiplied, what is added?",),
    )
    yield Property(
        "with all 1000 steps each kind is right to 2 %",
        all(close(generated_std(1000, 0.25, kind), 0.5, 0.02) for kind in KINDS),
        ("Variance or standard deviation?",),
    )
    cases = [(10, lam, kind) for lam in (0.01, 4.0) for kind in KINDS]
    cases += [(1000, 1e-4, "large")]  # where a last step with noise would be seen
    yield Property(
        "it is what many walks of the samplers give, to 5 %",
        all(close(generated_std(*case), many(*case), 0.05) for case in cases),
        (
            "No noise is added in the last step.",
            "The times are those of `schedules.leading`.",
        ),
    )


KINDS = ("large", "small", "ddim")


@cache
def many(S, lam, kind):
    """The standard deviation of four thousand samples."""
    linear, times = schedules.linear(), schedules.leading(1000, S)
    noise = gaussian_noise(torch.Generator().manual_seed(S))
    xT = noise(torch.empty(4000, 1, 1, 1, dtype=torch.float64))
    walk = linear_guess(lam), xT / xT.std(), linear
    if kind == "ddim":
        return sampling.last(sampling.ddim(*walk, times)).x0_hat.std()
    variance = step_variance if kind == "large" else posterior_variance
    return sampling.last(sampling.ancestral(*walk, noise, times, variance)).x0_hat.std()


def exercise_5(best_times):
    """best_times(lam, S): S falling timesteps for DDIM on N(0, diag(lam))."""
    lam = torch.linalg.eigvalsh(Moments().update(data.load("digits")).cov())
    lam, usual = lam.clamp_min(0), schedules.leading(1000, 5)
    times = list(best_times(lam, 5))
    yield Property(
        "they are S whole numbers that fall from at most 1000 to at least 1",
        len(times) == 5 and falling(times),
        ("A step may not overtake its neighbour, nor leave the schedule.",),
    )
    yield Property(
        "for the digits the error is less than half that of equally spaced steps",
        distance(times, lam) < distance(usual, lam) / 2,
        (
            "The distance of two Gaussians adds squares of what, over all lam?",
            "Begin with long moves; a move by 1 changes too little to be seen.",
        ),
    )
    yield Property(
        "no step can be moved by one to a smaller error",
        all(distance(t, lam) > 0.999 * distance(times, lam) for t in neighbours(times)),
        ("Try every step again after each change, until none helps.",),
    )


def falling(times):
    """Whether they are whole numbers on their way down, within the schedule."""
    whole = all(t == int(t) for t in times)
    return whole and all(t > s for t, s in zip([1001, *times], [*times, 0]))


def neighbours(times):
    """The same times with one of them moved by one."""
    moved = (
        [*times[:i], t + d, *times[i + 1 :]]
        for i, t in enumerate(times)
        for d in (-1, 1)
    )
    return [new for new in moved if falling(new)]


def distance(times, lam):
    """Squared Wasserstein distance of what DDIM generates, by the sampler itself."""
    start = torch.ones(1, 1, 1, len(lam), dtype=torch.float64)
    walk = sampling.ddim(linear_guess(lam), start, schedules.linear(), times)
    return (sampling.last(walk).x0_hat.flatten().abs() - lam.sqrt()).square().sum()
