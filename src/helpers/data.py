"""Image sets: uint8 (N, H, W, C) at rest, float32 (N, C, H, W) in [-1, 1] in memory.

Always at hand: `digits` (real, 1,797 at 8 x 8, from scikit-learn), `dead_leaves` and
`toy_faces` (drawn, 4,096 in grey at 32 x 32; seed 0 for `train`, 1 for `test`; their
modules draw any other). All other sets are files NAME-SPLIT.npz, looked for in
`$HELPERS_DATA`, then in `data/cache`; if absent, `helpers.sources` obtains them there.

    python -m helpers.data get NAME [SPLIT]      obtain a set, say what it is
    python -m helpers.data fingerprint FILE      its entry in data/fingerprints.json
"""

import hashlib
import importlib.metadata
import json
import sys
import warnings
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from helpers import dead_leaves, toy_faces
from helpers.paths import CACHE, DATA, image_sets, replacing
from helpers.sources import MissingSet, obtain

FINGERPRINTS = DATA / "fingerprints.json"
DRAWN = {"dead_leaves": dead_leaves.sample, "toy_faces": toy_faces.sample}
SEEDS = {"train": 0, "test": 1}
AGAIN = "it is truncated or altered; delete it and it is obtained again."


class Images(NamedTuple):
    images: np.ndarray  # (N, H, W, C) uint8
    labels: np.ndarray | None  # (N,) int64


def load(name: str, split: str = "train", n: int | None = None) -> Tensor:
    """The first `n` images of a set, or all: float32 (n, C, H, W) in [-1, 1].

    Errors: those of `read`; ValueError if the set holds fewer than `n` images.
    """
    images = read(name, split).images
    if n is not None and not 1 <= n <= len(images):
        raise ValueError(f"{name}-{split} holds {len(images)} images, not n = {n}.")
    return to_unit(images[:n])


def read(name: str, split: str = "train") -> Images:
    """A set as it is stored, after its fingerprint was found among the recorded ones.

    Raises MissingSet (a FileNotFoundError) if the set is not here and cannot be
    obtained, ValueError if its file is truncated, altered or of another kind. A set
    of which no official fingerprint is recorded is accepted, with a warning.
    """
    key = f"{name}-{split}"
    if name == "digits" or name in DRAWN:
        found, where = Images(*_embedded(name, split)), f"{key}, made here,"
    else:
        where = _path(key) or _obtained(name, split)
        found = _unpacked(where)
    _verify(key, found.images, where)
    return found


def available(name: str, split: str = "train") -> bool:
    """Whether `read` would find the set without a network; does not open the file."""
    if name == "digits" or name in DRAWN:
        return split in (SEEDS if name in DRAWN else ("train",))
    return _path(f"{name}-{split}") is not None


def to_unit(images: np.ndarray) -> Tensor:
    """Grey levels to [-1, 1]: k / 127.5 - 1; uint8 (N, H, W, C) to (N, C, H, W)."""
    _check_stored(images, None, "to_unit")
    levels = torch.tensor(images).permute(0, 3, 1, 2)  # (N, C, H, W)
    x = levels.to(torch.float32, memory_format=torch.contiguous_format)
    return x.div_(127.5).sub_(1)


def to_pixels(x: Tensor) -> np.ndarray:
    """The way back: float (N, C, H, W), rounded and clipped to uint8 (N, H, W, C)."""
    _check_float(x)
    if x.isnan().any():
        raise ValueError(f"Images hold NaN: {_count(x.isnan())}.")
    levels = ((x.detach().float() + 1) * 127.5).round().clamp(0, 255)
    return levels.to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()


def check_images(x: Tensor) -> Tensor:
    """`x`, if it is floating point, (N, C, H, W), finite and in [-1, 1]."""
    _check_float(x)
    if not x.isfinite().all():
        raise ValueError(f"Images hold NaN or infinity: {_count(~x.isfinite())}.")
    if x.numel() and x.abs().max() > 1 + 1e-6:  # rounding of an interpolation
        raise ValueError(
            f"Images are in [-1, 1], not [{x.min():g}, {x.max():g}];"
            " helpers.data.to_unit brings grey levels there."
        )
    return x


def fingerprint(images: np.ndarray) -> str:
    """SHA-256 over H x W x C and the sorted SHA-256s of the images.

    It depends on every pixel and on how often an image occurs, not on the order of
    the images, so a download and a shuffled copy can be proved equal.
    """
    each = sorted(hashlib.sha256(i).digest() for i in np.ascontiguousarray(images))
    shape = "x".join(map(str, images.shape[1:]))
    return hashlib.sha256(shape.encode() + b"".join(each)).hexdigest()


def write(path: Path, images: np.ndarray, labels: np.ndarray | None = None) -> None:
    """Pack a set into `path` (.npz): all or nothing, whatever happens meanwhile."""
    _check_stored(images, labels, path)
    arrays = {"images": images} | ({} if labels is None else {"labels": labels})
    with replacing(Path(path), sum(a.nbytes for a in arrays.values())) as file:
        np.savez(file, **arrays)


