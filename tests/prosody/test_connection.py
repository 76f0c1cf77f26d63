"""The module's side of the tagged protocol, seen by a daemon that the test plays: one connection, each answer as it
comes, an older daemon that answers in order, and what happens when something takes too long or goes away."""

import contextlib
import socket

import pytest
import trio
from support.prosody.server import MODULE, Prosody
from support.prosody.site import Site, right
from support.prosody.site import site as new_site
from support.prosody.xmpp_client import Client
from support.relay.fake_daemon import FakeDaemon, Knows, honest, truth

pytestmark = pytest.mark.slow

WRONG = "wrong-password"
UNAVAILABLE = "temporary-auth-failure"

# Seconds: what "at once" may take on a loaded machine, and still is far from every timeout here.
AT_ONCE = 2.0


async def attempts(site: Site, stack: contextlib.AsyncExitStack, passwords: dict[str, str]) -> dict[str, Client]:
    """A client for each user, each with an attempt under way, in this order."""
    clients = {}
    for user, password in passwords.items():
        clients[user] = await stack.enter_async_context(site.client())
        await clients[user].start_plain(user, password)
    return clients


async def test_all_questions_share_one_connection_and_need_not_wait_for_each_other(
    site: Site, nursery: trio.Nursery
) -> None:
    site.configure()
    fake = await FakeDaemon.start(nursery, site.socket)
    users = [f"u{number}" for number in range(40)]
    async with contextlib.AsyncExitStack() as stack:
        clients = await attempts(site, stack, {user: right(user) for user in users})
        connection = await fake.connection(0)
        lines = [await connection.line() for _ in users]
        assert sorted(lines) == sorted(site.line("auth", user, right(user)) for user in users)
        # Whatever order they came in: every third is let in, and nobody else.
        granted = {line.split(b":")[1].decode() for line in lines[::3]}
        for line in reversed(lines):
            await connection.answer(line, b"1" if line.split(b":")[1].decode() in granted else b"0")
        for user, client in clients.items():
            assert await client.outcome() == ("success" if user in granted else "not-authorized"), user
    assert len(fake.connections) == 1
    assert connection.negotiated == 1
    assert set(connection.addresses) == {b"127.0.0.1"}


async def test_answers_may_come_in_pieces_and_many_at_once(site: Site, nursery: trio.Nursery) -> None:
    site.configure()
    fake = await FakeDaemon.start(nursery, site.socket)
    async with contextlib.AsyncExitStack() as stack:
        clients = await attempts(site, stack, dict.fromkeys("abcde", "some-password"))
        connection = await fake.connection(0)
        lines = [await connection.line() for _ in clients]
        order = [line.split(b":")[1].decode() for line in lines]
        texts = [
            connection.text(line, verdict) for line, verdict in zip(lines, (b"1", b"0", b"1", b"0", b"1"), strict=True)
        ]
        await connection.send(texts[0][:-1])
        with pytest.raises(trio.TooSlowError):
            await clients[order[0]].outcome(0.2)  # half an answer is none
        await connection.send(b"\n" + texts[1] + texts[2] + texts[3][:1])
        assert [await clients[user].outcome() for user in order[:3]] == ["success", "not-authorized", "success"]
        await connection.send(texts[3][1:] + texts[4])
        assert [await clients[user].outcome() for user in order[3:]] == ["not-authorized", "success"]
    assert len(fake.connections) == 1


async def test_a_daemon_that_cannot_tell_is_not_a_wrong_password(site: Site, nursery: trio.Nursery) -> None:
    site.configure()
    fake = await FakeDaemon.start(nursery, site.socket)
    async with site.client() as client:
        for answer, outcome in [(b"2", UNAVAILABLE), (b"0", "not-authorized"), (b"2", UNAVAILABLE)]:
            await client.start_plain("alice", "some-password")
            connection = await fake.connection(0)
            await connection.answer(await connection.line(), answer)
            assert await client.outcome() == outcome
        fake.manner = honest
        assert await client.plain("alice", right("alice")) == "success"
    assert len(fake.connections) == 1, "that answer is no reason to part"


