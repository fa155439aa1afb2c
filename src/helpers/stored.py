"""Image sets in files, read a batch at a time, also where memory is too small."""

import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor


def stored_batches(
    path: str | Path, size: int, shard: int = 0, shards: int = 1
) -> Iterator[Tensor]:
    """Batches of at most `size` images of a stored set: uint8 levels (n, C, H, W).

    `path` is a file .npz with `images` (N, H, W, C) uint8, not compressed, or such an
    array as .npy. One batch is mapped into memory at a time, so the set may be larger
    than the memory. `shard`, from 0, is one of `shards` consecutive parts. The content
    is not compared with a fingerprint, `helpers.data` does that. ValueError for a file
    of another kind, cut off or compressed.
    """
    if size < 1 or not 0 <= shard < shards:
        raise ValueError(f"no batches of {size}, shard {shard} of {shards}")
    offset, shape = _stored_at(Path(path))
    first, last = shape[0] * shard // shards, shape[0] * (shard + 1) // shards
    bytes_each = int(np.prod(shape[1:]))
    for a in range(first, last, size):
        some = (min(size, last - a), *shape[1:])
        where = {"mode": "r", "offset": offset + a * bytes_each, "shape": some}
        levels = torch.tensor(np.memmap(path, np.uint8, **where))
        yield levels.permute(0, 3, 1, 2)


def _stored_at(path: Path) -> tuple[int, tuple[int, ...]]:
    """Where the levels of a set begin in its file, and their shape (N, H, W, C)."""
    with open(path, "rb") as file:
        if path.suffix == ".npz":
            file.seek(_member_at(path, "images.npy"))
        try:
            version = np.lib.format.read_magic(file)
            header = f"read_array_header_{version[0]}_{version[1]}"
            shape, fortran, dtype = getattr(np.lib.format, header)(file)
        except (ValueError, AttributeError) as error:
            raise ValueError(f"{path} is no array of images: {error}") from error
        if dtype != np.uint8 or len(shape) != 4 or fortran:
            raise ValueError(f"{path} holds {dtype} {shape}, not uint8 (N, H, W, C)")
        if file.tell() + np.prod(shape) > path.stat().st_size:
            raise ValueError(f"{path} is cut off")
        return file.tell(), shape


def _member_at(path: Path, name: str) -> int:
    """Where a member of a zip file begins; ValueError if it is compressed."""
    try:
        with zipfile.ZipFile(path) as archive:
            member = archive.getinfo(name)
    except (zipfile.BadZipFile, KeyError) as error:
        raise ValueError(f"{path} has no {name}: {error}") from error
    if member.compress_type != zipfile.ZIP_STORED:
        raise ValueError(
            f"{name} in {path} is compressed and cannot be mapped into memory; "
            "write it with np.savez or helpers.data.write"
        )
    with open(path, "rb") as file:  # the local header: two lengths at its bytes 26, 28
        file.seek(member.header_offset + 26)
        lengths = np.frombuffer(file.read(4), "<u2")
    return member.header_offset + 30 + int(lengths.sum())
