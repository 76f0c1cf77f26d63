"""What a pool has done so far, in numbers of queries and programs, and how long its answers took.

  - Every query is counted by its verdict and its command.
  - How long an answer took would cost too much to note for each: under load one of some dozens is timed, and stands for
    those since the one before it (`milestones`).

No I/O; the caller passes the time in, in seconds.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

from bridge.loop.timer import FOREVER
from bridge.protocol.checks import WITH_SECRET, WITHOUT_SECRET

COMMANDS = {ord(name[0]): name.removesuffix("3") for name in WITH_SECRET | WITHOUT_SECRET}
"""Commands by their place in a list of counters, which a query's first byte tells: to look at the whole word would cost
every line.  `removeuser3` counts as `removeuser`."""

_SLOT = 10.0
_KEPT = 15 * 60.0
"""Seconds: of one slot of times, and of all that are kept."""

_PER_FOLD = 1 / math.log(1.1)
"""Buckets for each factor e: each is a tenth longer than the one before, so that a quantile is right to 5 %."""

_SHORTEST = 1e-5


class Latency:
    """How long the answers of the last quarter of an hour took, from a line's arrival to its verdict."""

    def __init__(self) -> None:
        self._slots: dict[int, dict[int, int]] = {}  # by the time they began: answers in each bucket

    def add(self, now: float, seconds: float, answers: int) -> None:
        """An answer took so many seconds, and stands for this many."""
        number = int(now / _SLOT)
        slot = self._slots.get(number)
        if slot is None:
            slot = self._begin(number)
        bucket = math.floor(math.log(seconds) * _PER_FOLD) if seconds > _SHORTEST else _FIRST
        slot[bucket] = slot.get(bucket, 0) + answers

    def add_all(self, other: Latency) -> None:
        """Add all that `other` holds."""
        for number, slot in other._slots.items():
            _add(self._slots[number] if number in self._slots else self._begin(number), slot)

    def _begin(self, number: int) -> dict[int, int]:
        """A new slot; those that are too old for it go."""
        for old in [old for old in self._slots if old < number - _KEPT / _SLOT]:
            del self._slots[old]
        return self._slots.setdefault(number, {})

    def over(self, now: float, seconds: float, shares: Iterable[float]) -> tuple[int, list[float | None]]:
        """About how many answers came in the last `seconds` or a little longer, and what these shares took at most.

        Returns:
          the number, and seconds for each share; `None` if there were no answers.
        """
        counts: dict[int, int] = {}
        for number, slot in self._slots.items():
            if number > (now - seconds) / _SLOT - 1:
                _add(counts, slot)
        answers = sum(counts.values())
        return answers, [_seconds_of(counts, share * answers) for share in shares]


_FIRST = math.floor(math.log(_SHORTEST) * _PER_FOLD)


def _add(counts: dict[int, int], more: dict[int, int]) -> None:
    for bucket, answers in more.items():  # a Counter takes ten times as long
        counts[bucket] = counts.get(bucket, 0) + answers


def _seconds_of(counts: dict[int, int], wanted: float) -> float | None:
    """The time, in the middle of its bucket, within which so many answers came."""
    for bucket in sorted(counts):
        wanted -= counts[bucket]
        if wanted <= 0:
            return float(f"{math.exp((bucket + 0.5) / _PER_FOLD):.2g}")
    return None


class Figures:
    """The counters of one pool.

    Attributes:
      granted_by, denied_by: valid replies in time, by verdict, and in places that `COMMANDS` gives.
      unavailable_by: queries without one, likewise; among them:
      timeouts: not answered in time.
      overload: refused because no program could have answered them in time.
      suspected: not asked, as the same question had hung or ended programs a short while before.
      retries: queries asked once more, as their program ended.
      late: valid replies that came too late, and were dropped.
      starts: programs started.
      failures: programs that failed, or could not be started.
      failed_at: when the last of them did.
      restarts: programs that had to be replaced, by cause.
      overloads: times at which queries began to be refused for want of time.
      overloaded_at: when one was refused the last time.
      latency: of answers in time.
    """

    _SUMS = ("timeouts", "overload", "suspected", "retries", "late", "starts", "failures", "overloads")
    _LISTS = ("granted_by", "denied_by", "unavailable_by")

    def __init__(self) -> None:
        self.granted_by = [0] * 256
        self.denied_by = [0] * 256
        self.unavailable_by = [0] * 256
        self.timeouts = 0
        self.overload = 0
        self.suspected = 0
        self.retries = 0
        self.late = 0
        self.starts = 0
        self.failures = 0
        self.overloads = 0
        self.failed_at = -FOREVER
        self.overloaded_at = -FOREVER
        self.restarts: Counter[str] = Counter()
        self.latency = Latency()

    @property
    def granted(self) -> int:
        """Queries that were granted."""
        return sum(self.granted_by)

    @property
    def denied(self) -> int:
        """Queries that were denied."""
        return sum(self.denied_by)

    @property
    def unavailable(self) -> int:
        """Queries without a valid reply in time."""
        return sum(self.unavailable_by)

    @property
    def by_command(self) -> dict[str, dict[str, int]]:
        """How many of each command were granted, denied and unavailable, as far as it was asked."""
        lists = {"granted": self.granted_by, "denied": self.denied_by, "unavailable": self.unavailable_by}
        table = {name: {verdict: each[place] for verdict, each in lists.items()} for place, name in COMMANDS.items()}
        return {name: counts for name, counts in sorted(table.items()) if any(counts.values())}

    @property
    def answered(self) -> int:
        """Valid replies in time."""
        return self.granted + self.denied

    def failed(self, cause: str, now: float) -> None:
        """A program failed, or could not be started."""
        self.failures += 1
        self.failed_at = now
        self.restarts[cause] += 1

    def with_those_of(self, other: Figures) -> Figures:
        """The sums, in an object of their own."""
        sums = Figures()
        for figures in (self, other):
            sums.add(figures)
        return sums

    def add(self, other: Figures) -> None:
        """Add those of another pool, which this one replaces."""
        for name in self._SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in self._LISTS:
            getattr(self, name)[:] = map(sum, zip(getattr(self, name), getattr(other, name), strict=True))
        self.failed_at = max(self.failed_at, other.failed_at)
        self.overloaded_at = max(self.overloaded_at, other.overloaded_at)
        self.restarts.update(other.restarts)
        self.latency.add_all(other.latency)
