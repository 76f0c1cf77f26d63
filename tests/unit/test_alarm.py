"""The alarm rings at the earliest of the times it was set to, and wakes whoever waits for a later one."""

from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.alarm import FOREVER, Alarm

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
    assert Alarm(Ring()).when == FOREVER


@unhurried
@given(st.lists(st.floats(0, 100), min_size=1))
def test_the_earliest_time_counts_and_only_an_earlier_one_wakes(times: list[float]) -> None:
    alarm, woken = Alarm(Ring()), []
    alarm.wake = lambda: woken.append(alarm.when)
    for number, when in enumerate(times, 1):
        alarm.set(when)
        assert alarm.when == min(times[:number])
    assert woken == sorted(set(woken), reverse=True)
    assert woken[-1] == min(times)


def test_ringing_forgets_the_time_and_takes_the_next() -> None:
    ring = Ring(then=7.0)
    alarm = Alarm(ring)
    alarm.set(3.0)
    alarm.ring()
    assert ring.rang == 1
    assert alarm.when == 7.0
    ring.then = FOREVER
    alarm.ring()
    assert alarm.when == FOREVER


def test_what_is_set_while_it_rings_is_not_lost() -> None:
    alarm = Alarm(lambda: (alarm.set(4.0), 9.0)[1])
    alarm.set(1.0)
    alarm.ring()
    assert alarm.when == 4.0


def test_setting_it_to_never_changes_nothing() -> None:
    alarm = Alarm(Ring())
    alarm.set(FOREVER)
    assert alarm.when == FOREVER
    alarm.set(2.0)
    alarm.set(FOREVER)
    assert alarm.when == 2.0
