"""Log events: one line each, `message key=value …`, dropped before `setup.configure`.

- One printable line whatever goes in: nothing a client or a program says can forge another line.
- Callers keep secrets out.  An exception's arguments may hold one, so only its type and place are shown.
"""

from __future__ import annotations

import errno
import logging
import os
import re
from collections.abc import Sequence

from bridge.log.text import escaped

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep

_BARE = re.compile(r"[^\s\"'=\\]+")

log = logging.getLogger("bridge")
log.propagate = False
# Both would write to stderr: errors inside logging, and lines of loggers without a handler, such as trio's.
logging.raiseExceptions = False
logging.lastResort = None


def event(message: str, /, **fields: object) -> str:
    """`message key=value key="quoted \\"value\\""`, on one line.

    Args:
      message: constant text; what varies belongs in the fields.
      fields: shown with `str`; bytes decoded as UTF-8, with invalid ones escaped; exceptions as by `describe`.
    """
    pairs = (f"{_word(key)}={_word(_shown(value))}" for key, value in fields.items())
    return " ".join([escaped(message), *pairs])


def quoted(text: str) -> str:
    """`text` in quotes and on one line, with everything escaped that could end either."""
    inside = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped(inside)}"'


def describe(error: BaseException) -> str:
    """An exception as far as it is safe to log: type, errno, innermost place in this package, members, cause.

    Its arguments and file names are left out: they may hold a secret.
    """
    return _described(error, depth=3)


def _shown(value: object) -> str:
    if isinstance(value, BaseException):
        return describe(value)
    try:
        if isinstance(value, bytes | bytearray):
            return value.decode("utf-8", "backslashreplace")
        return str(value)
    except Exception:  # a broken __str__ must not lose the event
        return f"<{type(value).__name__}>"


def _word(text: str) -> str:
    """`text` unchanged if it is one plain word, otherwise quoted."""
    return text if _BARE.fullmatch(text) and text.isprintable() else quoted(text)


def _described(error: BaseException, depth: int) -> str:
    text = type(error).__name__
    # An OSError's own text can come from anywhere; the C library's text for its number says the same.
    if isinstance(error, OSError) and isinstance(error.errno, int) and error.errno in errno.errorcode:
        text += f" {errno.errorcode[error.errno]}: {os.strerror(error.errno)}"
        if error.errno == errno.EMFILE:
            text += f" (the limit of descriptors is {os.sysconf('SC_OPEN_MAX')}: ulimit -n, LimitNOFILE=)"
    if place := _place(error):
        text += f" at {place}"
    inner: Sequence[BaseException] = getattr(error, "exceptions", ())
    if depth and isinstance(error, BaseExceptionGroup):
        more = f"; and {len(inner) - 3} more" if len(inner) > 3 else ""
        text += f" ({'; '.join(_described(one, depth - 1) for one in inner[:3])}{more})"
    if depth and error.__cause__ is not None:
        text += f" from {_described(error.__cause__, depth - 1)}"
    return text


def _place(error: BaseException) -> str:
    """`bridge/file.py:line` of the innermost frame in this package, or an empty string."""
    place, step = "", error.__traceback__
    while step is not None:
        path = step.tb_frame.f_code.co_filename
        if path.startswith(_PACKAGE):
            place = f"bridge/{path[len(_PACKAGE) :]}:{step.tb_lineno}"
        step = step.tb_next
    return place


def ending(status: int) -> str:
    """How a process ended, in words; `status` is its exit status, or minus the signal that ended it."""
    if status >= 0:
        return f"exit status {status}"
    import signal  # late: a relay has no use for it

    names = {known.value: known.name for known in signal.Signals}
    return f"killed by {names.get(-status, f'signal {-status}')}"
