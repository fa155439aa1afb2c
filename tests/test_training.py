"""Algorithm 1: what it draws, that it resumes exactly, and what it refuses."""

import functools
import itertools
import math
import os
import subprocess
import sys

import pytest
import torch
from lightning_fabric import Fabric

from helpers import schedules, training
from helpers.data import load
from helpers.recipe import Recipe, learning_rate
from helpers.targets import eps_from_x0, v_from_x0
from helpers.training import Diverged, draw, simple_loss, train, v_loss, x0_loss
from helpers.unet import UNet

LINEAR = schedules.linear()
TINY = Recipe(steps=6, batch=4, lr=1e-3, warmup=2, ema=0.9)


def images(n=20, size=4):
    generator = torch.Generator().manual_seed(0)
    return torch.rand(n, 1, size, size, generator=generator) * 2 - 1


def small_net(dropout=0.0, size=4, channels=4):
    torch.manual_seed(0)
    return UNet(size, 1, channels, (1,), 1, (), dropout, groups=2)


def fabric():
    return Fabric(accelerator="cpu", devices=1)


def run(recipe=TINY, dropout=0.0, steps=None, net=None, x=None, **options):
    """The state after `steps` updates, or after all."""
    net = net or small_net(dropout)
    x = images() if x is None else x
    states = train(net, x, LINEAR, recipe, fabric(), **options)
    return list(itertools.islice(states, steps))[-1]


@functools.cache
def usual(dropout=0.0):
    """A whole run, never killed."""
    return run(dropout=dropout)


def changed(recipe=TINY, **changes):
    return Recipe(**{**vars(recipe), **changes})


def same(a, b):
    return all(torch.equal(v, b.state_dict()[k]) for k, v in a.state_dict().items())


# What is drawn


def test_a_step_draws_what_its_seed_and_number_say():
    first, again = (draw(images(), LINEAR, TINY, 3) for _ in range(2))
    assert all(map(torch.equal, first, again))
    for other in (
        draw(images(), LINEAR, TINY, 4),
        draw(images(), LINEAR, changed(seed=1), 3),
    ):
        assert not torch.equal(first.eps, other.eps)


def test_the_distributions_of_a_draw():
    n, T = 20_000, 5
    x = torch.tensor([[-1.0, 0.0], [1.0, 0.5]]).reshape(2, 1, 1, 2)
    schedule = schedules.linear(T)
    drawn = draw(x, schedule, Recipe(1, batch=n), 1)
    share = torch.bincount(drawn.t, minlength=T + 1) / n
    half = 4 * (0.2 * 0.8 / n) ** 0.5
    assert share[0] == 0 and len(share) == T + 1  # t is in 1, ..., T
    assert (share[1:] - 1 / T).abs().max() < half
    kinds, counts = drawn.x0.flatten(1).unique(dim=0, return_counts=True)
    assert len(kinds) == 4  # two images, each mirrored or not
    assert (counts / n - 0.25).abs().max() < 4 * (0.25 * 0.75 / n) ** 0.5
    assert abs(drawn.eps.mean().item()) < 4 / (2 * n) ** 0.5
    assert abs(drawn.eps.var().item() - 1) < 4 * (2 / (2 * n)) ** 0.5
    unmirrored = draw(x, schedule, Recipe(1, batch=n, flips=False), 1)
    assert len(unmirrored.x0.flatten(1).unique(dim=0)) == 2
    assert torch.equal(unmirrored.eps, drawn.eps) and torch.equal(unmirrored.t, drawn.t)


def test_the_loss_of_a_perfect_and_of_a_silent_net():
    x = images()
    drawn = draw(x, LINEAR, Recipe(1, batch=4000), 1)

    def oracle(xt, t):
        keep = LINEAR.alpha_bar[t].sqrt().view(-1, 1, 1, 1)
        return (xt - keep * drawn.x0) / LINEAR.noise_variance[t].sqrt().view_as(keep)

    assert simple_loss(oracle, drawn, LINEAR).item() < 1e-10
    silent = simple_loss(lambda xt, t: torch.zeros_like(xt), drawn, LINEAR).item()
    assert silent == pytest.approx(1, abs=4 * (2 / drawn.eps.numel()) ** 0.5)


