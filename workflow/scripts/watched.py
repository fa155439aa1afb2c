"""Nets, trained while something is measured along the way.

The nets and recipes of train_locality.py and train_edited.py. What is measured, a
table of numbers at each of STEPS, is for the caller to say; it is kept next to the
checkpoint, so that a run that was killed has it again.
"""

import copy
import json
import time

import torch

from helpers import networks, paths, training
from helpers.dit import DiT
from helpers.mlp import MLP
from helpers.resnet import ResNet
from helpers.unet import UNet

STEPS = (0, 30, 100, 300, 1000, 3000, 10_000, 30_000, 100_000)  # where one measures
SHORT = {"steps": 3000, "batch": 32, "lr": 1e-3, "warmup": 200, "ema": 0.999}
LONG = {"steps": 30_000, "batch": 256, "lr": 5e-4, "warmup": 1000, "ema": 0.999}
EVERY = 250  # updates between checkpoints

NETS = {
    "cpu": {
        "unet": {"channels": 16, "multipliers": (1, 2, 2), "blocks": 1},
        "resnet": {"channels": 32, "blocks": 2},
        "dit": {"width": 64, "depth": 3, "heads": 2, "ratio": 2},
        "mlp": {"width": 512, "depth": 1},
    },
    "cuda": {
        "unet": {"channels": 64, "multipliers": (1, 2, 2), "blocks": 2},
        "resnet": {"channels": 128, "blocks": 6},
        "dit": {"width": 256, "depth": 8, "heads": 8},
        "mlp": {"width": 2048, "depth": 2},
    },
}
PREDICTS = "v"  # at high noise a net that predicts eps would need much longer
KINDS = ("unet", "unet_plain", "unet_long", "resnet", "dit", "mlp")
LONGER = {"long": 4, "longest": 16}  # times as many steps, by the last word of a kind


def length(kind, device):
    """Steps and all that goes with them."""
    known = SHORT if device == "cpu" else LONG
    more = LONGER.get(kind.rpartition("_")[2], 1)
    return known | {"steps": more * known["steps"]}


def unet(image_size, in_channels, attend, **config):
    """The U-Net, with attention at the second size and in the middle, or nowhere."""
    attention = (image_size // 2,) if attend else None
    if image_size % 4:  # 14 can be halved only once
        config["multipliers"] = config["multipliers"][:2]
    config |= {"dropout": 0.0, "groups": 4, "attention": attention}
    return UNet(image_size, in_channels, **config)


def build(kind, shape, device):
    """A net with first weights from torch's seed."""
    config = {"image_size": shape[-1], "in_channels": shape[0]}
    family = kind.split("_")[0]
    config |= NETS[device][family]
    if family == "unet":
        net = unet(**config, attend=kind != "unet_plain")
    else:
        net = {"resnet": ResNet, "dit": DiT, "mlp": MLP}[family](**config)
    return net.to(memory_format=torch.channels_last)  # faster on a CPU


def denoiser(net, schedule):
    return networks.denoiser(net, schedule, predicts=PREDICTS)


def frozen(net):
    """A copy that only answers."""
    return copy.deepcopy(net).requires_grad_(False).eval()


def follow(net, images, schedule, recipe, fabric, name, watch):
    """Train, measure along the way, and return the averaged net and the log."""
    checkpoint = paths.CACHE / f"{name}.ckpt"
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    log = Log(checkpoint)
    if fabric.is_global_zero:
        log.add(0, watch(fabric.to_device(frozen(net))))
    states = training.train(
        net, images, schedule, recipe, fabric, checkpoint, EVERY, training.v_loss
    )
    for state in training.with_bar(states, recipe.steps):
        if state.step in (*STEPS, recipe.steps) and fabric.is_global_zero:
            log.add(state.step, watch(state.ema))
    return state.ema, log


class Log:
    """The measurements of a run, kept next to its checkpoint, and its time."""

    def __init__(self, checkpoint):
        self.path, self.started = checkpoint.with_suffix(".json"), time.perf_counter()
        kept = checkpoint.exists() and self.path.exists()
        saved = json.loads(self.path.read_text()) if kept else {}
        self.rows, self.earlier = saved.get("rows", {}), saved.get("seconds", 0.0)

    def add(self, step, numbers):
        """A row, in place of the same one from before a crash."""
        self.rows[str(step)] = short(numbers)
        seconds = self.earlier + time.perf_counter() - self.started
        raw = json.dumps({"rows": self.rows, "seconds": seconds}).encode()
        with paths.replacing(self.path, len(raw)) as file:
            file.write(raw)

    def table(self):
        """Columns: {"step": [...], ...}."""
        order = sorted(self.rows, key=int)
        keys = self.rows[order[0]]
        columns = {key: [self.rows[step][key] for step in order] for key in keys}
        return {"step": [int(step) for step in order]} | columns


def short(value):
    """Numbers with four digits, tensors as lists."""
    if isinstance(value, dict):
        return {key: short(v) for key, v in value.items()}
    if torch.is_tensor(value):
        return short(value.tolist())
    if isinstance(value, (list, tuple)):
        return [short(v) for v in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value
