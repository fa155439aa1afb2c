"""Time of the U-Net, forward and backward, as a ratio to a peer in one run.

    python benchmarks/unet.py [--batch 2] [--repeats 5]

Ours and the UNet2DModel of diffusers with the same layers (DDPM's for CIFAR-10, 35.7
million parameters), the same batch and the same memory format, in turn, several times,
on a GPU if there is one. On a CPU it is the time that one thread computes, not the time
that passes, so that other programs disturb little. Below 1, ours is faster. The last
line compares our net with itself in both memory formats.
"""

import argparse
import os
import statistics
import time

import torch
from torch import nn

from helpers.unet import UNet

os.environ.setdefault("HF_HUB_OFFLINE", "1")


def peer(net):
    """The UNet2DModel of diffusers with the layers of `net`, its first weights too."""
    from diffusers import UNet2DModel

    c = net.config
    sizes = [c["image_size"] // 2**level for level in range(len(c["multipliers"]))]
    attend = ["Attn" * (size in c["attention"]) for size in sizes]
    return UNet2DModel(
        sample_size=c["image_size"],
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
    )


class Sample(nn.Module):
    """The peer with our count of timesteps and a tensor as answer."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, xt, t):
        return self.net(xt, t - 1, return_dict=False)[0]


def seconds(net, x, t, backward):
    clock = time.perf_counter if x.is_cuda else time.process_time
    start = clock()
    if backward:
        net.zero_grad()
        net(x, t).square().mean().backward()
    else:
        with torch.no_grad():
            net(x, t)
    if x.is_cuda:
        torch.cuda.synchronize()
    return clock() - start


def paired(one, other, repeats):
    """Seconds of two functions, in turn: medians, and the ratio with its spread."""
    pairs = [(one(), other()) for _ in range(repeats)]
    medians = [statistics.median(column) for column in zip(*pairs)]
    ratios = [a / b for a, b in pairs]
    return *medians, medians[0] / medians[1], min(ratios), max(ratios)


def report(name, numbers):
    one, other, ratio, low, high = numbers
    print(
        f"{name:36s} {one * 1e3:9.1f} ms {other * 1e3:9.1f} ms   "
        f"ratio {ratio:.2f} ({low:.2f} to {high:.2f})",
        flush=True,
    )


def main(batch, repeats):
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    torch.set_num_threads(1)
    plain = UNet().to(device)
    theirs = Sample(peer(plain)).to(device)
    size = [sum(p.numel() for p in net.parameters()) for net in (plain, theirs)]
    if size[0] != size[1]:
        raise RuntimeError(f"the two nets differ: {size} parameters")
    last = UNet().to(device, memory_format=torch.channels_last)
    x = torch.randn(batch, 3, 32, 32, device=device)
    t = torch.randint(1, 1001, (batch,), device=device)
    print(f"{size[0]} parameters, batch {batch}, {device}")
    print(f"{'':36s} {'ours':>12s} {'diffusers':>12s}")

    def timer(net, x, backward):
        seconds(net, x, t, backward)  # once without the clock
        return lambda: seconds(net, x, t, backward)

    x_last = x.to(memory_format=torch.channels_last)
    for backward, what in ((True, "forward and backward"), (False, "forward")):
        ours = timer(plain, x, backward)
        theirs.to(memory_format=torch.contiguous_format)
        report(what, paired(ours, timer(theirs, x, backward), repeats))
        ours_last = timer(last, x_last, backward)
        theirs.to(memory_format=torch.channels_last)
        numbers = paired(ours_last, timer(theirs, x_last, backward), repeats)
        report(f"{what}, channels last", numbers)
        if backward:
            itself = paired(ours_last, ours, repeats)
    print(f"\n{'':36s} {'last':>12s} {'first':>12s}")
    report("ours, channels last or first", itself)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    main(options.batch, options.repeats)
