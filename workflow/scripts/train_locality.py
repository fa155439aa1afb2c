"""Train one net on one image set and watch its sensitivity fields become local, or not.

    python workflow/scripts/train_locality.py celeba32 dit --seed 1 [--ship]

On a CPU the images are small: 16 x 16, or 14 x 14 for Fashion-MNIST, each pixel the
mean of four. With a GPU they have their full size, and nets and recipe are larger. All
nets predict v, and those of a set see the same images with the same noise in the same
order; `unet_long` is the U-Net with four times the steps. Dead leaves and toy faces are
drawn at the size that is trained on. Killed and started again, a run goes on from the
checkpoint in data/cache/.

The fields are those of channel 0 of four pixels, averaged over noised held-out images
(`fields.average`), of the denoiser behind the averaged weights, next to the rows of the
Wiener filter of the same training images. data/results/locality_SET_NET_SEED.json has
lists [steps][sigmas][pixels] where nothing else is said; Interval: [value, low, high],
95 %, of `fields.of_average`, a jackknife over the noised images.

    training_images, held_out, parameters, inputs (noised images of a field)
    sigma, places, pixels          of the fields; `places` are names, `pixels` (row,
                                   column)
    step                           [steps], updates before a measurement; 0 is untrained
    held_out_loss                  [steps], `training.v_loss`
    mse, mse_wiener                [steps][sigmas], [sigmas]: error of a held-out image,
                                   a number
    excess                         [sigmas] Intervals, final: error of the net minus
                                   that of the Wiener filter, paired; a bootstrap
    pearson, r2                    field f against Wiener row w: correlation; R^2 = 1 -
                                   |f - w|^2 / |f - mean f|^2, f is the reference
    off                            pearson over all inputs but those at the pixel itself
                                   (0 where the field is 0 there)
    radius, within5, mirror        `fields.effective_radius`, `energy_within` 5 x 5,
                                   `mirror_energy` 3 x 3
    varies                         sum of the variances of a field over the inputs, over
                                   its mean square norm: 0 for a linear denoiser
    wiener_radius, wiener_within5, wiener_mirror   [sigmas][pixels], of w
    pearson_interval, off_interval, r2_interval   [sigmas][pixels] Intervals, final;
                                   without the bias that an average of few fields has
    channels_pearson, channels_r2  [sigmas][pixels][C], final, for each output channel
    architecture: the untrained net with the layers that start at 0 drawn like the
      others; the field of its own output, v
      radius, within5, mirror, varies   [sigmas][pixels]
    receptive_field                side, of the ResNet alone

data/results/locality_SET_NET_SEED.safetensors has, in float16, (sigmas, pixels, C, H,
W), the fields `final` and, for seed 0, `architecture` and the rows `wiener`, the latter
the same for all seeds. Weights in float16, only with --ship. No image.
"""

import argparse
import copy
import json
import time
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d
from train_unet import held_out_loss, processes

from helpers import (
    data,
    dead_leaves,
    fields,
    metrics,
    networks,
    paths,
    schedules,
    toy_faces,
    training,
)
from helpers.artifacts import Experiment
from helpers.dit import DiT
from helpers.mlp import MLP
from helpers.recipe import Recipe, plain_values
from helpers.resnet import ResNet
from helpers.sensitivity import rows
from helpers.targets import v_from_x0
from helpers.unet import UNet
from helpers.wiener import Wiener

SIDE = {"fashion_mnist": 28}  # at full size; all others 32
DRAWN = {"dead_leaves": dead_leaves.sample, "toy_faces": toy_faces.sample}
WITHOUT_TEST = {"celeba32": 1000, "afhq_cat32": 500}  # last images, kept from training
SETS = ("cifar10", "fashion_mnist", *WITHOUT_TEST, *DRAWN)
IMAGES, TESTS = 20_000, 1000  # drawn images; the most held-out images

# (row, column) of the left eye in units of the side
EYE = {"toy_faces": (0.46, 0.34), "celeba32": (0.41, 0.34)}
EYE_ELSEWHERE = (0.53, 0.34)  # that of the cats

