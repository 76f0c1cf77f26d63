"""The signals that a process of ours obeys: when they wait, and when they end it or reach its service.

- They wait while sockets' files are made and programs are started: what ends the process then would leave behind
  what is not yet known, and a reload that was asked for would be lost.
- Then they end it, until the service begins; a reload still waits.
- They wait again until the service can obey them, reach it, and wait from its end on.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Generator

OBEYED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_ALL = signal.valid_signals()


def hold() -> None:
    """Have them wait."""
    signal.pthread_sigmask(signal.SIG_BLOCK, OBEYED)


def let_end(leave: Callable[[int, object], None], hang_up_ends: bool) -> None:
    """Have them call `leave`, but for those we were started to ignore; SIGHUP waits on unless it is a hang-up."""
    ends = [number for number in OBEYED if number != signal.SIGHUP or hang_up_ends]
    for number in ends:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, leave)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ends)


@contextlib.contextmanager
def delivered() -> Generator[None]:
    """Have them reach their handlers, and wait again afterwards: nothing may end us before all is cleared away."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, OBEYED)
    try:
        yield
    finally:
        hold()


def end_with(leave: Callable[[int, object], None]) -> None:
    """SIGTERM calls `leave`, whoever else has obeyed it or made it wait."""
    signal.signal(signal.SIGTERM, leave)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])


@contextlib.contextmanager
def all_held() -> Generator[None]:
    """Have every signal wait, of this thread and of those it starts meanwhile, which never let one through."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _ALL)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
