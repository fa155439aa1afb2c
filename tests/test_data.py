"""Image sets: units, fingerprints, where they are looked for, and bad input."""

import errno
import hashlib
import json
import os
import resource
import subprocess
import sys
import warnings
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from helpers import data, toy_faces
from helpers.data import (
    MissingSet,
    available,
    check_images,
    fingerprint,
    load,
    read,
    to_pixels,
    to_unit,
    write,
)

CHANNELS = st.sampled_from([1, 3])
STORED = hnp.arrays(
    np.uint8, st.tuples(st.integers(1, 6), st.integers(1, 5), st.just(3), CHANNELS)
)
REAL = ["mnist-test", "fashion_mnist-test", "cifar10-test"]


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture
def images(rng):
    return rng.integers(256, size=(20, 6, 5, 3), dtype=np.uint8)


@pytest.fixture
def folders(tmp_path, monkeypatch, images):
    """Empty $HELPERS_DATA and cache, no network; `known-train` is `images`."""
    first, second = tmp_path / "sets", tmp_path / "cache"
    recorded = {"known-train": [{"sha256": fingerprint(images), "official": True}]}
    (tmp_path / "fingerprints.json").write_text(json.dumps(recorded))
    monkeypatch.setenv("HELPERS_DATA", str(first))
    monkeypatch.setenv("HELPERS_OFFLINE", "1")
    monkeypatch.setattr(data, "CACHE", second)
    monkeypatch.setattr(data, "FINGERPRINTS", tmp_path / "fingerprints.json")
    return first, second


# Units


@given(STORED)
def test_grey_levels_survive_the_way_there_and_back(images):
    x = to_unit(images)
    assert x.dtype == torch.float32 and check_images(x) is x
    assert (to_pixels(x) == images).all() and to_pixels(x).dtype == np.uint8


def test_units_are_k_over_127_5_minus_1(images):
    x = to_unit(images)
    assert x.shape == (20, 3, 6, 5) and x.is_contiguous()
    assert abs(x[3, 2, 4, 1].item() - (images[3, 4, 1, 2] / 127.5 - 1)) < 1e-7
    ends = to_unit(np.array([0, 255], np.uint8).reshape(2, 1, 1, 1))
    assert ends.flatten().tolist() == [-1, 1]


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_to_pixels_rounds_and_clips(dtype):
    x = torch.tensor([-9, -1, -0.4 / 127.5, 0.6 / 127.5, 1, torch.inf], dtype=dtype)
    found = to_pixels(x.reshape(-1, 1, 1, 1).requires_grad_()).ravel().tolist()
    assert found == [0, 0, 127, 128, 255, 255]


# Fingerprints


def naive_fingerprint(images):
    """SHA-256 over H x W x C and the sorted SHA-256s of the images."""
    whole = hashlib.sha256("x".join(str(s) for s in images.shape[1:]).encode())
    for each in sorted(hashlib.sha256(image.tobytes()).digest() for image in images):
        whole.update(each)
    return whole.hexdigest()


@settings(max_examples=50)
@given(STORED, st.randoms(use_true_random=False))
def test_fingerprint_ignores_order_and_nothing_else(images, random):
    order = random.sample(range(len(images)), len(images))
    assert (
        fingerprint(images[order]) == fingerprint(images) == naive_fingerprint(images)
    )
    changed = images.copy()
    changed.flat[random.randrange(images.size)] ^= random.randrange(1, 256)
    assert fingerprint(changed) != fingerprint(images)
    assert fingerprint(np.concatenate([images, images[:1]])) != fingerprint(images)


def test_fingerprint_sees_the_shape_and_the_memory_layout_does_not_matter(images):
    assert fingerprint(images.reshape(20, 5, 6, 3)) != fingerprint(images)
    assert fingerprint(np.asfortranarray(images)) == fingerprint(images)


def test_entry_is_what_is_recorded(tmp_path, images):
    write(tmp_path / "a.npz", images)
    found = data.entry(tmp_path / "a.npz")
    assert found == {
        "sha256": naive_fingerprint(images),
        "images": 20,
        "shape": [6, 5, 3],
    }


# Sets


def test_digits_are_those_of_scikit_learn():
    from sklearn.datasets import load_digits

    found, labels = read("digits")
    x = load("digits")
    assert x.shape == (1797, 1, 8, 8) and (labels == load_digits().target).all()
    assert abs(found[..., 0] - load_digits().images * 255 / 16).max() <= 0.5
    assert x.min() == -1 and x.max() == 1


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("name", ["dead_leaves", "toy_faces"])
def test_drawn_sets_have_the_recorded_fingerprint(name, split):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load(name, split).shape == (4096, 1, 32, 32)


@pytest.mark.parametrize("split, seed", [("train", 0), ("test", 1)])
def test_drawn_sets_are_the_defaults_of_their_modules(split, seed):
    drawn = toy_faces.sample(4096, 32, generator=np.random.default_rng(seed))
    assert (read("toy_faces", split).images == drawn).all()


