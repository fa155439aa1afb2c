"""The hyperparameters of a training run, and what follows from them alone."""

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Recipe:
    """The hyperparameters of a run; the defaults are those of Ho et al. 2020, App. B.

    steps: updates in all. batch: images an update, over all processes together.
    lr: learning rate after `warmup` updates; `decay` is "constant" or "cosine" (to 0).
    weight_decay: above 0 it is AdamW, else Adam. clip: largest norm of the gradient.
    ema: decay of the moving average of the weights. flips: mirror half of the images.
    """

    steps: int
    batch: int = 128
    lr: float = 2e-4
    warmup: int = 5000
    decay: str = "constant"
    weight_decay: float = 0.0
    clip: float = 1.0
    ema: float = 0.9999
    flips: bool = True
    seed: int = 0

    def __post_init__(self):
        if self.decay not in ("constant", "cosine"):
            raise ValueError(f"decay is 'constant' or 'cosine', not {self.decay!r}")
        if not all(v > 0 for v in (self.steps, self.batch, self.lr, self.clip)):
            raise ValueError("steps, batch, lr and clip must be above 0")
        if not min(self.warmup, self.weight_decay, self.seed) >= 0:
            raise ValueError("warmup, weight_decay and seed must not be below 0")
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema must lie in [0, 1), not {self.ema}")


def word(recipe: Recipe, *place: int) -> int:
    """32 bits that follow from the seed and a place in the run, to seed a generator."""
    return int(np.random.SeedSequence([recipe.seed, *place]).generate_state(1)[0])


def learning_rate(recipe: Recipe, step: int) -> float:
    """Linear warm-up, then constant or half a cosine that ends at 0; step from 1."""
    warm = min(1.0, step / recipe.warmup) if recipe.warmup else 1.0
    if recipe.decay == "constant":
        return recipe.lr * warm
    return recipe.lr * warm * (1 + math.cos(math.pi * (step - 1) / recipe.steps)) / 2


def plain_values(config: dict) -> dict:
    """The configuration as a checkpoint keeps it: tuples become lists."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in config.items()}


def differences(saved: dict, ours: dict) -> str:
    """What two settings disagree about: `recipe.lr 0.001, here 0.0002; ...`."""
    found = []
    for part in ours:
        for key, value in ours[part].items():
            there = saved.get(part, {}).get(key)
            if there != value and key == "beta":
                found.append("another noise schedule")
            elif there != value:
                found.append(f"{part}.{key} {there}, here {value}")
    return "; ".join(found)
