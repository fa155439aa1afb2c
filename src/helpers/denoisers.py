r"""Denoisers that need no training: the posterior mean $E[x_0 | x]$ in closed form.

Every denoiser of this book, analytic or learned, is called the same way:
`denoise(x, sigma) -> x0_hat`, where $x = x_0 + \sigma \epsilon$ has shape (B, C, H, W)
in units of [-1, 1] and sigma is a float or a tensor of shape (B,), finite and above 0.
The answer has the shape and dtype of x. A ValueError says what is wrong with an input.
"""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from helpers.data import check_images
from helpers.streaming import effective_number, softmax_mean
from helpers.targets import noise_level

LOGITS = 2**24  # logits held at once, 128 MB: bounds the memory, not the result
PAIRS = 2048  # image pairs whose difference is formed at once, likewise
NATS = 36.0  # a training image this far below the best has a weight under 2.4e-16
# A logit is computed anew where the estimate of its rounding error exceeds this many
# nats. The estimate is the probabilistic one of Higham & Mary (2019); on CIFAR-10 it is
# 20 to 100 times the largest error, 300 to 1000 times the root mean square error.
ROUNDING = 2e-2


def check_noisy(x: Tensor, shape: torch.Size) -> None:
    """ValueError unless x is a finite float batch of images of `shape` (C, H, W)."""
    if not torch.is_tensor(x) or not x.is_floating_point():
        raise ValueError("x must be a float tensor of shape (B, C, H, W)")
    if x.shape[1:] != shape or x.ndim != 4:
        raise ValueError(
            f"x must have shape (B, {', '.join(map(str, shape))}), not {tuple(x.shape)}"
        )
    if not bool(torch.isfinite(x).all()):
        raise ValueError("x holds NaN or infinite numbers")


