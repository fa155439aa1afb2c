"""The table of window sides, and the calibration that finds it."""

import pytest
import torch

from helpers.scales import Scales, agreement, calibrate
from helpers.targets import score_from_x0
from helpers.windows import LocalScore


def images(N, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(N, 1, 8, 8, generator=generator, dtype=torch.float64)
    return x.clamp(-1, 1)


def test_the_nearest_level_in_log_sigma_counts():
    scales = Scales([0.1, 1.0, 10.0], [3, 5, 7])
    found = [scales(s) for s in (0.1, 0.3, 0.33, 1.0, 3.0, 3.3, 10.0)]
    assert found == [3, 3, 5, 5, 5, 7, 7]


def test_a_float32_sigma_at_the_end_of_the_range_is_inside():
    scales = Scales([0.1, 60.82], [3, 7])
    assert scales(torch.tensor(0.1).item()) == 3
    assert scales(torch.tensor(60.82).item()) == 7


@pytest.mark.parametrize("sigma", [0.0999, 10.01, 0.0, float("nan")])
def test_outside_of_the_range_nothing_is_known(sigma):
    with pytest.raises(ValueError, match=r"outside of the calibrated 0.1 to 10"):
        Scales([0.1, 10.0], [3, 5])(sigma)


@pytest.mark.parametrize(
    "sigmas, sides, message",
    [
        ([], [], "one side"),
        ([1.0, 2.0], [3], "one side"),
        ([2.0, 1.0], [3, 5], "rise"),
        ([0.0, 1.0], [3, 5], "above 0"),
        ([1.0, float("inf")], [3, 5], "rise"),
        ([1.0, 2.0], [3, 4], "odd"),
        ([1.0, 2.0], [-1, 3], "odd"),
    ],
)
def test_tables_that_do_not_fit_together(sigmas, sides, message):
    with pytest.raises(ValueError, match=message):
        Scales(sigmas, sides)


def test_agreement_is_the_cosine_of_the_scores():
    x = images(3, seed=1)
    a, b = (lambda x, sigma: 0.3 * x), (lambda x, sigma: x.flip(-1))
    s, u = (score_from_x0(x, d(x, 0.7), 0.7).flatten(1) for d in (a, b))
    expected = torch.nn.functional.cosine_similarity(s, u)
    torch.testing.assert_close(agreement(a, b, x, 0.7), expected)


def test_agreement_is_not_centred():
    """A constant offset is felt, a factor is not."""
    x = images(3, seed=1)
    a = lambda x, sigma: 0.3 * x  # noqa: E731
    factor = lambda x, sigma: x - 5 * 0.7 * x  # noqa: E731
    offset = lambda x, sigma: 0.3 * x + 1.0  # noqa: E731
    torch.testing.assert_close(agreement(a, factor, x, 0.7), torch.ones(3).double())
    assert (agreement(a, offset, x, 0.7) < 0.9).all()


def test_calibration_finds_the_sides_of_a_local_net():
    """The "net" is itself an LS machine: its own sides come back."""
    data, truth = images(60), Scales([0.2, 0.6, 1.5], [1, 3, 5])
    sigmas = [1.5, 0.6, 0.2]  # on the way down
    xs = [images(5, seed=i) + s * images(5, seed=9) for i, s in enumerate(sigmas)]
    net = LocalScore(data, truth)
    found = calibrate(lambda k: LocalScore(data, k), net, xs, sigmas, [1, 3, 5, 7])
    assert found.sides == truth.sides
    assert found.sigmas.tolist() == truth.sigmas.tolist()


def test_calibration_takes_the_median_of_the_best_sides():
    """Sides 3, 3, 5, 7, 7 are the best of five images: 5; of the first four: 3."""
    x = images(5, seed=1)
    best = torch.tensor([3, 3, 5, 7, 7])

    def net(x, sigma):
        return torch.zeros_like(x)

    def of_side(k):  # an answer that is right, up to a factor, where k is the best
        return lambda x, sigma: torch.where(
            (best[: len(x)] == k)[:, None, None, None], -x, x.flip(-1)
        )

    for n, side in ((5, 5), (4, 3)):
        assert calibrate(of_side, net, [x[:n]], [1.0], [3, 5, 7]).sides == [side]


def test_calibration_needs_a_batch_for_each_sigma():
    net = lambda x, sigma: 0.5 * x  # noqa: E731
    for xs, sigmas, sides in (([], [1.0], [3]), ([images(1)], [1.0], [])):
        with pytest.raises(ValueError, match="a batch for each sigma"):
            calibrate(lambda k: net, net, xs, sigmas, sides)
