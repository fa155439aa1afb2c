r"""A perceptron: every pixel of the flat image is just one number among others.

The extreme among the nets of this book: it does not know that its input is an image.
Permute the pixels of all images, and the first and last layer learn the same, permuted.
"""

import inspect

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers.layers import TimeEmbedding, initialised
from helpers.unet import UNet


class Layers(nn.Module):
    r"""$h + W_2\, silu(W_1\, silu(norm(h)) + W_t\, silu(emb))$, (B, width)."""

    def __init__(self, width: int, E: int):
        super().__init__()
        self.norm, self.wide = nn.LayerNorm(width), initialised(nn.Linear(width, width))
        self.time = initialised(nn.Linear(E, width))
        self.out = initialised(nn.Linear(width, width), gain=0)

    def forward(self, h: Tensor, emb: Tensor) -> Tensor:
        inner = self.wide(F.silu(self.norm(h))) + self.time(F.silu(emb))
        return h + self.out(F.silu(inner))


class MLP(nn.Module):
    r"""$\epsilon_\theta(x_t, t)$ from wide layers that all pixels enter alike.

    $$\epsilon_\theta = a(t)\, x_t + W_{out}\, silu(norm(h)), \qquad
      h = W_{in}\, x_t \text{, then `depth` residual pairs of layers}$$

    a(t) is one learned number: at high noise $\epsilon \approx x_t$, which does not fit
    through a layer that is narrower than the image. ValueError unless `width` is even
    and at least 4, `depth` at least 0 and `image_size` at least 1.
    """

    check_input = UNet.check_input  # the same images and timesteps

    def __init__(
        self,
        image_size: int = 32,
        in_channels: int = 3,
        width: int = 512,
        depth: int = 1,
        E: int = 128,
        T: int = 1000,
    ):
        super().__init__()
        names = inspect.signature(MLP).parameters
        self.config = {name: value for name, value in locals().items() if name in names}
        if image_size < 1 or depth < 0 or width < 4 or width % 2:
            raise ValueError(
                "needs image_size >= 1, depth >= 0 and an even width >= 4, not"
                f" {image_size}, {depth} and {width}"
            )
        n = in_channels * image_size**2
        self.time, self.scale = TimeEmbedding(E, E), initialised(nn.Linear(E, 1), 0)
        self.head = initialised(nn.Linear(n, width))
        self.layers = nn.ModuleList(Layers(width, E) for _ in range(depth))
        self.norm, self.tail = nn.LayerNorm(width), initialised(nn.Linear(width, n), 0)

    def forward(self, xt: Tensor, t: int | Tensor) -> Tensor:
        r"""$\epsilon_\theta(x_t, t)$, (B, C, H, W); t in 1, ..., T, one or (B,)."""
        t = torch.as_tensor(t)
        self.check_input(xt, t)
        emb, x = self.time(t, xt), xt.flatten(1)
        h = self.head(x)
        for layers in self.layers:
            h = layers(h, emb)
        eps = self.scale(F.silu(emb)) * x + self.tail(F.silu(self.norm(h)))
        return eps.view(xt.shape)