def test_drawn_images_that_differ_from_the_record_are_a_warning(folders):
    recorded = {"digits-train": [{"sha256": "0", "official": True}]}
    data.FINGERPRINTS.write_text(json.dumps(recorded))
    with pytest.warns(UserWarning, match=r"install the versions in requirements\.lock"):
        load("digits")


def test_nobody_can_change_a_shared_set():
    with pytest.raises(ValueError, match="read-only"):
        read("digits").images[0] = 0


def test_load_takes_the_first_n(folders, images):
    write(folders[0] / "known-train.npz", images, np.arange(20))
    assert (load("known", n=4) == to_unit(images[:4])).all()
    assert (read("known").labels == np.arange(20)).all()
    for n in (0, 21):
        with pytest.raises(ValueError, match=f"holds 20 images, not n = {n}"):
            load("known", n=n)


def test_helpers_data_comes_before_the_cache(folders, images):
    first, second = folders
    write(second / "known-train.npz", images[::-1].copy())
    assert (read("known").images == images[::-1]).all()
    write(first / "known-train.npz", images)
    assert (read("known").images == images).all()


def test_available_asks_neither_network_nor_content(folders, images):
    assert available("digits") and available("toy_faces", "test")
    assert not available("digits", "test") and not available("known")
    folders[0].mkdir()
    (folders[0] / "known-train.npz").touch()
    assert available("known")


def test_a_set_is_obtained_once_and_kept(folders, images, monkeypatch):
    calls = []

    def obtain(*asked):
        calls.append(asked)
        return images, None

    monkeypatch.setattr(data, "obtain", obtain)
    for _ in range(2):
        assert (read("known").images == images).all()
    assert calls == [("known", "train", folders[1] / "raw")]


@pytest.mark.parametrize("key", REAL)
def test_real_sets_have_their_published_size_and_mean(key):
    """Means of the 8-bit levels as published with the sets, to the digits known."""
    name, split = key.split("-")
    if not available(name, split):
        pytest.skip(f"{key} not here")
    found = read(name, split)
    mean = {"mnist": 33.7912, "fashion_mnist": 73.1466, "cifar10": 121.5294}[name]
    assert found.images.mean() == pytest.approx(mean, abs=1e-3)
    assert len(found.images) == len(found.labels) == 10_000


def test_what_is_recorded_is_complete():
    recorded = json.loads(data.FINGERPRINTS.read_text())
    assert {"digits-train", "mnist-train", "cifar10-test"} <= set(recorded)
    for r in chain(*recorded.values()):
        assert len(r["sha256"]) == 64 and len(r["shape"]) == 3
        assert set(r) == {"sha256", "images", "shape", "official", "what"}


# Bad input: sets that are missing, files that are broken


def test_a_missing_set_without_a_network_says_where_and_how(folders):
    with pytest.raises(MissingSet) as error:
        load("mnist")
    said = str(error.value)
    for part in (*map(str, folders), "mnist-train.npz", "HELPERS_OFFLINE forbids"):
        assert part in said
    assert said.endswith("helpers.data get mnist train")
    assert isinstance(error.value, FileNotFoundError)


@pytest.mark.parametrize("name, split", [("imagenet", "train"), ("digits", "test")])
def test_unknown_names_and_splits(folders, name, split):
    with pytest.raises(MissingSet, match=r"none of mnist|digits has no split test"):
        load(name, split)


def cut(raw):
    return raw[: len(raw) // 2]


def flip(raw):
    return raw[:700] + bytes([raw[700] ^ 1]) + raw[701:]


@pytest.mark.parametrize(
    "damage", [cut, flip, lambda raw: b"", lambda raw: b"<html>no set</html>"]
)
def test_a_truncated_or_altered_file_is_refused_and_named(folders, images, damage):
    path = folders[0] / "known-train.npz"
    write(path, images)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=r"known-train\.npz .*altered; delete it"):
        load("known")
    assert path.exists()


def test_a_wellformed_file_with_other_images_is_refused(folders, images):
    images[3, 2, 1, 0] ^= 1
    write(folders[0] / "known-train.npz", images)
    with pytest.raises(ValueError, match=r"not the one recorded.*delete it"):
        load("known")


def test_a_set_that_cannot_be_known_is_accepted_with_its_fingerprint(folders, images):
    write(folders[0] / "celeba32-train.npz", images)
    with pytest.warns(UserWarning, match=fingerprint(images)):
        assert len(load("celeba32")) == 20


def test_an_array_alone_is_no_set(folders, images):
    folders[0].mkdir()
    with open(folders[0] / "known-train.npz", "wb") as file:
        np.save(file, images)
    with pytest.raises(ValueError, match="cannot be read as an image set"):
        load("known")
    np.savez(folders[0] / "known-train.npz", pictures=images)
    with pytest.raises(ValueError, match="images is not a file in the archive"):
        load("known")


