"""Scenes about more questions than programs can answer."""

import functools
import re
import statistics
import time
from collections.abc import Sequence
from typing import Any

import trio

from support.availability.clients import InOrder
from support.availability.crowd import right
from support.availability.scene import Scene
from support.availability.stage import ANSWER_TIMEOUT, Stage, troubled

AT_ONCE = 0.5
"""Seconds: what a busy machine makes of "at once"."""

_HELD_UP = 20
"""Questions of a hundred that a daemon has asked by the time it reads another one, on a busy machine."""

_BUSY = 5
"""The same of most; one that had to wait for its turn would come behind all that are left."""

CONTACTS = [f"isuser:c{number}:h".encode() for number in range(100)]


async def burst(stage: Stage, *, known: bool) -> None:
    """Eight logins at once, of which one healthy program can serve three in time.

    Args:
      known: it was asked before, so that the bridge can know how long it takes.
    """
    work = stage.scaled(1.2)
    await stage.serve(troubled(work=work), pool_size=1)
    await stage.up(1)
    if known:
        await stage.crowd.ask(right("first"), "others")
    with stage.period() as period:
        async with trio.open_nursery() as nursery:
            for number in range(8):
                nursery.start_soon(stage.crowd.ask, right(f"u{number}"), "others")
    found = stage.result.others = await stage.of(period)
    refused = [one.seconds for one in period.of(stage.crowd.logins) if not one.granted]
    longest = max(refused, default=0)
    granted, possible = found.asked - found.failed, 2 if stage.tempo.leave else 3
    stage.result.said.append(f"{granted} granted, refused within {longest:.2f} s")
    stage.result.want(possible <= granted <= 3, f"{granted} granted of 3 that a program can serve in time")
    soon = AT_ONCE if known else work + AT_ONCE
    stage.result.want(longest <= soon, f"refused only after {longest:.2f} s")
    await stage.sleep(4)
    stage.result.want(not stage.killed(), "a healthy program was killed")
    stage.want_at_most(1)
    want_overload_told(stage, found.failed)


def want_overload_told(stage: Stage, refused: int) -> None:
    """The log says in one line how many were refused and how many programs would have been enough."""
    lines = stage.log_lines("pool_size")
    counted = [line for line in lines if re.search(rf"\b{refused}\b", line) and re.search(r"pool_size\W+[2-9]", line)]
    stage.result.want(counted, f"no line of the log says {refused} and a pool_size")
    stage.result.want(len(lines) <= 2, f"{len(lines)} lines of the log name the pool_size")


async def overload(stage: Stage, *, spares: bool) -> None:
    """Twice what the pool can serve, for half a minute; then half of it."""
    work = stage.scaled(0.2)
    rate = 2 / work
    alone: dict[str, Any] = {} if spares else {"pool_max": 2}
    await stage.serve(troubled(work=work), pool_size=2, **alone)
    await stage.up(2)
    before = stage.crowd.others(rate / 2)
    await stage.sleep(3)
    before.cancel()
    with stage.period() as period:
        more = stage.crowd.others(2 * rate, who="more")
        await stage.watch(30)
        more.cancel()
    stage.crowd.others(rate / 2)
    await stage.aftermath(2, late=1.0)  # what waits already is served before
    found = stage.result.others = await stage.of(period, "more")
    granted = [one for one in stage.crowd.logins if one.who == "more" and one.granted]
    in_time = sum(period.begin <= one.answered < period.end for one in granted)
    possible = rate * (period.end - period.begin - work)
    stage.result.said.append(f"{in_time} granted of {possible:.0f} possible ones, {found.failed} refused")
    stage.result.want(in_time >= (0.95 - stage.tempo.leave) * possible, f"{in_time / possible:.0%} of the pool's rate")
    longest = max((one.seconds for one in granted), default=0.0)
    stage.result.want(longest <= stage.scaled(ANSWER_TIMEOUT) + AT_ONCE, f"granted after {longest:.2f} s")
    stage.result.want(not stage.killed(), f"{len(stage.killed())} healthy programs killed")
    if found.failed:
        await stage.until(lambda: stage.log_lines("pool_size"), "the log says what pool_size would do", 8)
    told = stage.log_lines("pool_size")
    stage.result.want(len(told) <= 6, f"{len(told)} lines of the log about it")
    stage.want_at_most(8 if spares else 2)


async def auth_first(stage: Stage, *, client: str) -> None:
    """Of what waits when a program is free, the `auth` is asked next."""
    await stage.serve(troubled(work=0.05), pool_size=2, client=client)
    await stage.up(2)
    await stage.crowd.ask(right("first"), "others")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask_all, stage, client, CONTACTS)
        await trio.sleep(0.3)
        with stage.period() as period:
            logins = [await stage.crowd.ask(right(f"v{number}"), "others") for number in range(5)]
    before = [asked_before(stage, login.sent, f"v{number}") for number, login in enumerate(logins)]
    stage.result.others = await stage.of(period)
    stage.result.said.append(f"isuser asked before each of five auth: {' '.join(map(str, before))}")
    stage.result.want(all(login.granted for login in logins), "not all were granted")
    usual = _BUSY if stage.tempo.leave else 2
    soon = statistics.median(before) <= usual and max(before) <= _HELD_UP
    stage.result.want(soon, f"{max(before)} isuser were asked first")


