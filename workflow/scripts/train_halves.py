"""Train one of the nets of chapter 10: N images of one of two disjoint halves.

    python workflow/scripts/train_halves.py 1000 a

writes data/weights/halves_N_HALF.safetensors and data/results/halves_N_HALF.json, the
losses during training. The images are those of Fashion-MNIST at 14 x 14, each pixel the
mean of four. Half a and half b share no image; a smaller choice from a half is part of
a larger one; with N = 60000 the net sees both halves. Every net has the same number of
weights, of updates and of images per update. Killed and started again, it goes on from
the checkpoint in data/cache/.
"""

import argparse

import torch
from torch.nn.functional import avg_pool2d
from train_unet import fit, processes

from helpers import data, schedules, training
from helpers.artifacts import Experiment
from helpers.networks import parameters
from helpers.recipe import Recipe, plain_values
from helpers.unet import UNet

SEED = 0
ALL = 60_000
SIZES = (10, 100, 1000, 10_000, 30_000, ALL)
SETS = ["fashion_mnist-train", "fashion_mnist-test"]
DRAWN = 1024  # noisy images behind each value of the held-out loss
NET = {
    "cpu": {"channels": 16, "blocks": 1, "dropout": 0.0, "groups": 8},
    "cuda": {"channels": 32, "blocks": 2, "dropout": 0.0, "groups": 8},
}
SHORT = {"steps": 2400, "batch": 64, "lr": 1e-3, "warmup": 200, "ema": 0.999}
LONG = {"steps": 50_000, "batch": 256, "lr": 1e-3, "warmup": 1000, "ema": 0.999}


def small(split):
    """Fashion-MNIST at 14 x 14, (N, 1, 14, 14)."""
    return avg_pool2d(data.load("fashion_mnist", split), 2)


def chosen(images, N, half):
    """The N images of a half, "a" or "b"; the same for each kind of denoiser."""
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(SEED))
    if N == ALL:
        return images[order]
    start = 0 if half == "a" else len(images) // 2
    return images[order[start : start + N]]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("N", type=int, choices=SIZES)
    parser.add_argument("half", choices=("a", "b"))
    options = parser.parse_args()
    N, half, name = options.N, options.half, f"halves_{options.N}_{options.half}"
    device = "cuda" if torch.cuda.is_available() else "cpu"
    fabric = processes("bf16-mixed" if device == "cuda" else "32-true")
    fabric.launch()

    torch.manual_seed(SEED if half == "a" else SEED + 1)  # the first weights differ too
    net = UNet(14, 1, **NET[device], multipliers=(1, 2), attention=(7,))
    net = net.to(memory_format=torch.channels_last)  # faster on a CPU
    length = SHORT if device == "cpu" else LONG
    recipe = Recipe(**length, decay="cosine", flips=False, seed=SEED + (half == "b"))
    schedule, images = schedules.linear(), chosen(small("train"), N, half)
    once = Recipe(1, batch=DRAWN, flips=False, seed=SEED + 2)
    drawn = training.draw(small("test"), schedule, once, 0)

    settings = {"net": plain_values(net.config), "recipe": vars(recipe)}
    settings |= {"training_images": N, "half": half, "parameters": parameters(net)}
    machine, arguments = training.describe(fabric), [str(N), half]
    with Experiment(__file__, SEED, SETS, settings, machine, arguments) as experiment:
        names = (name, name)
        fit(net, images, drawn, schedule, recipe, fabric, experiment, names, rows=12)


if __name__ == "__main__":
    main()
