"""What is counted, and how long answers took; under load one answer stands for others."""

import random
from typing import Any

import pytest
import trio
from support.inmemory.pools import AUTH, SETPASS, answers, bench, hangs, lives, made
from support.inmemory.reloads import reloading

from bridge.pool.figures import Figures, Latency
from bridge.protocol.frames import DENIED
from bridge.protocol.query import Verdict

SHARES = (0.5, 0.95, 0.99)


def verdicts(granted: int, denied: int, unavailable: int) -> dict[str, int]:
    return {"granted": granted, "denied": denied, "unavailable": unavailable}


def test_quantiles_are_right_to_a_twentieth() -> None:
    latency, chance = Latency(), random.Random(1)
    times = sorted(chance.lognormvariate(-5, 2) for _ in range(5000))
    for number, seconds in enumerate(chance.sample(times, 5000)):
        latency.add(1000 + number / 100, seconds, 1)
    count, found = latency.over(1050, 60, SHARES)
    assert count == 5000
    for share, seconds in zip(SHARES, found, strict=True):
        assert seconds == pytest.approx(times[int(share * 5000)], rel=0.08)


def test_what_is_old_is_forgotten() -> None:
    latency = Latency()
    for minute in range(120):
        latency.add(60.0 * minute, 0.001 * (minute + 1), 1)
    assert latency.over(60.0 * 119, 60, [1.0])[0] in (1, 2)
    assert 15 <= latency.over(60.0 * 119, 900, [1.0])[0] <= 17
    assert len(latency._slots) <= 17
    assert latency.over(60.0 * 300, 900, SHARES) == (0, [None] * 3)


def test_what_is_old_is_forgotten_of_replaced_pools_too() -> None:
    past = Latency()
    for hour in range(100):  # in each of which a reload replaced a pool
        replaced = Latency()
        for slot in range(90):
            replaced.add(3600.0 * hour + 10.0 * slot, 0.001, 1)
        past.add_all(replaced)
    assert past.over(3600.0 * 99 + 899, 900, [1.0])[0] == 90
    assert len(past._slots) <= 91


@pytest.mark.parametrize("seconds", [0.0, -1.0, 1e-9, 1e-5, 3600.0])
def test_no_time_is_too_short_or_too_long(seconds: float) -> None:
    latency = Latency()
    latency.add(5.0, seconds, 1)
    (found,) = latency.over(5.0, 60, [0.5])[1]
    assert found is not None and found == pytest.approx(max(seconds, 1e-5), rel=0.08)


def test_sums() -> None:
    one, other = Figures(), Figures()
    for number, figures in enumerate((one, other), 1):
        figures.granted_by[1] += number
        figures.timeouts += 10 * number
        figures.failed("ended", 5.0 * number)
        figures.latency.add(100.0, 0.5, number)
    one.add(other)
    assert (one.granted, one.timeouts, one.failures, one.failed_at, one.restarts) == (3, 30, 2, 10.0, {"ended": 2})
    assert one.latency.over(100.0, 60, [])[0] == 3


async def test_where_little_is_asked_everything_is_noted(autojump_clock) -> None:
    async with bench(answers(0.02, DENIED), pool_size=2) as there:
        for number in range(50):
            await there.ask(SETPASS if number % 10 == 0 else AUTH).done()
            await trio.sleep(0.1)
        assert there.pool.figures.by_command == {"auth": verdicts(0, 45, 0), "setpass": verdicts(0, 5, 0)}
        count, (half,) = there.pool.figures.latency.over(there.clock(), 60, [0.5])
        assert (count, half) == (50, pytest.approx(0.02, rel=0.06))


