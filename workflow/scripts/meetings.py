"""Analytic denoisers and a trained net on the same walks, and the tables of that.

Numbers and intervals are those that agreement.py describes.
"""

import time
from typing import NamedTuple

import torch
from tqdm import tqdm
from watched import short

from helpers import agreement, sampling, schedules
from helpers.agreement import released_r2, single_step, trajectory
from helpers.denoisers import clipped
from helpers.targets import to_sigma

SEED = 0
SCHEDULE = schedules.linear()
TIMES = schedules.leading(SCHEDULE.T, 10)


class Meeting(NamedTuple):
    """A model, and how it compares with the net."""

    steps: list  # its walk
    trajectory: agreement.Scores
    along_model: agreement.Scores
    along_net: agreement.Scores
    seconds: float


class Stand:
    """A net, its walk from some noises, and the models that meet it there.

    `walks` keeps those of the models, for the next net.
    """

    def __init__(self, net, xT, walks):
        self.net, self.xT, self.walks = net, xT, walks
        self.net_steps = self.walk(net)

    def walk(self, denoise):
        return list(agreement.walk(denoise, self.xT, SCHEDULE, TIMES))

    def meet(self, name, denoise):
        """The three comparisons."""
        begun = time.perf_counter()
        if name not in self.walks:
            self.walks[name] = self.walk(denoise)
        steps = self.walks[name]
        net, model = remembering(self.net, self.net_steps), remembering(denoise, steps)
        scores = (
            trajectory(steps, self.net_steps),
            single_step(net, steps, SCHEDULE, of_net=False),
            single_step(model, self.net_steps, SCHEDULE),
        )
        return Meeting(steps, *scores, time.perf_counter() - begun)

    def all(self, denoisers, label):
        bar = tqdm(denoisers.items(), desc=label)
        return {name: self.meet(name, d) for name, d in bar}

    def noisy(self):
        """What the net saw on its walk, at each level."""
        return [to_sigma(s.xt, s.t, SCHEDULE)[0] for s in self.net_steps]


def remembering(denoise, steps):
    """The denoiser with its first answer at hand: all walks begin at the same noise."""
    begin = to_sigma(steps[0].xt, steps[0].t, SCHEDULE)[0]

    def answer(x, sigma):
        return steps[0].x0_hat if torch.equal(x, begin) else denoise(x, sigma)

    return answer


def intervals(values):
    """Means over the samples with their intervals, always from the same draws."""
    found = agreement.intervals(values, torch.Generator().manual_seed(SEED))
    return short(found)


def scores_table(scores, others, full):
    """Intervals of the measures, and of the differences of R^2 to other denoisers."""
    table = {"r2": intervals(scores.r2)}
    table["median_r2"] = short(scores.r2.median(dim=1).values)
    for name in ("mse", "r"):
        values = getattr(scores, name).nan_to_num(0)
        table[name] = intervals(values) if full else short(values.mean(dim=1))
    for name, other in others.items():
        table[f"minus_{name}"] = intervals(scores.r2 - other.r2)
    return table


def summary(meetings, stand, against, full):
    """Everything about each model, next to other denoisers."""
    tables, end = {}, stand.net_steps[-1].x0_hat.clamp(-1, 1)
    for name, found in meetings.items():
        others = [meetings[k] for k in against]
        table = {}
        for part in Meeting._fields[1:4]:
            pairs = {k: getattr(m, part) for k, m in zip(against, others) if k != name}
            table[part] = scores_table(getattr(found, part), pairs, full)
        cut = found.steps[-1].x0_hat.clamp(-1, 1)
        table["clamped"] = intervals(released_r2(cut.double(), end.double()))
        tables[name] = table | {"seconds": short(found.seconds)}
    return tables


def sampler_table(stand, meetings, denoisers):
    """R^2 of the samples with two other samplers.

    All but the Wiener filter and what is made from it stay in [-1, 1] and walk the same
    way with all three.
    """
    rows = {}
    for label, way in (("none", lambda d: d), ("answer", clipped)):

        def end(denoise, way=way):
            walk = sampling.ddim(way(denoise), stand.xT, SCHEDULE, TIMES)
            return sampling.last(walk).x0_hat.double()

        u = end(stand.net)
        ends = {k: m.steps[-1].x0_hat.double() for k, m in meetings.items()}
        ends["wiener"] = end(denoisers["wiener"])
        for k in ("corrected", "blend"):
            ends.pop(k, None)
        rows[label] = {k: intervals(released_r2(a, u)) for k, a in ends.items()}
    return rows
