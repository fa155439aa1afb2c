"""Train one variant of diffusion on clothes, draw samples, and say how good they are.

    python workflow/scripts/train_variants.py latent --seed 1 [--ship]

Fashion-MNIST, 14 x 14 on a CPU, 28 x 28 with a GPU; nets and recipe are those of
watched.py, the loss is that of v. The rows:

    ddpm               the U-Net; DDIM in 5, 10, 20, 50 steps
    ancestral          the same net; ancestral sampling in 250 and 1000 steps
    dit                the DiT instead; DDIM, 50
    latent             a third of the updates for an autoencoder that halves the side,
                       the others for the U-Net without its first level, on standardised
                       codes; DDIM, 50
    consistency        the net of ddpm is the teacher of a student that starts from its
                       weights; one step and two
    consistency_equal  the same with a teacher of half as many updates

The training budget is counted in presentations, updates times images an update, over
all stages. It is 1 for all but consistency, where it is 1.5: the teacher alone has used
1. An update of the student asks the teacher twice and the target once, without a
gradient, and so takes longer.

data/results/variant_ROW_SEED.json has

    row, training_images, side, parameters   parameters of all nets that sampling needs
    stages                                   names, in order; for each:
    updates, presentations, loss, seconds    loss: mean of the last 100 updates; seconds
                                             of the training alone, of processor time on
                                             a CPU, of the clock on a GPU
    samplers, evaluations                    names, and calls of the net for an image
    N, fcd, fcd_half                         FCD [value, low, high] of N samples (or
                                             null) and of the first half of them
    reference, halves, halves_half           number of held-out images, and FCD of as
                                             many others of them
    code, rmse, fcd_decoded, code_noise      latent only: shape of a code; error and FCD
                                             of other held-out images, encoded and
                                             decoded; rms s of a code, standardised

Intervals are 95 %, over the samples. The classifier sees each pixel of a 14 x 14 image
four times, for samples and held-out images alike. Ancestral sampling on a CPU draws
only half as many samples. With --ship variant_ROW_SEED.safetensors has 8 samples of the
last sampler, or 4 of it and 4 of the first, from the same noise.

Killed and started again, a run goes on from the checkpoints in data/cache/. No image.
"""

import argparse
import json
import time
from typing import NamedTuple

import judge
import torch
from locality_sets import split, stored
from train_unet import processes
from variants import (
    CODE,
    LEVELS,
    MIDDLE,
    NAME,
    SAMPLERS,
    STAGES,
    Job,
    denoiser,
    levels,
)
from watched import PREDICTS, short

from helpers import (
    autoencoder,
    consistency,
    data,
    networks,
    paths,
    schedules,
    training,
)
from helpers.artifacts import Experiment
from helpers.recipe import plain_values

EVERY = 250  # updates between checkpoints


class Trained(NamedTuple):
    """What a stage leaves."""

    net: torch.nn.Module  # averaged
    numbers: dict  # updates, presentations, loss, seconds


def fit(job, stage, images, teacher=None):
    """Train the net of a stage."""
    checkpoint = paths.CACHE / f"{job.label(stage)}.ckpt"
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    run, loss, schedule = begin(job, stage, images, teacher)
    log = Log(checkpoint, job.device)
    if checkpoint.exists():
        run.restore(checkpoint)
    states = updates(run, images, schedule, loss, checkpoint, log)
    for _ in training.with_bar(states, run.recipe.steps):
        pass
    presented = run.recipe.steps * run.recipe.batch
    numbers = {"updates": run.recipe.steps, "presentations": presented}
    return Trained(run.ema, numbers | log.numbers())


def begin(job, stage, images, teacher=None):
    """A run before its first update, its loss and the schedule that it draws from."""
    net, schedule, loss = job.fresh(stage), job.schedule, training.v_loss
    if stage == "student":
        net.load_state_dict(teacher.state_dict())
        schedule = schedules.from_sigma(levels(schedule)[1:])  # the t drawn is n
    run = training.Run(net, images, schedule, job.recipe(stage), job.fabric)
    if stage == "autoencoder":
        loss = code_loss
    elif stage == "student":  # the target is the average that the run keeps
        loss = distillation(job, teacher, run.ema)
    return run, loss, schedule


def updates(run, images, schedule, loss, checkpoint, log):
    """The updates that are left, each yielded, with checkpoints along the way."""
    while run.step < run.recipe.steps:
        drawn = training.draw(images, schedule, run.recipe, run.step + 1)
        state = run.update(drawn, schedule, loss)
        log.losses = [*log.losses, state.loss][-100:]
        yield state
        if run.step % EVERY == 0 or run.step == run.recipe.steps:
            log.save()
            run.save(checkpoint)


