"""A small image classifier, trained by this project, whose features measure samples.

Sets of images are compared through the Fréchet distance between the features of a
network. The usual one, FID, uses Inception v3, trained on ImageNet: about 24 million
weights that this book cannot ship. This net has about 0.2 million and was trained on
the set in question, so its distances are not FID and cannot be compared with published
ones. We call them FCD, Fréchet classifier distance.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers import artifacts
from helpers.layers import conv, initialised, norm
from helpers.networks import load_weights

D = 64  # number of features
BATCH = 256


class Classifier(nn.Module):
    """Four convolutions, each but the first halving the image, then a linear layer.

    Images (B, C, H, W) in [-1, 1] of any size above 8 to logits (B, classes).
    """

    def __init__(self, in_channels: int, classes: int = 10):
        super().__init__()
        widths = [32, 64, 96, 128]
        layers = []
        for C_in, C_out in zip([in_channels, *widths], widths):
            stride = 1 if C_out == widths[0] else 2
            layers += [conv(C_in, C_out, stride=stride), norm(C_out, 8), nn.SiLU()]
        self.body = nn.Sequential(*layers)
        self.neck = initialised(nn.Linear(widths[-1], D))
        self.head = initialised(nn.Linear(D, classes))

    def features(self, x: Tensor) -> Tensor:
        """(B, D): what the last layer sees."""
        return F.silu(self.neck(self.body(x).mean(dim=(2, 3))))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


def load_classifier(name: str) -> Classifier:
    """The classifier that the book ships for a set, ready to use.

    Errors: those of `artifacts.load`.
    """
    path = f"weights/classifier_{name}.safetensors"
    weights = {k: v.float() for k, v in artifacts.load(path).items()}
    net = Classifier(**artifacts.manifest()[path]["parameters"]["net"])
    return load_weights(net, weights).requires_grad_(False).eval()


@torch.no_grad()
def features(net: Classifier, images: Tensor) -> Tensor:
    """(N, D) float64, whatever N is; on the device of the net."""
    device = net.head.weight.device
    parts = [net.features(x.to(device)) for x in images.split(BATCH)]
    return torch.cat(parts).double()


@torch.no_grad()
def accuracy(net: Classifier, images: Tensor, labels: Tensor) -> float:
    """The share of images whose largest logit is the right one."""
    device = net.head.weight.device
    guess = torch.cat([net(x.to(device)).argmax(1).cpu() for x in images.split(BATCH)])
    return (guess == labels).double().mean().item()
