"""Checks of the exercises of chapter 8, the posterior mean."""

from functools import cache
from itertools import product

import torch

from helpers import data, sampling, schedules
from helpers.checks import Property, close
from helpers.denoisers import Optimal
from helpers.forward import gaussian_noise, posterior_variance
from helpers.mixtures import Mixture, two_point

schedule = schedules.linear()


def exercise_1(answer):
    """answer(x, sigma, p): E[x0 | x] of a pixel, 1 with probability p, else -1."""
    places = [(0.4, 0.5, 0.9), (-0.3, 0.8, 0.9), (0.1, 0.4, 0.2), (-1.2, 2.0, 0.5)]
    yield Property(
        "with very much noise it is the mean of the pixel itself",
        close(answer(0.3, 1e3, 0.9), 0.8, rtol=1e-3),
        ("The prior odds of white are p / (1 - p).",),
    )
    yield Property(
        "if black and white change places, its sign changes and nothing else",
        all(close(answer(-x, s, 1 - p), -answer(x, s, p)) for x, s, p in places),
        ("Both the odds and their logarithm turn around.",),
    )
    yield Property(
        "it is what `two_point` answers",
        all(close(answer(*place), exact_coin(*place)) for place in places),
        (
            "The odds of white are p / (1 - p) times those of the noise.",
            "tanh(a) is (odds - 1) / (odds + 1) for odds of exp(2 a).",
        ),
    )


def exact_coin(x, sigma, p):
    return two_point(p)(torch.full((1, 1, 1, 1), x, dtype=torch.float64), sigma).item()


def exercise_2(gaussian):
    """gaussian(x, m, lam, sigma): log density, score, posterior mean and variance."""
    line = torch.linspace(-8, 8, 801, dtype=torch.float64)
    here, h = (0.3, 0.5, 0.7), 1e-4

    def slope(which):
        up, down = (float(gaussian(0.9 + d, *here)[which]) for d in (h, -h))
        return (up - down) / (2 * h)

    density = torch.tensor([float(gaussian(x, *here)[0]) for x in line.tolist()]).exp()
    yield Property(
        "the density of noisy pixels has the mass 1",
        close(torch.trapezoid(density, line), 1.0, rtol=1e-4),
        ("The noise makes the bell wider: variances add.", "Mind the 2 pi."),
    )
    yield Property(
        "the score is the slope of the log density",
        close(float(gaussian(0.9, *here)[1]), slope(0), rtol=1e-5),
        ("Differentiate by x; which sign has it right of the middle?",),
    )
    m, lam, sigma = here
    bell = Mixture(torch.ones(1), torch.full((1, 1, 1, 1), m), torch.tensor([[[lam]]]))
    x = torch.full((1, 1, 1, 1), 0.9, dtype=torch.float64)
    yield Property(
        "the posterior mean is that of a mixture with one component",
        close(float(gaussian(0.9, *here)[2]), bell(x, sigma).item()),
        ("Tweedie: how far uphill does the best answer go?",),
    )
    yield Property(
        "the posterior variance is sigma^2 times the slope of the mean, at any x",
        all(
            close(float(gaussian(v, *here)[3]), sigma**2 * slope(2)) for v in (0.9, -2)
        ),
        ("lam and sigma^2 are variances. Which of the two is the result below?",),
    )


def exercise_3(error):
    """error(values, weights, k): squared error of the mean of k posterior draws."""
    values = torch.tensor([-1.0, -0.5, 1.0], dtype=torch.float64)
    weights = torch.tensor([0.42, 0.18, 0.40], dtype=torch.float64)
    yield Property(
        "it is 0 if there is one candidate only",
        close(error(values[:1], torch.ones(1, dtype=torch.float64), 2), 0.0),
        ("Then the truth and all draws are the same.",),
    )
    floor = listed(values, weights, 0)
    yield Property(
        "for very many draws it is the error of the mean, to 1 %",
        close(error(values, weights, 1000), floor, rtol=0.01),
        ("What does the average of many draws come to?", "Weigh the values."),
    )
    yield Property(
        "for 1, 2 and 3 draws it is what a list of all cases gives",
        all(
            close(error(values, weights, k), listed(values, weights, k))
            for k in (1, 2, 3)
        ),
        (
            "From the average to the truth: first to the mean, then on from there.",
            "The truth is drawn from the same posterior, independently.",
        ),
    )


def listed(values, weights, k):
    """The error by going through all draws and truths; k = 0 is the mean itself."""
    total = 0.0
    for case in product(range(len(values)), repeat=k + 1):
        truth, *drawn = case
        answer = values[drawn].mean() if k else weights @ values
        total += weights[list(case)].prod() * (answer - values[truth]) ** 2
    return total


def exercise_4(better):
    """better(x, sigma): a net as a denoiser of the plane, better than the chapter's."""
    generator = torch.Generator().manual_seed(84)
    times = range(25, 1001, 25)
    x0 = plane().sample(100, generator)
    pairs = [
        (x0 + s * torch.randn(x0.shape, generator=generator, dtype=x0.dtype), s)
        for s in schedule.sigma[list(times)].tolist()
    ]
    answers = [better(x, s) for x, s in pairs]
    yield Property(
        "it answers a batch (B, 1, 1, 2) with a batch of the same shape and finite",
        all(a.shape == x0.shape and bool(a.isfinite().all()) for a in answers),
        ("The net takes pairs (B, 2) in float32 and a time for each.",),
    )
    apart = [(a - plane()(x, s)).square() for a, (x, s) in zip(answers, pairs)]
    yield Property(
        "its squared distance to the exact answer is below 0.012, averaged over times",
        float(torch.stack(apart).flatten(2).sum(-1).mean()) < 0.012,
        (
            "x is x_t over the root of alpha_bar, and the net wants x_t.",
            "`targets.timestep` tells the time of a noise level.",
            "guess gives x0_hat already.",
        ),
    )
    yield Property(
        "at most half of its samples lie where no data are",
        sampled(better, schedules.trailing(1000, 100), 1000, generator) <= 0.5,
        (
            "Divide the squared error of a pair by its `schedule.noise_variance[t]`.",
            "Begin with the weights that you have, and a new optimiser.",
            "600 batches of 512 pairs are enough.",
        ),
    )


