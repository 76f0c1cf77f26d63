"""Scenes about logins that make a program hang or end, beside people who just log in."""

import functools
from typing import Any

import trio

from support.availability.scene import Scene
from support.availability.stage import Stage, pool_max, troubled

AGAIN = 2.0
"""Seconds after which a client whose login failed tries once more."""

MINUTE = 60


async def trouble(
    stage: Stage,
    *,
    pool_size: int,
    client: str,
    logins: int,
    failed: float,
    late: float,
    start: float = 0.1,
    **attack: Any,
) -> None:
    """Some logins are in trouble all the time; the others have nothing to do with it."""
    await stage.serve(troubled(start=start), pool_size=pool_size, client=client)
    await stage.up(pool_size)
    stage.crowd.strangers()
    stage.crowd.others()
    await stage.sleep(1)
    async with stage.crowd.attack(logins, **attack):
        with stage.period() as period:
            await stage.watch(MINUTE)
    await stage.want_others(period, failed=failed, late=late)
    await stage.aftermath()
    stage.want_at_most(pool_max(pool_size))
    tries = sum(login.who == "attack" for login in stage.crowd.logins)
    stage.result.said.append(f"{tries} tries")


async def victim(stage: Stage, *, client: str, secrets: bool) -> None:
    """The logins that hang all name one account, whose owner logs in meanwhile."""
    await stage.serve(troubled(), pool_size=4, client=client)
    await stage.up(4)
    stage.crowd.strangers()
    stage.crowd.others()
    await stage.sleep(1)
    async with stage.crowd.attack(4, "hangs", user="victim", secrets=secrets):
        await stage.sleep(2)
        stage.crowd.load(1, lambda _: b"auth:victim:h:pw-victim", "victim")
        with stage.period() as period:
            await stage.watch(MINUTE)
    await stage.want_others(period, failed=0.01, late=0.1)
    own = await stage.of(period, "victim")
    stage.result.said.append(f"the victim's: {own}")
    stage.result.want(not own.failed, f"{own.failed} of the victim's {own.asked} failed")
    await stage.aftermath()
    stage.want_at_most(pool_max(4))


async def once(stage: Stage) -> None:
    """As many logins hang as there are programs, once each; a new program takes two seconds to start."""
    await stage.serve(troubled(start=stage.scaled(2)), pool_size=2)
    await stage.up(2)
    stage.crowd.strangers()
    stage.crowd.others(10)
    await stage.sleep(1)
    with stage.period() as period:
        async with trio.open_nursery() as nursery:
            for number in range(2):
                nursery.start_soon(stage.crowd.ask, f"auth:mallory{number}:h:hangs-x{number}x".encode(), "attack")
    await stage.aftermath()
    found = stage.result.others = await stage.of(period)
    stage.result.want(found.failed <= 0.05 * found.asked, f"{found.failed} of {found.asked} failed")


ACCOUNTS: tuple[tuple[str, str, float, float, dict[str, Any]], ...] = (
    ("one", "one account", 0, 0.02, {}),
    ("one-secrets", "one account, always another secret", 0, 0.02, {"secrets": True}),
    ("many", "always another account and secret", 0.01, 0.1, {"users": True, "secrets": True}),
    (
        "everywhere",
        "always another account, secret and address",
        *(0.01, 0.1),
        {"users": True, "secrets": True, "addresses": True},
    ),
)
"""Whom the logins in trouble name: a scene's name and title, shares that may fail and be late, see `Crowd.attack`."""


def _scene(name: str, title: str, failed: float, late: float, *, quiet: bool = True, **how: Any) -> Scene:
    wanted = f"{f'{100 * failed:g} %' if failed else 0} failed, {100 * late:g} % late"
    act = functools.partial(trouble, failed=failed, late=late, **how)
    return Scene(name, f"{title}; {how['client']} client, pool {how['pool_size']}", wanted, act, quiet)


def _retries() -> list[Scene]:
    title = "one account hangs a program at each try, again 2 s after each answer"
    attack: dict[str, Any] = {"logins": 1, "secret": "hangs", "pause": AGAIN}
    return [
        _scene(f"retry-{client}-{size}", title, 0, 0.01, pool_size=size, client=client, **attack)
        for client in ("tagged", "plain")
        for size in (2, 4, 16)
    ]


def _always_open() -> list[Scene]:
    return [
        _scene(
            f"{does}-{name}-{client}",
            f"four logins always open that make the program {does}, {whom}",
            *(failed, late),
            quiet=does == "hang",
            **{"pool_size": 4, "client": client, "logins": 4, "secret": f"{does}s", **how},
        )
        for does in ("hang", "exit")
        for name, whom, failed, late, how in ACCOUNTS
        for client in ("plain", "tagged")
        if client == "tagged" or "addresses" not in how
    ]


def _slow_starts() -> list[Scene]:
    """The same where each death costs more: half a second, as with most interpreters that load a framework."""
    return [
        _scene(
            f"exit-{name}-slow-{client}",
            f"four logins always open that make the program exit, {whom}, start-up of 0.5 s",
            *(failed, late),
            **{"pool_size": 4, "client": client, "logins": 4, "secret": "exits", "start": 0.5, **how},
        )
        for name, whom, failed, late, how in ACCOUNTS
        for client in ("plain", "tagged")
        if name in ("one", "many")
    ]


SCENES = (
    *_retries(),
    *_always_open(),
    *_slow_starts(),
    Scene(
        "hang-once",
        "two logins hang, once each, start-up of 2 s, pool 2, 10/s",
        "5 % failed; all granted from 1 s after the two were answered",
        once,
    ),
    *(
        Scene(
            f"victim-{client}{'-secrets' if secrets else ''}",
            "four logins always open that hang and name somebody's account, "
            f"{'always another secret' if secrets else 'one secret'}; {client} client, pool 4",
            "its owner: 0 failed; others: 1 % failed, 10 % late",
            functools.partial(victim, client=client, secrets=secrets),
        )
        for client in ("plain", "tagged")
        for secrets in (False, True)
    ),
)
