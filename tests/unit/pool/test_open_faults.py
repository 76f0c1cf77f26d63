"""Faults that are reported and not mended yet."""

import pytest
import trio
from support.inmemory.plays import MISSING, YES, answers_once_and_then, starts_slowly
from support.inmemory.pools import AUTH, SETPASS, answers, bench, hangs
from support.inmemory.site import Site


async def test_nobody_is_guilty_of_a_stall_after_which_programs_hang(autojump_clock, logged) -> None:
    """A database fails over: what waits for the old one waits for ever, and new programs ask the new one."""
    site = Site(starts=2.0)
    async with site.pool(pool_size=4) as there:
        await trio.sleep(3.0)
        await site.crowd(10, 2.0)
        lost = set(there.alive)
        site.hanging |= lost
        await site.crowd(10, 30.0)
        assert site.innocent == []
    assert not [line for line in logged if "does harm" in line]


@pytest.mark.parametrize("busy", [AUTH, SETPASS])
@pytest.mark.parametrize("was_read", [True, False])
async def test_a_change_is_not_lost_when_the_last_proven_program_dies(
    autojump_clock, was_read: bool, busy: bytes
) -> None:
    """A new one is idle, and it may be given to that: nobody else is there any more."""
    first = answers_once_and_then(hangs if was_read else starts_slowly(1.0, hangs))
    async with bench([first, answers(0.1), MISSING], pool_size=2, pool_max=2) as there:
        await there.ask().done()
        there.ask(busy)
        change = there.ask(b"setpass:bob:example.com:new")
        await trio.sleep(0.5)
        there.programs[0].signal(9)
        assert (await change.done()).verdict is YES
        assert change.seconds < 1.0
