"""`helpers.checks` as a submission finds it while it is graded.

`check("2.1", divergence)` hands the answer to the judge, who has the checks. The
checks themselves are not on this side: an answer cannot read what is asked of it, nor
change it. A cell that runs or prints without end is stopped, so that the next ones
have their turn; this is a help, the walls are around the process. The judge is told of
a cell that failed, so that the grade says why there is no answer.
"""

import builtins
import contextlib
import os
import re
import signal
import socket
import sys
from dataclasses import dataclass

from parcels import Unfit
from wire import Peer

SECONDS = int(os.environ["HELPERS_JUDGE_SECONDS"])  # for a check, or a cell
PRINTED = 1_000_000  # letters of a cell
CHECKED = re.compile(r"""\bcheck\(\s*["'](\d+\.\d+)["']""")  # the exercise of a cell
passed = {}  # verdicts: what is right once need not be asked again


@dataclass(frozen=True)
class Verdict:
    """What the judge says; true if the answer is right."""

    exercise: str
    passed: bool
    text: str

    def __bool__(self) -> bool:
        return self.passed

    def __repr__(self) -> str:
        return f"Exercise {self.exercise}: {self.text}"


def check(exercise: str, answer) -> Verdict:
    """The judge's verdict on an answer, which is called here."""
    if exercise in passed:
        return passed[exercise]
    found = Verdict(exercise, *judged(exercise, answer))
    if found:
        passed[exercise] = found
    return found


def judged(exercise, answer):
    """(right or not, why) from the judge, who has no patience for ever."""
    with judge() as peer:
        allow(SECONDS + 2)  # the judge ends first, and says so
        try:
            return ask(peer, exercise, answer)
        except (EOFError, TimeoutError, ConnectionError):
            return False, f"stopped after {SECONDS} s."
        finally:
            allow(SECONDS)


@contextlib.contextmanager
def judge():
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(os.environ["HELPERS_JUDGE"])
        yield Peer(connection, trusted=False)


def ask(peer, exercise, answer):
    try:
        peer.send({"exercise": exercise, "answer": peer.pack(answer)})
    except Unfit as error:
        peer.send({"exercise": exercise, "unfit": str(error)})
    return peer.result()


def allow(seconds):
    """So much time from now on, by the clock."""
    signal.setitimer(signal.ITIMER_REAL, seconds)


def too_long(*_):
    raise TimeoutError(f"a cell may take {SECONDS} s")


class Meter:
    """Stands in for the output of a notebook, and ends a cell that prints too much."""

    def __init__(self, stream):
        self.stream, self.left = stream, PRINTED

    def write(self, text):
        self.left -= len(text)
        if self.left < 0:
            raise RuntimeError(f"a cell may print {PRINTED} letters")
        return self.stream.write(text)

    def __getattr__(self, name):
        return getattr(self.stream, name)


def watch_cells():
    """Time and output of each cell of a notebook."""
    signal.signal(signal.SIGALRM, too_long)
    shell = getattr(builtins, "get_ipython", lambda: None)()
    if shell is None:
        return
    out, err = Meter(sys.stdout), Meter(sys.stderr)
    sys.stdout, sys.stderr = out, err
    shell.events.register("pre_run_cell", lambda _: begin(out, err))
    shell.events.register("post_run_cell", end)


def begin(*meters):
    for meter in meters:
        meter.left = PRINTED
    allow(SECONDS)


def end(result):
    """After a cell. One that failed is reported, if an exercise is answered in it."""
    error = result.error_before_exec or result.error_in_exec
    exercise = CHECKED.search(result.info.raw_cell or "")
    if error is not None and exercise:
        allow(SECONDS)
        failed = f"{type(error).__name__}: {error}"[:300]
        with contextlib.suppress(OSError, EOFError), judge() as peer:
            peer.send({"exercise": exercise[1], "failed": failed})
            peer.result()
    allow(0)


watch_cells()
