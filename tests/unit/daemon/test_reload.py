"""A new configuration replaces the one in force only when its programs are proven, in virtual time."""

import errno
import logging
import signal

import attrs
import pytest
import trio
from support.inmemory.pools import Answer, InMemoryWorker, Play, answers, hangs, lives, made, stays
from support.inmemory.reloads import Outcome, Reloading, Telling, reloading, with_hosts

from bridge.config.load import defaults
from bridge.config.settings import ConfigError, Settings
from bridge.pool.poolset import DEFAULT
from bridge.protocol.frames import DENIED
from bridge.protocol.query import Query, Verdict
from bridge.worker.state import State

MISSING = FileNotFoundError(errno.ENOENT, "No such file or directory")
YES, NO = Verdict.GRANTED, Verdict.DENIED
PLAYS: dict[str, Play | OSError] = {
    "/old": answers(),
    "/good": answers(reply=DENIED),
    "/other": answers(),
    "/missing": MISSING,
    "/ends": lives(0.0, status=1),
    "/ends-late": lives(0.7, status=1),
    "/hangs": hangs,
}
OLD = made("/old", pool_size=2)
GOOD = made("/good", pool_size=2)
PROBED = made("/hangs", pool_size=2, probe="nobody@example.com", start_timeout=30.0)


def alone(name: str, **changes: object) -> Settings:
    """A program that may not run twice."""
    return made(name, pool_size=1, **changes)


def argv(there: Reloading) -> dict[str, str]:
    """The programs in force, by host."""
    return {name: pool.program.argv[0] for name, pool in there.poolset.pools.items()}


# --- in force


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> pytest.LogCaptureFixture:
    monkeypatch.setattr(logging.getLogger("bridge"), "propagate", True)
    caplog.set_level(logging.INFO)
    return caplog


async def test_a_program_that_lives_takes_over_after_a_second(autojump_clock, monkeypatch, logged) -> None:
    async with reloading(monkeypatch, OLD, PLAYS) as there:
        there.file = GOOD
        outcome = there.request()
        await trio.sleep(0.9)
        assert there.alive("/good") == 2, "it is there,"
        assert (await there.ask().done()).verdict is YES, "but the old one is asked"
        assert there.reloader.is_proving
        assert await outcome.told() == ""
        assert outcome.at == pytest.approx(3.0, abs=0.1)
        assert (await there.ask().done()).verdict is NO
        assert there.clients is GOOD
        await trio.sleep(0.1)
        assert there.alive("/old") == 0
        assert not there.reloader.is_proving
        assert (there.reloader.loaded, there.reloader.refused, there.reloader.reason) == (1, 0, "")
        assert "configuration loaded new_pools=1 replaced_pools=1" in logged.text


async def test_one_that_is_probed_takes_over_at_once(autojump_clock, monkeypatch) -> None:
    async with reloading(monkeypatch, OLD, PLAYS) as there:
        there.file = PROBED
        outcome = there.request()
        await trio.sleep(5.0)
        assert outcome.reason is None
        (pool,) = there.poolset.proving
        next(iter(pool.workers.values())).proof.set()
        assert await outcome.told() == ""
        assert outcome.at == pytest.approx(7.0, abs=0.1)


async def test_what_changes_no_program_waits_for_nothing(autojump_clock, monkeypatch) -> None:
    async with reloading(monkeypatch, OLD, PLAYS) as there:
        assert await there.reload(attrs.evolve(OLD, max_requests=9)) == ""
        assert trio.current_time() == 2.0
        assert len(there.programs["/old"]) == 2
        assert there.poolset.pools[DEFAULT].settings.max_requests == 9


async def test_without_anything_in_force_there_is_nothing_to_prove(autojump_clock, monkeypatch) -> None:
    """A helper of Prosody's whose file was broken at the start: every second counts."""
    async with reloading(monkeypatch, defaults(), PLAYS) as there:
        assert await there.reload(GOOD) == ""
        assert trio.current_time() == 2.0
        assert (await there.ask().done()).verdict is NO


