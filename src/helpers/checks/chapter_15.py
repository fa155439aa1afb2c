"""Checks of the exercises of chapter 15, editing the statistics."""

import numpy as np
import torch

from helpers import data, dead_leaves, planted
from helpers.checks import Property, close, numbers
from helpers.wiener import Wiener

SIDE = 8  # of the images of most checks
LEVEL = 0.65183634  # the noise of exercise 2


def exercise_1(of_the_other):
    """of_the_other(s, lam, sigma): one pixel in the field of the other."""
    yield Property(
        "it is 0 without a dose, and small doses add by their square",
        close(of_the_other(0, 0.4, 0.6), 0)
        and close(of_the_other(0.002, 1, 1), 4 * of_the_other(0.001, 1, 1), 1e-4),
        ("In the covariance the dose stands as a square.",),
    )
    yield Property(
        "images without a variance of their own and a large dose give one half",
        close(of_the_other(1e6, 0, 0.6), 0.5, 1e-4),
        ("Two measurements of one number: take their mean.",),
    )
    cases = ((0.2, 0.3, 0.7), (3.0, 0.5, 0.2), (1e4, 2.0, 1.0))
    yield Property(
        "it is in the filter of the two pixels",
        all(close(of_the_other(*c), of_two_pixels(*c)) for c in cases),
        ("kappa is a sum over both pixels.", "v is 1 at the other pixel alone."),
    )


def of_two_pixels(s, lam, sigma):
    cov = lam * torch.eye(2).double() + s**2 * torch.ones(2, 2).double()
    return Wiener(torch.zeros(2), cov).matrix(sigma)[0, 1]


def exercise_2(leaves_needed):
    """leaves_needed(s): images for an error of a tenth of what the W adds."""
    small = [float(leaves_needed(s)) for s in (0.01, 0.02)]
    yield Property(
        "half of a small dose takes about sixteen times the images",
        12 < small[0] / small[1] < 17,
        ("A standard error falls with the root of the number of images.",),
    )
    N = float(leaves_needed(0.1))
    measurable = 100 < N < 900  # else it is wrong, and would take long
    spread, rise = measured(int(N)) if measurable else (0.0, 1.0)
    yield Property(
        "for s = 0.1, filters of so many leaves spread by a tenth of what it adds",
        0.075 < spread / rise < 0.125,
        (
            "The strength with the W less the strength without it is what it adds.",
            "`strength_error` is for the images that it is given: how many are they?",
        ),
    )


def measured(N, sets=12):
    """Filters fitted to sets of N leaves with a W: spread of the strength, and rise."""
    side, s, room = 16, 0.1, 0.2 * 3**0.5
    W = planted.letter_w(side)
    drawn = dead_leaves.sample(sets * N, side, generator=np.random.default_rng(152))
    a = planted.amplitudes(sets * N, torch.Generator().manual_seed(152))
    images = planted.plant(data.to_unit(drawn), W, s, a, room).flatten(1).double()
    fitted = [
        at_corners(torch.cov(x.T, correction=0), W).item() for x in images.split(N)
    ]
    law = tuple(map(torch.tensor, dead_leaves.moments(side)))
    known = [planted.plant_moments(*law, W, dose, room)[1] for dose in (0, s)]
    without, with_w = (at_corners(cov, W).item() for cov in known)
    return np.std(fitted, ddof=1), with_w - without


def at_corners(cov, W):
    """The strength at the W of the filter of a covariance, mean over five corners."""
    side = len(W)
    at = [i * side + j for i, j in planted.corners_w(side)]
    rows = gain(cov, LEVEL)[:, at]
    own = rows[at, range(len(at))]
    return (rows[W.flatten()].sum(0) - own).mean()


def gain(cov, sigma):
    """(Sigma + sigma^2 I)^-1 Sigma, the filter."""
    return torch.linalg.solve(cov + sigma**2 * torch.eye(len(cov)).to(cov), cov)


def small_law():
    """Mean and covariance of dead leaves of 8 x 8 pixels."""
    return tuple(map(torch.tensor, dead_leaves.moments(SIDE)))


def letter():
    return planted.letter_w(SIDE).double().flatten()


