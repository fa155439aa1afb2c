"""Consistency functions: exact for Gaussian data, and what distillation finds."""

import copy
import math

import nets
import pytest
import torch

from helpers import consistency, schedules
from helpers.forward import gaussian_noise
from helpers.mixtures import two_point
from helpers.sampling import ddim_step
from helpers.targets import x0_from_v
from helpers.wiener import Wiener, flow_gain

SCHEDULE = schedules.linear()
LOW, HIGH = SCHEDULE.sigma[1].item(), SCHEDULE.sigma[-1].item()


def walk():
    """A Wiener filter whose eigenvectors are the two pixels."""
    return Wiener(torch.zeros(2), torch.diag(torch.tensor([0.04, 1.0])), (1, 1, 2))


def noisy(n, sigma, seed=0):
    x0 = walk().sample(n, torch.Generator().manual_seed(seed))
    return x0 + sigma * nets.randn(n, 1, 1, 2, seed=seed + 1)


def test_levels_end_exactly_and_are_even_in_their_root():
    grid = consistency.levels(LOW, HIGH, 18)
    assert grid[0] == LOW and grid[-1] == HIGH and grid.dtype == torch.float64
    steps = (grid ** (1 / 7)).diff()
    torch.testing.assert_close(steps, steps[:1].expand(17))
    for bad in ((0.0, 1.0, 3), (1.0, 1.0, 3), (2.0, 1.0, 3), (0.1, 1.0, 1)):
        with pytest.raises(ValueError, match="0 < low < high"):
            consistency.levels(*bad)


def test_at_the_lowest_level_the_answer_is_the_question():
    net = nets.small("unet", in_channels=1)
    f, x = consistency.consistent(net, SCHEDULE), nets.images(net, 3)
    assert torch.equal(f(x, LOW), x)
    sigma = torch.tensor([LOW, 1.0, 100.0], dtype=torch.float64)
    one_by_one = [f(x[k : k + 1], sigma[k].item()) for k in range(3)]
    torch.testing.assert_close(f(x, sigma), torch.cat(one_by_one))
    for bad in (LOW / 2, 2 * HIGH):
        with pytest.raises(ValueError, match="sigma must lie in"):
            f(x, bad)


def test_a_student_starts_as_its_teacher():
    """Without the shift by `low` f is the denoiser of the net that predicts v."""
    sigma, x, v = 3.0, nets.randn(1, 1, 2, 2), nets.randn(1, 1, 2, 2, seed=1)
    keep, add = consistency.boundary(sigma, 0.0)
    scaled = 1 + sigma**2
    torch.testing.assert_close(keep * x - add * v, x0_from_v(x, v, sigma))
    assert keep == 1 / scaled
    keep, add = consistency.boundary(torch.tensor([LOW, HIGH]), LOW)
    assert keep[0] == pytest.approx(1) and add[0] == pytest.approx(0, abs=1e-9)
    assert add[1] == pytest.approx(1, abs=1e-4)


def test_a_step_of_euler_is_one_of_ddim():
    t, s, wiener = 400, 100, walk()
    x = noisy(5, SCHEDULE.sigma[t])
    ours = consistency.ode_step(
        wiener, x, SCHEDULE.sigma[t], SCHEDULE.sigma[s], heun=False
    )
    scale = SCHEDULE.alpha_bar.sqrt()
    x0_hat = wiener(x, SCHEDULE.sigma[t])
    theirs = ddim_step(x0_hat, x * scale[t], t, s, SCHEDULE) / scale[s]
    torch.testing.assert_close(ours, theirs)


def test_the_exact_function_of_a_gaussian_keeps_quantiles():
    wiener, x = walk(), noisy(4, 2.0)
    f = consistency.gaussian(wiener)
    torch.testing.assert_close(f(x, 1e-9), x)
    t = 500
    xt = x * SCHEDULE.alpha_bar[t].sqrt()
    gain = flow_gain(wiener.lam, t, SCHEDULE)
    expected = wiener.apply(lambda _: gain, xt.flatten(1)).view_as(x)
    torch.testing.assert_close(f(x, SCHEDULE.sigma[t].item()), expected)
    ended = consistency.gaussian(wiener, LOW)
    torch.testing.assert_close(ended(x, LOW), x)


@pytest.mark.parametrize(("heun", "order"), [(False, 1), (True, 2)])
def test_the_solver_approaches_it_at_its_order(heun, order):
    wiener, high, errors = walk(), 20.0, []
    x, exact = noisy(3, high), None
    for N in (41, 81):
        grid = consistency.levels(LOW, high, N)
        found = consistency.flow(wiener, x, grid.flip(0).tolist(), heun)
        gain = consistency.distilled_gain(wiener.lam, grid, heun)[:, -1]
        by_modes = wiener.apply(lambda _, gain=gain: gain, x.flatten(1))
        torch.testing.assert_close(found, by_modes.view_as(x))
        exact = consistency.gaussian(wiener, LOW)(x, high)
        errors.append((found - exact).norm() / exact.norm())
    assert errors[0] / errors[1] == pytest.approx(2**order, rel=0.25)