async def test_under_load_one_stands_for_many(autojump_clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as there were, but for the last few of each program."""
    async with bench(answers(0.001), pool_size=2, answer_timeout=4.0, max_requests=0) as there:
        noted, add = [0], there.pool.figures.latency.add

        def count_and_add(now: float, seconds: float, several: int) -> None:
            noted[0] += 1
            add(now, seconds, several)

        monkeypatch.setattr(there.pool.figures.latency, "add", count_and_add)
        for _ in range(160):
            several = [there.ask(b"auth:user%d:example.com:hunter2" % number) for number in range(50)]
            for answer in several:
                await answer.done()
        figures = there.pool.figures
        assert figures.by_command == {"auth": verdicts(8000, 0, 0)}
        count, (half, most) = figures.latency.over(there.clock(), 60, [0.5, 1.0])
        assert 8000 - 2 * 160 < count <= 8000
        assert noted[0] < 64 + 8000 / 96 + 1.1 * 50 * there.clock()
        assert half == pytest.approx(0.0125, rel=0.5), (
            "50 at once, on two programs; some 120 are noted, so five times their scatter"
        )
        assert most is not None and most < 0.03


async def test_a_slow_one_among_many_is_never_missed(autojump_clock) -> None:
    async def play(program) -> None:
        while (frame := await program.frame()) is not None:
            await trio.sleep(1.5 if b"slow" in frame else 0.001)
            program.say(b"\0\2\0\1")

    async with bench(play, pool_size=2, pool_max=2) as there:
        answered = 0
        for number in range(20):
            slow = there.ask(b"auth:slow%d:h:x" % number)
            several = [there.ask(b"auth:u%d:h:x" % other) for other in range(40)]
            for answer in (slow, *several):
                await answer.done()
            answered += slow.verdict is Verdict.GRANTED
        slots = there.pool.figures.latency._slots.values()
        assert answered == 20
        assert sum(count for slot in slots for bucket, count in slot.items() if bucket > 0) == answered


@pytest.mark.parametrize(
    ("play", "keys", "cause"),
    [
        (hangs, {"start_timeout": 6.0}, "start"),
        (lives(0.1), {}, "ended"),
        (FileNotFoundError(2, "no"), {}, "not started"),
    ],
)
async def test_why_starts_fail(autojump_clock, play: Any, keys: dict[str, float], cause: str) -> None:
    async with bench(play, pool_size=1, **keys) as there:
        await there.ask().done()
        await trio.sleep(10)
        assert [*there.pool.figures.restarts] == [cause]
        assert there.pool.figures.failed_at > 0


async def test_one_that_came_too_late_does_not_count(autojump_clock) -> None:
    async with bench(answers(5.0), pool_size=1, pool_max=1) as there:
        await there.ask().done()
        await trio.sleep(10)
        figures = there.pool.figures
        assert figures.by_command == {"auth": verdicts(0, 0, 1)}
        assert (figures.late, figures.latency.over(there.clock(), 60, [])[0]) == (1, 0)


async def test_counters_go_on_after_a_reload(autojump_clock, monkeypatch: pytest.MonkeyPatch) -> None:
    plays = {"/a": answers(0.01), "/b": answers(0.01, DENIED)}
    async with reloading(monkeypatch, made("/a", pool_size=1), plays) as there:
        for _ in range(3):
            await there.ask().done()
        assert await there.reload(made("/b", pool_size=1)) == ""
        for _ in range(2):
            await there.ask().done()
        for _ in range(2):  # the old pool is there, and then it is not
            sums = there.poolset.figures()["default"]
            assert (sums.granted, sums.denied, sums.by_command) == (3, 2, {"auth": verdicts(3, 2, 0)})
            assert sums.latency.over(there.poolset.clock(), 60, [])[0] == 5
            assert "5 answered" in there.poolset.summary()
            await trio.sleep(60)
        assert not there.poolset.draining


async def test_a_refused_reload_changes_no_counter_of_queries(autojump_clock, monkeypatch: pytest.MonkeyPatch) -> None:
    plays = {"/a": answers(0.01), "/b": FileNotFoundError(2, "No such file or directory")}
    async with reloading(monkeypatch, made("/a", pool_size=1), plays) as there:
        await there.ask().done()
        assert await there.reload(made("/b", pool_size=1))
        await trio.sleep(10)
        sums = there.poolset.figures()["default"]
        assert (sums.granted, [*sums.restarts]) == (1, ["not started"])


async def test_a_pool_without_a_program_says_so(autojump_clock, monkeypatch: pytest.MonkeyPatch) -> None:
    plays = {"/a": FileNotFoundError(2, "No such file or directory")}
    async with reloading(monkeypatch, made("/a", pool_size=1), plays) as there:
        why = "pool default cannot answer: /a: it cannot be started: No such file or directory; 0 of 1 programs up"
        assert there.poolset.summary().startswith(why)
        there.plays["/a"] = answers()
        await trio.sleep(40)
        assert there.poolset.summary().startswith("1 of 1 programs up")
