r"""A small autoencoder, and the latent images in which latent diffusion works.

Rombach et al. 2022: first learn to write an image with fewer numbers, then let the
diffusion write these. Our encoder halves the width and the height once. Images x are
(B, C, H, W) in [-1, 1]; codes z are (B, c, H / 2, W / 2).
"""

import inspect
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers.layers import Upsample, conv

LOG_VARIANCE = (-30.0, 20.0)  # clamped, as in the code of Rombach et al.


class Code(NamedTuple):
    """The Gaussian $q(z | x)$, (B, c, H / 2, W / 2) each."""

    mean: Tensor
    log_variance: Tensor

    def draw(self, eps: Tensor) -> Tensor:
        r"""$z = m + s\, \epsilon$."""
        return self.mean + (self.log_variance / 2).exp() * eps

    def kl(self) -> Tensor:
        r"""$KL(q(z | x) \| N(0, I)) = \frac12 \sum (m^2 + s^2 - 1 - \ln s^2)$, nats,
        (B,).
        """
        terms = self.mean**2 + self.log_variance.exp() - 1 - self.log_variance
        return terms.flatten(1).sum(dim=1) / 2


class Autoencoder(nn.Module):
    """Four convolutions down to the code, four up to the image.

    `latent`: c, channels of a code. `channels`: of the maps at full size, twice as many
    at half size. ValueError if `latent` exceeds 4 C: such a code would be larger than
    the image.
    """

    def __init__(self, in_channels: int = 1, latent: int = 2, channels: int = 16):
        super().__init__()
        names = inspect.signature(Autoencoder).parameters
        self.config = {name: value for name, value in locals().items() if name in names}
        if not 1 <= latent <= 4 * in_channels:
            raise ValueError(f"latent must lie in 1, ..., {4 * in_channels}: {latent}")
        wide = 2 * channels
        self.encoder = nn.Sequential(
            conv(in_channels, channels),
            nn.SiLU(),
            conv(channels, wide, stride=2),
            nn.SiLU(),
            conv(wide, wide),
            nn.SiLU(),
            conv(wide, 2 * latent),
        )
        self.decoder = nn.Sequential(
            conv(latent, wide),
            nn.SiLU(),
            conv(wide, wide),
            nn.SiLU(),
            Upsample(wide),
            nn.SiLU(),
            conv(wide, in_channels),
        )

    def encode(self, x: Tensor) -> Code:
        """$q(z | x)$. ValueError for images of another kind or of odd size."""
        C = self.config["in_channels"]
        if x.ndim != 4 or x.shape[1] != C or x.shape[2] % 2 or x.shape[3] % 2:
            raise ValueError(
                f"expected images (B, {C}, H, W) of even size, not {tuple(x.shape)}"
            )
        mean, log_variance = self.encoder(x).chunk(2, dim=1)
        return Code(mean, log_variance.clamp(*LOG_VARIANCE))

    def decode(self, z: Tensor) -> Tensor:
        """The image (B, C, H, W) of a code."""
        return self.decoder(z)

    def forward(self, x: Tensor, eps: Tensor) -> tuple[Tensor, Tensor]:
        """The image after a noisy code, and the KL of that code (B,)."""
        code = self.encode(x)
        return self.decode(code.draw(eps)), code.kl()


def code_noise(eps: Tensor, latent: int) -> Tensor:
    """Noise for codes (B, c, H / 2, W / 2) out of noise for images, nothing new."""
    return F.pixel_unshuffle(eps, 2)[:, :latent]


def loss(net: nn.Module, x0: Tensor, eps: Tensor, weight: float = 1e-3) -> Tensor:
    r"""$\frac{1}{D} E \big[ \|x_0 - dec(z)\|^2 + weight\; KL(q(z | x_0) \| N(0, I))
    \big]$ with $z \sim q(z | x_0)$ drawn by the noise `eps`, (B, C, H, W).

    The KL-regularised loss of Rombach et al. 2022, App. G, without its perceptual and
    adversarial terms. It is the negative variational bound of a decoder
    $N(dec(z), s^2 I)$ times $2 s^2 / D$, without constants, for weight $= 2 s^2$:
    0.001 means s = 0.022, or 2.9 of 255 grey levels. So the code need not tell finer
    detail than that. D = C H W.
    """
    decoded, kl = net(x0, code_noise(eps, net.config["latent"]))
    square = (x0 - decoded).square().flatten(1).sum(dim=1)
    return (square + weight * kl).mean() / x0[0].numel()


class Latents:
    r"""Images as standardised codes: $z = (m(x) - \bar m) / s$, channel by channel.

    $\bar m$ and s, (c, 1, 1), are the mean and the standard deviation of the codes of
    training images, so that a code has the size of the noise schedule's data (Rombach
    et al. 2022, App. G, divide by one s for all). The bottleneck is deterministic here:
    the mean m(x) of the code, without its noise.
    """

    def __init__(self, net: Autoencoder, mean: Tensor, std: Tensor, shape: torch.Size):
        self.net, self.mean, self.std = net, mean, std
        self.shape = shape  # (c, H / 2, W / 2), that of a code

    @classmethod
    def fit(cls, net: Autoencoder, images: Tensor) -> "Latents":
        """From a trained net. ValueError if a channel of its code is constant."""
        codes = means(net, images).double()
        std, mean = torch.std_mean(codes, dim=(0, 2, 3), correction=0)
        if not bool((std > 0).all()):
            raise ValueError(f"a channel of the code is constant: std {std.tolist()}")
        mean, std = (v.view(-1, 1, 1).to(images) for v in (mean, std))
        return cls(net, mean, std, codes.shape[1:])

    def encode(self, images: Tensor) -> Tensor:
        """Standardised codes, on the device of the images."""
        return (means(self.net, images) - self.mean) / self.std

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        """Images from standardised codes, on the device of the net."""
        mean, std = self.mean.to(z), self.std.to(z)
        return self.net.decode(z * std + mean)


@torch.no_grad()
def means(net: Autoencoder, images: Tensor, batch: int = 500) -> Tensor:
    """The mean codes of many images, (N, c, H / 2, W / 2)."""
    device = next(net.parameters()).device
    parts = [net.encode(x.to(device)).mean.to(images) for x in images.split(batch)]
    return torch.cat(parts)
