"""The masked denoiser against its formula, its limits and its invariances."""

import pytest
import torch

from helpers import loops, masked, masks
from helpers.data import load
from helpers.denoisers import Optimal
from helpers.masked import Masked
from helpers.wiener import Wiener
from helpers.windows import LocalScore

SHAPE = (3, 4, 5)
n = 60


@pytest.fixture
def rng():
    return torch.Generator().manual_seed(0)


def images(N, rng, shape=SHAPE, dtype=torch.float64):
    return torch.rand(N, *shape, generator=rng, dtype=dtype) * 2 - 1


def noisy(data, B, sigma, rng):
    return data[:B] + sigma * torch.randn(
        B, *data.shape[1:], generator=rng, dtype=data.dtype
    )


def some_mask(rng, rows=n):
    mask = torch.rand(rows, n, generator=rng) < 0.3
    mask[torch.arange(rows), torch.arange(rows)] = True
    return mask


def literal(data, mask, x, sigma):
    """The formula, one output coordinate at a time, in float64."""
    y, x = data.flatten(1).double(), x.double()
    answer, rows = torch.empty(len(x), y.shape[1], dtype=torch.float64), len(mask)
    for b, one in enumerate(x.flatten(1)):
        for m in range(y.shape[1]):
            seen = mask[m % rows]
            logits = -(one - y)[:, seen].square().sum(1) / (2 * sigma**2)
            answer[b, m] = logits.softmax(0) @ y[:, m]
    return answer.view_as(x)


def by_tensors(monkeypatch):
    """As on a GPU: without the compiled loops."""
    monkeypatch.setattr(Masked, "_compiled", lambda *_: False)


@pytest.mark.parametrize("sigma", [0.002, 0.05, 0.7, 1.5, 30.0])
@pytest.mark.parametrize("rows", [n, 20])
@pytest.mark.parametrize("way", ["dense", "tensors", "loops"])
def test_formula(rng, sigma, rows, way, monkeypatch):
    if way == "tensors":
        by_tensors(monkeypatch)
    data, mask = images(30, rng), some_mask(rng, rows)
    x = noisy(data, 3, sigma, rng)
    got = Masked(data, mask, way == "dense")(x, sigma)
    torch.testing.assert_close(got, literal(data, mask, x, sigma), rtol=0, atol=1e-11)


@pytest.mark.parametrize("sigma", [0.001, 0.01, 0.1, 0.5, 0.99, 1.01, 5.0, 60.0])
def test_float32_is_accurate_to_four_digits(rng, sigma):
    """Real images, a mask of their own, and the noise levels where float32 fails."""
    data = load("digits", n=500)
    wiener = Wiener.fit(data)
    x = noisy(data, 4, sigma, rng)
    for mask in (masks.wiener_mask(wiener, sigma, 0.05), torch.ones(64, 64).bool()):
        exact = Masked(data, mask, dense=True)(x.double(), sigma)
        got = Masked(data, mask)(x, sigma)
        assert (got - exact).norm() < 1e-4 * exact.norm()


def test_the_rounding_of_small_noise_is_felt_without_float64(rng, monkeypatch):
    """Otherwise the test before this one would not test the second pass."""
    data = images(400, rng, dtype=torch.float32)
    x = images(4, rng, dtype=torch.float32)  # far from all images
    mask, sigma = torch.ones(n, n).bool(), 3e-4
    exact = Masked(data, mask)(x.double(), sigma)
    assert (Masked(data, mask)(x, sigma) - exact).norm() < 1e-4 * exact.norm()
    calls, once = [], Masked._pass
    monkeypatch.setattr(
        *(Masked, "_pass"), lambda *a: calls.append(a[1].dtype) or once(*a)
    )
    Masked(data, mask)(x, sigma)
    assert calls == [torch.float32, torch.float64]
    calls.clear()
    Masked(data, mask)(x, 0.5)
    assert calls == [torch.float32]


@pytest.mark.parametrize("sigma", [0.01, 0.5, 3.0])
def test_all_ones_is_the_optimal_denoiser(rng, sigma):
    data = images(40, rng)
    x = noisy(data, 3, sigma, rng)
    got = Masked(data, torch.ones(n, n).bool())(x, sigma)
    torch.testing.assert_close(got, Optimal(data)(x, sigma), rtol=0, atol=1e-11)


def test_identity_is_a_posterior_for_each_number(rng):
    data, sigma = images(40, rng), 0.3
    x = noisy(data, 2, sigma, rng)
    got = Masked(data, masks.pixel_mask(SHAPE))(x, sigma)
    y, z = data.flatten(1), x.flatten(1)
    w = (-((z[:, None] - y) ** 2) / (2 * sigma**2)).softmax(dim=1)  # (B, N, n)
    torch.testing.assert_close(got.flatten(1), (w * y).sum(1), rtol=0, atol=1e-12)


@pytest.mark.parametrize("k", [1, 3, 9])
def test_windows_are_the_local_score(rng, k):
    data = images(40, rng)
    x = noisy(data, 2, 0.4, rng)
    got = Masked(data, masks.window_mask(SHAPE, k))(x, 0.4)
    torch.testing.assert_close(got, LocalScore(data, k)(x, 0.4), rtol=0, atol=1e-10)


