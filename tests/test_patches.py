"""The machines that move patches and images, against loops and against each other."""

import math

import pytest
import torch
from torch.autograd import gradcheck
from torch.nn.functional import pad

from helpers import patches, tiles
from helpers.denoisers import Optimal
from helpers.patches import BoundaryBroken, EquivariantLocalScore, EquivariantScore
from helpers.scales import Scales
from helpers.windows import LocalScore


def randn(*shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=dtype)


def images(N, C=3, H=5, W=7, seed=0):
    return randn(N, C, H, W, seed=seed).clamp(-1, 1)


def mean_under(gaps, values, sigma):
    """Mean of the values under a softmax of their squared distances, by definition."""
    logits = [-g / (2 * sigma**2) for g in gaps]
    masses = [math.exp(l - max(logits)) for l in logits]
    return sum(m / sum(masses) * v for m, v in zip(masses, values))


def naive_els(data, x, sigma, k, mode="circular"):
    """Eq. 10 of Kamb & Ganguli: one pixel against one patch at a time."""
    r, (H, W) = k // 2, data.shape[2:]
    dictionary = [
        (y[:, i - r : i + r + 1, j - r : j + r + 1], y[:, i, j])
        for y in data
        for i in range(r, H - r)
        for j in range(r, W - r)
    ]
    wide, answer = pad(x, (r, r, r, r), mode=mode), torch.empty_like(x)
    for b in range(len(x)):
        for i in range(H):
            for j in range(W):
                window = wide[b, :, i : i + k, j : j + k]
                gaps = [(window - p).square().sum().item() for p, _ in dictionary]
                values = [v for _, v in dictionary]
                answer[b, :, i, j] = mean_under(gaps, values, sigma)
    return answer


def naive_broken(data, x, sigma, k):
    """Eq. 41, literally: patches of padded images whose cut has the same shape."""
    r, (H, W) = k // 2, data.shape[2:]
    wide, wide_x = pad(data, (r, r, r, r)), pad(x, (r, r, r, r))
    outside = pad(torch.zeros(1, 1, H, W), (r, r, r, r), value=1.0)[0, 0]

    def cut(i, j):
        return outside[i : i + k, j : j + k].tolist()

    answer = torch.empty_like(x)
    for b in range(len(x)):
        for i in range(H):
            for j in range(W):
                window, gaps, values = wide_x[b, :, i : i + k, j : j + k], [], []
                for a in range(H):
                    for c in range(W):
                        if cut(a, c) == cut(i, j):
                            p = wide[:, :, a : a + k, c : c + k]
                            gaps += (window - p).square().sum(dim=(1, 2, 3)).tolist()
                            values += list(data[:, :, a, c])
                answer[b, :, i, j] = mean_under(gaps, values, sigma)
    return answer


def orbit(data):
    """All circular shifts of all images."""
    shifts = [(i, j) for i in range(data.shape[2]) for j in range(data.shape[3])]
    return torch.cat([data.roll(s, dims=(2, 3)) for s in shifts])


@pytest.mark.parametrize(
    "border, mode", [("circular", "circular"), ("zeros", "constant")]
)
@pytest.mark.parametrize("k, sigma", [(1, 0.3), (3, 0.05), (3, 0.8), (5, 2.0)])
def test_els_is_its_formula(border, mode, k, sigma):
    data, x = images(2), images(1, seed=1) + sigma * randn(1, 3, 5, 7, seed=2)
    expected = naive_els(data, x, sigma, k, mode)
    got = EquivariantLocalScore(data, k, border)(x, sigma)
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("H, W", [(5, 7), (6, 4)])
@pytest.mark.parametrize(
    "k, sigma", [(1, 0.3), (3, 0.05), (3, 0.8), (5, 1.0), (9, 2.0)]
)
def test_broken_els_is_its_formula(H, W, k, sigma):
    data, x = images(3, 1, H, W), images(1, 1, H, W, seed=1)
    expected = naive_broken(data, x, sigma, k)
    got = BoundaryBroken(data, k)(x, sigma)
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-11)


def test_interior_pixels_of_both_machines_agree():
    data, x = images(4), images(2, seed=1)
    inner = (..., slice(1, -1), slice(1, -1))
    els, broken = EquivariantLocalScore(data, 3), BoundaryBroken(data, 3)
    torch.testing.assert_close(els(x, 0.5)[inner], broken(x, 0.5)[inner])


