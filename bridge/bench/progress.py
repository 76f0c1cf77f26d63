"""A progress bar on stderr, if that is a terminal and `rich` is there; otherwise nothing.

It is redrawn when told to, without a thread.  A log line takes its place, and it comes again below.
"""

from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING

from bridge.log.events import log

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_CLEAR_LINE = b"\r\x1b[2K"
_STDERR = 2

_PAUSE = 0.25
"""Seconds between two drawings: each takes a millisecond in which no query is answered."""


class Bar:
    """The bar of one number of programs, from its start to its `end`."""

    def __init__(self, programs: int) -> None:
        self._label = "1 program" if programs == 1 else f"{programs} programs"
        self._progress = _new_progress()
        self._task: TaskID | None = None
        self._what = ""
        self._again = 0.0
        if self._progress is not None:
            self._task = self._progress.add_task(self._label, total=1.0)
            self._progress.start()
            log.addFilter(self._make_room)

    def show(self, what: str, share: float) -> None:
        """Show what is done, and the share of it that is over, from 0 to 1."""
        if self._progress is None or self._task is None:
            return
        now = time.monotonic()
        if what != self._what or now >= self._again:
            self._what, self._again = what, now + _PAUSE
            self._progress.update(self._task, description=f"{self._label}: {what}", completed=share, refresh=True)

    def end(self) -> None:
        """Remove it."""
        if self._progress is not None:
            log.removeFilter(self._make_room)
            self._progress.stop()

    @staticmethod
    def _make_room(_record: logging.LogRecord) -> bool:
        os.write(_STDERR, _CLEAR_LINE)
        return True


def _new_progress() -> Progress | None:
    if not os.isatty(_STDERR):
        return None
    try:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn
    except ImportError:
        return None
    columns = TextColumn("{task.description}"), BarColumn()
    return Progress(*columns, console=Console(stderr=True), auto_refresh=False, transient=True)