class Log:
    """Last losses and seconds of a stage, kept next to its checkpoint."""

    def __init__(self, checkpoint, device):
        self.path = checkpoint.with_suffix(".json")
        kept = checkpoint.exists() and self.path.exists()
        saved = json.loads(self.path.read_text()) if kept else {}
        self.losses, self.seconds = saved.get("losses", []), saved.get("seconds", 0.0)
        self.clock = time.process_time if device == "cpu" else time.perf_counter
        self.since = self.clock()

    def save(self):
        now = self.clock()
        self.seconds, self.since = self.seconds + now - self.since, now
        raw = json.dumps({"losses": self.losses, "seconds": self.seconds}).encode()
        with paths.replacing(self.path, len(raw)) as file:
            file.write(raw)

    def numbers(self):
        return {"loss": sum(self.losses) / len(self.losses), "seconds": self.seconds}


def train(job):
    """The stages of the row, by name, and the codes if it has any."""
    images, found, latents = job.images, {}, None
    for stage in STAGES[job.row]:
        teacher = found["unet"].net if stage == "student" else None
        found[stage] = fit(job, stage, images, teacher)
        if stage == "autoencoder":
            latents = autoencoder.Latents.fit(found[stage].net, images)
            images = latents.encode(images)
    return found, latents


def code_loss(net, drawn, _):
    return autoencoder.loss(net, drawn.x0, drawn.eps)


def distillation(job, teacher, average):
    """The loss of Algorithm 2; the teacher is clipped, as when one samples from it."""
    denoise, grid = denoiser(job, teacher), levels(job.schedule)
    target = consistency.consistent(average, job.schedule)

    def loss(net, drawn, _):
        f, (x0, n, eps) = consistency.consistent(net, job.schedule), drawn
        return consistency.distillation_loss(f, target, denoise, x0, n, eps, grid)

    return loss


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("row", choices=STAGES)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ship", action="store_true", help="save samples as well")
    options = parser.parse_args()
    row, seed = options.row, options.seed
    device = "cuda" if torch.cuda.is_available() else "cpu"
    fabric = processes("bf16-mixed" if device == "cuda" else "32-true")
    fabric.launch()

    job = Job(row, split(NAME, device)[0], schedules.linear(), fabric, seed)
    recipes = {stage: vars(job.recipe(stage)) for stage in STAGES[row]}
    nets = {stage: plain_values(job.fresh(stage).config) for stage in STAGES[row]}
    settings = {"net": nets, "recipe": recipes, "predicts": PREDICTS, "code": CODE}
    settings |= {"levels": LEVELS, "middle": MIDDLE, "classifier": NAME}
    arguments = [row, "--seed", str(seed)] + ["--ship"] * options.ship
    machine = training.describe(fabric)
    with Experiment(__file__, seed, stored(NAME), settings, machine, arguments) as run:
        stages, latents = train(job)
        if not fabric.is_global_zero:
            return
        table, shown = report(job, stages, latents)
        run.save(f"results/variant_{row}_{seed}.json", short(table))
        if options.ship:
            pixels = {k: torch.from_numpy(data.to_pixels(v)) for k, v in shown.items()}
            pixels = {k: v.permute(0, 3, 1, 2) for k, v in pixels.items()}
            run.save(f"results/variant_{row}_{seed}.safetensors", pixels, "uint8")


def report(job, stages, latents):
    """All numbers of a run, and the samples to be shown."""
    nets = {stage: found.net for stage, found in stages.items()}
    reference, others = judge.held_out(job.device)
    distances = judge.Judge(job, reference)
    table = {"row": job.row, "training_images": len(job.images)}
    table["side"] = job.images.shape[-1]
    needed = list(nets.values()) if latents is not None else list(nets.values())[-1:]
    table |= {"parameters": sum(map(networks.parameters, needed))}
    table["stages"] = list(stages)
    for key in ("updates", "presentations", "loss", "seconds"):
        table[key] = [found.numbers[key] for found in stages.values()]
    table["samplers"] = list(SAMPLERS[job.row])
    table["evaluations"] = list(SAMPLERS[job.row].values())
    table |= {"N": judge.N[job.device], "reference": len(reference)}
    table["halves"], table["halves_half"] = distances.both(others)
    found, shown = judge.quality(job, nets, latents, distances)
    table |= found
    if latents:
        table |= judge.of_code(job, latents, others, distances)
    return table, shown


if __name__ == "__main__":
    main()
