"""Gaussian mixtures against quadrature, autograd, Monte Carlo and special cases."""

import math

import pytest
import torch
from golden import GOLDEN, RTOL

from helpers import schedules
from helpers.bound import bits
from helpers.denoisers import Optimal
from helpers.mixtures import (
    Mixture,
    two_point,
    two_point_information,
    two_point_mmse,
)
from helpers.sampling import predict
from helpers.targets import score_from_x0
from helpers.wiener import Wiener

LINEAR = schedules.linear()
TWO = GOLDEN["two_point"]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def plane():
    """Three components in the plane of two pixels, one of them a line."""
    root = 0.4 * randn(3, 2, 2, seed=1)
    cov = root @ root.mT
    cov[2] = torch.tensor([[0.3, 0.3], [0.3, 0.3]])  # singular
    return Mixture(torch.tensor([0.2, 0.5, 0.3]).double(), means(3, 1, 1, 2), cov)


def means(*shape):
    return 0.7 * randn(*shape, seed=2)


def points():
    weights = torch.tensor([0.1, 0.2, 0.3, 0.4]).double()
    return Mixture(weights, means(4, 2, 3, 3))


def wide():
    """D = 18 with two channels: what is flattened must come back in its place."""
    root = 0.3 * randn(2, 18, 18, seed=3)
    weights = torch.tensor([0.35, 0.65]).double()
    return Mixture(weights, means(2, 2, 3, 3), root @ root.mT)


MIXTURES = {"plane": plane(), "points": points(), "wide": wide()}
each_mixture = pytest.mark.parametrize("mixture", MIXTURES.values(), ids=MIXTURES)


def noisy(mixture, n=5, sigma=1.0, seed=7):
    return mixture.sample(n, seeded(seed)) + sigma * randn(n, *mixture.shape, seed=8)


def jacobian(mixture, x, sigma):
    """d denoise / dx for one x, (D, D), by autograd."""
    D = x.numel()
    rows = torch.autograd.functional.jacobian(lambda v: mixture(v, sigma), x)
    return rows.reshape(D, D)


@pytest.mark.parametrize("key", TWO["Ex0_given_xt"])
def test_two_points_have_the_golden_posterior_mean(key):
    t, x = key.removeprefix("t=").split(",x=")
    xt = torch.full((1, 1, 1, 1), float(x), dtype=torch.float64)
    answer = predict(two_point(), xt, int(t), LINEAR).item()
    assert answer == pytest.approx(TWO["Ex0_given_xt"][key], rel=RTOL)


@pytest.mark.parametrize("p", [0.5, 0.9])
@pytest.mark.parametrize("sigma", [0.05, 0.7, 3.0])
def test_two_points_are_a_tanh(p, sigma):
    x = torch.linspace(-4, 4, 33, dtype=torch.float64).view(-1, 1, 1, 1)
    tanh = torch.tanh(x / sigma**2 + math.log(p / (1 - p)) / 2)
    answer = two_point(p)(x, sigma)
    torch.testing.assert_close(answer, tanh, rtol=1e-12, atol=1e-14)
    variance = two_point(p).covariance(x, sigma).view_as(x)
    torch.testing.assert_close(variance, 1 - tanh**2, rtol=1e-9, atol=1e-14)


def test_a_sure_coin_is_a_point():
    x = randn(4, 1, 1, 1)
    for p, value in ((0, -1.0), (1, 1.0)):
        assert torch.equal(two_point(p)(x, 0.5), torch.full_like(x, value))


@pytest.mark.parametrize("t", TWO["mmse"])
def test_two_points_have_the_golden_error_and_information(t):
    snr = LINEAR.snr[int(t)]
    assert snr.item() == pytest.approx(TWO["snr"][t], rel=RTOL)
    mmse = two_point_mmse(snr).item()
    assert mmse == pytest.approx(TWO["mmse"][t], rel=1e-8, abs=1e-15)
    if t in TWO["MI_bits"]:
        information = bits(two_point_information(snr)).item()
        assert information == pytest.approx(TWO["MI_bits"][t], rel=RTOL)