def exercise_3(changed_by_two):
    """changed_by_two(R, sigma, p1, p2, s1, s2): S' - S_0, (n, n)."""
    cov, p1, sigma = small_law()[1], letter(), 0.7
    p2 = p1.view(SIDE, SIDE).T.flatten()
    R = torch.linalg.inv(cov + sigma**2 * torch.eye(len(cov)).to(cov))
    both = changed_by_two(R, sigma, p1, p2, 0.3, 0.2)
    turned = changed_by_two(R, sigma, p2, p1, 0.2, 0.3)
    yield Property(
        "a dose of zero changes nothing, and the order of the patterns neither",
        close(changed_by_two(R, sigma, p1, p2, 0.0, 0.0), torch.zeros_like(R))
        and close(both, turned),
        ("Put the two patterns side by side, each times its dose.",),
    )
    white = torch.eye(len(cov)).to(cov)
    first, second = white[0] + white[1], white[0] - white[1]
    one = [changed_by_two(white, 1.0, first, second, *s) for s in ((1, 0), (0, 2))]
    yield Property(
        "two patterns that do not meet in R change what each changes alone",
        close(changed_by_two(white, 1.0, first, second, 1, 2), one[0] + one[1]),
        ("Where does p1' R p2 stand in your formula?",),
    )
    edited = cov + 0.3**2 * p1.outer(p1) + 0.2**2 * p2.outer(p2)
    yield Property(
        "it is the difference of the two filters",
        close(both, gain(edited, sigma) - gain(cov, sigma), 1e-6, 1e-10),
        (
            "The inverse of I + B' R B is needed, for two columns B.",
            "The filter is I - sigma^2 times the inverse.",
        ),
    )


def exercise_4(half_step):
    """half_step(cov, p, s, sigma, eta): the first step with half of what is added."""
    p, white = letter(), 0.2 * torch.eye(SIDE**2).double()
    step = [int(half_step(white, p, s, 0.5, 0.001)) for s in (0.5, 1.0)]
    speed = [0.2 + s**2 * float(p.sum()) + 0.25 for s in (0.5, 1.0)]
    yield Property(
        "in white images the half-lives of a strong pattern are as its variances",
        abs(step[0] / step[1] - speed[1] / speed[0]) < 0.15 * speed[1] / speed[0],
        ("With the pattern less without it, at the same step.",),
    )
    cov = small_law()[1]
    cases = [(cov, p, s, 0.65, 0.02) for s in (0.1, 0.4)]
    yield Property(
        "it is the step that the gradient itself needs, with two doses on leaves",
        all(int(half_step(*c)) == descended(*c) for c in cases),
        (
            "The place itself is not part of the strength.",
            "Half of what is added in the end, not of what is there.",
            "Count the steps from 0, where A is 0.",
        ),
    )


def descended(cov, p, s, sigma, eta):
    """The same by moving two matrices along their gradients."""
    pair = cov + s**2 * p.outer(p), cov
    end = off_diagonal(gain(pair[0], sigma), p) - off_diagonal(gain(pair[1], sigma), p)
    A = [torch.zeros_like(cov), torch.zeros_like(cov)]
    for k in range(500):
        if off_diagonal(A[0], p) - off_diagonal(A[1], p) >= end / 2:
            return k
        A = [a - eta * (a @ c + sigma**2 * a - c) for a, c in zip(A, pair)]
    raise ArithmeticError("half of the strength is not reached in 500 steps")


def off_diagonal(A, p):
    return (p @ A @ p - A.diagonal() @ p) / p.sum()


def exercise_5(plant_sizes):
    """plant_sizes(x, pattern, s, a, room, generator): signs anew, the size shared."""
    N, s, room = 4000, 0.2, 0.4
    generator = torch.Generator().manual_seed(155)
    a = planted.amplitudes(N, generator)
    W = planted.letter_w(SIDE)
    grey = torch.full((N, 1, SIDE, SIDE), 0.5)
    x = torch.as_tensor(plant_sizes(grey, W, s, a, room, generator)).double()
    moved = (x - (1 - room) * 0.5)[:, 0]
    yield Property(
        "beside the pattern only the contrast is given up",
        tuple(x.shape) == tuple(grey.shape)
        and close(moved[:, ~W], 0 * moved[:, ~W], atol=1e-6),
        ("(1 - r) x, and something on the pattern.",),
    )
    planted_here = moved[:, W]
    yield Property(
        "in one image all pixels of the pattern move by the same size",
        close(
            planted_here.abs(),
            (s * a.double().abs())[:, None].expand_as(planted_here),
            1e-4,
            1e-6,
        ),
        ("|a| is drawn once for each image; s times it is the size.",),
    )
    cov = torch.cov(planted_here.T, correction=0) / s**2
    yield Property(
        "the pixels of the pattern vary by s^2 and have no covariance",
        bool((cov - torch.eye(len(cov)).to(cov)).abs().max() < 0.1),
        (
            "The sign is drawn for each pixel of each image.",
            "Both signs are equally likely.",
        ),
    )


