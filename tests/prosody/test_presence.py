"""Presence: it goes to all contacts of a client, and of each who is offline somebody asks whether he exists.  None of
it may hold the client up, or be lost."""

import contextlib
import json
from collections.abc import Mapping

import pytest
import trio
from support.prosody.site import Site, right
from support.prosody.xmpp_client import Client
from support.relay.fake_daemon import Connection, FakeDaemon, honest

pytestmark = pytest.mark.slow

PROSODIES = ["here", "13"]

# Seconds until a ping is answered that was sent right behind the presence: half of what it takes to ask about all of
# them, where that takes least.
AT_ONCE = 0.6


async def befriend(site: Site, user: str, contacts: Mapping[str, str]) -> None:
    """Write a roster: contacts of this host and their subscriptions."""
    items = "".join(
        f"[{json.dumps(f'{contact}@{site.host}')}] = {{ subscription = {json.dumps(kind)}, groups = {{}} }}, "
        for contact, kind in contacts.items()
    )
    store = f"require'core.storagemanager'.open({json.dumps(site.host)}, 'roster')"
    roster = f"{{ [false] = {{ version = 1, pending = {{}} }}, {items} }}"
    said = await trio.to_thread.run_sync(site.prosody.shell, f"> return {store}:set({json.dumps(user)}, {roster})")
    assert said == "Result: true", said


async def presences(client: Client, sender: str, wanted: int, seconds: float = 20) -> list[str]:
    """The types of the next ones from somebody."""
    found: list[str] = []
    with trio.fail_after(seconds):
        while len(found) < wanted:
            element = await client.next()
            if element.tag.endswith("}presence") and element.get("from", "").startswith(sender):
                found.append(element.get("type", "available"))
    return found


async def comes_online(site: Site, client: Client) -> float:
    """Send the roster request and the presence that every client begins with; seconds until a ping is answered."""
    await client.request("get", "<query xmlns='jabber:iq:roster'/>", to=None)
    await client.send("<presence/>")
    return await client.ping()


@pytest.mark.parametrize("daemon", ["slow", "silent", "gone"])
async def test_contacts_who_are_offline_hold_nobody_up(site: Site, nursery: trio.Nursery, daemon: str) -> None:
    """A hundred of them, and programs that need 50 ms, or nobody who could be asked at all."""
    site.configure(modules_enabled=["pep"])
    if daemon == "slow":
        site.serve()
    else:
        fake = await FakeDaemon.start(nursery, site.socket, manner=honest)
    seconds = []
    for attempt in range(3):
        user = f"alice{attempt}"
        await befriend(site, user, {f"slow50-{attempt}c{number}": "both" for number in range(100)})
        async with site.client() as client:
            await client.login(user, right(user))
            if daemon == "silent":
                fake.manner = None
            elif daemon == "gone":
                fake.stop()
            seconds.append(await comes_online(site, client))
            if daemon != "slow":
                break
            if seconds[-1] < AT_ONCE:
                break
    assert min(seconds) < AT_ONCE, seconds


async def test_each_contact_is_asked_about_once(site: Site, nursery: trio.Nursery) -> None:
    site.configure(modules_enabled=["pep"])
    fake = await FakeDaemon.start(nursery, site.socket, manner=honest)
    contacts = {f"c{number}": "both" for number in range(40)}
    for user in ("alice", "bob", "carol"):
        await befriend(site, user, contacts)
    for user in ("alice", "bob", "carol"):
        async with site.client() as client:
            await client.login(user, right(user))
            await comes_online(site, client)
            with trio.fail_after(20):
                while len({line for line in fake.asked if line.startswith(b"isuser")}) < 40:
                    await trio.sleep(0.01)
    asked = [line for line in fake.asked if line.startswith(b"isuser")]
    assert sorted(asked) == sorted(site.line("isuser", contact) for contact in contacts)


async def test_presence_reaches_those_who_are_there_in_its_order(site: Site, nursery: trio.Nursery) -> None:
    site.configure(modules_enabled=["pep"])

    async def answer_late(connection: Connection, line: bytes) -> None:
        await trio.sleep(0.3)
        await honest(connection, line)

    async def late(connection: Connection, line: bytes) -> None:
        nursery.start_soon(answer_late if line.startswith(b"isuser") else honest, connection, line)

    await FakeDaemon.start(nursery, site.socket, manner=late)
    offline = {f"c{number}": "both" for number in range(30)}
    await befriend(site, "alice", {**offline, "bob": "both"})
    await befriend(site, "bob", {"alice": "both"})
    async with site.client() as bob:
        await bob.login("bob", right("bob"))
        await bob.send("<presence/>")
        assert await presences(bob, "alice@", 1) == ["unavailable"], "she is not there yet"
        for _ in range(3):
            async with site.client() as alice:
                await alice.login("alice", right("alice"))
                await alice.send("<presence/>")
                await alice.send("<presence><show>away</show></presence>")
                await alice.ping()
            assert await presences(bob, "alice@", 3) == ["available", "available", "unavailable"]


