"""One net, trained with one thing changed: Table 2 of Ho et al. 2020, and our U-Net.

    python workflow/scripts/train_ablation.py eps_simple --seed 1

Fashion-MNIST, on a CPU 14 x 14, levels rounded to 256; the U-Net, the recipe and its
length are those of watched.py ("baseline"), and ROWS says what a run changes. Equal
seeds see the same images with the same noise in the same order. All is float32: bf16
would drown the differences of the means that "mu" has to learn.

Rows with a `loss` (Table 2): eps or mu-tilde; Sigma fixed to beta_t ("large", as in
the authors' code for CIFAR-10) or learned, diagonal and free; the loss is `bound`, a
term of L in nats per dimension for t uniform (L / T without L_T), or `simple`, an
unweighted square error. They are sampled by `objectives.ancestral`, with all 1000 steps
and their own Sigma, and half as many samples. All other rows predict v with
`training.v_loss` where nothing else is said; they are sampled by DDIM with DDIM_STEPS
of their own schedule, from T to 1.

    no_skips         the stored maps are left out, and the channels that read them
    adaptive_skips   a learned number for each stored map, at first 1
    no_time, no_attention, narrow, wide (half, twice the channels), shallow (one
                     resolution), deep (twice the blocks a level)
    answers_eps, answers_x0   the net predicts eps or x_0, with its unweighted error
    schedule_NAME    `schedules.NAME` for training and sampling; linear is the baseline

data/results/ablation_ROW_SEED.json; Interval: [value, low, high], 95 %.

    row, parameters, training_images, held_out, N (samples)
    diverged         the first step whose loss or gradient was no finite number, or
                     null; what follows is then measured with the last good weights
    step             [rows], where the next five were noted
    loss, grad_norm, largest_grad_norm    mean, mean, largest since the last row, of the
                     row's own loss and its gradient before clipping
    train_seconds    since the last row, without the measurements
    held_out_loss    the same loss, averaged weights, always the same t and noise
    milliseconds     of a forward pass of FORWARD images, median of REPEATS
    fcd              Interval over the N samples, distance to half of the test images;
                     null if one was no finite number
    floor            Interval, the same distance of N of the other half
    clipped          share of the numbers of the samples that had to be clipped
    scales           [maps], of adaptive_skips
    sigma, mse       of other rows: levels, and Intervals over held-out images of the
                     error of x_0; times (1 + sigma^2) / sigma^2 it is that of v
    bits             of Table 2: Interval over BOUND_IMAGES images, bits per dimension
    prior, first, terms    L_T, and the sum of the terms of each part of 1, ..., T that
                     begins with t = first

Null where a number is not finite. For seed 0 ablation_ROW_0.safetensors has 8 samples.
Killed and started again, a run goes on from the checkpoint in data/cache/.
"""

import argparse
import functools
import math
import statistics
import time

import measures
import torch
import watched
from locality_sets import stored
from measures import BOUND_IMAGES, NAME, N, seeded
from train_unet import held_out_loss, processes
from watched import Log, frozen, length, short

from helpers import (
    bound,
    data,
    networks,
    objectives,
    paths,
    sampling,
    schedules,
    training,
)
from helpers.artifacts import Experiment
from helpers.forward import gaussian_noise
from helpers.recipe import Recipe, plain_values

TABLE_2 = {
    f"{predicts}_{loss if Sigma == 'large' else Sigma}": {
        "predicts": predicts,
        "Sigma": Sigma,
        "loss": loss,
    }
    for predicts in ("mu", "eps")
    for Sigma, loss in (("learned", "bound"), ("large", "bound"), ("large", "simple"))
}
UNET = {
    "baseline": {},
    "no_skips": {"net": {"skips": "none"}},
    "adaptive_skips": {"net": {"skips": "scaled"}},
    "no_time": {"net": {"timed": False}},
    "no_attention": {"attend": False},
    "narrow": {"width": 1 / 2},
    "wide": {"width": 2},
    "shallow": {"net": {"multipliers": (1,)}},
    "deep": {"blocks": 2},
    "answers_eps": {"predicts": "eps"},
    "answers_x0": {"predicts": "x0"},
}
LOSSES = {"eps": training.simple_loss, "v": training.v_loss, "x0": training.x0_loss}
OTHERS = ("cosine", "sigmoid", "exponential", "abrupt")
ROWS = TABLE_2 | UNET | {f"schedule_{name}": {"schedule": name} for name in OTHERS}
BATCH = {"cpu": 100, "cuda": 1000}
DDIM_STEPS = 50
NOTES = 12  # rows about the training, and checkpoints
SHOWN = 8


def build(row, shape, device):
    """The net of a row with first weights from torch's seed."""
    config = dict(watched.NETS[device]["unet"])
    config["channels"] = round(config["channels"] * row.get("width", 1))
    config["blocks"] *= row.get("blocks", 1)
    if row.get("Sigma") == "learned":
        config["out_channels"] = 2 * shape[0]
    config |= row.get("net", {})
    net = watched.unet(shape[-1], shape[0], row.get("attend", True), **config)
    return net.to(memory_format=torch.channels_last)  # faster on a CPU


def reading(row, schedule):
    """How the output of a net of Table 2 is read: see `objectives`."""
    table = bound.fixed_variance(schedule) if row["Sigma"] == "large" else None
    return {"predicts": row["predicts"], "variance": table}


def loss_of(row, schedule):
    """What the row makes small."""
    if "loss" not in row:
        return LOSSES[row.get("predicts", "v")]
    if row["loss"] == "bound":
        return functools.partial(objectives.bound_loss, **reading(row, schedule))
    return (LOSSES | {"mu": objectives.mean_loss})[row["predicts"]]


