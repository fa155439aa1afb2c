"""Judge the answers of one submission: `judge.py SOCKET EXERCISE ...`.

Runs outside of the sandbox, with the true checks, and calls the answers of the
submission through a socket. Prints a line of JSON for each verdict. So no code of the
submission, whatever it does to its own process, can write a verdict.
"""

import json
import os
import resource
import socket
import sys
from collections import Counter

from wire import Peer

from helpers import checks

SECONDS = int(os.environ.get("HELPERS_JUDGE_SECONDS", "120"))  # for one check
TRIES = 20  # of an exercise: no answer needs more, and none is guessed
LONGEST = 600  # letters of a message
MEMORY = 8 << 30


def verdict(peer, message, exercises, tries) -> checks.Verdict:
    """Check the answer in a message."""
    exercise = message["exercise"]
    if exercise not in exercises:
        return checks.Verdict(str(exercise)[:20], False, "no exercise of this sheet.")
    if "failed" in message:
        text = f"not yet. Its cell ended with {message['failed']}"
        return checks.Verdict(exercise, False, text)
    tries[exercise] += 1
    if tries[exercise] > TRIES:
        return checks.Verdict(exercise, False, f"more than {TRIES} tries.")
    if "unfit" in message:
        text = f"not yet. The answer cannot be read: {message['unfit']}"
        return checks.Verdict(exercise, False, text)
    checks.tries.clear()
    return checks.check(exercise, peer.unpack(message["answer"]))


def hear(connection, exercises, tries):
    """One question of the submission, and the verdict for it."""
    peer = Peer(connection, trusted=True, seconds=SECONDS)
    found = verdict(peer, peer.receive(), exercises, tries)
    text = found.text.replace("no answer in time", f"no answer within {SECONDS} s")
    text = text if len(text) <= LONGEST else f"{text[:LONGEST]} ..."
    record = {"exercise": found.exercise, "passed": found.passed, "text": text}
    print(json.dumps(record), flush=True)
    peer.send({"gives": peer.pack([found.passed, text])})


def main(path, exercises):
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    tries = Counter()
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(f"{path}.part")
        door.listen(8)
        os.rename(f"{path}.part", path)  # who sees it can come in
        while True:
            connection, _ = door.accept()
            with connection:
                try:
                    hear(connection, exercises, tries)
                except Exception as error:  # whatever it sent: the next, please
                    print(f"{type(error).__name__}: {error}"[:200], file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