@pytest.mark.parametrize("t", [1, 100, 400, 1000])
def test_the_loss_of_v_is_that_of_x0_by_its_weight(t):
    """1 + SNR = 1 / (1 - alpha_bar), for a net that is off by c in x0."""
    drawn = draw(images(), LINEAR, Recipe(1, batch=8), 1)
    drawn = drawn._replace(t=torch.full((8,), t))
    sigma, c = LINEAR.sigma[t].item(), 0.3

    def off(xt, t):
        x = xt * (1 + sigma**2) ** 0.5
        return v_from_x0(x, drawn.x0 + c, sigma)

    weight = 1 / LINEAR.noise_variance[t].item()
    assert v_loss(off, drawn, LINEAR).item() == pytest.approx(weight * c**2, rel=2e-3)


@pytest.mark.parametrize("t", [1, 400, 1000])
def test_the_loss_of_x0_is_that_of_eps_by_its_weight(t):
    """SNR, for a net that is off by c in x0."""
    drawn = draw(images(), LINEAR, Recipe(1, batch=8), 1)
    drawn = drawn._replace(t=torch.full((8,), t))
    sigma, c = LINEAR.sigma[t].item(), 0.3

    def off(xt, t):
        return eps_from_x0(xt * (1 + sigma**2) ** 0.5, drawn.x0 + c, sigma)

    found = x0_loss(lambda xt, t: drawn.x0 + c, drawn, LINEAR).item()
    assert found == pytest.approx(c**2, rel=1e-5)
    weighted = simple_loss(off, drawn, LINEAR).item() * sigma**2
    assert weighted == pytest.approx(found, rel=2e-3)


# The update


def test_learning_rates():
    recipe = Recipe(steps=8, lr=2.0, warmup=4)
    rates = [learning_rate(recipe, step) for step in range(1, 9)]
    assert rates == [0.5, 1.0, 1.5, 2, 2, 2, 2, 2]
    recipe = changed(recipe, warmup=0, decay="cosine")
    rates = [learning_rate(recipe, step) for step in range(1, 9)]
    expected = [1 + math.cos(math.pi * k / 8) for k in range(8)]
    assert rates == pytest.approx(expected) and rates[0] == 2.0


def test_an_update_is_adam_with_a_clipped_gradient():
    """Against the loop written out, with its own moving average."""
    recipe, x, net = changed(clip=0.05), images(), small_net()
    ema = {k: v.clone() for k, v in net.state_dict().items()}
    optimiser = torch.optim.Adam(net.parameters())
    for step in range(1, recipe.steps + 1):
        optimiser.param_groups[0]["lr"] = recipe.lr * min(1, step / recipe.warmup)
        optimiser.zero_grad()
        simple_loss(net, draw(x, LINEAR, recipe, step), LINEAR).backward()
        size = sum(p.grad.square().sum() for p in net.parameters()).sqrt()
        for p in net.parameters():
            p.grad *= min(1, recipe.clip / size)
        assert size > recipe.clip
        optimiser.step()
        decay = min(recipe.ema, (1 + step) / (10 + step))
        for k, v in net.state_dict().items():
            ema[k] = decay * ema[k] + (1 - decay) * v
    state = run(recipe)
    assert state.step == recipe.steps and state.grad_norm == pytest.approx(size.item())
    for got, expected in (
        (state.net.state_dict(), net.state_dict()),
        (state.ema.state_dict(), ema),
    ):
        for name, value in expected.items():
            torch.testing.assert_close(got[name], value, rtol=1e-4, atol=1e-6)


def test_weight_decay_is_that_of_adamw():
    """Without a gradient AdamW still shrinks the weights, by lr x weight_decay."""
    net = small_net()
    before = net.head.weight.clone()
    recipe = changed(steps=1, warmup=0, lr=0.1, weight_decay=0.5)
    state = run(recipe, net=net, loss=lambda net, drawn, _: 0 * net(drawn.x0, 1).sum())
    torch.testing.assert_close(state.net.head.weight, 0.95 * before)


def test_the_moving_average_is_not_trained():
    state = usual()
    assert not any(p.requires_grad for p in state.ema.parameters())
    assert not state.ema.training and state.net.training
    assert not same(state.net, state.ema)


def test_the_loss_falls_on_digits():
    recipe = Recipe(60, batch=16, lr=5e-3, warmup=10, decay="cosine", flips=False)
    net, losses = small_net(size=8, channels=8), []
    for state in train(net, load("digits"), LINEAR, recipe, fabric()):
        losses.append(state.loss)
    assert losses[0] == pytest.approx(1, abs=0.1)
    assert sum(losses[-20:]) / 20 < 0.35


