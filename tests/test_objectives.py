"""The rows of Table 2: the scalar terms of the bound, autograd, closed forms."""

import math

import pytest
import torch
from nets import randn, small

from helpers import bound, networks, objectives, sampling, schedules, training
from helpers.forward import (
    diffuse,
    gaussian_noise,
    posterior_coefficients,
    posterior_mean,
)
from helpers.objectives import Moments

LINEAR, SHORT = schedules.linear(), schedules.linear(T=20, beta_1=0.01, beta_T=0.4)
LARGE = bound.fixed_variance(LINEAR)
ROWS = [{"predicts": p, "variance": v} for p in ("eps", "mu") for v in (LARGE, None)]


def drawn(n=6, t=(1, 2, 5, 300, 999, 1000)):
    generator = torch.Generator().manual_seed(0)
    level = torch.randint(0, 256, (n, 3, 8, 8), generator=generator)
    level[0, 0, 0], level[0, 0, 1] = 0, 255  # the bins without an end
    eps = randn(n, 3, 8, 8, seed=1)
    return training.Draw(level.double() / 127.5 - 1, torch.tensor(t), eps)


def net_of(row):
    return small("unet", out_channels=3 if row["variance"] is not None else 6)


@pytest.mark.parametrize("predicts", ["eps", "mu"])
def test_with_one_variance_the_terms_are_those_of_the_bound(predicts):
    net, d = small("unet"), drawn()
    row = {"predicts": predicts, "variance": LARGE}
    xt = diffuse(d.x0, d.t, LINEAR, d.eps)
    mean = objectives.reverse(net, xt, d.t, LINEAR, **row).mean
    c, keep = (
        v.view(-1, 1, 1, 1) for v in posterior_coefficients(LINEAR, d.t, d.t - 1)
    )
    x0_hat = (mean - keep * xt) / c

    def denoise(x, sigma):
        return x0_hat

    expected = bound.image_terms(denoise, d.x0, d.t, LINEAR, lambda _: d.eps, LARGE)
    found = objectives.bound_terms(net, d, LINEAR, **row)
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-10)
    loss = objectives.bound_loss(net, d, LINEAR, **row)
    assert loss.item() == pytest.approx(expected.mean().item(), rel=1e-9)


def test_the_mean_from_the_noise_is_that_of_algorithm_2():
    net, d = small("unet"), drawn()
    xt = diffuse(d.x0, d.t, LINEAR, d.eps)
    p = objectives.reverse(net, xt, d.t, LINEAR, variance=LARGE)
    a, b, n = (
        v[d.t].view(-1, 1, 1, 1)
        for v in (LINEAR.alpha, LINEAR.beta, LINEAR.noise_variance)
    )
    expected = (xt - b / n.sqrt() * net(xt, d.t)) / a.sqrt()
    torch.testing.assert_close(p.mean, expected)
    assert torch.equal(p.variance.flatten(), LARGE[d.t])
    clipped = objectives.reverse(net, xt, d.t, LINEAR, variance=LARGE, clip=True)
    assert (clipped.mean[0] <= 1).all() and not torch.equal(clipped.mean, p.mean)
    mu = {"predicts": "mu", "variance": LARGE, "clip": True}
    assert torch.equal(
        objectives.reverse(net, xt, d.t, LINEAR, **mu).mean, net(xt, d.t)
    )


def test_a_learned_variance_is_the_second_half():
    net, d = small("unet", out_channels=6), drawn()
    p = objectives.reverse(net, d.x0, d.t, LINEAR, "mu")
    both = net(d.x0, d.t)
    assert torch.equal(p.mean, both[:, :3]) and torch.equal(
        p.variance.log(), p[1].log()
    )
    torch.testing.assert_close(p.variance.log(), both[:, 3:])


def test_kl_of_two_gaussians_by_quadrature_and_by_torch():
    q, p = (
        Moments(torch.tensor(0.3), torch.tensor(0.2)),
        Moments(*torch.tensor([-0.1, 0.5])),
    )
    q = Moments(*(v.double() for v in q))
    p = Moments(*(v.double() for v in p))
    x = torch.linspace(-8, 8, 40001, dtype=torch.float64)
    normal = [torch.distributions.Normal(m, v.sqrt()) for m, v in (q, p)]
    logs = [n.log_prob(x) for n in normal]
    area = torch.trapezoid(logs[0].exp() * (logs[0] - logs[1]), x)
    found = objectives.gaussian_kl(q, p)
    assert found.item() == pytest.approx(area.item(), rel=1e-9)
    exact = torch.distributions.kl_divergence(*normal)
    assert found.item() == pytest.approx(exact.item(), rel=1e-12)
    assert objectives.gaussian_kl(q, q) == 0


