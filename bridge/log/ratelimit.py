"""Logs what could come in floods, and says how much it held back."""

from __future__ import annotations

from collections.abc import Callable, Hashable

from bridge.log.events import event, log
from bridge.log.tokenbucket import TokenBucket

KEYS = 256
"""Buckets that a `RateLimited` keeps: a few reasons and some hundred programs' pids."""


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
