"""The rest of the server asks too: gateways, whose messages Prosody handles outside of any task that could wait, and
users who write to users. Nothing of it may break a login, or be answered by another's answer."""

import time

import pytest
import trio
from support.prosody.site import Site, right
from support.prosody.xmpp_gateway import gateway
from support.relay.fake_daemon import FakeDaemon, honest

pytestmark = pytest.mark.slow

WRONG = "wrong-password"


async def test_a_gateway_can_write_to_users_who_are_offline(site: Site, nursery: trio.Nursery) -> None:
    """To one that exists the message is kept, to one that does not it comes back, whether or not anybody waits."""
    site.configure()
    fake = await FakeDaemon.start(nursery, site.socket, manner=honest)
    async with gateway(site) as stranger:
        for number in range(5):
            await stranger.message(f"bob@{site.host}", number)
            await stranger.message(f"nobody@{site.host}", 100 + number)
        for number in range(5):
            await stranger.until(f"g{100 + number}".encode())
        assert await site.plain("mallory", WRONG) == "not-authorized"
    async with site.client() as bob:
        await bob.login("bob", right("bob"))
        await bob.send("<presence/>")
        kept: list[str | None] = []
        while len(kept) < 5:
            element = await bob.next()
            if element.tag.endswith("}message"):
                kept.append(element.get("id"))
    assert kept == [f"g{number}" for number in range(5)], "in their order"
    assert site.line("isuser", "bob") in fake.asked


async def test_a_gateway_does_not_stop_the_server_when_the_daemon_hangs(site: Site, nursery: trio.Nursery) -> None:
    """Each message is answered for in the end; until then everybody else is served."""
    site.configure(extauth_bridge_timeout=3)
    fake = await FakeDaemon.start(nursery, site.socket, manner=honest)
    async with gateway(site) as stranger, site.client() as alice:
        await alice.login("alice", right("alice"))
        fake.manner = None
        started = time.monotonic()
        for number in range(20):
            await stranger.message(f"nobody{number}@{site.host}", number)
        await alice.ping()
        assert time.monotonic() - started < 2
        # None of these questions has been answered: their time ends, and the connection with it.
        await (await fake.connection(0)).until_ended()
        fake.manner = honest
        for number in range(20):
            await stranger.until(f"id='g{number}'".encode(), 30)
    await site.recovers()


async def test_questions_of_all_kinds_at_once_get_their_own_answers(site: Site) -> None:
    site.configure()
    site.serve()
    async with site.client() as alice:
        await alice.login("alice", right("alice"))
        for number in range(30):
            who = f"slow30-u{number}" if number % 3 else f"slow30-nobody{number}"
            await alice.send(f"<message to='{who}@{site.host}' type='chat' id='m{number}'><body>x</body></message>")
        denied, granted = 0, 0
        async with trio.open_nursery() as nursery:

            async def attempt(number: int) -> None:
                nonlocal denied, granted
                user = f"slow20-w{number}"
                outcome = await site.plain(user, right(user) if number % 2 else WRONG)
                assert outcome == ("success" if number % 2 else "not-authorized")
                granted, denied = granted + number % 2, denied + 1 - number % 2

            for number in range(30):
                nursery.start_soon(attempt, number)
        assert (denied, granted) == (15, 15)
        returned = set()
        while len(returned) < 10:
            element = await alice.next()
            if element.tag.endswith("}message"):
                assert element.get("type") == "error"
                returned.add(element.get("id"))
        await alice.ping()
    assert returned == {f"m{number}" for number in range(0, 30, 3)}, "just those to nobody came back"


async def test_a_gateways_traffic_to_one_user_holds_up_nobody_elses(site: Site, nursery: trio.Nursery) -> None:
    """Order matters only between one sender's stanzas to one user."""
    site.configure(extauth_bridge_timeout=1)

    fake = await FakeDaemon.start(nursery, site.socket)
    async with gateway(site) as stranger:
        started = time.monotonic()
        for number in range(10):
            await stranger.message(f"nobody{number}@{site.host}", number)
        for number in range(10):
            await stranger.until(f"id='g{number}'".encode(), 30)
        # Each is asked about more than once, by several modules of the server, and the daemon is seen to be down.
        assert time.monotonic() - started < 5
        fake.manner = honest
        await site.recovers()
