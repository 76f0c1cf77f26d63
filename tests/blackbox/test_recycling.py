"""Programs are replaced after `max_requests` and `max_age`, before they wear out, with no dip in capacity."""

from collections import Counter
from functools import partial
from pathlib import Path

import pytest
from support.process import Bridge
from support.programs.bad import CHAMELEON, Journal, compiled, habit

from .conftest import Start

pytestmark = pytest.mark.slow


class Census:
    """How many programs live, looked at again and again."""

    def __init__(self, bridge: Bridge) -> None:
        self.bridge = bridge
        self.counts: Counter[int] = Counter()

    def look(self) -> None:
        self.counts[len(self.bridge.programs())] += 1

    def check(self, pool_size: int) -> None:
        """Never fewer than the pool's size, never more than one above it."""
        assert set(self.counts) <= {pool_size, pool_size + 1}, dict(self.counts)


@pytest.mark.parametrize("in_flight", [1, 64])
def test_max_requests(start: Start, journal: Journal, in_flight: int) -> None:
    bridge = start(
        *("run", "--pool-size", 2, "--pool-max", 2, "--max-requests", 10, "--answer-timeout", 20),
        *("--start-timeout", 5, "--", *CHAMELEON),  # so long a worn one stays whose successor nobody asks any more
        env=journal.environment,
    )
    assert bridge.ask(b"isuser:alice:h").verdict == "1"
    bridge.wait_for_programs(2)
    descriptors = bridge.descriptors()
    census = Census(bridge)
    lines = [b"isuser:slow50-%s%d:h" % (b"no" if number % 3 else b"u", number) for number in range(200)]
    answers = bridge.converse(lines, in_flight=in_flight, every=census.look)
    assert [answer.verdict for answer in answers] == ["0" if number % 3 else "1" for number in range(200)]
    census.check(2)
    served = Counter(event.pid for event in journal.events("reply"))
    assert len(served) >= 6
    # One at a time is replaced, and not in a hurry, so others serve on, also under load, until their turn has come
    # and the new one is up: a few times 10 replies. Without replacement it would be 100 each, or 200.
    assert max(served.values()) <= 70
    bridge.wait_for_programs(2)
    bridge.until(lambda: bridge.descriptors() <= descriptors, "no more descriptors than before")
    bridge.until(lambda: not bridge.zombies(), "no zombies")
    bridge.finish()


def test_zero_is_never(start: Start, journal: Journal) -> None:
    bridge = start(
        *("run", "--pool-size", 2, "--pool-max", 2, "--max-requests", 0, "--max-age", 0, "--", *habit("good")),
        env=journal.environment,
    )
    bridge.converse([b"isuser:u%d:h" % number for number in range(3000)])
    bridge.finish()
    assert len(journal.events("start")) == 2


def test_the_default_is_five_hundred(start: Start, journal: Journal) -> None:
    bridge = start("run", "--pool-size", 1, "--", *habit("good"), env=journal.environment)
    bridge.converse([b"isuser:u%d:h" % number for number in range(499)], in_flight=1)
    assert len(journal.events("start")) == 1
    bridge.converse([b"isuser:u%d:h" % number for number in range(400)], in_flight=1)
    bridge.until(lambda: len(journal.events("start")) == 2, "a replacement")
    bridge.finish()


def test_a_recursion_of_two_hundred_is_never_reached(start: Start, journal: Journal) -> None:
    """Programs that die of their 201st question lose none, not even a `setpass`, which has no second chance."""
    bridge = start(
        *("run", "--pool-size", 2, "--pool-max", 2, "--max-requests", 100, "--answer-timeout", 20),
        *("--probe", "nobody@h", "--", *habit("dies_after", 200)),
        env=journal.environment,
    )

    def replaced() -> bool:
        served = Counter(event.pid for event in journal.events("reply"))
        return not any(served[pid] >= 100 for pid in bridge.programs())

    lines = [b"setpass:alice:h:x%d" % number for number in range(900)]
    for begin in range(0, len(lines), 100):
        answers = bridge.converse(lines[begin : begin + 100], in_flight=8)
        assert {answer.verdict for answer in answers} == {"1"}
        # One a second is replaced, however quickly questions come.
        bridge.until(replaced, "what is due to have its replacement before the next hundred comes")
        bridge.wait_for_programs(2)
    bridge.finish()


def test_programs_that_leak_descriptors(start: Start, journal: Journal) -> None:
    bridge = start(
        *("run", "--pool-size", 2, "--pool-max", 2, "--max-requests", 20, "--answer-timeout", 20),
        *("--start-timeout", 1, "--", *habit("leaks_descriptors", 200)),
        env=journal.environment,
    )

    def started(count: int) -> bool:
        return len(journal.events("start")) >= count

    for wanted in (4, 6, 8, 10):
        answers = bridge.converse([b"isuser:u%d:h" % number for number in range(100)], in_flight=1)
        assert {answer.verdict for answer in answers} == {"1"}
        bridge.until(partial(started, wanted), "replacements for both")
        bridge.wait_for_programs(2)
    bridge.finish()
    assert not journal.events("starved")


def test_max_age(start: Start) -> None:
    """An idle pool is renewed too, one program at a time."""
    bridge = start("run", "--pool-size", 2, "--max-age", 2.5, "--", *CHAMELEON)
    first = bridge.wait_for_programs(2)
    census = Census(bridge)

    def renewed() -> bool:
        census.look()
        return not set(first) & set(bridge.programs())

    bridge.until(renewed, "two new programs", 10)
    census.check(2)
    assert bridge.ask(b"isuser:alice:h").verdict == "1"
    bridge.until(lambda: not bridge.zombies(), "no zombies")
    bridge.finish()


def test_a_program_is_not_replaced_while_it_is_busy(start: Start) -> None:
    bridge = start("run", "--pool-size", 1, "--max-age", 0.3, "--answer-timeout", 5, "--", *CHAMELEON)
    answers = bridge.converse([b"setpass:slow600-u%d:h:x" % number for number in range(3)])
    assert [answer.verdict for answer in answers] == ["1"] * 3
    bridge.finish()


def test_a_program_that_must_be_alone(start: Start, journal: Journal) -> None:
    """Its second instance kills the first: one replacement is not the reason for another one."""
    bridge = start(*("run", "--pool-size", 1, "--max-requests", 10, "--", *habit("alone")), env=journal.environment)
    answers = []
    for number in range(60):
        answers.append(bridge.ask(b"isuser:u%d:h" % number).verdict)
    assert answers == ["1"] * 60
    bridge.until(lambda: not bridge.zombies(), "no zombies")
    bridge.wait_for_programs(1)
    bridge.finish()
    assert len(journal.events("start")) <= 12


def test_replacements_that_cannot_start_leave_the_old_ones_at_work(start: Start, tmp_path) -> None:
    """A program deleted during an upgrade: no reason to retire the ones that still work."""
    (program,) = compiled(tmp_path)
    bridge = start("run", "--pool-size", 2, "--max-requests", 10, "--", program)
    assert bridge.ask(b"isuser:alice:h").verdict == "1"
    bridge.wait_for_programs(2)
    there, away = Path(program), tmp_path / "away"
    there.rename(away)
    answers = bridge.converse([b"isuser:u%d:h" % number for number in range(300)], in_flight=1)
    assert [answer.verdict for answer in answers] == ["1"] * 300
    away.rename(there)
    answers = bridge.converse([b"isuser:u%d:h" % number for number in range(300)], in_flight=1)
    assert [answer.verdict for answer in answers] == ["1"] * 300
    bridge.finish()
