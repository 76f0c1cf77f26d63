"""The bundled program as it is: its commands, and questions to it in frames."""

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from support.process import environment

PATIENCE = 60.0
"""Seconds; reached only by a test that fails."""


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


def _run(database: Path, *words: str | Path, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "bridge.programs.sqlite", database, *words],
        input=data, capture_output=True, check=False, timeout=PATIENCE, env=environment(),
    )  # fmt: skip
