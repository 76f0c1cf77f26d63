"""A command on a person's terminal, and what it shows there."""

import contextlib
import os
import pty
import select
import time
from collections.abc import Iterator

from support.process import COMMAND, ROOT, environment


@contextlib.contextmanager
def at_a_terminal(*words: object, **env: str) -> Iterator[tuple[int, list[int]]]:
    """A command on a person's terminal, and the list that will hold its exit status."""
    statuses: list[int] = []
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        command = [*COMMAND, *map(str, words)]
        os.execve(command[0], command, environment(env))
    try:
        yield terminal, statuses
    finally:
        os.close(terminal)
        statuses.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def read_until(descriptor: int, word: bytes | None, seconds: float) -> bytes:
    """What a terminal shows, up to a word or to its end."""
    shown, deadline = b"", time.monotonic() + seconds
    while word is None or word not in shown:
        left = deadline - time.monotonic()
        assert left > 0 and select.select([descriptor], [], [], left)[0], f"{word!r} does not come: {shown!r}"
        try:
            data = os.read(descriptor, 4096)
        except OSError:  # EIO: the other side is closed
            data = b""
        if not data:
            assert word is None, f"{word!r} did not come: {shown!r}"
            break
        shown += data
    return shown
