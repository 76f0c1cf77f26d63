"""A host that goes, a module that is reloaded, while questions are open: what waits ends quietly, and the server's
main loop is told about the connection's end before it is closed."""

import contextlib
import signal

import pytest
import trio
from support.prosody.site import Site, right
from support.prosody.xmpp_client import Closed
from support.prosody.xmpp_gateway import gateway
from support.relay.fake_daemon import Connection, FakeDaemon, honest

pytestmark = pytest.mark.slow

# What the main loops say about a descriptor that was closed, and not taken off their list before.
STALE = (
    "unknown fd",
    "Could not unregister",
    "Could not update poller",
    "Bad file descriptor",
    "closed socket (readlist)",
    "main loop",
)


async def only_logins(connection: Connection, line: bytes) -> None:
    """Whether somebody exists stays unanswered."""
    if line.startswith(b"auth:"):
        await honest(connection, line)


async def test_what_a_gateway_sent_goes_with_the_host(site: Site, nursery: trio.Nursery) -> None:
    """The host's own clients, waiting for the same, too. Nothing breaks, as the site sees at its end."""
    site.configure(extauth_bridge_timeout=15)
    fake = await FakeDaemon.start(nursery, site.socket, manner=only_logins)
    async with gateway(site) as stranger, site.client() as alice:
        await alice.login("alice", right("alice"))
        for number in range(3):
            await alice.send(f"<message to='nobody{number}@{site.host}' type='chat'><body>x</body></message>")
            for again in range(4):
                await stranger.message(f"nobody{number}@{site.host}", 10 * number + again)
        connection = await fake.connection(0)
        while len(set(connection.asked)) < 1 + 3:  # her login, and each of them
            await connection.line()
        await trio.to_thread.run_sync(site.prosody.shell, f'host:deactivate("{site.host}")')
        await connection.until_ended()
        with contextlib.suppress(Closed):
            while True:
                await alice.next()
        assert "Result" in await trio.to_thread.run_sync(site.prosody.shell, "1")
    log = site.log()
    assert "attempt to index" not in log
    assert "Error while handling a stanza" not in log


async def test_what_a_gateway_sent_outlives_a_reload_of_the_module(site: Site, nursery: trio.Nursery) -> None:
    """What was being asked about comes back; what waited behind it is asked about anew."""
    site.configure(extauth_bridge_timeout=15)
    fake = await FakeDaemon.start(nursery, site.socket)
    async with gateway(site) as stranger:
        for number in range(5):
            await stranger.message(f"bob@{site.host}", number)
        await (await fake.connection(0)).line()
        fake.manner = honest
        await trio.to_thread.run_sync(site.prosody.reload_module, site.host)
        await stranger.until(b"id='g0'")
    async with site.client() as bob:
        await bob.login("bob", right("bob"))
        await bob.send("<presence/>")
        kept: list[str | None] = []
        while len(kept) < 4:
            element = await bob.next()
            if element.tag.endswith("}message"):
                kept.append(element.get("id"))
    assert kept == ["g1", "g2", "g3", "g4"]


@pytest.mark.parametrize("busy", [False, True])
async def test_the_main_loop_knows_of_every_close(site: Site, nursery: trio.Nursery, busy: bool) -> None:
    await every_close(site, nursery, busy)


@pytest.mark.parametrize("busy", [False, True])
async def test_the_other_main_loops_know_of_it_too(other_backend_site: Site, nursery: trio.Nursery, busy: bool) -> None:
    await every_close(other_backend_site, nursery, busy)


async def every_close(site: Site, nursery: trio.Nursery, busy: bool) -> None:
    """By the daemon, by us for what it said, by a reload, by the end of the host."""
    site.configure(extauth_bridge_timeout=2)
    fake = await FakeDaemon.start(nursery, site.socket, manner=honest)
    await site.recovers()
    await (await fake.connection(-1)).close()
    await site.recovers()
    await (await fake.connection(-1)).send(b"1\n")
    await site.recovers()
    async with site.client() as client:
        if busy:
            fake.manner = None
            await client.start_plain("alice", right("alice"))
            await (await fake.connection(-1)).line()
        if site.prosody.backend != "event":  # Prosody's own shell does not answer there
            for _ in range(3):
                await trio.to_thread.run_sync(site.prosody.reload_module, site.host)
                await (await fake.connection(-1)).until_ended()
                fake.manner = honest
                await site.recovers()
            await trio.to_thread.run_sync(site.prosody.shell, f'host:deactivate("{site.host}")')
            await (await fake.connection(-1)).until_ended()
        else:
            await (await fake.connection(-1)).send(b"7 0\n" * 9)
            await (await fake.connection(-1)).until_ended()
    for stale in STALE:
        assert stale.lower() not in site.log().lower()


async def test_a_close_in_the_turn_in_which_there_was_something_to_read(site: Site, nursery: trio.Nursery) -> None:
    await close_in_turn(site, nursery)


async def test_that_close_with_the_other_main_loops(other_backend_site: Site, nursery: trio.Nursery) -> None:
    await close_in_turn(other_backend_site, nursery)


async def close_in_turn(site: Site, nursery: trio.Nursery) -> None:
    """The server finds both at once: somebody's attempt, and only then what the daemon says and nobody asked."""
    site.configure()
    fake = await FakeDaemon.start(nursery, site.socket, manner=honest)
    for _ in range(5):
        async with site.client() as client:
            if fake.connections:
                await (await fake.connection(-1)).close()
            await site.recovers()
            connection = await fake.connection(-1)
            site.prosody.signal(signal.SIGSTOP)
            try:
                await connection.send(b"1\n")  # first, because Prosody takes up last what came first
                await client.start_plain("alice", right("alice"))
            finally:
                site.prosody.signal(signal.SIGCONT)
            assert await client.outcome() == "success"
            await connection.until_ended()
            assert site.line("auth", "alice", right("alice")) == fake.asked[-1]
            assert await fake.connection(-1) is not connection
    for stale in STALE:
        assert stale.lower() not in site.log().lower()
