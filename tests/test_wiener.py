"""The Wiener filter against its formula, its derivation, and what it leaves out."""

import math

import numpy as np
import pytest
import safetensors.torch
import torch
from golden import GOLDEN
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import artifacts, dead_leaves, paths, sampling, schedules, toy_faces
from helpers.data import to_unit
from helpers.denoisers import Optimal
from helpers.wiener import Wiener, ddim_gain, flow_gain

SHAPE, D = (2, 4, 4), 32
LINEAR = schedules.linear()


def randn(*shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=dtype)


def images(N, seed=0, dtype=torch.float64):
    """Images whose pixels are correlated and have different variances."""
    mix = randn(D, D, seed=99) * torch.linspace(0.02, 0.1, D, dtype=torch.float64)
    flat = 0.3 * randn(D, seed=98) + randn(N, D, seed=seed) @ mix
    return flat.clamp(-1, 1).view(N, *SHAPE).to(dtype)


def moments_of(data):
    flat = data.flatten(1).double()
    return flat.mean(0), torch.cov(flat.T, correction=0)


def definition(mu, cov, x, sigma):
    """mu + cov (cov + sigma^2 I)^-1 (x - mu), by a linear solve."""
    one = torch.eye(len(mu), dtype=torch.float64)
    centred = x.flatten(1) - mu
    return (mu + centred @ torch.linalg.solve(cov + sigma**2 * one, cov)).view_as(x)


def packed(mu, cov, shape, r):
    """The r largest eigenpairs as the book ships them."""
    lam, U = (v.flip(-1) for v in torch.linalg.eigh(cov))
    lam, scale = lam.clamp_min(0), U[:, :r].abs().amax(0).float() / 32767
    dropped = lam[r:] if r < len(lam) else torch.zeros(1).double()
    return {
        "mu": mu.float(),
        "lam": lam[:r],
        "U": (U[:, :r] / scale).round().to(torch.int16).contiguous(),
        "scale": scale,
        "rest": torch.stack([dropped.min(), dropped.mean(), dropped.max()]),
        "shape": torch.tensor(shape, dtype=torch.int32),
        "N": torch.tensor([0]),
    }


LEAVES = [torch.from_numpy(m) for m in dead_leaves.moments(8)]  # D = 64
FACES = [torch.from_numpy(m) for m in toy_faces.moments(16)]  # D = 256, low rank


@given(st.floats(1e-3, 1e3))
@settings(max_examples=20, deadline=None)
def test_it_is_its_definition(sigma):
    data, x = images(80), images(3, seed=1) + sigma * randn(3, *SHAPE, seed=2)
    torch.testing.assert_close(
        Wiener.fit(data)(x, sigma),
        definition(*moments_of(data), x, sigma),
        rtol=1e-8,
        atol=1e-9,
    )


def test_the_formula_in_ddpms_letters():
    """A x_t + b with A = sqrt(abar) Sigma (abar Sigma + (1 - abar) I)^-1."""
    data, t = images(80), 300
    (mu, cov), abar = moments_of(data), LINEAR.alpha_bar[t]
    total = abar * cov + (1 - abar) * torch.eye(D).double()
    A = abar.sqrt() * torch.linalg.solve(total, cov).T
    b = mu - abar.sqrt() * A @ mu
    xt = randn(5, *SHAPE, seed=3)
    expected = (xt.flatten(1) @ A.T + b).view_as(xt)
    answer = sampling.predict(Wiener.fit(data), xt, t, LINEAR)
    torch.testing.assert_close(answer, expected, rtol=1e-9, atol=1e-11)
    S = Wiener.fit(data).matrix(LINEAR.sigma[t])
    torch.testing.assert_close(S, abar.sqrt() * A, rtol=1e-9, atol=1e-11)


def squared_error(A, b, mu, cov, sigma):
    """E|x0 - A x - b|^2 with x = x0 + sigma eps, exactly, for any data."""
    R = torch.eye(len(mu)) - A
    bias = R @ mu - b
    return (R @ cov @ R.T).trace() + sigma**2 * (A @ A.T).trace() + bias @ bias