WRONG = {
    "images are uint8, not float32": lambda x: x.astype(np.float32),
    r"\(N, H, W, C\), N > 0, C = 1 or 3, not \(20, 6, 5\)": lambda x: x[..., 0],
    r"C = 1 or 3, not \(20, 3, 6, 5\)": lambda x: x.transpose(0, 3, 1, 2),
    r"not \(0, 6, 5, 3\)": lambda x: x[:0],
}


@pytest.mark.parametrize("said", WRONG)
def test_wrong_dtype_and_shape(folders, images, said):
    wrong, path = WRONG[said](images), folders[0] / "known-train.npz"
    for refuse in (to_unit, lambda x: write(path, x)):
        with pytest.raises(ValueError, match=said):
            refuse(wrong)
    assert not path.exists()
    folders[0].mkdir()
    np.savez(path, images=wrong)
    with pytest.raises(ValueError, match=r"known-train\.npz: .*" + said):
        load("known")


def test_wrong_labels(tmp_path, images):
    for labels in (np.arange(19), np.arange(20.0)):
        with pytest.raises(ValueError, match=r"labels are int64 \(N,\), not"):
            write(tmp_path / "a.npz", images, labels)


@pytest.mark.parametrize(
    "wrong, said",
    [
        (torch.zeros(2, 3, 4), r"not torch.float32 \(2, 3, 4\)"),
        (torch.zeros(2, 1, 4, 4, dtype=torch.uint8), "not torch.uint8"),
        (np.zeros((2, 1, 4, 4)), "float tensors"),
        (torch.full((2, 1, 4, 4), torch.nan), "NaN or infinity: 32 values in 2 images"),
        (torch.full((1, 1, 2, 2), -torch.inf), "infinity: 4 values in 1 images"),
        (torch.full((1, 1, 2, 2), 255.0), r"not \[255, 255\]; helpers.data.to_unit"),
    ],
)
def test_check_images_says_what_is_wrong(wrong, said):
    with pytest.raises(ValueError, match=said):
        check_images(wrong)


def test_to_pixels_refuses_nan_and_integers():
    x = torch.zeros(3, 1, 2, 2)
    x[1, 0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match="NaN: 1 values in 1 images"):
        to_pixels(x)
    with pytest.raises(ValueError, match="float tensors"):
        to_pixels(torch.zeros(1, 1, 2, 2, dtype=torch.int64))


# Bad input: disks and users


@pytest.fixture
def good(folders, images):
    """A set that is already there; afterwards it still must be, and nothing else."""
    path = folders[1] / "known-train.npz"
    write(path, images)
    yield path
    assert [*path.parent.iterdir()] == [path]
    assert (read("known").images == images).all()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_says_how_much_and_where(good, monkeypatch, code):
    def full(file, **_):
        file.write(b"the beginning")
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(
        OSError, match=r"disk is full: known.* needs 3\.0 MB in .*cache"
    ):
        write(good, np.zeros((1000, 10, 100, 3), np.uint8))


def test_a_disk_that_really_fills_up(good):
    """In a process that may write no more than 100 kB to a file."""
    code = (
        "import pathlib, sys, numpy as np; from helpers.paths import replacing\n"
        "with replacing(pathlib.Path(sys.argv[1]), 3_000_000) as file:\n"
        "    np.savez(file, images=np.zeros((1000, 10, 100, 3), np.uint8))"
    )
    limit = (resource.RLIMIT_FSIZE, (100_000, 100_000))
    done = subprocess.run(
        [sys.executable, "-B", "-c", code, good],
        preexec_fn=lambda: resource.setrlimit(*limit),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "The disk is full: known-train.npz needs 3.0 MB" in done.stderr


@pytest.mark.parametrize("moment", ["savez", "fsync", "replace"])
def test_an_interrupt_while_writing_loses_nothing(good, images, monkeypatch, moment):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(np if moment == "savez" else os, moment, interrupt)
        write(good, images[:1])


def test_writing_replaces_what_was_there(tmp_path, images):
    path = tmp_path / "new" / "a.npz"
    for x in (images, images[:2]):
        write(path, x, np.arange(len(x)))
        with np.load(path) as found:
            assert (found["images"] == x).all() and len(found["labels"]) == len(x)
    assert [*path.parent.iterdir()] == [path]


def test_the_commands(folders, images, capsys):
    path = folders[0] / "known-train.npz"
    write(path, images)
    data.main("get", "known")
    data.main("fingerprint", str(path))
    said, printed = capsys.readouterr().out.splitlines()
    assert said == f"known: (20, 6, 5, 3), {fingerprint(images)}"
    assert json.loads(printed) == data.entry(Path(path))
    with pytest.raises(SystemExit, match=r"python -m helpers\.data get NAME"):
        data.main("help")