async def test_programs_of_which_none_ever_worked_are_replaced_too(autojump_clock, monkeypatch) -> None:
    async with reloading(monkeypatch, made("/missing", pool_size=2), PLAYS) as there:
        reason = await there.reload(made("/ends", pool_size=2))
        assert reason == "pool default: /ends: it ended, with status 1, and the old program is down too"
        assert await there.reload(GOOD) == ""
        assert (await there.ask().done()).verdict is NO


# --- refused


@pytest.mark.parametrize(
    ("program", "why", "at_most"),
    [
        ("/missing", "it cannot be started: No such file or directory", 0.0),
        ("/ends", "it ended, with status 1", 0.3),
        ("/ends-late", "it ended, with status 1", 1.6),
    ],
)
@pytest.mark.parametrize("pool_size", [2, 3])
async def test_a_program_that_does_not_live_changes_nothing(
    autojump_clock, monkeypatch, logged, program: str, why: str, at_most: float, pool_size: int
) -> None:
    async with reloading(monkeypatch, OLD, PLAYS) as there:
        pools, programs = dict(there.poolset.pools), [*there.programs["/old"]]
        reason = await there.reload(made(program, "--password=secret", pool_size=pool_size, window=7))
        assert reason == f"pool default: {program}: {why}"
        assert trio.current_time() - 2.0 <= at_most + 0.1
        assert there.poolset.pools == pools
        assert there.programs["/old"] == programs
        assert {one.state for one in programs} == {State.ASKABLE}
        assert there.clients is OLD
        assert there.poolset.router.settings is OLD
        assert not there.poolset.proving and not there.poolset.draining
        assert (await there.ask().done()).verdict is YES
        started = len(there.programs[program])
        await trio.sleep(60.0)
        assert len(there.programs[program]) == started, "it is not tried again"
        assert there.alive(program) == 0
        assert (there.reloader.loaded, there.reloader.refused, there.reloader.reason) == (0, 1, reason)
        assert f'configuration refused, the old one stays reason="{reason}"' in logged.text
        assert "secret" not in logged.text


async def test_how_a_program_ended_is_told_when_it_is_known(autojump_clock, monkeypatch) -> None:
    """A busy machine may take a while from the end of its output to its own."""

    async def ends(program: InMemoryWorker) -> int:
        program.ignores.add(signal.SIGKILL)
        program.kill("it ended")
        await trio.sleep(0.2)
        return 3

    async with reloading(monkeypatch, OLD, {**PLAYS, "/ends": ends}) as there:
        assert await there.reload(made("/ends", pool_size=2)) == "pool default: /ends: it ended, with status 3"


async def test_a_probe_that_is_not_answered_is_waited_for_as_long_as_a_start_may_take(
    autojump_clock, monkeypatch
) -> None:
    async with reloading(monkeypatch, OLD, PLAYS) as there:
        reason = await there.reload(PROBED)
        assert reason.startswith("pool default: /hangs: it gave no first reply within start_timeout")
        assert trio.current_time() - 2.0 == pytest.approx(31.0, abs=0.2)
        assert (await there.ask().done()).verdict is YES
        assert there.alive("/hangs") == 0


async def test_one_of_two_that_fails_refuses_both(autojump_clock, monkeypatch) -> None:
    async with reloading(monkeypatch, OLD, PLAYS) as there:
        reason = await there.reload(with_hosts(GOOD, one_example="/other", two_example="/missing"))
        assert reason.startswith("pool two.example: /missing: it cannot be started")
        assert argv(there) == {DEFAULT: "/old"}
        assert there.alive("/good") == there.alive("/other") == 0
        assert await there.reload(with_hosts(GOOD, one_example="/other")) == ""
        assert argv(there) == {DEFAULT: "/good", "one.example": "/other"}


async def test_one_that_fails_while_others_are_waited_for_is_noticed(autojump_clock, monkeypatch) -> None:
    """It had lived for a second: all must be proven at the same time."""
    async with reloading(monkeypatch, OLD, {**PLAYS, "/brief": lives(5.0)}) as there:
        file = with_hosts(made("/brief", pool_size=2), one_example="/hangs")
        one = attrs.evolve(file.hosts["one.example"], probe="nobody@example.com")
        assert await there.reload(attrs.evolve(file, hosts={"one.example": one})) == (
            "pool default: /brief: it ended, with status 1"
        )


