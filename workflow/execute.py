"""Execute one chapter: text -> notebook (jupytext) -> executed notebook (papermill).

`python workflow/execute.py NAME --profile laptop` writes the executed notebook and a
record of the run (seconds, memory, versions) under `_build/executed/`. The chapter
itself writes `_build/results/NAME.json`. When a cell fails, a report is left in
`_build/reports/NAME.txt` for the launcher to print last.
"""

import argparse
import contextlib
import importlib.metadata as packages
import json
import os
import platform
import re
import resource
import sys
import tempfile
import threading
import time
import warnings
from datetime import UTC, datetime

import chapters
import jupytext
import nbformat
import psutil
from chapters import BUILD, ROOT

LOST = 60  # seconds in which papermill notices that a kernel has ended
ANSI = re.compile(r"\x1b\[[0-9;]*m")


def watch(launcher: int):
    """Stop this run, kernel included, as soon as the launcher is no longer there."""
    while psutil.pid_exists(launcher):
        time.sleep(0.5)
    for child in psutil.Process().children(recursive=True):
        child.kill()
    os._exit(1)


def fallen() -> set[int]:
    """Child processes that have ended and that nobody has waited for."""
    found = set()
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if child.status() == psutil.STATUS_ZOMBIE:
                found.add(child.pid)
    return found


def watch_kernel(name: str):
    """Stop this run, with a report, if its kernel has ended and papermill still waits.

    A kernel that ends at its very start can leave papermill waiting for ever.
    """
    before = set()
    while not before & (now := fallen()):
        before = now
        time.sleep(LOST)
    report(name, RuntimeError("the kernel ended without a word; run this again."))
    os._exit(1)


def prepare_environment(profile):
    """The kernel sees our library, one thread, and nothing of the user's own set-up."""
    path = [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, path))
    os.environ["IPYTHONDIR"] = tempfile.mkdtemp(prefix="ipython-")
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    if profile == "laptop":
        os.environ["HELPERS_OFFLINE"] = "1"


def run(name, profile):
    """Execute and return (seconds, peak memory of the kernel in MB)."""
    import papermill  # slow to import, and not needed to say that a file is missing

    text, part = BUILD / "chapters" / f"{name}.ipynb", executed(name, ".part.ipynb")
    for path in (text, part):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
    jupytext.write(chapters.read(name), text)
    start = time.perf_counter()
    papermill.execute_notebook(
        str(text),
        str(part),
        parameters={"profile": profile},
        kernel_name=chapters.KERNEL,
        cwd=str(ROOT / "notebooks"),
        progress_bar=False,
    )
    return time.perf_counter() - start, peak_memory()


def peak_memory() -> float:
    """Most memory that the kernel held at once, in MB; it has ended by now."""
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)


def executed(name, suffix):
    return BUILD / "executed" / f"{name}{suffix}"


def record(name, profile, seconds, memory) -> dict:
    """What the status page says about this run, and what was run."""
    versions = {p: packages.version(p) for p in ("numpy", "torch", "matplotlib")}
    return {
        "chapter": name,
        "profile": profile,
        "seconds": round(seconds, 1),
        "peak_mb": round(memory),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "versions": {"python": platform.python_version(), **versions},
    }


def finish(name, run_record):
    """Check that results were written, then put both files in place, whole."""
    results = BUILD / "results" / f"{name}.json"
    if not results.exists():
        raise chapters.BadProject(
            f"notebooks/{name}.md ran but wrote no _build/results/{name}.json: its "
            "last cell must call Results(...).write() of helpers.artifacts."
        )
    run_record["results"] = chapters.results_hash(name)
    part = executed(name, ".part.json")
    part.write_text(json.dumps(run_record, indent=1) + "\n")
    os.replace(part, executed(name, ".json"))
    os.replace(executed(name, ".part.ipynb"), executed(name, ".ipynb"))


def failed_cell(name):
    """(number among code cells, their count, source) of the cell that ran last."""
    part = executed(name, ".part.ipynb")
    if not part.exists():
        return None
    cells = [c for c in nbformat.read(part, 4).cells if c.cell_type == "code"]
    own = [c for c in cells if "injected-parameters" not in c.metadata.get("tags", [])]
    status = [c.metadata.get("papermill", {}).get("status") for c in own]
    begun = [n for n, s in enumerate(status) if s in ("completed", "failed", "running")]
    return (begun[-1] + 1, len(own), own[begun[-1]].source) if begun else None


def where(name) -> list[str]:
    """Chapter, cell, line and source, as lines of the report."""
    lines = [f"chapter   notebooks/{name}.md"]
    if (cell := failed_cell(name)) is None:
        return lines
    number, total, code = cell
    text = chapters.source(name).read_text()
    line = text[: text.find(code)].count("\n") + 1
    body = [f"    {row}" for row in code.splitlines()]
    return [*lines, f"cell      {number} of {total}, line {line}", "", *body, ""]


def report(name, error):
    """Leave the failure report; the launcher prints it as the last lines."""
    traceback = "\n".join(getattr(error, "traceback", []) or [])
    text = ANSI.sub("", traceback) or f"{type(error).__name__}: {error}"
    if "No such kernel" in text:
        text += ": `make clean`, delete .venv, and `make book` installs it."
    if "Kernel died" in text:
        text += " in this cell or the one before; was there enough memory?"
    path = BUILD / "reports" / f"{name}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*where(name), text]) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--profile", default="laptop")
    args = parser.parse_args()
    if launcher := os.environ.get("BOOK_LAUNCHER"):
        threading.Thread(target=watch, args=[int(launcher)], daemon=True).start()
    threading.Thread(target=watch_kernel, args=[args.name], daemon=True).start()
    warnings.filterwarnings("ignore", module="(papermill|nbformat|nbclient|traitlets)")
    prepare_environment(args.profile)
    try:
        what = {"fingerprint": chapters.fingerprint(args.name, args.profile)}
        seconds, memory = run(args.name, args.profile)
        finish(args.name, record(args.name, args.profile, seconds, memory) | what)
    except Exception as error:
        report(args.name, error)
        sys.exit(1)
    print(f"executed {args.name}: {seconds:.1f} s, {memory:.0f} MB", flush=True)


if __name__ == "__main__":
    main()
