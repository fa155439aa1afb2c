"""Run a program that nobody trusts, on Linux, without further software.

The program gets namespaces of its own (`unshare` of util-linux, in a user namespace: no
rights of an administrator are needed): a file system in which there is only what it is
given, for reading, and a small /tmp in memory; no network; no sight of other processes.
Limits of memory, time, processes and output are watched from outside. When it ends, or
is ended, all that it started ends with it.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

INNER = Path(__file__).with_name("enclosed.py")
UNSHARE = (
    *("unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork"),
    *("--net", "--ipc", "--uts", "--kill-child"),
)
SYSTEM = ("/usr", "/bin", "/lib", "/lib64", "/sbin", "/etc/ld.so.cache")
SYSTEM += ("/etc/passwd", "/etc/group", "/etc/localtime", "/etc/alternatives")


@dataclass(frozen=True)
class Limits:
    """What a program may use before it is stopped."""

    seconds: float = 600
    memory: int = 4 << 30  # bytes, of all its processes together
    processes: int = 40
    disk: int = 256 << 20  # of its /tmp, which is memory, too
    output: int = 100_000  # bytes that are kept of what it prints


@dataclass(frozen=True)
class End:
    """How a program ended."""

    reason: str  # "" if by itself
    code: int | None
    output: str
    seconds: float
    peak: int = field(default=0)  # bytes


class NoSandbox(Exception):
    """This machine cannot shut a program in; the message says why."""


def require():
    """NoSandbox unless a program can be shut in here."""
    if not sys.platform.startswith("linux"):
        raise NoSandbox(f"{sys.platform} has no namespaces; this needs Linux")
    if shutil.which("unshare") is None:
        raise NoSandbox("the command `unshare` of util-linux is missing")
    end = run([sys.executable, "-c", "print('inside')"], [], {}, Limits(seconds=30))
    if "inside" not in end.output:
        last = (end.output.strip().splitlines() or [end.reason])[-1]
        raise NoSandbox(f"this Linux does not allow namespaces: {last}")


def run(command, shown, environment, limits=Limits()) -> End:
    """Run a command that sees the system, this Python, and the folders `shown`."""
    with tempfile.TemporaryDirectory(prefix="root-") as root:
        order = {
            "root": root,
            "shown": [*map(str, shown), *interpreter(), *SYSTEM],
            "command": [str(part) for part in command],
            "environment": {**clean(), **environment},
            "limits": vars(limits),
        }
        enter = [sys.executable, "-I", str(INNER), json.dumps(order)]
        return watched([*UNSHARE, *enter], limits)


def interpreter() -> list[str]:
    """The folders of this Python and its packages."""
    return [sys.prefix, sys.base_prefix, os.path.realpath(sys.base_prefix)]


def clean() -> dict[str, str]:
    """Nothing of the user's own environment, where keys and names of machines lie."""
    return {
        "PATH": f"{sys.prefix}/bin:/usr/local/bin:/usr/bin:/bin",
        "HOME": "/tmp",
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
        "MPLBACKEND": "agg",
        "JUPYTER_PREFER_ENV_PATH": "1",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }


def watched(command, limits, **options) -> End:
    """Run a command; stop it with all its processes at the first limit it breaks."""
    start, reason, peak = time.monotonic(), "", 0
    running = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        **options,
    )
    kept = bytearray()
    reader = threading.Thread(target=listen, args=(running.stdout, kept, limits.output))
    reader.start()
    try:
        while running.poll() is None and not reason:
            time.sleep(0.05)
            family = processes(running.pid)
            used = sum(map(memory, family))
            peak = max(peak, used)
            reason = broken(limits, time.monotonic() - start, len(family), used)
    finally:
        end(running)
        reader.join(10)
    seconds = time.monotonic() - start
    return End(reason, running.returncode, kept.decode(errors="replace"), seconds, peak)


def listen(stream, kept, most):
    """Read all that is printed, keep the beginning."""
    while part := stream.read1(1 << 16):
        kept += part[: max(0, most - len(kept))]


def broken(limits, seconds, count, used) -> str:
    """The limit that is broken, as a reason; "" if none is."""
    if seconds > limits.seconds:
        return f"it took more than {limits.seconds:.0f} s"
    if used > limits.memory:
        return f"it needed more than {limits.memory / 2**30:.1f} GB of memory"
    if count > limits.processes:
        return f"it started more than {limits.processes} processes"
    machine = psutil.virtual_memory()
    if machine.available < machine.total / 20:
        return "the machine had no memory left"
    return ""


def processes(pid) -> list[psutil.Process]:
    """A process and all below it; who loses its parent inside stays in the family."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def memory(process) -> int:
    """Bytes that belong to a process: not the files that it maps."""
    try:
        rows = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    except OSError:  # it has ended
        return 0
    own = (row.split() for row in rows if row.startswith(("RssAnon:", "RssShmem:")))
    return 1024 * sum(int(kilobytes) for _, kilobytes, _ in own)


def end(running):
    """Kill the family: with the first process inside, the kernel ends the rest."""
    for process in reversed(processes(running.pid)[:2]):  # ours, and the first inside
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    running.wait(30)
