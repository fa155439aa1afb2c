r"""Which input coordinates each output coordinate of a denoiser looks at.

A mask is a bool matrix (n, n), n = C H W: row m marks what output coordinate m may use,
so that `mask[m].view(C, H, W)` is its picture. With H W rows instead of n, row p serves
all channels of pixel p.
"""

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from helpers.scales import check_side
from helpers.wiener import Wiener
from helpers.windows import band

# A pixel whose gain in the Wiener filter is below this does not vary.
CONSTANT = 1e-6


def wiener_mask(
    wiener: Wiener,
    sigma: float,
    threshold: float,
    by_output: bool = False,
    per_row: bool = False,
) -> Tensor:
    r"""The data-driven mask of Lukoianov et al. (2025): the Wiener filter, made binary.

    With $S = \Sigma (\Sigma + \sigma^2 I)^{-1}$ the ratio of output m and source n is

    $$R_{mn} = |S_{mn}| / S_{nn} \quad\text{(divided by the source)}, \qquad
      R_{mn} = |S_{mn}| / S_{mm} \quad\text{(`by_output`)},$$

    and m sees n where $R_{mn} \ge \tau \max R$, the maximum over the whole matrix, or
    over row m (`per_row`). The released code divides by the source and takes the global
    maximum, the default here. A coordinate that does not vary ($S_{nn} < 10^{-6}$) gets
    the diagonal 1 there and here. Each m sees itself, whatever the threshold: in the
    released code a row may be empty, and its output the mean of the data.

    Bool (n, n). ValueError unless 0 < threshold <= 1 and sigma > 0.
    """
    if not 0 < threshold <= 1:
        raise ValueError(
            f"the threshold must be above 0 and at most 1, not {threshold}"
        )
    ratio = gain_ratio(wiener, sigma, by_output)
    largest = ratio.amax(dim=1, keepdim=True) if per_row else ratio.max()
    mask = ratio >= threshold * largest
    mask.fill_diagonal_(True)
    return mask


def gain_ratio(wiener: Wiener, sigma: float, by_output: bool = False) -> Tensor:
    r"""$R_{mn}$ of `wiener_mask`, float64 (n, n): the gains over those of the pixel."""
    if not 0 < sigma < float("inf"):
        raise ValueError(f"sigma must be finite and above 0, not {sigma}")
    S = wiener.matrix(sigma)
    own = S.diagonal().clone()
    own[own < CONSTANT] = 1
    S.diagonal().copy_(torch.where(own == 1, own, S.diagonal()))
    return S.abs() / (own[:, None] if by_output else own)


def window_mask(shape: tuple[int, int, int], k: int) -> Tensor:
    """The k x k window around each pixel of images (C, H, W), all channels: (H W, n).

    The window is cut at the border. ValueError for an even side or one that is larger
    than 2 max(H, W) - 1, which already holds the whole image.
    """
    C, H, W = shape
    k = check_side(k, 2 * max(H, W) - 1)
    window = torch.kron(band(H, k), band(W, k)).bool()  # (H W, H W)
    return window.repeat(1, C)


def pixel_mask(shape: tuple[int, int, int]) -> Tensor:
    """Each coordinate sees itself alone: the identity, bool (n, n)."""
    return one_hot(torch.arange(torch.Size(shape).numel())).bool()


def check_mask(mask: Tensor, shape: torch.Size) -> Tensor:
    """`mask`, if it is bool (n, n) or (H W, n) and no row is empty, else ValueError."""
    n, P = shape.numel(), shape[1:].numel()
    if not torch.is_tensor(mask) or mask.dtype != torch.bool:
        raise ValueError("a mask is a bool tensor")
    if mask.ndim != 2 or mask.shape[1] != n or len(mask) not in (n, P):
        raise ValueError(
            f"a mask for images {tuple(shape)} is ({n}, {n}) or ({P}, {n}), not "
            f"{tuple(mask.shape)}"
        )
    if empty := int((~mask.any(dim=1)).sum()):
        raise ValueError(f"{empty} rows of the mask are empty: they see nothing")
    return mask