def test_no_other_affine_map_is_better():
    mu, cov = moments_of(images(500))
    wiener, sigma = Wiener(mu, cov), 0.2
    A = wiener.matrix(sigma)
    b = mu - A @ mu
    best = squared_error(A, b, mu, cov, sigma)
    assert best.item() == pytest.approx(wiener.expected_error(sigma).item(), rel=1e-10)
    for seed in range(20):
        dA, db = 1e-3 * randn(D, D, seed=seed), 1e-3 * randn(D, seed=100 + seed)
        assert squared_error(A + dA, b, mu, cov, sigma) > best
        assert squared_error(A, b + db, mu, cov, sigma) > best
        assert squared_error(A + dA, b - dA @ mu, mu, cov, sigma) > best


def test_the_normal_equations_hold():
    """The gradient of the squared error by autograd vanishes at the filter."""
    mu, cov = moments_of(images(500))
    A = Wiener(mu, cov).matrix(0.2)
    b = (mu - A @ mu).requires_grad_()
    gradients = torch.autograd.grad(
        squared_error(A.requires_grad_(), b, mu, cov, 0.2), (A, b)
    )
    assert max(g.abs().max() for g in gradients) < 1e-14


def test_it_is_the_mean_of_the_gaussian_posterior():
    """Condition the joint Gaussian of (x0, x) by sampling one direction exactly."""
    mu, cov = moments_of(images(500))
    sigma, x = 0.2, images(1, seed=4)
    # the posterior precision is Sigma^-1 + I / sigma^2, its mean solves a linear system
    precision = torch.linalg.inv(cov) + torch.eye(D) / sigma**2
    right = torch.linalg.solve(cov, mu) + x.flatten() / sigma**2
    expected = torch.linalg.solve(precision, right).view_as(x)
    torch.testing.assert_close(Wiener(mu, cov)(x, sigma), expected)
    error = Wiener(mu, cov).expected_error(sigma)
    torch.testing.assert_close(error, torch.linalg.inv(precision).trace()[None])


def test_optimal_tends_to_it_on_gaussian_data():
    mu, cov = torch.zeros(2).double(), torch.tensor([[0.2, 0.1], [0.1, 0.1]]).double()
    data = (randn(60_000, 2) @ torch.linalg.cholesky(cov).T).clamp(-1, 1)
    data = data.reshape(-1, 1, 1, 2)
    x = 0.3 * randn(10, 1, 1, 2, seed=1)
    gaps = [
        (Optimal(data[:N])(x, 0.4) - Wiener(mu, cov)(x, 0.4)).square().mean().sqrt()
        for N in (60, 60_000)
    ]
    assert gaps[1] < 0.01 < gaps[0]  # clipped at 2.2 sigma, and 60,000 samples


def test_one_gaussian_direction_has_the_golden_gain():
    """E[x0 | x_t] = sqrt(abar) lam / v_t x_t for x0 ~ N(0, lam)."""
    for row in GOLDEN["gauss"]:
        lam = torch.tensor([[row["lam"]]], dtype=torch.float64)
        wiener = Wiener(torch.zeros(1, dtype=torch.float64), lam)
        for t, gain in row["wiener"].items():
            root = LINEAR.alpha_bar[int(t)].sqrt()
            x = torch.ones(1, 1, 1, 1, dtype=torch.float64) / root
            answer = wiener(x, LINEAR.sigma[int(t)]).item()
            assert answer == pytest.approx(gain, rel=1e-9)
        for t, mmse in row["mmse"].items():
            error = wiener.expected_error(LINEAR.sigma[int(t)]).item()
            assert error == pytest.approx(mmse, rel=1e-9)


def test_expected_error_is_the_measured_one_for_data_that_are_not_gaussian():
    faces = toy_faces.sample(500, 8, generator=np.random.default_rng(0))
    data, sigma = to_unit(faces).double(), 0.5
    wiener = Wiener.fit(data)
    error = [
        ((wiener(data + sigma * z, sigma) - data) ** 2).sum((1, 2, 3))
        for z in randn(20, *data.shape)
    ]
    runs = torch.stack(error).mean(1)
    half = 4 * runs.std() / math.sqrt(len(runs))
    assert abs(runs.mean() - wiener.expected_error(sigma).item()) < half


