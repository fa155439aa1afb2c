"""FID and Inception Score of a shipped U-Net, where Inception's weights can be had.

    python workflow/scripts/inception.py cifar10

writes data/results/inception_NAME.json: FID against the training set and against the
test set, and IS, of `--samples` DDIM samples, by torch-fidelity. Inception's weights
are downloaded by that library on first use. Without a network, or without a GPU (on a
CPU the samples alone take hours), the file says so instead: {"skipped": "why"}.
"""

import argparse

import torch
from lightning_fabric import Fabric
from torch.utils.data import Dataset
from torch_fidelity import calculate_metrics
from torch_fidelity.utils import create_feature_extractor

from helpers import data, networks, sampling, schedules, training
from helpers.artifacts import Experiment
from helpers.forward import gaussian_noise

SEED, STEPS, BATCH = 0, 100, 1000


class Pixels(Dataset):
    """Images in [-1, 1] as torch-fidelity reads them: uint8 (3, H, W)."""

    def __init__(self, images):
        self.images = torch.from_numpy(data.to_pixels(images)).permute(0, 3, 1, 2)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        return self.images[i].expand(3, -1, -1)


def obstacle(fabric):
    """Why the numbers cannot be computed here, or None."""
    if fabric.device.type != "cuda":
        return "no GPU: tens of thousands of samples would take hours on a CPU"
    try:
        create_feature_extractor("inception-v3-compat", ["2048"], cuda=False)
    except Exception as error:
        return f"the weights of Inception v3 could not be obtained ({error})"
    return None


@torch.no_grad()
def draw(denoise, n, shape, schedule, device):
    """DDIM samples (n, C, H, W) on the CPU."""
    noise = gaussian_noise(torch.Generator().manual_seed(SEED))
    like, times = torch.zeros(1, device=device), schedules.leading(1000, STEPS)
    parts = []
    while sum(map(len, parts)) < n:
        xT = sampling.start(min(BATCH, n), shape, noise, like)
        parts.append(
            sampling.last(sampling.ddim(denoise, xT, schedule, times)).x0_hat.cpu()
        )
    return torch.cat(parts)[:n]


def measure(name, n, fabric):
    """FID to the training and test sets, IS with its deviation over ten splits."""
    schedule, net = schedules.linear(), fabric.to_device(networks.load_net(name))
    denoise = networks.denoiser(net, schedule, clip=True)
    training_images = data.load(name)
    samples = draw(denoise, n, training_images.shape[1:], schedule, fabric.device)
    options = {"cuda": True, "fid": True, "verbose": False}
    train = calculate_metrics(
        input1=Pixels(samples), input2=Pixels(training_images), isc=True, **options
    )
    test = calculate_metrics(
        input1=Pixels(samples), input2=Pixels(data.load(name, "test")), **options
    )
    fid = "frechet_inception_distance"
    return {
        "N": n,
        "fid_train": train[fid],
        "fid_test": test[fid],
        "is": train["inception_score_mean"],
        "is_std": train["inception_score_std"],
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=["cifar10", "fashion_mnist"])
    parser.add_argument("--samples", type=int, default=50_000)
    name, n = vars(parser.parse_args()).values()
    fabric = Fabric(devices=1)
    fabric.launch()
    sets, settings = [f"{name}-train", f"{name}-test"], {"samples": n, "steps": STEPS}
    machine = training.describe(fabric)
    with Experiment(__file__, SEED, sets, settings, machine, [name]) as experiment:
        why = obstacle(fabric)
        table = {"skipped": why} if why else measure(name, n, fabric)
        print(table, flush=True)
        experiment.save(f"results/inception_{name}.json", table)


if __name__ == "__main__":
    main()
