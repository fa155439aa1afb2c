r"""How close two sets of images are: agreement, nearest training image, intervals.

Images are float (B, C, H, W) in units of [-1, 1]; each measure gives one number per
image, shape (B,), unless it says otherwise.
"""

from typing import NamedTuple

import torch
from torch import Tensor

PAIRS = 8192  # image pairs whose difference is formed at once: bounds the memory


def mse(a: Tensor, b: Tensor) -> Tensor:
    r"""Mean square error over the C H W numbers of an image."""
    return (a - b).square().flatten(1).mean(dim=1)


def r2_score(a: Tensor, reference: Tensor) -> Tensor:
    r"""$R^2 = 1 - \sum (a - u)^2 / \sum (u - \bar u)^2$, u the reference image.

    $\bar u$ is the mean of that one image over channels and pixels. 1 is perfect, 0 is
    as good as a grey image of the right brightness, and it has no lower limit. An image
    without contrast gives 1 if it is met exactly, else -inf. (Lukoianov et al. divide
    by n - 1 in the variance only: their value is $1 - \frac{n-1}{n}(1 - R^2)$.)
    """
    u = reference.flatten(1)
    rest = (a.flatten(1) - u).square().sum(dim=1)
    spread = (u - u.mean(dim=1, keepdim=True)).square().sum(dim=1)
    return torch.where(rest == 0, torch.ones_like(rest), 1 - rest / spread)


def pearson(a: Tensor, b: Tensor) -> Tensor:
    r"""Correlation of two images over their C H W numbers, blind to scale and offset.

    Kamb & Ganguli (2025) report this number, not its square. NaN where an image has no
    contrast.
    """
    a, b = (v.flatten(1) - v.flatten(1).mean(dim=1, keepdim=True) for v in (a, b))
    return (a * b).sum(dim=1) / (a.norm(dim=1) * b.norm(dim=1))


class Nearest(NamedTuple):
    """The closest training images, nearest first."""

    distance: Tensor  # (B, k), Euclidean, float64
    index: Tensor  # (B, k)


def nearest(x: Tensor, data: Tensor, k: int = 1, chunk: int = 4096) -> Nearest:
    r"""The k training images closest to each x in $\|x - y_n\|$.

    A matrix product finds a few more candidates, float64 differences rank them, so that
    the distance of an exact copy is exactly 0. ValueError unless 1 <= k <= N.
    """
    if not 1 <= k <= len(data):
        raise ValueError(f"k must be between 1 and {len(data)}, not {k}")
    flat, wide = x.flatten(1), min(4 * k + 8, k + 256, len(data))
    score = torch.cat(
        [
            y.double().square().sum(1) - 2 * (flat @ y.to(flat).T).double()
            for y in data.flatten(1).split(chunk)
        ],
        dim=1,
    )  # (B, N)
    candidates = score.topk(wide, largest=False).indices  # (B, wide)
    distance = torch.stack(
        [
            (data[c].flatten(1).double() - row.double()).norm(dim=1)
            for c, row in zip(candidates, flat)
        ]
    )
    distance, order = distance.sort(dim=1, stable=True)
    return Nearest(distance[:, :k], candidates.gather(1, order)[:, :k])


def frechet_distance(a: Tensor, b: Tensor) -> float:
    r"""$\|\mu_a - \mu_b\|^2 + tr(C_a + C_b - 2 (C_a C_b)^{1/2})$ of features (N, d).

    The squared 2-Wasserstein distance of two Gaussians with these means and covariances
    (Dowson & Landau 1982); with Inception features it is FID (Heusel et al. 2017). For
    two samples of one law it is not 0: its mean falls like 1 / N, so compare only
    distances of equal N. ValueError unless both have d columns and at least 2 rows.
    """
    if a.ndim != 2 or a.shape[1:] != b.shape[1:] or min(len(a), len(b)) < 2:
        raise ValueError(
            "features must be (N, d) and (M, d) with N, M >= 2,"
            f" not {tuple(a.shape)} and {tuple(b.shape)}"
        )
    a, b = a.double(), b.double()
    C_a, C_b = torch.atleast_2d(a.T.cov()), torch.atleast_2d(b.T.cov())
    lam, U = torch.linalg.eigh(C_a)
    root = (U * lam.clamp_min(0).sqrt()) @ U.T  # C_a^(1/2)
    cross = torch.linalg.eigvalsh(root @ C_b @ root).clamp_min(0).sqrt().sum()
    shift = (a.mean(dim=0) - b.mean(dim=0)).square().sum()
    return (shift + C_a.trace() + C_b.trace() - 2 * cross).item()


class Interval(NamedTuple):
    """An estimate with its interval."""

    value: float
    low: float
    high: float


def bootstrap(
    values: Tensor,
    generator: torch.Generator,
    statistic=torch.mean,
    level: float = 0.95,
    draws: int = 2000,
) -> Interval:
    r"""Percentile bootstrap interval of a statistic of independent values (B,).

    (Efron 1979.) `statistic` maps a 1-D tensor to a number. ValueError with fewer than
    two values, or when one is not finite.
    """
    if values.ndim != 1 or len(values) < 2 or not bool(torch.isfinite(values).all()):
        raise ValueError("the bootstrap needs at least two finite values in a vector")
    picks = torch.randint(len(values), (draws, len(values)), generator=generator)
    again = torch.stack([statistic(values[p]) for p in picks]).double()
    edges = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    low, high = again.quantile(edges).tolist()
    return Interval(float(statistic(values)), low, high)


def jackknife(statistic, values: Tensor, blocks: int = 20) -> Interval:
    r"""A statistic of `values` (N, ...) with its interval of 1.96 standard errors.

    The block jackknife (Quenouille 1956; Tukey 1958): the statistic without each of the
    blocks in turn, $se^2 = \frac{K - 1}{K} \sum (s_{(k)} - \bar s)^2$. Unlike the
    bootstrap it draws no image twice, which a Fréchet distance would feel. ValueError
    unless there are at least two values in a block.
    """
    if len(values) < 2 * blocks:
        raise ValueError(f"{blocks} blocks need at least {2 * blocks} values")
    parts = values.tensor_split(blocks)
    without = torch.tensor(
        [statistic(torch.cat(parts[:k] + parts[k + 1 :])) for k in range(blocks)],
        dtype=torch.float64,
    )
    error = ((blocks - 1) * without.var(correction=0)).sqrt().item()
    value = float(statistic(values))
    return Interval(value, value - 1.96 * error, value + 1.96 * error)
