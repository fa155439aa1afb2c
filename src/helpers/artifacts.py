"""What the book ships, how it was made, and what a chapter found.

An artifact is a small file under `data/` with an entry in `data/manifest.json` that
says which script made it, from which images, with which code, seed and machine. `load`
returns it only if its hash is the recorded one. An `Experiment` makes artifacts,
`Results` collects the numbers of a chapter.
"""

import hashlib
import json
import platform
import re
import subprocess
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from filelock import FileLock

from helpers import paths
from helpers.data import fingerprint, read

LIBRARIES = ("numpy", "torch", "torchvision", "scipy")
INNER_LIST = re.compile(r"\[\n[^][{}\"]*\]")


class ArtifactError(RuntimeError):
    """An artifact is missing, or is not the file that was recorded."""


def manifest() -> dict:
    """The entries of `data/manifest.json`, by path below `data/`; empty without the
    file.
    """
    path = paths.DATA / "manifest.json"
    return json.loads(path.read_text()) if path.exists() else {}


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verified(name: str) -> Path:
    """The file of an artifact, after its hash was found to be the recorded one.

    `name` is the path below `data/`. ArtifactError says what to run when the file is
    missing or altered, or when no artifact of this name is recorded.
    """
    entry, path = manifest().get(name), paths.DATA / name
    if entry is None:
        raise ArtifactError(
            f"{name} is not an artifact recorded in data/manifest.json."
        )
    cure = f"run `git checkout data/{name}`, or make it again: `{entry['command']}`."
    if not path.exists():
        raise ArtifactError(f"data/{name} is missing: {cure}")
    if sha256(path) != entry["sha256"]:
        raise ArtifactError(f"data/{name} is not the file that was recorded: {cure}")
    return path


def load(name: str) -> dict:
    """The content of an artifact: a dict of numbers (.json) or tensors (.safetensors).

    Errors: those of `verified`; ValueError for another kind of file.
    """
    path = verified(name)
    if path.suffix == ".json":
        return json.loads(path.read_text())
    if path.suffix == ".safetensors":
        return safetensors.torch.load_file(path)
    raise ValueError(f"{name} is neither .json nor .safetensors")


class Provenance(str):
    """One line that says where an artifact comes from; a notebook shows it as text."""

    def _repr_markdown_(self) -> str:
        return f'<p class="provenance">{self}</p>'


def provenance(name: str) -> Provenance:
    """Who made the artifact, from what, when, and the command that makes it again."""
    e = manifest()[name]
    inputs = ", ".join(f"{s} ({f[:8]})" for s, f in e["inputs"].items())
    return Provenance(
        f"Made by <code>{e['script']}</code> from {inputs or 'no image set'}; "
        f"seed {e['seed']}, {e['device']}, {e['precision']}, {e['seconds']:.0f} s, "
        f"commit {e['commit'][:8]}, {e['date'][:10]}. "
        f"Again: <code>{e['command']}</code>"
    )


class Experiment:
    """One run of a heavy script: what goes in, and the artifacts that come out.

    >>> with Experiment(__file__, seed=0, sets=["cifar10-train"]) as experiment:
    ...     experiment.save("results/name.json", {"sigma": [...], "error": [...]})

    `sets` are NAME-SPLIT names whose fingerprints are recorded, `parameters` any JSON
    values, `arguments` the words after the script in its command. `save` writes the
    file whole or not at all and adds its entry to the manifest.
    """

    def __init__(
        self,
        script: str,
        seed: int,
        sets=(),
        parameters=None,
        device="cpu",
        arguments=(),
    ):
        self.script = Path(script).resolve().relative_to(paths.ROOT).as_posix()
        self.seed, self.device, self.parameters = seed, str(device), parameters or {}
        self.sets, self.command = list(sets), " ".join([self.script, *arguments])

    def __enter__(self) -> "Experiment":
        self.started = time.perf_counter()
        self.commit = git_commit()
        return self

    def __exit__(self, *_):
        return None

    def save(self, name: str, content: dict, precision: str = "float32") -> None:
        """Write numbers (.json) or tensors (.safetensors) to `data/NAME` and record
        it.
        """
        path, raw = paths.DATA / name, encode(name, content)
        with paths.replacing(path, len(raw)) as file:
            file.write(raw)
        entry = {"sha256": hashlib.sha256(raw).hexdigest(), "bytes": len(raw)}
        record(name, entry | self.recipe() | {"precision": precision})

    def recipe(self) -> dict:
        """How the artifacts of this run are made."""
        return {
            "script": self.script,
            "command": f"python {self.command}",
            "parameters": self.parameters,
            "inputs": {s: fingerprint(read(*s.split("-")).images) for s in self.sets},
            "commit": self.commit,
            "lock": sha256(paths.ROOT / "requirements.lock"),
            "seed": self.seed,
            "device": self.device,
            "versions": {"python": platform.python_version()}
            | {name: version(name) for name in LIBRARIES},
            "seconds": round(time.perf_counter() - self.started, 1),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
        }


