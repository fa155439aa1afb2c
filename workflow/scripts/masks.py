"""The masked denoiser of Lukoianov et al.: what its conventions and its batches do.

    python workflow/scripts/masks.py mnist
    python workflow/scripts/masks.py cifar10 --images 50000

Ten noise levels, those of DDIM in ten steps (t = 901, ..., 101, 1); noisy test images
with one noise at all levels, and a few starts of DDIM. The masks come from the moments
of the N training images, with the threshold of the released code. Writes
data/results/masks_NAME.json. Interval: [mean, low, high] over the images, 95 %. A list
[levels] has one entry for each of `t`; R^2 is `metrics.r2_score`.

    N, D, threshold, tests, walks  sizes; noisy images (`tests`) and starts (`walks`)
    t, sigma                       [levels], falling
    constant                       share of coordinates that do not vary in the N images
    conventions: source_global (the released code), output_global, source_row,
      output_row: which pixel's gain divides, and the largest of what counts
      density                      [levels], share of ones in the mask
      alone                        [levels], share of outputs that see themselves only
      largest                      [levels], the largest entry of R
      still                        [levels], share of coordinates whose gain counts as 0
      mse                          [levels] intervals, answer to the clean test image
      r2                           [levels] intervals, answer to that of source_global
      end_r2                       interval, end of DDIM to that of source_global
    thresholds (source_global)
      threshold                    [thresholds]
      density                      [thresholds][levels]
      mse                          [thresholds][levels] intervals
      best                         [levels], the threshold with the least mse
      net_r2                       [thresholds][levels] intervals, to the net (if any)
    batches (source_global): a softmax inside of each batch, and the mean of the batches
      K                            [sizes], the last one is N, which is exact
      mse, r2                      [sizes][levels] intervals; r2 to the exact answer
      end_r2                       [sizes] intervals, end of DDIM to the exact one
      net_r2                       [sizes][levels] intervals, to the net (if any)
    tuned: local_score (LS), crop_mean (PSPC-Square), smoothed (Scarvelis et al.); the
      value with the least error at each level on other images, from the training split
      value                        [values], sides of windows, or smoothing in z
      mse                          [values][levels], on those other images
      best                         [levels], the value taken
    denoisers: mean, nearest, optimal, wiener, masked (source_global), local_score,
      crop_mean, smoothed, and net, where the book ships one for this set
      mse                          [levels] intervals, to the clean test image
      net_r2                       [levels] intervals, to the answer of the net (if any)

Numbers only.
"""

import argparse

import torch
from levels import WALKS, Levels, moments_filter
from tqdm import tqdm

from helpers import artifacts, data, networks, sampling
from helpers.artifacts import Experiment
from helpers.denoisers import Optimal
from helpers.forward import gaussian_noise
from helpers.masked import Masked
from helpers.masks import CONSTANT, gain_ratio, wiener_mask
from helpers.metrics import bootstrap, r2_score
from helpers.scales import calibrate
from helpers.smoothed import Nearest, Smoothed
from helpers.targets import to_sigma
from helpers.windows import CropMean, LocalScore

SEED = 0
SETS = {"mnist": (12_000, 0.005), "cifar10": (10_000, 0.05)}  # N, threshold
IMAGES = 32
OTHERS = 8  # images of the training split that are kept for the choice of windows
THRESHOLDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
BATCHES = (128, 512, 2048)
SIDES = (3, 5, 7, 9, 11, 15, 21, 31)
SMOOTHING = (0.05, 0.1, 0.2, 0.4, 0.8)
DRAWS = 8  # noises of the smoothed denoiser
CONVENTIONS = {
    "source_global": {},
    "output_global": {"by_output": True},
    "source_row": {"per_row": True},
    "output_row": {"by_output": True, "per_row": True},
}


def interval(values):
    """Mean and 95 % interval over images."""
    generator = torch.Generator().manual_seed(SEED)
    return list(bootstrap(values.double(), generator))


def intervals(rows):
    return [interval(values) for values in rows]


def agreement(answers, reference):
    """R^2 of the answers at each level to those of another denoiser."""
    return intervals(map(r2_score, answers, reference))