@pytest.mark.parametrize("k", [5, 7, 9])
def test_where_nothing_may_move_broken_els_is_ls(k):
    data, x = images(9, H=5, W=5), images(2, H=5, W=5, seed=1)
    expected = LocalScore(data, k)(x, 0.5)
    torch.testing.assert_close(BoundaryBroken(data, k)(x, 0.5), expected)


def test_els_commutes_with_circular_shifts_and_ls_does_not():
    data, x = images(5), images(2, seed=1)
    shift = lambda v: v.roll((2, 3), dims=(2, 3))  # noqa: E731
    for denoise in (EquivariantLocalScore(data, 3), EquivariantScore(data)):
        torch.testing.assert_close(denoise(shift(x), 0.5), shift(denoise(x, 0.5)))
    for denoise in (
        LocalScore(data, 3),
        BoundaryBroken(data, 3),
        EquivariantLocalScore(data, 3, border="zeros"),
    ):
        assert (denoise(shift(x), 0.5) - shift(denoise(x, 0.5))).abs().max() > 0.1


@pytest.mark.parametrize("sigma", [0.01, 0.5, 2.0, 50.0])
@pytest.mark.parametrize("H, W", [(5, 7), (4, 6)])
def test_es_is_the_optimal_denoiser_of_the_orbit(sigma, H, W):
    data, x = images(4, 3, H, W), images(3, 3, H, W, seed=1)
    x = x + sigma * randn(3, 3, H, W, seed=2)
    expected = Optimal(orbit(data))(x, sigma)
    got = EquivariantScore(data)(x, sigma)
    torch.testing.assert_close(got, expected, rtol=1e-7, atol=1e-9)


def test_one_pixel_patches_know_only_colours():
    """k = 1: the posterior mean of a pixel under the colours of the set."""
    data, x = images(4), images(2, seed=1)
    colours = data.permute(0, 2, 3, 1).reshape(-1, 3, 1, 1)
    pixels = x.permute(0, 2, 3, 1).reshape(-1, 3, 1, 1)
    expected = Optimal(colours)(pixels, 0.4).view(2, 5, 7, 3).permute(0, 3, 1, 2)
    got = EquivariantLocalScore(data, 1)(x, 0.4)
    torch.testing.assert_close(got, expected)


def test_little_noise_gives_the_centre_of_the_nearest_patch():
    """The locally consistent points of Kamb & Ganguli."""
    data, x = images(4), images(1, seed=1)
    columns = torch.nn.functional.unfold(data, 3).transpose(1, 2).flatten(0, 1)
    wide = pad(x, (1, 1, 1, 1), mode="circular")
    queries = torch.nn.functional.unfold(wide, 3)[0].T
    best = torch.cdist(queries, columns).argmin(dim=1)
    centres = columns.view(-1, 3, 9)[:, :, 4]
    expected = centres[best].T.reshape(x.shape)
    got = EquivariantLocalScore(data, 3)(x, 1e-3)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)


def test_much_noise_gives_the_mean_of_what_may_come_there():
    data, x = images(4), images(1, seed=1)
    els = EquivariantLocalScore(data, 3)(x, 1e6)
    inner = data[:, :, 1:-1, 1:-1].mean(dim=(0, 2, 3))[:, None, None]
    torch.testing.assert_close(els, inner.expand_as(els), rtol=0, atol=1e-5)
    es = EquivariantScore(data)(x, 1e6)
    grey = data.mean(dim=(0, 2, 3))[:, None, None]
    torch.testing.assert_close(es, grey.expand_as(es), rtol=0, atol=1e-5)
    broken = BoundaryBroken(data, 3)(x, 1e6)
    torch.testing.assert_close(broken[0, :, 0, 0], data[:, :, 0, 0].mean(0))
    torch.testing.assert_close(broken[0, :, 0, 3], data[:, :, 0, 1:-1].mean((0, 2)))


MACHINES = {
    "ELS": lambda data: EquivariantLocalScore(data, 3),
    "bbELS": lambda data: BoundaryBroken(data, 3),
    "ES": EquivariantScore,
}
each_machine = pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)


@each_machine
@pytest.mark.parametrize("sigma", [0.01, 0.1, 0.7])
def test_tiles_and_order_change_nothing(machine, sigma, monkeypatch):
    data, x = images(12), images(2, seed=1)
    whole = machine(data)(x, sigma)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    for name, size in (("ROWS", 20), ("COLUMNS", 37)):
        monkeypatch.setattr(tiles, name, size)
    monkeypatch.setattr(patches, "SHIFTS", 150)
    for again in (data, data[order]):
        torch.testing.assert_close(machine(again)(x, sigma), whole)