def test_error_and_information_at_the_ends():
    ends = torch.tensor([0.0, 500.0])
    torch.testing.assert_close(two_point_mmse(ends), torch.tensor([1, 0.0]).double())
    torch.testing.assert_close(
        two_point_information(ends), torch.tensor([0, math.log(2)]).double()
    )
    assert two_point_mmse(ends.view(2, 1)).shape == (2, 1)


def test_information_grows_by_half_the_error():
    """I-MMSE (Guo, Shamai & Verdu 2005), by autograd."""
    snr = torch.logspace(-3, 1.5, 40, dtype=torch.float64).requires_grad_()
    (slope,) = torch.autograd.grad(two_point_information(snr).sum(), snr)
    torch.testing.assert_close(slope, two_point_mmse(snr) / 2, rtol=1e-10, atol=1e-14)


def test_error_of_two_points_is_the_mean_posterior_variance():
    """Average the covariance of the mixture over x, by quadrature."""
    sigma = 0.8
    x = torch.linspace(-9, 9, 4001, dtype=torch.float64).view(-1, 1, 1, 1)
    density = two_point().log_density(x, sigma).exp()
    variance = two_point().covariance(x, sigma).flatten()
    mean = torch.trapezoid(density * variance, x.flatten())
    torch.testing.assert_close(mean, two_point_mmse(sigma**-2), rtol=1e-10, atol=0)


@each_mixture
@pytest.mark.parametrize("sigma", [0.05, 0.6, 4.0])
def test_score_is_the_gradient_of_the_log_density(mixture, sigma):
    x = noisy(mixture, sigma=sigma).requires_grad_()
    (gradient,) = torch.autograd.grad(mixture.log_density(x, sigma).sum(), x)
    torch.testing.assert_close(mixture.score(x, sigma), gradient, rtol=1e-9, atol=1e-9)


@each_mixture
@pytest.mark.parametrize("sigma", [0.05, 0.6, 4.0])
def test_tweedie(mixture, sigma):
    x = noisy(mixture, sigma=sigma)
    by_tweedie = score_from_x0(x, mixture(x, sigma), sigma)
    torch.testing.assert_close(
        mixture.score(x, sigma), by_tweedie, rtol=1e-9, atol=1e-9
    )


@each_mixture
@pytest.mark.parametrize("sigma", [0.05, 0.6, 4.0])
def test_covariance_is_the_derivative_of_the_denoiser(mixture, sigma):
    x = noisy(mixture, 2, sigma)
    expected = torch.stack([sigma**2 * jacobian(mixture, v[None], sigma) for v in x])
    torch.testing.assert_close(
        mixture.covariance(x, sigma), expected, rtol=1e-8, atol=1e-11
    )


def test_one_dimension_by_quadrature():
    """Density and posterior mean from their integrals on a fine grid."""
    weights = torch.tensor([0.3, 0.7]).double()
    level = torch.tensor([-0.6, 0.4]).double()
    std = torch.tensor([0.2, 0.5]).double()
    mixture = Mixture(weights, level.view(2, 1, 1, 1), (std**2).view(2, 1, 1))
    x0 = torch.linspace(-5, 5, 20_001, dtype=torch.float64)
    normal = torch.distributions.Normal
    prior = normal(level, std).log_prob(x0[:, None]).exp() @ weights
    for x, sigma in ((-0.9, 0.3), (0.1, 1.0), (2.0, 0.5)):
        joint = prior * normal(x0, sigma).log_prob(torch.tensor(x).double()).exp()
        mass, one = torch.trapezoid(joint, x0), torch.full((1, 1, 1, 1), x).double()
        mean = torch.trapezoid(joint * x0, x0) / mass
        square = torch.trapezoid(joint * (x0 - mean) ** 2, x0) / mass
        assert mixture.log_density(one, sigma).item() == pytest.approx(
            mass.log().item(), rel=1e-9
        )
        assert mixture(one, sigma).item() == pytest.approx(mean.item(), rel=1e-9)
        assert mixture.covariance(one, sigma).item() == pytest.approx(square.item())


