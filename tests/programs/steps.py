"""A program that does what its arguments say, one step after the other: `steps.py STEP…`, see the functions below.

With `lines` as its first word it speaks Prosody's lines; the last half of a reply is then its line end.

Only the first one started with a given EXTAUTH_TEST_STATE does so; all later ones are honest.
"""

import os
import select
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from wire import NO, YES, note, read_exactly, read_frame, read_line, reply, truth, write

STATE = os.environ["EXTAUTH_TEST_STATE"]


def answer_all() -> None:
    """Honest from here on."""
    while (body := read_frame()) is not None:
        reply(body)


def answer_lines() -> None:
    """The same with lines."""
    while (body := read_line()) is not None:
        note("reply", body)
        write(b"1\n" if truth(body) else b"0\n")


class Steps:
    """What has been read so far."""

    yes_reply, no_reply, half = YES, NO, 2

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
        write(self._reply())

    def _reply(self) -> bytes:
        return self.yes_reply if truth(self.body) else self.no_reply

    def truth_first(self) -> None:
        """Its first half."""
        write(self._reply()[: self.half])

    def truth_last(self) -> None:
        """Its second half."""
        write(self._reply()[self.half :])

    def yes(self) -> None:
        write(self.yes_reply)

    def yes_first(self) -> None:
        write(self.yes_reply[: self.half])

    def yes_last(self) -> None:
        write(self.yes_reply[self.half :])

    def end(self) -> None:
        """A line end alone."""
        write(b"\n")

    def wait(self) -> None:
        """Until there is a question."""
        select.select([0], [], [])

    def pause(self) -> None:
        """Longer than a digit has to stand alone to count."""
        time.sleep(0.1)

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


class LineSteps(Steps):
    """The same with lines: of a question there is no header."""

    yes_reply, no_reply, half = b"1\n", b"0\n", 1

    def read(self) -> None:
        """A whole question."""
        self.body = read_line() or b""

    def part(self) -> None:
        """Ten bytes of a question."""
        self.body = read_exactly(10)

    def rest(self) -> None:
        """What is missing of it."""
        while not self.body.endswith(b"\n"):
            self.body += read_exactly(1)
        self.body = self.body[:-1]
        note("frame", self.body)

    def honest(self) -> None:
        note("done")
        answer_lines()


def main() -> None:
    note("start")
    lines = sys.argv[1] == "lines"
    try:
        os.close(os.open(os.path.join(STATE, "first"), os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        answer_lines() if lines else answer_all()
        return
    steps = LineSteps() if lines else Steps()
    for name in sys.argv[1 + lines :]:
        getattr(steps, name)()


main()
