"""Compile the loops of the local denoisers once, at installation.

Numba keeps what it compiled, beside the source or in the user's cache; otherwise the
first chapter that uses the loops would wait for it, half a minute on a slow machine.
"""

import torch

from helpers.masked import Masked
from helpers.masks import window_mask
from helpers.patches import EquivariantLocalScore
from helpers.windows import CropMean, LocalScore

for dtype in (torch.float32, torch.float64):
    images = torch.linspace(-1, 1, 20 * 64, dtype=dtype).view(20, 1, 8, 8)
    for denoiser in (
        Masked(images, window_mask((1, 8, 8), 3)),
        EquivariantLocalScore(images, 3),
        LocalScore(images, 3),
        CropMean(images, 3),
    ):
        denoiser(images[:2], 0.5)
