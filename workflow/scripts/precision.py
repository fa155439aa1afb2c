"""The mask of the released code, computed in several ways that should be the same.

    python workflow/scripts/precision.py

For MNIST and Fashion-MNIST: the covariance of all training images, in float32 as the
released code of Lukoianov et al. has it and in float64; its factors by a singular value
decomposition (svd) and a symmetric eigendecomposition (eigh); with the pixels in the
order of the images and in random orders, which in exact arithmetic changes nothing; the
mask at the ten noise levels of DDIM in ten steps (t = 901, ..., 1), with the threshold
of the released code. Writes data/results/precision.json, a table for each set:

    N, D, threshold
    t, sigma                  [levels], falling
    constant                  coordinates that never vary
    rank                      eigenvalues (float64, eigh) above 1e-10 of the largest
    top, bottom               the largest eigenvalue, and the smallest one of the rank
    least                     the smallest variance of a coordinate that varies
    ways: svd32, eigh32, svd64, eigh64 (the reference, in the order of the images)
      null                    largest of the eigenvalues beyond the rank, any order
      failing                 [levels] orders in which an output sees nothing
      largest                 [levels] least, median and greatest of max R over orders
      last: at the last level, [orders]
        largest               max R
        empty                 outputs that see nothing
        negative              coordinates with S_nn < -1e-6
        changed               entries among coordinates that vary that differ from the
                              reference, over the ones of the reference there
    threads: svd32 of one covariance, in the order of the images, by number of threads
      count                   [numbers of threads]
      largest, empty          [numbers of threads], as in `last`
    answers (MNIST only), at the last level, with 20,000 training images: eigh64, svd32
      and eigh32 in the order of the images; `failing`, svd32 in the first order with
      an output that sees nothing
      mse                     [images] to the clean test image; noise is sigma^2
      empty                   outputs that see nothing
    walks (MNIST only): DDIM from the same starts with the masks of `failing`
      r2                      [levels] mean R^2 of its answers to those of eigh64
    lost (MNIST only)         [D] of 0 and 1, outputs that see nothing in `failing`

Numbers only.
"""

from typing import NamedTuple

import torch
from tqdm import tqdm

from helpers import data, nullspace, sampling, schedules
from helpers.artifacts import Experiment
from helpers.forward import gaussian_noise
from helpers.masks import CONSTANT
from helpers.metrics import mse, r2_score
from helpers.nullspace import released_answer, released_mask, reordered
from helpers.streaming import Moments

SEED = 0
SETS = {"mnist": 24, "fashion_mnist": 8}  # random orders of the pixels, in 32 bits
EXACT = 4  # in 64 bits
IMAGES = 20_000  # behind the answers
THRESHOLD = 0.005
TESTS, WALKS, BATCH = 16, 8, 512
THREADS = (1, 2, 3, 4)
DECOMPOSE = {"svd": nullspace.svd, "eigh": nullspace.eigh}
SCHEDULE = schedules.linear()
TIMES = schedules.leading(SCHEDULE.T, 10)
LEVELS = [SCHEDULE.sigma[t].item() for t in TIMES]


class Way(NamedTuple):
    """One decomposition in one precision, over the orders of the pixels."""

    factors: list  # one for each order
    rules: list  # [orders][levels]


def covariance(images):
    """As the released code has it: float32, a pass for the mean and one for the
    products, batch by batch, over N - 1.
    """
    mean = sum(block.sum(0) for block in images.split(BATCH)) / len(images)
    total = torch.zeros(len(mean), len(mean))
    for block in tqdm(images.split(BATCH), "covariance"):
        total += (block - mean).T @ (block - mean)
    return total / (len(images) - 1)


def exact_covariance(images):
    moments = Moments()
    for block in tqdm(images.split(4096), "covariance, float64"):
        moments.update(block.double())
    return moments.cov(correction=1)


def orders(D, more):
    """The order of the images, and as many random ones."""
    generator = torch.Generator().manual_seed(SEED)
    return [
        torch.arange(D),
        *(torch.randperm(D, generator=generator) for _ in range(more)),
    ]


def way(cov, decompose, all_orders, label):
    factors, rules = [], []
    for order in tqdm(all_orders, label):
        found = reordered(decompose, order)(cov)
        factors.append(found.s)
        rules.append([rule(found, s) for s in LEVELS])
    return Way(factors, rules)


def rule(factors, sigma):
    """The mask, and how many gains of a pixel with itself are negative."""
    S = factors.filter(sigma)
    return released_mask(S, THRESHOLD), int((S.diagonal() < -CONSTANT).sum())