@pytest.mark.parametrize("knows", ["answers", False])
async def test_an_older_daemon_still_serves(site: Site, nursery: trio.Nursery, knows: Knows) -> None:
    site.configure()
    fake = await FakeDaemon.start(nursery, site.socket, knows=knows, manner=honest)
    async with site.client() as client:
        assert await client.plain("alice", WRONG) == "not-authorized"
        assert await client.plain("bob", right("alice")) == "not-authorized"
        assert await client.plain("alice", right("alice")) == "success"
    assert len(fake.connections) == 2, "one that did not know of tags"
    assert fake.asked[0] == site.line("auth", "alice", WRONG)


async def test_hosts_share_the_connection_and_each_is_asked_about_its_own(
    site: Site, another_site: Site, nursery: trio.Nursery
) -> None:
    """Beyond the daemon's `max_clients` hosts, the rest could not log in."""
    site.configure()
    another_site.socket = site.socket
    another_site.configure()
    fake = await FakeDaemon.start(nursery, site.socket, manner=honest)
    for place in (site, another_site):
        assert await place.plain("alice", WRONG) == "not-authorized"
        assert await place.plain("alice", right("alice")) == "success"
        assert fake.asked[-1] == place.line("auth", "alice", right("alice"))
    assert len(fake.connections) == 1
    await trio.to_thread.run_sync(site.prosody.reload_module, site.host)
    assert await site.plain("bob", right("bob")) == "success"
    assert await another_site.plain("bob", right("bob")) == "success"
    assert fake.connections[0].asked[-1] == another_site.line("auth", "bob", right("bob")), "which still uses it"
    # As after an update: without a host, so that all of them have the new code and one connection again.
    before = len(fake.connections)
    said = await trio.to_thread.run_sync(site.prosody.shell, f'module:reload("{MODULE}")')
    assert said.startswith("Reloaded on *") and site.host in said and another_site.host in said
    for place in (site, another_site):
        assert await place.plain("bob", right("bob")) == "success"
    assert len(fake.connections) == before + 1


async def test_a_question_has_its_time_and_all_that_wait_behind_it_end_with_it(
    site: Site, nursery: trio.Nursery
) -> None:
    """After that no answer on the old connection can be anybody's: it is closed, the next question opens another."""
    site.configure(extauth_bridge_timeout=1)
    fake = await FakeDaemon.start(nursery, site.socket)
    async with contextlib.AsyncExitStack() as stack:
        started = trio.current_time()
        clients = await attempts(site, stack, {user: right(user) for user in ("a", "b", "c")})
        connection = await fake.connection(0)
        lines = [await connection.line() for _ in clients]
        first = lines[1].split(b":")[1].decode()
        await connection.answer(lines[1], b"1")
        assert await clients.pop(first).outcome() == "success"
        for client in clients.values():
            assert await client.outcome() == UNAVAILABLE
        assert 0.9 < trio.current_time() - started < 2.5
        await connection.until_ended(AT_ONCE)
        fake.manner = honest
        await connection.send(connection.text(lines[0], b"1") + connection.text(lines[2], b"1"))
        assert await site.plain("mallory", WRONG) in ("not-authorized", UNAVAILABLE)
    await site.recovers()
    assert all(site.line("auth", user, right(user)) not in fake.asked[3:] for user in clients), "not asked again"


async def test_nobody_waits_for_more_than_the_timeout_however_many_hang(site: Site, nursery: trio.Nursery) -> None:
    site.configure(extauth_bridge_timeout=1)
    await FakeDaemon.start(nursery, site.socket)
    async with contextlib.AsyncExitStack() as stack:
        clients = await attempts(site, stack, {f"u{number}": "some-password" for number in range(30)})
        started = trio.current_time()
        for client in clients.values():
            assert await client.outcome() == UNAVAILABLE
        assert trio.current_time() - started < 3


