r"""What the null space of a covariance does to a mask that is computed from it.

The filter $S = \Sigma (\Sigma + \sigma^2 I)^{-1}$ is a function of $\Sigma$, and no
basis can be seen in it. A program forms it from factors, $\Sigma = U\, \mathrm{diag}(s)
V^T$. Where s is zero up to rounding, a singular value decomposition returns *some*
orthonormal columns in U and some others in V, and s is a small number above zero. Here
are the steps of the released code of Lukoianov et al. (2025), with any decomposition in
them, so that one can see what depends on it. What the book uses instead is
`helpers.wiener` and `helpers.masks`.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from helpers.masked import Masked
from helpers.masks import CONSTANT


class Factors(NamedTuple):
    r"""$U\, \mathrm{diag}(s)\, V^T$: U (n, r), s (r,), Vh (r, n)."""

    U: Tensor
    s: Tensor
    Vh: Tensor

    def filter(self, sigma: float) -> Tensor:
        r"""$U\, \mathrm{diag}(s / (s + \sigma^2))\, V^T$, in the dtype of the factors.

        ValueError unless sigma is finite and above 0.
        """
        if not 0 < sigma < float("inf"):
            raise ValueError(f"sigma must be finite and above 0, not {sigma}")
        return (self.U * (self.s / (self.s + sigma**2))) @ self.Vh


Decompose = Callable[[Tensor], Factors]


def svd(cov: Tensor) -> Factors:
    """The singular value decomposition, as in the released code."""
    return Factors(*torch.linalg.svd(cov))


def eigh(cov: Tensor) -> Factors:
    """The symmetric eigendecomposition, V = U; eigenvalues below 0 count as 0."""
    lam, U = torch.linalg.eigh(cov)
    return Factors(U, lam.clamp_min(0), U.T)


def reordered(decompose: Decompose, order: Tensor) -> Decompose:
    """The same decomposition of the same matrix, its pixels counted in another order.

    In exact arithmetic the order changes nothing. `order` is a permutation (n,).
    """

    def again(cov: Tensor) -> Factors:
        U, s, Vh = decompose(cov[order][:, order].contiguous())
        back = order.argsort()
        return Factors(U[back], s, Vh[:, back])

    return again


def turned(factors: Factors, limit: float, generator: torch.Generator) -> Factors:
    r"""The same with other columns where $s \le$ `limit`: U and V turned at random.

    Each gets its own rotation, as in a singular value decomposition, which is free to
    choose there. The singular values stay.
    """
    U, Vh = factors.U.clone(), factors.Vh.clone()
    null = (factors.s <= limit).nonzero()[:, 0]
    for basis in (U.T, Vh):  # views: rows are the vectors
        basis[null] = rotation(len(null), generator).to(U) @ basis[null]
    return Factors(U, factors.s, Vh)


def rotation(k: int, generator: torch.Generator) -> Tensor:
    """A random orthogonal matrix (k, k), float64, all equally likely."""
    Q, R = torch.linalg.qr(torch.randn(k, k, generator=generator, dtype=torch.float64))
    return Q * R.diagonal().sign()


class Rule(NamedTuple):
    """A mask and what became of its threshold."""

    mask: Tensor  # bool (n, n), row m for output m; rows may be empty
    largest: float  # of the ratios R; the threshold is tau times this

    @property
    def empty(self) -> Tensor:
        """The outputs that see nothing, not even themselves, bool (n,)."""
        return ~self.mask.any(dim=1)


def released_mask(S: Tensor, threshold: float) -> Rule:
    r"""The mask of the released code, with nothing done about a bad S.

    $R_{mn} = |S_{nm} / S_{nn}|$, a diagonal with $|S_{nn}| < 10^{-6}$ first set to 1,
    and m sees n where $R_{mn} \ge \tau \max R$. The diagonal of R is 1; where $\tau
    \max R > 1$ an output need not see itself, and may see nothing.

    S need not be symmetric. ValueError unless S is square and 0 < threshold <= 1.
    """
    if not 0 < threshold <= 1 or S.ndim != 2 or len(S) != S.shape[1]:
        raise ValueError(f"need a square S and 0 < threshold <= 1, not {threshold}")
    own = S.diagonal()
    own = torch.where(own.abs() < CONSTANT, 1, own)
    ratio = (S.T / own).abs()
    ratio.fill_diagonal_(1)
    largest = ratio.max()
    return Rule(ratio >= threshold * largest, float(largest))


def released_answer(data: Tensor, rule: Rule, x: Tensor, sigma: float) -> Tensor:
    """The masked denoiser with this mask; an output that sees nothing is the mean.

    All distances of such an output are 0, so all training images weigh the same.
    `data` and x are as for `masked.Masked`.
    """
    mask = rule.mask | torch.diag(rule.empty)
    answer = Masked(data, mask)(x, sigma).flatten(1)
    return torch.where(rule.empty, data.mean(dim=0).flatten(), answer).view_as(x)
