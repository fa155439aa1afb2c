r"""Sensitivity fields: averages over inputs, colour, and numbers that sum them up.

A field (..., C, H, W) says how much each input moves one output, its `pixel`, (c, i, j)
or (i, j) (see `helpers.sensitivity`). Summaries speak of its energy, the square summed
over channels, $e = \sum_c f_c^2$. They take fields (..., C, H, W), give float64 (...),
and raise ValueError for a field that is 0 everywhere or not finite. Compare fields with
`cosine`, or with `metrics.pearson` and `metrics.r2_score`.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from helpers.metrics import Interval


class Field(NamedTuple):
    """Averages over inputs; 1.96 errors to each side make a 95 % interval."""

    mean: Tensor  # (..., C, H, W), float64, and so are the others
    mean_error: Tensor  # standard error of the mean
    absolute: Tensor  # mean of the absolute values
    absolute_error: Tensor


def average(rows: Tensor) -> Field:
    r"""Averages of the fields at B independent inputs, `rows` (..., B, C, H, W).

    The signed mean answers "what does the denoiser respond to on average": responses
    that change their sign with the input cancel. The mean of the absolute values
    answers "what does it use" (Niedoba et al. 2025 average $|\nabla|$ over 1000 noisy
    inputs): nothing cancels, and noise does not either. ValueError unless B >= 2 and
    all is finite.
    """
    if rows.ndim < 4 or rows.shape[-4] < 2 or not bool(torch.isfinite(rows).all()):
        raise ValueError(
            "an average needs finite fields (..., B, C, H, W) with B >= 2, not"
            f" {tuple(rows.shape)}"
        )
    signed, root = rows.double(), rows.shape[-4] ** 0.5
    absolute = signed.abs()
    return Field(
        signed.mean(dim=-4),
        signed.std(dim=-4) / root,
        absolute.mean(dim=-4),
        absolute.std(dim=-4) / root,
    )


def of_average(rows: Tensor, summary: Callable, blocks: int = 20) -> Interval:
    r"""A summary of the averaged field, with its interval, from `rows` (B, C, H, W).

    `summary` maps fields (..., C, H, W) to (...); give `rows.abs()` for the average of
    absolute values. An average of B noisy fields has noise at every pixel, and its
    energy makes the radius too large. The bias falls like 1 / B; the block jackknife
    takes it away, $K s - (K - 1) \bar s_{(k)}$ (Quenouille 1956), and gives the error,
    as in `metrics.jackknife`. A bootstrap would add the same bias once more: its
    percentiles can miss the estimate. (For a number of each single field there is no
    such bias: `metrics.bootstrap(effective_radius(rows, pixel), generator)`.)
    ValueError with fewer than two fields in a block.
    """
    if rows.ndim != 4 or len(rows) < 2 * blocks or blocks < 2:
        raise ValueError(
            f"{blocks} blocks need at least {2 * blocks} fields (B, C, H, W), not"
            f" {tuple(rows.shape)}"
        )
    parts = rows.double().tensor_split(blocks)
    sums = torch.stack([part.sum(dim=0) for part in parts])  # (K, C, H, W)
    total, size = sums.sum(dim=0), sums.new_tensor([len(part) for part in parts])
    without = summary((total - sums) / (len(rows) - size).view(-1, 1, 1, 1))  # (K,)
    error = ((blocks - 1) * without.var(correction=0)).sqrt().item()
    value = blocks * summary(total / len(rows)) - (blocks - 1) * without.mean()
    return Interval(
        float(value), float(value) - 1.96 * error, float(value) + 1.96 * error
    )


def channels(field: Tensor, how: str) -> Tensor:
    r"""One picture of the C input channels of a field (..., C, H, W).

    "keep": as it is, one picture a channel. "sum": (..., 1, H, W), the response to a
    grey change, the same in all channels; opposite signs cancel. "norm": (..., 1, H,
    W), $\sqrt{\sum_c f_c^2}$, without sign and with the same energy. ValueError for
    another word. The output has its own colour: see `helpers.sensitivity`.
    """
    if how == "keep":
        return field
    if how == "sum":
        return field.sum(dim=-3, keepdim=True)
    if how == "norm":
        return field.norm(dim=-3, keepdim=True)
    raise ValueError(f'channels are kept by "keep", "sum" or "norm", not {how!r}')


def effective_radius(field: Tensor, pixel: tuple) -> Tensor:
    r"""$\sqrt{\sum e\, r^2 / \sum e}$, r the distance to the pixel, in pixels."""
    i, j = _place(field, pixel)
    rows, columns = (torch.arange(n, device=field.device) for n in field.shape[-2:])
    r2 = (rows - i).square()[:, None] + (columns - j).square()  # (H, W)
    return (_share(field) * r2).sum(dim=(-2, -1)).sqrt()


def energy_within(field: Tensor, pixel: tuple, k: int) -> Tensor:
    """The share of the energy in the k x k window about the pixel.

    The window is cut at the border of the image. ValueError unless k is odd, above 0.
    """
    return _share(field)[..., _window(field, *_place(field, pixel), k)].sum(dim=-1)


def mirror_energy(field: Tensor, pixel: tuple, k: int) -> Tensor:
    """The share of the energy in the k x k window about the mirror pixel (i, W-1-j).

    Without what lies in the window about the pixel itself: where the two overlap, at
    less than k columns from each other, only the rest of the mirror's window counts,
    and for a pixel on the axis the answer is 0. Cut at the border; ValueError unless k
    is odd, above 0.
    """
    i, j = _place(field, pixel)
    own = _window(field, i, j, k)
    mirror = _window(field, i, field.shape[-1] - 1 - j, k)
    return _share(field)[..., mirror & ~own].sum(dim=-1)


def cosine(a: Tensor, b: Tensor) -> Tensor:
    r"""$\langle a, b \rangle / \|a\| \|b\|$ of fields (..., C, H, W), for (...).

    Blind to scale, but not to an offset as `metrics.pearson` is: in a field 0 means
    that an input has no influence.
    """
    a, b = _unit(a), _unit(b)
    dims = (-3, -2, -1)
    return (a * b).sum(dim=dims) / (a.square().sum(dims) * b.square().sum(dims)).sqrt()


def flex_mask(absolute: Tensor, share: float) -> Tensor:
    r"""The inputs that carry the fraction `share` of a mean absolute field.

    Niedoba et al. 2025, PSPC-Flex: pixels in the order of their mean $|\nabla|$, here
    summed over channels, from the largest on, until their sum reaches `share` of the
    total. Bool (..., C, H, W), the same in all channels: the row of a mask that this
    output sees. ValueError unless 0 < share <= 1 and the field is >= 0, finite and
    somewhere above 0.
    """
    if not 0 < share <= 1 or bool((absolute < 0).any()):
        raise ValueError(f"needs 0 < share <= 1 and a field >= 0; share is {share}")
    weight, order = (
        _unit(absolute).sum(dim=-3).flatten(-2).sort(descending=True, stable=True)
    )
    so_far = weight.cumsum(dim=-1)
    taken = so_far - weight < share * so_far[..., -1:]  # not yet reached without it
    mask = torch.zeros_like(taken).scatter(-1, order, taken)
    return mask.view(*absolute.shape[:-3], 1, *absolute.shape[-2:]).expand_as(absolute)


def _unit(field) -> Tensor:
    """In float64, the largest absolute value 1, so that squares do not underflow."""
    if field.ndim < 3:
        raise ValueError(f"a field must be (..., C, H, W), not {tuple(field.shape)}")
    field = field.double()
    top = field.abs().amax(dim=(-3, -2, -1), keepdim=True)
    if not bool(((top > 0) & torch.isfinite(top)).all()):
        raise ValueError("a field must be finite and not 0 everywhere")
    return field / top


def _share(field) -> Tensor:
    """The share of each pixel in the energy, (..., H, W)."""
    energy = _unit(field).square().sum(dim=-3)
    return energy / energy.sum(dim=(-2, -1), keepdim=True)


def _place(field, pixel) -> tuple[int, int]:
    """Row and column of a pixel; ValueError if it is not in the image."""
    if len(pixel) not in (2, 3) or not all(
        0 <= place < n for place, n in zip(pixel[-2:], field.shape[-2:])
    ):
        H, W = field.shape[-2:]
        raise ValueError(f"a pixel is (c, i, j) or (i, j) in {H} x {W}, not {pixel}")
    return pixel[-2], pixel[-1]


def _window(field, i, j, k) -> Tensor:
    """Where the k x k window about (i, j) lies, (H, W) bool."""
    if k < 1 or k % 2 != 1:
        raise ValueError(f"the side of a window must be odd and above 0, not {k}")
    rows, columns = (torch.arange(n, device=field.device) for n in field.shape[-2:])
    return ((rows - i).abs() <= k // 2)[:, None] & ((columns - j).abs() <= k // 2)
