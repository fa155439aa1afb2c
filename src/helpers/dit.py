r"""A diffusion transformer (Peebles & Xie 2023): patches that all look at each other.

The image is cut into patches, and each becomes a token, a vector of d numbers. Which
patches are neighbours is told only by the positions that are added to the tokens; the
layers treat all pairs of patches alike. If such a net is local, it has learned so.
"""

import inspect

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers.layers import TimeEmbedding, initialised, timestep_embedding
from helpers.unet import UNet


def to_tokens(x: Tensor, patch: int) -> Tensor:
    """The patches of images (B, C, H, W), row by row, flat: (B, N, C patch^2)."""
    B, C, H, W = x.shape  # F.pixel_unshuffle loses count when B is 0
    cut = x.reshape(B, C, H // patch, patch, W // patch, patch)
    return cut.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


def to_images(tokens: Tensor, patch: int) -> Tensor:
    """The way back, for square images: (B, N, C patch^2) to (B, C, H, W)."""
    side = round(tokens.shape[1] ** 0.5)
    maps = tokens.transpose(1, 2).unflatten(2, (side, side))
    return F.pixel_shuffle(maps, patch)


def positions(side: int, d: int) -> Tensor:
    """A code for each place of a side x side grid, row by row, (side^2, d), float64.

    The first half are the sinusoids of the row, the second half those of the column,
    spaced as those of the time.
    """
    code = timestep_embedding(torch.arange(side), d // 2)  # (side, d / 2)
    rows, columns = code[:, None].expand(-1, side, -1), code.expand(side, -1, -1)
    return torch.cat([rows, columns], dim=2).flatten(0, 1)


def modulated(h: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Layer normalisation of each token, with scale and shift set by the time."""
    return F.layer_norm(h, h.shape[-1:], eps=1e-6) * (1 + scale) + shift


class Block(nn.Module):
    r"""Attention over all tokens, then two layers for each, both gated by the time.

    $h \leftarrow h + g_1\, attention(m_1(h))$, $h \leftarrow h + g_2\, mlp(m_2(h))$
    with $m_k$ the `modulated` normalisation. Gates, shifts and scales come from one
    linear layer that starts at 0, so at first the block is the identity: adaLN-Zero.
    """

    def __init__(self, d: int, heads: int, ratio: int):
        super().__init__()
        self.heads = heads
        self.time = initialised(nn.Linear(d, 6 * d), gain=0)
        self.qkv, self.out = (initialised(nn.Linear(d, n)) for n in (3 * d, d))
        self.wide = initialised(nn.Linear(d, ratio * d))
        self.narrow = initialised(nn.Linear(ratio * d, d))

    def attention(self, h: Tensor) -> Tensor:
        """Every token asks every token, in some heads; (B, N, d)."""
        qkv = self.qkv(h).unflatten(2, (3, self.heads, -1))  # (B, N, 3, heads, d/heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        found = F.scaled_dot_product_attention(q, k, v)  # (B, heads, N, d/heads)
        return self.out(found.transpose(1, 2).flatten(2))

    def mlp(self, h: Tensor) -> Tensor:
        """Two layers for each token by itself."""
        return self.narrow(F.gelu(self.wide(h), approximate="tanh"))

    def forward(self, h: Tensor, emb: Tensor) -> Tensor:
        shift1, scale1, gate1, shift2, scale2, gate2 = self.time(F.silu(emb))[
            :, None
        ].chunk(6, dim=2)  # (B, 1, d) each
        h = h + gate1 * self.attention(modulated(h, shift1, scale1))
        return h + gate2 * self.mlp(modulated(h, shift2, scale2))


class DiT(nn.Module):
    r"""$\epsilon_\theta(x_t, t)$ for square images, without locality built in.

    `patch`: side of a patch. `width`: d, the length of a token. `depth`: blocks.
    `heads`: of the attention. `ratio`: width of the inner layer of a block over d.
    ValueError if `image_size` is no multiple of `patch`, or `width` none of `heads` or
    of 4, or below 8.
    """

    check_input = UNet.check_input  # the same images and timesteps

    def __init__(
        self,
        image_size: int = 32,
        in_channels: int = 3,
        patch: int = 2,
        width: int = 384,
        depth: int = 12,
        heads: int = 6,
        ratio: int = 4,
        T: int = 1000,
    ):
        super().__init__()
        names = inspect.signature(DiT).parameters
        self.config = {name: value for name, value in locals().items() if name in names}
        self.check_config()
        n = in_channels * patch**2
        self.time = TimeEmbedding(width, width)
        self.head = initialised(nn.Linear(n, width))
        places = positions(image_size // patch, width).float()
        self.register_buffer("places", places, persistent=False)
        self.blocks = nn.ModuleList(Block(width, heads, ratio) for _ in range(depth))
        self.last = initialised(nn.Linear(width, 2 * width), gain=0)
        self.tail = initialised(nn.Linear(width, n), gain=0)

    def check_config(self) -> None:
        """ValueError if the configuration cannot be built."""
        size, patch = self.config["image_size"], self.config["patch"]
        width, heads = self.config["width"], self.config["heads"]
        if patch < 1 or size < patch or size % patch:
            raise ValueError(
                f"image_size must be a multiple of patch = {patch}, not {size}"
            )
        if heads < 1 or width < 8 or width % heads or width % 4:
            raise ValueError(
                "width must be at least 8 and a multiple of 4 and of heads ="
                f" {heads}, not {width}"
            )

    def forward(self, xt: Tensor, t: int | Tensor) -> Tensor:
        r"""$\epsilon_\theta(x_t, t)$, (B, C, H, W); t in 1, ..., T, one or (B,)."""
        t = torch.as_tensor(t)
        self.check_input(xt, t)
        emb, patch = self.time(t, xt), self.config["patch"]
        h = self.head(to_tokens(xt, patch)) + self.places
        for block in self.blocks:
            h = block(h, emb)
        shift, scale = self.last(F.silu(emb))[:, None].chunk(2, dim=2)
        return to_images(self.tail(modulated(h, shift, scale)), patch)
