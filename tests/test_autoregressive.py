"""Masking as a diffusion, against transition matrices and the exact likelihood."""

import math

import pytest
import torch
from torch.testing import assert_close

from helpers import rangecoder
from helpers.autoregressive import (
    BLANK,
    conditionals,
    every_image,
    guess,
    ising,
    log_likelihood,
    mask,
    sample,
    terms,
    true_form,
)

ISING = ising(3, 0.4, 0.1)


def random_table(D, K, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn([K] * D, dtype=torch.float64, generator=generator)
    return (2 * logits).flatten().softmax(0).view([K] * D)


def test_every_image_pays_its_exact_likelihood():
    images = every_image(9, 2)
    L = terms(conditionals(ISING), images)
    assert L.shape == (512, 10)
    assert bool((L[:, -1] == 0).all())
    assert_close(L.sum(1), -ISING.flatten().log(), rtol=1e-12, atol=0)


def test_the_order_of_the_pixels_follows_the_paper():
    """Three pixels by hand: pixel 3 is guessed first, from nothing."""
    table = random_table(3, 2)
    x0 = torch.tensor([[1, 0, 1]])
    last = table[:, :, 1].sum()
    middle = table[:, 0, 1].sum() / last
    first = table[1, 0, 1] / table[:, 0, 1].sum()
    want = -torch.stack([first, middle, last, torch.ones_like(last)]).log()
    assert_close(terms(conditionals(table), x0)[0], want)
    assert mask(x0, 2).tolist() == [[BLANK, BLANK, 1]]


def test_a_wrong_model_pays_its_cross_entropy_in_both_forms():
    model = conditionals(random_table(9, 2, seed=1))
    L = ISING.flatten() @ terms(model, every_image(9, 2)).sum(1)
    assert_close(L, -(ISING * log_likelihood(model)).sum())
    form = true_form(ISING, model)
    assert_close(form.sum(), L, rtol=1e-12, atol=0)
    assert bool((form[1:-1] > 0.001).all())


def test_the_best_model_pays_the_entropy():
    form = true_form(ISING, conditionals(ISING))
    assert form[:-1].abs().max() < 1e-14
    assert form.sum() < 9 * math.log(2)


@pytest.mark.parametrize(("D", "K"), [(4, 2), (3, 3)])
def test_against_transition_matrices(D, K):
    """Nothing known of masks: matrices over all (K + 1)^D states, and Bayes' rule."""
    table, model = random_table(D, K), conditionals(random_table(D, K, seed=1))
    states = every_image(D, K + 1)  # the value K is blank
    code = {tuple(s): i for i, s in enumerate(states.tolist())}
    q = [torch.zeros(len(states), dtype=torch.float64)]
    for image, chance in zip(every_image(D, K).tolist(), table.flatten()):
        q[0][code[tuple(image)]] = chance
    five, sixteen = 0.0, -torch.special.xlogy(q[0], q[0]).sum()
    for t in range(1, D + 1):
        forth = torch.zeros(len(states), len(states), dtype=torch.float64)
        back = torch.zeros_like(forth)  # p(x_{t-1} | x_t), columns x_t
        for i, s in enumerate(states.tolist()):
            forth[code[(*s[: t - 1], K, *s[t:])], i] = 1
            if all(v == K for v in s[:t]) and K not in s[t:]:
                seen = torch.tensor([[BLANK] * t + s[t:]])
                for k, chance in enumerate(guess(model, seen, t)[0]):
                    back[code[(*s[: t - 1], k, *s[t:])], i] = chance
        q.append(forth @ q[-1])
        joint = forth.T * q[t - 1][:, None]  # rows x_{t-1}, columns x_t
        true = torch.where(q[t] > 0, joint / q[t], 0.0)
        ratio = torch.special.xlogy(true, true) - torch.special.xlogy(true, back)
        sixteen = sixteen + (ratio.nan_to_num(0.0) * q[t]).sum()
        five = five - torch.special.xlogy(joint, back).sum()
    assert q[-1].max() == pytest.approx(1)  # x_T is blank
    assert_close(sixteen, true_form(table, model).sum())
    assert_close(five, table.flatten() @ terms(model, every_image(D, K)).sum(1))


def test_samples_have_the_chances_of_the_model():
    table = random_table(2, 3)
    drawn = sample(conditionals(table), 20000, torch.Generator().manual_seed(0))
    found = torch.bincount(3 * drawn[:, 0] + drawn[:, 1], minlength=9) / 20000
    error = (table.flatten() * (1 - table.flatten()) / 20000).sqrt()
    assert bool(((found - table.flatten()).abs() < 4 * error).all())


def test_impossible_images():
    table = torch.zeros(2, 2, dtype=torch.float64)
    table[0, 0] = table[1, 0] = 0.5
    model = conditionals(table)
    L = terms(model, every_image(2, 2)).sum(1)
    assert_close(
        L, torch.tensor([math.log(2), torch.inf, math.log(2), torch.inf]).double()
    )
    assert true_form(table, model).sum().item() == pytest.approx(math.log(2))


def test_a_range_coder_sends_it_at_its_likelihood():
    """q leaves no choice, so nothing has to be sampled, and there is no overhead."""
    model, images = conditionals(ISING), every_image(9, 2)[::5]
    encoder = rangecoder.Encoder()
    for x0 in images[:, None]:
        for t in range(9, 0, -1):
            one = guess(model, mask(x0, t), t)[0, 0].item()
            starts = rangecoder.starts([0.0, one, 1.0])
            k = int(x0[0, t - 1])
            encoder.put(starts[k], starts[k + 1] - starts[k])
    bits = terms(model, images).sum().item() / math.log(2)
    data = encoder.finish()
    assert 8 * len(data) == pytest.approx(bits, rel=1e-3, abs=8)
    decoder, got = rangecoder.Decoder(data), []
    for _ in images:
        xt = torch.full((1, 9), BLANK)
        for t in range(9, 0, -1):
            one = guess(model, xt, t)[0, 0].item()
            xt[0, t - 1] = decoder.get(rangecoder.starts([0.0, one, 1.0]))
        got.append(xt)
    assert torch.equal(torch.cat(got), images)


def test_ising_by_hand():
    table = ising(2, 0.3)
    assert table.shape == (2, 2, 2, 2)
    assert (table[1, 1, 1, 1] / table[1, 1, 1, 0]).item() == pytest.approx(
        math.exp(1.2)
    )
    assert (table[0, 1, 1, 0] / table[0, 0, 0, 0]).item() == pytest.approx(
        math.exp(-2.4)
    )
    assert ising(1, 5.0, 0.5)[1].item() == pytest.approx(1 / (1 + math.exp(-1)))


def test_bad_input():
    with pytest.raises(ValueError, match="not 3"):
        mask(torch.zeros(1, 2).long(), 3)
    with pytest.raises(ValueError, match="side must be 1 to 4, not 5"):
        ising(5, 1.0)
    with pytest.raises(ValueError, match=r"not \(2, 3\)"):
        conditionals(torch.full((2, 3), 1 / 6, dtype=torch.float64))
    with pytest.raises(ValueError, match="sum to 1, not to 2"):
        conditionals(torch.full((2, 2), 0.5, dtype=torch.float64))
    with pytest.raises(ValueError, match="float64"):
        conditionals(torch.full((2, 2), 0.25))
