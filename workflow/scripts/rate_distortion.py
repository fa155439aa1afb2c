"""What a shipped U-Net can tell of an image from x_t alone, for many t.

    python workflow/scripts/rate_distortion.py cifar10

writes data/results/rate_distortion_NAME.safetensors: for each of the first test images
the mean squared error of x0_hat in units of [-1, 1] at each timestep `t`, and its L_0
and L_T in bits per dimension. All other terms of the bound are functions of the error
(`helpers.bound.step_kl`), so that rate and distortion at each t follow.
"""

import argparse

import torch
from lightning_fabric import Fabric
from tqdm import tqdm

from helpers import bound, data, networks, schedules, training
from helpers.artifacts import Experiment
from helpers.forward import diffuse, gaussian_noise
from helpers.metrics import mse
from helpers.targets import to_sigma

SEED = 7  # not that of unet_bits.py: its bound is to be met with other noise
IMAGES = {"cpu": 400, "cuda": 10000}
# The ten of Table 4 of Ho et al., and enough others to interpolate between them.
TIMES = [1, 2, 3, 5, 7, 10, 14, 20, 30, 50, 70, *range(101, 1000, 50), 1000]


@torch.no_grad()
def errors(denoise, images, times, schedule, device, batch=200):
    """Squared error of x0_hat, (times, N), and L_0 in bits per dimension, (N,)."""
    noise = gaussian_noise(torch.Generator().manual_seed(SEED))
    variance = bound.fixed_variance(schedule, "large")
    found, first = [], []
    for t in tqdm(times):
        row = []
        for x0 in images.split(batch):
            x = diffuse(x0, t, schedule, noise(x0)).to(device)
            x0_hat = denoise(*to_sigma(x, t, schedule)).cpu()
            row.append(mse(x0_hat, x0))
            if t == 1:
                pixels, mean = x0.double(), x0_hat.double()
                log = bound.decoder_log_likelihood(pixels, mean, variance[1].sqrt())
                first.append(-bound.bits(log).flatten(1).mean(1))
        found.append(torch.cat(row))
    return torch.stack(found), torch.cat(first)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=["cifar10", "fashion_mnist"])
    name = parser.parse_args().name
    fabric = Fabric(devices=1)
    fabric.launch()
    schedule, net = schedules.linear(), fabric.to_device(networks.load_net(name))
    denoise, n = networks.denoiser(net, schedule, clip=True), IMAGES[fabric.device.type]
    machine, settings = training.describe(fabric), {"images": n, "times": TIMES}
    with Experiment(
        __file__, SEED, [f"{name}-test"], settings, machine, [name]
    ) as experiment:
        images = data.load(name, "test", n)
        error, L_0 = errors(denoise, images, TIMES, schedule, fabric.device)
        moment = images.double().square().flatten(1).mean(1)
        L_T = bound.bits(bound.prior_kl(schedule, moment))
        table = {"t": torch.tensor(TIMES), "error": error, "L_0": L_0, "L_T": L_T}
        experiment.save(f"results/rate_distortion_{name}.safetensors", table)


if __name__ == "__main__":
    main()
