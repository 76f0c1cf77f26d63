"""Scenes about programs that take long to start, and back ends that stand still."""

import functools
import itertools
import time
from typing import Any

from support.availability.scene import Scene
from support.availability.stage import Stage, pool_max, troubled
from support.availability.verdict import Period

LIFE = 500
"""Questions after which a program is replaced, by default."""


async def renewal(stage: Stage, *, at_random: bool, warm: bool, isuser: bool) -> None:
    """Programs wear out one after the other, while each new program needs longer than a question may take."""
    faster = stage.tempo.scale * stage.tempo.length
    life: dict[str, Any] = {} if faster == 1 else {"max_requests": int(LIFE * faster)}
    start = stage.scaled(6)
    await stage.serve(troubled(start=start), pool_size=2, **life)
    stage.crowd.strangers()
    if warm:
        stage.crowd.others(40, isuser=isuser, at_random=at_random)
    await stage.up(2)
    if warm:
        await stage.sleep(1)
    else:
        stage.crowd.others(40, isuser=isuser, at_random=at_random)
    with stage.period() as period:
        await stage.watch(85)
    await stage.want_others(period)
    renewals = len(stage.journal.pids("end"))
    stage.result.said.append(f"{renewals} renewals")
    stage.result.want(renewals >= 3 * stage.tempo.length, f"only {renewals} renewals")
    stage.result.want(not stage.killed(), f"{len(stage.killed())} killed")
    stage.want_at_most(pool_max(2) + 1)  # and one that is being replaced


async def leaves(stage: Stage) -> None:
    """All programs end at once; the new ones take longer to start than a question may take."""
    flag, start = stage.folder / "leave", stage.scaled(6)
    await stage.serve(troubled(start=start, leaves=flag), pool_size=2)
    await stage.up(2)
    stage.crowd.strangers()
    stage.crowd.others()
    await stage.sleep(2)
    flag.touch()
    cause = time.monotonic()
    # A scout and then all others, or all at once: within two start-ups and what a machine is late.
    if not await stage.until(lambda: len(stage.journal.pids("up")) >= 4, "new programs", 2 * start + 10):
        stage.result.others = await stage.of(Period(cause))
        return
    ready = stage.journal.events("up")[3].at
    await stage.sleep(1)
    with stage.period() as period:
        await stage.watch(15)
    await stage.want_others(period)
    out = await outage(stage, cause)
    stage.result.said.append(f"new programs ready after {ready - cause:.1f} s, the last refusal after {out:.1f} s")
    stage.result.want(not stage.killed(), f"{len(stage.killed())} new programs killed")


async def outage(stage: Stage, cause: float) -> float:
    """How long after the cause somebody was refused for the last time, in seconds."""
    await stage.crowd.settled()
    since = Period(cause).of(stage.crowd.logins)
    refused = [one.sent for one in since if one.right and not one.granted]
    return max(refused, default=cause) - cause


async def stall(stage: Stage, *, seconds: float, client: str) -> None:
    """Nothing is answered for a while, and then everything: no program is to blame."""
    flag = stage.folder / "stall"
    await stage.serve(troubled(start=stage.scaled(2), stalls=flag), pool_size=4, client=client)
    await stage.up(4)
    stage.crowd.strangers()
    stage.crowd.others(10)
    await stage.sleep(2)
    before = set(stage.journal.pids("up"))
    flag.touch()
    begun = time.monotonic()
    await stage.sleep(seconds)
    flag.unlink()
    end = time.monotonic()
    await stage.sleep(1)
    with stage.period() as period:
        await stage.watch(15)
    await stage.want_others(period)
    out = await outage(stage, begun) - (end - begun)
    stage.result.said.append(f"the last refusal {max(out, 0):.1f} s after its end")
    gone = before & set(stage.killed())
    stage.result.want(not gone, f"{len(gone)} of {len(before)} programs killed that would have answered")
    others = set(stage.innocent()) - gone
    # In a long one every program there may be is stuck; then one is replaced each answer_timeout, to see.
    stage.result.want(len(others) <= max(0, seconds - 10) / 4, f"{len(others)} of their replacements killed, too")


def _renewals() -> list[Scene]:
    scenes = []
    for at_random, warm, isuser in itertools.product((False, True), repeat=3):
        how = {
            "at_random": ("random" if at_random else "even", "at random" if at_random else "evenly"),
            "warm": ("busy" if warm else "idle", "asked from the start" if warm else "idle until up"),
            "isuser": ("mix" if isuser else "auth", "every second an isuser" if isuser else "auth"),
        }
        name = "-".join(word for word, _ in how.values())
        title = "start-up of 6 s, pool 2, 40/s, three renewals; " + ", ".join(words for _, words in how.values())
        act = functools.partial(renewal, at_random=at_random, warm=warm, isuser=isuser)
        scenes.append(Scene(f"renewal-{name}", title, "0 failed, 0 late", act))
    return scenes


SCENES = (
    *_renewals(),
    Scene(
        "leaves",
        "all programs leave once, start-up of 6 s, pool 2",
        "all granted from 1 s after the new programs are ready",
        leaves,
    ),
    *(
        Scene(
            f"stall-{seconds}-{client}",
            f"back end stalled for {seconds} s, start-up of 2 s, pool 4, 10/s; {client} client",
            "all granted from 1 s after its end; none killed",
            functools.partial(stall, seconds=seconds, client=client),
        )
        for seconds, client in ((6, "plain"), (6, "tagged"), (20, "plain"))
    ),
)
