"""Starts a daemon, waits until it listens, and ends it again."""

import contextlib
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

PATIENCE = 20.0  # s, to begin and to end; far from what either takes


class Failed(Exception):
    """A run ended with an error; str() is its last words."""


def last_words(text: str, status: int) -> str:
    words = text.strip().splitlines() or [f"exit status {status}"]
    return " / ".join(words[-2:])


@contextlib.contextmanager
def serving(argv: Sequence[str], path: str, cwd: Path) -> Iterator[None]:
    """`argv` is running and listens on `path`; afterwards it is told to end and has to do so with exit status 0.

    Raises Failed.
    """
    Path(path).unlink(missing_ok=True)
    with tempfile.TemporaryFile("w+") as said:
        daemon = subprocess.Popen(argv, cwd=cwd, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        try:
            _wait_for(path, daemon, said)
            yield
            daemon.terminate()
            try:
                status = daemon.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                raise Failed("the daemon did not end") from None
            if status != 0:
                raise Failed(_words(daemon, said))
        finally:
            daemon.kill()
            daemon.wait()


def _wait_for(path: str, daemon: subprocess.Popen[bytes], said: IO[str]) -> None:
    end = time.monotonic() + PATIENCE
    while not _listens(path):
        if daemon.poll() is not None:
            raise Failed(_words(daemon, said))
        if time.monotonic() > end:
            raise Failed("the daemon does not listen")
        time.sleep(0.005)


def _listens(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(path)
        except OSError:
            return False
    return True


def _words(daemon: subprocess.Popen[bytes], said: IO[str]) -> str:
    said.seek(0)
    return last_words(said.read(), daemon.returncode)
