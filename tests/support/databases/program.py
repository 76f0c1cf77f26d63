"""`extauth-sql` from outside: frames, commands, standard error, and how long its processor works."""

import contextlib
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence

from support import canary, procfs
from support.databases.server import PASSWORD, quoted
from support.process import environment

COMMAND = (sys.executable, "-m", "bridge.programs.sql")
"""As users start it; its hashes cost what they cost."""

PATIENCE = 30.0
"""Seconds; reached only by a test that fails."""

PROMPT = 4.0
"""Seconds after which a bridge gives up on a program."""

REPLIES = {b"\0\2\0\1": "yes", b"\0\2\0\0": "no", b"": "ended"}


class Program:
    """One that answers; its answers are `yes`, `no`, or `ended`, with an exit status that is not 0.

    Args:
      words: URL and options.
    """

    def __init__(self, *words: str, command: Sequence[str] = COMMAND) -> None:
        errors = tempfile.TemporaryFile()  # noqa: SIM115 (`close` does)
        self._process = subprocess.Popen(
            [*command, *words],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors.fileno(),
            bufsize=0,
        )
        self._errors = errors

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, *fields: str, seconds: float = PATIENCE) -> str:
        """The answer to `command:user:host[:secret]`, within this time."""
        self.put(*fields)
        return self.answer(seconds)

    def put(self, *fields: str) -> None:
        body = ":".join(fields).encode()
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended already, as `answer` will say
            self._process.stdin.write(len(body).to_bytes(2, "big") + body)

    def answer(self, seconds: float = PATIENCE) -> str:
        """The answer within this time, besides that for which other processes had the CPUs."""
        assert self._process.stdout is not None
        end = self._clock() + seconds
        while not select.select([self._process.stdout], [], [], 0.1)[0]:
            assert self._clock() < end, f"no answer, and no end, in {seconds} s"
        reply = self._process.stdout.read(100)
        assert reply in REPLIES, reply
        if not reply:
            assert self._process.wait(PATIENCE) > 0
        return REPLIES[reply]

    def lives(self) -> bool:
        return self._process.poll() is None

    def said(self) -> str:
        """What it has said on standard error so far, in which no secret may be."""
        return checked(os.pread(self._errors.fileno(), 1 << 20, 0).decode())

    def close(self) -> str:
        """End its input, and return all that it said; what has been closed already said nothing."""
        if self._errors.closed:
            return ""
        try:
            self._process.communicate(timeout=PATIENCE)
            return self.said()
        finally:
            self._process.kill()
            self._process.wait()
            self._errors.close()

    def _clock(self) -> float:
        return procfs.clock(os.getpid(), self.pid)

    def worked(self) -> int:
        """Nanoseconds that it has been on a processor: what others do meanwhile is not in there."""
        folder = f"/proc/{self.pid}/task"
        spent = 0
        for task in os.listdir(folder):
            with open(f"{folder}/{task}/schedstat") as file:
                spent += int(file.read().split()[0])
        return spent


def checked(said: str) -> str:
    """What a program said, when it is certain that no secret is in there, and nothing that only its author can read."""
    canary.look(said, "standard error of a program")
    for secret in (PASSWORD, quoted(PASSWORD)):
        assert secret not in said, "the password of the URL"
    assert "Traceback" not in said, said
    assert all(len(line) < 400 for line in said.splitlines()), said
    return said


@contextlib.contextmanager
def serving(*words: str, command: Sequence[str] = COMMAND) -> Iterator[Program]:
    """One that has come up: it has answered."""
    program = Program(*words, command=command)
    try:
        assert program.ask("isuser", "nobody", "nowhere.example") == "no"
        yield program
    finally:
        program.close()


def manage(*words: str, typed: str = "", command: Sequence[str] = COMMAND) -> subprocess.CompletedProcess[str]:
    """Run an administrator's command where somebody types this."""
    done = subprocess.run(
        [*command, *words],
        env=environment(),
        input=typed.encode(),
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    return subprocess.CompletedProcess([], done.returncode, done.stdout.decode(), checked(done.stderr.decode()))


def eventually(words: Sequence[str], *fields: str) -> str:
    """What a program says at last; each is started when the one before has ended, as by a bridge."""
    began = time.monotonic()
    while time.monotonic() < began + PATIENCE:
        program = Program(*words)
        try:
            said = program.ask(*fields)
        finally:
            program.close()
        if said != "ended":
            return said
    raise AssertionError("no program answers")