def encode(name: str, content: dict) -> bytes:
    """The bytes of an artifact; ValueError for NaN or for another kind of file."""
    if name.endswith(".json"):
        text = json.dumps(content, indent=1, default=plain, allow_nan=False)
        return (INNER_LIST.sub(one_line, text) + "\n").encode()
    if name.endswith(".safetensors"):
        return safetensors.torch.save({k: v.contiguous() for k, v in content.items()})
    raise ValueError(f"{name} is neither .json nor .safetensors")


def one_line(numbers: re.Match) -> str:
    """A list of numbers without its line breaks, so that a table has a line a row."""
    return "[" + " ".join(numbers[0][1:-1].split()) + "]"


def record(name: str, entry: dict) -> None:
    """Put one entry into the manifest; several processes may do so at once."""
    path = paths.DATA / "manifest.json"
    paths.BUILD.mkdir(exist_ok=True)
    with FileLock(paths.BUILD / "manifest.lock"):
        raw = json.dumps(manifest() | {name: entry}, indent=1, sort_keys=True) + "\n"
        with paths.replacing(path, len(raw)) as file:
            file.write(raw.encode())


def git_commit() -> str:
    """The commit of the code, with `+` if the working tree differs; `unknown` without
    git.
    """
    git = ["git", "-C", str(paths.ROOT)]
    try:
        head = subprocess.run(
            [*git, "rev-parse", "HEAD"], capture_output=True, text=True
        )
        dirty = subprocess.run(
            [*git, "diff", "HEAD", "--quiet", "--", "src", "workflow"],
            capture_output=True,
        )
    except FileNotFoundError:
        return "unknown"
    if head.returncode:
        return "unknown"
    return head.stdout.strip() + ("+" if dirty.returncode else "")


def plain(value):
    """A Python number, text or list for JSON, from a tensor or a NumPy value."""
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().tolist()
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    if isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    raise TypeError(f"a result is a number, a text or a list, not {type(value)}")


class Results:
    """The numbers of a chapter: `results["name"] = value`, then `results.write()`.

    They go to `_build/results/CHAPTER.json`, from where the text of the chapter takes
    them and where `make check` compares them with the stored references. What cannot be
    measured here is named with its reason: `results.skip("name", "CIFAR-10 is not
    here")`.
    """

    def __init__(self, chapter: str, profile: str):
        self.chapter, self.profile = chapter, profile
        self.values, self.skipped = {}, {}

    def __setitem__(self, key: str, value) -> None:
        self.values[key] = plain(value)

    def __getitem__(self, key: str):
        return self.values[key]

    def skip(self, key: str, reason: str) -> None:
        """Say why a result is not there."""
        self.skipped[key] = reason

    def write(self) -> Path:
        """Write them whole or not at all; ValueError if a number is NaN or infinite."""
        raw = json.dumps(vars(self), indent=1, sort_keys=True, allow_nan=False).encode()
        path = paths.RESULTS / f"{self.chapter}.json"
        with paths.replacing(path, len(raw)) as file:
            file.write(raw)
        return path
