"""A token bucket.  The caller supplies the clock.  No I/O."""

from __future__ import annotations

from collections.abc import Callable


class TokenBucket:
    """Lets through at most `burst` at once, and `rate` a second in the long run.

    Args:
      rate: tokens a second.
      burst: tokens the bucket holds; it starts full.
      clock: seconds.
    """

    def __init__(self, rate: float, burst: int, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._tokens = float(burst)
        self._filled = clock()

    def take(self) -> bool:
        """Take one token; false if there is none."""
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._filled) * self._rate)
        self._filled = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True

    def give_back(self) -> None:
        """Put a token back that was taken without need."""
        self._tokens = min(self._burst, self._tokens + 1.0)
