"""A program with the troubles that real ones have, as its arguments and the secrets of its questions say.

    troubled.py [start=SECONDS] [work=SECONDS] [stalls=FILE] [leaves=FILE] [stillborn=yes] [dies=yes]

start: how long it takes before it reads anything (default 0.1: an interpreter and a few imports).
work: how long a question takes (default 0.01).
stalls: while FILE exists nothing is answered, as with a locked database; afterwards everything is.
leaves: ends once FILE is there, unless it was there already: only those that ran before it leave.
stillborn: ends instead of becoming ready.
dies: ends at each question, whoever asks.

A secret that begins with `hangs` makes it hang, `exits` makes it exit, `twice` makes it reply twice.  Its journal
(see wire.py) holds no secret.
"""

import os
import select
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from wire import NO, YES, note, read_exactly, truth, write

OPTIONS = dict(word.split("=", 1) for word in sys.argv[1:])
WORK = float(OPTIONS.get("work", 0.01))
STALLS = OPTIONS.get("stalls", "")
LEAVES = OPTIONS.get("leaves", "")

LOOK = 0.01
"""Seconds between two looks for a file."""


def leave(what: str, status: int) -> None:
    """Note why, and be gone."""
    note(what)
    os._exit(status)


def wait_for_question() -> None:
    """Return when there is something to read; never, if it is time to leave."""
    while not select.select([0], [], [], LOOK)[0]:
        if os.path.exists(LEAVES):
            leave("leaves", 0)


def answer(body: bytes) -> None:
    """Reply to one question, or do what its secret says."""
    command, user, *rest = body.split(b":", 3)
    name, secret = command + b":" + user, rest[-1] if rest else b""
    note("read", name)
    if OPTIONS.get("dies"):
        leave("dies", 1)
    if secret.startswith(b"exits"):
        leave("exits", 1)
    if secret.startswith(b"hangs"):
        note("hangs")
        while True:
            time.sleep(3600)
    time.sleep(WORK)
    while STALLS and os.path.exists(STALLS):
        time.sleep(LOOK)
    verdict = YES if truth(body) else NO
    note("reply", name)
    write(verdict * 2 if secret.startswith(b"twice") else verdict)


def main() -> None:
    note("start")
    leaves = LEAVES and not os.path.exists(LEAVES)
    if OPTIONS.get("stillborn"):
        leave("stillborn", 1)
    time.sleep(float(OPTIONS.get("start", 0.1)))
    note("up")
    while True:
        if leaves:
            wait_for_question()
        header = read_exactly(2)
        if len(header) < 2:
            leave("end", 0)
        answer(read_exactly(int.from_bytes(header, "big")))


main()
