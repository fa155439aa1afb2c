"""Responses: what the fields of a denoiser do where something is planted.

The `strength` of a field is its sum over the planted places; `controls` are as many
places that are not planted. `strength_error` says how far the strength of a Wiener
filter that was fitted to N images may be off. `helpers.planted` does the planting.

Fields are (..., outputs, C, H, W), planted places bool (outputs, H, W).
"""

import torch
from torch import Tensor

from helpers.wiener import Wiener


def controls(planted: Tensor, pixel: tuple[int, int], gap: int = 1) -> Tensor:
    """As many places that are not planted, at distances as equal as can be.

    For each planted place (H, W) bool, the nearest in distance to `pixel` that is free:
    not taken, and more than `gap` rows or columns from all planted places and from the
    pixel. Bool (H, W). ValueError when there are too few.
    """
    window = 2 * gap + 1
    busy = planted.clone()
    busy[pixel] = True
    grown = torch.nn.functional.max_pool2d(busy[None].double(), window, 1, gap)[0] > 0
    free, taken = (~grown).nonzero(), torch.zeros_like(planted)
    if len(free) < planted.sum():
        raise ValueError(
            f"{int(planted.sum())} planted places leave only {len(free)} for controls"
        )
    centre = torch.tensor(pixel)
    distance = (free - centre).double().norm(dim=1)
    for place in planted.nonzero():
        k = (distance - (place - centre).double().norm()).abs().argmin()
        taken[tuple(free[k])], distance[k] = True, torch.inf
    return taken


def strength(fields: Tensor, places: Tensor) -> Tensor:
    """Sum of a field over its planted places and all channels, mean over the outputs.

    `fields` (..., outputs, C, H, W), `places` bool (outputs, H, W); answer (...).
    """
    return (fields * places[:, None]).sum(dim=(-3, -2, -1)).mean(dim=-1)


def energy(fields: Tensor, places: Tensor) -> Tensor:
    """The share of the energy at the planted places, mean over the outputs, (...)."""
    square = fields.square()
    total = square.sum(dim=(-3, -2, -1))
    there = (square * places[:, None]).sum(dim=(-3, -2, -1))
    return (there / total).mean(dim=-1)


def covariance(cov: Tensor, shape, pixels, places: Tensor) -> float:
    r"""Mean of $\Sigma_{mn}$ over the planted places n (all channels) of each output m.

    `pixels` are (c, i, j), `places` bool (outputs, H, W).
    """
    rows = cov.view(*shape, *shape)
    found = [rows[pixel][:, where].mean() for pixel, where in zip(pixels, places)]
    return torch.stack(found).mean().item()


def strength_error(
    wiener: Wiener, images: Tensor, pixels, places: Tensor, sigma: float
) -> float:
    r"""Standard error of the `strength` of a Wiener filter fitted to N images.

    $$dS = \sigma^2 R\, d\Sigma\, R, \quad R = (\Sigma + \sigma^2 I)^{-1}: \qquad
      \frac1{\sqrt N}\, \mathrm{std}_z\, \frac{\sigma^2}{M} \sum_m
      (e_m^T R z)(v_m^T R z)$$

    to first order in 1 / N, with z the images less their mean, $e_m$ the M outputs and
    $v_m$ 1 at the planted places of each. `wiener` has the moments of the images.
    """
    shape = images.shape[1:]
    e, v = torch.zeros(2, len(pixels), *shape, dtype=torch.float64)
    for k, pixel in enumerate(pixels):
        e[k][pixel] = 1
    v += places[:, None]
    Re, Rv = (
        wiener.apply(lambda lam: 1 / (lam + sigma**2), d.flatten(1)) for d in (e, v)
    )
    parts = (part.flatten(1).double() - wiener.mu for part in images.split(4096))
    products = torch.cat([((z @ Re.T) * (z @ Rv.T)).mean(dim=1) for z in parts])
    return sigma**2 * products.std().item() / len(images) ** 0.5
