"""How far something long has come, on stderr, if that is a terminal: a bar with `rich`, a line now and then without."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.progress import Progress as Rich

_STDERR = 2

_PAUSE = 0.25
"""Seconds between two drawings of a bar."""

_PLAIN_PAUSE = 5.0
"""Seconds between two lines, where there is no bar."""


class Progress:
    """The progress of one piece of work; a context manager.

    Args:
      what: the work, in a few words.
      total: its parts; None if nobody knows yet.
    """

    def __init__(self, what: str, total: int | None = None) -> None:
        self._what = what
        self._total = total
        self._done = 0
        self._begun = self._shown = time.monotonic()
        self._is_seen = os.isatty(_STDERR)
        self._rich = _bar(what, total) if self._is_seen else None
        self._pause = _PLAIN_PAUSE if self._rich is None else _PAUSE

    def __enter__(self) -> Self:
        if self._rich is not None:
            self._rich.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._rich is not None:
            self._rich.stop()

    def step(self) -> None:
        """One more part is done."""
        self._done += 1
        if not self._is_seen or (now := time.monotonic()) < self._shown + self._pause:
            return
        self._shown = now
        if self._rich is not None:
            self._rich.update(self._rich.task_ids[0], completed=self._done, refresh=True)
        else:
            of = "" if self._total is None else f" of {self._total}, {self._left(now)} left"
            os.write(_STDERR, f"{self._what}: {self._done}{of}\n".encode())

    def _left(self, now: float) -> str:
        return duration((now - self._begun) / self._done * ((self._total or 0) - self._done))


def duration(seconds: float) -> str:
    """A time that is only estimated, for people."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _bar(what: str, total: int | None) -> Rich | None:
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Rich
    except ImportError:
        return None
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    bar = Rich(*columns, console=Console(stderr=True), auto_refresh=False, transient=True)
    bar.add_task(what, total=total)
    return bar
