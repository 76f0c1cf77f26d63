"""An example at work, asked frame by frame."""

import contextlib
import os
import select
import subprocess
from collections.abc import Sequence
from types import TracebackType
from typing import NamedTuple, Self

from support import canary, procfs
from support.process import PATIENCE, environment

REPLIES = {b"\0\2\0\1": "1", b"\0\2\0\0": "0", b"": ""}


class Reply(NamedTuple):
    """`verdict` is empty where it ended without one; `seconds` are without those for which others had the CPUs."""

    verdict: str
    seconds: float


class Asked:
    """One process of an example; ended with its `with`.

    Args:
      words: its command.

    Attributes:
      stderr, rest: what it has written there, and on stdout after the last reply; once it has ended.
    """

    def __init__(self, words: Sequence[str]) -> None:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0, env=environment())
        self.stderr, self.rest = "", b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        canary.look_at_processes()
        self.end()

    def send(self, frame: bytes) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended, which the reply tells
            self.process.stdin.write(frame)

    def ask(self, command: str, user: str, *secret: str) -> Reply:
        return self.ask_bytes(":".join((command, user, "example.com", *secret)).encode())

    def ask_bytes(self, body: bytes) -> Reply:
        """One question; its reply, or the end."""
        began = self._clock()
        self.send(len(body).to_bytes(2, "big") + body)
        assert self.process.stdout is not None
        data = b""
        while len(data) < 4:
            ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE)
            assert ready, "no reply, and no end"
            if not (more := os.read(self.process.stdout.fileno(), 64)):
                break
            data += more
        return Reply(REPLIES[data], self._clock() - began)

    def _clock(self) -> float:
        return procfs.clock(os.getpid(), self.process.pid)

    def end(self) -> int:
        """Close its input; its exit status."""
        if self.process.stdin is not None and not self.process.stdin.closed:
            self.rest, told = self.process.communicate(timeout=PATIENCE)
            self.stderr = told.decode()
            assert "Traceback" not in self.stderr, self.stderr
        return self.process.returncode
