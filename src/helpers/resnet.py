r"""A purely local net: 3 x 3 convolutions at full size, and nothing that mixes places.

No smaller copies of the image, no attention. Group normalisation is missing too: its
mean and variance are taken over the whole image, so that a U-Net with it sees every
pixel, however few its layers are. Here each pixel is normalised by itself. What an
output can depend on is a square of `ResNet.receptive_field` pixels, for any weights.
"""

import inspect

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers.layers import TimeEmbedding, conv, initialised
from helpers.unet import UNet


class PixelNorm(nn.LayerNorm):
    """Mean 0 and variance 1 over the C channels of each pixel, then scale and shift."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class LocalBlock(nn.Module):
    r"""$h + conv(silu(norm(conv(silu(norm(h))) + W\, silu(emb))))$, 3 x 3."""

    def __init__(self, C: int, E: int):
        super().__init__()
        self.norm1, self.conv1 = PixelNorm(C), conv(C, C)
        self.time = initialised(nn.Linear(E, C))
        self.norm2, self.conv2 = PixelNorm(C), conv(C, C, gain=0)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        h = h + self.time(F.silu(emb))[:, :, None, None]
        return x + self.conv2(F.silu(self.norm2(h)))


class ResNet(nn.Module):
    r"""$\epsilon_\theta(x_t, t)$ from `blocks` residual blocks of `channels` maps.

    The border is padded with zeros, which is all that tells one place from another; the
    time is added to each channel. ValueError unless `channels` is even and at least 4,
    `blocks` at least 0 and `image_size` at least 1.
    """

    check_input = UNet.check_input  # the same images and timesteps

    def __init__(
        self,
        image_size: int = 32,
        in_channels: int = 3,
        channels: int = 64,
        blocks: int = 3,
        T: int = 1000,
    ):
        super().__init__()
        names = inspect.signature(ResNet).parameters
        self.config = {name: value for name, value in locals().items() if name in names}
        if image_size < 1 or blocks < 0 or channels < 4 or channels % 2:
            raise ValueError(
                "needs image_size >= 1, blocks >= 0 and even channels >= 4, not"
                f" {image_size}, {blocks} and {channels}"
            )
        E = 4 * channels
        self.time, self.head = TimeEmbedding(channels, E), conv(in_channels, channels)
        self.blocks = nn.ModuleList(LocalBlock(channels, E) for _ in range(blocks))
        self.norm, self.tail = PixelNorm(channels), conv(channels, in_channels, gain=0)

    @property
    def receptive_field(self) -> int:
        """Side of the square of inputs about an output: 1 + 2 for each convolution."""
        convolutions = [m for m in self.modules() if isinstance(m, nn.Conv2d)]
        return 1 + 2 * len(convolutions)

    def forward(self, xt: Tensor, t: int | Tensor) -> Tensor:
        r"""$\epsilon_\theta(x_t, t)$, (B, C, H, W); t in 1, ..., T, one or (B,)."""
        t = torch.as_tensor(t)
        self.check_input(xt, t)
        emb, h = self.time(t, xt), self.head(xt)
        for block in self.blocks:
            h = block(h, emb)
        return self.tail(F.silu(self.norm(h)))
