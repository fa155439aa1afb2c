"""The variants of train_variants.py and variant_costs.py: stages, nets and samplers.

What the rows are says train_variants.py.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from watched import LONG, NETS, PREDICTS, SHORT, build

from helpers import (
    autoencoder,
    consistency,
    networks,
    sampling,
    schedules,
    training,
)
from helpers.recipe import Recipe
from helpers.unet import UNet

NAME = "fashion_mnist"
CODE = 2  # channels of a code
LEVELS = 18  # N of the consistency model
MIDDLE = 1.0  # level of its second step, where signal and noise are about equal
STUDENT = {"lr": 5e-4, "ema": 0.95}  # ema is that of the target, the paper's mu
STAGES = {  # share of the updates, in order
    "ddpm": {"unet": 1},
    "ancestral": {"unet": 1},
    "dit": {"dit": 1},
    "latent": {"autoencoder": 1 / 3, "codes": 2 / 3},
    "consistency": {"unet": 1, "student": 1 / 2},
    "consistency_equal": {"unet": 1 / 2, "student": 1 / 2},
}
SAMPLERS = {  # evaluations of the net for an image
    "ddpm": {"ddim_5": 5, "ddim_10": 10, "ddim_20": 20, "ddim_50": 50},
    "ancestral": {"ancestral_250": 250, "ancestral_1000": 1000},
    "dit": {"ddim_50": 50},
    "latent": {"ddim_50": 50},
    "consistency": {"one": 1, "two": 2},
    "consistency_equal": {"one": 1, "two": 2},
}


class Job(NamedTuple):
    """What the stages of a run share."""

    row: str
    images: Tensor
    schedule: schedules.Schedule
    fabric: training.Fabric
    seed: int

    @property
    def device(self):
        return self.fabric.device.type

    def recipe(self, stage):
        """That of all nets here, for as long as the stage takes."""
        known = SHORT if self.device == "cpu" else LONG
        known = known | {"steps": round(STAGES[self.row][stage] * known["steps"])}
        known |= STUDENT if stage == "student" else {}
        return Recipe(**known, decay="cosine", flips=False, seed=self.seed)

    def fresh(self, stage):
        """The net of a stage with its first weights."""
        torch.manual_seed(self.seed)
        shape = self.images.shape[1:]
        if stage == "autoencoder":
            net = autoencoder.Autoencoder(shape[0], CODE)
        elif stage == "codes":
            net = without_first_level(shape[-1], self.device)
        else:
            net = build("unet" if stage == "student" else stage, shape, self.device)
        return net.to(memory_format=torch.channels_last)

    def label(self, stage):
        """The name of a checkpoint; a teacher may be the net of the row ddpm."""
        of_ddpm = stage == "unet" and STAGES[self.row][stage] == 1
        return f"variant_{'ddpm' if of_ddpm else self.row}_{stage}_{self.seed}"


def without_first_level(side, device):
    """What the U-Net does from its second size on, for codes of that size."""
    config = NETS[device]["unet"]
    first, *rest = config["multipliers"][1 : 2 if side % 4 else None]
    config = config | {"channels": first * config["channels"], "dropout": 0.0}
    config |= {"multipliers": tuple(m // first for m in (first, *rest)), "groups": 4}
    return UNet(side // 2, CODE, **config, attention=(side // 2,))


def levels(schedule):
    """All that the teacher knows, from sigma_1 to sigma_T."""
    return consistency.levels(
        schedule.sigma[1].item(), schedule.sigma[-1].item(), LEVELS
    )


def denoiser(job, net, clip=True):
    return networks.denoiser(net, job.schedule, clip, PREDICTS)


def sampler(job, name, net, latents=None):
    """A function from noise x_T to images, of this name."""
    kind, _, count = name.partition("_")
    if kind in ("one", "two"):
        return lambda x, noise: by_consistency(job, net, x, noise, kind == "two")
    denoise = denoiser(job, net, clip=latents is None)
    ends = job.schedule.sigma[[1, -1]].tolist()
    times = schedules.between(job.schedule, *ends, int(count))  # from T to 1

    def draw(x, noise):
        if kind == "ancestral":
            walk = sampling.ancestral(denoise, x, job.schedule, noise, times)
        else:
            walk = sampling.ddim(denoise, x, job.schedule, times)
        x0 = sampling.last(walk).x0_hat
        return x0 if latents is None else latents.decode(x0)

    return draw


def by_consistency(job, net, x, noise, twice):
    grid = levels(job.schedule)
    low, high = grid[0].item(), grid[-1].item()
    x = x * (1 + high**2) ** 0.5  # from x_T, as every other sampler
    f = consistency.consistent(net, job.schedule)
    return list(consistency.sample(f, x, [high, MIDDLE][: 1 + twice], low, noise))[-1]
