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

import torch
from locality_sets import SETS, split, stored
from probe import (
    INPUTS,
    SIGMAS,
    all_channels,
    errors,
    intervals,
    measure,
    net_rows,
    probe,
    shapes,
    varies,
)
from torch import nn
from train_unet import held_out_loss, processes
from watched import KINDS, PREDICTS, build, denoiser, follow, frozen, length, short

from helpers import fields, metrics, networks, schedules, training
from helpers.artifacts import Experiment
from helpers.recipe import Recipe, plain_values
from helpers.resnet import ResNet
from helpers.targets import v_from_x0


def kept_fields(tables):
    """Fields in float16; at 32 x 32 in colour at every other noise level only."""
    large = tables["final"][0].numel() > 8000
    stride = 2 if large else 1
    return {name: table[::stride].half() for name, table in tables.items()}


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
