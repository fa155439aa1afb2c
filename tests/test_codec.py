"""The codec against the bound, the law of its indices, and streams that went wrong."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest, norm

from helpers import bound, candidates, data, rangecoder, rates
from helpers.codec import Codec, decode, receive, send
from helpers.envelope import HEADER
from helpers.schedules import from_sigma
from helpers.wiener import Wiener


def digits(cut=0):
    """Levels 0 to 16; with cut = 2 the middle 4 x 4 pixels, which are quick."""
    x = data.load("digits")[..., cut : 8 - cut, cut : 8 - cut]
    return ((x + 1) * 8).round().to(torch.uint8)


def exact_error(wiener):
    """The mean squared error of a pixel at each level."""
    return lambda sigma: wiener.expected_error(sigma).item() / len(wiener.mu)


def gaussian_codec(pixels, sigma, **kwargs):
    wiener, schedule = Wiener.fit(pixels.double() / 8 - 1), from_sigma(sigma)
    variance = rates.best_variances(schedule, exact_error(wiener))
    return Codec(wiener, schedule, variance, tuple(pixels.shape[1:]), 17, **kwargs)


@pytest.fixture(scope="module")
def small():
    return gaussian_codec(digits(2), [0.15, 0.4, 1.0, 4.0], block_bits=6)


@pytest.fixture(scope="module")
def image():
    return digits(2)[3]


@pytest.fixture(scope="module")
def stream(small, image):
    return send(small, image)[0]


# ---- the range coder


@given(st.data())
@settings(max_examples=30)
def test_range_coder_gives_back_what_it_took(case):
    weights = case.draw(st.lists(st.floats(1e-6, 1), min_size=1, max_size=9))
    cdf = np.cumsum([0, *weights]) / sum(weights)
    starts = rangecoder.starts([*cdf[:-1].clip(0, 1).tolist(), 1.0])
    symbols = case.draw(st.lists(st.integers(0, len(weights) - 1), max_size=60))
    numbers = case.draw(st.lists(st.integers(0, 2**37 - 1), max_size=5))
    encoder = rangecoder.Encoder()
    for k in symbols:
        encoder.put(starts[k], starts[k + 1] - starts[k])
    for number in numbers:
        encoder.put_number(number, 37)
    code = encoder.finish()
    decoder = rangecoder.Decoder(code)
    assert [decoder.get(starts) for _ in symbols] == symbols
    assert [decoder.get_number(37) for _ in numbers] == numbers
    bits = sum(16 - math.log2(starts[k + 1] - starts[k]) for k in symbols)
    bits += 37 * len(numbers)
    assert encoder.bits == pytest.approx(bits, abs=1e-3)
    assert len(code) <= bits / 8 + 1.01


def test_range_coder_pays_the_entropy():
    chances, rng = np.array([0.7, 0.2, 0.09, 0.01]), np.random.default_rng(0)
    starts = rangecoder.starts([0.0, 0.7, 0.9, 0.99, 1.0])
    encoder = rangecoder.Encoder()
    symbols = rng.choice(4, size=4000, p=chances)
    for k in symbols:
        encoder.put(starts[k], starts[k + 1] - starts[k])
    bits = -np.log2(chances)[symbols].sum()
    assert 8 * len(encoder.finish()) == pytest.approx(bits, rel=1e-3)


def test_a_reader_needs_only_the_beginning():
    encoder = rangecoder.Encoder()
    for number in range(40):
        encoder.put_number(number, 10)
    code = encoder.finish()
    decoder = rangecoder.Decoder(code[:30], len(code))
    assert [decoder.get_number(10) for _ in range(19)] == list(range(19))
    with pytest.raises(ValueError, match="truncated: 30 of 50 bytes"):
        [decoder.get_number(10) for _ in range(19)]


@pytest.mark.parametrize("cdf", [[0.0, 0.5], [0.1, 1.0], [0.0, 0.7, 0.6, 1.0], [0.0]])
def test_a_distribution_function_must_rise(cdf):
    with pytest.raises(ValueError, match="rise from 0 to 1"):
        rangecoder.starts(cdf)


def test_no_level_is_impossible():
    starts = rangecoder.starts([0.0, 0.0, 0.0, 1.0, 1.0])
    assert starts[0] == 0
    assert starts[-1] == 1 << rangecoder.BITS
    assert np.diff(starts).min() == 1


# ---- names of draws


def one_pixel(n, shift=1.2, v=1.0, u=0.3):
    """K and z_K for n blocks of one pixel; the search is exact here."""
    chance, shift = np.random.default_rng(1), torch.tensor([shift], dtype=torch.float64)
    K = [candidates.search(f"a{i}", shift, v, u, 1e9, chance) for i in range(n)]
    z = [candidates.candidate(f"a{i}", k, 1).item() for i, k in enumerate(K)]
    return np.array(K), np.array(z)


def test_a_named_draw_is_a_draw_of_q_and_its_index_is_geometric():
    K, z = one_pixel(400)
    assert kstest(z, norm(1.2, math.sqrt(0.3)).cdf).pvalue > 0.01
    assert kstest(z, norm.cdf).pvalue < 1e-9  # and not one of p
    grid = np.linspace(-8, 8, 4001)
    p, q = norm.pdf(grid), norm.pdf(grid, 1.2, math.sqrt(0.3))
    p, q = p / p.sum(), q / q.sum()
    rho = np.array([(p * np.maximum(w - q / p, 0)).sum() for w in q / p])
    ratio = rho / (1 + rho)
    for j in (1, 2, 5, 10):
        want = (q * ratio**j).sum()
        error = math.sqrt(want * (1 - want) / len(K))
        assert (j < K).mean() == pytest.approx(want, abs=4 * error), j


def test_measured_price_of_an_index_is_the_derived_one():
    """16 pixels of 5.8 nats, where the model is right: shift ~ N(0, v - u)."""
    n, v, u = 16, 1.0, 0.6
    rng, chance = torch.Generator().manual_seed(0), np.random.default_rng(0)
    kappa, bits, nats, derived = n / 2 * math.log(v / u), [], [], []
    for i in range(80):
        shift = math.sqrt(v - u) * torch.randn(n, generator=rng, dtype=torch.float64)
        encoder, case = rangecoder.Encoder(), (shift, v, u)
        K = candidates.search(f"b{i}", *case, 1 << 14, chance)
        candidates.put(encoder, K, kappa)
        bits.append(encoder.bits)
        nats.append(candidates.kl(*case))
        law = candidates.exact_tail(*case, 1 << 14)
        derived.append(candidates.expected_bits(kappa, law))
    error = np.std(np.subtract(bits, derived)) / len(bits) ** 0.5
    assert np.mean(bits) == pytest.approx(np.mean(derived), abs=4 * error)
    assert error < 0.5
    assert np.mean(nats) == pytest.approx(kappa, rel=0.1)


def test_the_law_of_an_index_against_draws():
    """By its definition: rho and its mean from draws of p and of q."""
    shift, v, u = torch.tensor([0.9, -0.4, 0.3], dtype=torch.float64), 1.2, 0.3
    rng = np.random.default_rng(0)

    def log_w(x):  # x about the mean of p
        far = (x - shift.numpy()) ** 2 / u - x**2 / v
        return 1.5 * math.log(v / u) - far.sum(-1) / 2

    p = np.sort(np.exp(log_w(rng.normal(size=(200_000, 3)) * v**0.5)))
    e = rng.normal(size=(20_000, 3)) * u**0.5
    w = np.exp(log_w(shift.numpy() + e))
    below = np.concatenate([[0], p.cumsum()])
    count = np.searchsorted(p, w)
    rho = (w * count - below[count]) / len(p)
    law = candidates.exact_tail(shift, v, u)
    for b in range(8):
        draws = (rho / (1 + rho)) ** (2**b - 1)
        error = draws.std() / len(w) ** 0.5
        assert law[b] == pytest.approx(draws.mean(), abs=5 * error + 2e-3), b
    normal = candidates.tail(candidates.kl(shift, v, u))
    assert np.abs(normal - law).max() > 0.02  # with three pixels it is another


def test_the_law_of_a_search_that_ends_early():
    case = torch.full((16,), 0.5, dtype=torch.float64), 1.0, 0.4
    whole = candidates.exact_tail(*case)
    cut = candidates.exact_tail(*case, depth=5000)  # two chunks
    assert cut[0] == 1 and cut[14] == 0 < whole[14]
    assert np.all(np.diff(cut) <= 0)
    assert np.all(cut <= whole + 1e-12)
    K = 1 + np.arange(8192)
    again = (K[:, None] >= 2.0 ** np.arange(14)).mean(0)
    share = np.interp(13, np.arange(41), whole)
    assert np.allclose(cut[:14], whole[:14] - share + share * again, atol=1e-3 * share)


def test_next_to_p_the_law_is_the_normal_one():
    shift = torch.full((64,), 1e-3, dtype=torch.float64)
    for u in (1.0, 1 - 1e-9, 1 - 1e-5):
        nats = candidates.kl(shift, 1.0, u)
        found = candidates.exact_tail(shift, 1.0, u)
        assert found == pytest.approx(candidates.tail(nats), abs=1e-3)


@pytest.mark.parametrize("kappa", [3.0, 6.0, 10.0])
def test_closed_form_of_the_overhead(kappa):
    exact = candidates.expected_bits(kappa) - kappa / math.log(2)
    assert candidates.overhead(kappa) == pytest.approx(exact, abs=0.3)


def test_the_price_list_sums_to_one_exactly():
    for kappa in (0.0, 0.3, 5.0, 40.0):
        chances = candidates.tail(kappa)
        assert (chances[0], chances[-1]) == (1, 0)
        assert candidates.length_starts(kappa)[-1] == 1 << rangecoder.BITS


def test_the_search_has_the_depth_that_is_asked_for():
    case = torch.tensor([0.5, -1.0], dtype=torch.float64), 0.9, 0.4
    nats = candidates.kl(*case) + 2 * candidates.spread(*case)
    assert candidates.depth(*case, reach=2.0) == pytest.approx(math.exp(nats))
    assert candidates.depth(*case, reach=1e9) < math.inf


def test_a_name_that_says_nothing_costs_nothing():
    assert candidates.expected_bits(0.0) < 0.02
    assert candidates.search("c", torch.zeros(3), 1.0, 1.0, 9, None) == 1
    with pytest.raises(ValueError, match="no maximum"):
        candidates.search("c", torch.ones(3), 1.0, 1.0, 9, None)


def test_divergence_and_spread_against_draws():
    shift, v, u = torch.tensor([0.5, -1.0, 0.2], dtype=torch.float64), 0.9, 0.4
    generator = torch.Generator().manual_seed(0)
    e = torch.randn(100000, 3, generator=generator, dtype=torch.float64) * u**0.5
    normal = torch.distributions.Normal
    log_w = (normal(0, u**0.5).log_prob(e) - normal(0, v**0.5).log_prob(e + shift)).sum(
        1
    )
    assert candidates.kl(shift, v, u) == pytest.approx(log_w.mean().item(), rel=0.02)
    assert candidates.spread(shift, v, u) == pytest.approx(log_w.std().item(), rel=0.02)


@pytest.mark.parametrize("K", [1, 2, 3, 1000, 2**20 + 7, 2**39])
def test_an_index_comes_back(K):
    encoder = rangecoder.Encoder()
    candidates.put(encoder, K, 4.0)
    assert candidates.get(rangecoder.Decoder(encoder.finish()), 4.0) == K


# ---- sender and receiver


def image_bound(codec, pixels):
    """L of one image without L_0, in bits, closed form for the Wiener filter."""
    wiener, schedule, D = codec.denoise, codec.schedule, pixels.numel()
    x0 = codec.unit(pixels)[None]
    error = [torch.zeros((), dtype=torch.float64)]
    for sigma in schedule.sigma[1:]:
        bias = (x0 - wiener(x0, sigma)).square().mean()
        error.append(bias + (sigma * wiener.gain(sigma)).square().sum() / D)
    moment = x0.square().mean().item()
    terms = bound.all_terms(schedule, moment, torch.stack(error), codec.variance, 0.0)
    return bound.bits(D * terms.sum().item())


def test_digits_come_back_bit_for_bit_at_the_derived_rate(small):
    images, ln2 = digits(2)[::90], math.log(2)
    walk, price, derived, spent, bounds = [], [], [], [], []
    for i, pixels in enumerate(images):
        stream, words = send(small, pixels, seed=i)
        assert torch.equal(decode(small, stream), pixels)
        total = sum(word.bits for word in words)
        assert abs(8 * (len(stream) - HEADER.size) - total) < 10  # a luck of some bits
        derived.append(sum(sum(word.price) for word in words))
        price.append(total - words[-1].bits)
        walk.append(sum(sum(word.kl) for word in words[:-1]) / ln2)
        bounds.append(image_bound(small, pixels))
        spent.append(words[-1].bits - words[-1].kl[0] / ln2)
    error = np.std(np.subtract(price, derived)) / len(images) ** 0.5
    assert np.mean(price) == pytest.approx(np.mean(derived), abs=4 * error)
    off = np.std(np.subtract(walk, bounds)) / len(images) ** 0.5
    assert np.mean(walk) == pytest.approx(np.mean(bounds), abs=4 * off)
    assert np.abs(spent).max() < 0.01


def test_a_whole_digit(small):
    codec = gaussian_codec(digits(), [0.3, 0.6, 1.5, 6.0], block_bits=7)
    pixels = digits()[0]
    stream, words = send(codec, pixels, limit=1 << 13)
    assert torch.equal(decode(codec, stream), pixels)
    assert [word.t for word in words] == [4, 3, 2, 1, 0]
    assert len(stream) < 64 * math.log2(17) / 8 + HEADER.size


def test_the_estimate_sharpens_as_the_bytes_come_in(small, image, stream):
    x0, found = small.unit(image), list(receive(small, stream))
    assert [one.t for one in found] == [4, 3, 2, 1, 0]
    errors = [(one.x0_hat - x0).square().mean().sqrt().item() for one in found]
    assert errors[-1] == 0
    assert errors[-2] < 0.6 * errors[0]
    counts = [one.count for one in found]
    assert counts == sorted(counts)
    assert counts[-1] == len(stream)
    for one in found[:-1]:  # the bytes that were counted suffice
        early = [next(walk) for walk in [receive(small, stream[: one.count])]]
        assert torch.equal(early[0].x0_hat, found[0].x0_hat)


def test_decoder_is_that_of_the_bound():
    schedule = from_sigma([0.2, 1.0])
    variance = torch.tensor([0.0, 0.04, 0.9], dtype=torch.float64)

    def denoise(x, sigma):
        return x / 2

    codec = Codec(denoise, schedule, variance, (1, 1, 2))
    x1 = torch.tensor([0.3, -1.1], dtype=torch.float64).view(1, 1, 1, 2)
    counts = torch.tensor(codec.decoder(x1)).diff().double() / (1 << 16)
    x0 = codec.unit(torch.arange(256))
    mean = x1 / schedule.alpha_bar[1].sqrt() / 2
    want = bound.decoder_log_likelihood(x0, mean.reshape(2, 1), 0.2).exp()
    assert (counts - want * (1 - 256 / 2**16)).abs().max() < 2.1 / 2**16
    pixels = torch.tensor([[[0, 200]]], dtype=torch.uint8)
    assert torch.equal(decode(codec, send(codec, pixels)[0]), pixels)


# ---- bad input


@pytest.mark.parametrize("cut", [0, 5, HEADER.size, HEADER.size + 3, -1])
def test_truncated_stream(small, stream, cut):
    with pytest.raises(ValueError, match="truncated"):
        decode(small, stream[:cut])


def test_a_byte_too_many(small, stream):
    with pytest.raises(ValueError, match="1 bytes follow"):
        decode(small, stream + b"\0")


def test_every_altered_byte_is_found(small, image, stream):
    """Never a wrong image: an error, or (in the last bits) the right one."""
    errors = 0
    for place in range(len(stream)):
        altered = bytearray(stream)
        altered[place] ^= 1 << (3 * place % 8)
        try:
            assert torch.equal(decode(small, bytes(altered)), image)
        except ValueError:
            errors += 1
    assert errors >= len(stream) - 1


def test_another_version(small, stream):
    with pytest.raises(ValueError, match="version b'D0'"):
        decode(small, b"D0" + stream[2:])


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"levels": 18},
        {"block_bits": 5.0},
        {"shape": (1, 2, 8)},
        {"denoise": lambda x, sigma: x / 2},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_codec(small, stream, change):
    other = dataclasses.replace(small, **change)
    if "shape" in change:
        wiener = small.denoise
        other = dataclasses.replace(
            other, denoise=lambda x, s: wiener(x.view(-1, 1, 4, 4), s).view_as(x)
        )
    with pytest.raises(ValueError, match="another model, shape or schedule"):
        decode(other, stream)


def test_another_schedule(small, stream):
    other = gaussian_codec(digits(2), [0.15, 0.4, 1.0, 4.1], block_bits=6)
    with pytest.raises(ValueError, match="another model"):
        decode(other, stream)


def test_image_of_another_kind(small, image):
    with pytest.raises(ValueError, match=r"uint8 \(1, 4, 4\), not .*4, 5\)"):
        send(small, torch.zeros(1, 4, 5, dtype=torch.uint8))
    with pytest.raises(ValueError, match="float32"):
        send(small, image.float())
    with pytest.raises(ValueError, match="a pixel is 17, but there are 17 levels"):
        send(small, torch.full_like(image, 17))


def test_codec_that_does_not_fit(small):
    schedule = small.schedule
    with pytest.raises(ValueError, match="one for each t"):
        dataclasses.replace(small, variance=small.variance[1:])
    narrow = bound.fixed_variance(schedule, "small")
    with pytest.raises(ValueError, match="above beta_tilde_t"):
        dataclasses.replace(small, variance=narrow)
    with pytest.raises(ValueError, match="2 to 256 levels"):
        dataclasses.replace(small, levels=1)
    with pytest.raises(ValueError, match="block_bits"):
        dataclasses.replace(small, block_bits=0.0)
