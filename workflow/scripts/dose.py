"""Dose and response: how a net's field follows what was planted in the covariance.

    python workflow/scripts/dose.py w_cifar10

gathers the runs of train_edited.py that are there, of one edit or, without a name, of
all. data/results/dose_EDIT_NET.json has a line y = slope x + intercept through the
strengths of an edit, at each noise level; y is the strength of the net's field at the
planted places, mean over seeds and inputs. Lists are [sigmas] where nothing else is
said; Interval: [value, low, high], 95 %, percentiles of a bootstrap that draws seeds
and noised inputs, the same ones at all strengths (they see the same images and noise).
With two seeds it says little about the spread of seeds: `seed_spread` has it beside.

    doses, seeds, sigma
    planted_covariance             [doses], x of the first line
    wiener, net, control           [doses][sigmas]: x of the second line, y, and the
                                   strength at the places that were not planted
    net_interval                   [doses][sigmas] Intervals
    seed_spread                    largest standard deviation over seeds at any dose
    on_covariance, on_wiener, control_on_covariance
      slope, intercept, r2         Intervals; r2 = squared correlation of x and y
    prediction_r2                  Intervals: 1 - |y - x|^2 / |y - mean y|^2 with x the
                                   Wiener filter's strength: no free parameter
    pooled                         on_wiener over all doses and noise levels at once:
      slope, intercept, r2, prediction_r2   an Interval each
"""

import argparse
from collections import defaultdict

import torch
from torch import Tensor
from watched import short

from helpers import artifacts
from helpers.artifacts import Experiment

DRAWS, START = 2000, "results/edited_"


def runs():
    """Tables of the runs: {(edit, net): {(strength, seed): table}}."""
    found = defaultdict(dict)
    for name, entry in artifacts.manifest().items():
        if name.startswith(START) and name.endswith(".json"):
            settings = entry["parameters"]
            key = settings["edit"], settings["kind"]
            dose = settings["strength"], entry["seed"]
            found[key][dose] = artifacts.load(name)
    return found


def complete(tables):
    """The strengths, rising, and the seeds that were run at each of them."""
    doses = sorted({dose for dose, _ in tables})
    seeds = {seed for _, seed in tables}
    seeds = [s for s in sorted(seeds) if all((d, s) in tables for d in doses)]
    if not seeds or len(doses) < 3:
        raise ValueError(f"{sorted(tables)}: needs 3 strengths with one seed in common")
    return doses, seeds


def stacked(tables, key, doses, seeds):
    """One entry of the tables, (doses, seeds, ...), float64."""
    rows = [[tables[dose, seed][key] for seed in seeds] for dose in doses]
    return torch.tensor(rows, dtype=torch.float64)


def resampled(values, draws, generator):
    """Means over drawn seeds and inputs of (doses, seeds, sigmas, inputs).

    (draws + 1, doses, sigmas); the first is the mean of them all.
    """
    seeds, inputs = values.shape[1], values.shape[3]

    def share(n):
        picks = torch.randint(n, (draws, n), generator=generator)
        counts = torch.nn.functional.one_hot(picks, n).double().mean(dim=1)
        return torch.cat([counts.new_full((1, n), 1 / n), counts])

    weights = share(seeds), share(inputs)
    return torch.einsum("dsgi,bs,bi->bdg", values, *weights)


def line(x: Tensor, y: Tensor):
    """Least squares y = slope x + intercept along the last axis; r2 is symmetric."""
    x, y = torch.broadcast_tensors(x, y)
    u, v = (a - a.mean(dim=-1, keepdim=True) for a in (x, y))
    uv, uu, vv = ((a * b).sum(dim=-1) for a, b in ((u, v), (u, u), (v, v)))
    slope = uv / uu
    intercept = y.mean(dim=-1) - slope * x.mean(dim=-1)
    return {"slope": slope, "intercept": intercept, "r2": uv.square() / (uu * vv)}


def prediction_r2(x: Tensor, y: Tensor):
    """How much of y the prediction x explains as it is, along the last axis."""
    spread = (y - y.mean(dim=-1, keepdim=True)).square().sum(dim=-1)
    return 1 - (y - x).square().sum(dim=-1) / spread


def intervals(draws: Tensor):
    """[value, low, high] from (draws + 1, ...), the first being the value."""
    edges = torch.tensor([0.025, 0.975], dtype=torch.float64)
    ends = draws[1:].quantile(edges, dim=0)
    return torch.stack([draws[0], *ends], dim=-1).tolist()


def each(fit):
    return {key: intervals(value) for key, value in fit.items()}


def table(tables, seed=0):
    """All that is said about one edit and one net."""
    doses, seeds = complete(tables)
    first = {dose: tables[dose, seeds[0]] for dose in doses}
    covariance = torch.tensor([first[d]["planted_covariance"] for d in doses]).double()
    wiener = torch.tensor([first[d]["wiener"] for d in doses]).double()  # (doses, g)
    values = stacked(tables, "strengths", doses, seeds)
    controls = stacked(tables, "controls", doses, seeds)
    generator = torch.Generator().manual_seed(seed)
    y = resampled(values, DRAWS, generator)  # (draws + 1, doses, sigmas)
    control = resampled(controls, DRAWS, generator)
    by_sigma = y.transpose(1, 2)  # (draws + 1, sigmas, doses)
    flat = wiener.flatten(), y.flatten(1)
    found = {"doses": doses, "seeds": seeds, "sigma": first[doses[0]]["sigma"]}
    found |= {"planted_covariance": covariance, "wiener": wiener}
    found |= {"net": y[0], "control": control[0], "net_interval": intervals(y)}
    if len(seeds) > 1:
        found["seed_spread"] = values.mean(dim=3).std(dim=1).amax(dim=0)
    return found | {
        "on_covariance": each(line(covariance, by_sigma)),
        "on_wiener": each(line(wiener.T, by_sigma)),
        "control_on_covariance": each(line(covariance, control.transpose(1, 2))),
        "prediction_r2": intervals(prediction_r2(wiener.T, by_sigma)),
        "pooled": each(line(*flat) | {"prediction_r2": prediction_r2(*flat)}),
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("edit", nargs="?", help="all that are there, if none is named")
    only = parser.parse_args().edit
    found = {key: v for key, v in runs().items() if only in (None, key[0])}
    if only and not found:
        parser.error(f"no run of {only} is recorded in data/manifest.json")
    for (edit, net), tables in found.items():
        try:
            doses, seeds = complete(tables)
        except ValueError as reason:
            print(f"{edit} {net} left out: {reason}")
            continue
        settings = {"edit": edit, "net": net, "doses": doses, "seeds": seeds}
        with Experiment(__file__, 0, [], settings, arguments=[edit]) as run:
            run.save(f"results/dose_{edit}_{net}.json", short(table(tables)))


if __name__ == "__main__":
    main()
