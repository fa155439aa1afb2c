"""Grading: right and wrong answers, files that are no homework, and attacks.

What the sandbox refuses is tested in test_sandbox.py. Here whole submissions go through
Otter, and none gets a point that it has not earned.
"""

import csv
import os
from pathlib import Path

import chapters
import editions
import grade
import homework
import nbformat
import parcels
import psutil
import pytest
import sandbox
import wire
from chapters import ROOT
from nbformat.v4 import new_code_cell, new_notebook

try:
    sandbox.require()
except sandbox.NoSandbox as error:
    pytest.skip(f"no sandbox: {error}", allow_module_level=True)

CHAPTER = "17_claims_audit"
LIMITS = sandbox.Limits(seconds=400)

WRONG = {  # what a student may well write
    "17.2": "torch.as_tensor(p).mean(0).log().sum().exp()",
    "17.3": "'holds' if second[0] - first[1] <= d else 'fails'",
    "17.4": "255 * mse**0.5",
    "17.5": "r * u",
}

FORGED = """
import builtins, sys
import helpers.checks as checks, wire
import otter.execute.checker as otter_checker, otter.test_files as files

class Right:
    exercise, passed, text = "17.1", True, "correct"
    def __bool__(self): return True

checks.check = lambda *_: Right()
checks.judged = lambda *_: (True, "correct, all properties hold.")
checks.passed = {f"17.{i}": Right() for i in range(1, 8)}
wire.Peer.result = lambda self: (True, "correct")
try:
    checks.close = lambda *_, **__: True
    from helpers.checks import chapter_17
    chapter_17.exercise_2 = lambda answer: iter(())
except ImportError as error:
    print("no checks here", error)

class Everything:  # equal to all, larger and smaller than all, true
    __eq__ = __lt__ = __gt__ = __le__ = __ge__ = lambda *_: True
    __call__ = __getattr__ = __getitem__ = __sub__ = __abs__ = lambda *_: Everything()
    __float__ = lambda self: 1.0

for i in range(1, 8):
    for name in open("tests/17_%d.py" % i).read().split('eval("')[1].split('"')[:1]:
        globals()[name] = Everything()
"""

FORGED_PICKLE = """
import pickle, os, socket, json, struct
class Evil:
    def __reduce__(self):
        return (os.system, ("touch {mark}",))
def tell(message):
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(os.environ["HELPERS_JUDGE"])
        data = json.dumps(message).encode()
        s.sendall(struct.pack("!Q", len(data)) + data)
        s.settimeout(5)
        try: print(s.recv(1000))
        except OSError: pass
import base64
evil = base64.b64encode(pickle.dumps(Evil())).decode()
tell({{"exercise": "17.2", "answer": {{"is": "object", "number": 0, "data": evil}}}})
tell({{"exercise": "17.2", "passed": True, "text": "correct"}})
tell({{"gives": [True, "correct"]}})
answer = {{"is": "dataclass", "kind": ["helpers.checks", "Verdict"], "parts": {{}}}}
tell({{"exercise": "17.2", "answer": answer}})
"""

HOSTILE = """
import os, subprocess, urllib.request
def attempt(what, *arguments):
    try: print("DONE", what(*arguments))
    except BaseException as error: print("refused", type(error).__name__)
for place in ({mark!r}, {notebooks!r} + "/17_claims_audit.md", {home!r} + "/left-here"):
    attempt(lambda: open(place, "w").write("mine"))
    attempt(lambda: open(place).read())
attempt(urllib.request.urlopen, "http://127.0.0.1:{port}/")
attempt(os.kill, os.getppid(), 9)
attempt(bytearray, 10 << 30)
subprocess.Popen(["sleep", "73.5"], start_new_session=True)
"""


def solutions() -> dict[str, list[str]]:
    """The worked solutions of the chapter's exercises."""
    found, number = {}, None
    for cell in homework.parts(homework.woven(CHAPTER))[1]:
        number = next((m[1] for m in homework.HEADING.finditer(cell.source)), number)
        if cell.cell_type == "code" and "solution" in editions.tags(cell):
            found.setdefault(number, []).append(cell.source)
    return found


