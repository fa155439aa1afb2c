r"""The U-Net of Ho et al. 2020, App. B: from $(x_t, t)$ to $\epsilon_\theta(x_t, t)$.

An encoder halves the image again and again, a decoder doubles it, and the decoder sees,
next to what comes from below, every map that the encoder made at the same size: the
skip connections (Ronneberger et al. 2015). `encode` and `decode` are the two halves, so
that one can look at these maps, or change them.
"""

import inspect

import torch
from torch import Tensor, nn

from helpers.layers import (
    Attention,
    Downsample,
    ResBlock,
    Upsample,
    conv,
    initialised,
    norm,
    timestep_embedding,
)

SKIPS = ("concatenated", "scaled", "none")
LATER = ("out_channels", "skips", "timed")  # noted in `config` only if they differ


class Stage(nn.Module):
    """A residual block and, where asked for, self-attention."""

    def __init__(self, C_in, C_out, E, dropout, groups, attend):
        super().__init__()
        self.block = ResBlock(C_in, C_out, E, dropout, groups)
        self.attention = Attention(C_out, groups) if attend else nn.Identity()

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        return self.attention(self.block(x, emb))


class Level(nn.Module):
    """The stages at one resolution, and the way to the next one."""

    def __init__(self, stages: list[Stage], resize: nn.Module | None):
        super().__init__()
        self.stages, self.resize = nn.ModuleList(stages), resize