def follow(net, images, schedule, recipe, fabric, label, loss, watch):
    """Train: the averaged net, the log, and the step that failed, or None."""
    checkpoint = paths.CACHE / f"{label}.ckpt"
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    log, every = Log(checkpoint), max(1, recipe.steps // NOTES)
    ema, step, losses, norms = frozen(net), 0, [], []
    states = training.train(
        net, images, schedule, recipe, fabric, checkpoint, every, loss
    )
    began = time.perf_counter()
    try:
        for step, value, _, norm, _, ema in training.with_bar(states, recipe.steps):
            losses.append(value), norms.append(norm)
            if step % every == 0 and str(step) not in log.rows:
                seconds = time.perf_counter() - began
                note(log, step, losses, norms, seconds, watch(ema))
                losses, norms, began = [], [], time.perf_counter()
    except training.Diverged as error:
        print(error, flush=True)
        return frozen(ema), log, step + 1
    return ema, log, None


def note(log, step, losses, norms, seconds, held_out):
    """One row of the log."""
    numbers = {"loss": statistics.fmean(losses), "grad_norm": statistics.fmean(norms)}
    numbers |= {"largest_grad_norm": max(norms), "train_seconds": seconds}
    log.add(step, numbers | {"held_out_loss": held_out})


def walker(net, row, schedule, noise):
    """What leads from noise to an image, not yet clipped."""
    if "loss" in row:
        how = {"noise": noise} | reading(row, schedule)
        return functools.partial(objectives.ancestral, net, schedule=schedule, **how)
    low, high = schedule.sigma[1].item(), schedule.sigma[-1].item()
    times = schedules.between(schedule, low, high, DDIM_STEPS)
    how = {"clip": True, "predicts": row.get("predicts", "v")}
    denoise = networks.denoiser(net, schedule, **how)
    return lambda x: sampling.last(sampling.ddim(denoise, x, schedule, times)).x0_hat


def samples_of(row, kind):
    """How many samples a row draws: those of Table 2 take 20 times as long."""
    return N[kind] // 2 if "loss" in row else N[kind]


@torch.no_grad()
def draw(net, row, schedule, like, seed, kind):
    """Samples on the CPU."""
    noise = gaussian_noise(seeded(seed))
    xT = sampling.start(samples_of(row, kind), like.shape[1:], noise, like)
    walk = walker(net, row, schedule, noise)
    return torch.cat([walk(x).cpu() for x in xT.split(BATCH[kind])])


def finite(value):
    """The same table with null for what is not a finite number."""
    if isinstance(value, dict):
        return {key: finite(v) for key, v in value.items()}
    if isinstance(value, list):
        return [finite(v) for v in value]
    bad = isinstance(value, float) and not math.isfinite(value)
    return None if bad else value


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("row", choices=ROWS)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    name, seed, row = options.row, options.seed, ROWS[options.row]
    label, fabric = f"ablation_{name}_{seed}", processes("32-true")
    fabric.launch()
    kind = fabric.device.type

    schedule = getattr(schedules, row.get("schedule", "linear"))()
    images, held_out, *halves = measures.image_sets(kind)
    recipe = Recipe(**length("unet", kind), decay="cosine", flips=False, seed=seed)
    torch.manual_seed(seed)
    net, loss = build(row, images.shape[1:], kind), loss_of(row, schedule)
    once = Recipe(1, batch=len(held_out), flips=False, seed=3)
    noisy = training.draw(held_out, schedule, once, 0)

    def watch(net):
        return held_out_loss(net, noisy, schedule, fabric, loss)

    settings = {"net": plain_values(net.config), "recipe": vars(recipe), "row": row}
    settings |= {"ddim_steps": DDIM_STEPS, "N": samples_of(row, kind)}
    settings["bound_images"] = BOUND_IMAGES[kind]
    sets, machine = stored(NAME), training.describe(fabric)
    arguments = [name, "--seed", str(seed)]
    with Experiment(__file__, seed, sets, settings, machine, arguments) as run:
        ema, log, diverged = follow(
            net, images, schedule, recipe, fabric, label, loss, watch
        )
        if not fabric.is_global_zero:
            return
        run.started -= log.earlier
        like = fabric.to_device(held_out[:1])
        table = {"row": name, "parameters": networks.parameters(net)}
        table |= {"training_images": len(images), "held_out": len(held_out)}
        table |= {"N": samples_of(row, kind), "diverged": diverged}
        table |= log.table() if log.rows else {}
        table["milliseconds"] = measures.milliseconds(ema, like)
        if getattr(ema, "scales", None) is not None:
            table["scales"] = ema.scales
        samples = draw(ema, row, schedule, like, seed, kind)
        reference, other = halves
        real = reference, other[: len(samples)]
        table |= measures.quality(samples, real, fabric)
        if "loss" in row:
            some, how = held_out[: BOUND_IMAGES[kind]], reading(row, schedule)
            table |= measures.bits(ema, how, schedule, some, fabric)
        else:
            predicts = row.get("predicts", "v")
            table |= measures.levels(ema, schedule, held_out, fabric, predicts)
        run.save(f"results/{label}.json", finite(short(table)))
        if seed == 0:
            shown = samples[:SHOWN].nan_to_num().clamp(-1, 1)
            pixels = torch.from_numpy(data.to_pixels(shown)).permute(0, 3, 1, 2)
            run.save(f"results/{label}.safetensors", {"images": pixels}, "uint8")


if __name__ == "__main__":
    main()
