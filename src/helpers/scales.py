r"""How wide a denoiser looks at each noise level, and how that is found from a net.

The local denoisers of Kamb & Ganguli (2025) and Niedoba et al. (2025) have one free
number, the side k of their window. It may depend on the noise level: `Scales` is a
table of sides, `calibrate` makes one by comparing scores with those of a network.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from helpers.targets import noise_level, score_from_x0

EDGE = 1e-6  # relative, of a calibrated range: a float32 sigma may be that far outside

Side = int | Callable[[float], int]


class Scales:
    r"""The side of the window at each noise level, as calibrated: `scales(sigma) -> k`.

    `sigmas` rise, `sides` are the odd sides found there. Between two levels the nearest
    in $\log \sigma$ counts. ValueError for a table that does not fit together and for a
    sigma outside of it, where nothing is known.
    """

    def __init__(self, sigmas: Sequence[float], sides: Sequence[int]):
        self.sigmas = torch.as_tensor(sigmas, dtype=torch.float64)
        self.sides = [int(k) for k in sides]
        if self.sigmas.ndim != 1 or not 0 < len(self.sigmas) == len(self.sides):
            raise ValueError(
                f"need one side for each sigma, not {len(self.sides)} for "
                f"{tuple(self.sigmas.shape)}"
            )
        rising = torch.cat([self.sigmas.new_zeros(1), self.sigmas]).diff() > 0
        if not bool(rising.all() & self.sigmas.isfinite().all()):
            raise ValueError("the calibrated sigmas must be above 0 and rise")
        if any(k < 1 or k % 2 == 0 for k in self.sides):
            raise ValueError(f"sides must be odd and above 0, not {self.sides}")

    def __call__(self, sigma: float) -> int:
        low, high = self.sigmas[0].item(), self.sigmas[-1].item()
        if not low * (1 - EDGE) <= sigma <= high * (1 + EDGE):
            raise ValueError(
                f"sigma = {sigma:g} is outside of the calibrated {low:g} to {high:g}"
            )
        log_sigma = torch.tensor(float(sigma), dtype=torch.float64).log()
        return self.sides[(self.sigmas.log() - log_sigma).abs().argmin()]

    def __repr__(self) -> str:
        return f"Scales({self.sigmas.tolist()}, {self.sides})"


def check_side(k: int, largest: int) -> int:
    """k, if it is an odd whole number from 1 to `largest`, else ValueError."""
    if int(k) != k or k < 1 or k % 2 == 0 or k > largest:
        raise ValueError(f"the window side must be odd, from 1 to {largest}, not {k}")
    return int(k)


def by_side(denoise: Callable, k: Side, x: Tensor, sigma: float | Tensor) -> Tensor:
    """`denoise(x, variance, k)` for the images of each side k, put together again.

    `variance` is sigma^2, float64 (b,). A side that depends on sigma may differ within
    a batch.
    """
    noise_level(sigma, x)
    level = torch.as_tensor(sigma, dtype=torch.float64, device=x.device).reshape(-1)
    level = level.expand(len(x))
    sides = [k(s) if callable(k) else k for s in level.tolist()]
    answer = torch.empty_like(x)
    for side in sorted(set(sides)):
        rows = torch.tensor([s == side for s in sides], device=x.device)
        answer[rows] = denoise(x[rows], level[rows] ** 2, side)
    return answer


def agreement(a: Callable, b: Callable, x: Tensor, sigma: float | Tensor) -> Tensor:
    r"""Cosine of the angle between the scores of two denoisers at each x, (B,).

    $\langle s_a, s_b \rangle / (\|s_a\| \|s_b\|)$ with
    $s = (D(x; \sigma) - x) / \sigma^2$, over all C H W numbers, not centred: unlike a
    correlation it feels a constant offset. NaN where a score is 0.
    """
    s_a, s_b = (score_from_x0(x, d(x, sigma), sigma).flatten(1) for d in (a, b))
    return (s_a * s_b).sum(dim=1) / (s_a.norm(dim=1) * s_b.norm(dim=1))


def calibrate(
    denoise_of_k: Callable[[int], Callable],
    net: Callable,
    xs: Sequence[Tensor],
    sigmas: Sequence[float],
    sides: Sequence[int],
) -> Scales:
    r"""At each noise level the side whose score is closest to the net's in direction.

    `denoise_of_k(k)` is the local denoiser of side k; `xs` are noisy images (B, C, H,
    W), one batch for each of `sigmas`. For each image the side of `sides` with the best
    `agreement` is taken (the smallest of equals), then the median over the batch (the
    lower one of two), as in Kamb & Ganguli 2025, who take the images from the net's own
    way down from noise. ValueError unless there is a batch for each sigma.
    """
    if len(xs) != len(sigmas) or not len(sides):
        raise ValueError(
            f"need a batch for each sigma and a side, not {len(xs)} batches, "
            f"{len(sigmas)} sigmas and {len(sides)} sides"
        )
    sides = sorted(sides)
    rows = sorted(zip((float(s) for s in sigmas), xs), key=lambda row: row[0])
    found = []
    for sigma, x in rows:
        fits = [agreement(denoise_of_k(k), net, x, sigma) for k in sides]  # each (B,)
        best = torch.stack(fits).argmax(dim=0)
        found.append(sides[int(best.median())])
    return Scales([sigma for sigma, _ in rows], found)
