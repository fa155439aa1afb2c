"""Schedules against golden values, and the properties that any schedule must have."""

import pytest
import torch
from golden import GOLDEN, RTOL
from hypothesis import given
from hypothesis import strategies as st

from helpers import bound, forward, schedules

NAMED = {
    "linear": schedules.linear(),
    "quad": schedules.quadratic(),
    "const0.02": schedules.constant(),
    "warmup10": schedules.warmup(share=0.1),
    "warmup50": schedules.warmup(share=0.5),
    "jsd": schedules.jsd(),
    "sigmoid": schedules.sigmoid(),
    "scaled_linear_SD": schedules.quadratic(beta_1=0.00085, beta_T=0.012),
    "cosine1000": schedules.cosine(),
    "cosine4000": schedules.cosine(T=4000),
    "exp(-12u)": schedules.exponential(),
}


@pytest.mark.parametrize("name", NAMED)
def test_named_schedules_have_the_golden_values(name):
    golden, schedule = GOLDEN["schedules"][name], NAMED[name]
    assert golden["T"] == schedule.T
    for t, beta in golden["beta"].items():
        assert schedule.beta[int(t)].item() == pytest.approx(beta, rel=RTOL)
    for t, alpha_bar in golden["abar"].items():
        # a sum of 4000 logarithms against a product of 4000 factors
        assert schedule.alpha_bar[int(t)].item() == pytest.approx(
            alpha_bar, rel=RTOL, abs=1e-15
        )
    assert schedule.beta.sum().item() == pytest.approx(golden["sum_beta"], rel=RTOL)


def test_every_schedule_of_the_sheet_is_covered():
    assert set(NAMED) == set(GOLDEN["schedules"])


@pytest.mark.parametrize("row", GOLDEN["linear1000"], ids=lambda row: f"t={row['t']}")
def test_table_of_the_linear_schedule(row):
    schedule, t = schedules.linear(), row["t"]
    expected = {
        "beta": schedule.beta[t],
        "abar": schedule.alpha_bar[t],
        "sqrt_abar": schedule.alpha_bar[t].sqrt(),
        "sqrt_1mabar": schedule.noise_variance[t].sqrt(),
        "snr": schedule.snr[t],
        "log10snr": schedule.snr[t].log10(),
        "btilde": forward.posterior_variance(schedule, t, t - 1),
        "c0": forward.posterior_coefficients(schedule, t, t - 1)[0],
        "ct": forward.posterior_coefficients(schedule, t, t - 1)[1],
        "lam_beta": bound.vlb_weight(schedule, t, schedule.beta[t]),
        "lam_btil": bound.vlb_weight(
            schedule, t, forward.posterior_variance(schedule, t, t - 1)
        ),
    }
    assert set(expected) == set(row) - {"t"}
    for key, value in expected.items():
        assert value.item() == pytest.approx(row[key], rel=RTOL, abs=1e-15), key


def test_signal_and_noise_are_equal_at_step_260():
    snr = schedules.linear().snr
    assert int((snr < 1).nonzero()[0]) == GOLDEN["t_half_linear"]


@pytest.mark.parametrize(
    ("T", "alpha_bar_T"),
    [
        (50, 7.74477e-6),
        (100, 2.03901e-5),
        (250, 3.26441e-5),
        (500, 3.76609e-5),
        (2000, 4.17556e-5),
        (4000, 4.24665e-5),
    ],
)
def test_linear_schedule_of_other_lengths(T, alpha_bar_T):
    """Betas scaled by 1000 / T, six digits printed."""
    schedule = schedules.linear(T, 0.1 / T, 20 / T)
    assert schedule.alpha_bar[-1].item() == pytest.approx(alpha_bar_T, rel=1e-6)


def test_chen_sigmoid():
    values = schedules.chen_sigmoid(torch.tensor([0.1, 0.25, 0.5, 0.75, 1.0]))
    expected = [0.96050722, 0.85085355, 0.5, 0.14914645, 1e-9]  # eight digits printed
    assert values.tolist() == pytest.approx(expected, rel=2e-8)


def test_noise_variance_keeps_its_digits_where_one_minus_alpha_bar_does_not():
    tiny = schedules.constant(T=3, beta=1e-12)
    assert tiny.noise_variance[1].item() == pytest.approx(1e-12, rel=1e-12, abs=0)
    assert (1 - tiny.alpha_bar[1]).item() != pytest.approx(1e-12, rel=1e-6, abs=0)


@given(st.lists(st.floats(1e-6, 0.99), min_size=1, max_size=30))
def test_any_schedule_only_loses_signal(beta):
    schedule = schedules.from_beta(torch.tensor(beta, dtype=torch.float64))
    assert schedule.alpha_bar[0] == 1 and schedule.sigma[0] == 0
    assert bool((schedule.alpha_bar.diff() < 0).all())
    total = schedule.alpha_bar + schedule.noise_variance
    assert torch.allclose(total, torch.ones_like(total), rtol=1e-12)


@pytest.mark.parametrize("beta", [[0.0, 1.5], [0.0, -0.1], [0.1, 0.1], [[0.0, 0.1]]])
def test_impossible_variances_are_refused(beta):
    with pytest.raises(ValueError, match="beta"):
        schedules.Schedule(torch.tensor(beta, dtype=torch.float64))


def test_spacings():
    assert schedules.leading(1000, 10) == [
        901,
        801,
        701,
        601,
        501,
        401,
        301,
        201,
        101,
        1,
    ]
    assert schedules.leading(1000, 30)[0] == 958  # a stride of 33 never reaches T
    assert schedules.trailing(1000, 10) == [
        1000,
        900,
        800,
        700,
        600,
        500,
        400,
        300,
        200,
        100,
    ]
    assert schedules.trailing(1000, 1000)[-1] == schedules.leading(1000, 1000)[-1] == 1
    for spacing in (schedules.leading, schedules.trailing):
        with pytest.raises(ValueError, match="between 1 and 1000"):
            spacing(1000, 0)


@pytest.mark.parametrize("name", ["linear", "cosine", "sigmoid", "exponential"])
def test_steps_between_two_noise_levels(name):
    linear, other = schedules.linear(), getattr(schedules, name)()
    low, high = linear.sigma[1].item(), linear.sigma[-1].item()
    times = schedules.between(other, low, high, 10)
    sigma = other.sigma[times]
    assert len(times) == 10 and times == sorted(times, reverse=True)
    assert bool((sigma >= low).all()) and bool((sigma <= high).all())
    inside = (other.sigma >= low) & (other.sigma <= high)
    assert times[0] == inside.nonzero().max() and times[-1] == inside.nonzero().min()
    with pytest.raises(ValueError, match="timesteps have sigma in"):
        schedules.between(other, low, high, 1001)


def test_noise_levels_make_a_schedule():
    linear = schedules.linear()
    again = schedules.from_sigma(linear.sigma[1:])
    torch.testing.assert_close(again.beta, linear.beta, rtol=1e-9, atol=1e-15)
    few = schedules.from_sigma([0.1, 2, 30])
    torch.testing.assert_close(few.sigma, torch.tensor([0, 0.1, 2, 30]).double())


@pytest.mark.parametrize("sigma", [[0.0, 1.0], [0.2, 0.2], [1.0, 0.5], [[0.1], [0.2]]])
def test_noise_levels_must_rise(sigma):
    with pytest.raises(ValueError, match="must rise from above 0"):
        schedules.from_sigma(sigma)