@pytest.mark.parametrize("sigma", [0.4, 1.5])
def test_plane_by_importance_weighting(sigma):
    """Weight data by the likelihood of x; needs nothing but `sample`."""
    mixture, x = plane(), torch.tensor([0.3, -0.4]).double().view(1, 1, 1, 2)
    data = mixture.sample(100_000, seeded(1)).flatten(1)
    w = (-(data - x.flatten()).square().sum(1) / (2 * sigma**2)).softmax(0)
    mean = w @ data
    error = (w**2 @ (data - mean) ** 2).sqrt()  # standard error of the ratio
    assert bool(((mixture(x, sigma).flatten() - mean).abs() < 4 * error).all())
    cov = (w[:, None] * (data - mean)).T @ (data - mean)
    assert (mixture.covariance(x, sigma)[0] - cov).abs().max() < 0.02 * cov.trace()


@each_mixture
def test_data_have_the_moments_of_the_mixture(mixture):
    n, flat = 20_000, mixture.means.flatten(1)
    data = mixture.sample(n, seeded(3)).flatten(1)
    within = torch.einsum("kde,ke,kfe->kdf", mixture.U, mixture.lam, mixture.U)
    mean = mixture.weights @ flat
    total = within + torch.einsum("kd,kf->kdf", flat - mean, flat - mean)
    cov = torch.einsum("k,kdf->df", mixture.weights, total)
    z = (data.mean(0) - mean) / (cov.diagonal() / n).sqrt()
    assert z.abs().max() < 4.5
    assert (data.T.cov() - cov).abs().max() < 8 * cov.diagonal().max() / n**0.5


@pytest.mark.parametrize("name", MIXTURES)
def test_posterior_draws_have_the_posterior_moments(name):
    mixture, n, sigma = MIXTURES[name], 20_000, 1.5
    x = noisy(mixture, 1, sigma)
    drawn = mixture.draw(x.expand(n, -1, -1, -1), sigma, seeded(4)).flatten(1)
    cov = mixture.covariance(x, sigma)[0]
    error = (cov.diagonal() / n).sqrt() + 1e-12
    z = (drawn.mean(0) - mixture(x, sigma).flatten()) / error
    assert z.abs().max() < 4.5
    assert (drawn.T.cov() - cov).abs().max() < 8 * cov.diagonal().max() / n**0.5


def test_posterior_draws_of_points_have_their_frequencies():
    mixture, n = points(), 20_000
    x = noisy(mixture, 1, 1.5)
    drawn = mixture.draw(x.expand(n, -1, -1, -1), 1.5, seeded(5))
    hit = (drawn[:, None] == mixture.means).flatten(2).all(2)  # exactly a point
    assert bool((hit.sum(1) == 1).all())
    r = mixture.responsibilities(x, 1.5)[0]
    error = (r * (1 - r) / n).sqrt()
    assert bool(((hit.double().mean(0) - r).abs() < 4.5 * error).all())


def test_each_row_is_drawn_for_its_own_x():
    x = torch.tensor([-1.0, 1.0] * 50).view(-1, 1, 1, 1)
    sigma = torch.tensor([1e-2] * 100)
    assert torch.equal(two_point().draw(x, sigma, seeded()), x)


def test_draws_and_data_come_from_the_generator_alone():
    mixture, x = plane(), noisy(plane())
    torch.manual_seed(0)
    one = mixture.draw(x, 0.5, seeded(6)), mixture.sample(9, seeded(6))
    torch.manual_seed(1)
    two = mixture.draw(x, 0.5, seeded(6)), mixture.sample(9, seeded(6))
    assert torch.equal(one[0], two[0]) and torch.equal(one[1], two[1])


