"""The U-Net: as large as DDPM's, the same function as a peer's; its ablations."""

import hashlib
import re

import pytest
import torch
from nets import SMALL, randn, small
from torch.utils.flop_counter import FlopCounterMode

from helpers.layers import Attention, timestep_embedding
from helpers.unet import UNet

LARGE = {"image_size": 256, "multipliers": (1, 1, 2, 2, 4, 4), "dropout": 0.0}


@pytest.fixture(scope="module")
def net():
    return small("unet")


@pytest.mark.parametrize(
    ("config", "numbers", "products"),
    [({}, 35_746_307, 6_221_856_768), (LARGE, 113_673_219, 248_513_757_184)],
    ids=["CIFAR-10", "256 x 256"],
)
def test_ddpms_two_nets_to_the_last_parameter(config, numbers, products):
    with torch.device("meta"):
        net = UNet(**config)
        x = torch.empty(1, 3, net.config["image_size"], net.config["image_size"])
    assert sum(p.numel() for p in net.parameters()) == numbers
    with FlopCounterMode(display=False) as counter:
        net(x, 1)
    assert counter.get_total_flops() == 2 * products


def test_skips_of_the_cifar_net():
    with torch.device("meta"):
        net, x = UNet(), torch.empty(1, 3, 32, 32)
    maps, emb = net.encode(x, 1)
    sizes = [32, 32, 32, 16, 16, 16, 8, 8, 8, 4, 4, 4]
    channels = [128] * 4 + [256] * 8
    assert [m.shape for m in maps] == [(1, c, s, s) for c, s in zip(channels, sizes)]
    assert sum(m.numel() for m in maps) == 618_496 and emb.shape == (1, 512)


def test_forward_is_encode_then_decode(net):
    x = randn(2, 3, 8, 8)
    maps, emb = net.encode(x, 7)
    assert torch.equal(net.decode(maps, emb), net(x, 7))
    assert torch.equal(net.decode(maps, emb), net(x, 7))  # the maps are still there


def test_the_decoder_needs_every_map(net):
    maps, emb = net.encode(randn(1, 3, 8, 8), 7)
    whole = net.decode(maps, emb)
    for i in range(len(maps)):
        without = [m if j != i else torch.zeros_like(m) for j, m in enumerate(maps)]
        assert not torch.allclose(net.decode(without, emb), whole)


def test_no_images_are_no_mistake(net):
    x = randn(0, 3, 8, 8)
    assert net(x, torch.ones(0)).shape == x.shape


def test_attention_is_nowhere_or_in_the_middle_at_least():
    counts = [
        sum(isinstance(m, Attention) for m in small("unet", attention=a).modules())
        for a in (None, (), SMALL["unet"]["attention"])
    ]
    assert counts[:2] == [0, 1]
    assert counts[2] > 1


def names_and_shapes(net):
    listed = [(name, tuple(p.shape)) for name, p in net.named_parameters()]
    return hashlib.sha256(repr(listed).encode()).hexdigest()[:16]


def test_the_net_is_the_one_of_before_there_were_options():
    """Recorded then: weights that are shipped and checkpoints still fit."""
    with torch.device("meta"):
        net = UNet()
    assert names_and_shapes(net) == "ec8d047953716cfa"
    before = ["image_size", "in_channels", "channels", "multipliers", "blocks"]
    assert list(net.config) == [*before, "attention", "dropout", "groups", "T"]
    torch.manual_seed(0)
    net = UNet(**SMALL["unet"])
    assert names_and_shapes(net) == "abbf7baf9300bf67"
    first = sum(p.double().abs().sum().item() for p in net.parameters())
    assert first == pytest.approx(3313.1447459365336, rel=1e-9)
    assert net.head.weight[0, 0, 0, 0].item() == pytest.approx(-0.009808894246816635)
    same = UNet(**SMALL["unet"], out_channels=None, skips="concatenated", timed=True)
    assert same.config == net.config


