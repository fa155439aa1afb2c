"""Grade homework: `python workflow/grade.py FOLDER CHAPTER` (`make grade`).

Every notebook in the folder runs in a sandbox of its own, with the chapter's autograder
(`make homework`), and `grades.csv` in that folder gets a row for each exercise. Answers
run in the sandbox, checks outside of it: a submission cannot write its own verdict.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import chapters
import homework
import nbformat
import sandbox
from chapters import ROOT
from desk import set_up

COLUMNS = ("submission", "exercise", "points", "of", "message")
LARGEST = 20 << 20  # bytes of a submission
PATIENCE = {"HELPERS_JUDGE_SECONDS": os.environ.get("HELPERS_JUDGE_SECONDS", "120")}
NOTHING = "no answer yet."  # as the checks say it
WORKFLOW = Path(__file__).parent
OTTER = (
    f"{chapters.WITHOUT_SLOW}from otter.run import main; "
    "main(sys.argv[1], autograder=sys.argv[2], output_dir=None, no_logo=True)"
)


class NoNotebook(Exception):
    """A file that cannot be graded at all; the message says why."""


def read(path):
    """The cells of a submission, and nothing else of it."""
    if path.is_symlink() or not path.is_file():
        raise NoNotebook("this is no file")
    if path.stat().st_size > LARGEST:
        raise NoNotebook(f"the file has more than {LARGEST >> 20} MB")
    try:
        cells = nbformat.reads(path.read_text("utf-8"), as_version=4).cells
        code = [str(c.source) for c in cells if c.cell_type == "code"]
    except Exception as error:  # nbformat raises whatever it stumbles over
        what = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise NoNotebook(f"no notebook can be read from it: {what}") from error
    kernel = {"name": chapters.KERNEL, "display_name": "", "language": "python"}
    cells = [nbformat.v4.new_code_cell(source) for source in code]
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})


@contextmanager
def judge(door, exercises, verdicts):
    """The process with the true checks; it writes its verdicts to a file."""
    command = [sys.executable, str(WORKFLOW / "judge.py"), str(door), *exercises]
    paths = [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    own = {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "OMP_NUM_THREADS": "1"}
    with verdicts.open("w") as file:
        running = subprocess.Popen(
            command,
            stdout=file,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **own, "HELPERS_OFFLINE": "1", **PATIENCE},
        )
        try:
            while not door.exists():
                if running.poll() is not None:
                    raise RuntimeError("The judge does not start.")
                time.sleep(0.05)
            yield
        finally:
            running.kill()
            running.wait(30)


def environment(desk, door) -> dict[str, str]:
    return {
        **PATIENCE,
        "PYTHONPATH": str(desk.folder / "src"),
        "HELPERS_OFFLINE": "1",
        "HELPERS_JUDGE": str(door),
    }


def run(desk, folder, door) -> sandbox.End:
    """Otter's run of the notebook with the bundle."""
    notebook = folder / "submission.ipynb"
    command = [sys.executable, "-c", OTTER, str(notebook), str(desk.bundle)]
    told = environment(desk, door)
    if desk.safe:
        return sandbox.run(
            command, [desk.folder, folder, ROOT / "data"], told, desk.limits
        )
    told = {**sandbox.clean(), **told, "HOME": str(folder), "TMPDIR": str(folder)}
    return sandbox.watched(command, desk.limits, env=told, cwd=folder)


def grade(desk, path) -> list[dict]:
    """The rows of one submission."""
    try:
        notebook = read(path)
    except NoNotebook as error:
        return rows(desk, path, {}, str(error))
    with tempfile.TemporaryDirectory(prefix="job-") as folder:
        shown = Path(folder, "shown")
        shown.mkdir()
        nbformat.write(notebook, shown / "submission.ipynb")
        verdicts, door = Path(folder, "verdicts"), shown / "judge"
        with judge(door, desk.points, verdicts):
            end = run(desk, shown, door)
        return rows(desk, path, best(verdicts), why_not(end))