class UNet(nn.Module):
    r"""$\epsilon_\theta(x_t, t)$ for square images; by default DDPM's for CIFAR-10.

    channels: C of the first level; level l has `channels * multipliers[l]`.
    blocks: residual blocks a level in the encoder; the decoder has one more.
    attention: the widths at which each block is followed by self-attention; it is also
    in the middle, unless this is None.
    groups: of each group normalisation. T: the largest timestep.

    For ablations. out_channels: of the answer, `in_channels` unless given. skips:
    "concatenated" are all maps of the encoder; "scaled" each times a learned number
    (`scales`), at first 1; with "none" the decoder reads only what comes from below,
    and its blocks have fewer input channels. timed: if not, the net is not told t, and
    has no weights for it.

    ValueError if `image_size` cannot be halved once for each level after the first, if
    `channels` is odd, below 4 or no multiple of `groups`, or for other `skips`.
    """

    def __init__(
        self,
        image_size: int = 32,
        in_channels: int = 3,
        channels: int = 128,
        multipliers: tuple[int, ...] = (1, 2, 2, 2),
        blocks: int = 2,
        attention: tuple[int, ...] | None = (16,),
        dropout: float = 0.1,
        groups: int = 32,
        T: int = 1000,
        out_channels: int | None = None,
        skips: str = "concatenated",
        timed: bool = True,
    ):
        super().__init__()
        names = inspect.signature(UNet).parameters
        given = {name: value for name, value in locals().items() if name in names}
        self.config = {  # as it was before there were ablations, if it is none
            name: value
            for name, value in given.items()
            if name not in LATER or value != names[name].default
        }
        self.check_config()
        E, widths = 4 * channels * timed, [channels * m for m in multipliers]
        sizes = [image_size // 2**level for level in range(len(widths))]
        self.time = None
        if timed:
            wide, out = (
                initialised(nn.Linear(channels, E)),
                initialised(nn.Linear(E, E)),
            )
            self.time = nn.Sequential(wide, nn.SiLU(), out)
        self.head = conv(in_channels, channels)

        def stage(C_in, C_out, attend):
            return Stage(C_in, C_out, E, dropout, groups, attend)

        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        C, stored = channels, [channels]  # channels of the maps kept for the decoder
        for width, size in zip(widths, sizes):
            stages = []
            for _ in range(blocks):
                stages.append(stage(C, width, size in (attention or ())))
                C = width
                stored.append(C)
            lowest = size == sizes[-1]
            self.down.append(Level(stages, None if lowest else Downsample(C)))
            stored += [] if lowest else [C]
        scaled = skips == "scaled"
        self.scales = nn.Parameter(torch.ones(len(stored))) if scaled else None
        stored = [0] * len(stored) if skips == "none" else stored
        attend = attention is not None
        self.middle = nn.ModuleList([stage(C, C, attend), stage(C, C, False)])
        for width, size in zip(widths[::-1], sizes[::-1]):
            stages = []
            for _ in range(blocks + 1):
                stages.append(stage(C + stored.pop(), width, size in (attention or ())))
                C = width
            self.up.append(Level(stages, None if size == sizes[0] else Upsample(C)))
        self.tail = nn.Sequential(
            norm(C, groups), nn.SiLU(), conv(C, out_channels or in_channels, gain=0)
        )

    def check_config(self) -> None:
        """ValueError if the configuration cannot be built."""
        size, groups = self.config["image_size"], self.config["groups"]
        halvings = len(self.config["multipliers"]) - 1
        if size < 1 or size % 2**halvings:
            raise ValueError(
                f"image_size must be a multiple of {2**halvings}, so that it can be"
                f" halved {halvings} times, not {size}"
            )
        channels = self.config["channels"]
        if channels < 4 or channels % 2 or channels % groups:
            raise ValueError(
                "channels must be even, at least 4 and a multiple of groups ="
                f" {groups}, not {channels}"
            )
        skips = self.config.get("skips", SKIPS[0])
        if skips not in SKIPS:
            raise ValueError(f"skips must be one of {', '.join(SKIPS)}, not {skips!r}")

    def check_input(self, xt: Tensor, t: Tensor) -> None:
        """ValueError unless the images and timesteps are those of this net."""
        size, C, T = (self.config[k] for k in ("image_size", "in_channels", "T"))
        if xt.shape[1:] != (C, size, size):
            raise ValueError(
                f"expected images (B, {C}, {size}, {size}), not {tuple(xt.shape)}"
            )
        if t.shape not in {(), (len(xt),)} or not bool(((t >= 1) & (t <= T)).all()):
            raise ValueError(f"t must be one number, or one per image, in 1, ..., {T}")

    def encode(self, xt: Tensor, t: int | Tensor) -> tuple[list[Tensor], Tensor | None]:
        """The maps that the encoder makes, in order, and the time embedding (B, 4 C).

        The net sees t - 1, the count from 0 of the authors' code, so that its weights
        fit. t may be real: an analytic noise level between two steps. The embedding is
        None if the net is not told t.
        """
        t = torch.as_tensor(t)
        self.check_input(xt, t)
        emb = None if self.time is None else self.embedded(t.to(xt.device), len(xt))
        maps = [self.head(xt)]
        for level in self.down:
            for stage in level.stages:
                maps.append(stage(maps[-1], emb))
            if level.resize is not None:
                maps.append(level.resize(maps[-1]))
        return maps, emb

    def embedded(self, t: Tensor, B: int) -> Tensor:
        """The embedding of t, one number or (B,)."""
        code = timestep_embedding(t.expand(B) - 1, self.config["channels"])
        return self.time(code.to(self.head.weight.dtype))

    def joined(self, h: Tensor, maps: list[Tensor]) -> Tensor:
        """What the next stage of the decoder reads; takes the last map off the list."""
        skip = maps.pop()
        if self.config.get("skips") == "none":
            return h
        if self.scales is not None:
            skip = self.scales[len(maps)] * skip
        return torch.cat([h, skip], dim=1)

    def decode(self, maps: list[Tensor], emb: Tensor | None) -> Tensor:
        r"""$\epsilon_\theta$ (B, C, H, W) from what `encode` returned."""
        maps, h = list(maps), maps[-1]
        for stage in self.middle:
            h = stage(h, emb)
        for level in self.up:
            for stage in level.stages:
                h = stage(self.joined(h, maps), emb)
            if level.resize is not None:
                h = level.resize(h)
        return self.tail(h)

    def forward(self, xt: Tensor, t: int | Tensor) -> Tensor:
        r"""$\epsilon_\theta(x_t, t)$, (B, C, H, W); t in 1, ..., T, one or (B,)."""
        return self.decode(*self.encode(xt, t))
