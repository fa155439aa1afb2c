"""The parts of the heavy scripts that can be checked in a moment."""

import importlib.util
import sys

import pytest
import torch
from lightning_fabric import Fabric

from helpers import artifacts, bound, data, paths, schedules
from helpers.denoisers import clipped

LINEAR = schedules.linear()


def script(name):
    """A script as a module; scripts may take things from each other."""
    path = paths.ROOT / "workflow" / "scripts" / f"{name}.py"
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_strata_cover_each_timestep_once():
    strata = script("unet_bits").strata(1000)
    covered = [t for first, last, _ in strata for t in range(first, last + 1)]
    assert covered == list(range(1, 1001))
    assert all(last - first + 1 == size for first, last, size in strata)


def test_bits_of_a_denoiser_that_knows_the_image(monkeypatch):
    """Without error only the constants of Eq. 8 and the decoder remain."""
    bits = script("unet_bits")
    monkeypatch.setattr(bits, "EVERY", 1)  # each t once: nothing is left to chance
    schedule = schedules.linear(T=40)
    image = data.to_unit(torch.full((1, 4, 4, 1), 128, dtype=torch.uint8).numpy())
    found = bits.estimate(
        lambda x, _: image.expand_as(x), image.expand(3, -1, -1, -1), schedule, "cpu", 2
    )
    for table, rows in zip(bits.choices(schedule).values(), found):
        L_0 = -bound.decoder_log_likelihood(
            image.double(), image.double(), table[1].sqrt()
        )
        expected = bound.all_terms(
            schedule, 0.0, torch.zeros(41).double(), table, L_0.mean().item()
        )
        expected = bound.bits(expected[:-1])
        torch.testing.assert_close(rows.mean(1), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("eta", [0.0, 1.0, "ddpm"])
def test_every_sampler_ends_where_the_denoiser_says(eta):
    """And takes the same start in batches of any size."""
    quality, image = script("sample_quality"), torch.full((1, 1, 4, 4), 0.25)
    times, seen = schedules.leading(1000, 5), []

    def denoise(x, sigma):
        seen.append(x / (1 + sigma**2) ** 0.5)
        return image.expand_as(x)

    for batch in (2, 6):
        x = quality.draw(clipped(denoise), image, LINEAR, 6, batch, times, eta)
        torch.testing.assert_close(x, image.expand(6, -1, -1, -1))
    torch.testing.assert_close(torch.cat([seen[0], seen[5], seen[10]]), seen[15])


def test_the_halves_are_disjoint(monkeypatch):
    quality = script("sample_quality")
    images = torch.arange(5000.0).reshape(5000, 1, 1, 1)
    monkeypatch.setattr(quality.data, "load", lambda *_: images)
    for name, size in (("cifar10", 2500), ("celeba32", 1000)):
        reference, other = quality.halves(name, 500)
        assert len(reference) == size and len(other) == 500
        assert not set(reference.flatten().tolist()) & set(other.flatten().tolist())


def test_faces_are_measured_on_images_that_were_not_trained_on(monkeypatch):
    train, quality = script("train_unet"), script("sample_quality")
    images = torch.arange(5000.0).reshape(5000, 1, 1, 1)
    monkeypatch.setattr(data, "load", lambda *_: images)
    trained = set(train.split("celeba32")[0].flatten().tolist())
    for half in quality.halves("celeba32", 1000):
        assert not trained & set(half.flatten().tolist())


def test_without_a_gpu_fid_says_why_not(monkeypatch, tmp_path):
    inception, kept = script("inception"), {}
    why = inception.obstacle(Fabric(accelerator="cpu"))
    assert "no GPU" in why
    monkeypatch.setattr(
        artifacts.Experiment, "save", lambda _, name, table: kept.update({name: table})
    )
    monkeypatch.setattr(inception, "obstacle", lambda _: why)
    monkeypatch.setattr(sys, "argv", ["inception.py", "cifar10"])
    inception.main()
    assert kept == {"results/inception_cifar10.json": {"skipped": why}}


def test_training_uses_the_processes_of_torchrun(monkeypatch):
    train = script("train_unet")
    assert train.processes("32-true").world_size == 1
    for name, value in {
        "TORCHELASTIC_RUN_ID": "none",
        "WORLD_SIZE": "4",
        "LOCAL_WORLD_SIZE": "2",
        "RANK": "3",
        "LOCAL_RANK": "1",
        "GROUP_RANK": "1",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "29500",
    }.items():
        monkeypatch.setenv(name, value)
    fabric = train.processes("32-true")
    assert (fabric.world_size, fabric.global_rank) == (4, 3)


def test_fates_are_probabilities_of_two_draws():
    """P(same image) and P(same class) of a training set, by hand."""
    weights = torch.tensor([[0.5, 0.25, 0.25]], dtype=torch.float64)
    labels = torch.tensor([0, 1, 1])
    found = script("memory").fates(weights, labels, [1, 2, 3])
    expected = [[1.0, 1.0], [5 / 9, 5 / 9], [0.375, 0.5]]
    torch.testing.assert_close(found.double(), torch.tensor(expected).double())


def test_halves_share_no_image_and_grow():
    halves = script("train_halves")
    images = torch.arange(halves.ALL).view(-1, 1, 1, 1)
    a, b = (set(halves.chosen(images, 30_000, h).flatten().tolist()) for h in "ab")
    assert not a & b and len(a | b) == halves.ALL
    for N in halves.SIZES[:-2]:
        assert set(halves.chosen(images, N, "a").flatten().tolist()) < a
    assert len(set(halves.chosen(images, halves.ALL, "a").flatten().tolist())) == 60_000


def test_closest_is_the_smallest_squared_distance():
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(50, 1, 4, 4, generator=generator)
    x = torch.randn(6, 1, 4, 4, generator=generator)
    found = script("gap").closest(x, images, [1, 20, 50])
    squares = (x[:, None] - images).double().flatten(2).square().sum(2)
    expected = torch.stack([squares[:, :N].amin(dim=1) for N in (1, 20, 50)])
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_agreement_of_copies():
    """Samples that are the first training images of their half."""
    generator = torch.Generator().manual_seed(0)
    a, b = torch.rand(2, 40, 1, 4, 4, generator=generator)
    found = script("generalisation").agreement(a[:10], b[:10], (a, b))
    assert found["own"] == [0.0, 0.0, 0.0] and found["other"][0] > 10
    assert found["closer_to_own"] == [1.0, 1.0, 1.0]
    assert abs(found["pearson"][0]) < 0.5 and found["between"][0] > 10


def test_images_that_are_close_to_everything_make_no_copy():
    """The same samples for both halves: one half is closer, and it means nothing."""
    generator = torch.Generator().manual_seed(0)
    samples, a = torch.rand(2, 10, 1, 4, 4, generator=generator)
    b = torch.cat([a, samples + 0.01])  # close to every sample
    found = script("generalisation").agreement(samples, samples, (a, b))
    assert found["closer_to_own"] == [0.5, 0.5, 0.5]
    assert found["pearson"][0] == pytest.approx(1, abs=1e-6)
