"""One pass in blocks gives what all at once gives, whatever the blocks."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from helpers.streaming import Moments, effective_number, softmax_mean


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
