r"""Denoisers that move pieces of the training images: ES, ELS and its broken version.

A network without fully connected layers treats all places alike. The best denoiser
under this constraint compares a patch of the noisy image with patches of the training
images from everywhere (Kamb & Ganguli 2025). In the order of what may move:

* nothing, whole images: the ideal score machine IS, which is `denoisers.Optimal`;
* nothing, windows: the local score machine LS, which is `windows.LocalScore`;
* whole images: `EquivariantScore` (ES);
* patches: `EquivariantLocalScore` (ELS);
* patches, except that they keep their distance from the border where they touch it:
  `BoundaryBroken` (bbELS). Padding with zeros tells a network where the border is.
"""

from collections.abc import Iterator
from functools import partial
from itertools import product

import torch
from torch import Tensor
from torch.nn.functional import pad
from tqdm import tqdm

from helpers.denoisers import ROUNDING, check_noisy
from helpers.scales import Side, by_side, check_side
from helpers.streaming import FLOOR, softmax_mean
from helpers.tiles import Dictionary, cells, rectangle, rounding, visible
from helpers.windows import LocalScore, check_set

SHIFTS = 2**20  # (noisy image, shifted training image) pairs at once, about 64 MB
BORDERS = {"circular": "circular", "zeros": "constant"}  # as `torch.nn` calls them


def overlaps(length: int, r: int) -> list[range]:
    """Rows (or columns) whose windows of radius r are cut alike at the border.

    Each row is in one of the ranges. Those that see no border share one.
    """
    inner = range(r, length - r)
    if len(inner) < 2:
        return [range(i, i + 1) for i in range(length)]
    outer = [*range(r), *range(length - r, length)]
    return [inner, *(range(i, i + 1) for i in outer)]


def with_bar(machine, x: Tensor, sigma: float | Tensor) -> Tensor:
    """One call of a machine with a side k, noise level by noise level, with its bar."""
    check_noisy(x, machine.data.shape[1:])
    total = len(x) * x[0, 0].numel()
    with tqdm(total=total, unit="pixel", disable=not machine.progress) as bar:
        return by_side(partial(machine._denoise, bar=bar), machine.k, x, sigma)


