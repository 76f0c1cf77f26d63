"""Faults that are reported and not mended yet."""

import trio
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
