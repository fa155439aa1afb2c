"""The window denoisers against loops over pixels and crops, and their limits."""

import math

import pytest
import torch
from torch.autograd import gradcheck

from helpers import loops, windows
from helpers.denoisers import Optimal
from helpers.scales import Scales
from helpers.windows import CropMean, LocalScore


def randn(*shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=dtype)


def images(N, C=3, H=5, W=7, seed=0):
    return randn(N, C, H, W, seed=seed).clamp(-1, 1)


def posterior(gaps, sigma):
    """Weights of images at the squared distances `gaps`, by the definition."""
    logits = [-g / (2 * sigma**2) for g in gaps]
    masses = [math.exp(l - max(logits)) for l in logits]
    return [m / sum(masses) for m in masses]


def naive_local_score(data, x, sigma, k):
    """Eq. 8 of Kamb & Ganguli: one pixel of one image at a time."""
    answer, (H, W), r = torch.zeros_like(x), x.shape[2:], k // 2
    for b in range(len(x)):
        for i in range(H):
            for j in range(W):
                rows = slice(max(0, i - r), i + r + 1)
                columns = slice(max(0, j - r), j + r + 1)
                gap = (x[b] - data)[:, :, rows, columns].square().sum(dim=(1, 2, 3))
                weights = posterior(gap.tolist(), sigma)
                for w, y in zip(weights, data):
                    answer[b, :, i, j] += w * y[:, i, j]
    return answer


def naive_crop_mean(data, z, sigma, s):
    """Niedoba et al.: put back the posterior mean of each crop, divide by overlaps."""
    total, count, (H, W) = torch.zeros_like(z), torch.zeros_like(z), z.shape[2:]
    for b in range(len(z)):
        for i in range(H - s + 1):
            for j in range(W - s + 1):
                crop = (slice(None), slice(i, i + s), slice(j, j + s))
                gap = [(z[b][crop] - y[crop]).square().sum().item() for y in data]
                for w, y in zip(posterior(gap, sigma), data):
                    total[b][crop] += w * y[crop]
                count[b][crop] += 1
    return total / count


@pytest.fixture(autouse=True, params=["compiled", "tensors"])
def way(request, monkeypatch):
    """Each test with the compiled loops and without."""
    if request.param == "tensors":
        monkeypatch.setattr(windows, "compiled", lambda x: False)
    return request.param


NAIVE = {LocalScore: naive_local_score, CropMean: naive_crop_mean}
each_class = pytest.mark.parametrize("kind", NAIVE)


@each_class
@pytest.mark.parametrize("C", [1, 3])
@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("sigma", [0.05, 0.5, 3.0])
def test_it_is_its_formula(kind, C, k, sigma):
    data, x = images(9, C), images(2, C, seed=1) + sigma * randn(2, C, 5, 7, seed=2)
    expected = NAIVE[kind](data, x, sigma, k)
    got = kind(data, k)(x, sigma)
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("k", [7, 9, 11, 13])
def test_windows_wider_than_one_side_are_cut(k):
    data, x = images(9), images(2, seed=1)
    expected = naive_local_score(data, x, 0.8, k)
    torch.testing.assert_close(LocalScore(data, k)(x, 0.8), expected)


def test_zero_padding_changes_nothing():
    """A window cut at the border is one that sees zeros on both sides."""
    data, x, r = images(9), images(2, seed=1), 2
    wide = [torch.nn.functional.pad(v, (r, r, r, r)) for v in (data, x)]
    padded = LocalScore(wide[0], 2 * r + 1)(wide[1], 0.6)[:, :, r:-r, r:-r]
    torch.testing.assert_close(LocalScore(data, 2 * r + 1)(x, 0.6), padded)


