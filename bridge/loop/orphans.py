"""Reaps orphans: processes whose parent has ended, and which the kernel then leaves to us.

That is so for PID 1 of a container, and for a subreaper.  Programs may leave any number of orphans, and each that ends
stays a zombie until it is reaped.

They are looked for once a second.  SIGCHLD would tell at once, but Python handles a signal in the middle of anything,
where its handler may raise for want of memory; and no zombie is in a hurry.
"""

from __future__ import annotations

import os
from collections.abc import Container

from bridge.loop.reactor import Reactor

_PAUSE = 1.0
"""Seconds between looks.  One that finds nothing takes a microsecond."""

_LOOK = os.WEXITED | os.WNOHANG | os.WNOWAIT
"""Only look: a program's exit status is for its owner.  One that has just ended may hide orphans until its owner has
reaped it; the next look finds them."""

_GET_CHILD_SUBREAPER = 37
"""prctl(2)."""


def reap_orphans(reactor: Reactor, programs: Container[int] = ()) -> None:
    """Reap orphans for as long as `reactor` runs.

    Args:
      programs: the pids of children whose end somebody else waits for, now and later.
    """

    def reap() -> None:
        timer.set(reactor.clock() + _PAUSE)
        try:
            while (ended := os.waitid(os.P_ALL, 0, _LOOK)) is not None and ended.si_pid not in programs:
                os.waitpid(ended.si_pid, 0)
        except ChildProcessError:
            pass  # there is no child at all

    timer = reactor.call_at(reactor.clock(), reap)


def left_to_us() -> bool:
    """Whether orphans are left to this process."""
    return os.getpid() == 1 or _is_subreaper()


def _is_subreaper() -> bool:
    """Whether whoever started us made this process a subreaper, which outlives an execve."""
    try:
        import ctypes  # late: it takes milliseconds, unless trio has imported it

        answer = ctypes.c_int()
        return ctypes.CDLL(None).prctl(_GET_CHILD_SUBREAPER, ctypes.byref(answer), 0, 0, 0) == 0 and bool(answer.value)
    except (ImportError, OSError, AttributeError):  # a Python without it
        return False