async def test_a_broken_connection_ends_all_questions_at_once(site: Site, nursery: trio.Nursery) -> None:
    site.configure()
    fake = await FakeDaemon.start(nursery, site.socket)
    async with contextlib.AsyncExitStack() as stack:
        clients = await attempts(site, stack, {f"u{number}": right(f"u{number}") for number in range(10)})
        connection = await fake.connection(0)
        one, two, three, *_ = [await connection.line() for _ in clients]
        started = trio.current_time()
        answers = connection.text(one, b"1") + connection.text(two, b"0") + connection.text(three, b"1")
        await connection.send(answers[:-1])
        await connection.close()
        outcomes = [await client.outcome() for client in clients.values()]
        assert trio.current_time() - started < AT_ONCE
        assert sorted(outcomes) == ["not-authorized", "success", *[UNAVAILABLE] * 8]
        assert len(fake.connections) == 1, "nobody has a question: no reason to connect"
        assert len(set(fake.asked)) == len(fake.asked) == 10
    fake.manner = honest
    await site.recovers()


async def test_the_end_of_an_idle_connection_is_invisible(site: Site, nursery: trio.Nursery) -> None:
    """The next question goes to a new connection; it is not lost on the old one."""
    site.configure()
    fake = await FakeDaemon.start(nursery, site.socket, manner=honest)
    for number in range(4):
        assert await site.plain("alice", right("alice")) == "success"
        assert await site.plain("alice", WRONG) == "not-authorized"
        await (await fake.connection(number)).close()
        async with site.client() as client:
            await client.plain("alice", "")  # answered without the daemon: the module has had its chance to notice
    assert len(fake.connections) == 4


async def test_a_client_that_goes_leaves_its_answer_to_nobody(site: Site, nursery: trio.Nursery) -> None:
    site.configure()
    fake = await FakeDaemon.start(nursery, site.socket)
    async with site.client() as mallory:
        async with site.client() as alice:
            await alice.start_plain("alice", right("alice"))
            connection = await fake.connection(0)
            assert await connection.line() == site.line("auth", "alice", right("alice"))
        await mallory.start_plain("mallory", WRONG)
        assert await connection.line() == site.line("auth", "mallory", WRONG)
        await connection.answer(site.line("auth", "alice", right("alice")), b"1")
        await connection.answer(site.line("auth", "mallory", WRONG), b"0")
        assert await mallory.outcome() == "not-authorized"
        fake.manner = honest
        assert await mallory.plain("mallory", WRONG) == "not-authorized"
        assert await mallory.plain("mallory", right("mallory")) == "success"


async def test_without_a_daemon_the_answer_is_quick_and_says_so(prosody: Prosody) -> None:
    """Quick: long before the timeout of 5 s, though a restart of the daemon may be waited for. Later it serves."""
    async with trio.open_nursery() as nursery:
        for what in ("nothing", "file", "directory", "stale", "refusing"):
            nursery.start_soon(without_a_daemon, prosody, what)


async def without_a_daemon(prosody: Prosody, what: str) -> None:
    """There is something else where its socket should be."""
    with new_site(prosody) as site:
        site.configure()
        if what == "file":
            site.socket.write_text("")
        elif what == "directory":
            site.socket.mkdir()
        elif what in ("stale", "refusing"):
            with socket.socket(socket.AF_UNIX) as gone:
                gone.bind(str(site.socket))
                site.socket.chmod(0 if what == "refusing" else 0o666)
        started = trio.current_time()
        assert await site.plain("alice", right("alice")) == UNAVAILABLE, what
        assert trio.current_time() - started < 3.5, what
        if what == "directory":
            site.socket.rmdir()
        async with trio.open_nursery() as nursery:
            fake = await FakeDaemon.start(nursery, site.socket, manner=honest)
            assert await site.recovers() < 5, what
            fake.stop()
            nursery.cancel_scope.cancel()


