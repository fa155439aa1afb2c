"""Train one variant of diffusion on clothes, sample from it, and measure both.

    python workflow/scripts/train_variants.py latent --seed 1
    python workflow/scripts/train_variants.py costs

Fashion-MNIST, 14 x 14 on a CPU, 28 x 28 with a GPU; net and recipe of the U-Net and of
the DiT are those of watched.py, and the loss is that of v. The rows:

    ddpm               the U-Net; DDIM in 5, 10, 20, 50 steps
    ancestral          the same net; ancestral sampling in 250 and 1000 steps
    dit                the DiT instead; DDIM, 50
    latent             a third of the updates for an autoencoder that halves the side,
                       the others for the U-Net without its first level, on standardised
                       codes; DDIM, 50
    consistency        the U-Net of `ddpm` is the teacher of a student that starts from
                       its weights; one step and two
    consistency_equal  the same with a teacher of half as many updates

The training budget is counted in presentations: updates times images an update, over
all stages. It is 1 for ddpm, dit, latent and consistency_equal, and 1.5 for consistency,
whose teacher has used 1. An update of a student asks the teacher twice and the target
once, all without a gradient, so it takes longer.

data/results/variant_ROW_SEED.json has

    row, training_images, side, parameters    of all nets that sampling needs
    stages, updates, presentations, seconds   [stages]; of processor time on a CPU, of
                                              the clock on a GPU, of the training alone
    loss                                      [stages], mean of the last 100 updates
    samplers, evaluations                     names, and calls of the net for an image
    N, fcd, half, fcd_half                    FCD of N samples and of the first half of
                                              them: [value, low, high] or null
    reference, halves, halves_half            held-out images, and the FCD of as many
                                              other held-out images
    latent alone: code, rmse, fcd_decoded     shape; error and FCD of images that were
                                              encoded and decoded; and noise, the rms
                                              s of the code in standard deviations

An image of 14 x 14 is shown to the classifier with each pixel four times, the held-out
images likewise. Ancestral sampling draws half as many samples on a CPU. With --ship
variant_ROW_SEED.safetensors has up to 8 samples, of the first and the last sampler.

data/results/variant_costs.json has what does not depend on weights: evaluations,
milliseconds an image and as a ratio to DDIM in 50 steps [median, least, most] over
rounds in which all samplers take turns, and bytes at the peak of what torch allocates
for sampling one batch, nets included, and for two updates of the training.

Killed and started again, a run goes on from the checkpoints in data/cache/.
"""

import argparse
import functools
import json
import time
from typing import NamedTuple

import torch
from locality_sets import SIDE, split, stored
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate
from torch.profiler import ProfilerActivity, profile
from train_unet import processes
from watched import LONG, NETS, PREDICTS, SHORT, build, short

from helpers import (
    autoencoder,
    consistency,
    data,
    metrics,
    networks,
    paths,
    sampling,
    schedules,
    training,
)
from helpers.artifacts import Experiment
from helpers.classifier import features, load_classifier
from helpers.forward import gaussian_noise
from helpers.recipe import Recipe, plain_values
from helpers.unet import UNet

NAME = "fashion_mnist"
N = {"cpu": 1000, "cuda": 5000}  # samples behind each distance
BATCH = {"cpu": 100, "cuda": 1000}
TIMED = {"cpu": 50, "cuda": 1000}  # images of a batch whose time is taken
ROUNDS = 3
SHOWN = 8
EVERY = 250  # updates between checkpoints
CODE = 2  # channels of a code
LEVELS = 18  # N of the consistency model
MIDDLE = 1.0  # level of its second step: signal and noise are about equal
STUDENT = {"lr": 5e-4, "ema": 0.95}  # ema: the target's, mu in the paper
STAGES = {  # name and share of the updates, in order
    "ddpm": {"unet": 1},
    "ancestral": {"unet": 1},
    "dit": {"dit": 1},
    "latent": {"autoencoder": 1 / 3, "codes": 2 / 3},
    "consistency": {"unet": 1, "student": 1 / 2},
    "consistency_equal": {"unet": 1 / 2, "student": 1 / 2},
}
SAMPLERS = {  # name and evaluations of the net
    "ddpm": {"ddim_5": 5, "ddim_10": 10, "ddim_20": 20, "ddim_50": 50},
    "ancestral": {"ancestral_250": 250, "ancestral_1000": 1000},
    "dit": {"ddim_50": 50},
    "latent": {"ddim_50": 50},
    "consistency": {"one": 1, "two": 2},
    "consistency_equal": {"one": 1, "two": 2},
}


