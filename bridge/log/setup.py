"""Sends the log to the journal, syslog, stderr or a file.

- Never to the client's terminal, where a line would be taken for an answer.
- Logging neither blocks nor raises.  Lost lines are counted, and the log says how many.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from bridge.log.events import event, log
from bridge.log.targets import JOURNAL, SYSLOG, Line, Outlet, chosen
from bridge.log.text import escaped

if TYPE_CHECKING:
    from typing import Protocol

    class LogSettings(Protocol):
        @property
        def level(self) -> str: ...
        @property
        def target(self) -> str: ...


LONGEST = 16384
"""Characters of a message: far more than any should have, so that no accident fills the log."""

_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3}
_CRITICAL = 2


def configure(
    settings: LogSettings,
    client_terminal: bool,
    *,
    stderr: int = 2,
    journal: str = JOURNAL,
    syslog: str = SYSLOG,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Send the log where `settings` say.  A reload calls it again.

    Args:
      settings: `level` (debug, info, warning, error); `target` (auto, journal, syslog, stderr, file:/path).
        A target that cannot be reached is replaced by the first of `auto`'s that can: stderr, in the
        journal's form if it is the journal; the journal's socket; syslog's.
      client_terminal: stderr is the client's terminal, and gets nothing even if the settings name it.
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


class _Handler(logging.Handler):
    def __init__(self, outlet: Outlet) -> None:
        super().__init__()
        self.outlet = outlet

    def emit(self, record: logging.LogRecord) -> None:
        try:
            priority = _PRIORITIES.get(record.levelno // 10 * 10, _CRITICAL)
            self.outlet.send(Line(priority, record.levelname, record.created, _text(record)))
        except Exception:  # a failing log must not fail a login
            self.outlet.lost += 1

    def close(self) -> None:
        super().close()
        self.outlet.close()


def _text(record: logging.LogRecord) -> str:
    """A record as one line.  Escaping leaves what `event` made unchanged; it is for other loggers' messages."""
    text = escaped(record.getMessage()[:LONGEST])
    error = record.exc_info[1] if record.exc_info else None
    return text if error is None else text + event("", error=error)