def exercise_5(share_off):
    """share_off(times): share of ancestral samples of the plane where no data are."""
    shares = {S: float(share_off(schedules.trailing(1000, S))) for S in (5, 10, 50)}
    yield Property(
        "it is a share that falls with more steps",
        1 >= shares[5] > shares[10] > shares[50] >= 0,
        ("Off are the samples whose log density is below the floor.",),
    )
    yield Property(
        "with 50 steps less than one sample in a hundred is off",
        shares[50] < 0.01,
        ("Which variance has a step? The answer is the last `x0_hat`.",),
    )
    generator = torch.Generator().manual_seed(85)
    own = {
        S: sampled(plane(), schedules.trailing(1000, S), 2000, generator)
        for S in (5, 10)
    }
    yield Property(
        "with 5 and with 10 steps it is what we find, to 0.05",
        all(abs(shares[S] - own[S]) < 0.05 for S in own),
        (
            "Steps of the posterior variance, from pure noise, some 2,000 samples.",
            "`off` of the chapter has the right floor.",
        ),
    )


@cache
def plane():
    """The five Gaussians of the chapter."""
    angle = torch.tensor([200.0, 130.0, 60.0, -10.0]).deg2rad()
    arc = 0.75 * torch.stack([angle.cos(), angle.sin()], 1)
    along = torch.stack([-angle.sin(), angle.cos()], 1)
    means = torch.cat([arc, torch.tensor([[0.1, -0.75]])])
    cov = 0.06**2 * torch.eye(2).repeat(5, 1, 1)
    cov[:4] += 0.06 * along[:, :, None] * along[:, None]
    share = torch.tensor([0.10, 0.30, 0.25, 0.15, 0.20])
    return Mixture(share, means.view(5, 1, 1, 2), cov)


def sampled(denoise, times, n, generator):
    """The share of n ancestral samples in places rarer than all but 1 in 1000 data."""
    noise = gaussian_noise(generator)
    data_there = plane().log_density(plane().sample(10_000, generator), 0.01)
    xT = sampling.start(n, (1, 1, 2), noise, plane().means)
    walk = sampling.ancestral(denoise, xT, schedule, noise, times, posterior_variance)
    there = plane().log_density(sampling.last(walk).x0_hat.double(), 0.01)
    return (there < data_there.quantile(0.001)).double().mean().item()


def exercise_6(floors):
    """floors(images, x0, x, sigma): squared errors of Optimal, sigma^2 times traces."""
    digits = data.load("digits").double()
    x0 = digits[::9]
    noise = gaussian_noise(torch.Generator().manual_seed(86))
    sigma = 1.2
    x = x0 + sigma * noise(x0)
    error, trace = (torch.as_tensor(v).detach() for v in floors(digits, x0, x, sigma))
    w, y = Optimal(digits).weights(x, sigma), digits.flatten(1)
    answer = w @ y
    yield Property(
        "the squared errors are sums over the pixels, one for each image",
        close(error, (answer - x0.flatten(1)).square().sum(1), rtol=1e-4),
        ("A sum over 64 pixels, not their mean.",),
    )
    spread = w @ y.square().sum(1) - answer.square().sum(1)
    yield Property(
        "the second are the posterior variances of the whole images",
        close(trace, spread, rtol=1e-4, atol=1e-6),
        (
            "A trace needs the derivative of each pixel by itself only.",
            "Do not forget sigma^2.",
            "One call of `autograd.grad` for each pixel serves all images at once.",
        ),
    )


def exercise_7(gain):
    """gain(t, low, high): variance of x0 in a bin of x_t over that of E[x0 | x_t]."""
    yield Property(
        "half the bin, about four times the gain, where the answer is a straight line",
        3.5 < gain(500, 0.0, 0.2) / gain(500, 0.0, 0.4) < 4.5,
        (
            "In a narrow bin the second target hardly varies.",
            "Variances, not standard deviations.",
        ),
    )
    yield Property(
        "it is what many drawn pairs give, to 5 %",
        all(close(gain(*b), counted(*b), rtol=0.05) for b in BINS),
        (
            "x_t has a density in the bin: do not take its points as equally likely.",
            "x0 is 1 or -1: its variance follows from its mean in the bin.",
        ),
    )


BINS = ((250, 0.1, 0.5), (500, 0.5, 1.5), (100, -0.4, 0.4))


def counted(t, low, high):
    """The gain from drawn pairs."""
    generator = torch.Generator().manual_seed(87)
    coin = two_point()
    x0 = coin.sample(300_000, generator).flatten()
    keep, spread = schedule.alpha_bar[t].sqrt(), schedule.noise_variance[t].sqrt()
    xt = keep * x0 + spread * gaussian_noise(generator)(x0)
    inside = (xt > low) & (xt < high)
    x = (xt[inside] / keep).view(-1, 1, 1, 1)
    return x0[inside].var() / coin(x, schedule.sigma[t]).var()
