"""Checks of the exercises of chapter 16, the same numbers everywhere."""

import math
from itertools import permutations

import numpy as np
import torch

from helpers import data, schedules
from helpers.checks import Property, close, numbers
from helpers.nullspace import released_mask


def exercise_1(best_order):
    """best_order(a, b, c): three float32 in the order in which to add them."""
    rng = np.random.default_rng(1)
    size = rng.normal(size=20)
    triples = np.stack([size, 1e-7 * rng.normal(size=20), -size], 1).astype("float32")
    triples = [np.float32([1, 5e-8, -1]), *map(rng.permutation, triples)]
    found = [np.float32(best_order(*triple)) for triple in triples]
    yield Property(
        "the numbers stay what they are",
        all(close(np.sort(f), np.sort(t)) for f, t in zip(found, triples)),
        ("Give all three back, in another order.",),
    )
    yield Property(
        "the sum of 1, 5e-8 and -1 is right to six digits",
        close(added(found[0]), 5e-8),
        ("Which two must meet before anything is rounded?",),
    )
    yield Property(
        "no other order of any three numbers is closer to the truth",
        all(off(f) == min(map(off, permutations(f))) for f in found),
        ("The large numbers need not come in any fixed place.",),
    )


def added(three):
    a, b, c = np.float32(three)
    return (a + b) + c


def off(three):
    return abs(math.fsum(map(float, three)) - float(added(three)))


def exercise_2(unlike):
    """unlike(a): U (n, n), s (n,), Vh (n, n) of a a^T, for a (n,) with n > 2."""
    vectors = [random(16, 5), random(17, 3)]
    found = [tuple(map(numbers, unlike(a))) for a in vectors]
    yield Property(
        "the product of the three is the matrix",
        all(close((U * s) @ Vh, a.outer(a)) for a, (U, s, Vh) in zip(vectors, found)),
        ("What is the singular value of a vector that is parallel to a?",),
    )
    bases = [basis for U, _, Vh in found for basis in (U, Vh)]
    yield Property(
        "U and V are orthogonal matrices",
        all(close(basis.T @ basis, np.eye(len(basis))) for basis in bases),
        ("`torch.linalg.eigh` gives one such basis.",),
    )
    yield Property(
        "the singular values fall, and all but one are 0",
        all(close(s[1:], 0 * s[1:]) and s[0] > 0 for _, s, _ in found),
        ("Rounding may have left something: set it to 0.",),
    )
    overlap = [(U * Vh.T).sum(0) for U, _, Vh in found]
    yield Property(
        "u and v of the same place are orthogonal, but in the first",
        all(close(o[1:], 0 * o[1:]) for o in overlap),
        (
            "In the null space V may be another basis than U.",
            "The same vectors in another order are another basis.",
        ),
    )


def random(seed, *shape):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def exercise_3(worst):
    """worst(cov, sigma): E (n, n) of norm sigma^2 / 1000 for a singular cov (n, n)."""
    wide = random(18, 5, 2)
    cases = [(torch.diag(torch.tensor([9.0, 0.0]).double()), 0.5), (wide @ wide.T, 2.0)]
    found = [torch.as_tensor(worst(*case)).double() for case in cases]
    lam = [
        torch.linalg.eigvalsh((E + E.T) / 2) / s**2 for E, (_, s) in zip(found, cases)
    ]
    yield Property(
        "it is symmetric, of rank one, and of the norm that was asked for",
        all(
            close(E.T, E) and close(x.abs().max(), 1e-3) and close(x.abs().sum(), 1e-3)
            for E, x in zip(found, lam)
        ),
        ("A vector of length 1 times itself, times sigma^2 / 1000.",),
    )
    least = [torch.linalg.eigvalsh(c + E).min() for E, (c, _) in zip(found, cases)]
    yield Property(
        "the covariance with the error has no negative eigenvalue",
        all(x > -1e-9 for x in least),
        ("Which sign must it have where the covariance is 0?",),
    )
    moved = [(gain(c + E, s) - gain(c, s)) for E, (c, s) in zip(found, cases)]
    yield Property(
        "the filter changes by at least 99 % of the bound",
        all(torch.linalg.matrix_norm(m, 2) >= 0.99e-3 for m in moved),
        ("For which vectors is the inverse in the bound as large as it can be?",),
    )


def gain(cov, sigma):
    return torch.linalg.solve(cov + sigma**2 * torch.eye(len(cov)).to(cov), cov)


def exercise_4(changed_share):
    """changed_share(S, right, tau): entries that differ, over the ones of `right`."""
    S = torch.linalg.solve(torch.eye(8) + 0.5, torch.eye(8)) + 0.2
    right = released_mask(S, 0.3).mask
    yield Property(
        "it is 0 where nothing is wrong",
        close(changed_share(S, right, 0.3), 0.0),
        ("Count the entries that differ from the right mask.",),
    )
    broken, few = torch.eye(5), torch.eye(5).bool()
    broken[3, 0] = 1000
    few[3, 0] = True
    yield Property(
        "an output that would see nothing sees itself, and nobody else",
        close(changed_share(broken, torch.ones(5, 5).bool(), 0.01), 19 / 25),
        (
            "Add the diagonal to the mask of `released_mask`, not to S.",
            "The threshold is the one of the released code.",
        ),
    )
    yield Property(
        "it is a share of the ones of the right mask, not of all entries",
        close(changed_share(broken, few, 0.01), 2 / 6),
        (
            "The right mask may have few ones: more can be wrong than it has.",
            "Row m of a mask says what output m sees.",
        ),
    )