@pytest.mark.parametrize("sigma", [0.01, 0.5, 20.0])
def test_one_component_is_the_wiener_filter(sigma):
    root = 0.3 * randn(18, 18)
    mu, cov = randn(18, seed=5), root @ root.T
    one = Mixture(torch.ones(1), mu.view(1, 2, 3, 3), cov[None])
    x = randn(4, 2, 3, 3, seed=6)
    torch.testing.assert_close(one(x, sigma), Wiener(mu, cov)(x, sigma))
    variance = one.covariance(x, sigma)
    assert torch.equal(variance[0], variance[1])  # a Gaussian's does not depend on x
    expected = Wiener(mu, cov).expected_error(sigma)
    torch.testing.assert_close(variance[0].trace(), expected[0])


@pytest.mark.parametrize("sigma", [0.002, 0.5, 20.0])
def test_equal_points_are_a_training_set(sigma):
    data = means(30, 2, 3, 3).clamp(-1, 1)
    mixture = Mixture(torch.full((30,), 1 / 30).double(), data)
    x = data[:5] + sigma * randn(5, 2, 3, 3, seed=6)
    torch.testing.assert_close(mixture(x, sigma), Optimal(data)(x, sigma))
    density = Optimal(data).log_density(x, sigma)
    torch.testing.assert_close(mixture.log_density(x, sigma), density)


def test_points_are_the_limit_of_narrow_components():
    narrow = torch.eye(18, dtype=torch.float64).expand(4, 18, 18) * 1e-14
    close = Mixture(points().weights, points().means, narrow)
    x = noisy(points())
    torch.testing.assert_close(close(x, 0.5), points()(x, 0.5), rtol=1e-9, atol=1e-9)


@each_mixture
def test_one_sigma_per_image_equals_one_by_one(mixture):
    x, sigma = noisy(mixture, 4), torch.tensor([0.01, 0.2, 1.0, 30.0]).double()
    methods = ("__call__", "log_density", "score", "responsibilities", "covariance")
    for method in methods:
        together = getattr(mixture, method)(x, sigma)
        for i in range(4):
            alone = getattr(mixture, method)(x[i : i + 1], float(sigma[i]))
            torch.testing.assert_close(together[i : i + 1], alone)


@each_mixture
def test_responsibilities_are_the_weights_of_the_posterior(mixture):
    x = noisy(mixture)
    r = mixture.responsibilities(x, 0.5)
    torch.testing.assert_close(r.sum(1), torch.ones(5, dtype=torch.float64))
    assert torch.equal(r, mixture.posterior(x, 0.5).weights)


def test_a_component_of_weight_zero_does_not_exist():
    full = plane()
    weights = torch.cat([full.weights, torch.zeros(1).double()])
    cov = torch.einsum("kde,ke,kfe->kdf", full.U, full.lam, full.U)
    more = Mixture(weights, means(4, 1, 1, 2), torch.cat([cov, cov[:1]]))
    three = Mixture(full.weights, means(4, 1, 1, 2)[:3], cov)
    x = noisy(full).requires_grad_()
    torch.testing.assert_close(more(x, 0.5), three(x, 0.5))
    (gradient,) = torch.autograd.grad(more.log_density(x, 0.5).sum(), x)
    assert bool(torch.isfinite(gradient).all())


@pytest.mark.parametrize("sigma", [1e-150, 1e-6])
def test_little_noise_gives_the_nearest_point(sigma):
    mixture = points()
    x = mixture.means + 1e-3 * randn(4, 2, 3, 3)
    assert torch.equal(mixture(x, sigma), mixture.means)
    assert bool(torch.isfinite(mixture.log_density(x, sigma)).all())


@each_mixture
def test_much_noise_gives_the_mean_and_far_away_is_finite(mixture):
    mean = torch.einsum("k,kchw->chw", mixture.weights, mixture.means)
    answer = mixture(noisy(mixture), 1e8)
    torch.testing.assert_close(
        answer, mean.expand_as(answer), rtol=0, atol=1e-6, check_dtype=False
    )
    far = torch.full((1, *mixture.shape), 1e6).double()
    for value in (mixture(far, 0.01), mixture.score(far, 0.01)):
        assert bool(torch.isfinite(value).all())


