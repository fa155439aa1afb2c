r"""Editing the statistics: image sets whose change of mean and covariance is known.

Each edit comes in two parts: what is done to the images, and what that does to $\mu$
and $\Sigma$, in closed form. `Wiener(mu, cov, shape)` of the new moments is then the
exact prediction for the field of the best linear denoiser; `helpers.responses` sums
fields up at the planted places.

Images are (N, C, H, W) in [-1, 1] and stay there: nothing is clipped. Moments are mu
(n,) and cov (n, n), float64, n = C H W in the order of `x.flatten(1)`.
"""

from itertools import pairwise

import torch
from torch import Tensor

from helpers.data import check_images
from helpers.wiener import Wiener

# Corners of the left half of a W, (distance to the axis, height), in units of the side.
CORNERS = ((0.35, 0.25), (0.17, 0.75), (0.0, 0.35))
Moments = tuple[Tensor, Tensor]  # mu, cov


def letter_w(side: int) -> Tensor:
    """A "W" of pixels, bool (side, side), its own mirror image.

    The strokes are a pixel wide, or a sixteenth of the side. ValueError below 8.
    """
    if side < 8:
        raise ValueError(f"a W needs a side of at least 8 pixels, not {side}")
    y, u = _folded(side)
    strokes = [_distance(u, y, a, b) for a, b in pairwise(CORNERS)]
    return torch.minimum(*strokes) <= max(1.2, side / 16) / (2 * side)


def corners_w(side: int) -> list[tuple[int, int]]:
    """The pixels (row, column) of `letter_w` nearest to its five corners."""
    pixels = letter_w(side).nonzero()
    ends = torch.tensor([(y, 0.5 - u) for u, y in CORNERS], dtype=torch.float64)
    nearest = torch.cdist(ends, (pixels + 0.5).double() / side).argmin(dim=1)
    left = pixels[nearest].tolist()
    return [(i, j) for i, j in left] + [(i, side - 1 - j) for i, j in left[1::-1]]


def amplitudes(n: int, generator: torch.Generator) -> Tensor:
    r"""Independent a, uniform on $[-\sqrt3, \sqrt3]$: mean 0, variance 1, (n,)."""
    return (2 * torch.rand(n, generator=generator) - 1) * 3**0.5


def plant(x: Tensor, pattern: Tensor, s: float, a: Tensor, room: float) -> Tensor:
    r"""$x' = (1 - r)\, x + s\, a\, p$: the pixels of a pattern p move together.

    `pattern` (H, W) or (C, H, W); `a` (N,), of mean 0 and variance 1, independent of
    the images; `room` is r, the contrast that the images give up. ValueError when the
    room is not in [0, 1] or less than max |s a p|, so that images could leave [-1, 1].
    """
    check_images(x)
    moved = s * a.view(-1, 1, 1, 1).to(x) * pattern.to(x)
    needed = moved.abs().max().item()
    if not 0 <= room <= 1 or needed > room + 1e-6:
        raise ValueError(f"the pattern needs room for {needed:.3g}, room is {room}")
    return (1 - room) * x + moved


def plant_moments(
    mu: Tensor, cov: Tensor, pattern: Tensor, s: float, room: float, channels: int = 1
) -> Moments:
    r"""$\mu' = (1 - r)\, \mu$, $\Sigma' = (1 - r)^2\, \Sigma + s^2\, p\, p^T$.

    A pattern (H, W) is the same in all `channels`. ValueError if it does not fit.
    """
    p = pattern.double().expand(channels, *pattern.shape[-2:]).flatten()
    _check(mu, cov, len(p))
    return (1 - room) * mu, (1 - room) ** 2 * cov + s**2 * p.outer(p)


def mirror(x: Tensor, g: float) -> Tensor:
    r"""The right half becomes the mirrored left half, by the share g in [0, 1].

    $$x'_j = (1 - g)\, x_j + g\, x_{W-1-j} \quad \text{for columns } j \geq W / 2$$

    The left half stays as it is. Linear in x, and x' is a mean of pixels: no clipping.
    """
    if not 0 <= g <= 1:
        raise ValueError(f"the share of the mirror image is in [0, 1], not {g}")
    right = torch.arange(x.shape[-1], device=x.device) >= x.shape[-1] / 2
    return torch.where(right, (1 - g) * x + g * x.flip(-1), x)


def mirror_moments(mu: Tensor, cov: Tensor, shape, g: float) -> Moments:
    r"""$\mu' = A \mu$, $\Sigma' = A \Sigma A^T$ with A the linear map `mirror`."""
    _check(mu, cov, _size(shape))

    def A(rows):
        return mirror(rows.view(-1, *shape), g).flatten(1)

    return A(mu)[0], A(A(cov).T).T


def whiten(
    x: Tensor, wiener: Wiener, w: float, scale: float = 1.0, floor: float = 1e-3
) -> Tensor:
    r"""$x' = c\, U\, \mathrm{diag}\big((\lambda_j + \lambda_0)^{-w/2}\big)\, U^T
    (x - \mu)$, whitened by the share w: 0 is a shift by the mean, 1 is white.

    `wiener` holds the moments; $\lambda_0$ is `floor` times the mean eigenvalue: what
    lies far below is not blown up. c is `scale`; `whitening_scale` finds one.
    ValueError unless w is in [0, 1], floor and scale above 0.
    """
    gain = _whitening(wiener, w, scale, floor)
    return wiener.apply(gain, x.flatten(1) - wiener.mu.to(x)).view_as(x)


def whitening_scale(x: Tensor, wiener: Wiener, w: float, floor: float = 1e-3) -> float:
    """The largest c with which no number of `whiten(x, ...)` is outside of [-1, 1]."""
    peaks = [whiten(part, wiener, w, 1.0, floor).abs().max() for part in x.split(4096)]
    return (1 - 1e-6) / max(peaks).item()