STEPS = (0, 30, 100, 300, 1000, 3000, 10_000, 30_000, 100_000)  # where one measures
SHORT = {"steps": 3000, "batch": 32, "lr": 1e-3, "warmup": 200, "ema": 0.999}
LONG = {"steps": 30_000, "batch": 256, "lr": 5e-4, "warmup": 1000, "ema": 0.999}
EVERY = 250  # updates between checkpoints
SIGMAS = torch.logspace(np.log10(0.05), np.log10(20), 8, dtype=torch.float64).tolist()
INPUTS, BLOCKS = 64, 16  # noised images of a field, and parts of its jackknife
MIRROR, WITHIN = 3, 5  # sides of windows

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
LONGER = 4  # times as many steps for "_long"


def length(kind, device):
    """Steps and all that goes with them."""
    known = SHORT if device == "cpu" else LONG
    more = LONGER if kind.endswith("_long") else 1
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
    config |= NETS[device][kind.split("_")[0]]
    if kind.startswith("unet"):
        net = unet(**config, attend=kind != "unet_plain")
    else:
        net = {"resnet": ResNet, "dit": DiT, "mlp": MLP}[kind](**config)
    return net.to(memory_format=torch.channels_last)  # faster on a CPU


def denoiser(net, schedule):
    return networks.denoiser(net, schedule, predicts=PREDICTS)


def drawn(name, n, side, seed):
    """Images of a law, at the size they are trained on."""
    images = DRAWN[name](n, side, generator=np.random.default_rng(seed))
    return data.to_unit(images)


def split(name, device):
    """Training and held-out images at the size for this device."""
    shrink = 2 if device == "cpu" else 1
    if name in DRAWN:
        side = SIDE.get(name, 32) // shrink
        return drawn(name, IMAGES, side, 0), drawn(name, TESTS, side, 1)
    images = avg_pool2d(data.load(name), shrink)
    if name in WITHOUT_TEST:
        kept = WITHOUT_TEST[name]
        return images[:-kept], images[-kept:]
    return images, avg_pool2d(data.load(name, "test", TESTS), shrink)


def stored(name):
    """The stored sets that a run reads."""
    test = name not in WITHOUT_TEST
    return [] if name in DRAWN else [f"{name}-train"] + [f"{name}-test"] * test


def places(name, side):
    """The pixels by name: centre, left eye or the same place, border, corner."""
    eye = tuple(int(share * side) for share in EYE.get(name, EYE_ELSEWHERE))
    middle = side // 2
    return {
        "centre": (middle, middle),
        "eye": eye,
        "border": (middle, 0),
        "corner": (0, 0),
    }


class Probe(NamedTuple):
    """What a denoiser is asked, and what the Wiener filter says."""

    places: dict[str, tuple[int, int]]
    clean: Tensor  # (tests, C, H, W), held out
    eps: Tensor  # as clean
    wiener: Wiener
    fields: Tensor  # (sigmas, pixels, C, H, W), float64, rows of the filter

    def noised(self, sigma, n=None):
        """The first n held-out images at a noise level."""
        return (self.clean + sigma * self.eps)[:n]

    def pixels(self, channel=0):
        return [(channel, *place) for place in self.places.values()]


def probe(name, images, held_out, seed):
    """The Wiener filter of the training images, its rows, and the noise."""
    generator = torch.Generator().manual_seed(seed)
    eps = torch.randn(held_out.shape, generator=generator)
    wiener, where = Wiener.fit(images), places(name, images.shape[-1])
    empty = Probe(where, held_out, eps, wiener, torch.empty(0))
    return empty._replace(fields=filter_rows(empty))


def filter_rows(probe, channel=0):
    """Rows of the Wiener filter, (sigmas, pixels, C, H, W)."""
    sigma = torch.tensor(SIGMAS, dtype=torch.float64)
    found = [probe.wiener.row(pixel, sigma) for pixel in probe.pixels(channel)]
    return torch.stack(found, dim=1)


def net_rows(denoise, probe, device, channel=0):
    """Fields at each input, (sigmas, pixels, inputs, C, H, W), float32."""
    pixels = probe.pixels(channel)
    return torch.stack(
        [
            rows(denoise, probe.noised(s, INPUTS).to(device), s, pixels).cpu()
            for s in SIGMAS
        ]
    )