def test_training_leaves_the_callers_random_numbers_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    net = small_net(0.5)
    torch.manual_seed(5)
    run(net=net)
    assert torch.equal(torch.rand(3), expected)


# Going on


@pytest.mark.parametrize("killed", [1, 3, 4, 6])
def test_a_killed_run_ends_with_the_same_bits(tmp_path, killed):
    """A checkpoint every 2 steps; the run dies while its caller looks at a state."""
    dropout, whole = 0.5, usual(0.5)
    file, net = tmp_path / "run.ckpt", small_net(dropout)
    run(net=net, steps=killed, checkpoint=file, every=2)
    torch.manual_seed(killed)  # another process has other random numbers
    resumed = run(dropout=dropout, checkpoint=file, every=2)
    assert same(whole.net, resumed.net) and same(whole.ema, resumed.ema)
    assert whole[:4] == resumed[:4]


def test_dropout_is_on_while_training():
    assert not same(usual(0.5).net, usual().net)


def test_a_run_at_its_end_yields_its_last_state_once_more(tmp_path):
    file = tmp_path / "run.ckpt"
    last = run(checkpoint=file)
    again = list(train(small_net(), images(), LINEAR, TINY, fabric(), file))
    assert len(again) == 1 and again[0][:4] == last[:4]
    assert same(again[0].ema, last.ema) and same(again[0].net, last.net)


def test_a_resumed_run_starts_at_the_checkpoint(tmp_path):
    file = tmp_path / "run.ckpt"
    run(steps=6, checkpoint=file, every=4)  # it dies before the end is written
    states = train(small_net(), images(), LINEAR, TINY, fabric(), file, 4)
    assert [state.step for state in states] == [5, 6]


OTHER = {
    "lr": (changed(lr=0.5), small_net, LINEAR, r"recipe\.lr 0\.001, here 0\.5"),
    "seed": (changed(seed=3), small_net, LINEAR, r"recipe\.seed 0, here 3"),
    "net": (TINY, lambda: small_net(0.25), LINEAR, r"net\.dropout 0\.0, here 0\.25"),
    "size": (TINY, lambda: small_net(channels=8), LINEAR, r"net\.channels 4, here 8"),
    "schedule": (TINY, small_net, schedules.cosine(), "another noise schedule"),
}


@pytest.mark.parametrize(
    ("recipe", "net", "schedule", "message"), OTHER.values(), ids=OTHER
)
def test_a_checkpoint_of_another_run(tmp_path, recipe, net, schedule, message):
    file = tmp_path / "run.ckpt"
    run(checkpoint=file)
    before = file.read_bytes()
    with pytest.raises(ValueError, match=f"another run: {message}") as error:
        next(train(net(), images(), schedule, recipe, fabric(), file))
    assert str(file) in str(error.value) and file.read_bytes() == before


def test_a_checkpoint_of_other_images(tmp_path):
    file = tmp_path / "run.ckpt"
    run(checkpoint=file)
    for other in (images()[:-1], -images()):
        with pytest.raises(ValueError, match=r"another run: images\."):
            next(train(small_net(), other, LINEAR, TINY, fabric(), file))


