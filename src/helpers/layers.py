r"""The parts of a diffusion U-Net: time embedding, residual block, attention, resizing.

Feature maps are (B, C, H, W); the time embedding `emb` is (B, E). Names and choices are
those of Ho et al. 2020, App. B, and of the code that the authors published: group
normalisation before each convolution, SiLU (which they call swish), and layers that end
a residual branch start at zero, so that at first each block passes its input through.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def timestep_embedding(t: Tensor, d: int) -> Tensor:
    r"""$[\sin(t f_i), \cos(t f_i)]$ with $f_i = 10000^{-i / (d/2 - 1)}$, (B, d).

    The sinusoids of Vaswani et al. 2017, Sec. 3.5, as the code of Ho et al. spaces
    them. `t` (B,) may be real. float64, since t f_i reaches 1000. ValueError unless d
    is even and at least 4.
    """
    if d < 4 or d % 2:
        raise ValueError(f"the embedding needs an even d of at least 4, not {d}")
    i = torch.arange(d // 2, dtype=torch.float64, device=t.device)
    angle = t.double()[:, None] * torch.exp(-math.log(10000) * i / (d // 2 - 1))
    return torch.cat([angle.sin(), angle.cos()], dim=1)


def initialised(layer: nn.Module, gain: float = 1.0) -> nn.Module:
    """A convolution or linear layer with Glorot's uniform weights times `gain`."""
    nn.init.xavier_uniform_(layer.weight, gain) if gain else nn.init.zeros_(
        layer.weight
    )
    nn.init.zeros_(layer.bias)
    return layer


def conv(C_in: int, C_out: int, k: int = 3, gain: float = 1.0, **options) -> nn.Conv2d:
    """A k x k convolution; it keeps H and W unless `options` say otherwise."""
    options = {"padding": k // 2} | options
    return initialised(nn.Conv2d(C_in, C_out, k, **options), gain)


def norm(C: int, groups: int) -> nn.GroupNorm:
    """Group normalisation (Wu & He 2018); epsilon as in the code of Ho et al."""
    return nn.GroupNorm(groups, C, eps=1e-6)


class ResBlock(nn.Module):
    r"""Two convolutions around a short cut, with the time added in between.

    $h + conv(drop(silu(norm(conv(silu(norm(h))) + W\, silu(emb)))))$; the short cut is
    a 1 x 1 convolution where the number of channels changes. With E = 0 the block is
    told no time, `emb` may be None, and the term with W is left out.
    """

    def __init__(self, C_in: int, C_out: int, E: int, dropout: float, groups: int):
        super().__init__()
        self.norm1, self.conv1 = norm(C_in, groups), conv(C_in, C_out)
        self.time = initialised(nn.Linear(E, C_out)) if E else None
        self.norm2, self.conv2 = norm(C_out, groups), conv(C_out, C_out, gain=0)
        self.dropout = nn.Dropout(dropout)
        self.shortcut = conv(C_in, C_out, 1) if C_in != C_out else nn.Identity()

    def forward(self, x: Tensor, emb: Tensor | None) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        if self.time is not None:
            h = h + self.time(F.silu(emb))[:, :, None, None]
        h = self.conv2(self.dropout(F.silu(self.norm2(h))))
        return self.shortcut(x) + h


class Attention(nn.Module):
    r"""Every pixel looks at every pixel: $h + W\, softmax(q k^T / \sqrt C)\, v$.

    One head. Cost: 4 C^2 N + 2 N^2 C multiplications for N = H W pixels.
    """

    def __init__(self, C: int, groups: int):
        super().__init__()
        self.norm, self.qkv = norm(C, groups), conv(C, 3 * C, 1)
        self.out = conv(C, C, 1, gain=0)

    def forward(self, x: Tensor) -> Tensor:
        B, C, H, W = x.shape
        qkv = self.qkv(self.norm(x)).reshape(B, 3, C, H * W).transpose(2, 3)
        h = F.scaled_dot_product_attention(*qkv.unbind(1))  # (B, N, C)
        return x + self.out(h.transpose(1, 2).reshape(B, C, H, W))


class Downsample(nn.Module):
    """Half the width and height, by a 3 x 3 convolution with stride 2."""

    def __init__(self, C: int):
        super().__init__()
        self.conv = conv(C, C, stride=2, padding=0)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))  # right and below, as in their code


class Upsample(nn.Module):
    """Twice the width and height: each pixel four times, then a 3 x 3 convolution."""

    def __init__(self, C: int):
        super().__init__()
        self.conv = conv(C, C)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class TimeEmbedding(nn.Module):
    """The sinusoids of t - 1 through two layers, (B,) to (B, E), as in the U-Net."""

    def __init__(self, d: int, E: int):
        super().__init__()
        self.d = d
        self.wide, self.out = initialised(nn.Linear(d, E)), initialised(nn.Linear(E, E))

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        """The embedding for each image of x; t is one number or (B,)."""
        t = t.to(x.device).expand(len(x))
        code = timestep_embedding(t - 1, self.d).to(self.wide.weight.dtype)
        return self.out(F.silu(self.wide(code)))
