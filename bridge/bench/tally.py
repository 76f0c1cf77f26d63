"""What a measurement counts: answers, how long each took, and failures by reason.

  - An answer's time runs from the moment its query was meant to be asked.  If that moment is fixed in advance, a
    program that stalls makes all those late that come meanwhile, as it would with users.
  - What was not answered counts as a failure, and has no time: a refusal is quick.
  - The rate is that of the answers that came while queries were asked; the times and failures are those of all of them.

No I/O; the caller passes the time in, in seconds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import attrs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bridge.pool.figures import Figures

REASONS = {
    "timeouts": "no answer in time",
    "overload": "refused at once: no program could have answered in time",
    "suspected": "not asked: the same question had hung or ended programs",
    "other": "no program could be asked, or it ended",
}
"""Why queries are not answered, in words; all but `other` are counted by the pool under these names."""


@attrs.frozen(kw_only=True)
class Measured:
    """The result of a measurement; times in seconds.

    Attributes:
      seconds: in which queries were asked.
      rate: answers per second.
      answers, granted: how many, and how many of them were a yes.
      p50, p95, p99, longest: times of the answers; 0 if there were none.
      failures: queries without an answer, by reason, under the names in `REASONS`.
      programs_failed: programs that failed meanwhile; most of their queries were asked again, of another one.
      complete: it was not interrupted.
    """

    seconds: float
    rate: float
    answers: int
    granted: int
    p50: float
    p95: float
    p99: float
    longest: float
    failures: dict[str, int]
    programs_failed: int
    complete: bool

    @property
    def failed(self) -> int:
        """Queries without an answer."""
        return sum(self.failures.values())


class Tally:
    """Counts one measurement, from now on.

    Args:
      figures: the pool's.

    Attributes:
      begun: when it began.
      times: seconds that each answer took.
    """

    def __init__(self, figures: Figures, now: float) -> None:
        self.begun = now
        self.times: list[float] = []
        self._granted = 0
        self._figures = figures
        self._before = _counts(figures)
        self._closed: float | None = None
        self._in_time = 0

    def answered(self, seconds: float, granted: bool) -> None:
        """An answer came, so many seconds after its query was meant to be asked."""
        self.times.append(seconds)
        self._granted += granted

    def close(self, now: float) -> None:
        """No more queries are asked; the answers to the last ones are still to come."""
        if self._closed is None:
            self._closed, self._in_time = now, len(self.times)

    def result(self, now: float, complete: bool) -> Measured:
        """What was counted."""
        self.close(now)
        seconds = max((self._closed or now) - self.begun, 1e-6)
        times = sorted(self.times)
        since = {name: count - self._before[name] for name, count in _counts(self._figures).items()}
        failures = {name: since[name] for name in REASONS if name in since}
        failures["other"] = since["unavailable"] - sum(failures.values())
        return Measured(
            seconds=seconds,
            rate=self._in_time / seconds,
            answers=len(times),
            granted=self._granted,
            p50=quantile(times, 0.5),
            p95=quantile(times, 0.95),
            p99=quantile(times, 0.99),
            longest=times[-1] if times else 0.0,
            failures={name: count for name, count in failures.items() if count > 0},
            programs_failed=since["failures"],
            complete=complete,
        )


def quantile(ordered: Sequence[float], share: float) -> float:
    """The smallest of the `ordered` values that this share of them does not exceed; 0 if there are none."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0


def _counts(figures: Figures) -> dict[str, int]:
    return {
        "unavailable": figures.unavailable,
        "timeouts": figures.timeouts,
        "overload": figures.overload,
        "suspected": figures.suspected,
        "failures": figures.failures,
    }