@pytest.mark.parametrize("sigma", [0.01, 0.5, 2.0, 50.0])
def test_the_whole_image_as_window_is_the_optimal_denoiser(sigma):
    data, x = images(30), images(4, seed=1) + sigma * randn(4, 3, 5, 7, seed=2)
    expected = Optimal(data)(x, sigma)
    torch.testing.assert_close(LocalScore(data, 13)(x, sigma), expected)
    square, x = images(30, H=5, W=5), x[..., :5]
    torch.testing.assert_close(CropMean(square, 5)(x, sigma), Optimal(square)(x, sigma))


@each_class
def test_one_pixel_as_window_is_one_posterior_for_each_pixel(kind):
    data, x = images(9), images(2, seed=1)
    expected = torch.empty_like(x)
    for i in range(5):
        for j in range(7):
            pixel = (..., slice(i, i + 1), slice(j, j + 1))
            expected[pixel] = Optimal(data[pixel])(x[pixel], 0.4)
    torch.testing.assert_close(kind(data, 1)(x, 0.4), expected)


@each_class
def test_much_noise_gives_the_mean_and_little_a_training_image(kind):
    data = images(20)
    far, near = kind(data, 3)(images(2, seed=1), 1e6), kind(data, 3)(data[:4], 1e-4)
    mean = data.mean(dim=0).expand_as(far)
    torch.testing.assert_close(far, mean, rtol=0, atol=1e-5)
    torch.testing.assert_close(near, data[:4], rtol=0, atol=1e-15)


@each_class
@pytest.mark.parametrize("sigma", [0.01, 0.7])
def test_blocks_and_order_change_nothing(kind, sigma, monkeypatch):
    data, x = images(50), images(5, seed=1)
    whole = kind(data, 3)(x, sigma)
    monkeypatch.setattr(windows, "LOGITS", 35 * 2 * 3)  # three images at a time,
    monkeypatch.setattr(windows, "WINDOWS", 35 * 2)  # and two noisy ones
    monkeypatch.setattr(loops, "TASK", 17)
    order = torch.randperm(50, generator=torch.Generator().manual_seed(0))
    for again in (data, data[order]):
        torch.testing.assert_close(kind(again, 3)(x, sigma), whole)


@each_class
def test_one_sigma_per_image_equals_one_by_one(kind):
    data, x = images(20), images(3, seed=1)
    for k in (3, Scales([0.1, 1.0, 9.0], [1, 3, 5])):
        sigma = torch.tensor([0.1, 1.0, 9.0])
        together = kind(data, k)(x, sigma)
        for i in range(3):
            alone = kind(data, k)(x[i : i + 1], float(sigma[i]))
            torch.testing.assert_close(together[i : i + 1], alone)


def test_the_side_may_depend_on_sigma():
    data, x = images(20), images(2, seed=1)
    local = LocalScore(data, Scales([0.1, 1.0], [1, 5]))
    assert torch.equal(local(x, 0.1), LocalScore(data, 1)(x, 0.1))
    assert torch.equal(local(x, 0.9), LocalScore(data, 5)(x, 0.9))
    with pytest.raises(ValueError, match="outside of the calibrated"):
        local(x, 1.1)
    with pytest.raises(ValueError, match="window side"):
        LocalScore(data, lambda sigma: 4)(x, 1.0)


@each_class
@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("sigma", [0.002, 0.01, 0.05, 1.0, 20.0])
@pytest.mark.parametrize("far", [False, True])
def test_float32_loses_nothing(kind, k, sigma, far):
    """Near the training images and far from all of them, where rounding is worst."""
    data = images(300, H=6, W=6).float()
    noise = sigma * randn(3, 3, 6, 6, seed=2)
    x = ((images(3, H=6, W=6, seed=1) if far else data[:3]) + noise).float()
    expected = kind(data.double(), k)(x.double(), sigma)
    error = (kind(data, k)(x, sigma) - expected).norm() / expected.norm()
    assert error < 1e-5


