"""Checks of the exercises of chapter 6, variants."""

from itertools import pairwise
from statistics import NormalDist

import torch

from helpers import consistency, sampling, schedules
from helpers.checks import Property, close
from helpers.mixtures import Mixture
from helpers.wiener import Wiener

LOW, HIGH = 0.05, 5.0  # of the chapter
GRID = consistency.levels(LOW, HIGH, 8)


def one_pixel(weights, values, variance=0.01) -> Mixture:
    """One pixel with likely values, all of the same width."""
    cov = torch.full((len(values), 1, 1), variance)
    return Mixture(torch.tensor(weights), torch.tensor(values).view(-1, 1, 1, 1), cov)


def pixel() -> Mixture:
    """The pixel of the chapter."""
    return one_pixel([0.5, 0.3, 0.2], [-1.0, 0.0, 1.0])


def starts(mixture, n, sigma=HIGH):
    """Noisy pixels, by default of the highest level."""
    draws = torch.Generator().manual_seed(61)
    x0 = mixture.sample(n, draws)
    return x0 + sigma * torch.randn(x0.shape, generator=draws, dtype=x0.dtype)


def exercise_1(border):
    """border(mixture, share, sigma): x / sigma below which this share of pixels is."""
    one = one_pixel([1.0], [0.6], 0.04)
    expected = 0.6 / 5 + NormalDist().inv_cdf(0.8) * (1 + 0.04 / 25) ** 0.5
    yield Property(
        "for a pixel with one likely value it is a quantile of one bell",
        close(float(border(one, 0.8, 5.0)), expected, atol=0.01),
        (
            "The answer is in units of sigma.",
            "The noisy pixel has its own mean, and the variance of both together.",
        ),
    )
    three, x = pixel(), starts(pixel(), 200_000, 0.5).flatten() / 0.5
    cases = (0.1, 0.5, 0.8, 0.95)
    found = [(x < float(border(three, q, 0.5))).double().mean() for q in cases]
    yield Property(
        "of noisy pixels that were drawn the asked share lies below it",
        close(found, cases, rtol=0, atol=0.005),
        (
            "The noisy pixel is a mixture, too: the same weights, wider bells.",
            "Add up `torch.special.ndtr` with the weights, then `np.interp`.",
        ),
    )
    place = float(border(three, 0.5, HIGH))
    both = HIGH * torch.tensor([place - 0.05, place + 0.05], dtype=torch.float64)
    fine = consistency.levels(LOW, HIGH, 121).flip(0).tolist()
    ends = consistency.flow(three, both.view(-1, 1, 1, 1), fine).flatten()
    yield Property(
        "paths that start on both sides of it end at different values",
        bool(ends[0] < -0.5 < ends[1]),
        ("A path keeps its quantile.",),
    )


def exercise_2(sides):
    """sides(c, lam, sigma): both sides of the equation for x - mu = c sqrt(...)."""
    cases = [(1.0, 0.5, 2.0), (-0.7, 0.0, 0.3), (2.0, 9.0, 0.1)]
    found = [tuple(map(float, sides(*case))) for case in cases]
    yield Property(
        "the left side is the slope of c sqrt(lam + sigma^2), seen as differences",
        close([left for left, _ in found], [slope(*case) for case in cases], 1e-5),
        ("A derivative by sigma, with c and lam fixed.", "The chain rule."),
    )
    yield Property(
        "the right side is what the Wiener filter of the library gives",
        close([right for _, right in found], [filtered(*case) for case in cases]),
        (
            "D - mu is the gain lam / (lam + sigma^2) times x - mu.",
            "What the filter removes, over sigma.",
        ),
    )
    yield Property(
        "the two sides agree",
        all(close(left, right, 1e-5) for left, right in found),
        ("Put x - mu into the right side and cancel.",),
    )


def slope(c, lam, sigma, h=1e-5):
    ends = (c * (lam + (sigma + s) ** 2) ** 0.5 for s in (h, -h))
    return (next(ends) - next(ends)) / (2 * h)


def filtered(c, lam, sigma):
    """(x - D) / sigma by the library, for a mode with mean 0.3."""
    wiener = Wiener(torch.tensor([0.3]).double(), torch.tensor([[lam]]).double())
    x = torch.full((1, 1, 1, 1), 0.3 + c * (lam + sigma**2) ** 0.5, dtype=torch.float64)
    return consistency.slope(wiener, x, sigma).item()


