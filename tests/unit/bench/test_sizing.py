"""When more programs are tried, and what is recommended."""

import math

import pytest

from bridge.bench.phases import Sized
from bridge.bench.sizing import Advice, Stop, advise, fits, has_grown, rate_of, sizes, wait
from bridge.bench.tally import Measured


def loop(rate: float, each: float = 0.02, failed: int = 0) -> Measured:
    failures = {"timeouts": failed} if failed else {}
    times = {"p50": each, "p95": each, "p99": each, "longest": each}
    counts = {"seconds": 1.0, "answers": 1000, "granted": 0, "programs_failed": 0, "complete": True}
    return Measured(rate=rate, failures=failures, **times, **counts)


def sized(programs: int, rate: float, **how: float) -> Sized:
    """So many programs of 10 MiB each."""
    cpu = {"cpu": how.pop("cpu", 0.1), "cpu_of_all": how.pop("cpu_of_all", 0.2)}
    memory = programs * 10 * 2**20
    return Sized(programs=programs, startup=0.1, memory=memory, closed=loop(rate, **how), **cpu)


SLEEPING = [sized(number, 50.0 * number) for number in (1, 2, 4, 8)]
"""Each query takes 20 ms, and programs do not disturb each other."""

ONE_AT_A_TIME = [sized(1, 100.0, each=0.01), sized(2, 102.0)]


def advice(measured: list[Sized], needed: float = 0.0, stop: Stop = Stop.MOST, alone: bool = False) -> Advice:
    return advise(measured, stop, needed, alone)


@pytest.mark.parametrize(("most", "found"), [(1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (8, [1, 2, 4, 8])])
def test_sizes_double_up_to_the_most(most: int, found: list[int]) -> None:
    assert [*sizes(most)] == found


def test_the_rate_grows_if_twice_the_programs_answer_a_tenth_more() -> None:
    assert has_grown(sized(2, 100), sized(4, 111))
    assert not has_grown(sized(2, 100), sized(4, 109))
    assert has_grown(sized(4, 100), sized(6, 106)), "half as many more: half a tenth"


def test_a_quarter_of_the_memory_is_left() -> None:
    assert fits(sized(2, 1), 4, 60 * 2**20)
    assert not fits(sized(2, 1), 4, 50 * 2**20)
    assert fits(sized(2, 1), 1024, 0), "it is not known how much there is"


def test_between_two_sizes_the_rate_grows_evenly() -> None:
    assert [rate_of(SLEEPING, number) for number in (1, 2, 3, 8)] == [50, 100, 150, 400]


@pytest.mark.parametrize(
    ("programs", "used", "seconds"),
    [(1, 0.5, math.log(50) / 0.5), (1, 0.8, math.log(80) / 0.2), (2, 0.5, math.log(100 / 3) / 1.0)],
)
def test_waits_are_those_of_erlangs_formula(programs: int, used: float, seconds: float) -> None:
    """One program: a query waits with the probability that it is busy; two at half their time: with a third."""
    assert wait(programs, 1.0, programs * used) == pytest.approx(seconds)


def test_nothing_waits_for_many_programs_and_everything_for_too_few() -> None:
    assert wait(50, 1.0, 10.0) == 0.0
    assert wait(1, 1.0, 1.0) == math.inf


@pytest.mark.parametrize(("needed", "size"), [(10, 2), (79, 2), (81, 3), (119, 3), (161, 5), (319, 8)])
def test_the_smallest_size_whose_time_is_used_for_four_fifths(needed: float, size: int) -> None:
    found = advice(SLEEPING, needed)
    assert (found.pool_size, found.enough) == (size, True)


def test_the_sentence_says_how_much_of_their_time_is_used() -> None:
    found = advice(SLEEPING, 70)
    assert "2 programs answer 100 queries a second, so 70% of their time is used" in found.sentences[0]


def test_slow_queries_must_not_wait_for_each_other_for_long() -> None:
    """Four programs would have the time, but a query in a hundred would wait for seconds."""
    slow = [sized(number, 1.0 * number, each=0.3) for number in (1, 2, 4, 8, 16)]
    found = advice(slow, 3.2)
    assert found.pool_size is not None
    assert found.pool_size > 4
    assert wait(found.pool_size, 1.0, 3.2) <= 0.5


def test_what_is_too_much_for_the_largest_is_not_promised() -> None:
    found = advice(SLEEPING, 321)
    assert (found.pool_size, found.enough) == (8, False)
    assert "not enough" in found.sentences[0]
    assert "320" in found.sentences[0]


def test_at_least_two_unless_it_must_be_alone() -> None:
    found = advice(ONE_AT_A_TIME, stop=Stop.GROWTH)
    assert found.pool_size == 2
    assert any("One would do" in sentence for sentence in found.sentences)
    assert advice([sized(1, 100)], alone=True).pool_size == 1
    assert advice(SLEEPING, 10).pool_size == 2


def test_as_many_as_are_worth_it_if_nothing_is_asked_for() -> None:
    assert advice([*SLEEPING, sized(16, 405)], stop=Stop.GROWTH).pool_size == 8


@pytest.mark.parametrize(
    ("cpu", "cpu_of_all", "blamed"),
    [(0.9, 0.95, "the CPUs are busy"), (0.1, 0.95, "wait for each other"), (0.1, 0.2, "wait for each other")],
)
def test_it_is_said_what_keeps_more_from_answering_more(cpu: float, cpu_of_all: float, blamed: str) -> None:
    measured = [sized(1, 100), sized(2, 101, cpu=cpu, cpu_of_all=cpu_of_all)]
    assert blamed in " ".join(advice(measured, stop=Stop.GROWTH).sentences)


@pytest.mark.parametrize("stop", [Stop.MOST, Stop.MEMORY, Stop.TROUBLE, Stop.INTERRUPTED])
def test_it_is_said_why_no_more_were_tried(stop: Stop) -> None:
    assert "More" in advice(SLEEPING, stop=stop).sentences[1]


def test_a_size_at_which_queries_fail_is_not_recommended() -> None:
    found = advice([*SLEEPING, sized(16, 800, failed=50)])
    assert found.pool_size == 8
    assert "With 16 programs, too many queries failed." in found.sentences
    assert advice([sized(1, 50, failed=50)]).pool_size is None


def test_a_size_that_failed_at_the_rate_itself_is_not_enough() -> None:
    measured = [*SLEEPING]
    measured[1] = Sized(
        programs=2, startup=0, memory=0, cpu=0, cpu_of_all=0, closed=loop(100), at_rate=loop(60, failed=50)
    )
    assert advice(SLEEPING, 70).pool_size == 2
    assert advice(measured, 70).pool_size == 3
