"""Checks of the exercises of chapter 12, sensitivity fields."""

from functools import cache
from itertools import pairwise

import numpy as np
import torch

from helpers import data, toy_faces
from helpers.checks import Property, close, numbers
from helpers.denoisers import Optimal
from helpers.fields import mirror_energy
from helpers.metrics import pearson, r2_score
from helpers.sensitivity import row
from helpers.wiener import Wiener

EYE, FOREHEAD = (7, 5), (5, 8)  # row, column


@cache
def filter_of_faces():
    return Wiener(*map(torch.tensor, toy_faces.moments(16)), (1, 16, 16))


@cache
def small():
    return Wiener(*map(torch.tensor, toy_faces.moments(8)), (1, 8, 8))


def drawn(n, seed, side=16):
    generator = np.random.default_rng(seed)
    return data.to_unit(toy_faces.sample(n, side, generator=generator))


def noise(n, seed, side=16):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 1, side, side, generator=generator)


def exercise_1(before_training):
    """before_training(row, m, sigma): R^2 and correlation, for a flat row (n,)."""
    flat = torch.full((64,), 0.1)
    flat[9] = 0.7
    yield Property(
        "a row with one value for all other pixels has the correlation 1 or -1",
        close(before_training(flat, 9, 0.5)[1], 1, 1e-5)
        and close(before_training(-flat, 9, 0.5)[1], -1, 1e-5),
        ("Where is the field of the untrained net not 0?",),
    )
    own = torch.zeros(64)
    own[9] = 0.2
    yield Property(
        "at sigma = 2 a row with 0.2 at the pixel itself and 0 elsewhere is perfect",
        close(before_training(own, 9, 2.0)[0], 1, 1e-5),
        ("What is the derivative of x / (1 + sigma^2)?",),
    )
    w = filter_of_faces().row((0, *EYE), 1.0).flatten()
    F = torch.zeros(256).double()
    F[117] = 0.5
    expected = r2_score(w[None], F[None]), pearson(w[None], F[None])
    yield Property(
        "both are what the library finds for the row of an eye",
        all(close(a, b[0], 1e-5) for a, b in zip(before_training(w, 117, 1), expected)),
        ("Which of the two gives the mean and the spread below the line of R^2?",),
    )


def exercise_2(without_derivative):
    """without_derivative(denoise, clean, noise, sigma, place): a field, (C, H, W)."""

    def distance(n, sigma, seed):
        exact = small().row((0, 3, 2), sigma)
        case = (drawn(n, seed, side=8), noise(n, seed, side=8), sigma, (3, 2))
        field = torch.as_tensor(without_derivative(small(), *case))
        return float((field - exact).norm() / exact.norm())

    many = distance(4000, 1.5, 1)
    yield Property(
        "with 4,000 noisy faces it is nearer to the row of the filter than half of it",
        many < 0.5,
        ("The answer at the place, times the noise everywhere, over sigma.",),
    )
    few = np.mean([distance(1000, 1.5, seed) for seed in range(2, 8)])
    yield Property(
        "with a quarter of them the distance is about twice as large",
        1.5 < few / many < 2.7,
        ("Average over all faces.",),
    )
    faces = drawn(50, 8)
    field = without_derivative(lambda x, s: 0.3 + 0 * x, faces, noise(50, 8), 1.5, EYE)
    yield Property(
        "of a denoiser that always says 0.3 it is 0, up to rounding",
        close(field, np.zeros((1, 16, 16)), atol=1e-5),
        (
            "What does the denoiser say without this noise?",
            "Or with the opposite noise? Half of the difference is enough.",
        ),
    )
    yield Property(
        "with little noise the distance is no larger",
        distance(4000, 0.05, 1) < 0.5,
        ("What is subtracted may differ from face to face.",),
    )


def exercise_3(learned):
    """learned(lam, sigma, eta, steps): gains after some steps of descent, like lam."""
    lam = torch.tensor([5.0, 1.0, 0.1, 0.0]).double()
    yield Property(
        "before the first step nothing is passed",
        close(learned(lam, 0.5, 0.1, 0), torch.zeros(4)),
        ("The matrix begins at 0.",),
    )
    yield Property(
        "after very many steps it is the Wiener filter",
        close(learned(lam, 0.5, 0.1, 10_000), lam / (lam + 0.25)),
        ("Where is the gradient 0?",),
    )
    yield Property(
        "it is what a matrix has that is trained, at steps 1, 4 and 30",
        all(close(learned(lam, 0.5, 0.1, k), trained(lam, 0.5, 0.1, k)) for k in STEPS),
        (
            "In the coordinates of the components the gains do not mix.",
            "By which factor does the distance from the limit shrink in a step?",
            "The loss is half of the squared error.",
        ),
    )


STEPS = (1, 4, 30)


def trained(lam, sigma, eta, steps):
    """Gradient descent by autograd on a rotated covariance; gains along its axes."""
    generator = torch.Generator().manual_seed(3)
    draw = torch.randn(len(lam), len(lam), generator=generator)
    U = torch.linalg.qr(draw.double()).Q
    cov, one = (U * lam) @ U.T, torch.eye(len(lam)).double()
    A = torch.zeros_like(cov, requires_grad=True)
    for _ in range(steps):
        left = ((one - A) @ cov @ (one - A).T).trace() + sigma**2 * (A @ A.T).trace()
        (slope,) = torch.autograd.grad(left / 2, A)
        A = (A - eta * slope).detach().requires_grad_()
    return (U.T @ A.detach() @ U).diagonal()


