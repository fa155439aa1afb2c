"""Where image sets come from: publishers' archives, or a folder of images.

`obtain(name, split, raw)` returns images (N, H, W, C) uint8 and labels (N,) or None.
Everything fetched is kept below the folder `raw`, so nothing is fetched twice.
`HELPERS_OFFLINE=1` forbids the network. Only `helpers.data` calls this module.

MNIST, Fashion-MNIST and CIFAR-10 are resumable downloads, addresses and checksums
taken from torchvision, which also reads them. CelebA comes from Google Drive through
torchvision and cannot resume. CelebA-HQ and AFHQ are read from folders of images.
(torchvision takes seconds to import, so only the functions that need it do.)
"""

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.client import HTTPException
from pathlib import Path
from ssl import SSLError
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import numpy as np
from PIL import Image
from tqdm import tqdm

from helpers.paths import disk

Set = tuple[np.ndarray, np.ndarray | None]
BYTES = {"unit": "B", "unit_scale": True}  # of a progress bar
PHOTOS = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}
STARGAN = "github.com/clovaai/stargan-v2 (its download.sh)"


class MissingSet(FileNotFoundError):
    """An image set that is not here and cannot be obtained; says how to get it."""


def obtain(name: str, split: str, raw: Path) -> Set:
    """The set `name` in full, from its source; MissingSet where that fails."""
    return source(name)(split, raw)


def source(name: str) -> Callable[[str, Path], Set]:
    """The function of (split, raw) that obtains `name`; the side of photos ends it."""
    stem = name.rstrip("0123456789")
    if name in ARCHIVES:
        return ARCHIVES[name]
    if stem in PHOTOGRAPHS and stem != name:
        return partial(PHOTOGRAPHS[stem], int(name[len(stem) :]))
    photos = ", ".join(f"{stem}SIDE" for stem in PHOTOGRAPHS)
    raise MissingSet(f"it is none of {', '.join(ARCHIVES)}, {photos} (SIDE in pixels)")


def fetch(url: str, path: Path, md5: str) -> Path:
    """Download `url` to `path`, resuming what an earlier call left in `path.part`.

    Raises MissingSet if the network fails (the part stays and is resumed by the next
    call, if the server allows) or if what arrived has another md5 (the part goes).
    """
    if path.exists() and _md5(path) == md5:
        return path
    part = path.with_name(path.name + ".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    with _network(url):
        _download(url, part)
    if (found := _md5(part)) != md5:
        part.unlink()
        raise MissingSet(f"{url} came with md5 {found}, not {md5}, and was thrown away")
    os.replace(part, path)
    return path


def _download(url, part):
    """Bring `part` to the full length of `url`, from where it ends if possible."""
    here = part.stat().st_size if part.exists() else 0
    try:
        reply = _open(url, here)
    except HTTPError as error:
        if error.code != 416:  # nothing after `here`: the part is whole, or wrong
            raise
        return
    here = here if reply.status == 206 else 0  # 200: the server sends it all again
    total = here + int(reply.headers.get("Content-Length") or 0)
    bar = tqdm(desc=part.stem, initial=here, total=total or None, **BYTES)
    with reply, bar, disk(part, total - here), open(part, "ab" if here else "wb") as f:
        while block := reply.read(1 << 16):
            bar.update(f.write(block))
    if part.stat().st_size < total:
        raise URLError(f"broke off after {part.stat().st_size} of {total} bytes")


def _open(url, start):
    headers = {"Range": f"bytes={start}-"} if start else {}
    return urlopen(Request(url, headers=headers), timeout=30)


@contextlib.contextmanager
def _network(url):
    """Turn whatever fails between here and `url` into one sentence."""
    if os.environ.get("HELPERS_OFFLINE", "0") not in ("", "0"):
        raise MissingSet("HELPERS_OFFLINE forbids downloads")
    try:
        yield
    except (HTTPException, URLError, ConnectionError, TimeoutError, SSLError) as error:
        raise MissingSet(f"{url} cannot be fetched ({error})") from error


def _md5(path):
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "md5").hexdigest()


def idx(cls: str, split: str, raw: Path) -> Set:
    """MNIST or Fashion-MNIST: two of the four archives that torchvision names."""
    from torchvision.datasets import mnist

    start = "train" if _is_train(split) else "t10k"
    origin, found = getattr(mnist, cls), []
    for file, md5 in (r for r in origin.resources if r[0].startswith(start)):
        urls = [mirror + file for mirror in origin.mirrors]
        archive = _first(urls, raw / cls / file, md5)
        read = mnist.read_image_file if "images" in file else mnist.read_label_file
        with _extracted(archive) as folder:
            found.append(read(str(folder / archive.stem)).numpy())
    images, labels = found  # the order in which torchvision names them
    return images[..., None], labels


