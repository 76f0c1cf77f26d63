"""Starts a program: pipes on 0, 1 and 2, its own session, no other descriptor, none of systemd's variables for us.

posix_spawn does in one step what a fork with Python code in the child would do unsafely: it resets all signals to
their defaults, empties the signal mask, makes a new session (so no controlling terminal, and one process group to
kill), and reports a missing file as an exception here.  It cannot set a working directory: the bridge, which does not
need its own, changes to the program's.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Mapping, Sequence

_OURS = frozenset({"NOTIFY_SOCKET", "JOURNAL_STREAM", "INVOCATION_ID"})
_OURS_BEGIN = ("LISTEN_", "WATCHDOG_")

_SPARE = 32
"""Descriptors kept in reserve: for a start in progress, a configuration, a log file and some clients."""

programs: dict[int, None] = {}
"""The pids of all programs that were started and have not been waited for; nobody else may reap these."""

_ALL_SIGNALS = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})


class CwdError(OSError):
    """The program's directory cannot be entered; its `filename` is that directory."""


class Process:
    """A started program's process, and our ends of its pipes, all non-blocking.

    Attributes:
      pid: also the number of its session and process group.
      exited: a pidfd; readable once the process has ended.
      stdin, stdout, stderr: descriptors; the owner of the process closes them.
    """

    __slots__ = ("exited", "pid", "stderr", "stdin", "stdout")

    def __init__(self, pid: int, exited: int, stdin: int, stdout: int, stderr: int) -> None:
        self.pid = pid
        self.exited = exited
        self.stdin = stdin
        self.stdout = stdout
        self.stderr = stderr

    def wait(self) -> int:
        """Wait for its end, reap it, and return its exit status, or minus the signal that ended it.

        Raises:
          ChildProcessError: it has been reaped before.
        """
        status = os.waitpid(self.pid, 0)[1]
        programs.pop(self.pid, None)
        return os.waitstatus_to_exitcode(status)

    def discard(self) -> None:
        """Kill it, reap it and close its descriptors: for a process without an owner."""
        _end(self.pid)
        for descriptor in self.descriptors():
            os.close(descriptor)

    def descriptors(self) -> tuple[int, ...]:
        """All of them."""
        return self.exited, self.stdin, self.stdout, self.stderr


def start(argv: Sequence[str], cwd: str, env: Mapping[str, str]) -> Process:
    """Start `argv`; a name without a slash is looked up in the bridge's PATH.

    Raises:
      OSError: `cwd` or the program is missing or may not be used, no process or descriptor is available, ...;
        nothing is left open.  `startfault` says what is the matter.
    """
    try:
        os.chdir(cwd)
    except OSError as error:
        raise CwdError(error.errno, error.strerror, cwd) from None
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
            programs[pid] = None
            exited = os.pidfd_open(pid)
        except (OSError, MemoryError):
            _end(pid)
            raise
        undo.pop_all()
    for theirs in (their_stdin, their_stdout, their_stderr):
        os.close(theirs)
    for ours in (stdin, stdout, stderr):
        os.set_blocking(ours, False)
    return Process(pid, exited, stdin, stdout, stderr)


def prepare_for_children() -> None:
    """Undo what we may have inherited and programs must not; call it once, before the first start.

    Every descriptor from 3 up becomes close-on-exec; no signal stays blocked; SIGCHLD is no longer ignored, which would
    reap programs behind our back.
    """
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            with contextlib.suppress(OSError):  # listdir's own, closed by now
                os.set_inheritable(int(name), False)


def _check_spare_descriptors() -> None:
    """Raise OSError if hardly any descriptors are left: a pool too large for our limit may not take the last ones."""
    with contextlib.ExitStack() as spare:
        for _ in range(_SPARE):
            spare.callback(os.close, os.dup(0))


def _end(pid: int) -> None:
    """Kill a program and reap it; one that has changed its user, which we may not kill, is left to `reap_orphans`."""
    with contextlib.suppress(PermissionError):
        os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    programs.pop(pid, None)


def _pipe(undo: contextlib.ExitStack) -> tuple[int, int]:
    reader, writer = os.pipe()
    undo.callback(os.close, reader)
    undo.callback(os.close, writer)
    return reader, writer


def _inherited_environment() -> dict[str, str]:
    """Our environment without systemd's variables for us: a program must not take itself for the service."""
    return {
        name: value
        for name, value in os.environ.items()
        if name and name not in _OURS and not name.startswith(_OURS_BEGIN)
    }
