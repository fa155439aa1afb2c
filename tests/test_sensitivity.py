"""Rows of Jacobians against autograd, differences and formulas; fields and numbers."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import schedules
from helpers.denoisers import Optimal, clipped
from helpers.fields import (
    average,
    channels,
    cosine,
    effective_radius,
    energy_within,
    flex_mask,
    mirror_energy,
    of_average,
)
from helpers.metrics import jackknife, pearson
from helpers.networks import denoiser
from helpers.sensitivity import masked_row, optimal_row, optimal_rows, row, rows
from helpers.unet import UNet
from helpers.wiener import Wiener

SHAPE = (2, 3, 5)  # C, H, W: not square
PIXELS = [(0, 0, 0), (1, 2, 3), (0, 1, 4)]


def randn(*shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=dtype)


def images(N, seed=0, dtype=torch.float64):
    return randn(N, *SHAPE, seed=seed, dtype=dtype).clamp(-1, 1)


def random_mask(seed=0):
    return randn(*SHAPE, seed=seed) > -0.3


def literal_masked(data, mask, x, sigma, pixel):
    """The output of a masked denoiser at one pixel, by its definition, (B,)."""
    square = (x[:, None] - data).square() * mask  # (B, N, C, H, W)
    logits = -square.sum(dim=(2, 3, 4)) / (2 * sigma**2)
    return logits.softmax(dim=1) @ data[(slice(None), *pixel)]


def by_autograd(function, x):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(function(x).sum(), x)[0]


def by_differences(denoise, x, sigma, pixel, h=1e-5):
    """Central differences, one input coordinate at a time, (B, C, H, W)."""
    columns = []
    for direction in torch.eye(x[0].numel(), dtype=x.dtype):
        step = h * direction.view(x.shape[1:])
        change = denoise(x + step, sigma) - denoise(x - step, sigma)
        columns.append(change[(slice(None), *pixel)] / (2 * h))
    return torch.stack(columns, dim=1).view_as(x)


def random_unet(**changes):
    config = {"image_size": 4, "in_channels": 2, "channels": 4, "multipliers": (1, 2)}
    config |= {"blocks": 1, "attention": (4,), "dropout": 0.0, "groups": 2}
    net = UNet(**config | changes).double().eval()
    for seed, p in enumerate(net.parameters()):
        p.data = 0.3 * randn(*p.shape, seed=seed)
    return net


# Any denoiser, by autograd


@pytest.mark.parametrize("sigma", [0.05, 1.0, 20.0])
def test_rows_of_the_wiener_filter_are_rows_of_its_matrix(sigma):
    data, x = images(60), images(3, seed=1)
    wiener = Wiener(data.flatten(1).mean(0), torch.cov(data.flatten(1).T), SHAPE)
    cov, one = torch.cov(data.flatten(1).T), torch.eye(30, dtype=torch.float64)
    S = torch.linalg.solve(cov + sigma**2 * one, cov)
    for pixel, fields in zip(PIXELS, rows(wiener, x, sigma, PIXELS)):
        c, i, j = pixel
        expected = S[:, (c * 3 + i) * 5 + j].view(SHAPE)  # S is symmetric
        for field in [*fields, wiener.row(pixel, sigma)]:
            torch.testing.assert_close(field, expected, rtol=1e-8, atol=1e-12)


def test_rows_of_a_net_are_differences():
    denoise = denoiser(random_unet(), schedules.linear())
    x, pixel = randn(2, 2, 4, 4, seed=9), (1, 2, 1)
    field = row(denoise, x, 0.7, pixel)
    with torch.no_grad():
        expected = by_differences(denoise, x, 0.7, pixel)
    assert (field - expected).abs().max() < 1e-7 * field.abs().max()
    assert (field[0] - field[1]).abs().max() > 0.01  # so that inputs matter


def test_it_works_without_gradients_and_leaves_none():
    net = random_unet()
    denoise, x = denoiser(net, schedules.linear()), randn(3, 2, 4, 4)
    with torch.enable_grad():
        expected = row(denoise, x.clone().requires_grad_(), 0.7, (0, 1, 1))
    with torch.no_grad():
        assert torch.equal(row(denoise, x, 0.7, (0, 1, 1)), expected)
        assert not torch.is_grad_enabled()
    with torch.inference_mode():
        assert torch.equal(row(denoise, x + 0, 0.7, (0, 1, 1)), expected)
    assert not expected.requires_grad and x.grad is None
    assert all(p.grad is None and p.requires_grad for p in net.parameters())


def test_chunks_and_batches_do_not_matter():
    denoise, x = denoiser(random_unet(), schedules.linear()), randn(5, 2, 4, 4)
    sigma = torch.tensor([0.05, 0.3, 1.0, 4.0, 20.0], dtype=torch.float64)
    pixels = [(0, 0, 0), (1, 3, 2)]
    whole = rows(denoise, x, sigma, pixels)
    assert whole.shape == (2, 5, 2, 4, 4)
    torch.testing.assert_close(rows(denoise, x, sigma, pixels, chunk=2), whole)
    for i in range(5):
        alone = row(denoise, x[i : i + 1], sigma[i].item(), pixels[1])
        torch.testing.assert_close(alone[0], whole[1, i])


def test_one_forward_pass_serves_all_pixels_and_sigma_stays_what_it_was():
    seen = []

    def denoise(x, sigma):
        seen.append((len(x), sigma))
        return 2 * x

    fields = rows(denoise, images(5), 0.5, PIXELS, chunk=3)
    assert seen == [(3, 0.5), (2, 0.5)]
    for field, pixel in zip(fields, PIXELS):
        expected = torch.zeros(SHAPE, dtype=torch.float64)
        expected[pixel] = 2
        assert torch.equal(field, expected.expand(5, *SHAPE))


def test_the_grey_answer_is_the_mean_over_channels():
    optimal, x = Optimal(images(40)), images(3, seed=1)
    for each in (
        lambda pixels: rows(optimal, x, 0.8, pixels),
        lambda pixels: optimal_rows(images(40), x, 0.8, pixels),
    ):
        grey, red, green = each([(1, 3), (0, 1, 3), (1, 1, 3)])
        torch.testing.assert_close(grey, (red + green) / 2)


@pytest.mark.parametrize(
    "pixel", [(2, 0, 0), (0, 3, 0), (0, 0, 5), (0, -1, 0), (0, 5), (1,), (0, 0, 0, 0)]
)
def test_no_such_pixel(pixel):
    x = images(2)
    for call in (
        lambda: row(lambda x, sigma: x, x, 1.0, pixel),
        lambda: optimal_row(images(4), x, 1.0, pixel),
    ):
        with pytest.raises(ValueError, match="a pixel is"):
            call()


def test_no_pixel_at_all():
    with pytest.raises(ValueError, match="at least one"):
        rows(lambda x, sigma: x, images(2), 1.0, [])


@pytest.mark.parametrize("learned", [False, True], ids=["detached", "learned"])
def test_an_answer_that_does_not_depend_on_x_is_an_error(learned):
    weight = torch.ones(SHAPE, dtype=torch.float64, requires_grad=learned)
    with pytest.raises(ValueError, match="does not depend on x"):
        row(lambda x, sigma: weight * x.detach(), images(2), 1.0, (0, 0, 0))
    no_grad = torch.no_grad()(lambda x, sigma: weight * x)
    with pytest.raises(ValueError, match="does not depend on x"):
        row(no_grad, images(2), 1.0, (0, 0, 0))


def test_bad_input():
    with pytest.raises(ValueError, match=r"x is \(2, 2, 3, 5\)"):
        row(lambda x, sigma: x[:, :1], images(2), 1.0, (0, 0, 0))
    with pytest.raises(ValueError, match="sigma"):
        row(lambda x, sigma: x, images(2), 0.0, (0, 0, 0))
    with pytest.raises(ValueError, match="NaN"):
        row(lambda x, sigma: x, images(2) / 0, 1.0, (0, 0, 0))
    with pytest.raises(ValueError, match="shape"):
        optimal_row(images(4), images(2)[:, :1], 1.0, (0, 0, 0))
    with pytest.raises(ValueError, match="no image"):
        optimal_row(images(4)[:0], images(2), 1.0, (0, 0, 0))


# Closed forms


@given(st.floats(0.03, 50), st.sampled_from(PIXELS))
@settings(max_examples=20)
def test_optimal_rows_are_the_gradients_of_the_definition(sigma, pixel):
    data, x = images(30), images(3, seed=1) + sigma * randn(3, *SHAPE, seed=2)
    everything = torch.ones(SHAPE)
    expected = by_autograd(
        lambda x: literal_masked(data, everything, x, sigma, pixel), x
    )
    field, peak = optimal_row(data, x, sigma, pixel), expected.abs().max()
    assert (field - expected).abs().max() <= 1e-8 * peak + 1e-11 / sigma**2
    torch.testing.assert_close(
        row(Optimal(data), x, sigma, pixel), field, rtol=1e-6, atol=1e-11 / sigma**2
    )


@given(st.floats(0.03, 50), st.sampled_from(PIXELS), st.integers(0, 20))
@settings(max_examples=20)
def test_masked_rows_are_the_gradients_of_the_definition(sigma, pixel, seed):
    data, mask = images(30), random_mask(seed)
    x = images(3, seed=1) + sigma * randn(3, *SHAPE, seed=2)
    expected = by_autograd(lambda x: literal_masked(data, mask, x, sigma, pixel), x)
    field = masked_row(data, mask, x, sigma, pixel)
    peak = expected.abs().max()
    assert (field - expected).abs().max() <= 1e-8 * peak + 1e-11 / sigma**2
    assert torch.equal(masked_row(data, mask.flatten(), x, sigma, pixel), field)
    assert not bool(field[:, ~mask].any())


def test_closed_forms_are_differences():
    data, mask, x = images(30), random_mask(3), images(2, seed=1)
    pixel = PIXELS[1]
    field = optimal_row(data, x, 0.9, pixel)
    expected = by_differences(Optimal(data), x, 0.9, pixel)
    torch.testing.assert_close(field, expected, rtol=1e-6, atol=1e-8)

    def masked(x, sigma):
        answer = torch.zeros_like(x)
        answer[(slice(None), *pixel)] = literal_masked(data, mask, x, sigma, pixel)
        return answer

    field = masked_row(data, mask, x, 0.9, pixel)
    expected = by_differences(masked, x, 0.9, pixel)
    torch.testing.assert_close(field, expected, rtol=1e-6, atol=1e-8)


def test_all_ones_are_optimal_and_the_identity_is_a_scalar_posterior():
    data, x, pixel = images(30), images(4, seed=1), PIXELS[1]
    ones, single = torch.ones(SHAPE, dtype=torch.bool), torch.zeros(SHAPE).bool()
    assert torch.equal(
        masked_row(data, ones, x, 0.6, pixel), optimal_row(data, x, 0.6, pixel)
    )
    single[pixel] = True
    field = masked_row(data, single, x, 0.6, pixel)
    y, at = data[(slice(None), *pixel)], x[(slice(None), *pixel)]
    p = (-(at[:, None] - y).square() / (2 * 0.6**2)).softmax(dim=1)
    variance = p @ y**2 - (p @ y) ** 2
    torch.testing.assert_close(field[(slice(None), *pixel)], variance / 0.6**2)
    assert int((field != 0).sum()) == 4


@pytest.mark.parametrize("sigma", [0.2, 0.3, 1.0])
def test_what_is_left_when_one_image_has_nearly_all_the_weight(sigma):
    """Two images: the covariance is p (1 - p) times the product of differences."""
    data = images(2)
    x = data[:1] + 0.01 * randn(1, *SHAPE, seed=3)
    gap = (x - data[1]).square().sum() - (x - data[0]).square().sum()
    p = torch.sigmoid(-gap / (2 * sigma**2))  # 3e-149 at sigma = 0.2
    difference = data[1] - data[0]
    expected = p * (1 - p) * difference[PIXELS[1]] * difference / sigma**2
    field = optimal_row(data, x, sigma, PIXELS[1])[0]
    assert (field - expected).abs().max() < 1e-12 * expected.abs().max()


def test_repeated_images_and_a_single_one():
    data, x = images(20), images(3, seed=1)
    twice = optimal_row(torch.cat([data, data]), x, 0.7, PIXELS[0])
    torch.testing.assert_close(twice, optimal_row(data, x, 0.7, PIXELS[0]))
    assert not bool(optimal_row(data[:1], x, 0.7, PIXELS[0]).any())


def test_blocks_change_memory_not_the_result(monkeypatch):
    data, x, mask = images(50), images(7, seed=1), random_mask(1)
    sigma = torch.tensor([0.3, 0.5, 0.7, 1.0, 2.0, 5.0, 9.0])
    whole = optimal_rows(data, x, sigma, PIXELS)
    masked = masked_row(data, mask, x, sigma, PIXELS[1])
    monkeypatch.setattr("helpers.sensitivity.BLOCK", 7)
    monkeypatch.setattr("helpers.sensitivity.LOGITS", 100)  # two inputs at a time
    torch.testing.assert_close(optimal_rows(data, x, sigma, PIXELS), whole)
    torch.testing.assert_close(masked_row(data, mask, x, sigma, PIXELS[1]), masked)
    for i in range(7):
        alone = optimal_row(data, x[i : i + 1], float(sigma[i]), PIXELS[1])
        torch.testing.assert_close(alone[0], whole[1, i])


def test_float32_images_give_float64_fields():
    data, x = images(30, dtype=torch.float32), images(2, seed=1, dtype=torch.float32)
    field = optimal_row(data, x, 0.4, PIXELS[0])
    assert field.dtype == torch.float64
    assert torch.equal(field, optimal_row(data.double(), x.double(), 0.4, PIXELS[0]))


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (torch.ones(SHAPE), "must be bool"),
        (torch.ones(30, 30).bool(), "must be bool"),
        (torch.ones(29).bool(), "must be bool"),
        (torch.zeros(SHAPE).bool(), "sees no input"),
    ],
)
def test_bad_masks(mask, words):
    with pytest.raises(ValueError, match=words):
        masked_row(images(4), mask, images(2), 1.0, (0, 0, 0))


# Averages


def test_average():
    fields = randn(3, 50, *SHAPE)
    found = average(fields)
    for mean, error, of in (
        (found.mean, found.mean_error, fields),
        (found.absolute, found.absolute_error, fields.abs()),
    ):
        torch.testing.assert_close(mean, of.sum(1) / 50)
        variance = (of - mean[:, None]).square().sum(1) / 49
        torch.testing.assert_close(error, (variance / 50).sqrt())
    inside = (found.mean.abs() < 1.96 * found.mean_error).double().mean()
    assert 0.88 < inside < 1  # the truth is 0
    assert found.absolute.min() > 0.4  # and of the absolute values about 0.8


def test_signs_cancel_in_the_mean_only():
    fields = torch.stack([randn(*SHAPE), -randn(*SHAPE)])
    found = average(fields)
    assert not bool(found.mean.any())
    torch.testing.assert_close(found.absolute, fields[0].abs())


@pytest.mark.parametrize("bad", [randn(1, *SHAPE), randn(*SHAPE), images(2) / 0])
def test_averages_that_are_refused(bad):
    with pytest.raises(ValueError, match="finite fields"):
        average(bad)


def test_a_summary_of_the_average_without_the_bias_of_noise():
    truth = torch.zeros(1, 9, 9, dtype=torch.float64)
    truth[0, 3:6, 3:6] = 1
    pixel, inside = (0, 4, 4), 0
    radius = effective_radius(truth, pixel)
    for seed in range(20):
        noisy = truth + 0.5 * randn(60, 1, 9, 9, seed=seed)
        found = of_average(noisy, lambda f: effective_radius(f, pixel))
        plain = effective_radius(noisy.mean(0), pixel)
        assert abs(found.value - radius) < abs(plain - radius) / 2
        inside += found.low < radius < found.high
    assert inside >= 16


def test_a_linear_summary_is_left_alone():
    fields = randn(60, *SHAPE)
    found = of_average(fields, lambda f: f[..., 1, 2, 3])
    expected = jackknife(lambda f: f.mean(), fields[:, 1, 2, 3])
    assert found == pytest.approx(expected)
    with pytest.raises(ValueError, match="at least 40 fields"):
        of_average(fields[:39], lambda f: f[..., 0, 0, 0])


# Colour


def test_channels():
    field = randn(4, 3, 5, 6)
    assert channels(field, "keep") is field
    torch.testing.assert_close(channels(field, "sum")[:, 0], field.sum(1))
    norm = channels(field, "norm")
    assert norm.shape == (4, 1, 5, 6)
    torch.testing.assert_close(norm[:, 0] ** 2, (field**2).sum(1))
    for summary in (effective_radius, lambda f, p: energy_within(f, p, 3)):
        torch.testing.assert_close(summary(norm, (1, 2)), summary(field, (2, 1, 2)))
    with pytest.raises(ValueError, match="not 'mean'"):
        channels(field, "mean")


def test_the_sum_over_channels_is_the_response_to_a_grey_change():
    optimal, x, h = Optimal(images(40)), images(1, seed=1), 1e-5
    field = channels(row(optimal, x, 0.8, (0, 1, 1)), "sum")
    step = torch.zeros(SHAPE, dtype=torch.float64)
    step[:, 2, 3] = h
    change = optimal(x + step, 0.8) - optimal(x - step, 0.8)
    torch.testing.assert_close(field[0, 0, 2, 3], change[0, 0, 1, 1] / (2 * h))


# Summaries


def delta(*places, size=(3, 7, 9)):
    field = torch.zeros(size, dtype=torch.float64)
    for place in places:
        field[place] = -2.0
    return field


def test_a_delta_field():
    field, pixel = delta((1, 2, 3)), (1, 2, 3)
    assert effective_radius(field, pixel) == 0
    assert energy_within(field, pixel, 1) == 1
    assert mirror_energy(field, pixel, 3) == 0
    assert effective_radius(field, (2, 5, 7)) == 5  # three rows, four columns
    assert energy_within(field, (0, 4, 3), 3) == 0
    assert mirror_energy(field, (0, 2, 5), 1) == 1


def test_a_uniform_field():
    field, (H, W) = torch.ones(2, 7, 9), (7, 9)
    spread = ((H**2 - 1) + (W**2 - 1)) / 12  # variances of the row and the column
    for i, j in ((3, 4), (0, 0), (6, 2)):
        r2 = spread + (3 - i) ** 2 + (4 - j) ** 2
        radius = effective_radius(field, (0, i, j))
        assert radius.item() == pytest.approx(r2**0.5)
    assert energy_within(field, (0, 3, 4), 5).item() == pytest.approx(25 / 63)
    assert energy_within(field, (0, 0, 0), 5).item() == pytest.approx(9 / 63)
    assert energy_within(field, (0, 0, 0), 99).item() == pytest.approx(1)
    assert mirror_energy(field, (0, 3, 1), 3).item() == pytest.approx(9 / 63)
    assert mirror_energy(field, (0, 3, 0), 3).item() == pytest.approx(6 / 63)
    assert mirror_energy(field, (0, 3, 4), 5) == 0  # on the axis
    assert mirror_energy(field, (0, 3, 3), 3).item() == pytest.approx(6 / 63)


@given(st.integers(0, 6), st.integers(0, 8), st.sampled_from([1, 3, 5, 11]))
@settings(max_examples=25)
def test_summaries_are_their_definitions(i, j, k):
    field, half = randn(2, 7, 9), k // 2
    total = within = mirror = moment = 0
    for a in range(7):
        for b in range(9):
            e = (field[:, a, b] ** 2).sum()
            own = abs(a - i) <= half and abs(b - j) <= half
            other = abs(a - i) <= half and abs(b - (8 - j)) <= half
            total, moment = total + e, moment + e * ((a - i) ** 2 + (b - j) ** 2)
            within, mirror = within + e * own, mirror + e * (other and not own)
    pixel = (1, i, j)
    for found, expected in (
        (effective_radius(field, pixel), (moment / total) ** 0.5),
        (energy_within(field, pixel, k), within / total),
        (mirror_energy(field, pixel, k), mirror / total),
    ):
        assert found.item() == pytest.approx(float(expected))


def test_many_fields_at_once_and_any_scale():
    fields, pixel = randn(2, 3, *SHAPE), (0, 1, 4)
    for summary in (
        effective_radius,
        lambda f, p: energy_within(f, p, 3),
        lambda f, p: mirror_energy(f, p, 3),
    ):
        many = summary(fields, pixel)
        assert many.shape == (2, 3)
        torch.testing.assert_close(many[1, 2], summary(fields[1, 2], pixel))
        torch.testing.assert_close(summary(1e-200 * fields, pixel), many)


@pytest.mark.parametrize("k", [0, -1, 2, 2.5])
def test_windows_that_are_refused(k):
    for summary in (energy_within, mirror_energy):
        with pytest.raises(ValueError, match="odd"):
            summary(randn(*SHAPE), (0, 1, 1), k)


@pytest.mark.parametrize(
    "bad", [torch.zeros(1, 3, 5), torch.full((1, 3, 5), torch.nan)]
)
def test_fields_that_are_refused(bad):
    pixel = (0, 1, 1)
    for call in (
        lambda: effective_radius(bad, pixel),
        lambda: energy_within(bad, pixel, 3),
        lambda: mirror_energy(bad, pixel, 3),
        lambda: cosine(randn(1, 3, 5), bad),
        lambda: flex_mask(bad, 0.5),
    ):
        with pytest.raises(ValueError, match="not 0 everywhere"):
            call()
    with pytest.raises(ValueError, match="in 3 x 5"):
        effective_radius(randn(1, 3, 5), (0, 1, 5))
    with pytest.raises(ValueError, match=r"\(\.\.\., C, H, W\)"):
        effective_radius(randn(3, 5), (1, 1))


def test_cosine():
    a, b = randn(4, *SHAPE), randn(4, *SHAPE, seed=1)
    flat = zip(a.flatten(1), b.flatten(1))
    expected = torch.stack([(u @ v) / (u.norm() * v.norm()) for u, v in flat])
    torch.testing.assert_close(cosine(a, b), expected)
    torch.testing.assert_close(cosine(1e-200 * a, -a), -torch.ones(4).double())
    centred = [v - v.mean(dim=(1, 2, 3), keepdim=True) for v in (a, b)]
    torch.testing.assert_close(cosine(*centred), pearson(a, b))


# Masks


def naive_flex(absolute, share):
    """One pixel after the other, the largest first."""
    weight, mask = absolute.sum(0), torch.zeros(absolute.shape[1:]).bool()
    while weight[mask].sum() < share * weight.sum():
        mask.view(-1)[torch.where(mask, -1.0, weight).argmax()] = True
    return mask.expand_as(absolute)


@pytest.mark.parametrize("share", [0.01, 0.3, 0.7, 0.999])
def test_flex_mask(share):
    absolute = randn(6, *SHAPE).abs()
    masks = flex_mask(absolute, share)
    for mask, field in zip(masks, absolute):
        assert torch.equal(mask, naive_flex(field, share))
    assert bool(flex_mask(absolute, 1).all())
    masked_row(images(4), masks[0], images(2), 1.0, (0, 0, 0))  # the shape of a row


def test_flex_masks_that_are_refused():
    for share in (0, -1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="share is"):
            flex_mask(randn(*SHAPE).abs(), share)
    with pytest.raises(ValueError, match="field >= 0"):
        flex_mask(randn(*SHAPE), 0.5)


def test_a_clipped_answer_has_no_slope():
    field = row(clipped(lambda x, sigma: 9 * x), 1 + images(2).abs(), 1.0, (0, 0, 0))
    assert not bool(field.any())
    with pytest.raises(ValueError, match="not 0 everywhere"):
        effective_radius(field, (0, 0, 0))