def exercise_5(safe_threshold):
    """safe_threshold(S): tau in (0, 1] for S symmetric, no negative eigenvalue."""
    filters = [gain(z @ z.T, 1.0) for z in (random(k, 6, 3) for k in range(5))]
    found = [float(safe_threshold(S)) for S in filters]
    yield Property(
        "it is above 0 and at most 1, and 1 where all pixels vary alike",
        all(0 < t <= 1 for t in found) and close(safe_threshold(0.3 * torch.eye(4)), 1),
        ("Compare the largest diagonal entry with the smallest.",),
    )
    pairs = [(torch.tensor([1.0, b]).double()).outer(torch.tensor([1, b])) for b in LOW]
    edges = [float(safe_threshold(0.9 * S)) for S in pairs]
    yield Property(
        "with it no row is empty",
        not any(
            released_mask(S, 0.999 * t).empty.any()
            for S, t in zip([*filters, *pairs], [*found, *edges])
        ),
        (
            "A row is safe if the threshold does not exceed 1, its own ratio.",
            "The threshold is tau times the largest ratio, and that has a bound.",
        ),
    )
    yield Property(
        "there are filters for which a larger threshold empties a row",
        all(released_mask(S, 1.01 * t).empty.any() for S, t in zip(pairs, edges)),
        ("You are too careful. Is a square root missing?",),
    )
    dark = torch.block_diag(filters[0], torch.zeros(1, 1).double())
    yield Property(
        "a pixel that never varies changes nothing",
        close(safe_threshold(dark), found[0]),
        ("Entries of the diagonal below `CONSTANT` count as 1.",),
    )


LOW = (0.1, 0.4, 0.7)  # the second of two pixels, the first being 1


def exercise_6(all_nearest):
    """all_nearest(train, x): the numbers of all training images that are nearest."""
    train = data.load("digits")[:200]
    pairs = [
        (i, j) for i, j in zip(range(0, 40, 2), range(1, 40, 2)) if lone(train, i, j)
    ]
    yield Property(
        "of a training image it is this image",
        list(all_nearest(train, train[7])) == [7],
        ("Numbers of images, as a list.",),
    )
    ties = [sorted(all_nearest(train, middle(train, i, j))) for i, j in pairs]
    yield Property(
        "halfway between two images it is both",
        ties == [[i, j] for i, j in pairs],
        (
            "In 32 bits the two distances differ in the last digits.",
            "Allow for a small relative difference of the distances.",
        ),
    )
    near = [all_nearest(train, middle(train, i, j, 0.49)) for i, j in pairs]
    yield Property(
        "a little nearer to one of the two it is this one alone",
        [list(found) for found in near] == [[i] for i, _ in pairs],
        ("You allow for too much: 32 bits have seven digits.",),
    )


def middle(train, i, j, share=0.5):
    return (1 - share) * train[i] + share * train[j]


def lone(train, i, j):
    """Whether no third image is nearly as near to the middle of these two."""
    square = (train - middle(train, i, j)).double().square().flatten(1).sum(1).sort()
    return sorted(square.indices[:2].tolist()) == [i, j] and bool(
        square.values[2] > 1.1 * square.values[1]
    )


def exercise_7(endings):
    """endings(train, start, bits): the training image where each walk ends, (B,)."""
    train = data.load("digits").double()[:300]
    start = random(19, 300, 1, 8, 8)
    exact = [int(i) for i in endings(train, start, 52)]
    yield Property(
        "with 52 bits nearly all walks end where another program takes them",
        len(exact) == len(start) and np.mean(exact == reached(train, start)) > 0.99,
        (
            "Ten steps: `schedules.leading(1000, 10)`, and `sampling.ddim`.",
            "The walk ends with the last answer of the denoiser.",
            "Which training image is nearest to it?",
        ),
    )
    rough, fine = (
        np.mean(np.array([int(i) for i in endings(train, start, b)]) != exact)
        for b in (2, 5)
    )
    yield Property(
        "with two bits one walk in twenty to one in three ends elsewhere",
        0.05 < rough < 0.33,
        ("Round what the denoiser sees, at each step.",),
    )
    yield Property(
        "with five bits it is less than half as many",
        fine < rough / 2,
        ("Another number of bits must give another rounding.",),
    )


def reached(train, start):
    """The same walks as steps of Euler in sigma, with weights from differences."""
    path, y = schedules.linear(), train.flatten(1)
    times = schedules.leading(1000, 10)
    x = start.flatten(1) / path.alpha_bar[times[0]].sqrt()
    for t, s in zip(times, [*times[1:], 0]):
        square = torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist") ** 2
        answer = (-square / (2 * path.sigma[t] ** 2)).softmax(1) @ y
        x = answer + path.sigma[s] / path.sigma[t] * (x - answer)
    return torch.cdist(x, y).argmin(1).numpy()