@each_machine
@pytest.mark.parametrize("sigma", [0.002, 0.01, 0.05, 0.3, 20.0])
@pytest.mark.parametrize("far", [False, True])
def test_float32_loses_nothing(machine, sigma, far):
    data = images(60, H=6, W=6).float()
    data[:20] = (data[:20] * 4).round() / 4  # few levels: many patches nearly alike
    data[:9, :, 2:] = 1.0  # flat ones too
    start = images(3, H=6, W=6, seed=1) if far else data[[0, 15, 50]]
    x = (start + sigma * randn(3, 3, 6, 6, seed=2)).float()
    expected = machine(data.double())(x.double(), sigma)
    error = (machine(data)(x, sigma) - expected).norm() / expected.norm()
    assert error < 1e-4


@each_machine
def test_one_sigma_per_image_equals_one_by_one(machine):
    data, x = images(20), images(3, seed=1)
    sigma = torch.tensor([0.01, 1.0, 9.0])
    together = machine(data)(x, sigma)
    for i in range(3):
        alone = machine(data)(x[i : i + 1], float(sigma[i]))
        torch.testing.assert_close(together[i : i + 1], alone)


def test_tiny_noise_is_met_by_differences():
    """Where not even float64 products will do."""
    data = images(3)
    els = EquivariantLocalScore(data, 3)
    got = els(data[:1], 1e-9)[..., 1:-1, 1:-1]
    assert torch.equal(got, data[:1, :, 1:-1, 1:-1])
    with pytest.raises(ValueError, match="too small for Fourier"):
        EquivariantScore(data)(data[:1], 1e-9)


def test_the_side_may_depend_on_sigma():
    data, x, scales = images(6), images(2, seed=1), Scales([0.1, 1.0], [1, 3])
    for kind in (EquivariantLocalScore, BoundaryBroken):
        assert torch.equal(kind(data, scales)(x, 0.1), kind(data, 1)(x, 0.1))
        assert torch.equal(kind(data, scales)(x, 1.0), kind(data, 3)(x, 1.0))
        with pytest.raises(ValueError, match="outside of the calibrated"):
            kind(data, scales)(x, 0.01)


@each_machine
@pytest.mark.parametrize("sigma", [0.02, 0.8])
def test_gradients_are_those_of_finite_differences(machine, sigma):
    data = images(4, 2, 3, 4)
    x = (data[:1] + sigma * randn(1, 2, 3, 4, seed=1)).requires_grad_()
    assert gradcheck(lambda x: machine(data)(x, sigma), x, eps=1e-7, rtol=1e-3)


def test_float32_has_the_gradients_of_float64():
    data, x = images(9), images(1, seed=1)
    for sigma in (0.02, 0.5):
        rows = []
        for dtype in (torch.float32, torch.float64):
            z = x.to(dtype).requires_grad_()
            answer = EquivariantLocalScore(data.to(dtype), 3)(z, sigma)
            rows.append(torch.autograd.grad(answer[0, 0, 2, 3], z)[0].double())
        assert (rows[0] - rows[1]).norm() < 1e-4 * rows[1].norm() + 1e-4


@pytest.mark.parametrize("k", [0, -1, 2, 2.5, 7])
def test_patch_sides_that_make_no_sense(k):
    with pytest.raises(ValueError, match="window side"):
        EquivariantLocalScore(images(3), k)
    with pytest.raises(ValueError, match="window side"):
        BoundaryBroken(images(3), k if k < 7 else 15)


@each_machine
def test_bad_input(machine):
    denoise, x = machine(images(3)), images(2)
    with pytest.raises(ValueError, match="no image"):
        machine(images(0))
    with pytest.raises(ValueError, match=r"\[-1, 1\]"):
        machine(2 + images(3))
    with pytest.raises(ValueError, match="shape"):
        denoise(x[..., 1:], 1.0)
    with pytest.raises(ValueError, match="NaN"):
        denoise(x * torch.nan, 1.0)
    for sigma in (0.0, -1.0, math.inf, torch.ones(3)):
        with pytest.raises(ValueError, match=r"sigma|shape"):
            denoise(x, sigma)
    with pytest.raises(ValueError, match="border must be one of"):
        EquivariantLocalScore(images(3), 3, border="mirror")


def test_a_bar_shows_how_far_it_is(capsys):
    EquivariantLocalScore(images(3), 3, progress=True)(images(1), 1.0)
    assert "35/35" in capsys.readouterr().err
