"""Networks behind the signature of a denoiser, and weights that belong to a net."""

import pytest
import torch
from nets import images, randn, random, small

from helpers import paths, schedules
from helpers.artifacts import ArtifactError, Experiment
from helpers.networks import (
    denoiser,
    load_denoiser,
    load_net,
    load_weights,
    macs,
    parameters,
    rounded,
)
from helpers.recipe import plain_values
from helpers.targets import eps_from_x0, v_from_x0
from helpers.unet import UNet
from helpers.wiener import Wiener

LINEAR = schedules.linear()
SMALL = {"image_size": 4, "in_channels": 1, "channels": 4, "multipliers": (1, 2)}
SMALL |= {"blocks": 1, "attention": (), "dropout": 0.0, "groups": 2}


def random_net(**changes):
    return random(UNet(**SMALL | changes), 0.2).requires_grad_(False)


def test_it_is_x_minus_sigma_eps_at_every_timestep():
    net, x, seen = random_net(), randn(1000, 1, 4, 4), []
    t = torch.arange(1, 1001)
    xt = x * LINEAR.alpha_bar[t].sqrt().view(-1, 1, 1, 1)
    sigma = LINEAR.sigma[t]
    expected = x - sigma.view(-1, 1, 1, 1) * net(xt, t)

    def spy(xt, t):
        seen.append(t)
        return net(xt, t)

    answer = denoiser(spy, LINEAR)(x, sigma)
    torch.testing.assert_close(seen[0], t.double(), rtol=0, atol=1e-6)
    torch.testing.assert_close(answer, expected, rtol=1e-7, atol=1e-7)


def test_between_two_steps_t_is_real():
    sigma = (LINEAR.sigma[40] * LINEAR.sigma[41]).sqrt().item()
    seen = []
    denoiser(lambda xt, t: seen.append(t) or xt, LINEAR)(randn(2, 1, 4, 4), sigma)
    assert seen[0].tolist() == pytest.approx([40.5, 40.5])


def test_many_sigmas_are_one_by_one():
    denoise, x = denoiser(random_net(), LINEAR), randn(3, 1, 4, 4)
    sigma = torch.tensor([0.02, 1.0, 100.0])
    one_by_one = [denoise(x[i : i + 1], sigma[i].item()) for i in range(3)]
    torch.testing.assert_close(denoise(x, sigma), torch.cat(one_by_one))


def test_clip():
    net, x = random_net(), 5 * randn(2, 1, 4, 4)
    plain = denoiser(net, LINEAR)(x, 3.0)
    assert plain.abs().max() > 1
    assert torch.equal(denoiser(net, LINEAR, clip=True)(x, 3.0), plain.clamp(-1, 1))


def test_what_a_net_predicts():
    """The Wiener filter behind each prediction is the Wiener filter."""
    wiener, x = Wiener.fit(randn(30, 1, 4, 4).tanh()), 3 * randn(4, 1, 4, 4, seed=1)
    sigma = LINEAR.sigma[[3, 100, 500, 999]]

    def net(convert):
        def predict(xt, t):
            y = xt * (1 + sigma.view(-1, 1, 1, 1) ** 2).sqrt()
            return convert(y, wiener(y, sigma), sigma)

        return predict

    every = {"eps": eps_from_x0, "v": v_from_x0, "x0": lambda x, x0, sigma: x0}
    for predicts, convert in every.items():
        answer = denoiser(net(convert), LINEAR, predicts=predicts)(x, sigma)
        torch.testing.assert_close(answer, wiener(x, sigma))
    with pytest.raises(ValueError, match="eps or v or x0, not 'mu'"):
        denoiser(net(v_from_x0), LINEAR, predicts="mu")


def test_noise_levels_the_net_was_never_trained_for():
    denoise, x = denoiser(random_net(), LINEAR), randn(2, 1, 4, 4)
    low, high = LINEAR.sigma[1].item(), LINEAR.sigma[-1].item()
    for x_of_dtype in (x, x.float()):  # the ends themselves, whatever is rounded
        for sigma in (low, high):
            denoiser(lambda xt, t: xt, LINEAR)(x_of_dtype, sigma)
    for sigma in (0.99 * low, 1.01 * high, torch.tensor([1.0, 200.0])):
        with pytest.raises(ValueError, match=r"sigma must lie in \[0\.01, 157\.4\]"):
            denoise(x, sigma)