@torch.no_grad()
def errors(denoise, probe, device):
    """Mean squared errors at each held-out image, (sigmas, tests), float64."""
    found = []
    for sigma in SIGMAS:
        parts = probe.noised(sigma).split(250)
        answer = torch.cat([denoise(x.to(device), sigma).cpu() for x in parts])
        found.append(metrics.mse(answer, probe.clean).double())
    return torch.stack(found)


def each(measure, a, b):
    """A measure of pairs of images for fields (..., C, H, W)."""
    a, b = torch.broadcast_tensors(a, b)
    shape = (-1, *a.shape[-3:])
    return measure(a.reshape(shape), b.reshape(shape)).view(a.shape[:-3])


def without_own(field, places):
    """The fields (..., pixels, C, H, W) with 0 at the pixel of each."""
    field = field.clone()
    for k, (i, j) in enumerate(places.values()):
        field[..., k, :, i, j] = 0
    return field


def correlation_off(field, probe):
    """Pearson r over all inputs but those at the pixel itself."""
    f, w = (without_own(v, probe.places) for v in (field, probe.fields))
    return each(metrics.pearson, f, w).nan_to_num(0)


def shapes(field, places):
    """Radius, energy in the window and at the mirror pixel, (sigmas, pixels) each."""

    def of(summary, *window):
        found = [
            summary(field[:, k], place, *window)
            for k, place in enumerate(places.values())
        ]
        return torch.stack(found, dim=1)

    return {
        "radius": of(fields.effective_radius),
        "within5": of(fields.energy_within, WITHIN),
        "mirror": of(fields.mirror_energy, MIRROR),
    }


def varies(found):
    """The share of the input in fields (sigmas, pixels, inputs, C, H, W)."""
    found = found.double().flatten(-3)
    spread = found.var(dim=2, correction=0).sum(dim=-1)
    return spread / found.square().sum(dim=-1).mean(dim=2)


def agreement(field, probe):
    """Correlation and R^2 of averaged fields with the Wiener rows."""
    return {
        "pearson": each(metrics.pearson, field, probe.fields),
        "r2": each(metrics.r2_score, probe.fields, field),  # the field is the reference
        "off": correlation_off(field, probe),
    }


def measure(denoise, probe, device):
    """All that is noted at one step, and the fields at each input."""
    found = net_rows(denoise, probe, device)
    mean = fields.average(found).mean
    numbers = agreement(mean, probe) | shapes(mean, probe.places)
    numbers |= {"varies": varies(found)}
    return numbers | {"mse": errors(denoise, probe, device).mean(dim=1)}, found


def intervals(found, probe):
    """What an average of ever more inputs would tend to, [sigmas][pixels] Intervals."""
    off = without_own(found.transpose(1, 2), probe.places).transpose(1, 2)
    off = metrics.pearson, off, without_own(probe.fields, probe.places)
    measures = {
        "pearson": (metrics.pearson, found, probe.fields),
        "off": off,
        "r2": (lambda f, w: metrics.r2_score(w, f), found, probe.fields),
    }
    return {
        f"{key}_interval": [
            [interval(measure, f, w) for f, w in zip(*level)]
            for level in zip(
                rows, ws
            )  # (pixels, inputs, C, H, W) and (pixels, C, H, W)
        ]
        for key, (measure, rows, ws) in measures.items()
    }


def interval(measure, rows, w):
    return fields.of_average(rows, lambda f: each(measure, f, w).nan_to_num(0), BLOCKS)


def all_channels(denoise, probe, device, found):
    """Agreement for each output channel, [sigmas][pixels][C]."""
    C, kept = probe.clean.shape[1], {"channels_pearson": [], "channels_r2": []}
    for channel in range(C):
        again = found if not channel else net_rows(denoise, probe, device, channel)
        own = probe._replace(fields=filter_rows(probe, channel))
        both = agreement(fields.average(again).mean, own)
        kept["channels_pearson"].append(both["pearson"])
        kept["channels_r2"].append(both["r2"])
    return {key: torch.stack(tables, dim=2) for key, tables in kept.items()}


def architecture(net, schedule, probe, device):
    """Fields of v, once the layers that start at 0 are drawn like the others."""
    net = frozen(net)
    for p in net.parameters():
        if p.ndim > 1 and not p.any():
            nn.init.xavier_uniform_(p)
    denoise = denoiser(net, schedule)

    def output(x, sigma):
        return v_from_x0(x, denoise(x, sigma), sigma)

    found = net_rows(output, probe, device)
    mean = fields.average(found).mean
    return shapes(mean, probe.places) | {"varies": varies(found)}, mean