def _first(urls, path, md5):
    """`path`, fetched from the first of `urls` that works."""
    for url in urls[:-1]:
        with contextlib.suppress(MissingSet):
            return fetch(url, path, md5)
    return fetch(urls[-1], path, md5)


def cifar10(split: str, raw: Path) -> Set:
    """CIFAR-10: one archive, both splits."""
    from torchvision.datasets import CIFAR10

    train = _is_train(split)
    archive = fetch(CIFAR10.url, raw / CIFAR10.filename, CIFAR10.tgz_md5)
    with _extracted(archive) as folder:
        images = CIFAR10(folder, train=train)
    return images.data, np.array(images.targets, np.int64)


@contextlib.contextmanager
def _extracted(archive):
    """What an archive holds, in a folder beside it that goes afterwards."""
    from torchvision.datasets.utils import extract_archive

    with tempfile.TemporaryDirectory(dir=archive.parent) as folder:
        with disk(Path(folder), 4 * archive.stat().st_size):
            extract_archive(str(archive), folder)
        yield Path(folder)


def _is_train(split):
    if split not in ("train", "test"):
        raise MissingSet(f"its splits are train and test, not {split}")
    return split == "train"


def celeba(side: int, split: str, raw: Path) -> Set:
    """CelebA, aligned, 178 x 178 from the centre of 178 x 218; train, valid or test."""
    from torchvision.datasets import CelebA

    if split not in ("train", "valid", "test"):
        raise MissingSet(f"its splits are train, valid and test, not {split}")
    try:
        faces = CelebA(raw, split)
    except RuntimeError:  # not there yet
        with _network("CelebA"):
            faces = _celeba_download(CelebA, split, raw)
    folder = Path(faces.root, faces.base_folder, "img_align_celeba")
    return photographs([folder / f for f in faces.filename], side), None


def _celeba_download(CelebA, split, raw):
    try:
        return CelebA(raw, split, download=True)
    except Exception as error:  # gdown, the network, or the daily quota of Google
        raise MissingSet(
            "CelebA comes from Google Drive through torchvision, needs gdown and cannot"
            f" resume ({error}); repeat later, or put its files into {raw / 'celeba'}"
        ) from error


def folder(stem: str, origin: str, side: int, split: str, raw: Path) -> Set:
    """All images below raw/STEM/SPLIT, sorted by path; a label for each subfolder.

    Without splits, that is with images directly in raw/STEM, they are `train`.
    """
    files = _images((raw / stem / split).rglob("*"))
    if split == "train":
        files = files or _images((raw / stem).glob("*"))
    if not files:
        raise MissingSet(f"put its images into {raw / stem / split}, from {origin}")
    kinds = sorted({file.parent for file in files})
    labels = np.array([kinds.index(file.parent) for file in files], np.int64)
    return photographs(files, side), labels if len(kinds) > 1 else None


def _images(paths):
    return sorted(p for p in paths if p.suffix.lower() in PHOTOS)


def photographs(files: list[Path], side: int) -> np.ndarray:
    """Centre squares of image files, resized by area: (N, side, side, 3) uint8."""
    with ThreadPoolExecutor() as pool:
        images = pool.map(partial(_photograph, side), files)
        return np.stack(list(tqdm(images, total=len(files), unit="image")))


def _photograph(side, file):
    try:
        with Image.open(file) as image:
            rgb = image.convert("RGB")
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(
            f"{file} cannot be decoded as an image ({error}); fetch it again or, if it"
            " is not part of the set, delete it."
        ) from error
    w, h = rgb.size
    s = min(w, h)
    left, top = (w - s) // 2, (h - s) // 2
    box = (left, top, left + s, top + s)
    return np.asarray(rgb.resize((side, side), Image.Resampling.BOX, box=box))


ARCHIVES = {
    "mnist": partial(idx, "MNIST"),
    "fashion_mnist": partial(idx, "FashionMNIST"),
    "cifar10": cifar10,
}
PHOTOGRAPHS = {
    "celeba": celeba,
    "celeba_hq": partial(folder, "celeba_hq", STARGAN),
    "afhqv2_": partial(folder, "afhqv2", STARGAN),
    "afhq_cat": partial(folder, "afhq_cat", STARGAN),
}