def masked(images, wiener, threshold, **convention):
    """The masked denoiser, with the mask of the noise level."""
    return Masked(images, lambda s: wiener_mask(wiener, s, threshold, **convention))


def mask_table(denoise, levels):
    """How full the masks of the levels are."""
    masks = [denoise.sums(s).mask for s in levels.sigmas]
    return {
        "density": [mask.double().mean() for mask in masks],
        "alone": [(mask.sum(dim=1) == 1).double().mean() for mask in masks],
    }


def per_batch(whole, K):
    """The rule of the released code: one softmax in each batch, and the mean of them.

    A short last batch counts as much as the others.
    """
    parts = [Masked(batch, whole.mask) for batch in whole.data.split(K)]
    for part in parts:
        part.plans = whole.plans  # the same masks
    return lambda x, sigma: sum(part(x, sigma) for part in parts) / len(parts)


def convention_table(images, wiener, threshold, levels):
    """The four conventions, compared with the first; and what the first one gave."""
    table, first = {}, None
    gains = [wiener.matrix(s).diagonal() for s in levels.sigmas]
    for label, convention in tqdm(CONVENTIONS.items(), "conventions"):
        run = levels.run(masked(images, wiener, threshold, **convention))
        first = first or run
        by_output = convention.get("by_output", False)
        ratios = [gain_ratio(wiener, s, by_output).max() for s in levels.sigmas]
        table[label] = mask_table(run.denoise, levels) | {
            "largest": ratios,
            "still": [(gain < CONSTANT).double().mean() for gain in gains],
            "mse": intervals(levels.errors(run.answers)),
            "r2": agreement(run.answers, first.answers),
            "end_r2": interval(r2_score(run.end, first.end)),
        }
    return table, first


def to_net(rows, net):
    """Agreement of each row of answers with those of the net, {} without a net."""
    return {"net_r2": [agreement(answers, net) for answers in rows]} if net else {}


def threshold_table(wiener, threshold, exact, levels, net):
    """Errors for each threshold, and the best one at each level; `exact` has one."""
    masks, errors, all_answers = [], [], []
    for tau in tqdm(THRESHOLDS, "thresholds"):
        if tau == threshold:
            denoise, answers = exact.denoise, exact.answers
        else:
            denoise = masked(exact.denoise.data, wiener, tau)
            answers = levels.answers(denoise)
        all_answers.append(answers)
        errors.append(levels.errors(answers))
        masks.append(mask_table(denoise, levels))
    best = torch.stack(errors).mean(dim=2).argmin(dim=0)
    return {
        "threshold": THRESHOLDS,
        "density": [m["density"] for m in masks],
        "mse": [intervals(rows) for rows in errors],
        "best": [THRESHOLDS[i] for i in best],
    } | to_net(all_answers, net)


def batch_table(exact, levels, net):
    """What the mean over batches does to the answers and to the samples."""
    N = len(exact.denoise.data)
    sizes = [K for K in BATCHES if K < N]
    parts = (levels.run(per_batch(exact.denoise, K)) for K in tqdm(sizes, "batches"))
    runs = [*parts, exact]
    return {
        "K": [*sizes, N],
        "mse": [intervals(levels.errors(run.answers)) for run in runs],
        "r2": [agreement(run.answers, exact.answers) for run in runs],
        "end_r2": [interval(r2_score(run.end, exact.end)) for run in runs],
    } | to_net([run.answers for run in runs], net)


def tune(family, values, levels):
    """The best value at each level, and the denoiser that uses it there."""
    errors = [
        levels.errors(levels.answers(family(v))).mean(dim=1)
        for v in tqdm(values, "tuning")
    ]
    errors = torch.stack(errors)  # (values, levels)
    best = [values[i] for i in errors.argmin(dim=0)]
    chosen = dict(zip(levels.sigmas, best))
    table = {"value": values, "mse": errors, "best": best}
    return table, lambda x, sigma: family(chosen[sigma])(x, sigma)


