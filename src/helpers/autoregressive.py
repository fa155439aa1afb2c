r"""An autoregressive model is a diffusion (Ho et al. 2020, Sec. 4.3, Eq. 16).

Discrete images of D pixels with K values. The forward process has T = D steps, and step
t wipes out pixel t: $q(x_t | x_{t-1})$ puts a BLANK there, so that x_T is blank. A
model of the way back, $p(x_{t-1} | x_t)$, keeps what it sees and guesses pixel t from
the pixels t + 1, ..., D: that is one factor of

$$p(x_0) = \prod_{t=1}^{D} p(x^t | x^{t+1}, \ldots, x^D).$$

Nothing is lost in the bound: given $x_0$ there is only one walk, each KL of Eq. 5 is
$-\ln p(x^t | x^{>t})$, and their sum is $-\ln p(x_0)$ for each image.

A distribution over images is a table of shape (K, ..., K), float64, one axis a pixel,
that sums to 1. A model is the list of its D conditional tables; entry t - 1 has shape
(1, ..., 1, K, ..., K), pixel t first. All in nats.
"""

import math

import torch
from torch import Tensor

BLANK = -1


def mask(x0: Tensor, t: int) -> Tensor:
    """The only x_t that is possible: the first t pixels are BLANK; x0 (B, D) int.

    ValueError unless 0 <= t <= D.
    """
    if not 0 <= t <= x0.shape[1]:
        raise ValueError(f"t must lie in 0, ..., {x0.shape[1]}, not {t}")
    xt = x0.clone()
    xt[:, :t] = BLANK
    return xt


def check_table(table: Tensor) -> Tensor:
    """`table`, if it is a distribution over images; ValueError else."""
    square = table.ndim > 0 and len(set(table.shape)) == 1
    if not square or table.dtype != torch.float64:
        raise ValueError(f"need a float64 table (K, ..., K), not {tuple(table.shape)}")
    total = table.sum().item()
    if not bool((table >= 0).all()) or not math.isclose(total, 1, abs_tol=1e-9):
        raise ValueError(f"chances must be at least 0 and sum to 1, not to {total:g}")
    return table


def marginal(table: Tensor, t: int) -> Tensor:
    """The chances of the pixels t + 1, ..., D, the other axes of length 1: q(x_t)."""
    return table.sum(dim=tuple(range(t)), keepdim=True) if t else table


def conditionals(table: Tensor) -> list[Tensor]:
    r"""The model of a distribution: $p(x^t | x^{t+1}, \ldots, x^D)$, t = 1, ..., D.

    Where the condition is impossible, the guess is uniform.
    """
    check_table(table)
    found = []
    for t in range(1, table.ndim + 1):
        joint, given = marginal(table, t - 1), marginal(table, t)
        found.append(torch.where(given > 0, joint / given, 1 / table.shape[0]))
    return found


def guess(model: list[Tensor], xt: Tensor, t: int) -> Tensor:
    r"""Chances of the K values of pixel t, from the visible pixels of x_t, (B, K).

    The whole of $p(x_{t-1} | x_t)$; it looks at no pixel up to t.
    """
    later = [xt[:, i] for i in range(t, xt.shape[1])]
    table = model[t - 1].flatten(0, t - 1)  # (K, K, ...): pixels t, t + 1, ..., D
    return table[(slice(None), *later)].T if later else table.expand(len(xt), -1)


def terms(model: list[Tensor], x0: Tensor) -> Tensor:
    r"""$L_0, \ldots, L_D$ of Eq. 5 for each image (B, D) of ints; (B, D + 1).

    The walk is executed: $L_{t-1} = -\ln p(x_{t-1} | x_t)$, for q puts all on one
    $x_{t-1}$; and $L_D = 0$, since $x_D$ is always blank.
    """
    D, rows = x0.shape[1], torch.arange(len(x0))
    found = torch.zeros(len(x0), D + 1, dtype=torch.float64)
    for t in range(D, 0, -1):
        xt, before = mask(x0, t), mask(x0, t - 1)
        found[:, t - 1] = -guess(model, xt, t)[rows, before[:, t - 1]].log()
    return found


def sample(model: list[Tensor], n: int, generator: torch.Generator) -> Tensor:
    """Draws of the model, (n, D): the way back, from blank images."""
    D = len(model)
    xt = torch.full((n, D), BLANK)
    for t in range(D, 0, -1):
        chances = guess(model, xt, t)
        xt[:, t - 1] = torch.multinomial(chances, 1, generator=generator)[:, 0]
    return xt


def log_likelihood(model: list[Tensor]) -> Tensor:
    """ln p of every image, a table (K, ..., K): the product of all factors."""
    return sum(factor.log() for factor in model)


def entropy(table: Tensor) -> Tensor:
    r"""$H(x_0) = -\sum q \ln q$."""
    return -torch.special.xlogy(table, table).sum()


def true_form(table: Tensor, model: list[Tensor]) -> Tensor:
    r"""The terms of Eq. 16 for data of this distribution, (D + 2,); their sum is L.

    First $KL(q(x_T) \| p(x_T)) = 0$, then $E\, KL(q(x_{t-1} | x_t) \| p(x_{t-1} |
    x_t))$ for t = 1, ..., D, where the true step back is that of `conditionals`, last
    $H(x_0)$.
    """
    check_table(table)
    steps = []
    for t, (q, p) in enumerate(zip(conditionals(table), model), start=1):
        ratio = torch.special.xlogy(q, q) - torch.special.xlogy(q, p)
        weight = marginal(table, t)
        steps.append(torch.where(weight > 0, weight * ratio, 0.0).sum())
    return torch.stack([torch.zeros_like(steps[0]), *steps, entropy(table)])


def ising(side: int, coupling: float, field: float = 0.0) -> Tensor:
    r"""A known distribution of binary images: $\exp(J \sum s_i s_j + h \sum s_i)$.

    J is the coupling of neighbours in a side x side square, h the field, s = -1 or
    1 for the value 0 or 1. Shape (2, ..., 2), side^2 axes, row by row. ValueError
    unless side is 1 to 4.
    """
    if not 1 <= side <= 4:
        raise ValueError(f"side must be 1 to 4, not {side}: 2^(side^2) images")
    D = side * side
    images = every_image(D, 2)
    s = (2 * images - 1).double().view(-1, side, side)
    pairs = (s[:, 1:] * s[:, :-1]).sum((1, 2)) + (s[..., 1:] * s[..., :-1]).sum((1, 2))
    return (coupling * pairs + field * s.sum((1, 2))).softmax(0).view([2] * D)


def every_image(D: int, K: int) -> Tensor:
    """All K^D images, (K^D, D), in the order of a flat table."""
    return torch.cartesian_prod(*[torch.arange(K)] * D).view(-1, D)
