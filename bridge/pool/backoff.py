"""When a program that ended may be started again.  The caller supplies the randomness.  No I/O."""

from __future__ import annotations

import random
from collections.abc import Callable

FIRST_DELAY = 0.1
"""Seconds before the second restart in a row; the first is immediate, since most failures are isolated."""

LONGEST_DELAY = 30.0
"""Seconds.  Long enough that a broken program costs nothing, short enough that nobody restarts us by hand."""


class Backoff:
    """Delays between one program's starts: 0, then 0.1 s doubling to 30 s, each cut by up to half at random.

    The jitter keeps a pool whose database came back from starting all its programs at the same moment.

    Args:
      chance: returns a random number from 0 up to 1.
    """

    def __init__(self, chance: Callable[[], float] = random.random) -> None:
        self._failures = 0
        self._chance = chance

    def next_delay(self) -> float:
        """Count a failure; returns the seconds to wait before the next start."""
        failures = self._failures
        self._failures += 1
        if failures == 0:
            return 0.0
        delay = min(FIRST_DELAY * 2.0 ** min(failures - 1, 20), LONGEST_DELAY)
        return delay * (1.0 - self._chance() / 2)

    def reset(self) -> None:
        """Start over after a valid reply: the next failure counts as isolated."""
        self._failures = 0
