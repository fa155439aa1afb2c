"""Sets in files, read a batch at a time."""

import numpy as np
import pytest
import torch

from helpers import data
from helpers.stored import stored_batches
from helpers.streaming import Moments


def levels(*shape):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, shape, generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("kind", ["npz", "npy"])
@pytest.mark.parametrize(("size", "shards"), [(1, 1), (7, 3), (100, 1), (4, 20)])
def test_stored_batches_are_the_images(tmp_path, kind, size, shards):
    images, path = levels(17, 4, 5, 3).numpy(), tmp_path / f"set-train.{kind}"
    if kind == "npz":
        data.write(path, images, np.arange(17))
    else:
        np.save(path, images)
    batches = [b for k in range(shards) for b in stored_batches(path, size, k, shards)]
    assert all(1 <= len(b) <= size and b.dtype == torch.uint8 for b in batches)
    expected = torch.tensor(images).permute(0, 3, 1, 2)
    assert torch.equal(torch.cat(batches), expected)
    moments = Moments()
    for batch in batches:
        moments.update(batch)
    assert torch.equal(moments.cov(), Moments().update(expected).cov())


def test_sets_that_cannot_be_mapped(tmp_path):
    images, path = levels(17, 4, 5, 3).numpy(), tmp_path / "set.npz"

    def refused(message, name="set.npz", size=4, **part):
        with pytest.raises(ValueError, match=message):
            list(stored_batches(tmp_path / name, size, **part))

    np.savez_compressed(path, images=images)
    refused("is compressed and cannot be mapped")
    np.savez(path, pictures=images)
    refused("has no images.npy")
    np.savez(path, images=images.astype(float))
    refused("holds float64")
    np.savez(path, images=images[..., 0])
    refused("not uint8")
    np.savez(path, images=images)
    refused("no batches of 0", size=0)
    refused("shard 3 of 3", shard=3, shards=3)
    path.write_bytes(path.read_bytes()[:500])
    refused("has no images.npy")
    np.save(tmp_path / "set.npy", images)
    whole = (tmp_path / "set.npy").read_bytes()
    (tmp_path / "set.npy").write_bytes(whole[:-1])
    refused("cut off", "set.npy")
    (tmp_path / "set.npy").write_bytes(b"nothing")
    refused("no array of images", "set.npy")
    with pytest.raises(FileNotFoundError):
        list(stored_batches(tmp_path / "none.npz", 4))
