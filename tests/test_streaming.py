"""One pass in blocks gives what all at once gives, whatever the blocks."""

import subprocess
import sys

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from helpers import data
from helpers.streaming import Moments, SoftmaxMean, effective_number, softmax_mean


def randn(*shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=dtype)


def levels(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, shape, generator=generator, dtype=torch.uint8)


def cut(logits, values, sizes):
    return zip(logits.split(sizes, dim=1), values.split(sizes))


@given(st.lists(st.integers(1, 9), min_size=1, max_size=12), st.floats(0.01, 300))
def test_blocks_change_memory_not_the_softmax_mean(sizes, spread):
    N = sum(sizes)
    logits, values = spread * randn(4, N), randn(N, 3, seed=1)
    naive = torch.stack([(row - row.max()).exp() for row in logits])
    naive = naive @ values / naive.sum(1, keepdim=True)
    got = softmax_mean(cut(logits, values, sizes))
    torch.testing.assert_close(got, naive, rtol=1e-12, atol=1e-13)


def test_equal_weights_for_blocks_would_be_another_answer():
    """The mean of block-wise softmax means, as some code computes it, is off."""
    logits, values = 3 * randn(2, 60), randn(60, 3, seed=1)
    parts = [logit.softmax(1) @ v for logit, v in cut(logits, values, 10)]
    wrong = torch.stack(parts).mean(0)
    got = softmax_mean(cut(logits, values, 10))
    assert (wrong - got).abs().max() > 0.1


@pytest.mark.parametrize("shift", [-1e8, 0.0, 1e8])
def test_huge_logits_do_not_overflow(shift):
    logits, values = shift + randn(2, 6), randn(6, 3, seed=1)
    expected = (logits - shift).softmax(1) @ values
    got = softmax_mean(cut(logits, values, [1, 2, 3]))
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-6)


def test_a_block_may_hold_nothing_for_a_row():
    logits = torch.tensor([[-torch.inf, -torch.inf, 0.0], [0.0, 0.0, -torch.inf]])
    values = torch.tensor([[1.0], [3.0], [7.0]])
    got = softmax_mean(cut(logits, values, [2, 1]))
    torch.testing.assert_close(got, torch.tensor([[7.0], [2.0]]))


@given(st.lists(st.integers(1, 9), min_size=1, max_size=12))
def test_effective_number_in_blocks(sizes):
    logits = 3 * randn(4, sum(sizes))
    expected = 1 / logits.softmax(1).square().sum(1)
    torch.testing.assert_close(effective_number(logits.split(sizes, 1)), expected)


def test_effective_number_at_its_ends():
    assert effective_number([torch.zeros(1, 50)]).item() == pytest.approx(50)
    one = torch.tensor([[0.0, -torch.inf, -1e9]])
    assert effective_number([one]).item() == 1


@given(
    st.lists(st.integers(1, 6), min_size=1, max_size=5), st.sampled_from([1e-3, 1, 300])
)
def test_passes_merge_to_one(sizes, spread):
    """Each pass relative to a peak of its own, also one that is far below the rest."""
    blocks = [(spread * randn(2, n), randn(n, 3)) for n in sizes]
    whole, merged = SoftmaxMean(), SoftmaxMean()
    for block in blocks:
        whole.update(*block)
        part = SoftmaxMean()
        part.update(*block)
        merged.merge(part.top, part.mass, part.total)
    torch.testing.assert_close(merged.mean(), whole.mean(), rtol=0, atol=1e-12)


def test_no_block_is_an_error():
    for function in (softmax_mean, effective_number):
        with pytest.raises(ValueError, match="at least one block"):
            function(iter(()))


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6))
def test_moments_of_levels_are_exact_for_any_batches(sizes):
    images = levels(sum(sizes), 2, 3, 3)
    moments = Moments()
    for batch in images.split(sizes):
        moments.update(batch)
    flat = images.flatten(1).numpy().astype(object)  # Python integers: no rounding
    total, products = flat.sum(0), flat.T @ flat
    N = len(flat)
    numerator = (N * products - np.outer(total, total)).astype(float)
    exact = numerator / (N**2 * 127.5**2)
    np.testing.assert_allclose(moments.cov().numpy(), exact, rtol=1e-13, atol=1e-15)
    mean = torch.tensor((total / N).astype(float)) / 127.5 - 1
    torch.testing.assert_close(moments.mean, mean, rtol=0, atol=1e-15)


def test_sums_of_levels_stay_integers_at_the_largest_block():
    """1024 rows of the extreme level: the float32 product must not round once."""
    moments = Moments().update(torch.zeros(5000, 1, 1, 3, dtype=torch.uint8))
    assert moments.product[0].tolist() == [5000 * 128**2] * 3
    assert moments.cov().abs().max() == 0


@pytest.mark.parametrize(
    ("dtype", "rtol"), [(torch.float64, 1e-12), (torch.float32, 1e-4)]
)
def test_moments_of_floats(dtype, rtol):
    images = randn(3000, 1, 4, 4, dtype=dtype).clamp(-1, 1)
    moments = Moments()
    for batch in images.split(700):
        moments.update(batch)
    for correction in (0, 1):
        expected = torch.cov(images.flatten(1).double().T, correction=correction)
        torch.testing.assert_close(
            moments.cov(correction), expected, rtol=rtol, atol=rtol * 1e-2
        )