def exercise_3(loss):
    """loss(f, x0, n, eps, stop): of both ends; `stop`: the upper alone learns."""
    args = examples()
    yield Property(
        "a function with the same answer everywhere has no loss",
        all(close(loss(lambda x, s: 0.3 + 0 * x, *args, stop), 0.0) for stop in (0, 1)),
        ("The mean square of a difference between two answers.",),
    )
    values = [both_ends(0.8, 0.8).item()] * 2
    found = [loss(scaled(0.8), *args, stop) for stop in (True, False)]
    yield Property(
        "its value is that of the chapter, with f in the place of the target",
        close([float(v) for v in found], values),
        (
            "The upper end is x0 + sigma_{n+1} eps; `grid[n]` is sigma_{n+1}.",
            "One step of `heun` leads to the lower end.",
        ),
    )
    h = 1e-5
    whole = (both_ends(0.8 + h, 0.8 + h) - both_ends(0.8 - h, 0.8 - h)) / (2 * h)
    upper = (both_ends(0.8 + h, 0.8) - both_ends(0.8 - h, 0.8)) / (2 * h)
    yield Property(
        "without `stop` its gradient is that of both ends",
        close(gradient(loss, args, False), whole, 1e-4),
        ("No `detach`, no `no_grad`.",),
    )
    yield Property(
        "with `stop` its gradient is that of the upper end alone",
        close(gradient(loss, args, True), upper, 1e-4),
        ("`detach` the answer at the lower end.",),
    )


def examples(B=64):
    """Clean pixels, levels, noise."""
    draws = torch.Generator().manual_seed(63)
    x0, n = pixel().sample(B, draws), torch.randint(1, 8, (B,), generator=draws)
    return x0, n, torch.randn(x0.shape, generator=draws, dtype=x0.dtype)


def scaled(a):
    """A student with one number that can be learned."""
    return lambda x, sigma: a * torch.tanh(x)


def both_ends(a, b):
    """The library's loss of a student `a` with a target `b`."""
    return consistency.distillation_loss(
        scaled(a), scaled(b), pixel(), *examples(), GRID
    )


def gradient(loss, args, stop):
    """By the number of `scaled`; 0 if there is none."""
    with torch.enable_grad():
        a = torch.tensor(0.8, dtype=torch.float64, requires_grad=True)
        value = loss(scaled(a), *args, stop)
        if not getattr(value, "requires_grad", False):
            return 0.0
        return torch.autograd.grad(value, a)[0]


def exercise_4(solver_error):
    """solver_error(x, N, heun): rms of the ends on N levels, from the exact ends."""
    x = HIGH * torch.tensor([-1.5, -0.7, 0.3, 0.5, 1.4]).double().view(-1, 1, 1, 1)
    found = {N: [float(solver_error(x, N, h)) for h in (True, False)] for N in (21, 41)}
    heun, euler = (a / b for a, b in zip(found[21], found[41]))
    yield Property(
        "with twice as many steps Euler's error is about halved",
        1.7 < euler < 2.5,
        (
            "N levels are N - 1 steps, from the highest level to the lowest.",
            "`consistency.levels` rise, a path falls.",
            "`consistency.flow` has an argument `heun`.",
        ),
    )
    yield Property(
        "that of Heun's falls faster",
        3 < heun < 8,
        ("The exact ends need many levels: 121 in the chapter.",),
    )
    cases = [(8, True), (8, False)]
    yield Property(
        "it is what we find, to 5 %",
        close(
            [float(solver_error(x, *c)) for c in cases],
            [apart(x, *c) for c in cases],
            0.05,
        ),
        ("Root of the mean square.",),
    )


def apart(x, N, heun):
    """The same, step by step, from ends on 121 levels."""
    few, many = (consistency.levels(LOW, HIGH, n).flip(0) for n in (N, 121))
    ends, rough = consistency.flow(pixel(), x, many), x
    for sigma, lower in pairwise(few):
        rough = consistency.ode_step(pixel(), rough, sigma, lower, heun)
    return (rough - ends).norm().item() / len(x) ** 0.5


