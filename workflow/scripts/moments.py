"""Mean and covariance of an image set, compressed, and how exact its filter then is.

    python workflow/scripts/moments.py cifar10 [--shards 4 [--shard 0]]

writes data/moments/NAME.safetensors (`helpers.lowrank.compress`) and
data/results/moments_NAME.json: for the rows of the Wiener filter the bound on what the
compression changes, over all sigma, and for a few sigma the bound and the error that it
makes against the filter of the full covariance in float64.

With --shard it reads one of --shards equal parts of the set instead and leaves its sums
in _build/moments/; with --shards alone it adds these up. The sums are integers, so the
answer is the one of a single pass, to the bit.

The moments of dead leaves and of toy faces are exact, from their law.
"""

import argparse

import safetensors.torch
import torch
from tqdm import tqdm

from helpers import data, dead_leaves, paths, toy_faces
from helpers.artifacts import Experiment
from helpers.lowrank import compress
from helpers.stored import stored_batches
from helpers.streaming import Moments
from helpers.wiener import Wiener

SIDE = 32  # of the drawn sets, in grey
DRAWN = {"dead_leaves": dead_leaves.moments, "toy_faces": toy_faces.moments}
# Eigenpairs that are kept: 3 MB of each set of photographs, less of cats, of which few
# images exist, half of those of dead leaves, all of the other sets in grey.
RANKS = {
    "dead_leaves": 512,
    "toy_faces": 64,
    "digits": 64,
    "fashion_mnist": 784,
    "mnist": 784,
    "cifar10": 512,
    "celeba32": 512,
    "afhq_cat32": 320,
}
BATCH = 4096
SIGMAS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)
ALL_SIGMAS = torch.logspace(-2, 2, 33, dtype=torch.float64).tolist()
SMALL = (0.1, 0.05, 0.02, 0.01)  # from which sigma on is the bound this small?


def batches(name, shard=0, shards=1):
    """Levels (n, C, H, W) of a part of the training images."""
    folders = (paths.image_sets(), paths.CACHE)
    files = [folder / f"{name}-train.npz" for folder in folders]
    if found := [file for file in files if file.exists()]:
        return stored_batches(found[0], BATCH, shard, shards)
    images = data.read(name).images
    first, last = (len(images) * k // shards for k in (shard, shard + 1))
    return torch.tensor(images[first:last]).permute(0, 3, 1, 2).split(BATCH)


def shard_file(name, shard, shards):
    return paths.BUILD / "moments" / f"{name}-{shard}-of-{shards}.safetensors"


def read_shard(name, shard, shards):
    """Moments of a part, and C, H, W."""
    moments, shape = Moments(), ()
    for levels in batches(name, shard, shards):
        moments.update(levels)
        shape = tuple(levels.shape[1:])
    return moments, shape


def write_shard(name, shard, shards):
    moments, shape = read_shard(name, shard, shards)
    content = moments.state() | {"shape": torch.tensor(shape)}
    raw = safetensors.torch.save(content)
    with paths.replacing(shard_file(name, shard, shards), len(raw)) as file:
        file.write(raw)


def merged(name, shards):
    """Moments of the whole set from its parts, and C, H, W."""
    whole = Moments()
    for shard in range(shards):
        state = safetensors.torch.load_file(shard_file(name, shard, shards))
        whole.merge(Moments.from_state(state))
    return whole, tuple(state["shape"].tolist())


def known(name, shards=None):
    """Mean, covariance, (C, H, W) and N of a set; N = 0 if they are exact."""
    if name in DRAWN:
        mu, cov = map(torch.from_numpy, DRAWN[name](SIDE))
        return mu, cov, (1, SIDE, SIDE), 0
    moments, shape = merged(name, shards) if shards else read_shard(name, 0, 1)
    mu, N = moments.mean, moments.count
    return mu, moments.cov(spend=True), shape, N


def row_bounds(short, sigma):
    """Bounds on the errors of the rows of a compressed filter, (n,)."""
    return torch.tensor([short.row_error(m, sigma) for m in range(len(short.mu))])


def row_errors(short, full, sigma):
    """The errors themselves, against the filter of the full covariance, (n,)."""
    exact = (full.U * full.gain(sigma)) @ full.U.T
    return (short.matrix(sigma) - exact).norm(dim=1)


def table(kept, mu, cov):
    """What the file keeps, and how exact the rows of its filter are."""
    short, full = Wiener.from_moments(kept), Wiener(mu, cov)
    bounds = torch.stack([row_bounds(short, sigma) for sigma in tqdm(SIGMAS)])
    errors = torch.stack([row_errors(short, full, sigma) for sigma in tqdm(SIGMAS)])
    worst = [row_bounds(short, s).max().item() for s in tqdm(ALL_SIGMAS)]
    top = max(worst)
    least = {b: [s for s, w in zip(ALL_SIGMAS, worst) if w > b] for b in SMALL}
    return {
        "N": kept["N"].item(),
        "r": len(kept["lam"]),
        "n": len(kept["mu"]),
        "variance_kept": kept["lam"].sum() / cov.trace(),
        "rest": kept["rest"],
        "bound": top,
        "bound_at": ALL_SIGMAS[worst.index(top)],
        "bound_below": [[b, max(least[b], default=0.0)] for b in SMALL],
        "sigma": SIGMAS,
        "bound_worst": bounds.amax(dim=1),
        "bound_median": bounds.median(dim=1).values,
        "error_worst": errors.amax(dim=1),
        "error_median": errors.median(dim=1).values,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=RANKS)
    parser.add_argument("--shards", type=int)
    parser.add_argument("--shard", type=int)
    options = parser.parse_args()
    name, shards, shard = options.name, options.shards, options.shard
    if shard is not None and shards is None:
        parser.error("--shard needs --shards")
    if shard is not None:
        write_shard(name, shard, shards)
        return
    sets = [] if name in DRAWN else [f"{name}-train"]
    rank = {"r": RANKS[name]}
    with Experiment(__file__, 0, sets, rank, arguments=[name]) as experiment:
        mu, cov, shape, N = known(name, shards)
        kept = compress(mu, cov, RANKS[name], shape, N)
        experiment.save(f"moments/{name}.safetensors", kept, precision="int16")
        found = table(kept, mu, cov)
        experiment.save(f"results/moments_{name}.json", found, precision="float64")


if __name__ == "__main__":
    main()
