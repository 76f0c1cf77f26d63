"""Trio, step by step: its tasks run when the test says so, and its clock stands still until the test sets it.

A run in guest mode whose host is the test itself.  Nothing sleeps, nothing waits, and no thread is started, since by
its clock whatever is next is always due.  So a state machine, which is no coroutine, can drive a Supervisor.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import outcome
import trio

_LONGEST = 10_000
"""Ticks: more than any test needs; some task never waits."""


class Clock(trio.abc.Clock):
    """Set by the test.

    Attributes:
      now: seconds.
      next: when the first of all tasks wants to go on; infinity if none does.
    """

    def __init__(self) -> None:
        self.now = 1000.0
        self.next = float("inf")

    def __call__(self) -> float:
        return self.now

    def start_clock(self) -> None:
        """Nothing to do."""

    def current_time(self) -> float:
        return self.now

    def deadline_to_sleep_time(self, deadline: float) -> float:
        self.next = deadline
        return 0.0


class Stepped(trio.abc.Instrument):
    """A run of trio with one nursery.

    Attributes:
      clock: trio's.
      nursery: for the tasks of the test; an error that ends one of them is raised by `run_tasks`.
    """

    def __init__(self) -> None:
        self.clock = Clock()
        self.nursery: trio.Nursery
        self._due: deque[Callable[[], object]] = deque()
        self._steps = 0  # tasks that were scheduled, and how many of these have been run
        self._seen = -1
        self._outcomes: list[outcome.Outcome[Any]] = []
        trio.lowlevel.start_guest_run(
            self._main,
            run_sync_soon_threadsafe=self._due.append,
            done_callback=self._outcomes.append,
            host_uses_signal_set_wakeup_fd=True,
            clock=self.clock,
            instruments=[self],
        )
        self.run_tasks()

    def task_scheduled(self, task: trio.lowlevel.Task) -> None:
        self._steps += 1

    def run_tasks(self) -> bool:
        """Run all tasks until each waits for something, or for a later time; returns whether any of them ran."""
        if self._steps == self._seen and self.clock.now < self.clock.next:
            return False
        for _ in range(_LONGEST):
            self._seen = self._steps
            if self._due:
                self._due.popleft()()
            if self._outcomes:
                self._outcomes[0].unwrap()
            if self._steps == self._seen:
                return True
        raise AssertionError("some task never waits")

    def close(self) -> None:
        """Cancel all tasks, and end the run."""
        if not self._outcomes:
            self.nursery.cancel_scope.cancel()
        for _ in range(_LONGEST):
            if self._outcomes:
                self._outcomes[0].unwrap()
                return
            self._due.popleft()()
        raise AssertionError("some task cannot be cancelled")

    async def _main(self) -> None:
        async with trio.open_nursery() as self.nursery:
            await trio.sleep_forever()