class EquivariantLocalScore:
    r"""Each pixel from patches of all places (the ELS machine, Kamb & Ganguli 2025).

    $$D(x; \sigma)_q = \sum_p w_{qp}\, p(\mathrm{centre}), \qquad
      w_q = \mathrm{softmax}_p\big(-\|x_{\Omega_q} - p\|^2 / 2 \sigma^2\big)$$

    The sum runs over all k x k patches p that lie inside of a training image (Eq.
    9-10). `data` are float (N, C, H, W) in [-1, 1], used in place; `k` is odd, at most
    min(H, W), or a function of sigma, such as `scales.Scales`; ValueError otherwise.
    Windows of x that leave the image are filled as `border` says: `circular` continues
    on the other side, as in the authors' code, and makes the denoiser commute with all
    circular shifts; `zeros` fills with mid-grey. `progress` shows a bar.
    """

    def __init__(
        self, data: Tensor, k: Side, border: str = "circular", progress: bool = False
    ):
        if border not in BORDERS:
            raise ValueError(f"border must be one of {list(BORDERS)}, not {border!r}")
        self.data, self.k, self.border = check_set(data), k, border
        self.progress = progress
        if not callable(k):
            check_side(k, min(data.shape[2:]))

    def __call__(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        return with_bar(self, x, sigma)

    def _denoise(self, x, variance, k, bar) -> Tensor:
        C, H, W = x.shape[1:]
        r = check_side(k, min(H, W)) // 2
        near = range(-r, r + 1)
        inner = cells(range(r, H - r), range(r, W - r), W)
        dictionary = Dictionary(self.data, inner, rectangle(near, near, x.shape[1:]))
        x = pad(x, (r, r, r, r), mode=BORDERS[self.border])
        places = cells(range(r, H + r), range(r, W + r), W + 2 * r)
        window = rectangle(near, near, x.shape[1:])
        mean = dictionary.mean(x, places, window, variance, bar)  # (B, H W, C)
        return mean.transpose(1, 2).reshape(-1, C, H, W)


class BoundaryBroken:
    r"""ELS where zero padding shows the border (bbELS, Kamb & Ganguli 2025, Eq. 41).

    A pixel is compared only with patches whose overlap with the border of the image is
    that of its own window: an interior pixel with all interior patches, a pixel near an
    edge with the patches as far from the same edge, a pixel near a corner with the
    patches of its own place, as `LocalScore`. What is outside counts 0 on both sides.
    `data` as for `EquivariantLocalScore`; `k` is odd, up to 2 max(H, W) - 1, or a
    function of sigma. From k >= max(H, W) on nothing may move any more: LS.
    """

    def __init__(self, data: Tensor, k: Side, progress: bool = False):
        self.data, self.k, self.progress = data, k, progress
        self.local = LocalScore(data, k)

    def __call__(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        return with_bar(self, x, sigma)

    def _denoise(self, x, variance, k, bar) -> Tensor:
        H, W = x.shape[2:]
        answer = self.local.with_side(x, variance, k).flatten(2).clone()
        for rows, columns in product(overlaps(H, k // 2), overlaps(W, k // 2)):
            if len(rows) * len(columns) == 1:  # only its own place, as in LS
                bar.update(len(x))
                continue
            places = cells(rows, columns, W)
            window = visible(rows[0], columns[0], k // 2, x.shape[1:])
            dictionary = Dictionary(self.data, places, window)
            mean = dictionary.mean(x, places, window, variance, bar)
            answer[:, :, places] = mean.transpose(1, 2)
        return answer.view_as(x)


class EquivariantScore:
    r"""The optimal denoiser of all circular shifts of the images (ES).

    $$D(x; \sigma) = \sum_{n, s} w_{ns}\, S_s y_n, \qquad w = \mathrm{softmax}_{n, s}
      \big(-\|x - S_s y_n\|^2 / 2 \sigma^2\big)$$

    over the H W shifts $S_s$ (Kamb & Ganguli 2025). All inner products $\langle x, S_s
    y_n \rangle$ of one image are a cross-correlation and its weighted sum of shifts is
    a convolution: three Fourier transforms instead of H W comparisons. In float64
    throughout; ValueError for a sigma so small that even its rounding would be felt.
    `data` are float (N, C, H, W) in [-1, 1], used in place.
    """

    def __init__(self, data: Tensor):
        self.data = check_set(data)

    def __call__(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        check_noisy(x, self.data.shape[1:])
        return by_side(self._denoise, 1, x, sigma)

    def _denoise(self, x, variance, _) -> Tensor:
        error = rounding(x.flatten(1), variance, torch.float64)
        if error > ROUNDING:
            raise ValueError(
                f"sigma = {variance.min().sqrt():g} is too small for Fourier transforms"
            )
        rows = max(1, SHIFTS // x[0, 0].numel())
        means = [
            softmax_mean(self._blocks(*part))[:, 0]
            for part in zip(x.split(rows), variance.split(rows))
        ]
        return torch.cat(means).view_as(x).to(x)

    def _blocks(self, x, variance) -> Iterator[tuple[Tensor, Tensor]]:
        """Log mass (b, 1, 1) and mean (b, 1, D) of one block of images after another.

        A softmax over the blocks with these logits is one over all images and shifts.
        """
        size, variance = x.shape[2:], variance[:, None, None, None]
        X, square = torch.fft.rfft2(x.double()), _squares(x)
        for y in self.data.split(max(1, SHIFTS // x[:, 0].numel())):
            y = y.to(x).double()
            Y = torch.fft.rfft2(y)  # (n, C, H, W // 2 + 1)
            inner = sum(X[:, None, c] * Y[:, c].conj() for c in range(Y.shape[1]))
            inner = torch.fft.irfft2(inner, s=size)  # <x, S_s y>, (b, n, H, W)
            gap = square[:, None] + _squares(y) - 2 * inner
            z = gap / (-2 * variance)
            top = z.detach().amax(dim=(1, 2, 3), keepdim=True)
            weight = (z - top).clamp_min(FLOOR).exp()
            mass = weight.sum(dim=(1, 2, 3))[:, None]
            W = torch.fft.rfft2(weight)
            mean = torch.stack([(W * y).sum(dim=1) for y in Y.unbind(dim=1)], dim=1)
            mean = torch.fft.irfft2(mean, s=size).flatten(1) / mass
            yield (top.flatten(1) + mass.log())[..., None], mean[:, None]


def _squares(x: Tensor) -> Tensor:
    return x.double().square().flatten(1).sum(dim=1)[:, None, None]  # (b, 1, 1)