def whitened_moments(
    wiener: Wiener, w: float, scale: float = 1.0, floor: float = 1e-3
) -> Moments:
    r"""$\mu' = 0$, $\Sigma' = c^2\, U\, \mathrm{diag}\big(\lambda_j
    (\lambda_j + \lambda_0)^{-w}\big)\, U^T$; c = `scale`, a number fixed beforehand.
    """
    gain = _whitening(wiener, w, scale, floor)
    lam = wiener.lam * gain(wiener.lam).square()
    return torch.zeros_like(wiener.mu), (wiener.U * lam) @ wiener.U.T


def shift(x: Tensor, reach: int, generator: torch.Generator) -> Tensor:
    """Each image moved on the torus, by steps of -(reach // 2), ..., `reach` of them.

    Down and to the right by independent, uniform steps. 1 leaves the images alone, the
    side of the image makes every place alike. ValueError unless within 1, ..., side.
    """
    _reach(reach, x.shape)
    N, H, W = len(x), *x.shape[-2:]
    steps = torch.randint(reach, (2, N, 1, 1), generator=generator) - reach // 2
    i = (torch.arange(H).view(1, H, 1) - steps[0]) % H  # (N, H, 1)
    j = (torch.arange(W).view(1, 1, W) - steps[1]) % W  # (N, 1, W)
    return x[torch.arange(N).view(N, 1, 1), :, i, j].permute(0, 3, 1, 2).contiguous()


def shift_moments(mu: Tensor, cov: Tensor, shape, reach: int) -> Moments:
    r"""$\mu' = \langle P \mu \rangle$, $\Sigma' = \langle P (\Sigma + \mu \mu^T) P^T
    \rangle - \mu' \mu'^T$, the mean over all shifts P.

    With `reach` the side of the image $\Sigma'$ is exactly circulant: every place of
    the torus is like any other, and what is left depends on the step between two.
    """
    _check(mu, cov, _size(shape))
    _reach(reach, shape)
    steps = range(-(reach // 2), reach - reach // 2)
    first, second = mu.view(*shape), (cov + mu.outer(mu)).view(*shape, *shape)
    for axis in (1, 2):  # down, then to the right: the shifts are a product
        first = sum(first.roll(k, axis) for k in steps) / reach
        second = sum(second.roll((k, k), (axis, axis + 3)) for k in steps) / reach
    mean = first.flatten()
    return mean, second.reshape(cov.shape) - mean.outer(mean)


def permutation(side: int, share: float, generator: torch.Generator) -> Tensor:
    """A share of the places of an image in random order, the others where they were.

    Place j, row by row, is taken from place `permutation[j]`: (side^2,), int64.
    ValueError for a share outside [0, 1].
    """
    if not 0 <= share <= 1:
        raise ValueError(f"the share of the moved places is in [0, 1], not {share}")
    order, n = torch.arange(side**2), round(share * side**2)
    moved = torch.randperm(len(order), generator=generator)[:n]
    order[moved] = moved[torch.randperm(n, generator=generator)]
    return order


def scramble(x: Tensor, order: Tensor) -> Tensor:
    r"""$x'_j = x_{order_j}$ in every channel: the same permutation for every image.

    Nothing is lost but the neighbourhood: which places lie side by side.
    """
    if order.sort().values.tolist() != list(range(x[0, 0].numel())):
        raise ValueError("order must name each place of the images once")
    return x.flatten(2)[..., order].view_as(x)


def scrambled_moments(mu: Tensor, cov: Tensor, shape, order: Tensor) -> Moments:
    r"""$\mu' = P \mu$, $\Sigma' = P \Sigma P^T$ with P the permutation `scramble`.

    Eigenvalues, and with them all gains and errors of the Wiener filter, stay; its rows
    are permuted.
    """
    _check(mu, cov, _size(shape))

    def P(rows):
        return scramble(rows.view(-1, *shape), order).flatten(1)

    return P(mu)[0], P(P(cov).T).T


def _folded(side):
    """Height and distance to the axis of the pixels, in units of the side."""
    centre = (torch.arange(side, dtype=torch.float64) + 0.5) / side
    folded = (2 * torch.arange(side) + 1 - side).abs() / (2.0 * side)
    return torch.meshgrid(centre, folded.double(), indexing="ij")


def _distance(u, y, start, end):
    """From points to a stroke."""
    (u0, y0), (u1, y1) = start, end
    du, dy = u1 - u0, y1 - y0
    along = (((u - u0) * du + (y - y0) * dy) / (du**2 + dy**2)).clamp(0, 1)
    return ((u - u0 - along * du).square() + (y - y0 - along * dy).square()).sqrt()


def _whitening(wiener, w, scale, floor):
    if not 0 <= w <= 1 or not floor > 0 or not scale > 0:
        raise ValueError(
            "needs w in [0, 1], floor and scale above 0, not"
            f" w = {w}, floor = {floor}, scale = {scale}"
        )
    least = floor * wiener.lam.mean()
    return lambda lam: scale * (lam + least) ** (-w / 2)


def _reach(reach, shape):
    if not 1 <= reach <= min(shape[-2:]):
        raise ValueError(f"reach is in 1, ..., {min(shape[-2:])}, not {reach}")


def _size(shape):
    return torch.Size(shape).numel()


def _check(mu, cov, n):
    if mu.shape != (n,) or cov.shape != (n, n):
        raise ValueError(
            f"moments must be ({n},) and ({n}, {n}), not {tuple(mu.shape)} and"
            f" {tuple(cov.shape)}"
        )