@pytest.mark.parametrize("row", ROWS, ids=["eps", "eps learned", "mu", "mu learned"])
def test_the_gradient_is_finite_and_right_at_every_t(row):
    net, d = net_of(row), drawn()
    weight = net.tail[2].bias

    def loss():
        return objectives.bound_loss(net, d, LINEAR, **row)

    loss().backward()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters())
    h, k = 1e-6, 1
    with torch.no_grad():
        ends = []
        for sign in (1, -1):
            weight[k] += sign * h
            ends.append(loss().item())
            weight[k] -= sign * h
    slope = (ends[0] - ends[1]) / (2 * h)
    assert weight.grad[k].item() == pytest.approx(slope, rel=1e-3, abs=1e-6)


def test_the_best_learned_variance_is_that_of_chapter_2():
    """The error of x_0 is the same everywhere: least is `best_variance`."""
    t, mmse = torch.full((4,), 300), 0.3**2
    x0 = torch.zeros(4, 1, 2, 2).double()
    best = bound.best_variance(LINEAR, 300, mmse).item()

    def terms(log):
        def net(xt, t):
            mean = posterior_mean(x0 + 0.3, xt, t, LINEAR)
            return torch.cat([mean, torch.full_like(mean, log)], dim=1)

        d = training.Draw(x0, t, randn(4, 1, 2, 2))
        return objectives.bound_terms(net, d, LINEAR, predicts="mu").mean().item()

    least = terms(math.log(best))
    assert least < min(terms(math.log(best) + h) for h in (-0.01, 0.01))
    assert least == pytest.approx(
        bound.step_kl(LINEAR, 300, mmse, torch.tensor(best)).item(), rel=1e-6
    )


def test_unweighted_mean_loss_is_the_weighted_error_of_x0():
    d = drawn()
    wrong = 0.1 * randn(6, 3, 8, 8, seed=3)

    def net(xt, t):
        return posterior_mean(d.x0 + wrong, xt, t, LINEAR)

    c, _ = posterior_coefficients(LINEAR, d.t, d.t - 1)
    expected = (c**2 * wrong.square().flatten(1).mean(1)).mean()
    found = objectives.mean_loss(net, d, LINEAR)
    assert found.item() == pytest.approx(expected.item(), rel=1e-9)


def test_sampling_is_the_books_ancestral_walk():
    net, xT = small("unet", T=20), randn(2, 3, 8, 8)
    row = {"variance": bound.fixed_variance(SHORT)}

    def noise():
        return gaussian_noise(torch.Generator().manual_seed(5))

    found = objectives.ancestral(net, xT, SHORT, noise(), **row)
    times = range(20, 0, -1)
    denoise = networks.denoiser(net, SHORT, clip=True)
    with torch.no_grad():
        walk = sampling.last(sampling.ancestral(denoise, xT, SHORT, noise(), times))
    torch.testing.assert_close(found, walk.x0_hat, rtol=1e-6, atol=1e-6)


def test_a_gaussian_is_sampled_with_its_own_variance():
    """Data N(0, 1): the true reverse step gives back the variance 1."""

    def net(xt, t):
        t = t.view(-1, 1, 1, 1).cpu()
        keep = SHORT.alpha[t].sqrt()
        return torch.cat([keep * xt, SHORT.beta[t].log().expand_as(xt)], dim=1)

    noise = gaussian_noise(torch.Generator().manual_seed(0))
    xT = noise(torch.empty(4000, 1, 2, 2, dtype=torch.float64))
    found = objectives.ancestral(net, xT, SHORT, noise, predicts="mu", variance=None)
    expected = 1 - SHORT.beta[1].item()  # the last step adds no noise
    assert found.var().item() == pytest.approx(expected, rel=0.05)


def test_bad_input():
    net, d = small("unet"), drawn()
    with pytest.raises(ValueError, match="predicts eps or mu, not 'v'"):
        objectives.bound_terms(net, d, LINEAR, predicts="v", variance=LARGE)
    with pytest.raises(ValueError, match=r"k / 127\.5 - 1"):
        off = d._replace(x0=d.x0 * 0.9987)
        objectives.bound_terms(net, off, LINEAR, variance=LARGE)
