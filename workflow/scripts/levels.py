"""Noisy images at the noise levels of DDIM in ten steps, and what denoisers make of
them; with it the Wiener filter of the benchmark, which is asked again and again.
"""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import torch

from helpers import sampling, schedules
from helpers.metrics import mse
from helpers.streaming import Moments
from helpers.wiener import Wiener

WALKS = 8  # starts of DDIM


class Run(NamedTuple):
    """A denoiser and what it gave."""

    denoise: Callable
    answers: list[torch.Tensor]  # to the noisy images of each level
    end: torch.Tensor  # of DDIM


class Levels:
    """Noisy images at the levels of DDIM, and what denoisers make of them."""

    def __init__(self, clean, noise):
        self.schedule = schedules.linear()
        self.times = schedules.leading(self.schedule.T, 10)
        self.sigmas = [self.schedule.sigma[t].item() for t in self.times]
        self.clean, eps = clean, noise(clean)
        self.noisy = [clean + s * eps for s in self.sigmas]
        self.xT = sampling.start(WALKS, clean.shape[1:], noise, clean)

    def answers(self, denoise):
        """One batch of answers for each level."""
        return [denoise(x, s) for x, s in zip(self.noisy, self.sigmas)]

    def end(self, denoise):
        """Samples of DDIM in ten steps."""
        walk = sampling.ddim(denoise, self.xT, self.schedule, self.times)
        return sampling.last(walk).x0_hat

    def run(self, denoise):
        """Both."""
        return Run(denoise, self.answers(denoise), self.end(denoise))

    def errors(self, answers):
        """Mean squared error of the answers to the clean images, a row each level."""
        return torch.stack([mse(a, self.clean) for a in answers])


def moments_filter(images):
    """The Wiener filter of these images; it computes S once for each noise level."""
    moments = Moments()
    for block in images.split(4096):
        moments.update(block.double())
    wiener = Wiener(moments.mean, moments.cov(), images.shape[1:])
    known = cache(wiener.matrix)
    wiener.matrix = lambda sigma: known(sigma).clone()
    return wiener