def test_little_noise_gives_the_image_itself():
    x = images(5, seed=1)
    torch.testing.assert_close(Wiener.fit(images(200))(x, 1e-6), x, rtol=0, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_fewer_images_than_numbers(dtype):
    """5 images, 32 numbers: rank 4. Where they do not vary the answer is the mean."""
    data = images(5, dtype=dtype)
    wiener, x = Wiener.fit(data), images(3, seed=1, dtype=dtype)
    assert int((wiener.lam > 1e-12).sum()) == 4
    answer = wiener(x, 1e-3)
    assert answer.dtype == dtype
    expected = definition(*moments_of(data), x.double(), 1e-3)
    tolerance = 1e-6 if dtype == torch.float64 else 1e-4
    torch.testing.assert_close(answer.double(), expected, rtol=0, atol=tolerance)
    torch.testing.assert_close(wiener(data, 1e-4), data, rtol=0, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_one_image_is_the_only_answer(dtype):
    one = images(1, dtype=dtype)
    answer = Wiener.fit(one)(images(3, seed=1, dtype=dtype), 1e-3)
    torch.testing.assert_close(answer, one.expand_as(answer))


def test_a_pixel_that_never_varies_is_answered_exactly_and_not_listened_to():
    data = images(100)
    data[:, 0, 1, 2] = -1.0  # as in the corners of MNIST
    wiener, m = Wiener.fit(data), 6
    answer = wiener(images(4, seed=1) + 0.5 * randn(4, *SHAPE), 0.5)
    torch.testing.assert_close(answer[:, 0, 1, 2], -torch.ones(4).double())
    S = wiener.matrix(0.01)
    assert S[m].abs().max() < 1e-12 and S[:, m].abs().max() < 1e-12


def test_rounding_below_zero_counts_as_zero_and_more_is_an_error():
    cov = torch.diag(torch.tensor([1.0, 0.5, -1e-8])).double()
    assert float(Wiener(torch.zeros(3), cov).lam[0]) == 0
    cov[2, 2] = -1e-3
    with pytest.raises(ValueError, match=r"negative eigenvalue -0\.001"):
        Wiener(torch.zeros(3), cov)


@pytest.mark.parametrize("sigma", [0.02, 0.5, 5.0])
def test_rows_are_the_jacobian(sigma):
    wiener, x = Wiener.fit(images(80)), images(1, seed=1)
    jacobian = torch.autograd.functional.jacobian(lambda x: wiener(x, sigma), x)
    jacobian = jacobian.reshape(*SHAPE, *SHAPE)
    for m in ((0, 0, 0), (1, 2, 3)):
        torch.testing.assert_close(wiener.row(m, sigma), jacobian[m])
        flat = int(np.ravel_multi_index(m, SHAPE))
        assert torch.equal(wiener.row(flat, sigma), wiener.row(m, sigma))
    S = wiener.matrix(sigma)
    torch.testing.assert_close(S, jacobian.reshape(D, D))
    torch.testing.assert_close(S, S.T)


def test_one_row_for_each_sigma():
    wiener, sigmas = Wiener.fit(images(80)), torch.tensor([0.1, 1.0, 30.0]).double()
    rows = wiener.row(5, sigmas)
    assert rows.shape == (3, *SHAPE)
    for row, sigma in zip(rows, sigmas):
        torch.testing.assert_close(row, wiener.row(5, float(sigma)))


def test_without_a_shape_a_row_is_flat():
    wiener = Wiener(*moments_of(images(80)))
    torch.testing.assert_close(wiener.row(3, 0.5), wiener.matrix(0.5)[3])
    assert wiener.sample(2, torch.Generator()).shape == (2, D)


def test_samples_have_the_moments():
    mu, cov = moments_of(images(80))
    N = 40_000
    draws = Wiener.fit(images(80)).sample(N, torch.Generator().manual_seed(0))
    assert draws.shape == (N, *SHAPE)
    mean, spread = moments_of(draws)
    var = cov.diagonal()
    assert bool(((mean - mu).abs() < 5 * (var / N).sqrt()).all())
    # the variance of an entry of a sample covariance of Gaussians
    error = ((torch.outer(var, var) + cov**2) / N).sqrt()
    assert bool(((spread - cov).abs() < 5 * error).all())


def test_the_basis_is_cast_once():
    wiener, x = Wiener.fit(images(80)), images(2, dtype=torch.float32)
    wiener(x, 0.5)
    cast = [id(U) for U in wiener._casts.values()]
    wiener(x, 1.5)
    assert [id(U) for U in wiener._casts.values()] == cast


# --- DDIM, mode by mode ---


@pytest.mark.parametrize(
    "times", [[1000], [700, 400, 1], schedules.leading(1000, 10), range(1000, 0, -1)]
)
def test_ddim_walks_as_predicted(times):
    data = images(20)  # rank 19: some modes are empty
    wiener = Wiener.fit(data)
    times, xT = list(times), randn(4, *SHAPE, seed=1)
    got = sampling.last(sampling.ddim(wiener, xT, LINEAR, times)).x0_hat
    start = (xT.flatten(1) - LINEAR.alpha_bar[times[0]].sqrt() * wiener.mu) @ wiener.U
    end = (got.flatten(1) - wiener.mu) @ wiener.U
    expected = ddim_gain(wiener.lam, times, LINEAR) * start
    torch.testing.assert_close(end, expected, rtol=1e-10, atol=1e-10)


def test_ddim_factor_in_ddpms_letters():
    """sqrt(abar') s / sqrt(abar) + sqrt(1-abar') (1-s) / sqrt(1-abar), multiplied."""
    lam, times = torch.logspace(-6, 2, 9).double(), schedules.leading(1000, 10)
    signal, noise = LINEAR.alpha_bar, LINEAR.noise_variance
    expected = torch.ones(9).double()
    for t, u in zip(times, [*times[1:], 0]):
        s = signal[t] * lam / (signal[t] * lam + noise[t])
        expected *= (signal[u] / signal[t]).sqrt() * s + (
            noise[u] / noise[t]
        ).sqrt() * (1 - s)
    torch.testing.assert_close(
        ddim_gain(lam, times, LINEAR), expected, rtol=1e-11, atol=0
    )


def test_many_steps_tend_to_the_flow_and_few_shrink():
    fine = schedules.linear(20_000, 5e-6, 1e-3)  # the same noise levels, finer
    lam = torch.logspace(-2, 2, 5).double()
    limit = flow_gain(lam, fine.T, fine)
    gains = [
        ddim_gain(lam, schedules.trailing(fine.T, S), fine) for S in (10, 100, 20_000)
    ]
    assert bool((gains[0] < gains[1]).all() and (gains[1] < gains[2]).all())
    assert bool((gains[2] < limit).all())
    torch.testing.assert_close(gains[2], limit, rtol=2e-3, atol=0)


def test_what_few_steps_lose_is_a_product_of_cosines():
    r"""Of the differences of the angles $\arctan(\sigma / \sqrt\lambda)$."""
    lam, times = torch.logspace(-3, 2, 6).double(), schedules.leading(1000, 10)
    sigma = LINEAR.sigma[[*times, 0]]
    angle = torch.atan(sigma / lam.sqrt()[:, None])
    loss = angle.diff(dim=1).cos().prod(dim=1)
    expected = loss * flow_gain(lam, times[0], LINEAR)
    torch.testing.assert_close(ddim_gain(lam, times, LINEAR), expected)


def test_the_flow_keeps_gaussians_gaussian():
    """Standard deviations compose, and t to 0 gives that of the data."""
    lam = torch.logspace(-3, 2, 6).double()
    std = (LINEAR.alpha_bar[700] * lam + LINEAR.noise_variance[700]).sqrt()
    torch.testing.assert_close(flow_gain(lam, 700, LINEAR) * std, lam.sqrt())
    two = flow_gain(lam, 700, LINEAR, 300) * flow_gain(lam, 300, LINEAR)
    torch.testing.assert_close(two, flow_gain(lam, 700, LINEAR))


@pytest.mark.parametrize("times", [[], [500, 500], [1, 2], [500, 0], [1001, 1]])
def test_bad_times(times):
    with pytest.raises(ValueError, match=r"timesteps must fall|t must be"):
        ddim_gain(torch.ones(1), times, LINEAR)


@pytest.mark.parametrize(("t", "s"), [(5, 5), (3, 5), (1001, 0), (5, -1)])
def test_bad_ends_of_the_flow(t, s):
    with pytest.raises(ValueError, match=r"t must be|need s < t"):
        flow_gain(torch.ones(1), t, LINEAR, s)


# --- low-rank moments, as shipped ---


def full_and_stored(moments, shape, r):
    return Wiener(*moments, shape), Wiener.from_moments(packed(*moments, shape, r))


@pytest.mark.parametrize("sigma", [0.05, 0.5, 5.0])
@pytest.mark.parametrize(("moments", "side"), [(LEAVES, 8), (FACES, 16)])
def test_stored_rows_keep_their_promise(moments, side, sigma):
    for r in (0, 1, 10, 30, side**2):
        full, stored = full_and_stored(moments, (1, side, side), r)
        for m in (0, side * side // 2 + side // 3, side * side - 1):
            error = (stored.row(m, sigma) - full.row(m, sigma)).norm()
            assert error <= stored.row_error(m, sigma) + 1e-12
    assert stored.row_error(m, sigma) < 5e-3  # all components: only the rounding
    assert full.row_error(m, sigma) < 1e-9


def test_the_bound_is_met_where_it_must_be():
    """One component dropped beside one more: the bound is the error, to the digit."""
    cov = torch.diag(torch.tensor([4.0, 2.0, 1.0])).double()
    full, stored = full_and_stored((torch.zeros(3).double(), cov), (1, 1, 3), 1)
    for m in (1, 2):
        error = (stored.row(m, 1.0) - full.row(m, 1.0)).norm().item()
        assert error <= stored.row_error(m, 1.0) <= 0.11
    worst = max(abs(2 / 3 - 1.5 / 2.5), abs(1.5 / 2.5 - 1 / 2))
    assert stored.row_error(2, 1.0) == pytest.approx(worst, rel=1e-2)


def test_stored_filter_is_mu_plus_its_matrix():
    _, stored = full_and_stored(LEAVES, (1, 8, 8), 20)
    x = randn(3, 1, 8, 8)
    S = stored.matrix(0.4)
    g, common = stored.gain(0.4)[0], stored.rest[1] / (stored.rest[1] + 0.16)
    U, one = stored.U, torch.eye(64)
    torch.testing.assert_close(S, U @ g.diag() @ U.T + common * (one - U @ U.T))
    expected = stored.mu + (x.flatten(1) - stored.mu) @ S.T
    torch.testing.assert_close(stored(x, 0.4), expected.view_as(x))
    gradient = torch.autograd.functional.jacobian(lambda x: stored(x, 0.4), x[:1])
    torch.testing.assert_close(stored.row(9, 0.4), gradient.reshape(64, 1, 8, 8)[9])


def test_expected_error_of_the_stored_filter_is_exact():
    """With one gain for the dropped components the error depends on their mean only."""
    full, stored = full_and_stored(LEAVES, (1, 8, 8), 20)
    S, (mu, cov) = stored.matrix(0.4), LEAVES
    exact = squared_error(S, mu - S @ mu, mu, cov, 0.4).item()
    assert stored.expected_error(0.4).item() == pytest.approx(exact, rel=1e-5)
    assert stored.expected_error(0.4) > full.expected_error(0.4)


def test_samples_of_the_stored_model():
    _, stored = full_and_stored(LEAVES, (1, 8, 8), 20)
    N = 20_000
    draws = stored.sample(N, torch.Generator().manual_seed(0)).flatten(1)
    P = torch.eye(64) - stored.U @ stored.U.T
    expected = stored.U @ stored.lam.diag() @ stored.U.T + stored.rest[1] * P
    var = expected.diagonal()
    error = ((torch.outer(var, var) + expected**2) / N).sqrt()
    assert bool(((torch.cov(draws.T) - expected).abs() < 5 * error).all())


def test_ddim_with_the_stored_filter():
    _, stored = full_and_stored(LEAVES, (1, 8, 8), 20)
    times, xT = schedules.leading(1000, 10), randn(3, 1, 8, 8)
    got = sampling.last(sampling.ddim(stored, xT, LINEAR, times)).x0_hat
    start = xT.flatten(1) - LINEAR.alpha_bar[times[0]].sqrt() * stored.mu
    end = stored.apply(lambda lam: ddim_gain(lam, times, LINEAR), start)
    # U is rounded, so products of S are functions of Sigma only up to this:
    torch.testing.assert_close(got.flatten(1), stored.mu + end, rtol=0, atol=1e-3)


def test_load_reads_a_recorded_artifact(tmp_path, monkeypatch):
    raw = safetensors.torch.save(packed(*LEAVES, (1, 8, 8), 20))
    (tmp_path / "moments").mkdir()
    (tmp_path / "moments" / "leaves.safetensors").write_bytes(raw)
    monkeypatch.setattr(paths, "DATA", tmp_path)
    digest = artifacts.sha256(tmp_path / "moments" / "leaves.safetensors")
    entry = {"moments/leaves.safetensors": {"sha256": digest, "command": "python x"}}
    monkeypatch.setattr(artifacts, "manifest", lambda: entry)
    stored = Wiener.load("leaves")
    _, expected = full_and_stored(LEAVES, (1, 8, 8), 20)
    assert torch.equal(stored.row(9, 0.3), expected.row(9, 0.3))
    assert stored.shape == (1, 8, 8)
    with pytest.raises(artifacts.ArtifactError, match="not an artifact"):
        Wiener.load("nothing")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mu": torch.zeros(63)}, "does not fit|has not"),
        ({"lam": torch.ones(19)}, "does not fit"),
        ({"lam": -torch.ones(20)}, "not what it should be"),
        ({"rest": torch.tensor([2.0, 1.0, 3.0])}, "not what it should be"),
        ({"rest": torch.full((3,), torch.nan)}, "not what it should be"),
        ({"shape": torch.tensor([1, 8, 9])}, "has not 64 numbers"),
    ],
)
def test_bad_stored_moments(change, message):
    good = packed(*LEAVES, (1, 8, 8), 20)
    with pytest.raises(ValueError, match=message):
        Wiener.from_moments(good | change)
    with pytest.raises(ValueError, match="have no U"):
        Wiener.from_moments({k: v for k, v in good.items() if k != "U"})


# --- bad input ---


@pytest.mark.parametrize(
    ("mu", "cov", "message"),
    [
        (torch.zeros(3), torch.zeros(2, 2), "mu must be"),
        (torch.zeros(2, 1), torch.zeros(2, 2), "mu must be"),
        (torch.zeros(2), torch.full((2, 2), torch.nan), "NaN"),
        (torch.full((2,), torch.inf), torch.eye(2), "NaN or infinite"),
        (torch.zeros(2), torch.tensor([[1.0, 0.5], [0.4, 1.0]]), "not symmetric"),
        (torch.zeros(2), -torch.eye(2), "negative eigenvalue"),
    ],
)
def test_bad_moments(mu, cov, message):
    with pytest.raises(ValueError, match=message):
        Wiener(mu, cov)


def test_a_shape_that_does_not_fit():
    with pytest.raises(ValueError, match="has not 32 numbers"):
        Wiener(*moments_of(images(40)), shape=(1, 5, 5))


def test_images_of_another_shape():
    wiener = Wiener.fit(images(40))
    for bad in (torch.zeros(1, 1, 4, 8), torch.zeros(1, 2, 4, 5), torch.zeros(D)):
        with pytest.raises(ValueError, match="x must"):
            wiener(bad.double(), 0.5)
    Wiener(*moments_of(images(40)))(torch.zeros(1, 1, 4, 8), 0.5)  # any shape of 32


BAD_SIGMA = [0.0, -1.0, math.nan, math.inf, 1e-200, 1e200]


@pytest.mark.parametrize("sigma", [*BAD_SIGMA, torch.ones(2, 1), torch.zeros(2)])
def test_bad_sigma(sigma):
    wiener = Wiener.fit(images(40))
    for call in (wiener.gain, wiener.expected_error, lambda s: wiener.row(0, s)):
        with pytest.raises(ValueError, match="sigma must be"):
            call(sigma)


@pytest.mark.parametrize("sigma", [1e-150, 1e-9, 1e9, 1e150])
def test_extreme_noise_is_no_trouble(sigma):
    wiener, x = Wiener.fit(images(80)), images(2, seed=1)
    answer = wiener(x, sigma)
    expected = x if sigma < 1 else wiener.mu.view(SHAPE).expand_as(x)
    torch.testing.assert_close(answer, expected, rtol=0, atol=1e-7)
    assert torch.isfinite(wiener.expected_error(sigma)).all()


@pytest.mark.parametrize("m", [-1, D, (2, 0, 0), (0, 0), (0, 0, -1)])
def test_no_such_pixel(m):
    with pytest.raises(ValueError, match="no pixel"):
        Wiener.fit(images(40)).row(m, 0.5)


def test_no_training_image():
    with pytest.raises(ValueError, match="no image"):
        Wiener.fit(images(5)[:0])