def threads_table(cov):
    """The same decomposition of the same matrix by another number of threads."""
    before, found = torch.get_num_threads(), []
    for count in THREADS:
        torch.set_num_threads(count)
        found.append(rule(nullspace.svd(cov), LEVELS[-1])[0])
    torch.set_num_threads(before)
    table = {"count": list(THREADS), "largest": [r.largest for r in found]}
    return table | {"empty": [int(r.empty.sum()) for r in found]}


def way_table(found, reference, varies, rank):
    """What the docstring says about one way."""
    truth = reference.mask[varies][:, varies]
    last = [rules[-1] for rules in found.rules]
    largest = torch.tensor([[r.largest for r, _ in rules] for rules in found.rules])
    wrong = [(r.mask[varies][:, varies] != truth).sum() / truth.sum() for r, _ in last]
    beyond = [s.sort(descending=True).values[rank:] for s in found.factors]
    return {
        "null": max(float(s.max()) if len(s) else 0.0 for s in beyond),
        "failing": [
            sum(bool(rules[i][0].empty.any()) for rules in found.rules)
            for i in range(len(LEVELS))
        ],
        "largest": largest.quantile(torch.tensor([0, 0.5, 1.0]), dim=0).T,
        "last": {
            "largest": [r.largest for r, _ in last],
            "empty": [int(r.empty.sum()) for r, _ in last],
            "negative": [negative for _, negative in last],
            "changed": [float(w) for w in wrong],
        },
    }


def masks_table(name, images):
    """The table of a set, and its ways."""
    single, exact = covariance(images), exact_covariance(images)
    all_orders, ways = orders(images.shape[1], SETS[name]), {}
    for bits, cov in (("32", single), ("64", exact)):
        for label, decompose in DECOMPOSE.items():
            some = all_orders if bits == "32" else all_orders[: EXACT + 1]
            ways[label + bits] = way(cov, decompose, some, label + bits)
    lam = ways["eigh64"].factors[0]
    reference, variance = ways["eigh64"].rules[0][-1][0], exact.diagonal()
    real, varies = lam > 1e-10 * lam.max(), variance > 1e-12
    return {
        "N": len(images),
        "D": images.shape[1],
        "threshold": THRESHOLD,
        "t": TIMES,
        "sigma": LEVELS,
        "constant": int((~varies).sum()),
        "rank": int(real.sum()),
        "top": lam.max(),
        "bottom": lam[real].min(),
        "least": variance[varies].min(),
        "ways": {
            label: way_table(found, reference, varies, int(real.sum()))
            for label, found in ways.items()
        },
        "threads": threads_table(single),
    }, ways


def walk(images, rules, xT):
    """DDIM with the mask of each level: its answers."""
    by_level = dict(zip(LEVELS, rules))

    def denoise(x, sigma):
        nearest = min(LEVELS, key=lambda s: abs(s - float(sigma)))
        return released_answer(images, by_level[nearest], x, float(sigma))

    return [s.x0_hat for s in sampling.ddim(denoise, xT, SCHEDULE, TIMES)]


def answers(images, test, ways, noise):
    """What the masks of MNIST do to answers and to samples."""
    empty = [int(rules[-1][0].empty.sum()) for rules in ways["svd32"].rules]
    bad = next((i for i, count in enumerate(empty) if count), 0)
    chosen = {label: ways[label].rules[0] for label in ("eigh64", "svd32", "eigh32")}
    chosen["failing"] = ways["svd32"].rules[bad]
    chosen = {label: [r for r, _ in rules] for label, rules in chosen.items()}
    x, table = test + LEVELS[-1] * noise(test), {}
    for label, rules in tqdm(chosen.items(), "answers"):
        found = released_answer(images, rules[-1], x, LEVELS[-1])
        table[label] = {"mse": mse(found, test), "empty": int(rules[-1].empty.sum())}
    xT = sampling.start(WALKS, test.shape[1:], noise, test)
    good, broken = (walk(images, chosen[k], xT) for k in ("eigh64", "failing"))
    return {
        "answers": table,
        "walks": {"r2": [float(r2_score(a, b).mean()) for a, b in zip(broken, good)]},
        "lost": chosen["failing"][-1].empty.int(),
    }


@torch.no_grad()
def main():
    sets = [f"{name}-train" for name in SETS] + ["mnist-test"]
    parameters = {"orders": SETS, "exact": EXACT, "images": IMAGES}
    with Experiment(__file__, SEED, sets, parameters) as run:
        tables = {}
        noise = gaussian_noise(torch.Generator().manual_seed(SEED))
        for name in SETS:
            images = data.load(name)
            tables[name], ways = masks_table(name, images.flatten(1))
            if name == "mnist":
                test = data.load(name, "test", TESTS)
                tables[name] |= answers(images[:IMAGES], test, ways, noise)
        run.save("results/precision.json", tables, precision="float32 and float64")


if __name__ == "__main__":
    main()