def test_distillation_finds_the_walk_of_the_wiener_filter():
    """One learned factor for each mode and level; the target is an average of them."""
    wiener, grid = walk(), consistency.levels(0.05, 5.0, 9)
    factors = torch.ones(9, 1, 1, 2, dtype=torch.float64, requires_grad=True)
    average = factors.detach().clone()

    def answer(known):
        known = torch.cat([torch.ones_like(known[:1]), known[1:]])  # the boundary
        return lambda x, sigma: known[torch.searchsorted(grid, sigma)] * x

    optimiser = torch.optim.Adam([factors], lr=0.03)
    draws = torch.Generator().manual_seed(0)
    for step in range(600):
        optimiser.param_groups[0]["lr"] = 0.03 * (1 - step / 600)
        x0, n = wiener.sample(64, draws), torch.randint(1, 9, (64,), generator=draws)
        eps = gaussian_noise(draws)(x0)
        loss = consistency.distillation_loss(
            answer(factors), answer(average), wiener, x0, n, eps, grid
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        average.lerp_(factors.detach(), 0.2)
    perfect = consistency.distilled_gain(wiener.lam, grid).T.view(9, 1, 1, 2)
    torch.testing.assert_close(factors[1:].detach(), perfect[1:], rtol=0, atol=2e-3)
    exact = ((wiener.lam + 0.05**2) / (wiener.lam + grid[:, None] ** 2)).sqrt()
    assert (perfect.view(9, 2) - exact).abs().max() < 0.12
    n, eps = torch.arange(1, 9), nets.randn(8, 1, 1, 2)
    rest = consistency.distillation_loss(
        answer(perfect), answer(perfect), wiener, noisy(8, 0.1), n, eps, grid
    )
    assert rest < 1e-25


def test_only_the_student_learns():
    net, average = (torch.nn.Linear(1, 1).double() for _ in range(2))
    teacher = torch.nn.Linear(1, 1).double()
    f, target, denoise = (lambda x, _, m=m: m(x) for m in (net, average, teacher))
    grid, x0 = consistency.levels(0.1, 10.0, 4), nets.randn(5, 1, 1, 1)
    n, eps = torch.tensor([1, 2, 3, 1, 2]), nets.randn(5, 1, 1, 1, seed=1)
    before = copy.deepcopy(average.state_dict())
    loss = consistency.distillation_loss(f, target, denoise, x0, n, eps, grid)
    loss.backward()
    assert net.weight.grad.abs() > 0
    assert average.weight.grad is None and teacher.weight.grad is None
    assert all(torch.equal(v, before[k]) for k, v in average.state_dict().items())
    upper, lower = grid[n].view(-1, 1, 1, 1), grid[n - 1].view(-1, 1, 1, 1)
    x = x0 + upper * eps
    there = x + (lower - upper) * (x - teacher(x)) / upper
    slope = ((x - teacher(x)) / upper + (there - teacher(there)) / lower) / 2
    by_hand = (net(x) - average(x + (lower - upper) * slope)).square().mean()
    torch.testing.assert_close(loss, by_hand)
    for bad in (0, 4):
        with pytest.raises(ValueError, match="n must lie in"):
            consistency.distillation_loss(
                f, target, denoise, x0, torch.full((5,), bad), eps, grid
            )


def test_one_and_two_steps_with_the_exact_function():
    wiener, generator = walk(), torch.Generator().manual_seed(3)
    f, noise = consistency.gaussian(wiener, LOW), gaussian_noise(generator)
    x = noisy(20_000, 50.0)
    one, two = consistency.sample(f, x, [50.0, 1.0], LOW, noise)
    assert torch.equal(one, f(x, 50.0))
    for found in (one, two):  # both are draws of the data, at the level LOW
        variance = found.var(dim=0).flatten()
        expected = torch.tensor([0.04, 1.0]) + LOW**2
        torch.testing.assert_close(variance, expected.double(), rtol=0.05, atol=0)
    correlation = torch.corrcoef(torch.stack([one, two])[:, :, 0, 0, 0])[0, 1]
    c = 0.04 / 1.04  # the second step remembers the image as far as sigma = 1 allows
    assert correlation == pytest.approx(c**0.5, abs=0.03)
    for bad in ([], [1.0, 1.0], [1.0, 2.0], [1.0, LOW]):
        with pytest.raises(ValueError, match="levels must fall"):
            list(consistency.sample(f, x, bad, LOW, noise))


def test_in_one_dimension_the_path_keeps_the_quantile():
    """Two values, known distribution functions, and no closed form between them."""

    def share(x, sigma):
        one = [torch.erf((x - m) / sigma / math.sqrt(2)) for m in (-1, 1)]
        return (2 + one[0] + one[1]) / 4

    x = torch.tensor([-2.0, -0.5, 0.3, 1.4]).double().view(4, 1, 1, 1)
    grid = consistency.levels(0.3, 2.0, 400).flip(0).tolist()
    end = consistency.flow(two_point(), x, grid)
    torch.testing.assert_close(share(end, 0.3), share(x, 2.0), rtol=0, atol=1e-4)