def exercise_4(doubled):
    """doubled(mu, cov, shape): mean (n,) and covariance (n, n) of the doubled set."""
    digits = data.load("digits").double()
    shape = digits.shape[1:]
    before = digits.flatten(1).mean(0), digits.flatten(1).T.cov(correction=0)
    mu, cov = (torch.as_tensor(v) for v in doubled(*before, shape))
    yield Property(
        "the new mean image is its own mirror image",
        close(mu.view(shape), mu.view(shape).flip(-1)),
        ("Columns change places, rows stay.",),
    )
    yield Property(
        "faces that are symmetric have the same moments as before",
        all(
            close(a, b) for a, b in zip(doubled(*symmetric(), (1, 16, 16)), symmetric())
        ),
        ("Half of the images have the old covariance. Which one has the other half?",),
    )
    both = torch.cat([digits, digits.flip(-1)]).flatten(1)
    yield Property(
        "these are the moments of the digits and their mirror images",
        close(mu, both.mean(0)) and close(cov, both.T.cov(correction=0)),
        (
            "Both indices of a covariance are pixels.",
            "The two halves have different means, and that is variance, too.",
        ),
    )


@cache
def symmetric():
    return tuple(map(torch.tensor, toy_faces.moments(16)))


def exercise_5(skin_field):
    """skin_field(place, sigma): the field of a place, (16, 16)."""
    skin = toy_faces.factors(16)["skin"]
    field = numbers(skin_field(FOREHEAD, 1.5))
    yield Property(
        "hair, clothes and background are not looked at",
        field.shape == (16, 16) and close(field[~skin.any(0)], 0 * field[~skin.any(0)]),
        ("What does a pixel without skin tell about the tone of the skin?",),
    )
    whole = skin[0] == 125
    yield Property(
        "all pixels that are nothing but skin count alike",
        field[whole].min() > 0 and np.ptp(field[whole]) < 1e-6,
        ("They show the same number, each with noise of its own.",),
    )
    yield Property(
        "it is within 15 % of the exact row, at three noise levels",
        all(off_row(skin_field(FOREHEAD, s), s) < 0.15 for s in (1.5, 3.0, 8.0)),
        (
            "The covariance of one factor has one component. What is its variance?",
            "A pixel at the border of the skin shows a part of it.",
        ),
    )


def off_row(field, sigma):
    exact = filter_of_faces().row((0, *FOREHEAD), sigma)[0].numpy()
    return np.linalg.norm(numbers(field) - exact) / np.linalg.norm(exact)


def exercise_6(own_and_error):
    """own_and_error(train, clean, noise, sigma, pixel): F[m] at m, error / sigma^2."""
    train, new, pixel = drawn(1200, 5), drawn(300, 6), (0, *EYE)
    case = (train, new[:40], noise(40, 6), 1.5, pixel)
    x = new[:40] + 1.5 * noise(40, 6)
    slopes = row(Optimal(train), x, 1.5, pixel)[:, 0, *EYE]
    yield Property(
        "the first is the mean of what automatic differentiation finds",
        close(own_and_error(*case)[0], slopes.mean(), rtol=1e-3),
        ("Average over the noisy faces, then look at the pixel itself.",),
    )
    known = own_and_error(train, train[:600], noise(600, 7), 1.5, pixel)
    yield Property(
        "on the faces that the denoiser knows the two agree, to 15 %",
        close(known[1], known[0], rtol=0.15),
        ("The error is squared, averaged, and divided by sigma^2.",),
    )
    unseen = own_and_error(train[:200], new, noise(300, 8), 0.3, pixel)
    yield Property(
        "with 200 faces and little noise they are far apart on new ones",
        unseen[1] > 5 * unseen[0],
        ("The clean face, not the noisy one, is what the answer should be.",),
    )


def exercise_7(short_training):
    """short_training(wiener, sigma, steps, place): error over the filter's, energy."""
    faces, sigma = filter_of_faces(), 1.5
    late = short_training(faces, sigma, 10**6, EYE)
    row = faces.row((0, *EYE), sigma)
    yield Property(
        "after a million steps nothing distinguishes the matrix from the filter",
        close(late[0], 1.0) and close(late[1], mirror_energy(row, EYE, 3), 1e-5),
        ("The window has 3 x 3 pixels: helpers.fields.mirror_energy.",),
    )
    errors = [float(short_training(faces, sigma, k, EYE)[0]) for k in (1, 3, 10, 30)]
    yield Property(
        "the error falls with the steps, and stays above that of the filter",
        all(a > b > 1 for a, b in pairwise(errors)),
        ("Squared errors, summed over all pixels, one divided by the other.",),
    )
    yield Property(
        "both are those of a matrix that is trained, at steps 1, 4 and 30",
        all(
            close(short_training(small(), 0.6, k, (3, 2)), explicit(k), 1e-5)
            for k in STEPS
        ),
        (
            "The step is one over the largest variance plus that of the noise.",
            "What is missing of a gain counts with lambda + sigma^2.",
            "A row of U diag(g) U^T is the field.",
        ),
    )


def explicit(steps):
    """Error ratio and mirror energy of a matrix after some steps of descent."""
    cov = torch.tensor(toy_faces.moments(8)[1])
    one, A = torch.eye(64).double(), torch.zeros(64, 64).double()
    noisy = cov + 0.36 * one
    for _ in range(steps):
        A = A - (A @ noisy - cov) / (small().lam.max() + 0.36)
    left = ((one - A) @ cov @ (one - A).T).trace() + 0.36 * (A @ A.T).trace()
    energy = mirror_energy(A[8 * 3 + 2].view(1, 8, 8), (3, 2), 3)
    return [float(left / small().expected_error(0.6)), float(energy)]
