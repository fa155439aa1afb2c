"""The benchmark: how well analytic denoisers predict a trained network.

    python workflow/scripts/agreement.py cifar10 unet dit
    python workflow/scripts/agreement.py celeba32 unet --images 300 --samples 4
    python workflow/scripts/agreement.py cifar10 ddpm --without-sweeps
    python workflow/scripts/agreement.py cifar10 unet --whole

The nets are those of train_locality.py, of seed 0, and their images those that they
were trained on; `ddpm` is the U-Net of train_unet.py, which predicts eps, at full size.
Ten steps of DDIM as the released code of Lukoianov et al. runs it (`agreement.walk`; t
= 901, ..., 101, 1; the image is clipped in each step, the answers are not), all from
the same noises. The analytic denoisers know the first N training images of the nets,
and all of them by mean and covariance. What is free in them is chosen by the error on
clean images that are in no training set, except for `local_score_net`. Writes
data/results/agreement_NAME_NET.json for each net; the closed forms walk once for all
nets. With --whole the filter, the masked denoiser and what is made of both know all
training images, and nothing else is compared: agreement_NAME_NET_whole.json.

An interval is [mean, low, high] over the samples, 95 %, four digits. A list [steps] has
one entry for each of `t`, falling; the last one is the sample. R^2 is
`agreement.released_r2`, MSE in units of [-1, 1], r Pearson's, 0 for a grey answer.

    N, D, side, threshold, samples, few_N, few, patches_N
                      sizes; `few` samples for `sweeps`
    t, sigma          [steps]
    main: nearest, nearest_released (without the factor sqrt(alpha_bar)), optimal,
      smoothed (Scarvelis et al.), wiener, local_score (LS), local_score_net (its sides
      from the net, as in Kamb & Ganguli), crop_mean (PSPC-Square), masked (the
      published rule with an exact softmax), corrected, blend (`helpers.corrected`)
    sweeps (only at the first net), from few_N images; masked, wiener, optimal as above
      output_global, source_row, output_row     other conventions of the mask
      batch_K                                   softmax in batches of K, then the mean;
        the first K makes as many batches as the released code has on CIFAR-10
      threshold_TAU                             other thresholds
      tuned, tempered, weighted, corrected, blend   with the numbers of `chosen`, where
        the first three are only if there are sweeps
      patches                                   ELS, from patches_N images
      trajectory      both on their own walks
      along_model     the net asked along the walk of the model, as in the released code
      along_net       the model asked along the walk of the net
        r2                      [steps] intervals
        mse, r                  [steps] intervals; means in `sweeps`
        median_r2               [steps]
        minus_masked, minus_wiener  [steps] intervals, difference of R^2 by sample; the
          latter in `main` only
      clamped         interval, R^2 of the samples, both cut to [-1, 1]
      seconds         for all of it; a blend takes over what the masked denoiser has
        already answered
    samplers: none (no clipping), answer (each answer clipped, the noise follows from
      it); r2 of the samples by denoiser, intervals
    chosen            [steps] numbers by denoiser; `error`: mse on the clean images
    net_mse, wiener_mse   [steps] intervals, error on clean images, more of them

Numbers only.
"""

import argparse

import torch
from candidates import (
    KNOWN,
    Chosen,
    Variants,
    inside,
    odd_sides,
    simple_denoisers,
    window_denoisers,
)
from levels import Levels
from levels import moments_filter as fitted
from locality_sets import SETS, SIDE, split, stored
from meetings import SCHEDULE, SEED, TIMES, Stand, intervals, sampler_table, summary

from helpers import artifacts, networks, sampling
from helpers.artifacts import Experiment
from helpers.denoisers import Optimal
from helpers.forward import gaussian_noise
from helpers.patches import EquivariantLocalScore
from helpers.scales import Scales, calibrate
from helpers.windows import LocalScore

# Those of the released code; dead leaves as CIFAR-10, toy faces as other grey images.
THRESHOLD = {"cifar10": 0.05, "fashion_mnist": 0.005, "celeba32": 0.02}
THRESHOLD |= {"afhq_cat32": 0.02, "dead_leaves": 0.05, "toy_faces": 0.005}
LEVELS = [SCHEDULE.sigma[t].item() for t in TIMES]
IMAGES, SAMPLES = 10_000, 128
FEW_IMAGES, FEW = 5_000, 32  # of the sweeps
PATCHES = 300  # images of ELS, which compares each place with each place
CLEAN, UNSEEN = 16, 256  # images for the choice of numbers, and for errors
STARTS = 8  # walks of the net, for the sides of LS


def errors(denoise, clean):
    """Mean squared errors on clean images at the levels, intervals."""
    noise = gaussian_noise(torch.Generator().manual_seed(SEED))
    levels = Levels(clean[:UNSEEN], noise)
    return intervals(levels.errors(levels.answers(denoise)))


def calibrated(images, net, starts):
    """The sides of LS that go best with a net, on its own walks."""
    stand, some = Stand(net, starts, {}), images[:KNOWN]
    sides = inside(images.shape[2])
    return calibrate(lambda k: LocalScore(some, k), net, stand.noisy(), LEVELS, sides)