@pytest.mark.parametrize(
    "change", [{"skips": "none"}, {"skips": "scaled"}, {"timed": False}], ids=str
)
def test_an_option_is_in_the_configuration_and_builds_the_net_again(change):
    net = small("unet", **change)
    assert net.config.items() >= change.items()
    again = UNet(**net.config).double().eval()
    again.load_state_dict(net.state_dict())
    x = randn(2, 3, 8, 8)
    assert torch.equal(again(x, 7), net(x, 7))


def test_without_skips_the_decoder_sees_only_what_comes_from_below():
    net, x = small("unet", skips="none"), randn(1, 3, 8, 8)
    maps, emb = net.encode(x, 7)
    zeros = [torch.zeros_like(m) for m in maps[:-1]]
    assert torch.equal(net.decode([*zeros, maps[-1]], emb), net(x, 7))
    whole, stored = small("unet"), [8, 8, 8, 16]  # head, block, half the size, block
    stages, lost = [(16, 16), (16, 16), (8, 16), (8, 8)], 0  # channels out, from below
    for (C_out, C_in), skip in zip(stages, stored[::-1]):
        shortcut = C_out * skip + (C_out * C_in + C_out) * (C_in == C_out)
        lost += 9 * C_out * skip + 2 * skip + shortcut
    fewer = sum(p.numel() for p in whole.parameters()) - lost
    assert sum(p.numel() for p in net.parameters()) == fewer


def test_a_scaled_skip_is_the_stored_map_times_its_number():
    whole, net, x = small("unet"), small("unet", skips="scaled"), randn(2, 3, 8, 8)
    weights = whole.state_dict()
    assert set(net.state_dict()) - set(weights) == {"scales"}
    assert torch.equal(UNet(**SMALL["unet"], skips="scaled").scales, torch.ones(4))
    factors = torch.tensor([1.0, 0.0, -2.0, 0.5]).double()
    net.load_state_dict({**weights, "scales": factors})
    maps, emb = whole.encode(x, 7)
    scaled = [f * m for f, m in zip(factors, maps)]
    h = maps[-1]  # the middle is no skip
    for stage in whole.middle:
        h = stage(h, emb)
    for level in whole.up:
        for stage in level.stages:
            h = stage(torch.cat([h, scaled.pop()], dim=1), emb)
        h = h if level.resize is None else level.resize(h)
    torch.testing.assert_close(net(x, 7), whole.tail(h))
    net.load_state_dict({**weights, "scales": torch.ones(4)})
    assert torch.equal(net(x, 7), whole(x, 7))


def test_a_net_that_is_not_told_t_answers_alike_at_all_t():
    net, x = small("unet", timed=False), randn(2, 3, 8, 8)
    assert torch.equal(net(x, 1), net(x, torch.tensor([3.5, 1000.0])))
    assert net.encode(x, 1)[1] is None
    assert not any("time" in name for name in net.state_dict())
    whole = small("unet")
    told = [p.numel() for name, p in whole.named_parameters() if "time" in name]
    count = sum(p.numel() for p in whole.parameters()) - sum(told)
    assert sum(p.numel() for p in net.parameters()) == count
    with pytest.raises(ValueError, match="t must be one number"):
        net(x, 0)


def test_more_output_channels_than_input_channels():
    net, x = small("unet", out_channels=6), randn(2, 3, 8, 8)
    assert net(x, 7).shape == (2, 6, 8, 8) and net.config["out_channels"] == 6


def test_skips_are_one_of_three():
    with pytest.raises(ValueError, match="concatenated, scaled, none, not 'half'"):
        small("unet", skips="half")