async def auth_behind(stage: Stage) -> None:
    """The same on one connection with answers in order: its answer comes last, but it is asked at once."""
    await stage.serve(troubled(work=0.05), pool_size=2)
    await stage.up(2)
    await stage.crowd.ask(right("first"), "others")
    async with await trio.open_unix_socket(stage.daemon.path) as stream:
        await stream.send_all(b"".join(line + b"\n" for line in CONTACTS))
        await trio.sleep(0.3)
        sent = time.monotonic()
        await stream.send_all(right("v0") + b"\n")
        await stage.until(lambda: b"auth:v0" in {event.body for event in stage.journal.events("read")}, "the auth", 10)
    before = asked_before(stage, sent, "v0")
    stage.result.said.append(f"isuser asked before it: {before}")
    stage.result.want(before <= _HELD_UP, f"{before} isuser were asked first")


async def ask_all(stage: Stage, client: str, lines: Sequence[bytes]) -> int:
    """Ask all of these at once, as one user's server does; how many were answered `1`."""
    if client == "plain":
        return (await InOrder(stage.daemon.path).ask_all(lines)).count("1")
    granted = 0

    async def ask(line: bytes) -> None:
        nonlocal granted
        one = await stage.crowd.ask(line, "contacts")
        granted += one.granted

    async with trio.open_nursery() as nursery:
        for line in lines:
            nursery.start_soon(ask, line)
    return granted


def asked_before(stage: Stage, sent: float, user: str) -> int:
    """How many other questions the programs read after this user's login was sent and before they read that."""
    read = stage.journal.events("read")
    own = [event.at for event in read if event.body == f"auth:{user}".encode()]
    return sum(sent < event.at < min(own, default=time.monotonic()) for event in read)


async def contacts(stage: Stage, *, client: str) -> None:
    """Five people log in at once who all have the same hundred contacts, and those are offline."""
    await stage.serve(troubled(work=0.05), pool_size=2, client=client)
    await stage.up(2)
    stage.crowd.strangers()
    stage.crowd.others()
    await stage.sleep(1)
    granted: list[int] = []

    async def log_in() -> None:
        granted.append(await ask_all(stage, client, CONTACTS))

    with stage.period() as period:
        begun = time.monotonic()
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(log_in)
        took = time.monotonic() - begun
    known = sum(granted)
    asked = sum(event.body.startswith(b"isuser:c") for event in stage.journal.events("read"))
    stage.result.said.append(f"500 isuser: {known} answered rightly in {took:.1f} s by asking {asked}")
    stage.result.want(known == 500, f"{500 - known} of 500 isuser failed")
    most = 120 if client == "plain" else 300  # 500 lines of one client do not all fit into its window at once
    stage.result.want(asked <= most, f"{asked} isuser asked, of 100 different ones")
    await stage.want_others(period, late=0.01)
    await stage.aftermath()


async def reconnect(stage: Stage, *, client: str) -> None:
    """200 people come back within 20 s, each with 30 contacts of whom the server wants to know whether they exist."""
    await stage.serve(troubled(work=0.05), pool_size=2, client=client)
    await stage.up(2)
    stage.crowd.strangers()
    stage.crowd.others()
    await stage.sleep(1)
    people = round(200 * stage.tempo.length)

    async def come_back(number: int) -> None:
        await stage.crowd.ask(right(f"r{number}"), "back")
        lines = [f"isuser:c{(number * 7 + contact) % 300}:h".encode() for contact in range(30)]
        await ask_all(stage, client, lines)

    with stage.period() as period:
        async with trio.open_nursery() as nursery:
            for number in range(people):
                nursery.start_soon(come_back, number)
                await trio.sleep(0.1)
    await stage.want_others(period, late=0.01)
    back = await stage.of(period, "back")
    stage.result.said.append(f"those who came back: {back}")
    stage.result.want(not back.failed, f"{back.failed} of {back.asked} could not come back")
    await stage.aftermath()


SCENES = (
    *(
        Scene(
            f"burst-{'known' if known else 'first'}",
            "a healthy program that takes 1.2 s, pool 1, eight logins at once, "
            + ("one before them" if known else "its first"),
            "none killed; who cannot be served is refused at once; one line says it",
            functools.partial(burst, known=known),
        )
        for known in (True, False)
    ),
    *(
        Scene(
            f"overload{'-spares' if spares else ''}",
            f"twice the load that a pool of 2 can serve, for 30 s; {'with' if spares else 'without'} spares",
            "95 % of the pool's rate granted, in time; 0 refused from 2 s after",
            functools.partial(overload, spares=spares),
        )
        for spares in (False, True)
    ),
    Scene(
        "auth-first-in-order",
        "the same from one connection, answers in order",
        "the auth is asked next",
        auth_behind,
    ),
    *(
        Scene(name, f"{title}; {client} client", wanted, functools.partial(act, client=client))
        for client in ("plain", "tagged")
        for name, title, wanted, act in (
            (
                f"auth-first-{client}",
                "100 isuser of one login, then an auth of another, programs of 50 ms, pool 2",
                "the auth is asked next",
                auth_first,
            ),
            (
                f"contacts-{client}",
                "5 people with the same 100 offline contacts log in at once, programs of 50 ms, pool 2",
                "each contact asked once; others: 0 failed, 1 % late",
                contacts,
            ),
            (
                f"reconnect-{client}",
                "200 people with 30 contacts come back within 20 s, programs of 50 ms, pool 2",
                "none of them fails; others: 0 failed, 1 % late",
                reconnect,
            ),
        )
    ),
)
