"""The autoencoder: its loss as a bound, and standardised codes."""

import math

import nets
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from helpers import autoencoder
from helpers.autoencoder import Autoencoder, Code, Latents


def net(**changes):
    return nets.random(Autoencoder(**{"in_channels": 1, "channels": 4} | changes))


def test_the_divergence_of_a_code():
    mean, log_variance = nets.randn(3, 2, 2, 2), nets.randn(3, 2, 2, 2, seed=1)
    normal = Normal(mean, (log_variance / 2).exp())
    expected = kl_divergence(normal, Normal(0.0, 1.0)).flatten(1).sum(1)
    code = Code(mean, log_variance)
    torch.testing.assert_close(code.kl(), expected)
    eps = nets.randn(3, 2, 2, 2, seed=2)
    torch.testing.assert_close(code.draw(eps), mean + normal.stddev * eps)
    assert torch.equal(Code(mean, torch.full_like(mean, -math.inf)).draw(eps), mean)
    zero = torch.zeros(1, 2, 2, 2)
    assert Code(zero, zero).kl().item() == 0


def test_the_loss_is_the_bound_of_a_gaussian_decoder():
    model, x0, eps = net(), nets.randn(5, 1, 6, 4), nets.randn(5, 1, 6, 4, seed=1)
    weight, D = 0.02, 24
    s = math.sqrt(weight / 2)
    code = model.encode(x0)
    z = code.draw(autoencoder.code_noise(eps, 2))
    likelihood = Normal(model.decode(z), s).log_prob(x0).flatten(1).sum(1)
    bound = (code.kl() - likelihood).mean() - D * math.log(s * math.sqrt(2 * math.pi))
    loss = autoencoder.loss(model, x0, eps, weight)
    torch.testing.assert_close(loss, bound * 2 * s**2 / D)


def test_the_noise_of_a_code_is_that_of_the_image():
    eps = nets.randn(2, 1, 4, 6)
    noise = autoencoder.code_noise(eps, 3)
    assert noise.shape == (2, 3, 2, 3)
    assert torch.equal(noise[:, 0], eps[:, 0, ::2, ::2])
    assert torch.equal(noise[:, 1], eps[:, 0, ::2, 1::2])
    assert len(autoencoder.code_noise(eps, 4).unique()) == eps.numel()


def test_codes_of_training_images_are_standardised_and_come_back():
    model, images = net(), nets.randn(40, 1, 6, 6)
    latents = Latents.fit(model, images)
    z = latents.encode(images)
    assert z.shape[1:] == latents.shape == (2, 3, 3)
    std, mean = torch.std_mean(z, dim=(0, 2, 3), correction=0)
    torch.testing.assert_close(mean, torch.zeros(2).double(), rtol=0, atol=1e-12)
    torch.testing.assert_close(std, torch.ones(2).double())
    plain = model.decode(model.encode(images).mean)
    torch.testing.assert_close(latents.decode(z), plain)
    torch.testing.assert_close(
        autoencoder.means(model, images, batch=7), model.encode(images).mean
    )


def test_training_lowers_the_loss_and_noise_is_kept_where_it_does_no_harm():
    torch.manual_seed(0)
    model = Autoencoder(channels=8)
    generator = torch.Generator().manual_seed(0)
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    losses = []
    for _ in range(150):
        grey = torch.rand(16, 1, 1, 1, generator=generator) * 2 - 1
        x0, eps = (
            grey.expand(16, 1, 4, 4),
            torch.randn(16, 1, 4, 4, generator=generator),
        )
        loss = autoencoder.loss(model, x0, eps, weight=0.1)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 4
    s = (model.encode(x0).log_variance / 2).exp()
    assert s.max() > 0.5  # one number says it all: other places stay at the prior


def test_bad_input():
    with pytest.raises(ValueError, match=r"latent must lie in 1, \.\.\., 4: 5"):
        Autoencoder(latent=5)
    with pytest.raises(ValueError, match="even size"):
        net().encode(nets.randn(1, 1, 5, 6))
    with pytest.raises(ValueError, match=r"images \(B, 1, H, W\)"):
        net().encode(nets.randn(1, 3, 6, 6))
    constant = net()
    constant.encoder[-1].weight.data.zero_()
    with pytest.raises(ValueError, match="is constant"):
        Latents.fit(constant, nets.randn(4, 1, 4, 4))