def counts(images, sizes):
    """How many of what, and where along the walk."""
    samples, few_images, few = sizes
    found = {"N": len(images), "few_N": len(images[:few_images])}
    found |= {"patches_N": len(images[:PATCHES]), "samples": samples, "few": few}
    found |= {"D": images[0].numel(), "side": images.shape[2]}
    return found | {"t": TIMES, "sigma": LEVELS}


def many(variants, images, some, sides):
    """What the sweeps compare; `some` of the images, and sides for ELS."""
    wiener = variants.wiener
    rest = {"optimal": Optimal(some), "wiener": wiener} | variants.best(some)
    patches = EquivariantLocalScore(images[:PATCHES], Scales(LEVELS[::-1], sides[::-1]))
    return rest | variants.others(some) | {"patches": patches}


@torch.no_grad()
def everything(
    images, clean, wiener, nets, threshold, sizes, noise, sweeps=True, whole=False
):
    """All tables, by net; `whole`: of the masked denoiser and its relatives alone."""
    samples, few_images, few = sizes
    like, some = clean[:1], images[:few_images]
    xT = sampling.start(samples, like.shape[1:], noise, like)
    starts = sampling.start(STARTS, like.shape[1:], noise, like)
    levels, chosen = Levels(clean[:CLEAN], noise), Chosen(LEVELS)
    variants = Variants(wiener, threshold, chosen)
    variants.choose(some, levels, others=sweeps)
    models = {"wiener": wiener} | variants.best(images)
    if not whole:
        models |= simple_denoisers(images, levels, chosen, noise)
        models |= window_denoisers(images, levels, chosen)
    head = {"threshold": threshold, "wiener_mse": errors(wiener, clean)}
    head |= counts(images, sizes)
    walks, tables = {}, {}
    for kind, net in nets.items():
        stand, known, own = Stand(net, xT, walks), models, {}
        if not whole:
            net_sides = calibrated(images, net, starts)
            own = {"local_score_net": [net_sides(s) for s in LEVELS]}
            walks.pop("local_score_net", None)  # that of another net
            known = models | {"local_score_net": LocalScore(images, net_sides)}
        main = stand.all(known, f"{kind}, main")
        tables[kind] = head | {
            "net_mse": errors(net, clean),
            "main": summary(main, stand, ("wiener", "masked"), full=True),
            "samplers": sampler_table(stand, main, models),
            "chosen": chosen | own,
        }
        if sweeps and len(tables) == 1:
            small = Stand(net, xT[:few], {})
            rest = many(variants, images, some, odd_sides(chosen, like))
            varied = small.all(rest, f"{kind}, sweeps")
            tables[kind]["sweeps"] = summary(varied, small, ("masked",), full=False)
    return tables


def label(name, kind):
    """The shipped weights of a net."""
    return name if kind == "ddpm" else f"locality_{name}_{kind}_0"


def image_side(labels):
    """The size of the images of these nets; ValueError if they differ."""
    stored = [artifacts.manifest()[f"weights/{k}.safetensors"] for k in labels]
    sides = {entry["parameters"]["net"]["image_size"] for entry in stored}
    if len(sides) > 1:
        raise ValueError(f"the nets have images of different sizes, {sorted(sides)}")
    return sides.pop()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=SETS)
    parser.add_argument("nets", nargs="+", help="unet, dit, ..., or ddpm")
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--samples", type=int, default=SAMPLES)
    parser.add_argument("--few-images", type=int, default=FEW_IMAGES)
    parser.add_argument("--without-sweeps", action="store_true")
    parser.add_argument("--whole", action="store_true")
    given = parser.parse_args()
    name, sizes = given.name, (given.samples, given.few_images, FEW)
    arguments = [name, *given.nets, "--images", str(given.images)]
    arguments += ["--samples", str(given.samples)]
    arguments += ["--few-images", str(given.few_images)]
    arguments += ["--without-sweeps"] * given.without_sweeps
    if given.whole:
        arguments = [name, *given.nets, "--whole"]
    parameters = {"few_images": given.few_images, "samples": given.samples}
    if not given.whole:
        parameters["images"] = given.images
    labels = {kind: label(name, kind) for kind in given.nets}
    full = image_side(labels.values()) == SIDE.get(name, 32)
    with Experiment(
        __file__, SEED, stored(name), parameters, arguments=arguments
    ) as run:
        noise = gaussian_noise(torch.Generator().manual_seed(SEED))
        nets = {k: networks.load_denoiser(v, SCHEDULE) for k, v in labels.items()}
        images, clean = split(name, "cuda" if full else "cpu")
        wiener = fitted(images)
        known = images if given.whole else images[: given.images]
        sweeps = not (given.whole or given.without_sweeps)
        rest = (THRESHOLD[name], sizes, noise, sweeps, given.whole)
        tables = everything(known, clean, wiener, nets, *rest)
        end = "_whole" * given.whole
        for kind, table in tables.items():
            run.save(f"results/agreement_{name}_{kind}{end}.json", table)


if __name__ == "__main__":
    main()
