r"""Which training images are close to a noisy one: exact, without all the distances.

Rotate the images so that the first m coordinates hold most of what varies between them.
With $p$ the first coordinates of a centred image and $r$ the norm of all the others,

$$\|x - y\|^2 \ge \|p_x - p_y\|^2 + (r_x - r_y)^2 ,$$

a distance between vectors of m + 1 numbers instead of C H W. The bound holds for any
orthonormal directions; good ones only make it tight. It rules out most images, and the
distances of those that are left are formed as float64 differences.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from helpers import metrics
from helpers.data import check_images
from helpers.metrics import Nearest

PAIRS = 4096  # image pairs whose difference is formed at once: bounds the memory
SHARE = 0.02  # of all pairs, beyond which one product for all distances is faster
SAMPLE = 4096  # images from which the directions are taken


def directions(data: Tensor, m: int) -> Tensor:
    """About the first m principal directions of images (N, ...): orthonormal (D, m)."""
    step = max(1, len(data) // SAMPLE)
    flat = data[::step].flatten(1)[:SAMPLE]
    with torch.random.fork_rng([]):
        torch.manual_seed(0)  # of the randomised start; any directions are right
        V = torch.pca_lowrank(flat, q=m, niter=2)[2]
    return torch.linalg.qr(V.double())[0]


class Search:
    """An index of training images for exact search.

    `data` is float (N, C, H, W) in [-1, 1], used in place; `m` directions, at most C H
    W and N. The index adds N (m + 2) numbers. ValueError without images or directions.
    """

    def __init__(self, data: Tensor, m: int = 256):
        check_images(data)
        if m < 1 or not len(data):
            raise ValueError(f"need an image and a direction, not {len(data)} and {m}")
        self.data = data
        self.mu = data.flatten(1).mean(dim=0, dtype=torch.float64)
        self.V = directions(data, min(m, data[0].numel(), len(data)))
        self.q = torch.cat([self.reduced(y) for y in data.split(4096)])  # (N, m + 1)
        self.half_square = self.q.double().square().sum(dim=1).to(data.dtype) / 2

    def reduced(self, x: Tensor) -> Tensor:
        """$(p_x, r_x)$, (B, m + 1): computed in float64, then rounded."""
        centred = x.flatten(1).double() - self.mu
        p = centred @ self.V
        rest = (centred.square().sum(dim=1) - p.square().sum(dim=1)).clamp_min(0)
        return torch.cat([p, rest.sqrt()[:, None]], dim=1).to(x.dtype)

    def candidates(self, x: Tensor, k: int = 1, spread: float | Tensor = 0.0) -> Tensor:
        r"""Images that may be the k-th nearest to x, or nearer, or not much farther.

        (B, N), bool. No image is missing whose $\|x - y_n\|^2$ is at most `spread`, a
        number or (B,), above that of the k-th nearest; what rounding may have done is
        allowed for.
        """
        q = self.reduced(x)
        score = torch.addmm(-self.half_square.to(q), q, self.q.to(q).T)
        first = score.topk(k, dim=1).indices.flatten()  # near, seldom the nearest
        rows = torch.arange(len(x)).repeat_interleave(k)
        reach = self.distances(x, rows, first).view(len(x), k).amax(dim=1)
        return score >= self._threshold(q, reach + spread)

    def _threshold(self, q, reach) -> Tensor:
        r"""The least score $(\|q_x\|^2 - \|q_x - q_y\|^2) / 2$ within `reach`, (B, 1).

        A product of n numbers is off by at most $\gamma_n \|q_x\| \|q_y\|$, $\gamma_n =
        n u / (1 - n u)$ (Higham 2002, Sec. 3.1); 16 more allow for the rounding of the
        coordinates themselves and of the sums.
        """
        n = (q.shape[1] + 16) * torch.finfo(q.dtype).eps / 2
        longest = (2 * self.half_square.max().double()).sqrt()
        square = q.double().square().sum(dim=1)
        slack = n / (1 - n) * (square.sqrt() + longest).square()
        return ((square - reach) / 2 - slack)[:, None].to(q.dtype)

    def distances(self, x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        r"""$\|x_i - y_j\|^2$ for the pairs (i, j), float64, from differences."""
        flat, data = x.flatten(1).double(), self.data.flatten(1)
        parts = [
            (flat[i] - data[j].to(flat)).square().sum(dim=1)
            for i, j in zip(rows.split(PAIRS), columns.split(PAIRS))
        ]
        return torch.cat(parts) if parts else flat.new_zeros(0)

    def nearest(self, x: Tensor, k: int = 1) -> Nearest:
        r"""The k training images closest to each x, exactly (see `metrics.nearest`).

        ValueError unless 1 <= k <= N.
        """
        if not 1 <= k <= len(self.data):
            raise ValueError(f"k must be between 1 and {len(self.data)}, not {k}")
        near = self.candidates(x, k)
        if near.sum() > SHARE * near.numel():
            return metrics.nearest(x, self.data, k)
        rows, columns = near.nonzero(as_tuple=True)
        return self._closest(len(x), k, rows, columns, self.distances(x, rows, columns))

    def _closest(self, B, k, rows, columns, squares) -> Nearest:
        counts = torch.bincount(rows, minlength=B).tolist()
        distance, index = [], []
        for d, j in zip(squares.split(counts), columns.split(counts)):
            best = d.sort(stable=True)
            distance.append(best.values[:k].sqrt())
            index.append(j[best.indices[:k]])
        return Nearest(torch.stack(distance), torch.stack(index))


def exhaustive(data: Tensor) -> Callable[[Tensor, int], Nearest]:
    """Search among all distances, `find(x, k)`: the faster way for many neighbours.

    By FAISS where it is installed, else by `metrics.nearest`.
    """
    try:
        return faiss_nearest(data)
    except ImportError:
        return lambda x, k=1: metrics.nearest(x, data, k)


def faiss_nearest(data: Tensor) -> Callable[[Tensor, int], Nearest]:
    """Exhaustive search by FAISS (Douze et al. 2024), which keeps a float32 copy.

    Of its 2 k + 8 candidates the k best are taken after their distances were computed
    again in float64. ImportError where FAISS is not installed.
    """
    import faiss

    flat = data.flatten(1).float().contiguous()
    index = faiss.IndexFlatL2(flat.shape[1])
    index.add(flat.numpy())

    def nearest(x: Tensor, k: int = 1) -> Nearest:
        wide = min(2 * k + 8, len(data))
        _, found = index.search(x.flatten(1).float().contiguous().numpy(), wide)
        found = torch.from_numpy(found)
        gaps = [
            data[j].flatten(1).double() - row.double()
            for j, row in zip(found, x.flatten(1))
        ]
        distance, order = torch.stack([g.norm(dim=1) for g in gaps]).sort(1)
        return Nearest(distance[:, :k], found.gather(1, order)[:, :k])

    return nearest
