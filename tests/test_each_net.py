"""What all nets have in common: first steps, configuration, errors of bad input."""

import re

import pytest
import torch
import torch.nn.functional as F
from nets import SMALL, images, randn, small

from helpers.networks import NETS


@pytest.fixture(scope="module", params=SMALL)
def net(request):
    return small(request.param)


def test_config_builds_the_same_net_again(net):
    again = type(net)(**net.config).double().eval()
    again.load_state_dict(net.state_dict())
    x = images(net, 2)
    assert torch.equal(again(x, 3), net(x, 3))


def test_one_t_is_a_vector_of_it(net):
    x = images(net, 2)
    assert torch.equal(net(x, 40), net(x, torch.tensor([40, 40])))
    assert torch.equal(net(x, 40), net(x, torch.tensor(40.0)))
    for t in (40.5, 41):
        assert not torch.allclose(net(x, t), net(x, 40))


def test_no_images(net):
    x = images(net, 2)[:0]
    assert net(x, torch.tensor([], dtype=torch.long)).shape == x.shape


def test_images_do_not_see_each_other(net):
    x, t = images(net, 3), torch.tensor([1, 500, 1000])
    alone = torch.cat([net(x[i : i + 1], int(t[i])) for i in range(3)])
    torch.testing.assert_close(net(x, t), alone)


@pytest.mark.parametrize("kind", SMALL)
def test_the_first_output_is_zero_and_later_every_parameter_learns(kind):
    torch.manual_seed(0)
    net = NETS[kind](**SMALL[kind])
    x, target = (images(net, 4, seed).float() for seed in (0, 1))
    assert not net(x, 5).any()
    optimiser = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(4):  # the zeros: first the tail, then the branches, then the rest
        optimiser.zero_grad()
        F.mse_loss(net(x, torch.tensor([1, 9, 99, 999])), target).backward()
        optimiser.step()
    assert not {name for name, p in net.named_parameters() if not p.grad.any()}


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("unet", {"image_size": 9}, "image_size must be a multiple of 2.*not 9"),
        ("unet", {"image_size": 0}, "image_size.*not 0"),
        ("unet", {"image_size": 28, "multipliers": (1,) * 4}, "multiple of 8.*not 28"),
        ("unet", {"channels": 10}, "multiple of groups = 4, not 10"),
        ("unet", {"channels": 9, "groups": 3}, "channels must be even"),
        ("unet", {"channels": 2, "groups": 1}, "at least 4"),
        ("resnet", {"image_size": 0}, "not .*0"),
        ("resnet", {"channels": 7}, "not .*7"),
        ("resnet", {"channels": 2}, "not .*2"),
        ("resnet", {"blocks": -1}, "not .*-1"),
        ("dit", {"image_size": 7}, "multiple of patch = 2, not 7"),
        ("dit", {"image_size": 0}, "not 0"),
        ("dit", {"patch": 0}, "multiple of patch = 0, not 6"),
        ("dit", {"width": 12, "heads": 5}, "of heads = 5, not 12"),
        ("dit", {"width": 10}, "multiple of 4 and of heads = 2, not 10"),
        ("dit", {"width": 4}, "at least 8.*not 4"),
        ("dit", {"heads": 0}, "heads = 0"),
        ("mlp", {"image_size": 0}, "not .*0"),
        ("mlp", {"width": 7}, "not .*7"),
        ("mlp", {"width": 2}, "not .*2"),
        ("mlp", {"depth": -1}, "not .*-1"),
    ],
)
def test_what_cannot_be_built(kind, change, message):
    with pytest.raises(ValueError, match=message):
        NETS[kind](**SMALL[kind] | change)


def test_images_of_the_wrong_shape(net):
    C, size = net.config["in_channels"], net.config["image_size"]
    message = re.escape(f"expected images (B, {C}, {size}, {size})")
    wrong = [(2, C + 1, size, size), (2, C, size, size + 1), (2, C, 2 * size, 2 * size)]
    for shape in [*wrong, (C, size, size), (2, C, size)]:
        with pytest.raises(ValueError, match=message):
            net(randn(*shape), 1)


@pytest.mark.parametrize("t", [0, 1001, -1, 0.5, float("nan"), [1, 2, 3], [[1], [2]]])
def test_timesteps_that_do_not_exist(net, t):
    with pytest.raises(ValueError, match=r"one per image, in 1, \.\.\., 1000"):
        net(images(net, 2), torch.tensor(t))
