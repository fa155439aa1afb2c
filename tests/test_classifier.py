"""The small classifier whose features measure samples."""

import pytest
import torch

from helpers import artifacts, classifier, data
from helpers.classifier import Classifier, accuracy, features


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Classifier(1, classes=3).requires_grad_(False).eval()


@pytest.mark.parametrize("size", [9, 28, 32])
def test_features_for_images_of_any_size(net, size):
    x = torch.rand(5, 1, size, size) * 2 - 1
    found = features(net, x)
    assert found.shape == (5, classifier.D) and found.dtype == torch.float64
    torch.testing.assert_close(net(x), net.head(found.float()))


def test_batches_do_not_change_the_features(net, monkeypatch):
    x = torch.rand(7, 1, 9, 9) * 2 - 1
    whole = features(net, x)
    monkeypatch.setattr(classifier, "BATCH", 3)
    torch.testing.assert_close(features(net, x), whole, rtol=1e-6, atol=1e-6)


def test_accuracy_counts_the_right_answers(net):
    x = torch.rand(8, 1, 9, 9) * 2 - 1
    right = net(x).argmax(1)
    wrong = (right + 1) % 3
    assert accuracy(net, x, right) == 1
    assert accuracy(net, x, wrong) == 0
    assert accuracy(net, x, torch.cat([right[:2], wrong[2:]])) == 0.25


@pytest.mark.parametrize("name, C", [("fashion_mnist", 1), ("cifar10", 3)])
def test_shipped_classifiers_load(name, C):
    net = classifier.load_classifier(name)
    assert features(net, torch.zeros(2, C, 32, 32)).isfinite().all()


@pytest.mark.parametrize("name", ["fashion_mnist", "cifar10"])
def test_shipped_classifiers_are_as_good_as_recorded(name):
    if not data.available(name, "test"):
        pytest.skip(f"{name} is not here")
    recorded = artifacts.load(f"results/classifier_{name}.json")["accuracy"]
    test = data.read(name, "test")
    found = accuracy(
        classifier.load_classifier(name),
        data.to_unit(test.images[:1000]),
        torch.tensor(test.labels[:1000]),
    )
    assert abs(found - recorded) < 0.05  # half precision, and 1000 of 10,000 images
