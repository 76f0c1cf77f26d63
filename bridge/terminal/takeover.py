"""The terminal a client may have started us on: taken at once, before anything slow is imported.

A terminal whose ECHO is off belongs to a program: Prosody's pty library switches it off before it starts us.
Such a terminal is made raw, since whoever logs in may type ^C, ^Z or ^S into a password; every descriptor
from 3 up is closed, since Prosody lets us inherit its listeners, its clients' sockets and the pty's own other
end; and it is taken off descriptors 0, 1 and 2, so that nothing but an answer can ever be written to it.
A terminal whose ECHO is on has a person at it and stays as it is.

Only what CPython has built in is imported here: every millisecond before raw mode is one in which a
password can still reach the terminal's line editing.
"""

from __future__ import annotations

import os
import termios

TYPE_CHECKING = False  # typing is slow to import, and so is signal, which brings enum
if TYPE_CHECKING:
    import signal as _signal
    from typing import Any
else:
    import _signal


class ProgramTerminal:
    """A program's terminal, taken over.

    Attributes:
      descriptor: our own, open for reading and writing; the only one left on that terminal.
      may_block: it shares its file description with others, so O_NONBLOCK could not be set on it.
      was: the standard descriptors that were on it and are on /dev/null now; 0 is always among them.
    """

    __slots__ = ("descriptor", "may_block", "was")

    def __init__(self, descriptor: int, may_block: bool, was: frozenset[int]) -> None:
        self.descriptor = descriptor
        self.may_block = may_block
        self.was = was


def take() -> ProgramTerminal | None:
    """Take standard input over if it is a program's terminal; `None` if it is anything else.

    Descriptors 0, 1 and 2 are open when this returns, on /dev/null if on nothing else.
    """
    _open_standard_descriptors()
    try:
        attributes = termios.tcgetattr(0)
    except (OSError, termios.error):
        return None
    if attributes[3] & termios.ECHO:
        return None
    _end_well()
    _make_raw(attributes)
    os.closerange(3, _highest_descriptor())
    return _move_away()


def _make_raw(attributes: list[Any]) -> None:
    """No editing, no signals, no flow control, no translation; 8 bits wide; reads return what is there."""
    _, _, cflag, _, ispeed, ospeed, characters = attributes
    characters[termios.VMIN], characters[termios.VTIME] = 1, 0
    cflag = cflag & ~(termios.CSIZE | termios.PARENB) | termios.CS8
    try:  # noqa: SIM105  (contextlib takes longer to import than all the rest of this)
        termios.tcsetattr(0, termios.TCSANOW, [0, 0, cflag, 0, ispeed, ospeed, characters])
    except termios.error:
        pass  # hung up already: reading it will say so


def _end_well() -> None:
    """Prosody never restarts a helper that a signal ended: until the service obeys them, they end us with 0."""
    for number in (_signal.SIGHUP, _signal.SIGINT, _signal.SIGQUIT, _signal.SIGTERM):
        _signal.signal(number, lambda _number, _frame: os._exit(0))


def _move_away() -> ProgramTerminal:
    """Leave descriptors 0, 1 and 2 without the terminal; keep one of our own on it, non-blocking if that can be.

    Opening it anew gives a file description of our own: O_NONBLOCK set on an inherited one would be set
    for everybody who shares it.
    """
    may_block = False
    try:
        own = os.open("/proc/self/fd/0", os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:  # another user's terminal: share the description and never wait in it
        own, may_block = os.dup(0), True
    null = os.open(os.devnull, os.O_RDWR)
    was = frozenset(descriptor for descriptor in (0, 1, 2) if _is_same_terminal(descriptor, own))
    for descriptor in was:
        os.dup2(null, descriptor)
    os.close(null)
    return ProgramTerminal(own, may_block, was)


def _is_same_terminal(one: int, other: int) -> bool:
    return os.isatty(one) and os.fstat(one).st_rdev == os.fstat(other).st_rdev


def _open_standard_descriptors() -> None:
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_RDWR), descriptor)


def _highest_descriptor() -> int:
    return 0x7FFFFFFF  # close_range(2) takes any number; without it the C library looks at /proc/self/fd