@pytest.mark.parametrize("file", [ConfigError("auth.toml, line 1: unknown key"), OLD], ids=["file", "users"])
async def test_what_is_wrong_without_any_program(autojump_clock, monkeypatch, file: Settings | ConfigError) -> None:
    async with reloading(monkeypatch, OLD, PLAYS) as there:
        there.strange = ConfigError('there is no user "nobody-like-that"')
        assert await there.reload(file) == str(file if isinstance(file, ConfigError) else there.strange)
        assert trio.current_time() == 2.0
        assert there.poolset.router.settings is OLD


async def test_a_user_who_is_removed_while_programs_are_proven(autojump_clock, monkeypatch) -> None:
    async with reloading(monkeypatch, OLD, PLAYS) as there:
        there.strange = ConfigError('there is no user "just-removed"')
        assert await there.reload(GOOD) == str(there.strange)
        assert there.alive("/good") == 0
        assert (await there.ask().done()).verdict is YES


async def test_however_often_it_is_tried_there_are_never_more_than_twice_as_many(autojump_clock, monkeypatch) -> None:
    """The new ones take their time to leave; the next try waits for that."""
    async with reloading(monkeypatch, OLD, {**PLAYS, "/stays": stays}) as there:
        for _ in range(20):
            assert await there.reload(with_hosts(made("/stays", pool_size=2), one_example="/missing"))
            assert there.alive("/stays") == 0
        assert there.most == 2 + 2
        assert there.poolset.everything == [*there.poolset.pools.values()]
        assert len(there.service._supervisors) == 1
        assert there.reloader.refused == 20


# --- a program that must be alone


async def test_an_old_program_that_must_be_alone_makes_room_after_its_question(autojump_clock, monkeypatch) -> None:
    plays = {**PLAYS, "/old": answers(0.5)}
    async with reloading(monkeypatch, alone("/old"), plays) as there:
        in_hand, waiting = there.ask(), there.ask()
        there.file = alone("/good")
        outcome = there.request()
        await trio.sleep(1.0)
        later = there.ask()
        assert await outcome.told() == ""
        assert [(await one.done()).verdict for one in (in_hand, waiting, later)] == [YES, NO, NO]
        assert in_hand.seconds == pytest.approx(0.5)
        assert waiting.seconds < 2.0
        assert there.most == 1


@pytest.mark.parametrize("broken", ["/missing", "/ends", "/ends-late", "/hangs"])
async def test_and_is_brought_back_if_the_new_one_fails(autojump_clock, monkeypatch, broken: str) -> None:
    async with reloading(monkeypatch, alone("/old"), PLAYS) as there:
        there.file = alone(broken, probe="nobody@example.com", start_timeout=1.0)
        outcome, waiting = there.request(), there.ask()
        assert (await outcome.told()).startswith(f"pool default: {broken}: ")
        assert (await waiting.done()).verdict is YES
        assert waiting.seconds < 2.5
        assert there.most == 1
        assert len(there.programs["/old"]) == 2
        assert (await there.ask().done()).seconds == 0.0
        assert there.reloader.refused == 1


async def test_it_makes_room_only_when_the_others_are_proven(autojump_clock, monkeypatch) -> None:
    async with reloading(monkeypatch, alone("/old"), PLAYS) as there:
        file = alone("/good")
        other = made("/missing", pool_size=2).program
        assert other is not None
        assert await there.reload(attrs.evolve(file, hosts={"one.example": other}))
        assert len(there.programs["/old"]) == 1, "it was not even stopped"
        assert there.programs["/good"] == []
        good = attrs.evolve(other, argv=("/other",))
        assert await there.reload(attrs.evolve(file, hosts={"one.example": good})) == ""
        assert there.programs["/good"][0].born == pytest.approx(there.programs["/other"][0].born + 1.0, abs=0.1)


