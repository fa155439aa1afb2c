"""Downloads against a server of our own, good and bad; folders of images."""

import gzip
import hashlib
import io
import pickle
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest
from PIL import Image
from torchvision import datasets

from helpers import sources
from helpers.sources import MissingSet, fetch, obtain

BODY = np.random.default_rng(0).integers(256, size=300_000, dtype=np.uint8).tobytes()


def md5(data):
    return hashlib.md5(data).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Serves `server.files`; may ignore Range, or stop after `break_after` bytes."""

    def do_GET(self):
        server, body = self.server, self.server.files.get(self.path)
        server.ranges.append(self.headers.get("Range"))
        if body is None:
            return self.send_error(404)
        start = 0
        if server.knows_range and (wanted := self.headers.get("Range")):
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(body):
                return self.send_error(416)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        self.wfile.write(body[start:][: server.break_after])
        return None

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.delenv("HELPERS_OFFLINE", raising=False)
    server = HTTPServer(("127.0.0.1", 0), Handler)
    server.files, server.ranges = {"/set": BODY}, []
    server.knows_range, server.break_after = True, None
    server.url = f"http://127.0.0.1:{server.server_port}/"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_fetch_once_with_a_progress_bar(server, tmp_path, capfd):
    path = tmp_path / "raw" / "set"
    assert fetch(server.url + "set", path, md5(BODY)).read_bytes() == BODY
    assert "300k/300k" in capfd.readouterr().err
    fetch(server.url + "set", path, md5(BODY))
    assert server.ranges == [None] and [*path.parent.iterdir()] == [path]


def test_a_broken_download_is_resumed(server, tmp_path):
    path, server.break_after = tmp_path / "set", 100_000
    with pytest.raises(MissingSet, match="broke off after 100000 of 300000 bytes"):
        fetch(server.url + "set", path, md5(BODY))
    assert not path.exists()
    server.break_after = None
    assert fetch(server.url + "set", path, md5(BODY)).read_bytes() == BODY
    assert server.ranges == [None, "bytes=100000-"]


def test_a_server_without_ranges_sends_it_all_again(server, tmp_path):
    server.knows_range = False
    (tmp_path / "set.part").write_bytes(BODY[:1000])
    path = fetch(server.url + "set", tmp_path / "set", md5(BODY))
    assert path.read_bytes() == BODY and server.ranges == ["bytes=1000-"]


def test_a_part_that_is_already_whole_is_taken(server, tmp_path):
    (tmp_path / "set.part").write_bytes(BODY)
    path = fetch(server.url + "set", tmp_path / "set", md5(BODY))
    assert path.read_bytes() == BODY and not (tmp_path / "set.part").exists()


@pytest.mark.parametrize("part", [b"", b"not the beginning of it"])
def test_wrong_bytes_are_thrown_away_and_the_next_call_starts_afresh(
    server, tmp_path, part
):
    wanted = md5(BODY) if part else "0" * 32
    (tmp_path / "set.part").write_bytes(part)
    with pytest.raises(MissingSet, match=f"not {wanted}, and was thrown away"):
        fetch(server.url + "set", tmp_path / "set", wanted)
    assert not any(tmp_path.iterdir())
    fetch(server.url + "set", tmp_path / "set", md5(BODY))


def test_an_interrupted_download_keeps_what_it_has(server, tmp_path, monkeypatch):
    class Impatient(sources.tqdm):
        def update(self, n=1):
            raise KeyboardInterrupt

    monkeypatch.setattr(sources, "tqdm", Impatient)
    with pytest.raises(KeyboardInterrupt):
        fetch(server.url + "set", tmp_path / "set", md5(BODY))
    monkeypatch.undo()
    assert 0 < (tmp_path / "set.part").stat().st_size < len(BODY)
    assert fetch(server.url + "set", tmp_path / "set", md5(BODY)).read_bytes() == BODY
    assert server.ranges[1].startswith("bytes=")


def test_no_network_is_one_sentence(server, tmp_path, monkeypatch):
    with pytest.raises(MissingSet, match=r"cannot be fetched \(HTTP Error 404"):
        fetch(server.url + "other", tmp_path / "set", md5(BODY))
    closed = "http://127.0.0.1:9/set"
    with pytest.raises(MissingSet, match=r"cannot be fetched .*refused"):
        fetch(closed, tmp_path / "set", md5(BODY))
    monkeypatch.setenv("HELPERS_OFFLINE", "1")
    with pytest.raises(MissingSet, match="HELPERS_OFFLINE forbids downloads"):
        fetch(server.url + "set", tmp_path / "set", md5(BODY))
    assert len(server.ranges) == 1


def idx_file(array):
    """The format of MNIST: type and rank, the lengths, the bytes."""
    head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes()
    return gzip.compress(head + array.tobytes())


def test_mnist_from_its_second_mirror(server, tmp_path, monkeypatch):
    images = np.random.default_rng(1).integers(256, size=(5, 28, 28), dtype=np.uint8)
    labels = np.arange(5, dtype=np.uint8)
    names = ["t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"]
    bodies = [idx_file(images), idx_file(labels)]
    server.files = {f"/{n}": b for n, b in zip(names, bodies)}
    resources = [(n, md5(b)) for n, b in zip(names, bodies)]
    monkeypatch.setattr(datasets.MNIST, "resources", resources)
    monkeypatch.setattr(
        datasets.MNIST, "mirrors", [server.url + "not/here/", server.url]
    )
    found, kinds = obtain("mnist", "test", tmp_path)
    assert (found == images[..., None]).all() and found.dtype == np.uint8
    assert (kinds == labels).all() and kinds.dtype == np.int64
    assert sorted(p.name for p in (tmp_path / "MNIST").iterdir()) == names


def test_cifar10(server, tmp_path, monkeypatch):
    cls, rng = datasets.CIFAR10, np.random.default_rng(2)
    images = rng.integers(256, size=(6, 32, 32, 3), dtype=np.uint8)
    flat = images.transpose(0, 3, 1, 2).reshape(6, -1)
    parts = {f"data_batch_{i}": slice(i - 1, i) for i in range(1, 6)}
    files = {
        name: pickle.dumps({"data": flat[rows], "labels": [*range(6)][rows]})
        for name, rows in (parts | {"test_batch": slice(5, 6)}).items()
    } | {"batches.meta": pickle.dumps({"label_names": [*"abcdef"]})}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, body in files.items():
            member = tarfile.TarInfo(f"{cls.base_folder}/{name}")
            member.size = len(body)
            tar.addfile(member, io.BytesIO(body))
    server.files = {"/cifar.tar.gz": packed.getvalue()}
    monkeypatch.setattr(cls, "url", server.url + "cifar.tar.gz")
    monkeypatch.setattr(cls, "tgz_md5", md5(packed.getvalue()))
    monkeypatch.setattr(cls, "train_list", [[f, md5(files[f])] for f in parts])
    monkeypatch.setattr(cls, "test_list", [["test_batch", md5(files["test_batch"])]])
    monkeypatch.setattr(cls, "meta", cls.meta | {"md5": md5(files["batches.meta"])})
    found, labels = obtain("cifar10", "train", tmp_path)
    assert (found == images[:5]).all() and (labels == range(5)).all()
    found, labels = obtain("cifar10", "test", tmp_path)
    assert (found == images[5:]).all() and (labels == [5]).all()
    assert server.ranges == [None]


def test_celeba_says_why_it_cannot_be_had(tmp_path, monkeypatch):
    def quota(*_):
        raise RuntimeError("too many users")

    monkeypatch.delenv("HELPERS_OFFLINE", raising=False)
    monkeypatch.setattr(datasets.CelebA, "download", quota)
    with pytest.raises(MissingSet, match=r"Google Drive.*cannot resume \(too many"):
        obtain("celeba32", "train", tmp_path)
    monkeypatch.setenv("HELPERS_OFFLINE", "1")
    with pytest.raises(MissingSet, match="HELPERS_OFFLINE forbids"):
        obtain("celeba32", "train", tmp_path)
    with pytest.raises(MissingSet, match="train, valid and test, not val"):
        obtain("celeba32", "val", tmp_path)


def test_celeba_from_its_files(tmp_path, monkeypatch):
    """Three faces, two for training; the square in the middle of 178 x 218."""
    monkeypatch.setattr(datasets.CelebA, "_check_integrity", lambda self: True)
    top = tmp_path / "celeba"
    (top / "img_align_celeba").mkdir(parents=True)
    face = np.zeros((218, 178, 3), np.uint8)
    face[20:198] = 200
    for i in (1, 2, 3):
        Image.fromarray(face).save(top / f"img_align_celeba/{i}.png")
    rows = {
        "list_eval_partition": "1.png 0\n2.png 2\n3.png 0\n",
        "identity_CelebA": None,
    }
    tables = ("list_bbox_celeba", "list_landmarks_align_celeba", "list_attr_celeba")
    for name in (*rows, *tables):
        head = "2\nname\n" if name in tables else ""
        (top / f"{name}.txt").write_text(
            head + (rows.get(name) or "1.png 1\n2.png 1\n3.png 1\n")
        )
    images, labels = obtain("celeba32", "train", tmp_path)
    assert images.shape == (2, 32, 32, 3) and labels is None and (images == 200).all()


def photo(path, levels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(levels).save(path)


def test_a_folder_of_images_sorted_cropped_and_averaged(tmp_path):
    rng = np.random.default_rng(3)
    wide = rng.integers(256, size=(8, 12, 3), dtype=np.uint8)
    grey = rng.integers(256, size=(8, 8), dtype=np.uint8)
    photo(tmp_path / "afhqv2/train/dog/a.png", wide)
    photo(tmp_path / "afhqv2/train/cat/b.png", grey)
    (tmp_path / "afhqv2/train/cat/notes.txt").write_text("no image")
    images, labels = obtain("afhqv2_4", "train", tmp_path)
    squares = np.stack([np.stack([grey] * 3, -1), wide[:, 2:10]])
    means = squares.reshape(2, 4, 2, 4, 2, 3).mean((2, 4))
    assert np.abs(images - means).max() <= 1  # half a level for each axis
    assert (labels == [0, 1]).all()


def test_a_folder_without_splits_is_the_training_set(tmp_path):
    photo(tmp_path / "celeba_hq/1.png", np.zeros((4, 4, 3), np.uint8))
    images, labels = obtain("celeba_hq2", "train", tmp_path)
    assert images.shape == (1, 2, 2, 3) and labels is None
    with pytest.raises(MissingSet, match=r"put its images into .*celeba_hq/test"):
        obtain("celeba_hq2", "test", tmp_path)


@pytest.mark.parametrize("damage", ["text", "truncated"])
def test_an_image_that_cannot_be_decoded_is_named(tmp_path, damage):
    for i in range(3):
        photo(tmp_path / f"afhq_cat/train/{i}.png", np.full((9, 9, 3), i, np.uint8))
    bad = tmp_path / "afhq_cat/train/1.png"
    bad.write_bytes(b"<html>" if damage == "text" else bad.read_bytes()[:-30])
    with pytest.raises(ValueError, match=r"train/1\.png cannot be decoded"):
        obtain("afhq_cat4", "train", tmp_path)


def test_an_unknown_name_lists_the_known_ones(tmp_path):
    for name in ("imagenet", "celeba", "cifar100"):
        with pytest.raises(MissingSet, match="none of mnist, fashion_mnist, cifar10"):
            obtain(name, "train", tmp_path)
    with pytest.raises(MissingSet, match="splits are train and test, not valid"):
        obtain("mnist", "valid", tmp_path)
