r"""Averages over a training set that is seen once, block by block.

How the set is cut into blocks changes memory, never the result. `softmax_mean` keeps
the running mass of the softmax; averaging block-wise softmaxes with equal weights
instead gives an answer that depends on the block size.
"""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn.functional import threshold

# (128 * 128) * 1024 = 2**24: float32 adds this many such products without rounding
ROWS = 1024
# Weights below this count as 0: it changes no digit, and products of denormal numbers
# are many times slower.
TINY = 1e-30
PANEL = 512  # columns per product; only panels on and above the diagonal are computed


def softmax_mean(blocks: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    r"""Mean under one softmax, $\sum_n \mathrm{softmax}_n(\ell_{bn}) v_n$.

    `blocks` yields logits (..., B, n) and values (..., n, D); n may differ. A logit may
    be -inf (weight 0), but each row needs a finite one. Returns (..., B, D) in the
    dtype of the values; leading axes are softmaxes side by side, such as one for each
    pixel. One pass with a running maximum (Milakov & Gimelshein 2018, Alg. 3).
    ValueError without a block.
    """
    top = None
    for logits, values in blocks:
        peak = logits.amax(dim=-1, keepdim=True)  # (..., B, 1)
        peak = peak.clamp_min(torch.finfo(peak.dtype).min)  # a row of -inf stays at 0
        if top is None:
            top, mass, total = peak, 0, 0
        new_top = torch.maximum(top, peak)
        weight = threshold((logits - new_top).to(values).exp(), TINY, 0.0)
        decay = (top - new_top).to(values).exp()  # (..., B, 1)
        mass = mass * decay + weight.sum(dim=-1, keepdim=True)
        total = total * decay + weight @ values  # (..., B, D)
        top = new_top
    if top is None:
        raise ValueError("softmax_mean needs at least one block")
    return total / mass


def effective_number(logit_blocks: Iterable[Tensor]) -> Tensor:
    r"""How many values a softmax spreads over, $1 / \sum_n w_n^2$, shape (B,).

    `logit_blocks` yields (B, n). 1 when one value takes all the weight, N when all
    weights are equal (Kish's effective sample size). ValueError without a block.
    """
    log_sum = log_square_sum = None
    for logits in logit_blocks:
        first, second = logits.logsumexp(dim=1), (2 * logits).logsumexp(dim=1)
        if log_sum is None:
            log_sum, log_square_sum = first, second
            continue
        log_sum = torch.logaddexp(log_sum, first)
        log_square_sum = torch.logaddexp(log_square_sum, second)
    if log_sum is None:
        raise ValueError("effective_number needs at least one block")
    return (2 * log_sum - log_square_sum).exp()


class Moments:
    r"""Mean and covariance of images in one pass, mergeable.

    Feed batches (n, C, H, W): either floats in [-1, 1], or uint8 levels k, which count
    as $k / 127.5 - 1$. For uint8 the sums are integers and exact, whatever the batches;
    for float64 they are exact to rounding; float32 products are summed 1024 rows at a
    time and then in float64. Partial moments of shards `merge` to the moments of the
    whole.
    """

    def __init__(self):
        self.count, self.dtype = 0, None
        self.sum = self.product = None  # of z: (D,) and (D, D), float64, upper panels

    def update(self, batch: Tensor) -> "Moments":
        """Add a batch (n, ...); ValueError for another dtype or size, or for NaN."""
        flat = batch.flatten(1)  # (n, D)
        self._check(flat)
        for rows in flat.split(ROWS):
            z = rows.float() - 128 if rows.dtype == torch.uint8 else rows
            self.sum += z.sum(dim=0, dtype=torch.float64)
            for a in range(0, z.shape[1], PANEL):
                self.product[a : a + PANEL, a:] += z[:, a : a + PANEL].T @ z[:, a:]
        self.count += len(flat)
        return self

    def _check(self, flat: Tensor) -> None:
        D = flat.shape[1]
        if self.sum is None:
            self.dtype = flat.dtype
            self.sum = torch.zeros(D, dtype=torch.float64, device=flat.device)
            self.product = self.sum.new_zeros(D, D)
        if flat.dtype not in (torch.uint8, torch.float32, torch.float64):
            raise ValueError(f"moments of {flat.dtype} images are not defined")
        if (flat.dtype, D) != (self.dtype, len(self.sum)):
            raise ValueError(
                f"this batch has {D} numbers an image ({flat.dtype}), the ones before "
                f"had {len(self.sum)} ({self.dtype})"
            )
        if flat.is_floating_point() and not bool(torch.isfinite(flat).all()):
            raise ValueError("the batch holds NaN or infinite numbers")

    def merge(self, other: "Moments") -> "Moments":
        """Add the moments of another shard of the same set."""
        if other.count == 0:
            return self
        if self.sum is None:
            self.dtype, self.sum = other.dtype, other.sum.clone()
            self.product, self.count = other.product.clone(), other.count
            return self
        if (self.dtype, self.sum.shape) != (other.dtype, other.sum.shape):
            raise ValueError("these moments are of images of another size or dtype")
        self.sum, self.product = self.sum + other.sum, self.product + other.product
        self.count += other.count
        return self

    @property
    def mean(self) -> Tensor:
        r"""$\mu$, shape (D,), float64, in units of [-1, 1]."""
        if not self.count:
            raise ValueError("no image has been added yet")
        mean = self.sum / self.count
        return (mean + 0.5) / 127.5 if self.dtype == torch.uint8 else mean

    def cov(self, correction: int = 0) -> Tensor:
        r"""$\Sigma = \frac{1}{N - correction} \sum_n (y_n - \mu)(y_n - \mu)^T$,
        float64, (D, D).

        ValueError when there are not more images than `correction`.
        """
        if self.count <= correction:
            raise ValueError(f"{self.count} images are too few for a covariance")
        upper = self.product.triu()
        product = upper + upper.T - upper.diagonal().diag()
        centred = product - torch.outer(self.sum, self.sum) / self.count
        scale = 127.5**2 if self.dtype == torch.uint8 else 1.0
        return centred / (self.count - correction) / scale