async def test_who_is_cut_off_while_it_is_asked_who_exists_is_gone_to_everybody(
    site: Site, nursery: trio.Nursery
) -> None:
    """Nobody is left believing that she is here."""
    site.configure(modules_enabled=["pep"])
    answers = trio.Event()

    async def answer_late(connection: Connection, line: bytes) -> None:
        await answers.wait()
        await honest(connection, line)

    async def late(connection: Connection, line: bytes) -> None:
        nursery.start_soon(answer_late if line.startswith(b"isuser:c") else honest, connection, line)

    fake = await FakeDaemon.start(nursery, site.socket, manner=late)
    # Whoever comes first in the roster: of these some are told before the cut, some would be after it.
    friends = [f"friend{number}" for number in range(10)]
    offline = [f"c{number}" for number in range(40)]
    await befriend(site, "alice", dict.fromkeys(friends + offline, "both"))
    for friend in friends:
        await befriend(site, friend, {"alice": "both"})
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(site.client()) for _ in friends]
        for friend, client in zip(friends, clients, strict=True):
            await client.login(friend, right(friend))
            await client.send("<presence/>")
            assert await presences(client, "alice@", 1) == ["unavailable"], "she is not there yet"
        async with site.client() as alice:
            await alice.login("alice", right("alice"))
            await alice.send("<presence/>")
            with trio.fail_after(20):
                while not any(line.startswith(b"isuser:c") for line in fake.asked):
                    await trio.sleep(0.01)
        with trio.fail_after(20):
            while "All resources of alice are now offline" not in site.log():
                await trio.sleep(0.01)
        answers.set()
        for client in clients:
            assert await presences(client, "alice@", 2) == ["available", "unavailable"]
    assert "attempt to" not in site.log()


async def test_a_contact_who_comes_meanwhile_is_told(site: Site, nursery: trio.Nursery) -> None:
    """What was held for somebody who was offline is given to him when he is not."""
    site.configure()
    fake = await FakeDaemon.start(nursery, site.socket, manner=honest)
    await befriend(site, "alice", {"bob": "both"})
    await befriend(site, "bob", {"alice": "both"})
    async with site.client() as alice, site.client() as bob:
        await alice.login("alice", right("alice"))
        await comes_online(site, alice)
        await bob.login("bob", right("bob"))
        await bob.send("<presence/>")
        assert await presences(bob, "alice@", 1) == ["available"]
        assert await presences(alice, "bob@", 2) == ["unavailable", "available"]
    assert fake.asked


async def test_an_outage_bounces_nothing_for_good(site: Site, nursery: trio.Nursery) -> None:
    """A message to somebody offline comes back as one to be sent again, not as one to somebody unknown."""
    site.configure(extauth_bridge_timeout=1)
    fake = await FakeDaemon.start(nursery, site.socket, manner=honest)
    async with site.client() as alice:
        await alice.login("alice", right("alice"))
        fake.stop()
        for attempt in range(3):
            await alice.send(f"<message to='bob@{site.host}' type='chat' id='m{attempt}'><body>x</body></message>")
            reply = await alice.next()
            error = reply.find("{jabber:client}error")
            assert error is not None and (reply.get("id"), error.get("type")) == (f"m{attempt}", "wait")
        await alice.send(f"<presence to='bob@{site.host}' type='subscribe' id='s'/>")
        while (reply := await alice.next()).get("type") != "error":
            pass
        error = reply.find("{jabber:client}error")
        assert error is not None and error.get("type") == "wait"
        again = await FakeDaemon.start(nursery, site.socket, manner=honest)
        await site.recovers()
        await alice.send(f"<message to='bob@{site.host}' type='chat' id='kept'><body>x</body></message>")
        await alice.ping()
        assert site.line("isuser", "bob") in again.asked
    async with site.client() as bob:
        await bob.login("bob", right("bob"))
        await bob.send("<presence/>")
        while (element := await bob.next()).get("id") != "kept":
            assert not element.tag.endswith("}message")