def best(verdicts) -> dict[str, dict]:
    """Of each exercise the last verdict that says something, or that it is right."""
    found = {}
    for line in verdicts.read_text().splitlines():
        verdict = json.loads(line)
        known = found.setdefault(verdict["exercise"], verdict)
        if not known["passed"] and verdict["text"] != NOTHING:
            found[verdict["exercise"]] = verdict
    return found


def why_not(end) -> str:
    """What to say of an exercise that was not checked."""
    if end.reason:
        return f"stopped before this was checked: {end.reason}"
    if end.code:
        last = (end.output.strip().splitlines() or ["no message"])[-1]
        return f"the notebook did not run to its end: {last[:200]}"
    return "no answer was checked: is it there, under its name?"


def rows(desk, path, verdicts, otherwise) -> list[dict]:
    """A row for each exercise of the bundle."""
    found = []
    for exercise, points in desk.points.items():
        verdict = verdicts.get(exercise, {"passed": False, "text": otherwise})
        got = points if verdict["passed"] else 0
        message = verdict["text"].splitlines()[0]
        values = (harmless(path.name), exercise, got, points, message)
        found.append(dict(zip(COLUMNS, values)))
    return found


def harmless(name) -> str:
    """A file's name, which a spreadsheet must not take for a formula."""
    return f"'{name}" if name[0] in "=+-@\t\r" else name


def submissions(folder) -> list[Path]:
    if not folder.is_dir():
        raise chapters.BadProject(f"There is no folder {folder}.")
    if found := sorted(folder.glob("*.ipynb")):
        return found
    raise chapters.BadProject(f"There is no notebook (*.ipynb) in {folder}.")


def find_bundle(chapter) -> Path:
    bundle = homework.BUNDLES / f"{chapter}.zip"
    if chapter not in chapters.names():
        known = ", ".join(chapters.names())
        raise chapters.BadProject(f"There is no chapter {chapter!r}, only {known}.")
    if not bundle.exists():
        raise chapters.BadProject(f"{chapter} has no autograder: run `make homework`.")
    return bundle


def write(table, target):
    with target.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(table)


def report(found):
    """A submission in a few lines."""
    total, most = (sum(row[key] for row in found) for key in ("points", "of"))
    print(f"{found[0]['submission']}: {total} of {most} points")
    for row in found:
        print(
            f"  {row['exercise']}  {row['points']:3} of {row['of']}  {row['message']}"
        )
    sys.stdout.flush()


def require_safety(unsafe):
    """A stranger's program runs in a sandbox, or because somebody said so."""
    if unsafe:
        print("Without a sandbox: what is handed in can do all that you can do.")
        return
    try:
        sandbox.require()
    except sandbox.NoSandbox as error:
        raise chapters.BadProject(
            f"No sandbox here: {error}. Grade on a Linux that allows user namespaces, "
            "also in a virtual machine, or, if you trust every submission as your own "
            "program, with GRADE=--unsafe."
        ) from error


def main(folder, chapter, limits, jobs=1, unsafe=False) -> list[dict]:
    bundle, paths, table = find_bundle(chapter), submissions(folder), []
    require_safety(unsafe)
    with set_up(bundle, limits, not unsafe) as ours, ThreadPoolExecutor(jobs) as pool:
        for found in pool.map(lambda path: grade(ours, path), paths):
            report(found)
            table += found
            write(table, folder / "grades.csv")
    total, most = (sum(row[key] for row in table) for key in ("points", "of"))
    print(
        f"{len(paths)} submissions, {total} of {most} points: {folder / 'grades.csv'}"
    )
    return table


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("chapter")
    parser.add_argument("--seconds", type=float, default=600, help="for a submission")
    parser.add_argument("--jobs", type=int, default=1, help="submissions at a time")
    parser.add_argument("--unsafe", action="store_true", help="without a sandbox")
    args = parser.parse_args()
    limits = sandbox.Limits(seconds=args.seconds)
    try:
        main(args.folder, args.chapter, limits, args.jobs, args.unsafe)
    except chapters.BadProject as error:
        sys.exit(str(error))