class Optimal:
    r"""Posterior mean when the data are exactly the training set.

    $$D(x; \sigma) = \sum_n w_n(x)\, y_n, \qquad
      w(x) = \mathrm{softmax}_n\big(-\|x - y_n\|^2 / 2\sigma^2\big)$$

    `data` are the images $y_n$, float (N, C, H, W) in [-1, 1]; they are used in place,
    not copied. `chunk` images are read at a time, which changes memory, never the
    result.

    The "optimal denoiser" of Lukoianov et al. 2025, the ideal score of Kamb & Ganguli
    2025. The squares are expanded, so that a block of distances is one matrix product.
    That loses digits: in float32 a logit at sigma = 0.002 is off by tens. Where the
    rounding could be felt, the distances to all images that still matter are therefore
    computed once more as float64 differences.
    """

    def __init__(self, data: Tensor, chunk: int = 8192):
        if not len(check_images(data)):
            raise ValueError("the training set holds no image")
        self.data, self.chunk = data, chunk
        blocks = data.flatten(1).split(chunk)
        self.half_square = torch.cat([y.double().square().sum(1) / 2 for y in blocks])

    def __call__(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        means = [
            softmax_mean((logits, y) for logits, y, _ in self._blocks(*part))
            for part in self._batches(x, sigma)
        ]
        return torch.cat(means).view_as(x)

    def weights(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        r"""$w_n(x)$, the posterior probability of each training image, (B, N), float64.

        All of them at once, for a batch that leaves room for B N numbers.
        """
        return torch.cat(list(self._weights(x, sigma)))

    def draw(
        self, x: Tensor, sigma: float | Tensor, generator: torch.Generator
    ) -> Tensor:
        r"""One posterior sample $x_0 \sim p(x_0 | x)$ for each x: a training image.

        Exact, since the training set is all there is; their mean is `self(x, sigma)`.
        """
        picks = [
            torch.multinomial(w.cpu(), 1, generator=generator)[:, 0]
            for w in self._weights(x, sigma)
        ]
        return self.data[torch.cat(picks)].to(x)

    def effective_number(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        r"""$1/\sum_n w_n^2$, how many training images are behind a prediction, (B,)."""
        return torch.cat(
            [
                effective_number(logits for logits, *_ in self._blocks(*part))
                for part in self._batches(x, sigma)
            ]
        )

    def log_density(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        r"""$\log \frac1N \sum_n N(x;\, y_n, \sigma^2 I)$, the density of x, nats, (B,).

        Its gradient is the score $(D(x; \sigma) - x) / \sigma^2$ (Tweedie's formula).
        """
        sums = [
            torch.cat([logits for logits, *_ in self._blocks(*part)], 1).logsumexp(1)
            for part in self._batches(x, sigma)
        ]
        N, D = len(self.data), self.data[0].numel()
        level = torch.as_tensor(sigma, dtype=torch.float64, device=x.device)
        constant = torch.log(2 * torch.pi * level**2) * D / 2
        return torch.cat(sums) - math.log(N) - constant

    def _batches(self, x, sigma) -> Iterator[tuple[Tensor, Tensor]]:
        """Flat images (b, D) and their sigma^2 (b, 1), few enough for the memory."""
        check_noisy(x, self.data.shape[1:])
        noise_level(sigma, x)
        variance = torch.as_tensor(sigma, dtype=torch.float64, device=x.device) ** 2
        variance = variance.reshape(-1, 1).expand(len(x), 1)
        rows = max(1, LOGITS // len(self.data))
        return zip(x.flatten(1).split(rows), variance.split(rows))

    def _weights(self, x, sigma) -> Iterator[Tensor]:
        """Weights (b, N) of a few noisy images at a time."""
        for flat, variance in self._batches(x, sigma):
            shape = (len(flat), len(self.data))
            logits = torch.full(shape, -torch.inf, dtype=variance.dtype).to(x.device)
            for part, _, index in self._blocks(flat, variance):
                logits[:, index] = part
            yield logits.softmax(dim=1)

    def _blocks(self, x: Tensor, variance: Tensor) -> Iterator[tuple]:
        """Logits (B, n), float64, images (n, D) and their place in the set (n,), for
        one block after the other.
        """
        blocks = self.data.flatten(1).split(self.chunk)
        half = self.half_square.to(x.device)
        score = torch.cat([(x @ y.to(x).T).double() for y in blocks], dim=1) - half
        square = x.double().square().sum(dim=1, keepdim=True)  # (B, 1)
        # score = (|x|^2 - |x - y|^2) / 2, (B, N), up to this much rounding:
        unit = torch.finfo(x.dtype).eps / 2
        error = unit * (x.shape[1] * 2 * half.max() * square).sqrt()  # (B, 1)
        coarse = error > ROUNDING * variance  # (B, 1)
        floor = score.detach().amax(dim=1, keepdim=True) - NATS * variance - 2 * error
        places = torch.arange(len(self.data), device=x.device).split(self.chunk)
        for y, part, index in zip(blocks, score.split(self.chunk, dim=1), places):
            logits, y = (part - square / 2) / variance, y.to(x)
            if bool(coarse.any()):
                matter = part >= floor
                keep = (matter | ~coarse).any(dim=0)
                y, index, matter = y[keep], index[keep], matter[:, keep]
                logits = _refine(logits[:, keep], x, y, variance, matter & coarse)
                logits = torch.where(matter | ~coarse, logits, -torch.inf)
            if len(y):
                yield logits, y, index


def _refine(logits, x, y, variance, pairs) -> Tensor:
    """The logits with those of the marked pairs (B, n) computed from differences."""
    rows, columns = pairs.nonzero(as_tuple=True)
    if not len(rows):
        return logits
    exact = [
        -(x[r].double() - y[c].double()).square().sum(1) / (2 * variance[r, 0])
        for r, c in zip(rows.split(PAIRS), columns.split(PAIRS))
    ]
    return logits.index_put((rows, columns), torch.cat(exact))


def clipped(denoise: Callable, low: float = -1.0, high: float = 1.0) -> Callable:
    r"""The same denoiser with its answer clipped to the range of pixels."""
    return lambda x, sigma: denoise(x, sigma).clamp(low, high)