def test_panels_cover_the_whole_matrix():
    """More columns than two panels: every product is there once."""
    images = levels(50, 1, 1, 1100)
    expected = np.cov(images.flatten(1).numpy() / 127.5, rowvar=False, bias=True)
    got = Moments().update(images).cov().numpy()
    np.testing.assert_allclose(got, expected, atol=1e-12)
    assert np.array_equal(got, got.T)


def test_shards_merge_to_the_whole():
    images = levels(90, 1, 5, 5)
    shards = [Moments().update(part) for part in images.split([10, 50, 30])]
    merged = Moments()
    for shard in [*shards, Moments()]:
        merged.merge(shard)
    whole = Moments().update(images)
    assert torch.equal(merged.cov(), whole.cov()) and merged.count == 90
    assert shards[0].count == 10  # a shard is not changed by being merged


def test_shards_of_floats_merge_within_rounding():
    images = randn(90, 1, 5, 5)
    merged = Moments()
    for part in images.split([10, 50, 30]):
        merged.merge(Moments().update(part))
    expected = torch.cov(images.flatten(1).T, correction=0)
    torch.testing.assert_close(merged.cov(), expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("D", [25, 1100])
def test_moments_go_through_a_file(tmp_path, D):
    images, file = levels(90, 1, 1, D), tmp_path / "shard.safetensors"
    merged = Moments()
    for part in images.split([40, 50]):
        safetensors.torch.save_file(Moments().update(part).state(), file)
        merged.merge(Moments.from_state(safetensors.torch.load_file(file)))
    whole = Moments().update(images)
    assert merged.count == 90 and merged.dtype == torch.uint8
    assert torch.equal(merged.cov(), whole.cov())
    assert torch.equal(merged.mean, whole.mean)


def test_what_is_no_state_of_moments():
    with pytest.raises(ValueError, match="no image"):
        Moments().state()
    state = Moments().update(levels(9, 1, 2, 2)).state()
    with pytest.raises(ValueError, match="like"):
        Moments.from_state({k: v for k, v in state.items() if k != "like"})
    with pytest.raises(ValueError, match="sizes"):
        Moments.from_state(state | {"sum": torch.zeros(3)})
    with pytest.raises(ValueError, match="sizes"):
        Moments.from_state(state | {"count": torch.tensor([0])})


@pytest.mark.parametrize("correction", [0, 1])
def test_a_covariance_in_the_memory_of_the_sums(correction):
    images = levels(50, 1, 1, 1100)
    moments = Moments().update(images)
    expected, memory = moments.cov(correction), moments.product.data_ptr()
    assert torch.equal(moments.cov(correction), expected)  # nothing was spent
    cov = moments.cov(correction, spend=True)
    assert torch.equal(cov, expected) and cov.data_ptr() == memory
    with pytest.raises(ValueError, match="no image"):
        _ = moments.mean
    assert torch.equal(moments.update(images).cov(correction), expected)  # as if new


def test_covariances_of_floats_are_symmetric_to_the_bit():
    cov = Moments().update(randn(300, 1, 1, 700, dtype=torch.float32)).cov()
    assert torch.equal(cov, cov.T)


PEAK = """
import sys, torch
from pathlib import Path
from helpers.stored import stored_batches
from helpers.streaming import Moments

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))

def extra(batches):  # MB beyond what there was
    before, moments = peak(), Moments()
    for batch in batches:
        moments.update(batch)
    cov = moments.cov()
    return (peak() - before) / 1024

z = torch.zeros(8, 1, 1, 4096, dtype=torch.uint8)
extra([z[..., :48]])  # what torch itself needs
print(extra(stored_batches(sys.argv[1], 5000)), extra([z]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc")
def test_peak_memory(tmp_path):
    """A set is read without holding it; a covariance needs two matrices, no third."""
    path = tmp_path / "big-train.npz"
    data.write(path, np.zeros((300_000, 16, 16, 1), np.uint8))  # 73 MB
    command = [sys.executable, "-c", PEAK, path]
    printed = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    stored, covariance = map(float, printed.split())
    assert stored < 25
    assert covariance < 2.7 * (4096 * 4096 * 8 / 2**20)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (torch.zeros(2, 1, 3, 3), "the ones before had"),
        (torch.zeros(2, 1, 2, 2, dtype=torch.int32), "not defined"),
        (torch.full((2, 1, 2, 2), torch.nan), "NaN"),
    ],
)
def test_bad_batches(bad, message):
    moments = Moments().update(torch.zeros(2, 1, 2, 2))
    with pytest.raises(ValueError, match=message):
        moments.update(bad)
    assert moments.count == 2


def test_too_few_images():
    with pytest.raises(ValueError, match="no image"):
        _ = Moments().mean
    with pytest.raises(ValueError, match="too few"):
        Moments().update(levels(1, 1, 2, 2)).cov(correction=1)
