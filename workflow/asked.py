"""`helpers.checks` as a submission finds it while it is graded.

`check("2.1", divergence)` hands the answer to the judge, who has the checks. The
checks themselves are not on this side: an answer cannot read what is asked of it, nor
change it.
"""

import os
import signal
import socket
from dataclasses import dataclass

from helpers.checks.wire import Peer, Unfit


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
    seconds = int(os.environ["HELPERS_JUDGE_SECONDS"])
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(os.environ["HELPERS_JUDGE"])
        peer = Peer(connection, trusted=False)
        signal.signal(signal.SIGALRM, too_long)
        signal.alarm(seconds + 2)  # the judge ends first, and says so
        try:
            return Verdict(exercise, *ask(peer, exercise, answer))
        except (EOFError, TimeoutError, ConnectionError):
            return Verdict(exercise, False, f"stopped after {seconds} s.")
        finally:
            signal.alarm(0)


def ask(peer, exercise, answer):
    try:
        peer.send({"exercise": exercise, "answer": peer.pack(answer)})
    except Unfit as error:
        peer.send({"exercise": exercise, "unfit": str(error)})
    return peer.result()


def too_long(*_):
    raise TimeoutError("this takes too long")
