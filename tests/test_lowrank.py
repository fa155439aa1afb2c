"""The largest eigenpairs, kept small or found in a stream, and what their error is."""

import math

import numpy as np
import pytest
import torch
from sklearn.decomposition import IncrementalPCA

from helpers import dead_leaves
from helpers.lowrank import (
    added,
    certified,
    compress,
    eigenbasis,
    mean_and_variance,
    products,
)
from helpers.streaming import Moments
from helpers.wiener import Wiener

SHAPE = (2, 6, 5)
n = math.prod(SHAPE)


def randn(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def images(N, seed=0):
    """Images with variances that fall over six decades, around a mean."""
    root = torch.linalg.qr(randn(n, n, seed=99)).Q * torch.logspace(-0.5, -3.5, n)
    flat = randn(N, n, seed=seed) @ root.T + 0.5 * randn(n, seed=98).clamp(-1, 1)
    return flat.view(N, *SHAPE)


def moments(data):
    flat = data.flatten(1).double()
    return flat.mean(0), torch.cov(flat.T, correction=0)


def compared(kept, cov, sigma):
    """Errors of the rows of the compressed Wiener filter, and their bounds."""
    short = Wiener.from_moments(kept)
    exact = torch.linalg.solve(cov + sigma**2 * torch.eye(n).double(), cov)
    bounds = torch.tensor([short.row_error(m, sigma) for m in range(n)])
    return (short.matrix(sigma) - exact).norm(dim=1), bounds


@pytest.mark.parametrize("r", [1, 20, n - 1, n])
@pytest.mark.parametrize("N", [400, 25])  # with N < n eigenvalues are zero
def test_rows_of_the_compressed_filter_stay_within_their_bound(r, N):
    mu, cov = moments(images(N))
    kept = compress(mu, cov, r, SHAPE, N)
    for sigma in (0.01, 0.1, 3.0):
        errors, bounds = compared(kept, cov, sigma)
        assert (errors <= bounds).all()
        assert r < n or bounds.max() < 2e-3  # rounding is all there is


def test_what_the_file_of_moments_holds():
    data = images(400)
    mu, cov = moments(data)
    kept = compress(mu, cov, 20, SHAPE, 400)
    lam = torch.linalg.eigvalsh(cov).flip(0)
    torch.testing.assert_close(kept["lam"], lam[:20], rtol=1e-10, atol=0)
    rest = torch.stack([lam[-1], lam[20:].mean(), lam[20]])
    torch.testing.assert_close(kept["rest"], rest, rtol=1e-6, atol=0)
    dtypes = {key: (value.dtype, tuple(value.shape)) for key, value in kept.items()}
    assert dtypes == {
        "mu": (torch.float32, (n,)),
        "lam": (torch.float64, (20,)),
        "U": (torch.int16, (n, 20)),
        "scale": (torch.float32, (20,)),
        "rest": (torch.float64, (3,)),
        "shape": (torch.int32, (3,)),
        "N": (torch.int64, (1,)),
    }
    assert kept["U"].amax(dim=0).tolist() == [32767] * 20  # positive, the whole range
    assert kept["U"].amin() >= -32767
    V = kept["U"] * kept["scale"].double()
    torch.testing.assert_close(V.T @ V, torch.eye(20).double(), rtol=0, atol=1e-4)
    assert kept["shape"].tolist() == list(SHAPE) and kept["N"].item() == 400
    assert compress(mu, cov, n, SHAPE)["rest"].tolist() == [0, 0, 0]


def test_pixels_that_never_change():
    """Zero variance: their rows of the filter are zero, and so is the bound."""
    data = images(400)
    data[:, :, 0] = -1.0
    mu, cov = moments(data)
    kept = compress(mu, cov, n - 10, SHAPE)
    errors, bounds = compared(kept, cov, 0.1)
    assert (errors <= bounds).all()
    assert (
        Wiener.from_moments(kept).matrix(0.1).view(*SHAPE, n)[:, 0].abs().max() < 1e-6
    )


@pytest.mark.parametrize("r", [1, 8, 25])
def test_streamed_eigenpairs_are_those_of_the_covariance(r):
    data = images(500)
    mu, cov = moments(data)
    low = eigenbasis(lambda: data.split(90), r, generator(), dtype=torch.float64)
    lam, U = (part.flip(-1) for part in torch.linalg.eigh(cov))
    torch.testing.assert_close(low.mu, mu, rtol=0, atol=1e-13)
    torch.testing.assert_close(low.lam, lam[:r], rtol=1e-6, atol=1e-12)
    overlap = (low.U * U[:, :r]).sum(0).abs()
    torch.testing.assert_close(overlap, torch.ones(r).double(), rtol=0, atol=1e-4)
    assert low.total == pytest.approx(cov.trace().item(), rel=1e-12)
    assert low.dropped == pytest.approx((cov.trace() - low.lam.sum()).item(), abs=1e-12)
    assert low.N == 500


def test_the_residuals_are_honest_where_the_basis_is_poor():
    """One pass only: each residual is the true one, and an eigenvalue is that near."""
    data = images(500)
    _, cov = moments(data)
    read = lambda: data.split(90)  # noqa: E731
    low = eigenbasis(read, 20, generator(), extra=0, passes=1, dtype=torch.float64)
    residual = (cov @ low.U - low.U * low.lam).norm(dim=0)
    torch.testing.assert_close(low.residual, residual, rtol=1e-6, atol=1e-12)
    lam = torch.linalg.eigvalsh(cov)
    assert (residual > 1e-6).any()
    assert ((lam[:, None] - low.lam).abs().amin(dim=0) <= residual).all()
    assert (low.lam <= lam.flip(0)[:20] + 1e-12).all()


def test_no_eigenvalue_that_was_dropped_is_above_the_ceiling():
    """Ten times as many failures as allowed would be noticed; and it is not too far."""
    data = images(300)
    _, cov = moments(data)
    read = lambda: data.split(90)  # noqa: E731
    low = eigenbasis(read, 10, generator(), passes=1, extra=2, dtype=torch.float64)
    outside = torch.eye(n) - low.U @ low.U.T
    largest = torch.linalg.eigvalsh(outside @ cov @ outside)[-1].item()
    for seed in range(20):
        sure = certified(low, read, generator(1 + seed), dtype=torch.float64)
        assert largest <= sure.ceiling < 4 * largest
    assert low.floor <= torch.linalg.eigvalsh(cov).flip(0)[10] <= largest + 1e-15
    assert sure.certainty == 1 - 1e-6


def test_the_error_of_the_full_wiener_filter_is_bracketed():
    data = images(500)
    _, cov = moments(data)
    read = lambda: data.split(90)  # noqa: E731
    low = eigenbasis(read, 25, generator(), dtype=torch.float64)
    with pytest.raises(ValueError, match="see certified"):
        low.error_bracket(0.1)
    low = certified(low, read, generator(1), dtype=torch.float64)
    lam = torch.linalg.eigvalsh(cov)
    for sigma in (0.003, 0.03, 0.3, 3.0):
        error = (lam * sigma**2 / (lam + sigma**2)).sum().item()
        small, large = low.error_bracket(sigma)
        assert small <= error <= large and large - small < 0.7 * error


def test_scikit_learn_streams_to_nearly_the_same():
    """IncrementalPCA forgets a little at each batch; ours does not."""
    data = images(600)
    batches = data.split(100)
    low = eigenbasis(lambda: batches, 5, generator())
    pca = IncrementalPCA(5)
    for batch in batches:
        pca.partial_fit(batch.flatten(1).numpy())
    theirs = torch.from_numpy(pca.explained_variance_ * 599 / 600)
    exact = torch.linalg.eigvalsh(moments(data)[1]).flip(0)[:5]
    torch.testing.assert_close(low.lam, theirs, rtol=0.05, atol=0)
    assert ((low.lam - exact).abs() < (theirs - exact).abs()).all()
    overlap = (low.U * torch.from_numpy(pca.components_.T)).sum(0).abs()
    assert overlap.min() > 0.95


def test_levels_in_float32_and_any_batches():
    pixels = torch.from_numpy(
        dead_leaves.sample(300, 12, generator=np.random.default_rng(0))
    ).permute(0, 3, 1, 2)
    cov = Moments().update(pixels).cov()
    lam = torch.linalg.eigvalsh(cov).flip(0)
    for size in (7, 300):
        low = eigenbasis(lambda s=size: pixels.split(s), 6, generator())
        torch.testing.assert_close(low.lam, lam[:6], rtol=1e-3, atol=0)
        assert low.total == pytest.approx(cov.trace().item(), rel=1e-10)


def test_fewer_images_than_pairs():
    """A set of 4 images spans 3 directions: that many pairs, and nothing dropped."""
    data = images(4)
    low = eigenbasis(lambda: [data], 10, generator(), dtype=torch.float64)
    lam = torch.linalg.eigvalsh(moments(data)[1]).flip(0)
    torch.testing.assert_close(low.lam, lam[:3], rtol=1e-10, atol=0)
    assert low.dropped < 1e-10 and low.residual.max() < 1e-10
    one = eigenbasis(lambda: [data[:1]], 3, generator(), dtype=torch.float64)
    assert one.lam.tolist() == [0.0] and one.total == 0


def test_sums_of_shards_add_up():
    data, Q = images(90), randn(n, 4)
    mu, cov = moments(data)
    sums, Y = None, 0
    for shard in data.split([10, 50, 30]):
        sums = added(sums, mean_and_variance(shard.split(7)))
        part, count = products(shard.split(7), mu, Q, torch.float64)
        assert count == len(shard)
        Y = Y + part
    assert sums["count"].item() == 90
    torch.testing.assert_close(sums["sum"] / 90, mu)
    torch.testing.assert_close(sums["square"] / 90 - mu**2, cov.diagonal())
    torch.testing.assert_close(Y / 90, cov @ Q)


def test_bad_input():
    mu, cov = moments(images(50))
    for r in (0, n + 1):
        with pytest.raises(ValueError, match="r must be"):
            compress(mu, cov, r, SHAPE)
    with pytest.raises(ValueError, match="not of images"):
        compress(mu, cov, 3, (1, 6, 5))
    for r, passes in ((0, 4), (n, 4), (3, 0)):
        with pytest.raises(ValueError, match="passes"):
            eigenbasis(lambda: [images(9)], r, generator(), passes=passes)
    with pytest.raises(ValueError, match="no image"):
        eigenbasis(list, 3, generator())
    with pytest.raises(ValueError, match="finite"):
        mean_and_variance([torch.full((2, 4), torch.nan)])
    once = iter([images(9)])
    with pytest.raises(ValueError, match="anew"):
        eigenbasis(lambda: once, 3, generator())
    low = eigenbasis(lambda: [images(9)], 3, generator())
    with pytest.raises(ValueError, match="failure"):
        certified(low, lambda: [images(9)], generator(1), failure=1.0)
