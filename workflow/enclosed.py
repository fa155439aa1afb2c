"""The first program in the sandbox: builds its file system, gives up its rights, runs.

Called by `sandbox.run` inside of new namespaces, where it is the administrator; it
leaves the old file system for good before anything else of the order is run.
"""

import contextlib
import ctypes
import fcntl
import json
import os
import resource
import socket
import struct
import sys

LIBC = ctypes.CDLL(None, use_errno=True)
READ_ONLY, NO_SUID, NO_DEV, REMOUNT, BIND, RECURSIVE = 1, 2, 4, 32, 4096, 16384
PRIVATE, DETACH, PIVOT_ROOT = 1 << 18, 2, {"x86_64": 155}.get(os.uname().machine, 41)
DROP_BOUND, NO_NEW_RIGHTS, LAST_RIGHT = 24, 38, 63
NAME = "sandbox"  # of this machine, for the programs inside
DEVICES = ("null", "zero", "full", "random", "urandom")


def require(result, what):
    if result != 0:
        raise SystemExit(f"{what}: {os.strerror(ctypes.get_errno())}")


def mount(source, target, kind=None, flags=0, options=None):
    parts = (source, target, kind)
    source, target, kind = (p and os.fsencode(p) for p in parts)
    done = LIBC.mount(source, target, kind, flags, options and options.encode())
    require(done, f"mount {os.fsdecode(target)}")


def show(path, root):
    """Bind a file or folder into the new root, for reading."""
    target = root + path
    if os.path.islink(path):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if not os.path.lexists(target):
            os.symlink(os.readlink(path), target)
        return
    if os.path.isdir(path):
        os.makedirs(target, exist_ok=True)
    else:
        empty(target)
    mount(path, target, flags=BIND)
    kept = os.statvfs(target).f_flag & (NO_SUID | NO_DEV | 8)  # locked by the owner
    mount(None, target, flags=BIND | REMOUNT | READ_ONLY | NO_SUID | kept)


def empty(path):
    """An empty file to bind another to."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w"):
        pass


def build(order):
    """A file system with what is shown, a /tmp, five devices, its own processes."""
    root, limits = order["root"], order["limits"]
    mount(None, "/", flags=PRIVATE | RECURSIVE)
    mount("root", root, "tmpfs", NO_SUID | NO_DEV, "size=16m,mode=755")
    for folder in ("tmp", "dev", "proc"):
        os.mkdir(f"{root}/{folder}")
    for device in DEVICES:
        empty(f"{root}/dev/{device}")
        mount(f"/dev/{device}", f"{root}/dev/{device}", flags=BIND)
    os.mkdir(f"{root}/dev/shm")
    mount("shm", f"{root}/dev/shm", "tmpfs", NO_SUID | NO_DEV, "size=64m")
    mount("tmp", f"{root}/tmp", "tmpfs", NO_SUID | NO_DEV, f"size={limits['disk']}")
    mount("proc", f"{root}/proc", "proc", NO_SUID | NO_DEV | 8)
    empty(f"{root}/etc/hosts")
    with open(f"{root}/etc/hosts", "w") as hosts:
        hosts.write(f"127.0.0.1 localhost {NAME}\n")
    for path in dict.fromkeys(order["shown"]):
        if os.path.lexists(path):
            show(path, root)
    mount(None, root, flags=BIND | REMOUNT | READ_ONLY | NO_SUID | NO_DEV)


def leave(root):
    """Go into the new file system and let go of the old one."""
    os.chdir(root)
    require(LIBC.syscall(PIVOT_ROOT, b".", b"."), "pivot_root")
    require(LIBC.umount2(b".", DETACH), "umount")
    os.chdir("/tmp")


def start_loopback():
    """Programs may talk to themselves; there is no other network here."""
    up = struct.pack("16sH14s", b"lo", 1, b"")
    socket.sethostname(NAME)
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, 0x8914, up)


def limit(limits):
    """Limits that the kernel keeps for each process, and for all where it can."""
    for what, value in (
        (resource.RLIMIT_DATA, limits["memory"]),
        (resource.RLIMIT_CPU, int(limits["seconds"]) + 5),
        (resource.RLIMIT_FSIZE, limits["disk"]),
        (resource.RLIMIT_NOFILE, 1024),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (value, value))
    settings = {"kernel/pid_max": 512, "user/max_user_namespaces": 0}
    for name, value in settings.items():  # as far as this kernel has them
        with contextlib.suppress(OSError), open(f"/proc/sys/{name}", "w") as file:
            file.write(str(value))


def give_up_rights():
    """From here on this is nobody's administrator, nor can it become one."""
    for right in range(LAST_RIGHT):
        LIBC.prctl(DROP_BOUND, right, 0, 0, 0)  # fails beyond the last
    require(LIBC.prctl(NO_NEW_RIGHTS, 1, 0, 0, 0), "no new rights")


def main(order):
    build(order)
    leave(order["root"])
    start_loopback()
    limit(order["limits"])
    give_up_rights()
    sys.stdout.flush()
    os.execve(order["command"][0], order["command"], order["environment"])


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
