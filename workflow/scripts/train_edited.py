"""Train one net on images whose statistics were edited, and look for it in its fields.

    python workflow/scripts/train_edited.py w_cifar10 dit 0.12 --seed 1 [--ship]

Nets (`_long`: four times the steps, `_longest`: sixteen times), sizes, recipe, noise
levels and held-out images are those of train_locality.py, to which the run of strength
0 of an edit is the nearest. All runs of an edit see the same images with the same noise
in the same order, so that only the strength differs.

    w_cifar10          a W of pixels moves by s a, a uniform of variance 1; the contrast
                       given up for it is that of the largest strength, at all of them
    mirror_cifar10     the right half is by the share g the mirrored left half
    eyes               toy faces; with probability rho both eyes are alike
    whitened_celeba32  faces whitened by the share w, of contrast as large as fits
    shifted_celeba32   faces moved on the torus, by that share of the side
    scrambled_cifar10  that share of the places in one random order, the same for all

The planted places of an output (channel 0 of a pixel) are the other pixels of the W;
the 3 x 3 pixels about the mirror pixel; the other eye; the places to which the eight
neighbours of its pixel are moved when all are. The controls are as many places at the
same distances that are not planted (`responses.controls`). The strength of a field is
its sum there, over all channels, mean over the outputs. The Wiener filter is the exact
one, of the moments of the unedited training images (of the law, for toy faces)
and the closed form of `helpers.planted`: see edited_sets.py.

data/results/edited_EDIT_NET_STRENGTH_SEED.json has lists [sigmas] where nothing else is
said; Interval: [value, low, high], 95 %.

    edit, strength_of_edit, training_images, held_out, parameters, inputs, sigma
    outputs, pixels                names, and (row, column)
    places                         [outputs], number of planted places
    distance, control_distance     [outputs], their mean distance from the output
    contrast                       rms of the edited images about their mean
    planted_covariance, control_covariance   mean over pairs of output and place, exact
    step, held_out_loss            [steps], `training.v_loss`
    along                          [steps][sigmas], the strength of the averaged field
    strength, control              Intervals, final, a bootstrap over the noised inputs
    strengths, controls            [sigmas][inputs], from which they come
    wiener, wiener_control         of the exact row
    wiener_fitted                  the same of a filter fitted to the edited images
    wiener_error                   its standard error, to first order; for an edit that
                                   draws nothing wiener is itself such a fit
    energy, wiener_energy          share of the energy of a field at the planted places
    pearson, r2                    [sigmas][outputs], averaged field against exact row
    radius, within5, wiener_radius, wiener_within5   [sigmas][outputs]
    mse, mse_wiener                error of a held-out image, a number

With --ship edited_EDIT_NET_STRENGTH_SEED.safetensors has the averaged field `final`,
summed over the colours of the input, float16 (sigmas, outputs, H, W).

Killed and started again, a run goes on from the checkpoint in data/cache/. No image.
"""

import argparse

import torch
from edited_sets import STRENGTHS, edited, seeded
from locality_sets import stored
from probe import (
    INPUTS,
    SIGMAS,
    WITHIN,
    Probe,
    agreement,
    errors,
    filter_rows,
    net_rows,
)
from train_unet import held_out_loss, processes
from watched import PREDICTS, build, denoiser, follow, length, short

from helpers import fields, metrics, networks, responses, schedules, training
from helpers.artifacts import Experiment
from helpers.recipe import Recipe, plain_values
from helpers.wiener import Wiener

KINDS = ("unet", "dit", "mlp", "unet_long", "dit_long", "mlp_long", "dit_longest")


def probe(found, seed):
    """What a net is asked; the rows are those of the exact filter."""
    eps = torch.randn(found.held_out.shape, generator=seeded(seed))
    empty = Probe(found.outputs, found.held_out, eps, found.wiener, torch.empty(0))
    return empty._replace(fields=filter_rows(empty))


def shapes(field, outputs):
    """Radius and energy in the window, (sigmas, outputs) each."""
    each = list(enumerate(outputs.values()))
    radius = [fields.effective_radius(field[:, k], place) for k, place in each]
    within = [fields.energy_within(field[:, k], place, WITHIN) for k, place in each]
    return {"radius": torch.stack(radius, 1), "within5": torch.stack(within, 1)}


def of_inputs(found, places):
    """The strength at each input, (sigmas, inputs)."""
    return responses.strength(found.double().transpose(1, 2), places)


def with_intervals(name, values):
    """Means over the inputs with their intervals, and what they come from."""
    generator = seeded(0)
    intervals = [list(metrics.bootstrap(row, generator)) for row in values]
    return {name: intervals, f"{name}s": values}


