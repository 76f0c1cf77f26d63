"""Rate-limited logging, which reports how many lines it suppressed."""

from __future__ import annotations

from collections.abc import Callable, Hashable

from bridge.log.events import event, log
from bridge.log.tokenbucket import TokenBucket

KEYS = 256
"""Buckets a `RateLimited` keeps: enough for a few reasons and the pids of some hundred programs."""


class RateLimited:
    """Logs events that could come in floods.

    Args:
      lines: how many of each key get through in a burst, and per `interval` in the long run.
      interval: seconds.
      clock: seconds.
    """

    def __init__(self, lines: int, interval: float, clock: Callable[[], float]) -> None:
        self._lines = lines
        self._interval = interval
        self._clock = clock
        self._kinds: dict[Hashable, tuple[TokenBucket, int]] = {}

    def log(self, level: int, key: Hashable, message: str, /, **fields: object) -> bool:
        """Log an event, or count it; the next one that gets through says in `suppressed=` how many did not.

        Args:
          level: as `logging.WARNING`.
          key: the kind of line: a reason or a pid, never something a client can choose.
          message, fields: as for `event`; formatted only if the event gets through.

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
        self._kinds[key] = bucket, suppressed  # most recently used last
        if len(self._kinds) > KEYS:
            del self._kinds[next(iter(self._kinds))]  # the least recently used
        return gets_through

    def suppress(self, key: Hashable, events: int) -> None:
        """Count further events of a key as held back."""
        bucket, suppressed = self._kinds.get(key) or (self._bucket(), 0)
        self._kinds[key] = bucket, suppressed + events

    def _bucket(self) -> TokenBucket:
        return TokenBucket(self._lines / self._interval, self._lines, self._clock)
