"""The timer rings at the earliest of the times it was set to, and wakes whoever waits for a later one."""

from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.loop.timer import FOREVER, Timer, Timers

unhurried = settings(deadline=None)  # the machine may be busy


class Ring:
    """What is due, and when to ring next."""

    def __init__(self, then: float = FOREVER) -> None:
        self.rang = 0
        self.then = then

    def __call__(self) -> float:
        self.rang += 1
        return self.then


def test_nothing_set() -> None:
    assert Timer(Ring()).when == FOREVER


@unhurried
@given(st.lists(st.floats(0, 100), min_size=1))
def test_the_earliest_time_counts_and_only_an_earlier_one_wakes(times: list[float]) -> None:
    timer, woken = Timer(Ring()), []
    timer.wake = lambda: woken.append(timer.when)
    for number, when in enumerate(times, 1):
        timer.set(when)
        assert timer.when == min(times[:number])
    assert woken == sorted(set(woken), reverse=True)
    assert woken[-1] == min(times)


def test_ringing_forgets_the_time_and_takes_the_next() -> None:
    ring = Ring(then=7.0)
    timer = Timer(ring)
    timer.set(3.0)
    timer.ring()
    assert ring.rang == 1
    assert timer.when == 7.0
    ring.then = FOREVER
    timer.ring()
    assert timer.when == FOREVER


def test_what_is_set_while_it_rings_is_not_lost() -> None:
    timer = Timer(lambda: (timer.set(4.0), 9.0)[1])
    timer.set(1.0)
    timer.ring()
    assert timer.when == 4.0


def test_setting_it_to_never_changes_nothing() -> None:
    timer = Timer(Ring())
    timer.set(FOREVER)
    assert timer.when == FOREVER
    timer.set(2.0)
    timer.set(FOREVER)
    assert timer.when == 2.0


# --- many, kept as one -----------------------------------------------------------------------------------


class Many:
    """So many timers, kept as one, on a clock that the test moves."""

    def __init__(self, count: int) -> None:
        self.now = 0.0
        self.errors: list[Exception] = []
        self.befores: list[float] = []
        self.all = Timers(lambda: self.now, self.errors.append, lambda: self.befores.append(self.now))
        self.rings = [Ring() for _ in range(count)]
        self.timers = [self.all.add(ring) for ring in self.rings]

    @property
    def rang(self) -> list[int]:
        return [number for number, ring in enumerate(self.rings) for _ in range(ring.rang)]

    def run(self, until: float) -> None:
        while self.all.when <= until:
            self.now = max(self.now, self.all.when)
            self.all.ring()
        self.now = until


def test_of_many_only_those_whose_time_has_come_ring() -> None:
    many = Many(10_000)
    for number in (7, 42, 9000):
        many.timers[number].set(number / 1000)
    assert many.all.when == 0.007
    many.run(0.05)
    assert many.rang == [7, 42]
    many.run(100.0)
    assert many.rang == [7, 42, 9000]
    assert many.all.when == FOREVER


def test_one_of_many_that_was_set_to_an_earlier_time_rings_once() -> None:
    many = Many(2)
    many.timers[0].set(5.0)
    many.timers[0].set(3.0)
    many.run(10.0)
    assert many.rang == [0]


def test_one_of_many_that_is_always_due_lets_the_others_ring() -> None:
    many = Many(2)
    many.rings[0].then = 0.0
    for timer in many.timers:
        timer.set(1.0)
    many.now = 1.0
    for _ in range(3):
        many.all.ring()
    assert many.rang == [0, 0, 0, 1]


@unhurried
@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0, 100)), max_size=20), st.floats(0, 100))
def test_many_as_each_alone_would_ring(settings_made: list[tuple[int, float]], until: float) -> None:
    many, alone = Many(4), [Timer(Ring()) for _ in range(4)]
    for number, when in settings_made:
        many.timers[number].set(when)
        alone[number].set(when)
    assert many.all.when == min(timer.when for timer in alone)
    many.run(until)
    assert many.rang == [number for number, timer in enumerate(alone) if timer.when <= until]


def test_before_any_of_them_rings() -> None:
    """Once, however many do, and with the time that it has become."""
    many = Many(3)
    many.timers[0].set(1.0)
    many.timers[1].set(1.0)
    many.run(2.0)
    assert many.befores == [1.0]


def test_an_error_in_one_is_told_and_keeps_no_other_from_ringing() -> None:
    many = Many(3)
    rings = []

    def fail() -> float:
        rings.append(many.now)
        raise MemoryError

    failing = many.all.add(fail)
    failing.set(1.0)
    for timer in many.timers:
        timer.set(1.0)
    many.run(2.5)
    assert many.rang == [0, 1, 2]
    assert rings == [1.0, 2.0], "it is tried again"
    assert [type(error) for error in many.errors] == [MemoryError] * 2