def tuned_denoisers(images, levels, noise):
    """LS, PSPC-Square and the smoothed denoiser, and how they were tuned."""
    C, H, W = images.shape[1:]
    crops = [s for s in SIDES if s < min(H, W)] + [min(H, W)]  # the last is optimal
    noises = noise(images.new_empty(DRAWS, C, H, W))
    found = {
        "local_score": tune(lambda k: LocalScore(images, k), SIDES, levels),
        "crop_mean": tune(lambda s: CropMean(images, s), crops, levels),
        "smoothed": tune(lambda s: Smoothed(images, noises, s), SMOOTHING, levels),
    }
    tables, denoisers = zip(*found.values())
    return dict(zip(found, tables)), dict(zip(found, denoisers))


def simple_denoisers(images, wiener):
    """Those without a number to choose."""
    mean = wiener.mu.to(images).view(images.shape[1:])
    return {
        "mean": lambda x, sigma: mean.expand_as(x),
        "nearest": Nearest(images),
        "optimal": Optimal(images),
        "wiener": wiener,
    }


def network(name, schedule):
    """The shipped net as a denoiser, {} if there is none for this set."""
    if f"weights/{name}.safetensors" not in artifacts.manifest():
        return {}
    net = networks.load_net(name)
    return {"net": networks.denoiser(net, schedule, clip=True)}


def calibrated(images, net, levels):
    """LS with the sides of Kamb & Ganguli: nearest to the net along its own walks."""
    walk = sampling.ddim(net, levels.xT, levels.schedule, levels.times)
    xs = [to_sigma(step.xt, step.t, levels.schedule)[0] for step in walk]
    sides = [k for k in SIDES if k <= images.shape[2]]
    scales = calibrate(lambda k: LocalScore(images, k), net, xs, levels.sigmas, sides)
    return [scales(s) for s in levels.sigmas], LocalScore(images, scales)


def denoiser_table(answers, levels):
    """Errors of all denoisers, and their agreement with the net, if there is one."""
    table = {k: {"mse": intervals(levels.errors(a))} for k, a in answers.items()}
    for label in answers if "net" in answers else ():
        table[label]["net_r2"] = agreement(answers[label], answers["net"])
    return table


@torch.no_grad()
def everything(name, images, others, test, threshold, noise):
    """All tables, for the training images, those for tuning and those for testing."""
    levels, calibration = Levels(test, noise), Levels(others, noise)
    wiener = moments_filter(images)
    table = {
        "N": len(images),
        "D": images[0].numel(),
        "threshold": threshold,
        "tests": len(test),
        "walks": len(levels.xT),
        "t": levels.times,
        "sigma": levels.sigmas,
        "constant": (images.flatten(1).var(dim=0) == 0).double().mean(),
    }
    table["tuned"], denoisers = tuned_denoisers(images, calibration, noise)
    denoisers |= simple_denoisers(images, wiener) | network(name, levels.schedule)
    if "net" in denoisers:
        net = denoisers["net"]
        sides, denoisers["local_score_net"] = calibrated(images, net, calibration)
        table["calibrated"] = sides
    answers = {
        k: levels.answers(d) for k, d in tqdm(denoisers.items(), desc="denoisers")
    }
    conventions, exact = convention_table(images, wiener, threshold, levels)
    table["conventions"] = conventions
    answers["masked"] = exact.answers
    table["denoisers"] = denoiser_table(answers, levels)
    table["batches"] = batch_table(exact, levels, answers.get("net"))
    table["thresholds"] = threshold_table(
        wiener, threshold, exact, levels, answers.get("net")
    )
    return table


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=SETS)
    parser.add_argument("--images", type=int, help="training images")
    parser.add_argument("--tests", type=int, default=IMAGES, help="noisy images")
    given = parser.parse_args()
    N, threshold = SETS[given.name]
    N = given.images or N
    arguments = [given.name, "--images", str(N), "--tests", str(given.tests)]
    sets = [f"{given.name}-train", f"{given.name}-test"]
    parameters = {"images": N, "tests": given.tests, "walks": WALKS}
    with Experiment(__file__, SEED, sets, parameters, arguments=arguments) as run:
        noise = gaussian_noise(torch.Generator().manual_seed(SEED))
        images, test = (data.load(given.name, s) for s in ("train", "test"))
        images, others = images[:-OTHERS][:N], images[-OTHERS:]
        test = test[: given.tests]
        table = everything(given.name, images, others, test, threshold, noise)
        run.save(f"results/masks_{given.name}.json", table)


if __name__ == "__main__":
    main()
