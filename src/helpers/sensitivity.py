r"""What a denoiser looks at: rows of its Jacobian.

The sensitivity field of an output m is $\partial D[m](x; \sigma) / \partial x$, one
number for each input, (C, H, W) (Lukoianov et al. 2025). An output is named by its
`pixel`: (c, i, j), channel, row and column from 0; or (i, j) for the grey answer there,
the mean of D over the channels. `row` asks any denoiser by autograd. The optimal and
the masked denoiser have closed forms here, the Wiener filter has `Wiener.row`. What to
do with fields is in `helpers.fields`.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import repeat

import torch
from torch import Tensor

from helpers.data import check_images
from helpers.denoisers import LOGITS, check_noisy
from helpers.targets import noise_level

Pixel = tuple[int, int, int] | tuple[int, int]
BLOCK = 1024  # training images in float64 at once: bounds the memory, not the result


def row(
    denoise: Callable, x: Tensor, sigma: float | Tensor, pixel: Pixel, chunk: int = 32
) -> Tensor:
    """The sensitivity field of one output at each x, (B, C, H, W); see `rows`."""
    return rows(denoise, x, sigma, [pixel], chunk)[0]


def rows(
    denoise: Callable,
    x: Tensor,
    sigma: float | Tensor,
    pixels: Sequence[Pixel],
    chunk: int = 32,
) -> Tensor:
    r"""Sensitivity fields $\partial D[m](x; \sigma) / \partial x$ of some outputs m.

    One forward pass and a vector-Jacobian product for each pixel, `chunk` images at a
    time; shape (pixels, B, C, H, W), in the dtype of x. For any denoiser that autograd
    goes through and that treats each image of a batch by itself. Take it without
    `clip`: where an answer is clipped its slope is 0. ValueError for a pixel outside of
    the image, and when the answer does not depend on x (detached, or under `no_grad`).
    A net that stops gradients inside of $x - \sigma \epsilon$ cannot be noticed: the
    slope 1 of x is left.
    """
    check_noisy(x, x.shape[1:])
    probes = _probes(pixels, x.shape[1:]).to(x)
    parts = _parts(x, sigma, chunk)
    return torch.cat([_products(denoise, *part, probes) for part in parts], dim=1)


def _products(denoise, x, sigma, probes) -> Tensor:
    """Vector-Jacobian products, (probes, b, C, H, W); leaves no .grad anywhere."""
    with torch.inference_mode(False), torch.enable_grad():
        x = x.detach().clone().requires_grad_()
        answer = denoise(x, sigma)
        if answer.shape != x.shape:
            raise ValueError(f"D(x) is {tuple(answer.shape)}, x is {tuple(x.shape)}")
        products = [
            torch.autograd.grad(  # of a sum: with grad_outputs, Torch imports SymPy
                (answer * p.clone()).sum(), x, retain_graph=True, allow_unused=True
            )[0]
            for p in (probes if answer.requires_grad else ())
        ]
    if not products or products[0] is None:
        raise ValueError(
            "the denoiser's answer does not depend on x: it is constant, detached, or"
            " computed under no_grad"
        )
    return torch.stack(products)


def optimal_row(data: Tensor, x: Tensor, sigma: float | Tensor, pixel: Pixel) -> Tensor:
    """The field of one output of the optimal denoiser, (B, C, H, W), float64."""
    return optimal_rows(data, x, sigma, [pixel])[0]


def optimal_rows(
    data: Tensor, x: Tensor, sigma: float | Tensor, pixels: Sequence[Pixel]
) -> Tensor:
    r"""Fields of the optimal denoiser, exact: $\mathrm{Cov}_w(y[m], y) / \sigma^2$.

    The covariance of the training images `data` (N, C, H, W) under the posterior
    weights $w(x)$ of `denoisers.Optimal` (Lukoianov et al. 2025). Float64, (pixels, B,
    C, H, W). Keeps its digits where one image has all but 1e-100 of the weight;
    autograd through `Optimal` does not, it drops weights below 2.4e-16. Holds at
    most 128 MB of weights at once. ValueError for a pixel outside of the image.
    """
    everything = torch.ones(data.shape[1:], dtype=torch.bool)
    return _covariance_rows(data, everything, x, sigma, pixels)


def masked_row(
    data: Tensor, mask: Tensor, x: Tensor, sigma: float | Tensor, pixel: Pixel
) -> Tensor:
    r"""The field of one output m of a masked denoiser, exact: (B, C, H, W), float64.

    $$\frac{\partial D[m]}{\partial x[n]} = \frac{M_{mn}}{\sigma^2}
      \mathrm{Cov}_{p(m)}(y[m], y[n]), \qquad
      p(m) = \mathrm{softmax}_k
      \Big(-\sum_n M_{mn} \frac{(x[n] - y_k[n])^2}{2\sigma^2}\Big)$$

    `mask` is row m of M, the inputs that output m sees: bool, (C, H, W) or flat.
    ValueError for another dtype or size, or if it is nowhere true. (Lukoianov et al.
    2025.)
    """
    return _covariance_rows(data, mask, x, sigma, [pixel])[0]


def _covariance_rows(data, mask, x, sigma, pixels) -> Tensor:
    """Masked covariances over sigma^2 in float64, (pixels, B, C, H, W)."""
    if not len(check_images(data)):
        raise ValueError("the training set holds no image")
    shape = data.shape[1:]
    check_noisy(x, shape)
    probes = _probes(pixels, shape).flatten(1).to(x.device)
    keep = _seen(mask, shape).to(x.device)
    fields = []
    for part, level in _parts(x, sigma, max(1, LOGITS // len(data))):
        level = torch.as_tensor(level, dtype=torch.float64, device=x.device)
        variance = level.reshape(-1, 1).square()  # (1 or b, 1)
        w = _weights(data, keep, part.flatten(1).double(), variance)
        fields.append(_covariance(data, w, probes) / variance)
    field = torch.cat(fields, dim=1) * keep  # (pixels, B, n)
    return field.view(-1, len(x), *shape)


def _weights(data, keep, x, variance) -> Tensor:
    """The softmax over the training set, (b, N), from distances on `keep`."""
    x, seen = x[:, keep], (y[:, keep] for y in _blocks(data, x.device))
    # |x|^2 is the same for all images and drops out
    score = torch.cat([x @ y.T - y.square().sum(dim=1) / 2 for y in seen], dim=1)
    return (score / variance).softmax(dim=1)


def _covariance(data, w, probes) -> Tensor:
    """Covariance of probe . y with y under the weights w (b, N): (probes, b, n).

    Two passes with a correction (Chan et al. 1983), so that what is left when nearly
    all the weight is on one image is not rounding.
    """
    split = w.split(BLOCK, dim=1)
    mean = sum(v @ y for v, y in zip(split, _blocks(data, w.device)))  # (b, n)
    centre, moment, rest = (probes @ mean.T)[..., None], 0, 0  # (probes, b, 1)
    for v, y in zip(split, _blocks(data, w.device)):
        weighted = v * ((probes @ y.T)[:, None] - centre)  # (probes, b, block)
        moment = moment + weighted @ y
        rest = rest + weighted.sum(dim=-1, keepdim=True)  # 0 but for rounding
    return moment - rest * mean


def _blocks(data, device) -> Iterator[Tensor]:
    return (y.to(device, torch.float64) for y in data.flatten(1).split(BLOCK))


def _parts(x, sigma, chunk) -> Iterator[tuple]:
    """Parts of the batch, each with its sigma, which stays what it was."""
    noise_level(sigma, x)
    each = torch.is_tensor(sigma) and sigma.numel() > 1
    sigmas = sigma.split(chunk) if each else repeat(sigma)
    return zip(x.split(chunk), sigmas)


def _probes(pixels, shape) -> Tensor:
    """Each output as a direction (C, H, W): 1 there, or 1 / C in all channels."""
    if not len(pixels):
        raise ValueError("name at least one pixel")
    probes = torch.zeros(len(pixels), *shape, dtype=torch.float64)
    for probe, pixel in zip(probes, pixels):
        size = shape[-len(pixel) :]
        inside = all(0 <= place < end for place, end in zip(pixel, size))
        if len(pixel) not in (2, 3) or not inside:
            raise ValueError(
                f"a pixel is (c, i, j) or (i, j) in {tuple(shape)}, not {pixel}"
            )
        probe[(..., *pixel)] = 1 if len(pixel) == 3 else 1 / shape[0]
    return probes


def _seen(mask, shape) -> Tensor:
    if mask.dtype != torch.bool or mask.shape not in (shape, (shape.numel(),)):
        raise ValueError(
            f"a mask of one output must be bool, {tuple(shape)} or ({shape.numel()},),"
            f" not {mask.dtype}, {tuple(mask.shape)}"
        )
    if not bool(mask.any()):
        raise ValueError("the mask is false everywhere: this output sees no input")
    return mask.flatten()
