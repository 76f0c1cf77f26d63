"""What became of how many logins of which kind, and what that says."""

import statistics
from collections import Counter

import trio

from support.logins.table import Attempt

GRANTED, REFUSED, AGAIN = "granted", "refused", "try again"
OUTCOMES = (GRANTED, REFUSED, AGAIN)


class Tally:
    """Of one run.

    Attributes:
      false: the attempts with a wrong password that were let in; there must be none.
      calm: seconds until everybody could log in again after the last thing was broken.
      notes: what else is worth a line, and how often it happened.
    """

    def __init__(self, title: str) -> None:
        self.title = title
        self.false: list[Attempt] = []
        self.notes: Counter[str] = Counter()
        self._counts: Counter[tuple[bool, str, str]] = Counter()
        self._seconds: list[float] = []
        self._broken: Counter[str] = Counter()
        self._cost: Counter[str] = Counter()
        self._hosts: Counter[tuple[str, str]] = Counter()
        self._last = "nothing"
        self._news = trio.Condition()
        self.calm = 0.0

    async def until_more(self, logins: int) -> None:
        """Wait until so many more have ended."""
        wanted = self._counts.total() + logins
        async with self._news:
            while self._counts.total() < wanted:
                await self._news.wait()

    def begin(self, what: str) -> None:
        """This is broken now."""
        self._broken[what] += 1
        self._last = what

    async def add(self, attempt: Attempt, outcome: str, seconds: float) -> None:
        """One login has ended."""
        async with self._news:
            self._news.notify_all()
        assert outcome in OUTCOMES, outcome
        self._counts[attempt.right, attempt.kind, outcome] += 1
        if attempt.right:
            self._seconds.append(seconds)
            self._cost[self._last] += outcome != GRANTED
            self._hosts[attempt.host, outcome] += 1
        if not attempt.right and outcome == GRANTED:
            self.false.append(attempt)

    def count(self, right: bool | None = None, outcome: str | None = None, kind: str | None = None) -> int:
        """Of all logins, or only of some."""
        wanted = (right, kind, outcome)
        return sum(
            number
            for key, number in self._counts.items()
            if all(want in (None, has) for want, has in zip(wanted, key, strict=True))
        )

    def broken(self) -> int:
        """How often something was broken."""
        return self._broken.total()

    def told_wrong(self) -> int:
        """Right ones that were refused although they could have been told to try again."""
        return self.count(True, REFUSED) - self.count(True, REFUSED, "right, XEP-0078")

    def report(self) -> str:
        """All of it, for a person."""
        sums = {"all right ones": (True, None), "all wrong ones": (False, None)}
        rows = [self._row(kind, right, kind) for right, kind in sorted({key[:2] for key in self._counts}, reverse=True)]
        rows += ["", *(self._row(what, right, kind) for what, (right, kind) in sums.items())]
        rows += [
            row(f"right, {host}", [self._hosts[host, one] for one in OUTCOMES])
            for host in sorted({host for host, _ in self._hosts})
        ]
        head = f"{'':24}{'logins':>8}" + "".join(f"{one:>12}" for one in OUTCOMES)
        return "\n".join([self.title, "", head, *rows, "", *self._figures(), "", *self._breakages(), ""])

    def _row(self, what: str, right: bool, kind: str | None) -> str:
        return row(what, [self.count(right, one, kind) for one in OUTCOMES])

    def _figures(self) -> list[str]:
        again, right_ones = self.count(True, AGAIN), self.count(True)
        lines = [f"False accepts: {len(self.false)}.  Right ones told to try again: {again} of {right_ones}."]
        if len(self._seconds) > 1:
            median, slowest = statistics.median(self._seconds), statistics.quantiles(self._seconds, n=100)[-1]
            lines.append(f"A right login took {median:.3f} s, one in a hundred {slowest:.2f} s or more.")
        return [*lines, f"When nothing was broken any more, all was well after {self.calm:.2f} s."]

    def _breakages(self) -> list[str]:
        lines = [f"{'broken':36}{'times':>8}{'right ones that were not let in then':>40}"]
        lines += [f"{what:36}{number:8}{self._cost[what]:40}" for what, number in sorted(self._broken.items())]
        return [*lines, "", *(f"{number:6} {what}" for what, number in sorted(self.notes.items()))]


def row(what: str, numbers: list[int]) -> str:
    """One line of a table: how many logins, and what became of them."""
    return f"{what:24}{sum(numbers):8}" + "".join(f"{number or '-':>12}" for number in numbers)