def test_too_far_away_is_said():
    with pytest.raises(ValueError, match="so far from the data"):
        two_point()(torch.full((1, 1, 1, 1), 3.0).double(), 1e-160)


@each_mixture
def test_dtype_and_shape_follow_the_noisy_image(mixture):
    for dtype in (torch.float32, torch.float64):
        x = noisy(mixture).to(dtype)
        for value in (
            mixture(x, 0.5),
            mixture.score(x, 0.5),
            mixture.draw(x, 0.5, seeded()),
        ):
            assert value.dtype == dtype and value.shape == x.shape
    assert mixture(x[:0], 0.5).shape == (0, *mixture.shape)
    assert mixture.draw(x[:0], 0.5, seeded()).shape == (0, *mixture.shape)


BAD = {
    "weights do not add up": (torch.tensor([0.5, 0.6]), None, "add up to 1"),
    "negative": (torch.tensor([1.5, -0.5]), None, "at least 0"),
    "NaN weight": (torch.tensor([0.5, torch.nan]), None, "at least 0"),
    "too many weights": (torch.ones(3) / 3, None, r"weights must be \(K,\)"),
    "cov of the wrong shape": (None, torch.eye(2), r"cov must be \(2, 2, 2\)"),
    "asymmetric": (None, torch.tensor([[1, 0.5], [0, 1]]).repeat(2, 1, 1), "symm"),
    "negative eigenvalue": (None, torch.diag(torch.tensor([1, -0.1])), "negative"),
    "NaN cov": (None, torch.full((2, 2, 2), torch.nan), "finite"),
    "infinite cov": (None, torch.full((2, 2, 2), torch.inf), "finite"),
}


@pytest.mark.parametrize(("weights", "cov", "message"), BAD.values(), ids=BAD)
def test_bad_mixtures(weights, cov, message):
    weights = torch.tensor([0.5, 0.5]) if weights is None else weights
    if message == "negative":
        cov = cov.expand(2, 2, 2)
    with pytest.raises(ValueError, match=message):
        Mixture(weights, torch.zeros(2, 1, 1, 2), cov)


@pytest.mark.parametrize("shape", [(2, 2), (0, 1, 1, 2), (2, 0, 1, 2)])
def test_means_of_a_bad_shape(shape):
    with pytest.raises(ValueError, match="none of them empty"):
        Mixture(torch.full((shape[0],), 0.5), torch.zeros(shape))


def test_bad_means_and_bad_probabilities():
    with pytest.raises(ValueError, match="means must be finite"):
        Mixture(torch.ones(1), torch.full((1, 1, 1, 1), torch.nan))
    for p in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="weights must be"):
            two_point(p)


@pytest.mark.parametrize(
    "call", ["__call__", "log_density", "score", "responsibilities", "covariance"]
)
def test_bad_input(call):
    method, x = getattr(plane(), call), torch.zeros(2, 1, 1, 2)
    for sigma in (0.0, -1.0, math.nan, math.inf, 1e-200):
        with pytest.raises(ValueError, match="sigma must be finite and above 0"):
            method(x, sigma)
    with pytest.raises(ValueError, match="one number or one per image"):
        method(x, torch.ones(3))
    with pytest.raises(ValueError, match="must have shape"):
        method(torch.zeros(2, 1, 2, 1), 0.5)
    with pytest.raises(ValueError, match="NaN"):
        method(torch.full((2, 1, 1, 2), torch.nan), 0.5)
    with pytest.raises(ValueError, match="float"):
        method(torch.zeros(2, 1, 1, 2, dtype=torch.int64), 0.5)


@pytest.mark.parametrize("snr", [-1.0, math.nan, math.inf])
def test_bad_snr(snr):
    for function in (two_point_mmse, two_point_information):
        with pytest.raises(ValueError, match="snr must be finite"):
            function(snr)
