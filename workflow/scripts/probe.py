"""What a denoiser is asked, and its sensitivity fields next to the Wiener filter.

The numbers of train_locality.py, which has their list. Fields are those of one channel
of some pixels, at the noise levels SIGMAS, each averaged over INPUTS noised images.
"""

from typing import NamedTuple

import numpy as np
import torch
from locality_sets import places
from torch import Tensor

from helpers import fields, metrics
from helpers.sensitivity import rows
from helpers.wiener import Wiener

SIGMAS = torch.logspace(np.log10(0.05), np.log10(20), 8, dtype=torch.float64).tolist()
INPUTS, BLOCKS = 64, 16  # noised images of a field, and parts of its jackknife
MIRROR, WITHIN = 3, 5  # sides of windows


class Probe(NamedTuple):
    """What a denoiser is asked, and what the Wiener filter says."""

    places: dict[str, tuple[int, int]]
    clean: Tensor  # (tests, C, H, W), held out
    eps: Tensor  # as clean
    wiener: Wiener
    fields: Tensor  # (sigmas, pixels, C, H, W), float64, rows of the filter

    def noised(self, sigma, n=None):
        """The first n held-out images at a noise level."""
        return (self.clean + sigma * self.eps)[:n]

    def pixels(self, channel=0):
        return [(channel, *place) for place in self.places.values()]


def probe(name, images, held_out, seed):
    """The Wiener filter of the training images, its rows, and the noise."""
    generator = torch.Generator().manual_seed(seed)
    eps = torch.randn(held_out.shape, generator=generator)
    wiener, where = Wiener.fit(images), places(name, images.shape[-1])
    empty = Probe(where, held_out, eps, wiener, torch.empty(0))
    return empty._replace(fields=filter_rows(empty))


def filter_rows(probe, channel=0):
    """Rows of the Wiener filter, (sigmas, pixels, C, H, W)."""
    sigma = torch.tensor(SIGMAS, dtype=torch.float64)
    found = [probe.wiener.row(pixel, sigma) for pixel in probe.pixels(channel)]
    return torch.stack(found, dim=1)


def net_rows(denoise, probe, device, channel=0):
    """Fields at each input, (sigmas, pixels, inputs, C, H, W), float32."""
    pixels = probe.pixels(channel)
    return torch.stack(
        [
            rows(denoise, probe.noised(s, INPUTS).to(device), s, pixels).cpu()
            for s in SIGMAS
        ]
    )


@torch.no_grad()
def errors(denoise, probe, device):
    """Mean squared errors at each held-out image, (sigmas, tests), float64."""
    found = []
    for sigma in SIGMAS:
        parts = probe.noised(sigma).split(250)
        answer = torch.cat([denoise(x.to(device), sigma).cpu() for x in parts])
        found.append(metrics.mse(answer, probe.clean).double())
    return torch.stack(found)


def each(measure, a, b):
    """A measure of pairs of images for fields (..., C, H, W)."""
    a, b = torch.broadcast_tensors(a, b)
    shape = (-1, *a.shape[-3:])
    return measure(a.reshape(shape), b.reshape(shape)).view(a.shape[:-3])


def without_own(field, places):
    """The fields (..., pixels, C, H, W) with 0 at the pixel of each."""
    field = field.clone()
    for k, (i, j) in enumerate(places.values()):
        field[..., k, :, i, j] = 0
    return field


def correlation_off(field, probe):
    """Pearson r over all inputs but those at the pixel itself."""
    f, w = (without_own(v, probe.places) for v in (field, probe.fields))
    return each(metrics.pearson, f, w).nan_to_num(0)


def shapes(field, places):
    """Radius, energy in the window and at the mirror pixel, (sigmas, pixels) each."""

    def of(summary, *window):
        found = [
            summary(field[:, k], place, *window)
            for k, place in enumerate(places.values())
        ]
        return torch.stack(found, dim=1)

    return {
        "radius": of(fields.effective_radius),
        "within5": of(fields.energy_within, WITHIN),
        "mirror": of(fields.mirror_energy, MIRROR),
    }


def varies(found):
    """The share of the input in fields (sigmas, pixels, inputs, C, H, W)."""
    found = found.double().flatten(-3)
    spread = found.var(dim=2, correction=0).sum(dim=-1)
    return spread / found.square().sum(dim=-1).mean(dim=2)


def agreement(field, probe):
    """Correlation and R^2 of averaged fields with the Wiener rows."""
    return {
        "pearson": each(metrics.pearson, field, probe.fields),
        "r2": each(metrics.r2_score, probe.fields, field),  # the field is the reference
        "off": correlation_off(field, probe),
    }


def measure(denoise, probe, device):
    """All that is noted at one step, and the fields at each input."""
    found = net_rows(denoise, probe, device)
    mean = fields.average(found).mean
    numbers = agreement(mean, probe) | shapes(mean, probe.places)
    numbers |= {"varies": varies(found)}
    return numbers | {"mse": errors(denoise, probe, device).mean(dim=1)}, found


def intervals(found, probe):
    """What an average of ever more inputs would tend to, [sigmas][pixels] Intervals."""
    off = without_own(found.transpose(1, 2), probe.places).transpose(1, 2)
    off = metrics.pearson, off, without_own(probe.fields, probe.places)
    measures = {
        "pearson": (metrics.pearson, found, probe.fields),
        "off": off,
        "r2": (lambda f, w: metrics.r2_score(w, f), found, probe.fields),
    }
    return {
        f"{key}_interval": [
            [interval(measure, f, w) for f, w in zip(*level)]
            for level in zip(rows, ws)  # (pixels, inputs, C, H, W), (pixels, C, H, W)
        ]
        for key, (measure, rows, ws) in measures.items()
    }


def interval(measure, rows, w):
    return fields.of_average(rows, lambda f: each(measure, f, w).nan_to_num(0), BLOCKS)


def all_channels(denoise, probe, device, found):
    """Agreement for each output channel, [sigmas][pixels][C]."""
    C, kept = probe.clean.shape[1], {"channels_pearson": [], "channels_r2": []}
    for channel in range(C):
        again = found if not channel else net_rows(denoise, probe, device, channel)
        own = probe._replace(fields=filter_rows(probe, channel))
        both = agreement(fields.average(again).mean, own)
        kept["channels_pearson"].append(both["pearson"])
        kept["channels_r2"].append(both["r2"])
    return {key: torch.stack(tables, dim=2) for key, tables in kept.items()}