def handed_in(answers, first=()):
    """The student's notebook with some answers in the places of the dots."""
    notebook = homework.student(CHAPTER)
    cells = [new_code_cell(code) for code in first]
    for cell in notebook.cells:
        if "exercise" in cell.metadata.get("tags", []):
            exercise = next(homework.checked(cell.source))[0]
            cells += [new_code_cell(s) for s in answers.get(exercise, [cell.source])]
        else:
            cells.append(cell)
    return new_notebook(cells=cells, metadata=notebook.metadata)


def wrong_answers():
    for exercise, value in WRONG.items():
        name = homework.exercises(CHAPTER)[exercise]
        head = next(
            line
            for code in solutions()[exercise]
            for line in code.splitlines()
            if line.startswith(f"def {name}(")
        )
        yield exercise, [f'{head}\n    return {value}\n\n\ncheck("{exercise}", {name})']


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("submissions")


@pytest.fixture(scope="module")
def graded(folder):
    """All submissions graded at once, and what the machine looks like after it."""
    marks = folder.parent / "mark"
    about = {"mark": str(marks), "notebooks": str(ROOT / "notebooks"), "port": 9}
    hostile = HOSTILE.format(**about, home=str(Path.home()))
    failing = {
        "17.2": ["def inception_score(p):\n    while True: pass"],
        "17.3": solutions()["17.3"],
        "17.4": ["raise ValueError('not mine')\ncheck('17.4', None)"],
        "17.5": ['bytearray(10 << 30)\ncheck("17.5", None)'],
    }
    files = {
        "right": handed_in(solutions()),
        "wrong": handed_in(dict(wrong_answers())),
        "forged": new_notebook(
            cells=[new_code_cell(FORGED_PICKLE.format(**about)), new_code_cell(FORGED)]
        ),
        "hostile": handed_in(failing, [hostile]),
    }
    for name, notebook in files.items():
        nbformat.write(notebook, folder / f"{name}.ipynb")
    (folder / "=broken.ipynb").write_text("{ this is no notebook")
    (folder / "link.ipynb").symlink_to("/etc/passwd")
    before = state()
    homework.bundle(CHAPTER, bundle := folder.parent / "bundle.zip")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grade, "find_bundle", lambda _: bundle)
        patch.setattr(grade, "PATIENCE", {"HELPERS_JUDGE_SECONDS": "12"})
        table = grade.main(folder, CHAPTER, LIMITS, jobs=2)
    assert not marks.exists()
    assert state() == before
    return table


def state():
    """What an attack could have changed here."""
    watched = [ROOT / "notebooks", ROOT / "src/helpers", ROOT / "workflow", Path.home()]
    files = {p: p.stat().st_mtime_ns for f in watched for p in f.glob("*.*")}
    files = {p: t for p, t in files.items() if p.name != ".bash_history"}
    lines = [p.info["cmdline"] or [] for p in psutil.process_iter(["cmdline"])]
    return files, [line for line in lines if line[:1] == ["sleep"] and "73.5" in line]


def of(graded, name):
    return {r["exercise"]: r for r in graded if r["submission"] == f"{name}.ipynb"}


def points(graded, name):
    return {e: r["points"] for e, r in of(graded, name).items() if r["points"]}


def test_right_answers_get_all_points(graded):
    full = dict.fromkeys(homework.exercises(CHAPTER), homework.points())
    assert points(graded, "right") == full
    assert "all 4 properties hold" in of(graded, "right")["17.2"]["message"]


def test_wrong_answers_get_none_and_hear_why(graded):
    assert points(graded, "wrong") == {}
    for exercise in WRONG:
        message = of(graded, "wrong")[exercise]["message"]
        assert message.startswith("not yet. "), message
    assert of(graded, "wrong")["17.1"]["message"] == "no answer yet."


def test_nobody_writes_his_own_verdict(graded):
    assert points(graded, "forged") == {}
    assert len(of(graded, "forged")) == 7


