"""What is said in the log: one line for each event, `message key=value …`; before `setup.configure` nowhere.

- One printable line whatever goes in: nothing a client or a program says can forge another line.
- Secrets are kept out by those who log.  An exception's arguments may hold one: only type and place show.
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
# Either would write on stderr: what goes wrong within logging; and what is logged where no handler is, by trio say.
logging.raiseExceptions = False
logging.lastResort = None


def event(message: str, /, **fields: object) -> str:
    """`message key=value key="quoted \\"value\\""`, on one line.

    Args:
      message: constant text; what varies belongs into the fields.
      fields: shown with `str`; bytes as UTF-8, the rest of them escaped; exceptions as `describe` does.
    """
    pairs = (f"{_word(key)}={_word(_shown(value))}" for key, value in fields.items())
    return " ".join([escaped(message), *pairs])


def describe(error: BaseException) -> str:
    """What may be said of an exception: type, errno's meaning, and the innermost place within this package.

    Not its arguments and file names, which may hold a secret.  Of a group also what is in it; and the cause.
    """
    return _described(error, depth=3)


def _shown(value: object) -> str:
    if isinstance(value, BaseException):
        return describe(value)
    try:
        if isinstance(value, bytes | bytearray):
            return value.decode("utf-8", "backslashreplace")
        return str(value)
    except Exception:  # a broken __str__; but the event happened
        return f"<{type(value).__name__}>"


def _word(text: str) -> str:
    """`text` as it is where it is one plain word, otherwise quoted."""
    if _BARE.fullmatch(text) and text.isprintable():
        return text
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped(quoted)}"'


def _described(error: BaseException, depth: int) -> str:
    text = type(error).__name__
    # The texts of an OSError's own can be anybody's; the C library's for its number say the same.
    if isinstance(error, OSError) and isinstance(error.errno, int) and error.errno in errno.errorcode:
        text += f" {errno.errorcode[error.errno]}: {os.strerror(error.errno)}"
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
    """`bridge/file.py:line` of the innermost frame within this package, or nothing."""
    place, step = "", error.__traceback__
    while step is not None:
        path = step.tb_frame.f_code.co_filename
        if path.startswith(_PACKAGE):
            place = f"bridge/{path[len(_PACKAGE) :]}:{step.tb_lineno}"
        step = step.tb_next
    return place
