r"""Averages over a training set that is seen once, block by block.

How the set is cut into blocks changes memory, never the result. `softmax_mean` keeps
the running mass of the softmax; averaging block-wise softmaxes with equal weights
instead gives an answer that depends on the block size. `Moments` adds up the mean and
covariance of a set, which `helpers.stored` reads where it is larger than the memory.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

# (128 * 128) * 1024 = 2**24: float32 adds this many such products without rounding
ROWS = 1024
# Weights below e^-80 of the largest count as e^-80: it changes no digit, while
# exponentials and products of denormal numbers are many times slower.
FLOOR = -80.0
PANEL = 512  # columns per product; only panels on and above the diagonal are computed


class SoftmaxMean:
    r"""Mean under one softmax, $\sum_n \mathrm{softmax}_n(\ell_{bn}) v_n$, as it grows.

    One pass with a running maximum (Milakov & Gimelshein 2018, Alg. 3). With
    `exp=torch.exp2` the logits are in bits instead of nats, which is faster.
    """

    def __init__(self, exp: Callable = torch.exp):
        self.exp, self.top = exp, None

    def update(self, logits: Tensor, values: Tensor) -> None:
        """Add a block: logits (..., B, n) and values (..., n, D); n may differ."""
        peak = logits.amax(dim=-1, keepdim=True)  # (..., B, 1)
        peak = peak.clamp_min(torch.finfo(peak.dtype).min)  # a row of -inf stays at 0
        if self.top is None:
            self.top, self.mass, self.total = peak, 0, 0
        new_top = torch.maximum(self.top, peak)
        weight = self.exp((logits - new_top).to(values).clamp_min(FLOOR))
        decay = self.exp((self.top - new_top).to(values))  # (..., B, 1)
        self.mass = self.mass * decay + row_sums(weight)[..., None]
        self.total = self.total * decay + weighted_sum(weight, values)  # (..., B, D)
        self.top = new_top

    def merge(self, top: Tensor, mass: Tensor, total: Tensor) -> None:
        """Add what another pass has summed relative to its own peak `top`."""
        if self.top is None:
            self.top, self.mass, self.total = top, mass, total
            return
        new_top = torch.maximum(self.top, top)
        old, new = self.exp(self.top - new_top), self.exp(top - new_top)
        self.mass = self.mass * old + mass * new
        self.total = self.total * old + total * new
        self.top = new_top

    def mean(self) -> Tensor:
        """(..., B, D), in the dtype of the values; ValueError without a block."""
        if self.top is None:
            raise ValueError("a softmax needs at least one block")
        return self.total / self.mass


def row_sums(weight: Tensor) -> Tensor:
    """Sums over the last axis, by a product: several times faster than `sum` here."""
    return weight @ weight.new_ones(weight.shape[-1])


def weighted_sum(weight: Tensor, values: Tensor) -> Tensor:
    r"""$\sum_n w_{bn} v_n$ of (..., B, n) and (..., n, D): the product, faster for many
    small ones side by side.
    """
    if values.ndim == 2 or values.shape[-1] > 4:
        return weight @ values
    columns = values.unbind(dim=-1)  # D times (..., n)
    return torch.stack([row_sums(weight * v[..., None, :]) for v in columns], dim=-1)


def softmax_mean(blocks: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    r"""Mean under one softmax, $\sum_n \mathrm{softmax}_n(\ell_{bn}) v_n$.

    `blocks` yields logits (..., B, n) and values (..., n, D); n may differ. A logit may
    be -inf (weight 0), but each row needs a finite one. Returns (..., B, D) in the
    dtype of the values; leading axes are softmaxes side by side, such as one for each
    pixel. ValueError without a block.
    """
    running = SoftmaxMean()
    for logits, values in blocks:
        running.update(logits, values)
    return running.mean()


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
    whole; `state` and `from_state` take them through a file. The memory is one D x D
    matrix in float64, and a second one while `cov` makes its answer.
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
        if flat.dtype not in (torch.uint8, torch.float32, torch.float64):
            raise ValueError(f"moments of {flat.dtype} images are not defined")
        if flat.is_floating_point() and not bool(torch.isfinite(flat).all()):
            raise ValueError("the batch holds NaN or infinite numbers")
        if self.sum is None:
            self.dtype = flat.dtype
            self.sum = torch.zeros(D, dtype=torch.float64, device=flat.device)
            self.product = self.sum.new_zeros(D, D)
        if (flat.dtype, D) != (self.dtype, len(self.sum)):
            raise ValueError(
                f"this batch has {D} numbers an image ({flat.dtype}), the ones before "
                f"had {len(self.sum)} ({self.dtype})"
            )

    def merge(self, other: "Moments") -> "Moments":
        """Add the moments of another shard of the same set, which stay as they are."""
        if other.count == 0:
            return self
        if self.sum is None:
            self.dtype, self.sum = other.dtype, torch.zeros_like(other.sum)
            self.product = torch.zeros_like(other.product)
        if (self.dtype, self.sum.shape) != (other.dtype, other.sum.shape):
            raise ValueError("these moments are of images of another size or dtype")
        self.sum += other.sum
        for a in range(0, len(self.sum), PANEL):
            self.product[a : a + PANEL, a:] += other.product[a : a + PANEL, a:]
        self.count += other.count
        return self

    def state(self) -> dict[str, Tensor]:
        """All that is known, as tensors for a file: count, sum, product and `like`, an
        empty tensor with the dtype of the images. They share the memory of `self`.

        ValueError before the first image.
        """
        self._check_any()
        count, like = torch.tensor([self.count]), torch.empty(0, dtype=self.dtype)
        return {"count": count, "sum": self.sum, "product": self.product, "like": like}

    @classmethod
    def from_state(cls, state: dict[str, Tensor]) -> "Moments":
        """What `state` gave; it is used in place. ValueError if it cannot be that."""
        if missing := {"count", "sum", "product", "like"} - state.keys():
            raise ValueError(f"this is no state of moments: {sorted(missing)} missing")
        D = state["sum"].numel()
        sizes = state["sum"].shape, state["product"].shape, state["count"].shape
        if sizes != ((D,), (D, D), (1,)) or int(state["count"]) < 1:
            raise ValueError("this is no state of moments: sizes do not fit")
        moments = cls()
        moments.count, moments.dtype = int(state["count"]), state["like"].dtype
        moments.sum, moments.product = state["sum"], state["product"]
        return moments

    def _check_any(self) -> None:
        if not self.count:
            raise ValueError("no image has been added yet")

    @property
    def mean(self) -> Tensor:
        r"""$\mu$, shape (D,), float64, in units of [-1, 1]."""
        self._check_any()
        mean = self.sum / self.count
        return (mean + 0.5) / 127.5 if self.dtype == torch.uint8 else mean

    def cov(self, correction: int = 0, spend: bool = False) -> Tensor:
        r"""$\Sigma = \frac{1}{N - correction} \sum_n (y_n - \mu)(y_n - \mu)^T$,
        float64, (D, D), exactly symmetric.

        With `spend` it takes the memory of the sums instead of its own: afterwards
        these moments are empty, as if new. ValueError when there are not more images
        than `correction`.
        """
        if self.count <= correction:
            raise ValueError(f"{self.count} images are too few for a covariance")
        cov = self.product if spend else torch.empty_like(self.product)
        for a in range(0, len(self.sum), PANEL):
            panel = self._centred_panel(a).div_(self.count - correction)
            cov[a : a + PANEL, a:] = panel
            cov[a:, a : a + PANEL] = panel.T  # no later panel is read from here
        if spend:
            self.count, self.sum, self.product = 0, None, None
        return cov

    def _centred_panel(self, a: int) -> Tensor:
        """Sums of centred products, rows a to a + PANEL from the diagonal on."""
        panel = torch.outer(self.sum[a : a + PANEL], self.sum[a:]).div_(self.count)
        panel.neg_().add_(self.product[a : a + PANEL, a:])
        corner = panel[:, : len(panel)]
        corner.copy_(corner.triu() + corner.triu(1).T)
        return panel.div_(127.5**2) if self.dtype == torch.uint8 else panel
