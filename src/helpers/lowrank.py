r"""The largest eigenpairs of a covariance: to ship it small, and when it is too large.

`compress` keeps the r largest eigenpairs of a covariance in 16 bits;
`wiener.Wiener.from_moments` reads them and bounds what that changes. `eigenbasis` finds
the r largest eigenpairs of images whose covariance has no room in memory, such as 256 x
256 x 3, from a few passes over the set; `LowRank` says how good they are.

Sources: Halko, Martinsson & Tropp, SIAM Review 53 (2011), for the random start and the
error estimate; Musco & Musco, NeurIPS 2015, and Golub & Underwood (1977) for the block
Krylov space.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

STEPS = 32767  # int16 without its lowest value


def compress(
    mu: Tensor, cov: Tensor, r: int, shape: tuple[int, int, int], N: int = 0
) -> dict[str, Tensor]:
    r"""The r largest eigenpairs of a covariance (n, n), as tensors for a small file.

    `mu` float32 (n,); `lam` float64 (r,), falling; `U` int16 (n, r), to be multiplied
    by `scale` float32 (r,); `rest` float64 (3,): smallest, mean and largest of the
    eigenvalues that were dropped, zeros if none was; `shape` int32 (3,) = C, H, W; `N`
    int64 (1,), the number of images behind it, 0 for moments of a model. Signs of
    eigenvectors: the largest entry is positive. ValueError unless 1 <= r <= n = C H W.
    """
    if mu.shape != (math.prod(shape),) or cov.shape != 2 * mu.shape:
        raise ValueError(
            f"mu {tuple(mu.shape)} and cov {tuple(cov.shape)} are not of images {shape}"
        )
    if not 1 <= r <= len(mu):
        raise ValueError(f"r must be 1 to {len(mu)}, not {r}")
    lam, U = torch.linalg.eigh(cov.double())  # ascending
    lam, U = lam.flip(0).clamp_min(0), U.flip(1)
    rest = lam[r:] if r < len(lam) else lam.new_zeros(1)
    U = U[:, :r]
    peak = U.gather(0, U.abs().argmax(dim=0, keepdim=True))  # (1, r)
    scale = (peak[0].abs() / STEPS).float()
    return {
        "mu": mu.float(),
        "lam": lam[:r],
        "U": (U * peak.sign() / scale).round().to(torch.int16),
        "scale": scale,
        "rest": torch.stack([rest[-1], rest.mean(), rest[0]]),
        "shape": torch.tensor(shape, dtype=torch.int32),
        "N": torch.tensor([N]),
    }


Read = Callable[[], Iterable[Tensor]]  # batches of the same set, anew at every call


@dataclass(frozen=True)
class LowRank:
    r"""The r largest eigenpairs of a covariance that was never formed, and their error.

    mu: mean, (n,). lam: (r,), falling; each is $u_j^T \Sigma u_j$, so no Ritz value
    exceeds the eigenvalue of its rank. U: (n, r), orthonormal. total: trace of Sigma,
    the variance of an image. residual: $\|\Sigma u_j - \lambda_j u_j\|$, (r,); within
    this distance of each lam lies an eigenvalue of Sigma. floor, ceiling: the largest
    eigenvalue that was dropped is at least `floor` and, with the probability
    `certainty`, at most `ceiling` (nan before `certified`). N: number of images. All
    of it up to rounding: products in float32 move it by some 1e-7 of the largest lam.
    """

    mu: Tensor
    lam: Tensor
    U: Tensor
    total: float
    residual: Tensor
    floor: float
    N: int
    ceiling: float = math.nan
    certainty: float = 0.0

    @property
    def dropped(self) -> float:
        """Variance outside the basis: trace of Sigma less the sum of lam, exact."""
        return max(self.total - self.lam.sum().item(), 0.0)

    def error_bracket(self, sigma: float) -> tuple[float, float]:
        r"""The expected error of the full Wiener filter lies between these two.

        $\sum_j f(\lambda_j)$ with $f(\lambda) = \lambda\sigma^2/(\lambda+\sigma^2)$ is
        concave: it is largest when the dropped variance is spread over all other
        directions (n - r, or N - 1), smallest when it sits on eigenvalues as large as
        `ceiling`; twice the residuals pay for a basis that is not quite invariant. The
        lower end has the probability `certainty`. ValueError before `certified`.
        """
        if math.isnan(self.ceiling):
            raise ValueError("the dropped eigenvalues are not bounded: see certified")
        lam, n, r = self.lam, len(self.mu), len(self.lam)
        kept = (lam * sigma**2 / (lam + sigma**2)).sum().item()
        others = max(min(n - r, self.N - 1), 1)
        high = kept + self.dropped * sigma**2 / (self.dropped / others + sigma**2)
        low = kept + self.dropped * sigma**2 / (self.ceiling + sigma**2)
        return max(low - 2 * self.residual.sum().item(), 0.0), high


def mean_and_variance(batches: Iterable[Tensor]) -> dict[str, Tensor]:
    """Sums for one pass over a shard: `count` (1,), `sum` (n,) and `square` (n,).

    Batches are uint8 levels or floats in [-1, 1], (b, ...). The sums of shards add up,
    with `added`. ValueError without an image.
    """
    total = None
    for batch in batches:
        y = unit(batch, torch.float64)
        part = {
            "count": y.new_tensor([len(y)]),
            "sum": y.sum(dim=0),
            "square": y.square().sum(dim=0),
        }
        total = added(total, part)
    if total is None:
        raise ValueError("there is no image to take moments of")
    return total


def products(
    batches: Iterable[Tensor], mu: Tensor, Q: Tensor, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, int]:
    r"""$\sum_n (y_n - \mu)(y_n - \mu)^T Q$ over a shard, (n, k), float64, and how many.

    Over all images and divided by their number it is $\Sigma Q$. Each batch is
    multiplied in `dtype`; batches, and the sums of shards, are added in float64.
    """
    Y, count = torch.zeros_like(Q, dtype=torch.float64), 0
    mu, q = mu.to(dtype), Q.to(dtype)
    for batch in batches:
        z = unit(batch, dtype) - mu
        Y += z.T @ (z @ q)
        count += len(z)
    return Y, count


def covariance_times(read: Read, mu: Tensor, N: int, Q: Tensor, dtype) -> Tensor:
    r"""$\Sigma Q$, (n, k), in one pass over all N images."""
    Y, count = products(read(), mu, Q, dtype)
    if count != N:
        raise ValueError(f"read() must give all batches anew: {count} of {N} images")
    return Y / N


def unit(batch: Tensor, dtype: torch.dtype) -> Tensor:
    """Flat images (b, n) in [-1, 1], from uint8 levels or floats."""
    flat = batch.flatten(1)
    if flat.dtype == torch.uint8:
        return flat.to(dtype) / 127.5 - 1
    if not flat.is_floating_point() or not bool(torch.isfinite(flat).all()):
        raise ValueError("images are uint8 levels or finite floats")
    return flat.to(dtype)


def added(a: dict[str, Tensor] | None, b: dict[str, Tensor]) -> dict[str, Tensor]:
    """Sums of two shards."""
    return b if a is None else {key: a[key] + b[key] for key in b}


def eigenbasis(
    read: Read,
    r: int,
    generator: torch.Generator,
    extra: int = 10,
    passes: int = 6,
    dtype: torch.dtype = torch.float32,
) -> LowRank:
    r"""The r largest eigenpairs of the covariance of a set that is only streamed.

    `read()` gives the batches anew; it is called `passes` + 1 times. From r + `extra`
    random directions $Q_0$ each pass adds $\Sigma Q_i$, orthogonal to what there is:
    the block Krylov space of $Q_0, \Sigma Q_0, \Sigma^2 Q_0, \ldots$. All products with
    $\Sigma$ are at hand when the best pairs of the space are taken from it
    (Rayleigh-Ritz), so the residuals cost no further pass. Memory: 2 `passes`
    (r + `extra`) n numbers in float64. Fewer than r pairs come back if the set spans
    fewer directions. ValueError unless r, `extra` + 1 and `passes` are at least 1 and
    r < n.
    """
    sums = mean_and_variance(read())
    mu, N = sums["sum"] / sums["count"], int(sums["count"])
    total = (sums["square"] / sums["count"] - mu.square()).clamp_min(0).sum().item()
    if not 1 <= r < len(mu) or extra < 0 or passes < 1:
        raise ValueError(f"r {r}, extra {extra}, passes {passes}, n {len(mu)}")
    k = min(r + extra, len(mu))
    Q = torch.randn(len(mu), k, generator=generator, device=generator.device)
    Q, used = torch.linalg.qr(Q.to(mu)).Q, 0
    basis, images = Q.new_empty(len(mu), passes * k), Q.new_empty(len(mu), passes * k)
    for left in reversed(range(passes)):
        new = slice(used, used + Q.shape[1])
        basis[:, new], images[:, new] = Q, covariance_times(read, mu, N, Q, dtype)
        used = new.stop
        if left:
            eps = torch.finfo(dtype).eps
            Q = new_directions(images[:, new], basis[:, :used], eps)
        if not Q.shape[1]:
            break
    return ritz(basis[:, :used], images[:, :used], r, mu, total, N)


def new_directions(Y: Tensor, basis: Tensor, eps: float) -> Tensor:
    """An orthonormal basis of what Y (n, k) adds to an orthonormal one; may be empty.

    Projected twice, since one projection in floating point leaves a trace of the basis.
    """
    smallest = 10 * eps * Y.norm(dim=0).max()
    for _ in range(2):
        Y = Y - basis @ (basis.T @ Y)
        Y, R = torch.linalg.qr(Y)
        Y = Y[:, R.diagonal().abs() > smallest]
        smallest = 0.5  # the second time the columns have length 1
    return Y[:, : max(len(Y) - basis.shape[1], 0)]


def ritz(Q: Tensor, Y: Tensor, r: int, mu: Tensor, total: float, N: int) -> LowRank:
    r"""The best eigenpairs in the span of orthonormal Q (n, k), with $Y = \Sigma Q$."""
    T = Q.T @ Y
    theta, V = torch.linalg.eigh((T + T.T) / 2)  # ascending
    theta, V = theta.flip(0).clamp_min(0), V.flip(1)
    rank = max(int((theta > torch.finfo(torch.float32).eps * theta[0]).sum()), 1)
    r = min(r, rank)
    lam, U = theta[:r], Q @ V[:, :r]
    residual = (Y @ V[:, :r] - U * lam).norm(dim=0)
    floor = theta[r].item() if r < len(theta) else 0.0
    return LowRank(mu, lam, U, total, residual, floor, N)


def certified(
    low: LowRank,
    read: Read,
    generator: torch.Generator,
    probes: int = 20,
    failure: float = 1e-6,
    powers: int = 2,
    dtype: torch.dtype = torch.float32,
) -> LowRank:
    r"""With a `ceiling` on the largest dropped eigenvalue, from `powers` more passes.

    With $B = (I - UU^T)\,\Sigma\,(I - UU^T)$ and standard normal $w_1, \ldots, w_m$,
    independent of U,

    $$\|B\| \le \Big(\alpha \sqrt{2/\pi}\, \max_i \|B^q w_i\|\Big)^{1/q}
      \quad\text{with probability } 1 - \alpha^{-m}$$

    (Halko, Martinsson & Tropp 2011, Lemma 4.1, for the matrix $B^q$), m = `probes`,
    q = `powers`, $\alpha^{-m}$ = `failure`. More powers make it tighter. The generator
    must not repeat the numbers that U was found with.
    """
    if probes < 1 or powers < 1 or not 0 < failure < 1:
        raise ValueError(f"probes {probes}, powers {powers}, failure {failure}")
    size = len(low.mu), probes
    W = torch.randn(size, generator=generator, device=generator.device)
    W = outside(low.U, W.to(low.U))
    for _ in range(powers):
        W = outside(low.U, covariance_times(read, low.mu, low.N, W, dtype))
    alpha = failure ** (-1 / probes)
    largest = alpha * math.sqrt(2 / math.pi) * W.norm(dim=0).max().item()
    ceiling = max(min(largest ** (1 / powers), low.dropped), low.floor)
    return replace(low, ceiling=ceiling, certainty=1 - failure)


def outside(U: Tensor, W: Tensor) -> Tensor:
    """The part of W (n, k) that is orthogonal to the columns of U."""
    return W - U @ (U.T @ W)
