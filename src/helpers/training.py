r"""Training a denoising network: Algorithm 1 of Ho et al. 2020, as a generator.

    for state in train(net, images, schedule, Recipe(steps=10_000), Fabric()):
        ...                     # state.step, state.loss; state.ema is the smoothed net

The caller decides what to print, draw or stop. Every random number of step k follows
from (seed, k) alone, so that a run that was killed goes on exactly as it would have, on
one process or on many. The device and the precision are those of the `Fabric`.
"""

import copy
import io
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn
from tqdm import tqdm

from helpers.data import check_images
from helpers.forward import diffuse
from helpers.paths import replacing
from helpers.recipe import Recipe, differences, learning_rate, plain_values, word
from helpers.schedules import Schedule


class Diverged(ArithmeticError):
    """The loss or its gradient is no longer a finite number."""


class Draw(NamedTuple):
    """What Algorithm 1 draws for one update."""

    x0: Tensor  # (batch, C, H, W)
    t: Tensor  # (batch,), in 1, ..., T
    eps: Tensor  # (batch, C, H, W)


class State(NamedTuple):
    """A run after one update."""

    step: int
    loss: float
    lr: float
    grad_norm: float
    net: nn.Module
    ema: nn.Module


def draw(images: Tensor, schedule: Schedule, recipe: Recipe, step: int) -> Draw:
    r"""$x_0 \sim q(x_0)$, $t \sim U\{1, ..., T\}$, $\epsilon \sim N(0, I)$ of a step.

    Images are drawn with replacement, as Algorithm 1 says.
    """
    generator, n = torch.Generator().manual_seed(word(recipe, step)), recipe.batch
    x0 = images[torch.randint(len(images), (n,), generator=generator)]
    mirrored = torch.rand(n, generator=generator) < 0.5
    if recipe.flips:
        x0 = torch.where(mirrored[:, None, None, None], x0.flip(-1), x0)
    t = torch.randint(1, schedule.T + 1, (n,), generator=generator)
    return Draw(x0, t, torch.randn(x0.shape, generator=generator))


def simple_loss(net: nn.Module, drawn: Draw, schedule: Schedule) -> Tensor:
    r"""$L_{simple} = E \|\epsilon - \epsilon_\theta(x_t, t)\|^2$ a pixel (Eq. 14)."""
    xt = diffuse(drawn.x0, drawn.t.cpu(), schedule, drawn.eps)  # its tables' device
    return (drawn.eps - net(xt, drawn.t)).square().mean()


def v_loss(net: nn.Module, drawn: Draw, schedule: Schedule) -> Tensor:
    r"""$E \|v - v_\theta(x_t, t)\|^2$ a pixel, $v = \sqrt{\bar\alpha_t} \epsilon -
    \sqrt{1 - \bar\alpha_t} x_0$ (Salimans & Ho 2022, Sec. 4).

    An error of $v_\theta$ is one of $\hat x_0$ times $\sqrt{1 + SNR}$, and of
    $\epsilon_\theta$ times $\sqrt{1 + 1 / SNR}$: no noise level is left to chance.
    """
    t = drawn.t.cpu()  # its tables' device
    xt = diffuse(drawn.x0, t, schedule, drawn.eps)
    v = diffuse(drawn.eps, t, schedule, -drawn.x0)
    return (v - net(xt, drawn.t)).square().mean()


def x0_loss(net: nn.Module, drawn: Draw, schedule: Schedule) -> Tensor:
    r"""$E \|x_0 - \hat x_0(x_t, t)\|^2$ a pixel, for a net that predicts $x_0$.

    An error of $\epsilon$ counts $\sigma_t^2$ times what it counts in L_simple.
    """
    xt = diffuse(drawn.x0, drawn.t.cpu(), schedule, drawn.eps)  # its tables' device
    return (drawn.x0 - net(xt, drawn.t)).square().mean()


def average(ema: nn.Module, net: nn.Module, recipe: Recipe, step: int) -> None:
    """Move the smoothed weights towards the weights of the net.

    The decay starts small, (1 + step) / (10 + step), so that a short run is not still
    an average with its first weights.
    """
    decay = min(recipe.ema, (1 + step) / (10 + step))
    both = list(ema.parameters()), list(net.parameters())
    get_ema_multi_avg_fn(decay)(*both, step)  # all at once: ten times as fast


