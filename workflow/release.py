"""Pack the built site and the repository for a release, and check such a release.

`python workflow/release.py` (`make release`) writes three archives (site, figures,
repository), `manifest.json` and `SHA256SUMS` to `_build/release`. Nothing in them
depends on the clock, the user or the order of files on disk: packed twice, each is the
same to the byte.
`python workflow/release.py verify FOLDER` needs no other file of the book. It names
every file that is not what it was, in the archives and in what was unpacked beside.
"""

import argparse
import contextlib
import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zlib
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "_build"
MANIFEST, SUMS = "manifest.json", "SHA256SUMS"
UNREADABLE = (EOFError, OSError, tarfile.TarError, zlib.error)


class BadRelease(Exception):
    """The release cannot be made, or is not what it was; the message says why."""


def git(*command, root=ROOT) -> str:
    done = subprocess.run(["git", *command], cwd=root, capture_output=True, text=True)
    if done.returncode:
        raise BadRelease(f"git {command[0]}: {done.stderr.strip()}")
    return done.stdout


def entry(content: bytes) -> dict:
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def tracked(root=ROOT) -> dict[str, Path]:
    """The files of the commit; none may have changed since, or the name would lie."""
    if changed := git("status", "--porcelain", root=root).splitlines():
        raise BadRelease("Commit or stash these first:\n" + "\n".join(changed))
    names = git("ls-files", "-z", root=root).split("\0")[:-1]
    return {name: root / name for name in names}


