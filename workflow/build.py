"""Build the book: `python workflow/build.py --profile laptop` (what `make book` runs).

One build at a time in a folder, Snakemake for the work, and the reason of a failure as
the last lines. The site in `_build/html` is replaced only by a complete one.
"""

import argparse
import contextlib
import fcntl
import importlib.metadata as packages
import json
import os
import shutil
import signal
import sys
import time
from datetime import datetime

import chapters
import psutil
import references
from chapters import BUILD, ROOT

PROFILES = ("laptop", "full", "slurm")
LOG = BUILD / "logs" / "snakemake.log"
CHAPTER_MEMORY = 2e9  # bytes that each chapter running at the same time may need


def require_jupyter_book_1(version=None):
    """Version 2 ignores `_config.yml`, builds nothing, and still reports success."""
    version = version or packages.version("jupyter-book")
    if not version.startswith("1."):
        sys.exit(
            f"This book needs jupyter-book 1.x, but {version} is installed. "
            "Run `make clean` and delete .venv, then `make book`: the locked "
            "environment has the right one."
        )


def computed(profile) -> str:
    """What the chapters compute: a cluster is where `full` runs, nothing else."""
    return "full" if profile == "slurm" else profile


def require_sources(profile):
    """Sealed references, chapters as the contents list them, kernel, artifacts."""
    references.require_seals(computed(profile))
    for name in chapters.names():
        chapters.require_kernel(name)
        if profile == "laptop":
            chapters.artifacts(name)


@contextlib.contextmanager
def only_build():
    """Hold the lock of this folder; it ends with the process, however that ends."""
    BUILD.mkdir(exist_ok=True)
    with open(BUILD / ".lock", "a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            sys.exit(
                f"Another build is running in this folder ({lock.read().strip()}). "
                "Wait until it ends, then run this command again."
            )
        lock.truncate(0)
        lock.write(f"process {os.getpid()}, since {datetime.now():%H:%M:%S}")
        lock.flush()
        yield


def parallel() -> int:
    """Chapters at the same time: one a core, as far as the memory goes."""
    cores = len(psutil.Process().cpu_affinity()) if sys.platform == "linux" else None
    room = int(psutil.virtual_memory().total / CHAPTER_MEMORY)
    return max(1, min(cores or os.cpu_count() or 1, room))


def arguments(profile, extra) -> list[str]:
    """The Snakemake command line; everything else is in the profile."""
    limit = [] if profile == "slurm" else ["--cores", str(parallel())]
    return [
        *extra,
        *("--snakefile", "workflow/Snakefile", "--directory", "."),
        *("--profile", "none", "--workflow-profile", f"workflow/profiles/{profile}"),
        *("--runtime-source-cache-path", str(BUILD / ".cache")),
        *limit,
        *("--config", f"profile={computed(profile)}"),
    ]


@contextlib.contextmanager
def errors_to(path):
    """Send what Snakemake and the steps say on the way to a file; steps report."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = os.dup(2)
    with open(path, "w") as log:
        os.dup2(log.fileno(), 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)


def run_snakemake(profile, extra) -> int:
    """In this process, so that nothing is left over when it is killed."""
    from snakemake.cli import main

    signal.signal(signal.SIGINT, interrupt)
    try:
        main(arguments(profile, extra))
    except SystemExit as end:
        return int(end.code or 0)
    except KeyboardInterrupt:
        return 130
    return 0


def interrupt(_signal, _frame):
    """Ctrl-C: end the chapters that are running, then Snakemake."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    interrupt.done = True
    raise KeyboardInterrupt


interrupt.done = False


def prepare(profile):
    """No report of an earlier build; a site that was deleted is made again.

    Snakemake keeps a copy of the Snakefile, and would go on with it after a change.
    """
    for folder in ("reports", "logs", ".cache"):
        shutil.rmtree(BUILD / folder, ignore_errors=True)
    if not (BUILD / "html" / "index.html").exists():
        (BUILD / "site.stamp").unlink(missing_ok=True)
    if profile != "slurm":
        os.environ["BOOK_LAUNCHER"] = str(os.getpid())


def forget_strangers(profile):
    """Run a chapter again if what lies in its place was not made from this text.

    Snakemake knows only its own runs: one by hand, a change while a chapter ran, or
    results that a reader's notebook wrote would leave what is not of the text.
    """
    for name in chapters.names():
        if not of_this_text(name, computed(profile)):
            (BUILD / "executed" / f"{name}.json").unlink(missing_ok=True)
            (BUILD / "woven" / f"{name}.ipynb").unlink(missing_ok=True)


def of_this_text(name, profile) -> bool:
    """Whether a chapter's record is there, and says that text and results are these."""
    path = BUILD / "executed" / f"{name}.json"
    if not path.exists():
        return False
    run = json.loads(path.read_text())
    text, results = chapters.fingerprint(name, profile), chapters.results_hash(name)
    return run.get("fingerprint") == text and run.get("results") == results


def last_good() -> str:
    if (BUILD / "html" / "index.html").exists():
        return "_build/html is still the last good site."
    return "There is no site yet."


def reasons() -> str:
    """What the failed steps left as their reports; else the end of the log."""
    reports = sorted((BUILD / "reports").glob("*.txt"))
    if not reports:
        return LOG.read_text()[-3000:] if LOG.exists() else ""
    return "\n".join(path.read_text() for path in reports)


def explain():
    """The last lines of a failed build: chapter, cell, traceback."""
    if interrupt.done:
        what = "The build was interrupted. Run the same command again to go on.\n"
    else:
        what = f"The build failed.\n{reasons()}"
    print(f"\n{what}{last_good()}", file=sys.stderr, flush=True)


def summary(seconds):
    site = json.loads((BUILD / "html" / "build.json").read_text())
    print(
        f"{site['chapters']} chapters, {site['pages']} pages, profile "
        f"{site['profile']}, {seconds:.0f} s: _build/html/index.html"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", default="laptop", choices=PROFILES)
    args, extra = parser.parse_known_args()
    dry = not {"-n", "--dry-run"}.isdisjoint(extra)
    start = time.perf_counter()
    os.chdir(ROOT)
    require_jupyter_book_1()
    with only_build():
        prepare(args.profile)
        try:
            require_sources(args.profile)
            if not dry:
                forget_strangers(args.profile)
            with errors_to(LOG) if not dry else contextlib.nullcontext():
                code = run_snakemake(args.profile, extra)
        except chapters.BadProject as error:
            sys.exit(f"{error}\n{last_good()}")
        if code:
            explain()
            sys.exit(code)
        if not extra:
            summary(time.perf_counter() - start)


if __name__ == "__main__":
    main()
