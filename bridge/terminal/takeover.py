"""Takes over the terminal a client may have started us on, before anything slow is imported.

A terminal whose ECHO is off belongs to a program: Prosody's pty library switches it off before it starts us.
Such a terminal is made raw, since a password may hold ^C, ^Z or ^S; every descriptor from 3 up is closed,
since Prosody lets us inherit its listeners, its clients' sockets and the pty's master; and the terminal is
taken off descriptors 0, 1 and 2, so that nothing but an answer can ever be written to it.
A terminal whose ECHO is on has a person at it and is left as it is.

Only CPython's built-in modules are imported here: until the terminal is raw, a password can still reach its
line editing.
"""

from __future__ import annotations

import errno
import os
import termios

TYPE_CHECKING = False  # typing is slow to import, and so is signal, which brings enum
if TYPE_CHECKING:
    import signal as _signal
    from typing import Any
else:
    import _signal


_BURST = 65536
"""Bytes: more than a terminal's buffer holds."""


class ProgramTerminal:
    """A program's terminal, taken over.

    Attributes:
      descriptor: open for reading and writing; the only one left on that terminal.
      may_block: its file description is shared with others, so O_NONBLOCK could not be set.
      held: the standard descriptors that were on it and are now on /dev/null; always includes 0.
    """

    __slots__ = ("descriptor", "held", "may_block")

    def __init__(self, descriptor: int, may_block: bool, held: frozenset[int]) -> None:
        self.descriptor = descriptor
        self.may_block = may_block
        self.held = held

    def refuse_all(self) -> None:
        """Answer 0 until the client is gone: for want of descriptors, nothing better can be done.

        It does not matter which question an answer is taken for: there is no other answer.
        """
        answers = self.descriptor if 1 in self.held else 1
        try:
            if not self.may_block:
                os.set_blocking(self.descriptor, True)
            while burst := os.read(self.descriptor, _BURST):
                if burst.endswith(b"\n"):
                    os.write(answers, b"0\n")
        except OSError:
            pass  # hung up


def take() -> ProgramTerminal | None:
    """Take over standard input if it is a program's terminal.

    Descriptors 0, 1 and 2 are open when this returns, if need be on /dev/null.

    Returns:
      the terminal; `None` if standard input is anything else.
    """
    _open_standard_descriptors()
    try:
        attributes = termios.tcgetattr(0)
    except (OSError, termios.error):
        return None
    if attributes[3] & termios.ECHO:
        return None
    _exit_0_on(_signal.SIGHUP, _signal.SIGINT, _signal.SIGQUIT, _signal.SIGTERM)
    _make_raw(attributes)
    os.closerange(3, _highest_descriptor())
    return _move_away()


def exit_0_on_sigterm() -> None:
    """Exit with 0 on SIGTERM until the service handles it, unless it is ignored."""
    if _signal.getsignal(_signal.SIGTERM) != _signal.SIG_IGN:
        _exit_0_on(_signal.SIGTERM)


def shortage(wanted: int) -> str:
    """Why `wanted` descriptors cannot be opened, in one line for the user; empty if they can."""
    opened: list[int] = []
    try:
        for _ in range(wanted):
            opened.append(os.dup(0))
    except OSError as error:
        if error.errno != errno.EMFILE:
            return ""  # not for want of our own: that may pass
        limit = os.sysconf("SC_OPEN_MAX")
        needed = limit + wanted - len(opened)
        return f"too few descriptors: at least {needed} are needed, the limit (ulimit -n, LimitNOFILE=) is {limit}"
    finally:
        for descriptor in opened:
            os.close(descriptor)
    return ""


def _make_raw(attributes: list[Any]) -> None:
    """Disable line editing, signals, flow control and translation; 8 bits; reads return what is there."""
    _, _, cflag, _, ispeed, ospeed, characters = attributes
    characters[termios.VMIN], characters[termios.VTIME] = 1, 0
    cflag = cflag & ~(termios.CSIZE | termios.PARENB) | termios.CS8
    try:  # noqa: SIM105  (contextlib takes longer to import than everything else here)
        termios.tcsetattr(0, termios.TCSANOW, [0, 0, cflag, 0, ispeed, ospeed, characters])
    except termios.error:
        pass  # hung up already: reading from it will tell


def _exit_0_on(*numbers: int) -> None:
    """Exit with 0 on signals until the service handles them: Prosody never restarts a helper killed by one."""
    for number in numbers:
        _signal.signal(number, lambda _number, _frame: os._exit(0))


def _move_away() -> ProgramTerminal:
    """Move the terminal from descriptors 0, 1 and 2 to one of our own, non-blocking if possible.

    Reopening it gives us our own file description: O_NONBLOCK on an inherited one would affect everybody who
    shares it.
    """
    may_block = False
    try:
        own = os.open("/proc/self/fd/0", os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:  # another user's terminal: share the file description, and poll before each use
        own, may_block = os.dup(0), True
    held = frozenset(descriptor for descriptor in (0, 1, 2) if _is_same_terminal(descriptor, own))
    os.close(0)  # whose number is the next to be given: there may be no other
    os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    for descriptor in held - {0}:
        os.dup2(0, descriptor)
    return ProgramTerminal(own, may_block, held)


def _is_same_terminal(one: int, other: int) -> bool:
    return os.isatty(one) and os.fstat(one).st_rdev == os.fstat(other).st_rdev


def _open_standard_descriptors() -> None:
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_RDWR), descriptor)


def _highest_descriptor() -> int:
    return 0x7FFFFFFF  # close_range(2) takes any number; where it is missing, the C library reads /proc/self/fd
