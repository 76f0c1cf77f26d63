"""Signal masks and handlers: when signals are blocked, when they end the process, when they reach its service.

- They are blocked while socket files are made and programs are started: ending the process then would leave behind
  what is not yet recorded, and a requested reload would be lost.
- Then they end the process, until the service begins; requests for a reload, or for the status, stay blocked.
- They are blocked again until the service can handle them, then reach it, and are blocked once it has ended.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Generator

OBEYED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
_ENDS = (signal.SIGTERM, signal.SIGINT)
_ALL = signal.valid_signals()


def block() -> None:
    """Block them."""
    signal.pthread_sigmask(signal.SIG_BLOCK, OBEYED)


def exit_on(leave: Callable[[int, object], None], hang_up_ends: bool) -> None:
    """Have them call `leave`, except those that were ignored at start.

    SIGHUP stays blocked unless it is a hang-up, and so does SIGUSR1.
    """
    ends = [*_ENDS, *([signal.SIGHUP] if hang_up_ends else [])]
    for number in ends:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, leave)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ends)


@contextlib.contextmanager
def unblocked() -> Generator[None]:
    """Unblock them, and block them again afterwards: nothing may end us before everything is cleaned up."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, OBEYED)
    try:
        yield
    finally:
        block()


def end_with(leave: Callable[[int, object], None]) -> None:
    """Have SIGTERM call `leave`, whatever handled or blocked it before."""
    signal.signal(signal.SIGTERM, leave)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])


@contextlib.contextmanager
def all_blocked() -> Generator[None]:
    """Block every signal, in this thread and, for good, in those it starts meanwhile."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _ALL)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
