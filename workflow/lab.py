"""Open the chapters as notebooks: `python workflow/lab.py --port 8888` (`make lab`).

JupyterLab runs on this machine only. Jupytext shows a chapter, which is a text, as a
notebook and writes it back as a text. The kernel and all settings lie in the
environment of the book: nothing in the reader's home, and they go with the environment.
"""

import argparse
import os
import socket
import sys
from pathlib import Path

import execute
from chapters import ROOT

KERNEL, TITLE = "python3", "Where Locality Comes From"  # as chapters name it, as shown
HOME = Path(sys.prefix) / "share" / "book-lab"  # the kernel, what JupyterLab remembers


def require_port(port: int):
    """Say so if another program has the port; JupyterLab would only log it."""
    with socket.socket() as probe:
        # A port that was in use a moment ago is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            sys.exit(f"Port {port} is taken. Choose another: make lab PORT={port + 1}")


def lab_app():
    try:
        from jupyterlab.labapp import LabApp
    except ImportError:
        sys.exit(
            f"JupyterLab is missing in {sys.prefix}. `make lab` installs it from "
            "requirements.lock; an environment that you made yourself gets it with "
            "`pip install -r requirements.lock`."
        )
    return LabApp


def register_kernel():
    """The interpreter of the book under the book's name, before any other `python3`."""
    from ipykernel.kernelspec import install

    install(prefix=str(HOME), kernel_name=KERNEL, display_name=TITLE)
    os.environ["JUPYTER_PATH"] = str(HOME / "share" / "jupyter")


def prepare_environment(profile):
    """As for the chapters of a build; what must be kept is kept in the environment."""
    execute.prepare_environment(profile)
    os.rmdir(os.environ["IPYTHONDIR"])  # each execution has an empty one, Lab keeps its
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR"):
        folder = HOME / name.lower()
        folder.mkdir(parents=True, exist_ok=True)
        os.environ[name] = str(folder)


def arguments(port, browser, extra) -> list[str]:
    """The command line of JupyterLab."""
    return [
        f"--ServerApp.root_dir={ROOT}",
        f"--FileContentsManager.preferred_dir={ROOT / 'notebooks'}",
        f"--ServerApp.port={port}",
        "--ServerApp.port_retries=0",
        f"--ServerApp.open_browser={browser}",
        f"--LabApp.app_settings_dir={ROOT / 'workflow' / 'lab_settings'}",
        "--KernelSpecManager.ensure_native_kernel=False",
        f"--KernelSpecManager.allowed_kernelspecs={KERNEL}",
        "--LabApp.extension_manager=readonly",  # the environment is locked
        *("--ServerApp.log_level=WARN", "--LabApp.log_level=WARN"),
        "--ContentsManager.pre_save_hook=saving.keep_text",
        *extra,
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--port", type=int, default=8888)
    parser.add_argument("--profile", default="laptop")
    parser.add_argument("--no-browser", dest="browser", action="store_false")
    args, extra = parser.parse_known_args()
    require_port(args.port)
    prepare_environment(args.profile)
    app = lab_app()
    register_kernel()
    print("JupyterLab starts. Ctrl-C, twice, ends it.", flush=True)
    app.launch_instance(arguments(args.port, args.browser, extra))


if __name__ == "__main__":
    main()