def entry(path: Path) -> dict:
    """What data/fingerprints.json records of a packed set, but for where it is from."""
    images = _unpacked(Path(path)).images
    N, *shape = images.shape
    return {"sha256": fingerprint(images), "images": N, "shape": shape}


def _path(key):
    """The file of a set, from the first folder that has one."""
    paths = (folder / f"{key}.npz" for folder in (image_sets(), CACHE))
    return next((p for p in paths if p.exists()), None)


def _obtained(name, split):
    """The set from its source, kept in the cache. One process fetches, others wait."""
    path = CACHE / f"{name}-{split}.npz"
    CACHE.mkdir(parents=True, exist_ok=True)
    with FileLock(CACHE / "obtaining.lock"):
        if not path.exists():
            try:
                write(path, *obtain(name, split, CACHE / "raw"))
            except MissingSet as reason:
                raise _missing(name, split, reason) from None
    return path


def _missing(name, split, reason):
    folders = " nor in ".join(dict.fromkeys(map(str, (image_sets(), CACHE))))
    return MissingSet(
        f"{name}-{split}.npz is not in {folders} and cannot be obtained: {reason}."
        " Put it there or, with a network, run:"
        f" HELPERS_OFFLINE=0 python -m helpers.data get {name} {split}"
    )


@cache
def _embedded(name, split):
    if not available(name, split):
        raise MissingSet(f"{name} has no split {split}.")
    if name in DRAWN:
        generator = np.random.default_rng(SEEDS[split])
        images, labels = DRAWN[name](4096, 32, generator=generator), None
    else:
        images, labels = _digits()
    images.setflags(write=False)  # all callers share them
    return images, labels


def _digits():
    """From the file of scikit-learn; to import its loader would take seconds."""
    package = importlib.metadata.distribution("scikit-learn")
    path = package.locate_file("sklearn/datasets/data/digits.csv.gz")
    table = np.loadtxt(path, delimiter=",")  # 17 grey levels, 0 to 16; the label last
    levels = np.rint(table[:, :-1] * 255 / 16).astype(np.uint8)
    return levels.reshape(-1, 8, 8, 1), table[:, -1].astype(np.int64)


def _unpacked(path):
    try:
        with np.load(path) as packed:
            found = Images(packed["images"], packed.get("labels"))
    except (MemoryError, PermissionError):
        raise
    except Exception as error:  # an altered file can make numpy raise almost anything
        raise ValueError(
            f"{path} cannot be read as an image set ({error}): {AGAIN}"
        ) from error
    _check_stored(*found, path)
    return found


def _check_float(x):
    if not isinstance(x, Tensor) or x.ndim != 4 or not x.is_floating_point():
        raise ValueError(f"Images are float tensors (N, C, H, W), not {_kind(x)}.")


def _check_stored(images, labels, where):
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8:
        raise ValueError(f"{where}: images are uint8, not {_kind(images)}.")
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or not images.size:
        axes = "(N, H, W, C), N > 0, C = 1 or 3"
        raise ValueError(f"{where}: images are {axes}, not {images.shape}.")
    expected = (np.dtype(np.int64), (len(images),))
    if labels is not None and (labels.dtype, labels.shape) != expected:
        raise ValueError(f"{where}: labels are int64 (N,), not {_kind(labels)}.")


def _verify(key, images, where):
    """Compare with the record: stop if it is official, warn if it cannot be known."""
    recorded = json.loads(FINGERPRINTS.read_text()).get(key, [])
    found = fingerprint(images)
    if found in [r["sha256"] for r in recorded]:
        return
    said = f"{where} holds {len(images)} images with the fingerprint {found}"
    if not any(r["official"] for r in recorded):
        warnings.warn(f"{said}, which is not recorded for {key}.", stacklevel=3)
    elif isinstance(where, Path):
        raise ValueError(f"{said}, not the one recorded for {key}: {AGAIN}")
    else:
        advice = "install the versions in requirements.lock or expect other numbers"
        warnings.warn(f"{said}, not the one recorded: {advice}.", stacklevel=3)


def _kind(x):
    dtype = getattr(x, "dtype", type(x).__name__)
    return f"{dtype} {tuple(getattr(x, 'shape', ()))}"


def _count(bad):
    return f"{int(bad.sum())} values in {int(bad.flatten(1).any(1).sum())} images"


def main(command: str = "", *arguments: str) -> None:
    """The two commands in the docstring of the module."""
    if command == "get" and len(arguments) in (1, 2):
        images = read(*arguments).images
        print(f"{' '.join(arguments)}: {images.shape}, {fingerprint(images)}")
    elif command == "fingerprint" and len(arguments) == 1:
        print(json.dumps(entry(*arguments)))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (OSError, ValueError) as error:
        sys.exit(str(error))
