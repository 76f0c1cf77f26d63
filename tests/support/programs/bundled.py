"""The bundled program as it is: its commands, and questions to it in frames."""

import select
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from bridge.programs import users
from support.process import environment

PATIENCE = 60.0
"""Seconds; reached only by a test that fails."""

DEADLINE = 30.0
"""The same for one reply, or the end."""

PATIENT = "wait = users._set_wait; users._set_wait = lambda connection, _: wait(connection, users.PATIENTLY)"
"""Code for a process with `users`: it waits for other processes' locks as long as these take on a slow disk."""


def be_patient(patch: pytest.MonkeyPatch) -> None:
    """Have this process wait so, for a test that is not about how long: the last of eight in a row waits for seven."""
    wait = users._set_wait
    patch.setattr(users, "_set_wait", lambda connection, _: wait(connection, users.PATIENTLY))


def command(database: Path, *words: str | Path) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of one command."""
    done = _run(database, *words)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def logins(database: Path, attempts: Iterable[tuple[str, str, str]]) -> list[bool]:
    """What the program says to these users, hosts and passwords, one after the other."""
    questions = [f"auth:{user}:{host}:{password}".encode() for user, host, password in attempts]
    done = _run(database, data=b"".join(len(one).to_bytes(2, "big") + one for one in questions))
    assert (done.returncode, done.stderr) == (0, b"")
    replies = [done.stdout[at : at + 4] for at in range(0, len(done.stdout), 4)]
    assert len(replies) == len(questions)
    return [{b"\0\2\0\1": True, b"\0\2\0\0": False}[reply] for reply in replies]


class Running:
    """A bundled program, as a bridge talks to it."""

    def __init__(self, command: Sequence[str | Path]) -> None:
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            env=environment(),
        )

    def ask(self, question: str) -> bool:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        body = question.encode()
        self.process.stdin.write(len(body).to_bytes(2, "big") + body)
        assert select.select([self.process.stdout], [], [], DEADLINE)[0], "no reply"
        reply = self.process.stdout.read(100)
        assert reply in (b"\0\2\0\1", b"\0\2\0\0"), self.process.communicate(timeout=DEADLINE)
        return reply == b"\0\2\0\1"

    def fails(self, question: str = "") -> list[str]:
        """Expect that it ends, without a reply to `question` if there is one; returns its error lines."""
        body = question.encode()
        data = len(body).to_bytes(2, "big") + body if question else None
        out, err = self.process.communicate(data, timeout=DEADLINE)
        assert (self.process.returncode, out) == (2, b""), err
        return err.decode().splitlines()

    def end(self) -> list[str]:
        """End its input, and expect exit status 0; returns its error lines."""
        out, err = self.process.communicate(timeout=DEADLINE)
        assert (self.process.returncode, out) == (0, b""), err
        return err.decode().splitlines()

    def close(self) -> None:
        """End it, whatever it does."""
        self.process.kill()
        self.process.communicate()


def _run(database: Path, *words: str | Path, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "bridge.programs.sqlite", database, *words],
        input=data, capture_output=True, check=False, timeout=PATIENCE, env=environment(),
    )  # fmt: skip
