r"""Trained networks as denoisers, and the weights that the book ships.

A network predicts $\epsilon$, v or $x_0$ from $(x_t, t)$; `denoiser` puts it behind
the one signature of this book, `denoise(x, sigma) -> x0_hat`.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from helpers import artifacts
from helpers.dit import DiT
from helpers.mlp import MLP
from helpers.resnet import ResNet
from helpers.schedules import Schedule
from helpers.targets import from_sigma, noise_level, timestep, x0_from_eps, x0_from_v
from helpers.unet import UNet

PREDICTS = {"eps": x0_from_eps, "v": x0_from_v, "x0": lambda x, x0, sigma: x0}
NETS = {"unet": UNet, "resnet": ResNet, "dit": DiT, "mlp": MLP}


def denoiser(
    net: Callable, schedule: Schedule, clip: bool = False, predicts: str = "eps"
) -> Callable[[Tensor, float | Tensor], Tensor]:
    r"""$\hat x_0 = x - \sigma\, \epsilon_\theta(x / \sqrt{1 + \sigma^2}, t)$.

    t is the real timestep with $\sigma_t = \sigma$. With `clip`, $\hat x_0$ is clipped
    to [-1, 1], as Ho et al. do when they sample. The output of a net that `predicts`
    "v" goes through `targets.x0_from_v`, that for "x0" is the answer. ValueError for
    another prediction, and for a sigma outside $[\sigma_1, \sigma_T]$, where the net
    was never trained.
    """
    if predicts not in PREDICTS:
        raise ValueError(f"a net predicts {' or '.join(PREDICTS)}, not {predicts!r}")
    low, high = schedule.sigma[1].item(), schedule.sigma[-1].item()

    def denoise(x: Tensor, sigma: float | Tensor) -> Tensor:
        level = noise_level(sigma, x).double()
        if level.min() < low * (1 - 1e-6) or level.max() > high * (1 + 1e-6):
            raise ValueError(f"sigma must lie in [{low:.4g}, {high:.4g}], not {sigma}")
        t = timestep(level.flatten().cpu(), schedule).to(x.device).expand(len(x))
        x0_hat = PREDICTS[predicts](x, net(from_sigma(x, sigma), t), sigma)
        return x0_hat.clamp(-1, 1) if clip else x0_hat

    return denoise


def load_weights(net: nn.Module, weights: dict[str, Tensor]) -> nn.Module:
    """The net with these weights; ValueError names what belongs to another one."""
    ours = {name: tuple(value.shape) for name, value in net.state_dict().items()}
    theirs = {name: tuple(value.shape) for name, value in weights.items()}
    wrong = [
        f"{name}: {theirs.get(name, 'absent')}, expected {ours.get(name, 'nothing')}"
        for name in sorted(ours.keys() | theirs.keys())
        if ours.get(name) != theirs.get(name)
    ]
    if wrong:
        raise ValueError(
            f"These weights belong to another architecture; {len(wrong)} of "
            f"{len(ours)} tensors differ, first {wrong[0]}."
        )
    net.load_state_dict(weights)
    return net


def load_net(name: str) -> nn.Module:
    """A net that the book ships, `data/weights/NAME.safetensors`, ready to predict.

    Its kind and its configuration are recorded in the manifest: UNet where no kind is.
    Errors: those of `artifacts.load`.
    """
    path = f"weights/{name}.safetensors"
    weights = {k: v.float() for k, v in artifacts.load(path).items()}
    recorded = artifacts.manifest()[path]["parameters"]
    kind = recorded.get("kind", "unet").partition("_")[0]  # "unet_plain" is a U-Net
    net = NETS[kind](**recorded["net"])
    net = load_weights(net, weights).requires_grad_(False).eval()
    return net.to(memory_format=torch.channels_last)  # faster on a CPU


def load_denoiser(
    name: str, schedule: Schedule, clip: bool = False
) -> Callable[[Tensor, float | Tensor], Tensor]:
    """The denoiser of a net that the book ships, by what it predicts: `load_net`."""
    net = load_net(name)
    recorded = artifacts.manifest()[f"weights/{name}.safetensors"]["parameters"]
    return denoiser(net, schedule, clip, recorded.get("predicts", "eps"))


def parameters(net: nn.Module) -> int:
    """How many numbers were learned."""
    return sum(p.numel() for p in net.parameters())


def rounded(net: nn.Module, dtype: torch.dtype = torch.float16) -> dict[str, Tensor]:
    """The weights of a net in half the bytes, as they are shipped."""
    return {name: value.to(dtype) for name, value in net.state_dict().items()}


@torch.no_grad()
def macs(net: UNet) -> dict[str, int]:
    """Multiplications (with their additions) of one image, by part of the net.

    Keys `time`, `head`, `down.0`, ..., `middle`, `up.0`, ..., `tail`; both products of
    self-attention count. On device "meta" nothing is computed.
    """
    size, C = net.config["image_size"], net.config["in_channels"]
    weight = net.head.weight
    x = torch.zeros(1, C, size, size, dtype=weight.dtype, device=weight.device)
    with FlopCounterMode(display=False) as counter:
        net(x, 1)
    counts, found = counter.get_flop_counts(), dict.fromkeys(parts(net).values(), 0)
    for module, part in parts(net).items():
        found[part] += sum(counts.get(f"UNet.{module}", {}).values()) // 2
    if sum(found.values()) != counter.get_total_flops() // 2:
        raise RuntimeError("the parts of the net do not add up to the whole")
    return found


def parts(net: UNet) -> dict[str, str]:
    """Each module that the net calls, in order, and the part it belongs to."""
    owner = {"time": "time", "head": "head"}

    def add(way):
        for l, level in enumerate(getattr(net, way)):
            names = [f"stages.{i}" for i in range(len(level.stages))]
            owner.update({f"{way}.{l}.{n}": f"{way}.{l}" for n in [*names, "resize"]})

    add("down")
    owner.update({f"middle.{i}": "middle" for i in range(len(net.middle))})
    add("up")
    return owner | {"tail": "tail"}