def test_the_exact_eps_of_gaussian_data_gives_the_wiener_filter():
    A = randn(4, 4)
    cov, mu = A @ A.T / 16, 0.1 * randn(4, seed=1)
    identity = torch.eye(4, dtype=torch.float64)

    def eps(xt, t):
        """E[eps | x_t] of x_t = sqrt(abar) x_0 + sqrt(1 - abar) eps; one t."""
        a = LINEAR.alpha_bar[int(t[0].round())]
        total = a * cov + (1 - a) * identity  # covariance of x_t
        centred = xt.flatten(1) - a.sqrt() * mu
        return ((1 - a).sqrt() * torch.linalg.solve(total, centred.T).T).view_as(xt)

    denoise, wiener, x = (
        denoiser(eps, LINEAR),
        Wiener(mu, cov),
        randn(5, 1, 2, 2, seed=2),
    )
    for t in (1, 30, 500, 1000):
        sigma = LINEAR.sigma[t]
        torch.testing.assert_close(
            denoise(x, sigma), wiener(x, sigma), rtol=1e-8, atol=1e-8
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"channels": 8},
            r"first down\.0\.resize\.conv\.bias: \(8,\), expected \(4,\)",
        ),
        ({"blocks": 2}, r"first down\.0\.stages\.1\..*, expected nothing"),
        ({"attention": (4,)}, r"first down\.0\.stages\.0\.attention.*expected nothing"),
        ({"multipliers": (1,)}, r"first down\.0\.resize\.conv\.bias: absent"),
    ],
)
def test_weights_of_another_architecture(change, message):
    net, theirs = random_net(), random_net(**change)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    with pytest.raises(ValueError, match=message) as error:
        load_weights(net, theirs.state_dict())
    assert "belong to another architecture" in str(error.value)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


def test_rounded_weights_are_half_as_large_and_nearly_the_same():
    net = random_net()
    half = rounded(net)
    assert {v.dtype for v in half.values()} == {torch.float16}
    again = load_weights(UNet(**SMALL).double().eval(), half)
    x = randn(2, 1, 4, 4)
    gap = (again(x, 9) - net(x, 9)).abs().max() / net(x, 9).abs().max()
    assert 0 < gap < 1e-2


@pytest.mark.parametrize(
    ("kind", "recorded"),
    [
        ("unet", {}),
        ("unet", {"kind": "unet_plain", "predicts": "v"}),
        ("unet", {"kind": "unet_long", "predicts": "v"}),
        ("resnet", {"kind": "resnet", "predicts": "eps"}),
        ("dit", {"kind": "dit", "predicts": "v"}),
        ("mlp", {"kind": "mlp", "predicts": "v"}),
    ],
)
def test_a_shipped_net_is_a_denoiser(tmp_path, monkeypatch, kind, recorded):
    """By what the manifest says of it; the first nets say neither kind nor v."""
    for place in ("ROOT", "DATA", "BUILD"):
        monkeypatch.setattr(paths, place, tmp_path)
    (tmp_path / "requirements.lock").write_text("")
    net = small(kind)
    settings = {"net": plain_values(net.config)} | recorded
    with Experiment(tmp_path / "train.py", 0, parameters=settings) as run:
        run.save("weights/tiny.safetensors", rounded(net), "float16")

    known, x = load_net("tiny"), images(net, 2).float()
    assert type(known) is type(net) and not known.training
    weights = {k: v.half().float() for k, v in net.state_dict().items()}
    assert all(torch.equal(v, weights[k]) for k, v in known.state_dict().items())
    assert not any(p.requires_grad for p in known.parameters())

    predicts = recorded.get("predicts", "eps")
    for clip in (False, True):
        expected = denoiser(known, LINEAR, clip, predicts)(x, 2.0)
        assert torch.equal(load_denoiser("tiny", LINEAR, clip)(x, 2.0), expected)
    eps, v = (denoiser(known, LINEAR, True, way)(x, 2.0) for way in ("eps", "v"))
    assert not torch.allclose(eps, v)  # so the two could not be confused
    with pytest.raises(ArtifactError):
        load_denoiser("unknown", LINEAR)


def test_size_and_cost_of_ddpms_net():
    with torch.device("meta"):
        net = UNet()
    assert parameters(net) == 35_746_307
    cost = macs(net)
    assert sum(cost.values()) == 6_221_856_768
    down, up = (
        [round(cost[f"{way}.{l}"] / 1e9, 3) for l in range(4)] for way in ("down", "up")
    )
    assert down == [0.642, 0.776, 0.161, 0.038]
    assert up == [0.129, 0.516, 2.282, 1.628]
