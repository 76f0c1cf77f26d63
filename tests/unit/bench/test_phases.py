"""The open loop's times are fixed in advance."""

from types import SimpleNamespace

from bridge.bench.phases import AtRate
from bridge.pool.figures import Figures
from bridge.protocol.query import Query, Verdict


class Site:
    """What a phase sees of its load: the clock and the timer are moved by hand, and every query is granted at once."""

    def __init__(self, rate: float) -> None:
        self.now = 100.0
        self.intended: list[float] = []
        self.reactor = SimpleNamespace(call_at=self._call_at)
        self.pool = SimpleNamespace(figures=Figures(), workers={})
        self.job = SimpleNamespace(programs=1, seconds=1.0, rate=rate)
        self.timer = SimpleNamespace(when=float("inf"), set=lambda when: setattr(self.timer, "when", when))
        self.phase = AtRate(self)  # type: ignore[arg-type]

    def clock(self) -> float:
        return self.now

    def _call_at(self, when: float, action: object) -> SimpleNamespace:
        self.timer.when, self.action = when, action
        return self.timer

    def ask(self, intended: float) -> None:
        self.intended.append(intended)
        query = Query(b"", 0.0, self)  # type: ignore[arg-type]
        query.verdict = Verdict.GRANTED
        self.phase.ended(query, intended)

    def go_on(self, until: float) -> None:
        """Let time pass, with nothing in between: as if we were stopped until then."""
        self.now = until
        if self.timer.when <= until:
            self.action()


def test_a_query_that_we_ask_late_is_late() -> None:
    """Its time runs from the moment it was meant to be asked, or our own standstill would improve the figures."""
    site = Site(rate=100)
    site.phase.begin()
    site.go_on(100.0)
    site.go_on(100.305)
    assert [round(when - 100, 2) for when in site.intended] == [number / 100 for number in range(31)]
    assert site.timer.when == 100.31
    found = site.phase._tally.result(site.now, complete=False)
    assert round(found.longest, 3) == 0.295


def test_it_ends_after_its_last_query() -> None:
    site = Site(rate=100)
    site.phase.begin()
    site.go_on(100.0)
    for number in range(1, 200):
        assert not site.phase.over
        site.go_on(100.0001 + number / 100)
    assert site.phase.over
    assert len(site.intended) == 200
    assert round(site.phase._tally.result(site.now, complete=True).rate) == 100


def test_it_lets_replies_be_read_if_it_is_far_behind() -> None:
    site = Site(rate=10_000)
    site.phase.begin()
    site.go_on(100.5)
    assert len(site.intended) == 200
    assert site.timer.when == site.now