async def test_the_others_must_still_be_proven_when_it_has_made_room(autojump_clock, monkeypatch) -> None:
    async with reloading(monkeypatch, alone("/old"), {**PLAYS, "/brief": lives(1.5)}) as there:
        brief = made("/brief", pool_size=2).program
        assert brief is not None
        there.file = attrs.evolve(alone("/good"), hosts={"one.example": brief})
        outcome = there.request()
        await trio.sleep(1.2)
        assert there.alive("/good") == 1
        there.plays["/brief"] = MISSING
        assert (await outcome.told()).startswith("pool one.example: /brief: it cannot be started")
        assert (await there.ask().done()).verdict is YES
        assert there.alive("/good") == 0


@pytest.mark.parametrize(("old", "new"), [(1, 2), (2, 1)])
async def test_it_is_enough_that_one_of_them_must_be_alone(autojump_clock, monkeypatch, old: int, new: int) -> None:
    async with reloading(monkeypatch, made("/old", pool_size=old), PLAYS) as there:
        assert await there.reload(made("/good", pool_size=new)) == ""
        await trio.sleep(0.1)
        assert there.most == max(old, new)


async def test_one_that_must_be_alone_and_does_not_leave_is_waited_for(autojump_clock, monkeypatch) -> None:
    async with reloading(monkeypatch, alone("/old"), {**PLAYS, "/old": stays}) as there:
        assert await there.reload(alone("/good")) == ""
        assert trio.current_time() - 2.0 == pytest.approx(3.0, abs=0.2), "the grace, SIGTERM, and a second of life"
        assert there.most == 1


async def test_questions_that_waited_for_it_keep_their_time(autojump_clock, monkeypatch) -> None:
    async with reloading(monkeypatch, alone("/old", answer_timeout=2.0), {**PLAYS, "/old": stays}) as there:
        there.file = alone("/good")
        there.request()
        await trio.sleep(0.1)
        answer = await there.ask().done()
        assert (answer.verdict, answer.seconds) == (Verdict.UNAVAILABLE, pytest.approx(2.0))


# --- more than one request


async def test_the_newest_file_wins_and_all_are_told_of_it(autojump_clock, monkeypatch) -> None:
    async with reloading(monkeypatch, OLD, PLAYS) as there:
        there.file = PROBED
        first = there.request()
        await trio.sleep(5.0)
        there.file = GOOD
        second, third = there.request(), there.request()
        assert [await one.told() for one in (first, second, third)] == [""] * 3
        assert first.at == second.at == third.at == pytest.approx(8.0, abs=0.1)
        assert argv(there) == {DEFAULT: "/good"}
        assert there.alive("/hangs") == 0
        assert there.reloader.loaded == 1


async def test_an_open_probe_is_not_waited_for(autojump_clock, monkeypatch) -> None:
    async with reloading(monkeypatch, OLD, PLAYS) as there:
        there.file = PROBED
        there.request()
        await trio.sleep(1.0)
        (pool,) = there.poolset.proving
        pool.ask([Query(b"isuser:nobody:example.com", trio.current_time() + 30.0, Answer())])
        begun = trio.current_time()
        assert await there.reload(attrs.evolve(OLD, max_requests=9)) == ""
        assert trio.current_time() - begun < 0.2


async def test_nobody_is_told_of_an_older_file(autojump_clock, monkeypatch) -> None:
    """At whatever moment the second one asks, above all when the first one's outcome is just being known."""
    for offset in range(120):
        async with reloading(monkeypatch, OLD, PLAYS) as there:
            there.file = GOOD
            there.request()
            await trio.sleep(0.9 + offset / 500)
            there.file = made("/missing", pool_size=2)
            loads = there.loads
            assert (await there.request().told()).startswith("pool default: /missing"), offset
            assert there.loads == loads + 1
            assert (await there.ask().done()).verdict in (YES, NO)


async def test_nor_is_who_asks_while_the_failed_ones_leave(autojump_clock, monkeypatch) -> None:
    async with reloading(monkeypatch, OLD, {**PLAYS, "/stays": stays}) as there:
        there.file = with_hosts(made("/stays", pool_size=2), one_example="/missing")
        first = there.request()
        await trio.sleep(1.0)
        assert there.poolset.draining, "it is decided"
        there.file = GOOD
        second = there.request()
        assert (await first.told()).startswith("pool one.example: /missing")
        assert await second.told() == ""


