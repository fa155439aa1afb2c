"""Train a U-Net on one image set, with Algorithm 1 of Ho et al. 2020.

    python workflow/scripts/train_unet.py fashion_mnist
    torchrun --nproc-per-node 4 workflow/scripts/train_unet.py cifar10

writes data/weights/NAME.safetensors, the moving average of the weights in float16, and
data/results/unet_NAME.json, the loss during training. It uses what Fabric finds: one
CPU, one GPU, or the processes of torchrun. On a CPU the net is small and the run short;
with a GPU both are larger. Killed and started again, it goes on from the checkpoint in
data/cache/.
"""

import argparse
import json
import os
import time

import torch
from lightning_fabric import Fabric

from helpers import data, paths, schedules, training
from helpers.artifacts import Experiment
from helpers.networks import parameters, rounded
from helpers.recipe import Recipe, plain_values
from helpers.unet import UNet

SEED = 0
HELD_OUT = 2000  # last images of a set without a test split, kept from training
DRAWN = 1024  # noisy images behind each value of the held-out loss
SETS = {
    "fashion_mnist": {"image_size": 28, "in_channels": 1, "attention": (7,)},
    "cifar10": {"image_size": 32, "in_channels": 3, "attention": (8,)},
    "celeba32": {"image_size": 32, "in_channels": 3, "attention": (8,)},
}
WITHOUT_TEST = {"celeba32"}
NET = {
    "cpu": {"channels": 16, "blocks": 1, "dropout": 0.0, "groups": 8},
    "cuda": {"channels": 32, "blocks": 2, "dropout": 0.1, "groups": 8},
}
MULTIPLIERS = {28: (1, 2, 4), 32: (1, 2, 4, 4)}
STEPS = {"fashion_mnist": 3600, "cifar10": 1800, "celeba32": 1000}  # on a CPU
SHORT = {"batch": 64, "lr": 1e-3, "warmup": 200, "decay": "cosine", "ema": 0.999}
LONG = {"steps": 100_000, "batch": 256, "lr": 5e-4, "decay": "cosine"}


def split(name):
    """Training and held-out images."""
    images = data.load(name)
    if name in WITHOUT_TEST:
        return images[:-HELD_OUT], images[-HELD_OUT:]
    return images, data.load(name, "test", HELD_OUT)


def recipe_for(name, device):
    """How long and how to train."""
    flips = name != "fashion_mnist"  # the heels of its shoes all point one way
    if device == "cuda":
        return Recipe(**LONG, flips=flips, seed=SEED)
    return Recipe(STEPS[name], **SHORT, flips=flips, seed=SEED)


def processes(precision):
    """One process on one device, or those that torchrun has started."""
    world = int(os.environ.get("WORLD_SIZE", 1))
    local = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    strategy = "ddp" if world > 1 else "auto"
    return Fabric(
        devices=local, num_nodes=world // local, strategy=strategy, precision=precision
    )


@torch.no_grad()
def held_out_loss(net, drawn, schedule, fabric, loss=training.simple_loss):
    """The loss on held-out images, always with the same timesteps and noise."""
    parts = zip(*(value.split(128) for value in drawn))
    losses = [
        loss(net, training.Draw(*map(fabric.to_device, part)), schedule).item()
        for part in parts
    ]
    return sum(losses) / len(losses)


class Log:
    """The losses along a run and its time, kept next to its checkpoint.

    `earlier` is the time in seconds of the processes that this one goes on from.
    """

    def __init__(self, checkpoint):
        self.path, self.started = checkpoint.with_suffix(".json"), time.perf_counter()
        self.columns = {"step": [], "loss": [], "held_out": [], "seconds": []}
        if checkpoint.exists() and self.path.exists():
            self.columns |= json.loads(self.path.read_text())
        self.earlier = max(self.columns["seconds"], default=0.0)

    def add(self, step, loss, held_out):
        """A row, unless it is there from before a crash: it would be the same."""
        if step in self.columns["step"]:
            return
        seconds = self.earlier + time.perf_counter() - self.started
        row = (step, loss, held_out, seconds)
        for column, value in zip(self.columns.values(), row):
            column.append(value)
        raw = json.dumps(self.columns).encode()
        with paths.replacing(self.path, len(raw)) as file:
            file.write(raw)
        print(f" step {step}: loss {loss:.4f}, held out {held_out:.4f}", flush=True)


def fit(net, images, drawn, schedule, recipe, fabric, experiment, names, rows=40):
    """Train, watch both losses, and save the losses and the averaged weights.

    `names` are those of the table and of the weights; `rows` is how often both losses
    are noted and a checkpoint is written.
    """
    table, weights = names
    every = recipe.steps // rows
    checkpoint = paths.CACHE / f"{table}.ckpt"
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    states = training.train(net, images, schedule, recipe, fabric, checkpoint, every)
    log, losses = Log(checkpoint), []
    for state in training.with_bar(states, recipe.steps):
        losses.append(state.loss)
        if state.step % every == 0:
            held_out = held_out_loss(state.ema, drawn, schedule, fabric)
            if fabric.is_global_zero:
                log.add(state.step, sum(losses) / len(losses), held_out)
            losses = []
    if fabric.is_global_zero:
        experiment.started -= log.earlier
        columns = {k: v for k, v in log.columns.items() if k != "seconds"}
        experiment.save(f"results/{table}.json", columns)
        smooth = rounded(state.ema.cpu())
        experiment.save(f"weights/{weights}.safetensors", smooth, "float16")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=SETS)
    name = parser.parse_args().name
    device = "cuda" if torch.cuda.is_available() else "cpu"
    fabric = processes("bf16-mixed" if device == "cuda" else "32-true")
    fabric.launch()

    torch.manual_seed(SEED)
    schedule, recipe = schedules.linear(), recipe_for(name, device)
    size = SETS[name]["image_size"]
    net = UNet(**SETS[name], **NET[device], multipliers=MULTIPLIERS[size])
    net = net.to(memory_format=torch.channels_last)  # faster on a CPU
    images, test = split(name)
    once = Recipe(1, batch=DRAWN, flips=False, seed=SEED + 1)
    drawn = training.draw(test, schedule, once, 0)

    sets = [f"{name}-train"] + [f"{name}-test"] * (name not in WITHOUT_TEST)
    settings = {"net": plain_values(net.config), "recipe": vars(recipe)}
    settings |= {"training_images": len(images), "parameters": parameters(net)}
    machine = training.describe(fabric)
    with Experiment(__file__, SEED, sets, settings, machine, [name]) as experiment:
        names = (f"unet_{name}", name)
        fit(net, images, drawn, schedule, recipe, fabric, experiment, names)


if __name__ == "__main__":
    main()
