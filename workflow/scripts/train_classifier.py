"""Train the small classifier whose features measure samples.

    python workflow/scripts/train_classifier.py fashion_mnist

writes data/weights/classifier_NAME.safetensors (float16) and
data/results/classifier_NAME.json, its accuracy on the test set.
"""

import argparse

import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from tqdm import tqdm

from helpers import data, training
from helpers.artifacts import Experiment
from helpers.classifier import Classifier, accuracy
from helpers.networks import parameters, rounded

SEED = 0
EPOCHS = {"fashion_mnist": 2, "cifar10": 3}
BATCH, LR = 128, 2e-3


def batches(images, labels, epochs, generator):
    """All images once an epoch, half of them mirrored."""
    for _ in range(epochs):
        for index in torch.randperm(len(images), generator=generator).split(BATCH):
            x, mirror = images[index], torch.rand(len(index), generator=generator) < 0.5
            yield torch.where(mirror[:, None, None, None], x.flip(-1), x), labels[index]


def fit(net, images, labels, epochs, fabric, generator):
    """AdamW with one cycle of the learning rate."""
    optimiser = torch.optim.AdamW(net.parameters(), LR, weight_decay=0.01)
    total = epochs * -(-len(images) // BATCH)
    plan = torch.optim.lr_scheduler.OneCycleLR(optimiser, LR, total)
    wrapped, optimiser = fabric.setup(net, optimiser)
    for x, y in tqdm(batches(images, labels, epochs, generator), total=total):
        loss = F.cross_entropy(wrapped(fabric.to_device(x)), fabric.to_device(y))
        optimiser.zero_grad()
        fabric.backward(loss)
        optimiser.step()
        plan.step()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=EPOCHS)
    name = parser.parse_args().name
    fabric = Fabric(devices=1)
    fabric.launch()
    torch.manual_seed(SEED)

    stored, test = data.read(name), data.read(name, "test")
    images, labels = data.to_unit(stored.images), torch.tensor(stored.labels)
    config = {"in_channels": images.shape[1], "classes": int(labels.max()) + 1}
    net = Classifier(**config).to(memory_format=torch.channels_last)
    settings = {"net": config, "epochs": EPOCHS[name], "batch": BATCH, "lr": LR}
    sets, machine = [f"{name}-train", f"{name}-test"], training.describe(fabric)
    with Experiment(__file__, SEED, sets, settings, machine, [name]) as experiment:
        generator = torch.Generator().manual_seed(SEED)
        fit(net, images, labels, EPOCHS[name], fabric, generator)
        net.eval()
        share = accuracy(net, data.to_unit(test.images), torch.tensor(test.labels))
        print(f"accuracy {share:.4f}", flush=True)
        experiment.save(
            f"results/classifier_{name}.json",
            {"accuracy": share, "N": len(test.images), "parameters": parameters(net)},
        )
        experiment.save(
            f"weights/classifier_{name}.safetensors", rounded(net.cpu()), "float16"
        )


if __name__ == "__main__":
    main()