def exercise_5(second_call):
    """second_call(f, x, sigma): both answers, of f at 5 and, with noise, at sigma."""
    x, calls = starts(pixel(), 20_000), []

    def watched(seen, sigma):
        calls.append((seen, float(sigma)))
        return 0.1 * torch.sign(seen)

    first, second = second_call(watched, x, 0.06)
    yield Property(
        "f is asked twice: x at the highest level, then at sigma",
        [level for _, level in calls] == [HIGH, 0.06] and close(calls[0][0], x),
        ("Algorithm 1 of the chapter, with one more level.",),
    )
    added = calls[1][0] - first
    yield Property(
        "what is added to the first answer has the variance of a path at this level",
        close(added.std().item(), (0.06**2 - LOW**2) ** 0.5, rtol=0.03),
        (
            "A path ends at the level `low`, not at 0.",
            "The root in the formula of the second call.",
        ),
    )
    products = (added * x).mean(), (added * first).mean(), added.mean()
    yield Property(
        "the noise is new",
        all(abs(p.item()) < 0.01 for p in products)
        and close(second, 0.1 * torch.sign(calls[1][0])),
        ("Draw it with `noise`; do not take that of x.", "Return both answers."),
    )


def exercise_6(least):
    """least(cov, k): the smallest error that a linear code of k numbers can leave."""
    draws = torch.Generator().manual_seed(66)
    root = torch.randn(12, 12, generator=draws, dtype=torch.float64)
    cov = root @ torch.diag(0.6 ** torch.arange(12.0).double()) @ root.T
    yield Property(
        "without a code it is the root of the mean variance, with all numbers 0",
        close(float(least(cov, 0)), (cov.trace() / 12).sqrt())
        and abs(float(least(cov, 12))) < 1e-6,
        ("RMSE a pixel.", "Rounding may make a sum slightly negative."),
    )
    codes = [torch.randn(k, 12, generator=draws).double() for k in (2, 5, 9) * 20]
    bounds = {k: float(least(cov, k)) for k in (2, 5, 9)}
    yield Property(
        "sixty codes drawn at random leave more",
        all(left(A, cov) > bounds[len(A)] for A in codes),
        ("Which eigenvalues are lost?", "`eigvalsh` sorts them, the smallest first."),
    )
    yield Property(
        "a code that was improved step by step comes close to it",
        all(close(improved(cov, k), bounds[k], rtol=0.01) for k in (2, 5, 9)),
        ("The error is a mean over all pixels, also for short codes.",),
    )


def left(A, cov):
    """RMSE a pixel of the best linear decoder for the code A x, by least squares."""
    root = torch.linalg.cholesky(cov)
    decoded = torch.linalg.pinv(A @ root) @ (A @ root)
    return (root - root @ decoded).square().sum().div(len(cov)).sqrt().item()


def improved(cov, k, rounds=200):
    """The error of a code that is multiplied by the covariance again and again."""
    A = torch.randn(k, len(cov), generator=torch.Generator().manual_seed(67)).double()
    for _ in range(rounds):
        A = torch.linalg.qr(cov @ A.T)[0].T
    return left(A, cov)


def exercise_7(off):
    """off(lam, p): Frobenius norm of what is wrong with the covariance, of the norm."""
    same = torch.full((5,), 0.4, dtype=torch.float64)
    lam = torch.tensor([5.0, 1.0, 0.2, 0.05], dtype=torch.float64)
    yield Property(
        "p does not matter for components that are all alike",
        close(
            [float(off(same, p)) for p in (0.0, 0.4, 1.0)], [float(off(same, 0.0))] * 3
        ),
        ("One factor for all components brings their mean variance back to 1.",),
    )
    yield Property(
        "for p = 1 the eigenvalues do not matter",
        close(float(off(lam, 1.0)), float(off(same, 0.0))),
        (
            "A component is scaled by lam^(-p/2): what is its variance then?",
            "Measured in pixels: undo the scale before you compare.",
        ),
    )
    yield Property(
        "it is what a walk with the filter generates, component by component",
        all(
            close(float(off(lam, p)), generated(lam, p), 1e-4) for p in (0.0, 0.5, 0.8)
        ),
        (
            "`wiener.ddim_gain(lam, times, schedule)` is a factor of the pure noise.",
            "Ten steps `schedules.trailing`, and eigenvalues one per cent too large.",
            "Compare variances, not standard deviations.",
        ),
    )


def generated(lam, p):
    """The same, by walking from each component's own unit of noise."""
    code = lam / lam**p
    code = code / code.mean()
    schedule = schedules.linear()
    filtering = Wiener(torch.zeros_like(lam), torch.diag(1.01 * code))
    units = torch.eye(len(lam), dtype=lam.dtype).view(len(lam), 1, 1, -1)
    walk = sampling.ddim(filtering, units, schedule, schedules.trailing(1000, 10))
    spread = sampling.last(walk).x0_hat.flatten(1)
    cov = spread.T @ spread * (lam / code)
    return ((cov - torch.diag(lam)).norm() / lam.norm()).item()