def head(edit, strength, found, asked):
    """What is known before the training."""
    controls, shape, pixels = found.controls(), found.images.shape[1:], asked.pixels()
    table = {"edit": edit, "strength_of_edit": strength}
    table |= {"training_images": len(found.images), "held_out": len(found.held_out)}
    table |= {"inputs": INPUTS, "sigma": SIGMAS, "outputs": list(found.outputs)}
    table["pixels"] = [list(place) for place in found.outputs.values()]
    table["places"] = [int(mask.sum()) for mask in found.places]
    table["contrast"] = found.cov.diagonal().mean().sqrt().item()
    for name, places in (("planted", found.places), ("control", controls)):
        value = responses.covariance(found.cov, shape, pixels, places)
        table[f"{name}_covariance"] = value
    table["distance"] = distances(found.places, found.outputs)
    table["control_distance"] = distances(controls, found.outputs)
    table["wiener"] = responses.strength(asked.fields, found.places)
    table["wiener_control"] = responses.strength(asked.fields, controls)
    table["wiener_energy"] = responses.energy(asked.fields, found.places)
    table |= {
        f"wiener_{key}": value
        for key, value in shapes(asked.fields, found.outputs).items()
    }
    table["mse_wiener"] = errors(found.wiener, asked, "cpu").mean(dim=1)
    fitted = asked._replace(wiener=Wiener.fit(found.images))
    table["wiener_fitted"] = responses.strength(filter_rows(fitted), found.places)
    table["wiener_error"] = [
        responses.strength_error(
            found.wiener, found.images, pixels, found.places, sigma
        )
        for sigma in SIGMAS
    ]
    return table


def distances(places, outputs):
    """Mean distance of the places from their output."""
    pairs = zip(places, outputs.values())
    gaps = [(mask.nonzero() - torch.tensor(at)).double() for mask, at in pairs]
    return [gap.norm(dim=1).mean().item() for gap in gaps]


def last_words(denoise, found, asked, device):
    """What is measured of the trained net alone, and its averaged field."""
    rows = net_rows(denoise, asked, device)
    mean = fields.average(rows).mean
    table = with_intervals("strength", of_inputs(rows, found.places))
    table |= with_intervals("control", of_inputs(rows, found.controls()))
    table["energy"] = responses.energy(mean, found.places)
    match = agreement(mean, asked)
    table |= {key: match[key] for key in ("pearson", "r2")}
    table["mse"] = errors(denoise, asked, device).mean(dim=1)
    return table | shapes(mean, found.outputs), mean


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("edit", choices=STRENGTHS)
    parser.add_argument("net", choices=KINDS)
    parser.add_argument("strength", type=float)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ship", action="store_true", help="save the field as well")
    options = parser.parse_args()
    edit, strength, seed = options.edit, options.strength, options.seed
    if strength not in STRENGTHS[edit]:
        parser.error(f"the strengths of {edit} are {STRENGTHS[edit]}, not {strength}")
    label = f"edited_{edit}_{options.net}_{strength:g}_{seed}"
    device = "cuda" if torch.cuda.is_available() else "cpu"
    fabric = processes("bf16-mixed" if device == "cuda" else "32-true")
    fabric.launch()

    schedule, found = schedules.linear(), edited(edit, strength, device)
    steps = length(options.net, device)
    recipe = Recipe(**steps, decay="cosine", flips=False, seed=seed)
    torch.manual_seed(seed)
    net = build(options.net, found.images.shape[1:], device)
    asked, place = probe(found, seed=2), fabric.device
    once = Recipe(1, batch=len(found.held_out), flips=False, seed=3)
    noisy = training.draw(found.held_out, schedule, once, 0)

    def watch(net):
        rows = net_rows(denoiser(net, schedule), asked, place)
        return {
            "held_out_loss": held_out_loss(
                net, noisy, schedule, fabric, training.v_loss
            ),
            "along": of_inputs(rows, found.places).mean(dim=1),
        }

    settings = {"net": plain_values(net.config), "recipe": vars(recipe)}
    settings |= {"kind": options.net, "side": found.images.shape[-1]}
    settings |= {"predicts": PREDICTS}
    settings |= {"edit": edit, "strength": strength}
    sets = [] if edit == "eyes" else stored(edit.partition("_")[2])
    machine = training.describe(fabric)
    arguments = [edit, options.net, f"{strength:g}", "--seed", str(seed)]
    arguments += ["--ship"] * options.ship
    with Experiment(__file__, seed, sets, settings, machine, arguments) as run:
        ema, log = follow(net, found.images, schedule, recipe, fabric, label, watch)
        if not fabric.is_global_zero:
            return
        run.started -= log.earlier
        table = head(edit, strength, found, asked) | log.table()
        table["parameters"] = networks.parameters(net)
        denoise = denoiser(ema, schedule)
        last, mean = last_words(denoise, found, asked, place)
        run.save(f"results/{label}.json", short(table | last))
        if options.ship:
            final = {"final": mean.sum(dim=2).half()}
            run.save(f"results/{label}.safetensors", final, precision="float16")


if __name__ == "__main__":
    main()