def below(folder: Path) -> dict[str, Path]:
    """All files of a folder by their names in it."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path for path in files}


def member(name: str, path: Path, time: int) -> tarfile.TarInfo:
    """What an archive says of a file: of its rights only whether it is a program."""
    if path.is_symlink():
        raise BadRelease(f"{name} is a symbolic link, which a release cannot hold.")
    info = tarfile.TarInfo(name)
    info.size, info.mtime = path.stat().st_size, time
    info.mode = 0o755 if os.access(path, os.X_OK) else 0o644
    return info


def pack(archive: Path, files: dict[str, Path], time: int) -> dict:
    """Write the archive, in order of names; return its entry of the manifest."""
    top, found = archive.name.removesuffix(".tar.gz"), {}
    with (
        open(archive, "wb") as raw,
        gzip.GzipFile("", "wb", mtime=0, fileobj=raw) as packed,
        tarfile.open(mode="w", fileobj=packed, format=tarfile.PAX_FORMAT) as tar,
    ):
        for name in sorted(files):
            content = files[name].read_bytes()
            tar.addfile(member(f"{top}/{name}", files[name], time), io.BytesIO(content))
            found[name] = entry(content)
    return entry(archive.read_bytes()) | {"files": found}


def version(root=ROOT, tag=None) -> str:
    """The version of pyproject.toml; a tag must name the same one."""
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    if tag and tag != f"v{project['version']}":
        raise BadRelease(
            f"The tag is {tag}, but pyproject.toml has version {project['version']}."
        )
    return project["version"]


def parts(root=ROOT) -> dict[str, dict[str, Path]]:
    """The files of each archive."""
    site, figures = root / "_build" / "html", root / "_build" / "figures"
    for folder in (site, figures):
        if not folder.is_dir():
            raise BadRelease(f"No _build/{folder.name} yet: run `make release`.")
    return {"site": below(site), "figures": below(figures), "source": tracked(root)}


def about(root) -> dict:
    """What the release is made of: commit, lock and profile."""
    seconds = int(git("log", "-1", "--format=%ct", root=root))
    return {
        "commit": git("rev-parse", "HEAD", root=root).strip(),
        "date": datetime.fromtimestamp(seconds, UTC).isoformat(),
        "lock": entry((root / "requirements.lock").read_bytes())["sha256"],
        **json.loads((root / "_build" / "html" / "build.json").read_text()),
    }


def make(target: Path, root=ROOT, tag=None) -> dict:
    """Archives, manifest and sums in `target`, which appears when all are there."""
    number, kinds = version(root, tag), parts(root)
    what = {"version": number, **about(root)}
    time = int(datetime.fromisoformat(what["date"]).timestamp())
    part = target.with_name(f"{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    what["archives"] = {
        archive: pack(part / archive, files, time)
        for kind, files in kinds.items()
        for archive in [f"locality-{number}-{kind}.tar.gz"]
    }
    (part / MANIFEST).write_text(json.dumps(what, indent=1) + "\n")
    sums = {path.name: entry(path.read_bytes())["sha256"] for path in part.iterdir()}
    rows = [f"{sums[name]}  {name}\n" for name in sorted(sums)]
    (part / SUMS).write_text("".join(rows))
    shutil.rmtree(target, ignore_errors=True)
    part.rename(target)
    return what


def sums(folder: Path) -> dict[str, str]:
    """The sums by name of file, as `sha256sum -c` reads them too."""
    try:
        rows = (folder / SUMS).read_text().splitlines()
    except FileNotFoundError:
        raise BadRelease(f"{folder} has no file {SUMS}: not a release.") from None
    found = {name: digest for digest, _, name in (row.partition("  ") for row in rows)}
    if MANIFEST not in found:
        raise BadRelease(f"{SUMS} is damaged; get it again.")
    return found


def contents(archive: Path) -> dict[str, dict]:
    """Entries of the files in an archive, without their top folder. Unpacks nothing."""
    with tarfile.open(archive) as tar:
        members = [info for info in tar if info.isfile()]
        return {
            info.name.partition("/")[2]: entry(tar.extractfile(info).read())
            for info in members
        }


def differences(known: dict, found: dict, where: str) -> list[str]:
    """One line for each file that is altered, missing or too many."""
    names = sorted(known.keys() | found.keys())
    words = {
        name: "missing"
        if name not in found
        else ("altered" if name in known else "not part of the release")
        for name in names
        if known.get(name) != found.get(name)
    }
    return [f"{where}: {name} is {word}" for name, word in words.items()]


def altered(archive: Path, known: dict) -> list[str]:
    """What is wrong with an archive whose sum is not the one of the release."""
    size, expected = archive.stat().st_size, known["bytes"]
    short = f"{archive.name} is truncated: {size} of {expected} bytes"
    try:
        files = differences(known["files"], contents(archive), archive.name)
    except UNREADABLE as error:
        damaged = f"{archive.name} is damaged and cannot be read ({error})"
        return [short if size < expected else damaged]
    same = f"{archive.name} is altered, but each file in it is as it was"
    return files or [short if size < expected else same]


def problems(folder: Path) -> list[str]:
    """Everything in a release that is not as it was made; empty if all is well."""
    known = sums(folder)
    wrong = [name for name, digest in known.items() if not whole(folder / name, digest)]
    if missing := [name for name in wrong if not (folder / name).exists()]:
        return [f"{name} is missing" for name in missing]
    if MANIFEST in wrong:
        return [f"{MANIFEST} is altered; with it nothing else can be checked"]
    archives = json.loads((folder / MANIFEST).read_text())["archives"]
    if archives.keys() - known.keys():
        raise BadRelease(f"{SUMS} is damaged; get it again.")
    found = []
    for name, what in archives.items():
        found += altered(folder / name, what) if name in wrong else []
        found += beside(folder, name, what)
    return found


def beside(folder: Path, archive: str, known: dict) -> list[str]:
    """What is wrong with the files of an archive that was unpacked next to it."""
    unpacked = folder / archive.removesuffix(".tar.gz")
    if not unpacked.is_dir():
        return []
    here = {name: entry(path.read_bytes()) for name, path in below(unpacked).items()}
    return differences(known["files"], here, unpacked.name)


def whole(path: Path, digest: str) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return entry(path.read_bytes())["sha256"] == digest
    return False


def verify(folder: Path) -> str:
    if found := problems(folder):
        raise BadRelease("\n".join(found))
    archives = json.loads((folder / MANIFEST).read_text())["archives"]
    count = sum(len(archive["files"]) for archive in archives.values())
    return f"All {count} files in {len(archives)} archives are as they were made."


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="?", choices=("make", "verify"), default="make")
    parser.add_argument("folder", nargs="?", type=Path, default=BUILD / "release")
    parser.add_argument("--tag", help="stop if this is not the version of the book")
    args = parser.parse_args()
    try:
        if args.what == "make":
            made = make(args.folder, tag=args.tag)
            for name, archive in made["archives"].items():
                count = f"{len(archive['files'])} files"
                print(f"{name}: {count}, {archive['bytes'] / 1e6:.1f} MB")
        print(verify(args.folder))
    except BadRelease as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
