"""Timers call their action at the earliest of the times they were set to; the reactor keeps them."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.loop.reactor import Reactor
from bridge.loop.timer import FOREVER, Timer, Timers


class Many:
    """Timers of one reactor, on a clock that the test moves.

    Attributes:
      rang: the numbers of those whose actions were called, in order.
      again: what each is set to by its action, by number.
    """

    def __init__(self, count: int) -> None:
        self.now = 0.0
        self.errors: list[Exception] = []
        self.rang: list[int] = []
        self.again: dict[int, float] = {}
        self.reactor = Reactor(self.errors.append, lambda: self.now)
        self.timers = [self._timer(number) for number in range(count)]

    def _timer(self, number: int) -> Timer:
        def action() -> None:
            self.rang.append(number)
            if number in self.again:
                timer.set(self.again.pop(number))

        timer = self.reactor.call_at(FOREVER, action)
        return timer

    @property
    def first(self) -> float:
        return self.now + self.reactor.pause()

    def run(self, until: float) -> None:
        while self.first <= until:
            self.now = max(self.now, self.first)
            self.reactor.run_once()
        self.now = until


@pytest.fixture
def make() -> Iterator[type[Many]]:
    made: list[Many] = []

    class Made(Many):
        def __init__(self, count: int) -> None:
            super().__init__(count)
            made.append(self)

    yield Made
    for many in made:
        many.reactor.close()


def test_nothing_set(make) -> None:
    many = make(1)
    assert many.timers[0].when == many.reactor.pause() == FOREVER
    many.timers[0].set(FOREVER)
    many.timers[0].set(2.0)
    many.timers[0].set(FOREVER)
    assert many.timers[0].when == 2.0


@given(st.lists(st.floats(0, 100), min_size=1))
def test_the_earliest_time_counts_and_only_an_earlier_one_wakes(times: list[float]) -> None:
    woken: list[float] = []
    timers = Timers(lambda: woken.append(timer.when))
    timer = Timer(lambda: None, timers)
    for number, when in enumerate(times, 1):
        timer.set(when)
        assert timer.when == timers.first == min(times[:number])
    assert woken == sorted(set(woken), reverse=True)
    assert woken[-1] == min(times)


def test_ringing_forgets_the_time_and_takes_the_next(make) -> None:
    many = make(1)
    many.again[0] = 7.0
    many.timers[0].set(3.0)
    many.run(5.0)
    assert many.rang == [0]
    assert many.timers[0].when == 7.0
    many.run(100.0)
    assert many.rang == [0, 0]
    assert many.timers[0].when == FOREVER


def test_called_at_a_time(make) -> None:
    many, rang = make(0), []
    many.reactor.call_at(4.0, lambda: rang.append(many.now))
    many.run(100.0)
    assert rang == [4.0]


def test_one_that_is_cancelled_does_not_ring_unless_it_is_set_again(make) -> None:
    many = make(2)
    for timer in many.timers:
        timer.set(1.0)
        timer.cancel()
    many.timers[1].set(2.0)
    many.run(100.0)
    assert many.rang == [1]


def test_one_that_another_cancels_at_the_same_time(make) -> None:
    many = make(1)
    many.reactor.call_at(1.0, many.timers[0].cancel)
    many.timers[0].set(1.0)
    many.run(100.0)
    assert many.rang == []


def test_of_many_only_those_whose_time_has_come_ring(make) -> None:
    many = make(10_000)
    for number in (7, 42, 9000):
        many.timers[number].set(number / 1000)
    assert many.first == 0.007
    many.run(0.05)
    assert many.rang == [7, 42]
    many.run(100.0)
    assert many.rang == [7, 42, 9000]
    assert many.first == FOREVER


def test_one_that_was_set_to_an_earlier_time_rings_once(make) -> None:
    many = make(2)
    many.timers[0].set(5.0)
    many.timers[0].set(3.0)
    many.run(10.0)
    assert many.rang == [0]


def test_one_that_is_always_due_lets_the_others_ring_and_events_be_handled(make) -> None:
    many, events = make(2), []
    for timer in many.timers:
        timer.set(1.0)
    many.now = 1.0
    for _ in range(3):
        many.again[0] = 0.0
        many.reactor.call_soon(lambda: events.append(len(many.rang)))
        many.reactor.run_once()
    assert many.rang == [0, 1, 0, 0]
    assert events == [0, 2, 3]


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0, 100)), max_size=20), st.floats(0, 100))
def test_many_as_each_alone_would_ring(settings_made: list[tuple[int, float]], until: float) -> None:
    many, earliest = Many(4), {}
    for number, when in settings_made:
        many.timers[number].set(when)
        earliest[number] = min(when, earliest.get(number, FOREVER))
    assert many.first == min(earliest.values(), default=FOREVER)
    many.run(until)
    assert sorted(many.rang) == sorted(number for number, when in earliest.items() if when <= until)
    many.reactor.close()


def test_events_are_handled_before_any_of_them_rings(make) -> None:
    """We may have been stopped: a reply that has arrived by now is no silence."""
    many, happened = make(0), []
    many.reactor.call_at(1.0, lambda: happened.append("time"))
    many.reactor.call_soon(lambda: happened.append("event"))
    many.now = 5.0
    many.reactor.run_once()
    assert happened == ["event", "time"]


def test_what_an_action_asks_for_soon_is_done_at_once(make) -> None:
    many, done = make(0), []
    many.reactor.call_at(1.0, lambda: many.reactor.call_soon(lambda: done.append(1)))
    many.now = 1.0
    many.reactor.run_once()
    assert done == [1]


def test_an_error_in_one_is_told_and_keeps_no_other_from_ringing(make) -> None:
    many, rings = make(3), []

    def fail() -> None:
        rings.append(many.now)
        raise MemoryError

    many.reactor.call_at(1.0, fail)
    for timer in many.timers:
        timer.set(1.0)
    many.run(2.5)
    assert many.rang == [0, 1, 2]
    assert rings == [1.0, 2.0], "it is tried again"
    assert [type(error) for error in many.errors] == [MemoryError] * 2


def test_an_error_that_cannot_even_be_told_loses_no_timer(make) -> None:
    many = make(2)

    def fail(*_: object) -> None:
        raise MemoryError

    many.reactor.report = fail
    many.reactor.call_at(1.0, fail)
    many.timers[0].set(1.0)
    many.timers[1].set(1.0)
    many.now = 1.0
    with pytest.raises(MemoryError):
        many.reactor.run_once()
    many.reactor._running = False
    many.reactor.run_once()
    assert many.rang == [0, 1]


@pytest.mark.parametrize("failing", range(8))
def test_being_cut_short_without_memory_loses_no_timer(failing: int) -> None:
    testcapi = pytest.importorskip("_testcapi", reason="this Python cannot let allocations fail")
    timers = Timers(lambda: None)
    for _ in range(20):
        Timer(lambda: None, timers).set(1.0)
    due = timers.due(1.0)
    next(due)
    testcapi.set_nomemory(failing, failing + 3)
    try:
        due.close()
    except MemoryError:
        pass
    finally:
        testcapi.remove_mem_hooks()
    assert len([*timers.due(1.0)]) == 19


def test_an_error_of_an_owner_who_can_be_ended_ends_that_owner(make) -> None:
    class Owner:
        def __init__(self) -> None:
            self.rang, self.ended = 0, []

        def ring(self) -> None:
            self.rang += 1
            raise MemoryError

        def failed(self, error: Exception) -> None:
            self.ended.append(type(error))

    many, owner = make(0), Owner()
    many.reactor.call_at(1.0, owner.ring)
    many.run(100.0)
    assert (owner.rang, owner.ended, many.errors) == (1, [MemoryError], [])


# --- without trio ----------------------------------------------------------------------------------------


def test_running_until_something_is_done() -> None:
    reactor, happened = Reactor(), []
    reactor.call_at(reactor.clock() + 0.02, lambda: happened.append("time"))
    reactor.call_at(reactor.clock() + 60.0, lambda: happened.append("too late"))
    reactor.call_soon(lambda: happened.append("soon"))
    reactor.run_until(lambda: len(happened) == 2)
    assert happened == ["soon", "time"]
    reactor.close()


def test_a_timer_that_is_set_from_outside_shortens_the_wait() -> None:
    """`fileno` becomes readable, so that a wait for it ends and looks at `pause` again."""
    reactor, happened = Reactor(), []
    timer = reactor.call_at(reactor.clock() + 1000.0, lambda: happened.append("time"))
    reactor.run_once()
    timer.set(reactor.clock())
    reactor.run_until(lambda: bool(happened))
    assert happened == ["time"]
    reactor.close()