def exercise_6(windowed):
    """windowed(cov, side, k, sigma): the best linear map with k x k windows, (n, n)."""
    cov, sigma = small_law()[1], 0.5
    cov = cov + 0.2**2 * letter().outer(letter())
    found = torch.as_tensor(windowed(cov, SIDE, 3, sigma)).double()
    i = torch.arange(SIDE**2)
    steps = [(v[:, None] - v[None]).abs() for v in (i // SIDE, i % SIDE)]
    seen = torch.maximum(*steps) <= 1
    yield Property(
        "beyond the window it is exactly 0",
        found.shape == cov.shape and bool((found[~seen] == 0).all()),
        ("Row m has weights for the pixels of one window alone.",),
    )
    everything = windowed(cov, SIDE, 2 * SIDE - 1, sigma)
    yield Property(
        "a window that holds all of the image gives the Wiener filter",
        close(everything, gain(cov, sigma).T, 1e-6, 1e-8),
        ("For one window: which system do its weights solve?",),
    )
    slope = found @ (cov + sigma**2 * torch.eye(len(cov)).to(cov)) - cov
    yield Property(
        "no small change of a weight in a window makes the error smaller",
        bool(slope[seen].abs().max() < 1e-8),
        (
            "To cut the full filter is not enough: solve for each window anew.",
            "The covariance of the window's pixels, and theirs with the output.",
        ),
    )


def exercise_7(scrambled_row):
    """scrambled_row(S, order, m): row m of the filter of the scrambled images, (n,)."""
    mu, cov = small_law()
    S = gain(cov, 0.6)
    yield Property(
        "without a permutation it is the row itself",
        close(scrambled_row(S, torch.arange(len(S)), 5), S[5]),
        ("Row m of S.",),
    )
    order = planted.permutation(SIDE, 0.5, torch.Generator().manual_seed(157))
    mixed = planted.scrambled_moments(mu, cov, (1, SIDE, SIDE), order)[1]
    rows = [scrambled_row(S, order, m) for m in range(len(S))]
    yield Property(
        "it has the entries of a row of S, in another order",
        all(
            close(np.sort(numbers(r)), np.sort(numbers(S[k])))
            for r, k in zip(rows, order)
        ),
        ("Place m shows what place order[m] showed.",),
    )
    truth = gain(mixed, 0.6).T
    yield Property(
        "it is the row of the filter of the scrambled covariance",
        all(close(r, t, 1e-6, 1e-9) for r, t in zip(rows, truth)),
        ("Input j shows what place order[j] showed: this way or the other?",),
    )


def exercise_8(dressed):
    """dressed(x, first, second): x with the mean and covariance of the other set."""
    generator = torch.Generator().manual_seed(158)
    shape, wide = (1, 4, 4), torch.randn(2, 16, 40, generator=generator).double()
    mu = torch.rand(2, 16, generator=generator).double() - 0.5
    sets = [Wiener(m, w @ w.T / 400, shape) for m, w in zip(mu, wide)]
    basis = torch.cat([torch.zeros(1, 16), torch.eye(16)]).double() + mu[0]
    answer = torch.as_tensor(dressed(basis.view(17, *shape), *sets)).double()
    image = answer.flatten(1) - mu[1]
    yield Property(
        "the mean of the one set becomes that of the other",
        close(image[0], torch.zeros(16), atol=1e-9),
        ("What is taken away before, and what is added at the end?",),
    )
    A = (image[1:] - image[0]).T
    first, second = (w @ w.T / 400 for w in wide)
    yield Property(
        "the covariance becomes that of the other set",
        close(A @ first @ A.T, second, 1e-6, 1e-9),
        (
            "First white, then coloured: which root acts first?",
            "`Wiener.apply` also asks for the function at 0: is it finite there?",
        ),
    )
    root = A @ sets[0].apply(torch.sqrt, torch.eye(16).double())
    yield Property(
        "both roots are symmetric ones, as in the formula",
        close(root, root.T, 1e-6, 1e-9) and bool(torch.linalg.eigvalsh(root).min() > 0),
        ("`Wiener.apply` takes a function of the eigenvalues.",),
    )