def test_an_attack_gets_the_points_of_its_answers_and_no_more(graded):
    """One that overwrites, reads, calls out, kills, fills, lives on, and runs on."""
    assert points(graded, "hostile") == {"17.3": homework.points()}
    assert "no answer within 12 s" in of(graded, "hostile")["17.2"]["message"]


def test_a_cell_that_failed_is_told(graded):
    """Instead of "no answer yet", which says nothing."""
    said = {e: row["message"] for e, row in of(graded, "hostile").items()}
    assert said["17.4"] == "not yet. Its cell ended with ValueError: not mine"
    assert said["17.5"].startswith("not yet. Its cell ended with MemoryError")
    assert said["17.1"] == "no answer yet."


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("'=broken", "no notebook can be read"),
        ("link", "this is no file"),
    ],
)
def test_what_is_no_homework_gets_a_message(graded, name, words):
    found = of(graded, name)
    assert len(found) == 7 and points(graded, name) == {}
    assert all(words in row["message"] for row in found.values())


def test_what_was_not_checked_gets_a_message():
    def said(reason, code, output=""):
        return grade.why_not(sandbox.End(reason, code, output, 1.0))

    assert "it took more than 9 s" in said("it took more than 9 s", -9)
    assert "Kernel died" in said("", 1, "Traceback\nDeadKernelError: Kernel died\n")
    assert "under its name?" in said("", 0)


def test_the_table_is_written(graded, folder):
    with (folder / "grades.csv").open(newline="") as file:
        read = list(csv.DictReader(file))
    assert [row["message"] for row in read] == [row["message"] for row in graded]
    assert list(read[0]) == list(grade.COLUMNS)
    assert len(read) == 7 * 6


def test_the_bundle_works_with_otter_alone(tmp_path):
    """As a teacher with another grader uses it, in the environment of the book."""
    from otter.run import main as otter_run

    homework.bundle(CHAPTER, tmp_path / "bundle.zip")
    some = {e: s for e, s in solutions().items() if e in ("17.3", "17.4")}
    nbformat.write(handed_in(some), tmp_path / "a.ipynb")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT / "src"))
        patch.setenv("HELPERS_OFFLINE", "1")
        where, bundle = str(tmp_path / "a.ipynb"), str(tmp_path / "bundle.zip")
        found = otter_run(where, autograder=bundle, output_dir=None, no_logo=True)
    assert (found.total, found.possible) == (2 * homework.points(), 7 * 40)


def test_without_a_sandbox_nothing_runs(monkeypatch, tmp_path):
    def none():
        raise sandbox.NoSandbox("this machine has none")

    (tmp_path / "a.ipynb").write_text("{}")
    monkeypatch.setattr(sandbox, "require", none)
    monkeypatch.setattr(grade, "find_bundle", lambda _: tmp_path)
    with pytest.raises(chapters.BadProject, match=r"has none.*--unsafe"):
        grade.main(tmp_path, CHAPTER, LIMITS)


def test_wrong_calls_are_told(tmp_path):
    with pytest.raises(chapters.BadProject, match="no chapter '99'"):
        grade.main(tmp_path, "99", LIMITS)
    with pytest.raises(chapters.BadProject, match="no notebook"):
        grade.submissions(tmp_path)
    with pytest.raises(chapters.BadProject, match="no folder"):
        grade.submissions(tmp_path / "none")


def test_the_trusted_side_reads_values_only(tmp_path):
    peer = wire.Peer(None, trusted=True)
    for bad in (
        {"is": "object", "number": 0, "data": ""},
        {"is": "known", "number": 0},
        {"is": "result"},
        {"is": "dataclass", "kind": ["os", "PathLike"], "parts": {}},
        {"is": "dataclass", "kind": ["helpers.checks", "Verdict"], "parts": {}},
        {"is": "dataclass", "kind": ["helpers.data", "load"], "parts": {}},
        {"is": "array", "dtype": "|O", "shape": [1], "data": "AAAAAAAAAAA="},
    ):
        with pytest.raises(parcels.Unfit):
            peer.unpack(bad)
    assert os.listdir(tmp_path) == []
