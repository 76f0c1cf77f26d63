"""How far it is: lines on stderr, and below them a bar if that is a terminal and `rich` is there."""

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import Any

_PAUSE = 0.25
"""Seconds between two drawings."""


class Progress:
    """Of so many questions."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._bar: Any = None
        self._drawn = 0.0

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        """Show it until the block is left."""
        with contextlib.ExitStack() as stack:
            if sys.stderr.isatty():
                with contextlib.suppress(ImportError):
                    from rich import console, progress

                    to = console.Console(stderr=True)
                    self._bar = stack.enter_context(progress.Progress(console=to, auto_refresh=False, transient=True))
                    self._bar.add_task("questions", total=self._total)
            yield

    def say(self, line: str) -> None:
        if self._bar is None:
            print(line, file=sys.stderr, flush=True)
        else:
            self._bar.console.print(line, highlight=False)

    def so_far(self, done: int) -> None:
        if self._bar is not None and time.monotonic() > self._drawn + _PAUSE:
            self._drawn = time.monotonic()
            self._bar.update(self._bar.task_ids[0], completed=done, refresh=True)
