r"""How well one denoiser predicts another: the measures, and where they are taken.

A model and a network are compared in three ways, at each step of a walk from noise:

* `trajectory`: each on its own walk, from the same noise. Its last step compares the
  two samples, the headline number of Lukoianov et al. (2025).
* `single_step` along the walk of the model: the network is asked at each point of it,
  as in their released code;
* `single_step` along the walk of the network: the model is asked there.

All measures are those of one image, shape (B,); along a walk of S steps (S, B). The
first argument is the model, the second the reference, which here is the network.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from helpers.forward import per_image
from helpers.metrics import mse, pearson
from helpers.sampling import Denoiser, Step, ddim_step, predict
from helpers.schedules import Schedule


class Scores(NamedTuple):
    """Agreement with a reference: `released_r2`, `metrics.mse`, `metrics.pearson`."""

    r2: Tensor
    mse: Tensor
    r: Tensor


def released_r2(a: Tensor, reference: Tensor) -> Tensor:
    r"""$R^2 = 1 - \sum (a - u)^2 / (n\, v)$ as in the released code, u the reference.

    $v = \frac{1}{n - 1} \sum (u - \bar u)^2$ is the unbiased variance of that one image
    about its own mean over the n = C H W numbers; where it is 0 it counts as 1. (Code
    of Lukoianov et al. 2025.) With the usual $R^2$ of `metrics.r2_score` it is $1 -
    \frac{n - 1}{n} (1 - R^2)$, larger by at most $1 / n$ where the latter is above 0.
    """
    spread = reference.flatten(1).var(dim=1, correction=1)
    return 1 - mse(a, reference) / torch.where(spread == 0, 1, spread)


def scores(a: Tensor, reference: Tensor) -> Scores:
    """All measures of images (B, C, H, W), in float64.

    Pearson's r is the number that Kamb & Ganguli (2025) report, not its square; it is
    blind to scale and offset, and NaN for an image without contrast.
    """
    a, u = a.double(), reference.double()
    return Scores(released_r2(a, u), mse(a, u), pearson(a, u))


def walk(
    denoise: Denoiser,
    xT: Tensor,
    schedule: Schedule,
    times: Sequence[int],
    clip: bool = True,
) -> Iterator[Step]:
    r"""DDIM as the released code of Lukoianov et al. (2025) runs it.

    $$x_s = \sqrt{\bar\alpha_s}\, \mathrm{clip}(\hat x_0)
      + \sqrt{1 - \bar\alpha_s}\, \hat\epsilon$$

    with $\hat\epsilon$ from $\hat x_0$ as it was before it was clipped to [-1, 1]; each
    `Step` holds that one too, and so the sample is not clipped. Without `clip` it is
    `sampling.ddim`; with `sampling.ddim` of a `denoisers.clipped` denoiser the noise
    would follow from the clipped answer. A denoiser that stays in [-1, 1] walks the
    same way in all three. ValueError unless the timesteps fall to at least 1.
    """
    times, xt = list(times), xT
    pairs = list(zip(times, [*times[1:], 0]))
    if not pairs or any(t <= s for t, s in pairs):
        raise ValueError(f"timesteps must fall to at least 1, not {times}")
    for t, s in pairs:
        x0_hat = predict(denoise, xt, t, schedule)
        yield Step(t, xt, x0_hat)
        if s > 0:
            xt = ddim_step(x0_hat, xt, t, s, schedule)
            if clip:
                cut = x0_hat.clamp(-1, 1) - x0_hat
                xt = xt + per_image(schedule.alpha_bar[s].sqrt(), xt) * cut


def trajectory(steps: Iterable[Step], reference: Iterable[Step]) -> Scores:
    """The answers of two walks from the same noise, step by step, (S, B).

    ValueError for walks along other timesteps.
    """
    steps, reference = list(steps), list(reference)
    if [a.t for a in steps] != [u.t for u in reference]:
        raise ValueError("these are walks along other timesteps")
    return _stacked(scores(a.x0_hat, u.x0_hat) for a, u in zip(steps, reference))


def single_step(
    other: Denoiser, steps: Iterable[Step], schedule: Schedule, of_net: bool = True
) -> Scores:
    """The answers of two denoisers to the same noisy images, step by step, (S, B).

    `steps` is the walk of one of them, whose answers are in it; `other` is asked at
    each of its points. `of_net`: the walk is that of the network, and `other` the
    model; else the walk is that of the model, and `other` the network, the reference.
    """
    pairs = ((predict(other, s.xt, s.t, schedule), s.x0_hat) for s in steps)
    return _stacked(scores(*(pair if of_net else pair[::-1])) for pair in pairs)


def _stacked(rows: Iterable[Scores]) -> Scores:
    return Scores(*(torch.stack(column) for column in zip(*rows)))


def intervals(
    values: Tensor,
    generator: torch.Generator,
    level: float = 0.95,
    draws: int = 2000,
) -> Tensor:
    r"""Means over the last axis with percentile bootstrap intervals, (..., 3).

    `metrics.bootstrap` of each row of values (..., B), all from the same draws of
    images: mean, low, high. ValueError with fewer than two images, or when a value is
    not finite.
    """
    B = values.shape[-1]
    if B < 2 or not bool(torch.isfinite(values).all()):
        raise ValueError("the bootstrap needs finite values of at least two images")
    picks = torch.randint(B, (draws, B), generator=generator)
    counts = torch.zeros(draws, B, dtype=torch.float64)
    counts.scatter_add_(1, picks, torch.ones_like(counts))
    values = values.double()
    again = values @ counts.T / B  # (..., draws)
    edges = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    low, high = again.quantile(edges, dim=-1)
    return torch.stack([values.mean(dim=-1), low, high], dim=-1)