@each_class
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_threads_change_nothing(kind, dtype):
    data, x = images(300).to(dtype), images(3, seed=1).to(dtype)
    threads, answers = torch.get_num_threads(), []
    for count in (1, 3):
        torch.set_num_threads(count)
        answers.append(kind(data, 3)(x, 0.3))
    torch.set_num_threads(threads)
    torch.testing.assert_close(*answers, rtol=1e-6, atol=1e-7)


@each_class
def test_the_two_ways_agree(kind, monkeypatch):
    data, x = images(100, H=9, W=6), images(3, H=9, W=6, seed=1)
    answers = [kind(data, 5)(x, 0.5)]
    monkeypatch.setattr(windows, "compiled", lambda x: False)
    torch.testing.assert_close(kind(data, 5)(x, 0.5), *answers, rtol=1e-12, atol=1e-13)


@each_class
def test_images_that_do_not_lie_together(kind):
    """Transposed, and a slice: views with strides of their own."""
    data, x = images(40, H=5, W=5), images(4, H=5, W=5, seed=1)
    views = data.transpose(2, 3)[::2], x.transpose(2, 3)[1:]
    expected = kind(views[0].contiguous(), 3)(views[1].contiguous(), 0.5)
    assert torch.equal(kind(views[0], 3)(views[1], 0.5), expected)


@each_class
def test_gradients_are_those_of_finite_differences(kind):
    data, x = images(6, H=3, W=4), images(2, H=3, W=4, seed=1).requires_grad_()
    assert gradcheck(lambda x: kind(data, 3)(x, 0.8), x)


def test_jacobian_is_the_covariance_under_the_weights():
    """Rows of one window: 1 / sigma^2 times Cov(y_p, y_q) for q inside, 0 outside."""
    data, x, sigma = images(9, C=1), images(1, C=1, seed=1), 0.7
    J = torch.autograd.functional.jacobian(lambda x: LocalScore(data, 3)(x, sigma), x)
    row = J[0, 0, 2, 3, 0, 0]  # d D[2, 3] / dx
    gap = (x[0] - data)[:, 0, 1:4, 2:5].square().sum(dim=(1, 2))
    w = torch.tensor(posterior(gap.tolist(), sigma), dtype=torch.float64)
    y = data[:, 0] - torch.einsum("n,nij->ij", w, data[:, 0])
    expected = torch.einsum("n,n,nij->ij", w, y[:, 2, 3], y) / sigma**2
    mask = torch.zeros(5, 7, dtype=torch.bool)
    mask[1:4, 2:5] = True
    torch.testing.assert_close(row, expected * mask)


@pytest.mark.parametrize("k", [0, -1, 2, 2.5, 15])
def test_window_sides_that_make_no_sense(k):
    with pytest.raises(ValueError, match="window side"):
        LocalScore(images(3), k)


@pytest.mark.parametrize("s", [0, -1, 2.5, 6])
def test_crop_sides_that_make_no_sense(s):
    with pytest.raises(ValueError, match="crop side"):
        CropMean(images(3), s)


def test_crops_may_have_an_even_side():
    data, x = images(9), images(2, seed=1)
    expected = naive_crop_mean(data, x, 0.8, 4)
    torch.testing.assert_close(CropMean(data, 4)(x, 0.8), expected)


@each_class
def test_bad_input(kind):
    denoise, x = kind(images(3), 3), images(2)
    with pytest.raises(ValueError, match="no image"):
        kind(images(0), 3)
    with pytest.raises(ValueError, match=r"\[-1, 1\]"):
        kind(2 + images(3), 3)
    with pytest.raises(ValueError, match="shape"):
        denoise(x[..., 1:], 1.0)
    with pytest.raises(ValueError, match="NaN"):
        denoise(x * torch.nan, 1.0)
    for sigma in (0.0, -1.0, math.inf, torch.ones(3)):
        with pytest.raises(ValueError, match=r"sigma|shape"):
            denoise(x, sigma)


def test_an_empty_batch_has_an_empty_answer():
    assert LocalScore(images(3), 3)(images(0), 1.0).shape == (0, 3, 5, 7)