class Job(NamedTuple):
    """What all stages of a run share."""

    row: str
    images: Tensor
    schedule: schedules.Schedule
    fabric: training.Fabric
    seed: int

    @property
    def device(self):
        return self.fabric.device.type

    def recipe(self, stage):
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
        """The name of a checkpoint; a teacher is the net of the row ddpm."""
        same = stage == "unet" and STAGES[self.row][stage] == 1
        return f"variant_{'ddpm' if same else self.row}_{stage}_{self.seed}"

    def noise(self):
        return gaussian_noise(torch.Generator().manual_seed(self.seed))


def without_first_level(side, device):
    """The U-Net from its second size on: what is left of it for codes of this size."""
    config = NETS[device]["unet"]
    first, *rest = config["multipliers"][: 2 if side % 4 else None]
    first = rest[0]
    attention, groups = (side // 2,), 4
    config = config | {"channels": first * config["channels"], "dropout": 0.0}
    config["multipliers"] = tuple(m // first for m in rest)
    return UNet(side // 2, CODE, **config, attention=attention, groups=groups)


class Trained(NamedTuple):
    """A net after its stage."""

    net: torch.nn.Module  # averaged
    row: dict  # updates, presentations, seconds, loss


def fit(job, stage, net, images, objective):
    """Train; `objective` makes the loss from the run, since a student needs the run's
    average as its target.
    """
    recipe, checkpoint = job.recipe(stage), paths.CACHE / f"{job.label(stage)}.ckpt"
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    run = training.Run(net, images, job.schedule, recipe, job.fabric)
    log = Log(checkpoint, job.device)
    if checkpoint.exists():
        run.restore(checkpoint)
    states = updates(run, images, job.schedule, objective(run), checkpoint, log)
    for _ in training.with_bar(states, recipe.steps):
        pass
    row = {"updates": recipe.steps, "presentations": recipe.steps * recipe.batch}
    return Trained(run.ema, row | log.numbers())


def updates(run, images, schedule, loss, checkpoint, log):
    """The updates that are left, each yielded; checkpoints along the way."""
    while run.step < run.recipe.steps:
        drawn = training.draw(images, schedule, run.recipe, run.step + 1)
        state = run.update(drawn, schedule, loss)
        log.losses = [*log.losses, state.loss][-100:]
        yield state
        if run.step % EVERY == 0 or run.step == run.recipe.steps:
            log.save()
            run.save(checkpoint)


class Log:
    """Last losses and the time of a stage, kept next to its checkpoint."""

    def __init__(self, checkpoint, device):
        self.path = checkpoint.with_suffix(".json")
        kept = checkpoint.exists() and self.path.exists()
        saved = json.loads(self.path.read_text()) if kept else {}
        self.losses, self.earlier = saved.get("losses", []), saved.get("seconds", 0.0)
        self.clock = time.process_time if device == "cpu" else time.perf_counter
        self.started = self.clock()

    def save(self):
        self.earlier += self.clock() - self.started
        self.started = self.clock()
        raw = json.dumps({"losses": self.losses, "seconds": self.earlier}).encode()
        with paths.replacing(self.path, len(raw)) as file:
            file.write(raw)

    def numbers(self):
        return {"seconds": self.earlier, "loss": sum(self.losses) / len(self.losses)}


def diffusion(job, stage, images):
    """A net that predicts v, by its usual loss."""
    net = job.fresh(stage)
    return fit(job, stage, net, images, lambda _: training.v_loss)


def first_stage(job):
    def loss(net, drawn, _):
        return autoencoder.loss(net, drawn.x0, drawn.eps)

    net = job.fresh("autoencoder")
    return fit(job, "autoencoder", net, job.images, lambda _: loss)


def student(job, teacher):
    """Algorithm 2: one update after the other, with the average of Eq. 8 as target."""
    denoise, grid = pixel_denoiser(job, teacher), levels(job.schedule)
    net = job.fresh("student")
    net.load_state_dict(teacher.state_dict())
    indices = schedules.from_sigma(grid[1:])  # t of `training.draw` is n

    def objective(run):
        target = consistency.consistent(run.ema, job.schedule)

        def loss(net, drawn, _):
            f = consistency.consistent(net, job.schedule)
            found = drawn.x0, drawn.t, drawn.eps
            return consistency.distillation_loss(f, target, denoise, *found, grid)

        return loss

    return fit(
        job._replace(schedule=indices), "student", net, job.images, objective_of(job)
    )