@pytest.mark.parametrize("damage", [lambda raw: raw[: len(raw) // 2], lambda raw: b""])
def test_a_checkpoint_that_is_not_whole(tmp_path, damage):
    file = tmp_path / "run.ckpt"
    run(checkpoint=file)
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(ValueError, match=r"run\.ckpt is not a checkpoint.*delete it"):
        run(checkpoint=file)


def test_a_checkpoint_that_lacks_a_part(tmp_path):
    file = tmp_path / "run.ckpt"
    run(checkpoint=file)
    saved = torch.load(file, weights_only=True)
    del saved["optimiser"]
    torch.save(saved, file)
    with pytest.raises(ValueError, match=r"run\.ckpt is not a checkpoint"):
        run(checkpoint=file)


# What goes wrong


def explodes_at(step, wrong):
    """A loss that is no number at one step; `wrong` says how."""
    calls = itertools.count(1)

    def loss(net, drawn, schedule):
        value = simple_loss(net, drawn, schedule)
        return wrong(value) if next(calls) == step else value

    return loss


@pytest.mark.parametrize(
    "wrong",
    [lambda v: v * math.nan, lambda v: v / 0, lambda v: v + (0 * v).sqrt()],
    ids=["NaN", "infinite", "gradient only"],
)
def test_a_loss_that_is_no_number(tmp_path, wrong):
    file, net, good = tmp_path / "run.ckpt", small_net(), run(steps=5)
    states = train(
        net, images(), LINEAR, TINY, fabric(), file, 2, explodes_at(6, wrong)
    )
    with pytest.raises(Diverged, match="step 6: the loss is"):
        for state in states:
            seen = state
    assert seen.step == 5 and same(seen.ema, good.ema)
    assert same(net, good.net)  # not spoiled
    assert torch.load(file, weights_only=True)["step"] == 4
    healed = run(net=net, checkpoint=file)  # the same net, with its last gradients
    assert same(healed.net, usual().net)


def test_what_an_interrupted_step_left_is_forgotten():
    net = small_net()
    for p in net.parameters():
        p.grad = torch.full_like(p, math.nan)
    assert same(run(net=net).net, usual().net)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (images()[:0], "at least 2 images, not 0"),
        (images()[:1], "at least 2 images, not 1"),
        (images() * 3, r"in \[-1, 1\]"),
        (images().fill_(math.nan), "NaN"),
        ((images() * 100).to(torch.uint8), "float"),
        (images(size=8), r"expected images \(B, 1, 4, 4\)"),
    ],
)
def test_images_that_cannot_be_learned_from(x, message):
    with pytest.raises(ValueError, match=message):
        run(x=x)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "above 0"),
        ({"batch": 0}, "above 0"),
        ({"lr": 0}, "above 0"),
        ({"lr": math.nan}, "above 0"),
        ({"clip": -1}, "above 0"),
        ({"clip": math.nan}, "above 0"),
        ({"warmup": -1}, "not be below 0"),
        ({"weight_decay": -0.1}, "not be below 0"),
        ({"seed": -1}, "not be below 0"),
        ({"decay": "linear"}, "'constant' or 'cosine', not 'linear'"),
        ({"ema": 1.0}, r"ema must lie in \[0, 1\), not 1.0"),
        ({"ema": -0.1}, "ema must lie"),
    ],
)
def test_recipes_that_make_no_sense(change, message):
    with pytest.raises(ValueError, match=message):
        changed(**change)


def test_the_bar_passes_the_states_on(capsys):
    states = list(
        training.with_bar(train(small_net(), images(), LINEAR, TINY, fabric()), 6)
    )
    assert [s.step for s in states] == [1, 2, 3, 4, 5, 6]
    assert "6/6" in capsys.readouterr().err


# Two processes

TWO = """
import sys
import torch
from lightning_fabric import Fabric
from test_training import LINEAR, TINY, changed, images, small_net, train

def work(file):
    def start(recipe):
        return train(small_net(), images(), LINEAR, recipe, fabric, file, 3)

    try:
        next(start(changed(batch=3)))
    except ValueError as error:
        message = str(error)
    for state in start(TINY):
        if state.step == 4:
            break  # killed
    for state in start(TINY):
        pass
    weights = {"net": state.net.state_dict(), "ema": state.ema.state_dict()}
    if fabric.is_global_zero:
        torch.save({"loss": state.loss, "message": message, **weights}, sys.argv[2])

fabric = Fabric(accelerator="cpu", devices=2, strategy="ddp_fork")
fabric.launch(lambda _: work(sys.argv[1]))
"""


def test_two_processes_do_what_one_does(tmp_path, root):
    files = [str(tmp_path / name) for name in ("run.ckpt", "result.pt")]
    path = os.pathsep.join(str(root / folder) for folder in ("src", "tests"))
    done = subprocess.run(
        [sys.executable, "-c", TWO, *files],
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    got, one = torch.load(files[1], weights_only=True), usual()
    assert "multiple of the 2 processes, not 3" in got["message"]
    assert got["loss"] == pytest.approx(one.loss, rel=1e-5)
    finished = run(checkpoint=files[0])  # their file, read by one process
    for part in ("net", "ema"):
        for name, value in getattr(one, part).state_dict().items():
            torch.testing.assert_close(got[part][name], value, rtol=1e-4, atol=1e-6)
        again = getattr(finished, part).state_dict()
        assert all(torch.equal(value, again[k]) for k, value in got[part].items())