async def test_a_request_at_the_very_moment_of_the_proof(autojump_clock, monkeypatch) -> None:
    """The wait is over and cannot be cancelled any more, but nothing is decided yet."""
    async with reloading(monkeypatch, OLD, PLAYS) as there:
        second: list[Outcome] = []

        def proven(_pool: object, now: float, _patience: float) -> bool | None:
            if now < 3.0:
                return None
            if not second:
                there.file = made("/missing", pool_size=2)
                second.append(there.request())
            return True

        monkeypatch.setattr("bridge.daemon.reload.outlook", proven)
        there.file = GOOD
        first = there.request()
        await first.told()
        assert argv(there) != {DEFAULT: "/good"}
        assert there.loads == 2


async def test_one_that_is_abandoned_while_a_program_makes_room(autojump_clock, monkeypatch) -> None:
    """At whatever moment: no two of them run at once, and nobody's question is lost."""
    for offset in range(30):
        async with reloading(monkeypatch, alone("/old"), {**PLAYS, "/old": answers(0.2)}) as there:
            asked = [there.ask()]
            there.file = alone("/good")
            there.request()
            await trio.sleep(offset * 0.05)
            asked.append(there.ask())
            there.file = alone("/other")
            assert await there.request().told() == ""
            asked.append(there.ask())
            assert all([(await one.done()).verdict is not Verdict.UNAVAILABLE for one in asked])
            assert there.most == 1
            assert argv(there) == {DEFAULT: "/other"}


# --- the end


@pytest.mark.parametrize("settings", [OLD, alone("/old")], ids=["beside", "alone"])
async def test_told_to_stop_while_it_proves(autojump_clock, monkeypatch, settings: Settings) -> None:
    async with reloading(monkeypatch, settings, PLAYS) as there:
        assert settings.program is not None
        there.file = attrs.evolve(PROBED, program=attrs.evolve(settings.program, argv=("/hangs",), probe="a@b"))
        outcome = there.request()
        await trio.sleep(0.5)
        waiting = there.ask()
        there.reloader.stop()
        assert (outcome.reason, outcome.at) == ("the daemon is stopping", trio.current_time())
        late = there.request()
        assert late.reason == "the daemon is stopping"
        assert (await waiting.done()).verdict is YES
        assert waiting.seconds < 0.2
        await trio.sleep(0.1)
        assert there.alive("/hangs") == 0
        assert there.loads == 1


# --- load


async def test_nobody_notices_good_and_bad_reloads(autojump_clock, monkeypatch) -> None:
    """A hundred questions a second to programs of 20 ms: each is answered, and at once."""
    plays = {**PLAYS, "/old": answers(0.02), "/good": answers(0.02), "/other": answers(0.02)}
    async with reloading(monkeypatch, made("/old", pool_size=4), plays) as there:
        asked: list[Answer] = []

        async def load() -> None:
            while True:
                asked.append(there.ask())
                await trio.sleep(0.01)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(load)
            for name in ("/missing", "/good", "/ends-late", "/other", "/ends", "/old"):
                assert bool(await there.reload(made(name, pool_size=4))) is (
                    name in ("/missing", "/ends", "/ends-late")
                )
            nursery.cancel_scope.cancel()
        assert len(asked) > 300
        assert {(await one.done()).verdict for one in asked} == {YES}
        assert max(one.seconds for one in asked) < 0.05
        assert sum(pool.figures.failures for pool in there.poolset.pools.values()) == 0


# --- systemd


async def test_systemd_is_told_of_the_end_in_either_case(autojump_clock, monkeypatch) -> None:
    systemd = Telling()
    async with reloading(monkeypatch, OLD, PLAYS, systemd) as there:
        await there.reload(made("/missing", pool_size=2))
        await there.reload(GOOD)
        assert [said.split()[0] for said in systemd.told] == ["RELOADING", "READY"] * 2
        assert "configuration refused: pool default: /missing: it cannot be started" in systemd.told[1]
        assert systemd.told[1].startswith("READY 2 of 2 programs up")
        assert "refused" not in systemd.told[3]
