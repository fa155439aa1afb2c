"""The script behind the rate-distortion curve, on denoisers whose error is known."""

import pytest
import torch
from test_experiments import script

from helpers import artifacts, bound, data, schedules

RATE = script("rate_distortion")


def images(n=3, level=128):
    return data.to_unit(torch.full((n, 4, 4, 1), level, dtype=torch.uint8).numpy())


def test_a_denoiser_that_knows_the_image_has_no_error():
    schedule = schedules.linear()
    error, L_0 = RATE.errors(
        lambda x, _: images(len(x)), images(), [1, 7], schedule, "cpu", batch=2
    )
    x0, width = images().double(), bound.fixed_variance(schedule)[1].sqrt()
    want = -bound.bits(bound.decoder_log_likelihood(x0, x0, width)).mean()
    assert error.tolist() == [[0] * 3] * 2
    assert L_0.tolist() == pytest.approx([want.item()] * 3)


def test_the_noise_itself_has_the_error_of_the_noise():
    schedule, times = schedules.linear(), [1, 50, 300]
    error, _ = RATE.errors(lambda x, _: x, images(400), times, schedule, "cpu")
    sigma = schedule.sigma[times]
    assert error.mean(1).tolist() == pytest.approx((sigma**2).tolist(), rel=0.05)


def test_the_shipped_table_holds_the_ten_times_of_the_paper():
    found = artifacts.load("results/rate_distortion_cifar10.safetensors")
    assert set(range(1, 1000, 100)) <= set(found["t"].tolist())
    assert found["error"].shape == (len(found["t"]), len(found["L_0"]))
    assert bool((found["error"].mean(1).diff() > 0).all())