def frozen(net):
    """A copy that only answers."""
    return copy.deepcopy(net).requires_grad_(False).eval()


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


def kept_fields(tables):
    """Fields in float16; at 32 x 32 in colour at every other noise level only."""
    large = tables["final"][0].numel() > 8000
    stride = 2 if large else 1
    return {name: table[::stride].half() for name, table in tables.items()}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("set", choices=SETS)
    parser.add_argument("net", choices=KINDS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ship", action="store_true", help="the weights too")
    options = parser.parse_args()
    seed, label = options.seed, f"locality_{options.set}_{options.net}_{options.seed}"
    device = "cuda" if torch.cuda.is_available() else "cpu"
    fabric = processes("bf16-mixed" if device == "cuda" else "32-true")
    fabric.launch()

    schedule, (images, held_out) = schedules.linear(), split(options.set, device)
    steps = length(options.net, device)
    recipe = Recipe(**steps, decay="cosine", flips=False, seed=seed)
    torch.manual_seed(seed)
    net = build(options.net, images.shape[1:], device)
    asked, where = probe(options.set, images, held_out, seed=2), fabric.device
    once = Recipe(1, batch=len(held_out), flips=False, seed=3)
    noisy = training.draw(held_out, schedule, once, 0)

    def watch(net):
        numbers, _ = measure(denoiser(net, schedule), asked, where)
        loss = held_out_loss(net, noisy, schedule, fabric, training.v_loss)
        return {"held_out_loss": loss} | numbers

    settings = {"net": plain_values(net.config), "recipe": vars(recipe)}
    settings |= {"kind": options.net, "side": images.shape[-1], "predicts": PREDICTS}
    settings |= {"training_images": len(images), "held_out": len(held_out)}
    arguments = [options.set, options.net, "--seed", str(seed)]
    arguments += ["--ship"] * options.ship
    machine = training.describe(fabric)
    with Experiment(
        __file__, seed, stored(options.set), settings, machine, arguments
    ) as run:
        drawn_net, drawn_fields = architecture(net, schedule, asked, "cpu")
        ema, log = follow(net, images, schedule, recipe, fabric, label, watch)
        if not fabric.is_global_zero:
            return
        run.started -= log.earlier
        denoise = denoiser(ema, schedule)
        found = net_rows(denoise, asked, where)
        table = head(settings, net, asked) | log.table()
        table |= {"architecture": drawn_net} | last_words(denoise, asked, where, found)
        run.save(f"results/{label}.json", short(table))
        tables = {"final": fields.average(found).mean}
        if seed == 0:
            tables |= {"architecture": drawn_fields, "wiener": asked.fields}
        run.save(f"results/{label}.safetensors", kept_fields(tables), "float16")
        if options.ship:
            weights = networks.rounded(ema.cpu())
            run.save(f"weights/{label}.safetensors", weights, "float16")


def head(settings, net, probe):
    """What a table begins with."""
    wiener = shapes(probe.fields, probe.places)
    answers = errors(probe.wiener, probe, "cpu")
    found = {key: settings[key] for key in ("training_images", "held_out")}
    found |= {"parameters": networks.parameters(net), "inputs": INPUTS}
    found |= {"sigma": SIGMAS, "places": list(probe.places)}
    found |= {"pixels": [list(place) for place in probe.places.values()]}
    found |= {f"wiener_{key}": value for key, value in wiener.items()}
    if isinstance(net, ResNet):
        found["receptive_field"] = net.receptive_field
    return found | {"mse_wiener": answers.mean(dim=1)}


def last_words(denoise, probe, device, found):
    """What is measured of the trained net alone."""
    excess = errors(denoise, probe, device) - errors(probe.wiener, probe, "cpu")
    generator = torch.Generator().manual_seed(0)
    table = {"excess": [list(metrics.bootstrap(row, generator)) for row in excess]}
    table |= intervals(found, probe)
    return table | all_channels(denoise, probe, device, found)


if __name__ == "__main__":
    main()