@pytest.mark.parametrize("N", [1, 2, 15, 16, 17, 70])
@pytest.mark.parametrize("task", [16, 20, 512])
def test_loops_are_the_tensor_operations(rng, monkeypatch, N, task):
    """With the tree, for numbers of images that do not fill a row or a task."""
    monkeypatch.setattr(loops, "TASK", task)
    data, sigma = images(N, rng), 0.4
    x = images(9, rng) + sigma * images(9, rng)
    mask = masks.window_mask(SHAPE, 3).repeat(3, 1)
    got = Masked(data, mask, dense=False)(x, sigma)
    by_tensors(monkeypatch)
    expected = Masked(data, mask, dense=False)(x, sigma)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)


def test_the_number_of_threads_changes_no_bit(rng, monkeypatch):
    monkeypatch.setattr(loops, "TASK", 16)
    data, mask = images(100, rng, dtype=torch.float32), some_mask(rng)
    x, denoise = noisy(data, 3, 0.4, rng), Masked(data, mask, dense=False)
    threads = torch.get_num_threads()
    answers = []
    for count in (1, 3):
        torch.set_num_threads(count)
        answers.append(denoise(x, 0.4))
    torch.set_num_threads(threads)
    assert torch.equal(*answers)


def test_blocks_and_order_do_not_matter(rng, monkeypatch):
    data, mask = images(50, rng), some_mask(rng)
    x = noisy(data, 9, 0.4, rng)
    whole = Masked(data, mask)(x, 0.4)
    shuffled = Masked(data[torch.randperm(50, generator=rng)], mask)(x, 0.4)
    torch.testing.assert_close(shuffled, whole, rtol=0, atol=1e-12)
    by_tensors(monkeypatch)
    for columns, batch in ((3, 2), (16, 1), (1000, 9)):
        monkeypatch.setattr(masked, "COLUMNS", columns)
        monkeypatch.setattr(masked, "IMAGES", batch)
        again = Masked(data, mask)(x, 0.4)
        torch.testing.assert_close(again, whole, rtol=0, atol=1e-12)


def test_a_noise_level_for_each_image(rng):
    """And a mask for each noise level."""
    data = images(30, rng)
    wiener, levels = (
        Wiener.fit(data),
        torch.tensor([0.2, 1.3, 0.2], dtype=torch.float64),
    )
    x = noisy(data, 3, 0.5, rng)
    denoise = Masked(data, lambda sigma: masks.wiener_mask(wiener, sigma, 0.2))
    got = denoise(x, levels)
    for k, sigma in enumerate(levels.tolist()):
        mask = masks.wiener_mask(wiener, sigma, 0.2)
        one = Masked(data, mask)(x[k : k + 1], sigma)
        torch.testing.assert_close(got[k : k + 1], one, rtol=0, atol=1e-12)
    assert len(denoise.plans) == 2


def test_few_plans_are_kept(rng):
    data = images(5, rng)
    denoise = Masked(data, lambda sigma: torch.ones(n, n).bool())
    for k in range(1, 2 * masked.PLANS):
        denoise(data[:1], k / 10)
    assert len(denoise.plans) == masked.PLANS


def test_one_training_image_is_the_answer(rng):
    data = images(1, rng)
    got = Masked(data, masks.pixel_mask(SHAPE))(torch.randn(2, *SHAPE).double(), 0.1)
    torch.testing.assert_close(got, data.expand(2, -1, -1, -1))


@pytest.mark.parametrize("sigma", [0.3, 2.0])
def test_autograd_goes_through(rng, sigma):
    data, mask = images(20, rng), some_mask(rng)
    x = noisy(data, 1, sigma, rng)
    denoise = Masked(data, mask)
    assert torch.autograd.gradcheck(lambda z: denoise(z, sigma), x.requires_grad_())


def test_answers_stay_within_the_data_and_keep_training_images(rng):
    data, mask = images(30, rng), some_mask(rng)
    got = Masked(data, mask)(noisy(data, 5, 1.0, rng), 1.0)
    assert (got <= data.amax(0) + 1e-12).all() and (got >= data.amin(0) - 1e-12).all()
    torch.testing.assert_close(Masked(data, mask)(data[:4], 1e-3), data[:4])


def test_a_set_without_memory_of_its_own(rng, tmp_path):
    """A memory-mapped training set is read block by block, in place."""
    data = images(40, rng, dtype=torch.float32)
    path = str(tmp_path / "set.bin")
    stored = torch.from_file(path, shared=True, size=data.numel()).view_as(data)
    stored.copy_(data)
    mask, x = some_mask(rng), noisy(data, 2, 0.4, rng)
    denoise = Masked(stored, mask)
    assert denoise.data.data_ptr() == stored.data_ptr()
    assert torch.equal(denoise(x, 0.4), Masked(data, mask)(x, 0.4))


def test_bad_input(rng):
    data = images(10, rng)
    good = torch.ones(n, n).bool()
    empty = good.clone()
    empty[7] = False
    for words, mask in (
        ("empty", empty),
        ("mask", good[:, :5]),
        ("bool", good.float()),
    ):
        with pytest.raises(ValueError, match=words):
            Masked(data, mask)
        with pytest.raises(ValueError, match=words):
            Masked(data, lambda _, mask=mask: mask)(data[:1], 0.5)
    with pytest.raises(ValueError, match="no image"):
        Masked(data[:0], good)
    denoise = Masked(data, good)
    for sigma in (0.0, -1.0, float("nan"), torch.ones(3)):
        with pytest.raises(ValueError):
            denoise(data[:2], sigma)
    for x in (data[:2, :1], data[:2] * torch.nan, data[0]):
        with pytest.raises(ValueError):
            denoise(x, 0.5)