# ours -> the name in diffusers 0.42
NAMES = [
    (r"^time\.0", "time_embedding.linear_1"),
    (r"^time\.2", "time_embedding.linear_2"),
    (r"^head", "conv_in"),
    (r"^tail\.0", "conv_norm_out"),
    (r"^tail\.2", "conv_out"),
    (r"^middle\.(\d)\.attention", r"mid_block.attentions.\1"),
    (r"^middle\.(\d)\.block", r"mid_block.resnets.\1"),
    (r"^(down|up)\.(\d)\.resize", r"\1_blocks.\2.\1samplers.0"),
    (r"^(down|up)\.(\d)\.stages\.(\d)\.attention", r"\1_blocks.\2.attentions.\3"),
    (r"^(down|up)\.(\d)\.stages\.(\d)\.block", r"\1_blocks.\2.resnets.\3"),
    (r"(resnets.*)\.time\.", r"\1.time_emb_proj."),
    (r"shortcut", "conv_shortcut"),
    (r"(attentions.*)\.norm\.", r"\1.group_norm."),
    (r"(attentions.*)\.out\.", r"\1.to_out.0."),
]


def in_diffusers(weights):
    """Our weights under the names, and in the shapes, of its UNet2DModel."""
    renamed = {}
    for name, value in weights.items():
        for ours, theirs in NAMES:
            name = re.sub(ours, theirs, name)
        if "attentions" in name and value.ndim == 4:
            value = value[:, :, 0, 0]
        if ".qkv." in name:
            for part, third in zip("qkv", value.chunk(3)):
                renamed[name.replace("qkv", f"to_{part}")] = third
        else:
            renamed[name] = value
    return renamed


def peer(net):
    """The UNet2DModel of diffusers with the layers and weights of `net`."""
    from diffusers.models.unets.unet_2d import UNet2DModel

    c = net.config
    sizes = [c["image_size"] // 2**i for i in range(len(c["multipliers"]))]
    attend = ["Attn" * (size in c["attention"]) for size in sizes]
    theirs = UNet2DModel(
        sample_size=c["image_size"],
        in_channels=c["in_channels"],
        out_channels=c["in_channels"],
        block_out_channels=[c["channels"] * m for m in c["multipliers"]],
        layers_per_block=c["blocks"],
        down_block_types=[f"{a}DownBlock2D" for a in attend],
        up_block_types=[f"{a}UpBlock2D" for a in attend[::-1]],
        attention_head_dim=None,  # one head
        norm_num_groups=c["groups"],
        norm_eps=1e-6,
        dropout=c["dropout"],
        flip_sin_to_cos=False,
        freq_shift=1,
        downsample_padding=0,
    ).double()
    weights = in_diffusers(net.state_dict())
    theirs.load_state_dict(weights)  # no tensor is missing or left over
    return theirs.train(net.training)


def with_our_sinusoids(theirs):
    """Its own are float32, and right for small t only."""
    C = theirs.config.block_out_channels[0]
    theirs.time_proj.forward = lambda t: timestep_embedding(t, C)
    return theirs


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"blocks": 2, "multipliers": (1, 2, 2, 3), "image_size": 16},
        {"attention": (8, 4), "in_channels": 1},
    ],
    ids=["small", "deep", "attention on both levels"],
)
def test_diffusers_computes_the_same(change, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    net = small("unet", **change)
    theirs, C = peer(net), net.config["in_channels"]
    x = randn(3, C, net.config["image_size"], net.config["image_size"])
    early, t = torch.tensor([1, 2, 5]), torch.tensor([2, 500, 1000])
    with torch.no_grad():
        # it counts t from 0
        torch.testing.assert_close(
            net(x, early), theirs(x, early - 1).sample, rtol=1e-5, atol=1e-5
        )
        answer = with_our_sinusoids(theirs)(x, t - 1).sample
        torch.testing.assert_close(net(x, t), answer, rtol=1e-10, atol=1e-10)


def test_diffusers_has_the_same_gradients(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    net = small("unet")
    theirs, x, t = (
        with_our_sinusoids(peer(net)),
        randn(2, 3, 8, 8),
        torch.tensor([3, 9]),
    )
    net(x, t).square().sum().backward()
    theirs(x, t - 1).sample.square().sum().backward()
    ours = in_diffusers({name: p.grad for name, p in net.named_parameters()})
    for name, p in theirs.named_parameters():
        torch.testing.assert_close(p.grad, ours[name], rtol=1e-9, atol=1e-9)
