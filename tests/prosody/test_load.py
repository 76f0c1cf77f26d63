"""Many at once: two hundred logins with a known truth table, and a server that stays awake while programs are slow."""

import contextlib
import os
import statistics
from collections import Counter

import pytest
import trio
from support import procfs
from support.prosody.site import Site, right
from support.prosody.xmpp_client import Client
from support.prosody.xmpp_slixmpp import Login

pytestmark = pytest.mark.slow

# Of a ping to the server while logins wait, in seconds: what is asked of the module.
PING = 0.050


def attempt(number: int) -> tuple[Login, bool]:
    """The attempt of a user of its own, and whether it is to be let in."""
    user = f"u{number}"
    match number % 10:
        case 0 | 1 | 2:
            return Login(user, right(user)), True
        case 3:
            return Login(user, f"wrong-{user}"), False
        case 4:
            return Login(user, right(f"u{number - 1}")), False  # somebody else's
        case 5:
            return Login(f"nobody{number}", right(f"nobody{number}")), False
        case 6:
            return Login(user, f"{right(user)}:"), False
        case 7:
            return Login(f"slow{number % 40}-{user}", right(f"slow{number % 40}-{user}")), True
        case 8:
            return Login(f"slow{number % 40}-{user}", right(user)), False
        case _:
            return Login(f"dribble5-{user}", right(f"dribble5-{user}")), True


async def test_two_hundred_logins_at_once_each_get_their_own_answer(site: Site) -> None:
    site.configure()
    site.serve()
    table = [attempt(number) for number in range(200)]
    outcomes = await site.log_in(*(login for login, _ in table))
    for (login, granted), outcome in zip(table, outcomes, strict=True):
        assert outcome == ("success" if granted else "not-authorized"), login.user
    assert Counter(site.frames()) == Counter(site.line("auth", login.user, login.password) for login, _ in table)


async def waiting_logins(site: Site, stack: contextlib.AsyncExitStack, round_: int) -> list[tuple[Client, bool]]:
    """Fifty attempts at a program that needs two seconds, every second with the right password."""
    found = []
    for number in range(50):
        client = await stack.enter_async_context(site.client())
        user = f"slow2000-r{round_}n{number}"
        await client.start_plain(user, right(user) if number % 2 else "wrong-password")
        found.append((client, bool(number % 2)))
    return found


async def ping(site: Site, looker: Client) -> float:
    """Seconds, without those in which the server, or we, waited for a CPU that others had."""
    before = procfs.held_up(site.prosody.pid, os.getpid())
    seconds = await looker.ping()
    return seconds - (procfs.held_up(site.prosody.pid, os.getpid()) - before)


async def measure(site: Site, looker: Client, round_: int) -> list[float]:
    """Seconds of pings, one after the other, all of them while logins wait; the logins end as they must."""
    frames_before = len(site.frames("auth"))
    async with contextlib.AsyncExitStack() as stack:
        waiting = await waiting_logins(site, stack, round_)
        with trio.fail_after(10):
            while len(site.frames("auth")) < frames_before + 25:
                await trio.sleep(0.01)
        pings = []
        for _ in range(20):
            pings.append(await ping(site, looker))
            await trio.sleep(0.02)
        answered = [event for event in site.journal.events("reply") if b"-r%dn" % round_ in event.body]
        assert len(answered) < len(waiting), "logins wait until the last ping"
        for client, granted in waiting:
            assert await client.outcome() == ("success" if granted else "not-authorized")
    return pings


async def test_the_server_answers_pings_while_fifty_logins_wait_for_slow_programs(site: Site) -> None:
    """The other tests on this machine may steal a moment: the whole measurement counts, the best of three."""
    site.configure(extauth_bridge_timeout=15)
    site.serve(pool_size=25, answer_timeout=10.0)
    async with site.client() as looker:
        await looker.login("alice", right("alice"))
        rounds = []
        for round_ in range(3):
            rounds.append(await measure(site, looker, round_))
            if max(rounds[-1]) < PING:
                break
    for pings in rounds:
        print(f"{len(pings)} pings: median {statistics.median(pings) * 1000:.1f} ms, max {max(pings) * 1000:.1f} ms")
    assert max(rounds[-1]) < PING


async def test_a_message_to_somebody_offline_keeps_nobody_else_waiting(site: Site) -> None:
    """`isuser` is asked far more often than `auth`: for messages, subscriptions, vCards."""
    site.configure(extauth_bridge_timeout=15)
    site.serve(answer_timeout=10.0)
    async with site.client() as alice, site.client() as bob:
        await alice.login("alice", right("alice"))
        await bob.login("bob", right("bob"))
        for number in range(3):
            address = f"slow1500-u{number}@{site.host}"
            await alice.send(f"<message to='{address}' type='chat' id='m{number}'><body>x</body></message>")
        with trio.fail_after(10):
            while not site.frames("isuser"):
                await trio.sleep(0.01)
        best = min([await ping(site, bob) for _ in range(5)])
        answered = [event for event in site.journal.events("reply") if b"slow1500" in event.body]
        assert answered == [], "the pings were answered before the first of those questions"
        assert best < PING
        await alice.ping()  # behind her messages
    asked = list(dict.fromkeys(site.frames("isuser")))  # more than once, by several modules of the server
    assert asked == [site.line("isuser", f"slow1500-u{number}") for number in range(3)]
