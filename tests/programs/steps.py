"""A program that does what its arguments say, one step after the other: `steps.py STEP…`, see the functions below.

Only the first one started with a given EXTAUTH_TEST_STATE does so; all later ones are honest.
"""

import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from wire import NO, YES, note, read_exactly, read_frame, reply, truth, write

STATE = os.environ["EXTAUTH_TEST_STATE"]


def answer_all() -> None:
    """Honest from here on."""
    while (body := read_frame()) is not None:
        reply(body)


class Steps:
    """What has been read so far."""

    def __init__(self) -> None:
        self.body = b""
        self.missing = 0

    def read(self) -> None:
        """A whole question."""
        self.header()
        self.rest()

    def header(self) -> None:
        """The first two bytes of a question."""
        self.body, self.missing = b"", int.from_bytes(read_exactly(2), "big")

    def part(self) -> None:
        """Ten more."""
        self.body += read_exactly(min(10, self.missing))
        self.missing -= len(self.body)

    def rest(self) -> None:
        """What is missing of a question."""
        self.body += read_exactly(self.missing)
        note("frame", self.body)

    def truth(self) -> None:
        """The right reply to the last question."""
        note("reply", self.body)
        write(YES if truth(self.body) else NO)

    def truth_first(self) -> None:
        """Its first half."""
        write((YES if truth(self.body) else NO)[:2])

    def truth_last(self) -> None:
        """Its second half."""
        write((YES if truth(self.body) else NO)[2:])

    def yes(self) -> None:
        write(YES)

    def yes_first(self) -> None:
        write(YES[:2])

    def yes_last(self) -> None:
        write(YES[2:])

    def close(self) -> None:
        """No more questions."""
        os.close(0)

    def gate(self) -> None:
        """Wait until the test opens the gate."""
        note("gate")
        while not os.path.exists(os.path.join(STATE, "open")):
            time.sleep(0.001)

    def stay(self) -> None:
        note("done")
        while True:
            time.sleep(3600)

    def leave(self) -> None:
        note("done")
        os._exit(0)

    def honest(self) -> None:
        note("done")
        answer_all()


def main() -> None:
    note("start")
    try:
        os.close(os.open(os.path.join(STATE, "first"), os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        answer_all()
        return
    steps = Steps()
    for name in sys.argv[1:]:
        getattr(steps, name)()


main()
