"""The log: one line for each event, `message key=value …`, to the journal, syslog, stderr or a file.

- Never to the client's terminal, where a line would be taken for an answer; before `configure` nowhere.
- One printable line whatever goes in: nothing a client or a program says can forge another line.
- Secrets are kept out by those who log.  An exception's arguments may hold one: only type and place show.
- Logging neither blocks nor raises.  Lost lines are counted, and the log says how many.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import time
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING

from bridge.backoff import TokenBucket
from bridge.logtargets import JOURNAL, SYSLOG, Line, Outlet, chosen
from bridge.stderrlines import escaped

if TYPE_CHECKING:
    from typing import Protocol

    class LogSettings(Protocol):
        @property
        def level(self) -> str: ...
        @property
        def target(self) -> str: ...


LONGEST = 16384
"""Characters of a message: far more than anything is meant to have, so that no accident fills the log."""

KEYS = 256
"""Buckets that a `RateLimited` keeps: a few reasons and some hundred programs' pids."""

_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep

_BARE = re.compile(r"[^\s\"'=\\]+")

_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3}
_CRITICAL = 2

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


def configure(
    settings: LogSettings,
    client_terminal: bool,
    *,
    stderr: int = 2,
    journal: str = JOURNAL,
    syslog: str = SYSLOG,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Send the log where `settings` say; again at a reload.

    Args:
      settings: `level` (debug, info, warning, error); `target` (auto, journal, syslog, stderr, file:/path).
        What cannot be reached is replaced as `auto` chooses: stderr, in the journal's form if it is the
        journal; the journal's socket; syslog's.
      client_terminal: stderr is the client's terminal, and gets nothing even if it is asked for.
      stderr: its descriptor.
      journal, syslog: the sockets' paths.
      clock: seconds.
    """
    targets = chosen(settings.target, client_terminal, stderr, journal, syslog, clock)
    outlet = Outlet(targets, settings.target != "auto", clock)
    for handler in [handler for handler in log.handlers if isinstance(handler, _Handler)]:
        log.removeHandler(handler)
        handler.close()
        outlet.lost = handler.outlet.lost
    log.addHandler(_Handler(outlet))
    log.setLevel(logging.getLevelNamesMapping().get(settings.level.upper(), logging.INFO))


class RateLimited:
    """Lines that could come in floods.

    Args:
      lines: that get through at once, of each key; and in the long run in every `interval`.
      interval: seconds.
      clock: seconds.
    """

    def __init__(self, lines: int, interval: float, clock: Callable[[], float]) -> None:
        self._lines = lines
        self._interval = interval
        self._clock = clock
        self._kinds: dict[Hashable, tuple[TokenBucket, int]] = {}

    def log(self, level: int, key: Hashable, message: str, /, **fields: object) -> bool:
        """Log an event, or count it; the first that gets through again says `suppressed=` how many did not.

        Args:
          level: as `logging.WARNING`.
          key: the kind of line: a reason, a pid; not what a client can choose.
          message, fields: as for `event`; only looked at if it gets through.

        Returns:
          whether it got through.
        """
        bucket, suppressed = self._kinds.pop(key) if key in self._kinds else (self._bucket(), 0)
        if gets_through := bucket.take():
            if suppressed:
                fields["suppressed"] = suppressed
            log.log(level, event(message, **fields))
            suppressed = 0
        else:
            suppressed += 1
        self._kinds[key] = bucket, suppressed  # at the end again
        if len(self._kinds) > KEYS:
            del self._kinds[next(iter(self._kinds))]  # the one not used for longest
        return gets_through

    def suppress(self, key: Hashable, events: int) -> None:
        """Count events of a kind that has just not got through."""
        bucket, suppressed = self._kinds[key]
        self._kinds[key] = bucket, suppressed + events

    def _bucket(self) -> TokenBucket:
        return TokenBucket(self._lines / self._interval, self._lines, self._clock)


class _Handler(logging.Handler):
    def __init__(self, outlet: Outlet) -> None:
        super().__init__()
        self.outlet = outlet

    def emit(self, record: logging.LogRecord) -> None:
        try:
            priority = _PRIORITIES.get(record.levelno // 10 * 10, _CRITICAL)
            self.outlet.send(Line(priority, record.levelname, record.created, _text(record)))
        except Exception:  # nobody's login may fail for the log's sake
            self.outlet.lost += 1

    def close(self) -> None:
        super().close()
        self.outlet.close()


def _text(record: logging.LogRecord) -> str:
    """A record's one line.  What `event` made is unchanged by the escaping, which is for others' messages."""
    text = escaped(record.getMessage()[:LONGEST])
    error = record.exc_info[1] if record.exc_info else None
    return text if error is None else f"{text} error={_word(describe(error))}"


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