async def test_a_daemon_that_accepts_nobody_does_not_stop_the_server(site: Site) -> None:
    """A full backlog makes a connect(2) to a Unix socket wait: not here."""
    site.configure(extauth_bridge_timeout=3)
    with socket.socket(socket.AF_UNIX) as listener, contextlib.ExitStack() as others:
        listener.bind(str(site.socket))
        site.socket.chmod(0o666)
        listener.listen(0)
        with contextlib.suppress(BlockingIOError):
            while True:
                other = others.enter_context(socket.socket(socket.AF_UNIX))
                other.setblocking(False)
                other.connect(str(site.socket))
        async with site.client() as client, site.client() as looker:
            started = trio.current_time()
            await client.start_plain("alice", right("alice"))
            await looker.start_sasl(b"")  # refused by Prosody itself: a sign of life before anybody has logged in
            assert await looker.outcome() == "malformed-request"
            assert trio.current_time() - started < AT_ONCE
            assert await client.outcome() == UNAVAILABLE
            assert trio.current_time() - started < 5


async def test_a_daemon_that_reads_nothing_does_not_stop_the_server(site: Site) -> None:
    """More than the socket holds is waiting to be written: the rest waits in the module, not in write(2)."""
    site.configure(extauth_bridge_timeout=2)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(site.socket))
        site.socket.chmod(0o666)
        listener.listen(16)
        async with contextlib.AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(site.client()) for _ in range(200)]
            looker = await stack.enter_async_context(site.client())
            started = trio.current_time()
            for client in clients:
                words = f"<username>alice</username><password>{'p' * 3000}</password><resource>r</resource>"
                await client.start_request("set", f"<query xmlns='jabber:iq:auth'>{words}</query>", to=site.host)
            await looker.start_sasl(b"")
            assert await looker.outcome() == "malformed-request"
            assert trio.current_time() - started < 1.8, "before the first of them has had its time"
            for client in clients:
                reply = await client.next()
                assert reply.get("type") == "error"
    async with trio.open_nursery() as nursery:
        await FakeDaemon.start(nursery, site.socket, manner=honest)
        await site.recovers()
        nursery.cancel_scope.cancel()


async def test_no_connection_without_a_question_and_never_a_storm_of_them(site: Site, nursery: trio.Nursery) -> None:
    """A daemon that hangs up on everybody at once, and people who try again and again: a few attempts a second."""
    site.configure()
    fake = await FakeDaemon.start(nursery, site.socket)

    async def hang_up(number: int) -> None:
        while True:
            await (await fake.connection(number, seconds=1000)).close()
            number += 1

    async def hammer() -> None:
        async with site.client() as client:
            while trio.current_time() < until:
                assert await client.plain("alice", right("alice")) == UNAVAILABLE

    nursery.start_soon(hang_up, 0)
    until = trio.current_time() + 2.5
    async with trio.open_nursery() as people:
        for _ in range(5):
            people.start_soon(hammer)
    so_far = len(fake.connections)
    assert 2 <= so_far <= 25
    with pytest.raises(trio.TooSlowError):
        await fake.connection(so_far, seconds=0.7)


async def test_the_right_answers_to_lines_of_every_command(site: Site, nursery: trio.Nursery) -> None:
    """`isuser` for a message to somebody who is offline, `setpass` for a change: each line as the protocol has it."""
    site.configure()
    fake = await FakeDaemon.start(nursery, site.socket, manner=honest)
    async with site.client() as client:
        await client.login("alice", right("alice"))
        assert await client.change_password("alice", "some:new:password") == "success"
        for user, there in [("bob", True), ("nobody", False)]:
            await client.send(f"<message to='{user}@{site.host}' type='chat' id='m'><body>hello</body></message>")
            await client.ping()
            assert site.line("isuser", user) in fake.asked
            assert (truth(site.line("isuser", user)) == b"1") is there
    assert site.line("setpass", "alice", "some:new:password") in fake.asked
    assert {line.split(b":")[0] for line in fake.asked} == {b"auth", b"isuser", b"setpass"}