class Run:
    """A net in training: its weights, their average, the optimiser and the step."""

    def __init__(self, net, images, schedule: Schedule, recipe: Recipe, fabric: Fabric):
        self.recipe, self.fabric, self.step, self.plain = recipe, fabric, 0, net
        if recipe.batch % fabric.world_size:
            raise ValueError(
                f"batch must be a multiple of the {fabric.world_size} processes,"
                f" not {recipe.batch}"
            )
        self.numbers = [math.nan] * 3  # loss, lr and grad_norm of the last update
        self.settings = {"recipe": asdict(recipe), "net": plain_values(net.config)}
        self.settings["schedule"] = {"beta": schedule.beta.tolist()}
        total = images.sum(dtype=torch.float64).item()
        self.settings["images"] = {"shape": list(images.shape), "sum": total}
        kind = torch.optim.AdamW if recipe.weight_decay else torch.optim.Adam
        choice = {"weight_decay": recipe.weight_decay, "fused": True}  # 4 x as fast
        optimiser = kind(net.parameters(), recipe.lr, **choice)
        self.ema = fabric.to_device(copy.deepcopy(net)).requires_grad_(False).eval()
        self.net, self.optimiser = fabric.setup(net, optimiser)

    def share(self, drawn: Draw) -> Draw:
        """The part of the batch that this process works on, on its device."""
        rank, world = self.fabric.global_rank, self.fabric.world_size
        return Draw(*(self.fabric.to_device(v[rank::world]) for v in drawn))

    def update(self, drawn: Draw, schedule: Schedule, loss: Callable) -> State:
        """One step of the optimiser; Diverged before it would spoil the weights."""
        step, recipe, fabric = self.step + 1, self.recipe, self.fabric
        self.optimiser.param_groups[0]["lr"] = lr = learning_rate(recipe, step)
        self.net.train()
        devices = [fabric.device] if fabric.device.type == "cuda" else []
        with torch.random.fork_rng(devices):  # dropout too follows from (seed, step)
            torch.manual_seed(word(recipe, step, 1 + fabric.global_rank))
            value = loss(self.net, self.share(drawn), schedule)
        self.optimiser.zero_grad()  # what an interrupted step left is not added
        fabric.backward(value)
        norm = fabric.clip_gradients(
            self.net, self.optimiser, max_norm=recipe.clip, error_if_nonfinite=False
        )
        value, norm = fabric.all_reduce(value.detach()).item(), norm.item()
        if not math.isfinite(value) or not math.isfinite(norm):
            raise Diverged(
                f"step {step}: the loss is {value}, the norm of its gradient {norm}. "
                "The last checkpoint is good; a lower learning rate may help."
            )
        self.optimiser.step()
        average(self.ema, self.plain, recipe, step)
        self.step, self.numbers = step, [value, lr, norm]
        return self.state()

    def state(self) -> State:
        """Where the run is now."""
        return State(self.step, *self.numbers, self.plain, self.ema)

    def save(self, path: Path) -> None:
        """Write a checkpoint, whole or not at all."""
        content = io.BytesIO()
        parts = {name: getattr(self, name).state_dict() for name in PARTS}
        parts |= {"step": self.step, "numbers": self.numbers}
        torch.save({"settings": self.settings, **parts}, content)
        if self.fabric.is_global_zero:
            with replacing(Path(path), content.getbuffer().nbytes) as file:
                file.write(content.getbuffer())
        self.fabric.barrier()

    def restore(self, path: Path) -> None:
        """Go on from a checkpoint; ValueError if it is another run's, or not whole."""
        try:
            saved = torch.load(path, weights_only=True, map_location="cpu")
            settings, states = saved["settings"], {name: saved[name] for name in PARTS}
        except Exception as error:
            raise ValueError(
                f"{path} is not a checkpoint that can be read ({error}); "
                "delete it to start again."
            ) from error
        if differs := differences(settings, self.settings):
            raise ValueError(
                f"{path} belongs to another run: {differs}. Use another path, "
                "or delete it to start again."
            )
        for name, state in states.items():
            getattr(self, name).load_state_dict(state)
        self.step = saved["step"]
        self.numbers = saved.get("numbers", self.numbers)


PARTS = ("plain", "ema", "optimiser")


def train(
    net: nn.Module,
    images: Tensor,
    schedule: Schedule,
    recipe: Recipe,
    fabric: Fabric,
    checkpoint: Path | None = None,
    every: int = 1000,
    loss: Callable = simple_loss,
) -> Iterator[State]:
    """Algorithm 1; yields the `State` after each update, `recipe.steps` in all.

    `images` is (N, C, H, W) in [-1, 1], N >= 2. With `checkpoint`, a path, the run is
    saved there every `every` updates and at the end, once the caller is done with the
    state, and goes on from there if the file exists; a run that was at its end yields
    its last state once more. Errors: ValueError for images or a checkpoint that do not
    fit, `Diverged` when the loss is not finite; the file then holds the last good
    state.
    """
    if len(check_images(images)) < 2:
        raise ValueError(f"training needs at least 2 images, not {len(images)}")
    run = Run(net, images, schedule, recipe, fabric)
    if checkpoint is not None and Path(checkpoint).exists():
        run.restore(checkpoint)
        if run.step == recipe.steps:
            yield run.state()
    while run.step < recipe.steps:
        drawn = draw(images, schedule, recipe, run.step + 1)
        yield run.update(drawn, schedule, loss)
        if checkpoint and (run.step % every == 0 or run.step == recipe.steps):
            run.save(checkpoint)


def describe(fabric: Fabric) -> str:
    """The device of a run, in words: `2 CPU threads`, `4 x NVIDIA H100`."""
    if fabric.device.type == "cuda":
        return f"{fabric.world_size} x {torch.cuda.get_device_name(fabric.device)}"
    return f"{fabric.world_size * torch.get_num_threads()} CPU threads"


def with_bar(states: Iterator[State], steps: int) -> Iterator[State]:
    """The same states, with a progress bar that shows the mean loss of late."""
    with tqdm(total=steps, mininterval=1.0, unit="step") as bar:
        recent = None
        for state in states:
            recent = state.loss if recent is None else 0.99 * recent + 0.01 * state.loss
            bar.update(state.step - bar.n)
            bar.set_postfix(loss=f"{recent:.4f}", refresh=False)
            yield state
