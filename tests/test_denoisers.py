"""The closed-form denoisers against their formulas, their limits and each other."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.denoisers import Optimal, clipped
from helpers.metrics import nearest
from helpers.targets import score_from_x0
from helpers.wiener import Wiener

SHAPE = (2, 4, 4)


def randn(*shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=dtype)


def images(N, seed=0, dtype=torch.float64):
    return randn(N, *SHAPE, seed=seed, dtype=dtype).clamp(-1, 1)


def naive_optimal(data, x, sigma):
    """The definition, one noisy image and one training image at a time, in float64."""
    answers = []
    for row in x.double():
        logits = [-(row - y).square().sum() / (2 * sigma**2) for y in data.double()]
        weights = torch.stack(logits).softmax(0)
        answers.append(sum(w * y for w, y in zip(weights, data.double())))
    return torch.stack(answers)


DENOISERS = {"Optimal": Optimal(images(60)), "Wiener": Wiener.fit(images(60))}
each_denoiser = pytest.mark.parametrize("denoise", DENOISERS.values(), ids=DENOISERS)


@given(st.floats(1e-3, 1e3))
@settings(max_examples=30, deadline=None)
def test_optimal_is_its_definition(sigma):
    data, x = images(40), images(3, seed=1) + sigma * randn(3, *SHAPE, seed=2)
    torch.testing.assert_close(
        Optimal(data)(x, sigma), naive_optimal(data, x, sigma), rtol=1e-9, atol=1e-11
    )


@pytest.mark.parametrize("chunk", [1, 7, 60])
@pytest.mark.parametrize("sigma", [0.002, 0.3, 20.0])
def test_chunk_changes_memory_not_the_result(chunk, sigma):
    data, x = images(60), images(5, seed=1)
    torch.testing.assert_close(
        Optimal(data, chunk)(x, sigma),
        Optimal(data, 1000)(x, sigma),
        rtol=1e-10,
        atol=1e-13,
    )


def test_order_of_the_training_set_does_not_matter():
    data, x = images(60), images(5, seed=1)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        Optimal(data, 7)(x, 0.5), Optimal(data[order], 7)(x, 0.5)
    )


@each_denoiser
def test_one_sigma_per_image_equals_one_by_one(denoise):
    x, sigma = images(4, seed=1), torch.tensor([0.002, 0.1, 1.0, 50.0])
    together = denoise(x, sigma)
    for i in range(4):
        alone = denoise(x[i : i + 1], float(sigma[i]))
        # a float32 sigma is the same number as a Python float made from it
        torch.testing.assert_close(together[i : i + 1], alone, rtol=1e-10, atol=1e-12)


@each_denoiser
def test_batch_size_does_not_matter(denoise, monkeypatch):
    x = images(9, seed=1)
    whole = denoise(x, 0.5)
    monkeypatch.setattr("helpers.denoisers.LOGITS", 120)  # two rows at a time
    torch.testing.assert_close(denoise(x, 0.5), whole, rtol=1e-12, atol=1e-14)


@each_denoiser
def test_much_noise_gives_the_mean_image(denoise):
    mean = images(60).mean(0, keepdim=True).expand(3, *SHAPE)
    answer = denoise(images(3, seed=1), 1e6)
    torch.testing.assert_close(answer, mean, rtol=0, atol=1e-5)


def test_little_noise_gives_the_nearest_training_image():
    data, x = images(60), images(5, seed=1)
    expected = data[nearest(x, data).index[:, 0]]
    assert torch.equal(Optimal(data)(x, 1e-3), expected)


@pytest.mark.parametrize("sigma", [1e-160, 1e-3])
def test_a_training_image_stays_where_it_is(sigma):
    data = images(60)
    assert torch.equal(Optimal(data)(data[:5], sigma), data[:5])


@each_denoiser
def test_score_is_the_gradient_of_the_log_density(denoise):
    """Tweedie: differentiate the density itself, by autograd."""
    x, sigma = images(4, seed=1).requires_grad_(), 0.6
    if isinstance(denoise, Optimal):
        log_p = denoise.log_density(x, sigma)
    else:
        cov = denoise.U @ denoise.lam.diag() @ denoise.U.T
        cov = cov + sigma**2 * torch.eye(len(cov), dtype=cov.dtype)
        normal = torch.distributions.MultivariateNormal(denoise.mu, cov)
        log_p = normal.log_prob(x.flatten(1))
    (gradient,) = torch.autograd.grad(log_p.sum(), x)
    score = score_from_x0(x, denoise(x, sigma), sigma)
    torch.testing.assert_close(score, gradient, rtol=1e-7, atol=1e-9)


def test_log_density_is_the_mixture_of_gaussians():
    data, x, sigma = images(60), images(4, seed=1), 0.6
    mixture = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(torch.ones(60).double()),
        torch.distributions.Independent(
            torch.distributions.Normal(data.flatten(1), sigma), 1
        ),
    )
    expected = mixture.log_prob(x.flatten(1))
    torch.testing.assert_close(Optimal(data, 7).log_density(x, sigma), expected)


@pytest.mark.parametrize("sigma", [0.05, 0.6, 3.0])
def test_jacobian_of_optimal_is_the_covariance_under_the_weights(sigma):
    data, x = images(60), images(1, seed=1)
    jacobian = torch.autograd.functional.jacobian(
        lambda v: Optimal(data)(v, sigma).flatten(), x
    ).reshape(32, 32)
    flat = data.flatten(1)
    weights = (-(flat - x.flatten(1)).square().sum(1) / (2 * sigma**2)).softmax(0)
    centred = flat - weights @ flat
    expected = (weights[:, None] * centred).T @ centred / sigma**2
    torch.testing.assert_close(jacobian, expected, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("sigma", [0.002, 0.01, 0.1, 1.0])
def test_expanded_squares_lose_the_digits_that_optimal_keeps(sigma):
    """In float32 the textbook expansion is off by many nats; ours agrees with
    float64.
    """
    data = images(300, dtype=torch.float32).repeat(1, 1, 7, 7)  # D = 1568
    data = data + 0.003 * randn(*data.shape, seed=5, dtype=torch.float32)
    data = data.clamp(-1, 1)
    twins = (data[:150] + 1e-4 * randn(*data[:150].shape, dtype=torch.float32)).clamp(
        -1, 1
    )
    data = torch.cat([data, twins])  # near copies: the hardest case
    noise = randn(8, *data.shape[1:], seed=6, dtype=torch.float32)
    x = data[:8] + sigma * noise
    flat, y = x.flatten(1), data.flatten(1)
    squares = flat.square().sum(1, True) + y.square().sum(1) - 2 * flat @ y.T
    exact = torch.cdist(
        flat.double(), y.double(), compute_mode="donot_use_mm_for_euclid_dist"
    ).square()
    textbook_error = (squares.double() - exact).abs().max() / (2 * sigma**2)
    density = Optimal(data).log_density(x, sigma)
    ours = (density - Optimal(data.double()).log_density(x.double(), sigma)).abs().max()
    if sigma == 0.002:
        assert textbook_error > 10  # nats: enough to choose another image
    assert ours < 5e-3
    answer = Optimal(data)(x, sigma)
    reference = Optimal(data.double())(x.double(), sigma)
    assert (answer - reference).abs().max() < 2e-5


def test_dtype_follows_the_noisy_image():
    data = images(60, dtype=torch.float32)
    for dtype in (torch.float32, torch.float64):
        x = images(2, seed=1, dtype=dtype)
        assert Optimal(data)(x, 0.5).dtype == Wiener.fit(data)(x, 0.5).dtype == dtype


@pytest.mark.parametrize("sigma", [0.05, 0.5, 5.0])
def test_optimal_stays_within_the_range_of_the_data(sigma):
    data = images(60)
    answer = Optimal(data)(images(20, seed=1) + sigma * randn(20, *SHAPE), sigma)
    assert bool((answer <= data.amax(0) + 1e-12).all())
    assert bool((answer >= data.amin(0) - 1e-12).all())


def test_effective_number_runs_from_one_to_all():
    optimal, x = Optimal(images(60), 7), images(4, seed=1)
    sigmas = [1e-3, 0.3, 1.0, 3.0, 1e5]
    numbers = torch.stack([optimal.effective_number(x, s) for s in sigmas])
    torch.testing.assert_close(numbers[0], torch.ones(4, dtype=torch.float64))
    torch.testing.assert_close(numbers[-1], torch.full((4,), 60.0, dtype=torch.float64))
    assert bool((numbers.diff(dim=0) > -1e-9).all())


@each_denoiser
def test_no_image_gives_no_image(denoise):
    assert denoise(images(2)[:0], 0.5).shape == (0, *SHAPE)


def test_no_training_image_is_an_error_and_one_is_the_answer():
    for make, message in ((Optimal, "no image"), (Wiener.fit, "no image")):
        with pytest.raises(ValueError, match=message):
            make(images(5)[:0])
        answer = make(images(1))(images(3, seed=1), 0.5)
        torch.testing.assert_close(answer, images(1).expand(3, *SHAPE))


@pytest.mark.parametrize("sigma", [1e-3, 0.4, 30.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_weights_are_the_posterior(sigma, dtype):
    data, x = images(60, dtype=dtype), images(5, seed=1, dtype=dtype)
    squares = (x.double()[:, None] - data.double()).flatten(2).square().sum(2)
    expected = (-squares / (2 * sigma**2)).softmax(dim=1)
    optimal = Optimal(data, 7)
    weights = optimal.weights(x, sigma)
    torch.testing.assert_close(weights, expected, rtol=1e-5, atol=1e-9)
    count = 1 / weights.square().sum(1)
    torch.testing.assert_close(optimal.effective_number(x, sigma), count)


def test_draws_are_training_images_as_often_as_their_weight():
    data, x = images(20), images(1, seed=1)
    optimal, n = Optimal(data), 20_000
    generator = torch.Generator().manual_seed(0)
    drawn = optimal.draw(x.expand(n, *SHAPE), 1.5, generator)
    same = (drawn[:, None] == data).flatten(2).all(dim=2)  # (n, 20)
    assert bool((same.sum(dim=1) == 1).all())
    w = optimal.weights(x, 1.5)[0]
    spread = (w * (1 - w) / n).sqrt()
    assert bool(((same.double().mean(0) - w).abs() < 5 * spread + 1e-9).all())
    assert w.max() < 0.9  # there was something to choose


def test_draws_follow_the_generator_only():
    optimal, x = Optimal(images(20)), images(4, seed=1)
    a, b = (optimal.draw(x, 2.0, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(a, b)


def test_clipped_is_a_denoiser():
    def loud(x, sigma):
        return 5 * x

    assert clipped(loud)(images(2), 0.5).abs().max() == 1


BAD_X = [
    (torch.zeros(2, 3, 4, 4), "must have shape|must be"),
    (torch.zeros(2, 4, 4), "must have shape|must be"),
    (torch.zeros(2, *SHAPE, dtype=torch.uint8), "float"),
    (torch.full((2, *SHAPE), torch.nan), "NaN"),
]


@each_denoiser
@pytest.mark.parametrize(("x", "message"), BAD_X)
def test_bad_images(denoise, x, message):
    with pytest.raises(ValueError, match=message):
        denoise(x, 0.5)


@each_denoiser
@pytest.mark.parametrize("sigma", [0.0, -1.0, math.nan, math.inf, 1e-200, 1e200])
def test_bad_sigma(denoise, sigma):
    with pytest.raises(ValueError, match="sigma must be finite and above 0"):
        denoise(images(2), sigma)


@each_denoiser
@pytest.mark.parametrize("shape", [(3,), (2, 1), (2, 1, 1, 1)])
def test_sigma_of_the_wrong_shape(denoise, shape):
    with pytest.raises(ValueError, match="one number or one per image"):
        denoise(images(2), torch.ones(shape))


def test_bad_training_data():
    for bad in (images(5) * 3, images(5)[0], torch.full((2, *SHAPE), torch.nan)):
        for make in (Optimal, Wiener.fit):
            with pytest.raises(ValueError):
                make(bad)
