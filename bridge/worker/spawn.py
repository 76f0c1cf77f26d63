"""Starts a program: pipes on 0, 1 and 2, its own session, nothing inherited that it did not ask for.

posix_spawn does in one step what a fork with Python code in the child would do unsafely: all signals back to
their defaults, an empty mask, a new session (so no controlling terminal, and one process group to kill), and
the error of a missing file as an exception here.  It knows no working directory: the bridge has no use for
its own and goes where the program is to be.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Mapping, Sequence

_OURS = frozenset({"NOTIFY_SOCKET", "JOURNAL_STREAM", "INVOCATION_ID"})
_OURS_BEGIN = ("LISTEN_", "WATCHDOG_")

_SPARE = 32
"""Descriptors: what a start takes for a moment, a configuration, a log file and some clients."""

_ALL_SIGNALS = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})


class Process:
    """A started program's process and our ends of its pipes, all non-blocking.

    Attributes:
      pid: also its session and its process group.
      exited: a pidfd; readable once the process has ended.
      stdin, stdout, stderr: descriptors; whoever holds the process closes them.
    """

    __slots__ = ("exited", "pid", "stderr", "stdin", "stdout")

    def __init__(self, pid: int, exited: int, stdin: int, stdout: int, stderr: int) -> None:
        self.pid = pid
        self.exited = exited
        self.stdin = stdin
        self.stdout = stdout
        self.stderr = stderr

    def discard(self) -> None:
        """Kill it and let go of it, where nobody can look after it."""
        os.killpg(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        for descriptor in self.descriptors():
            os.close(descriptor)

    def descriptors(self) -> tuple[int, ...]:
        """All of them."""
        return self.exited, self.stdin, self.stdout, self.stderr


def start(argv: Sequence[str], cwd: str, env: Mapping[str, str]) -> Process:
    """Start `argv`; a name without a slash is looked up in the bridge's PATH.

    Raises:
      OSError: `cwd` or the program is missing or may not be used, no process or descriptor is left, ...;
        nothing is left open then.
    """
    os.chdir(cwd)
    _check_spare_descriptors()
    with contextlib.ExitStack() as undo:
        their_stdin, stdin = _pipe(undo)
        stdout, their_stdout = _pipe(undo)
        stderr, their_stderr = _pipe(undo)
        pid = os.posix_spawnp(
            argv[0],
            list(argv),
            {**_inherited_environment(), **env},
            file_actions=[
                (os.POSIX_SPAWN_DUP2, their_stdin, 0),
                (os.POSIX_SPAWN_DUP2, their_stdout, 1),
                (os.POSIX_SPAWN_DUP2, their_stderr, 2),
            ],
            setsid=True,
            setsigmask=[],
            setsigdef=_ALL_SIGNALS,
        )
        try:
            exited = os.pidfd_open(pid)
        except OSError:
            os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise
        undo.pop_all()
    for theirs in (their_stdin, their_stdout, their_stderr):
        os.close(theirs)
    for ours in (stdin, stdout, stderr):
        os.set_blocking(ours, False)
    return Process(pid, exited, stdin, stdout, stderr)


def be_a_good_parent() -> None:
    """Undo what we may have inherited and programs must not: to be called once, before the first start.

    Every descriptor from 3 up becomes close-on-exec; no signal is blocked; SIGCHLD is not ignored, which would
    reap programs behind our back.
    """
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            with contextlib.suppress(OSError):  # the one that listed them
                os.set_inheritable(int(name), False)


def _check_spare_descriptors() -> None:
    """A pool too large for our limit of descriptors may not take the last ones: something else would fail then."""
    with contextlib.ExitStack() as spare:
        for _ in range(_SPARE):
            spare.callback(os.close, os.dup(0))


def _pipe(undo: contextlib.ExitStack) -> tuple[int, int]:
    reader, writer = os.pipe()
    undo.callback(os.close, reader)
    undo.callback(os.close, writer)
    return reader, writer


def _inherited_environment() -> dict[str, str]:
    """Ours without what was said to us alone: a program must not believe itself to be systemd's service."""
    return {
        name: value
        for name, value in os.environ.items()
        if name and name not in _OURS and not name.startswith(_OURS_BEGIN)
    }
