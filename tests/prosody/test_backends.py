"""The main loops that Prosody can run on besides its own: select, and libevent where Debian's lua-event is there.

How a module watches a socket differs between them; what a login comes to must not."""

import contextlib
import re

import pytest
import trio
from support.prosody.site import Site, right
from support.relay.fake_daemon import FakeDaemon, honest

pytestmark = pytest.mark.slow

WRONG = "wrong-password"
UNAVAILABLE = "temporary-auth-failure"


async def test_logins_restarts_and_changes_work_there_too(other_backend_site: Site) -> None:
    site = other_backend_site
    site.configure()
    assert re.search(rf"Prosody is using the (lib)?{site.prosody.backend}\b.* backend", site.prosody.log())
    daemon = site.serve()
    async with site.client() as client:
        for _ in range(3):
            assert await client.plain("alice", WRONG) == "not-authorized"
        await client.login("alice", right("alice"))
        assert await client.change_password("alice", "new:password") == "success"
        assert await client.change_password("alice", "new\nsetpass:bob:h:x") != "success"
        await trio.to_thread.run_sync(daemon.stop)
        await trio.to_thread.run_sync(daemon.start)
        assert await site.recovers("bob") < 5
        await client.ping()
    assert site.frames("setpass") == [site.line("setpass", "alice", "new:password")]


async def test_many_wait_there_too_and_each_gets_its_own_answer(
    other_backend_site: Site, nursery: trio.Nursery
) -> None:
    site = other_backend_site
    site.configure(extauth_bridge_timeout=5)
    fake = await FakeDaemon.start(nursery, site.socket)
    async with contextlib.AsyncExitStack() as stack:
        looker = await stack.enter_async_context(site.client())
        clients = [await stack.enter_async_context(site.client()) for _ in range(30)]
        for number, client in enumerate(clients):
            await client.start_plain(f"u{number}", "some-password")
        connection = await fake.connection(0)
        lines = [await connection.line() for _ in clients]
        started = trio.current_time()
        await looker.start_sasl(b"")
        assert await looker.outcome() == "malformed-request"
        assert trio.current_time() - started < 2, "long before the first of them has had its time"
        for line in lines:
            await connection.answer(line, b"1" if int(line.split(b":")[1][1:]) % 3 else b"0")
        for number, client in enumerate(clients):
            assert await client.outcome() == ("success" if number % 3 else "not-authorized")
    assert len(fake.connections) == 1


async def test_a_hanging_and_a_lying_daemon_let_nobody_in_there_either(
    other_backend_site: Site, nursery: trio.Nursery
) -> None:
    site = other_backend_site
    site.configure(extauth_bridge_timeout=0.5)
    fake = await FakeDaemon.start(nursery, site.socket)
    async with site.client() as client:
        for number, said in enumerate([b"", b"1 1", b"1 0\n2 1\n", b"1 yes\n", b"\n1 1\n"]):
            await client.start_plain("mallory", WRONG)
            connection = await fake.connection(number)
            await connection.line()
            await connection.send(said)
            assert await client.outcome() in ("not-authorized", UNAVAILABLE)
            await connection.until_ended()
        fake.manner = honest
        await site.recovers()
        await (await fake.connection(5)).send(b"9 1\n")
        await (await fake.connection(5)).until_ended()
        assert await client.plain("mallory", WRONG) in ("not-authorized", UNAVAILABLE)


@pytest.mark.parametrize("other_prosody", ["select"], indirect=True)
async def test_a_descriptor_that_select_cannot_wait_for_does_not_stop_the_server(
    other_backend_site: Site, nursery: trio.Nursery
) -> None:
    """Prosody refuses clients with such a descriptor itself; one of ours would end every turn of its main loop."""
    site = other_backend_site
    site.configure(extauth_bridge_timeout=1)
    fake = await FakeDaemon.start(nursery, site.socket, manner=honest)
    async with site.client() as client:
        assert await client.plain("alice", WRONG) == "not-authorized"
        await (await fake.connection(0)).close()
        # A moment later, when the shell's own descriptor is free again; after three seconds all is as it was.
        later = "require 'util.timer'.add_task"
        allow = "require 'util.pposix'.setrlimit('nofile', 4096)"
        fill = "for number = 1, 1100 do open[number] = assert(io.open('/dev/null')); end"
        empty = "for _, file in ipairs(open) do file:close(); end"
        steps = f"{allow}; {fill}; prosody.log('info', 'all are taken'); {later}(3, function () {empty} end);"
        order = f"> local open = {{}}; {later}(0.5, function () {steps} end)"
        assert "Error" not in await trio.to_thread.run_sync(site.prosody.shell, order)
        with trio.fail_after(10):
            while "all are taken" not in site.log():
                await trio.sleep(0.01)
        assert await client.plain("alice", right("alice")) == UNAVAILABLE
        assert "too many open files" in site.log()
        with trio.fail_after(20):
            while await client.plain("alice", right("alice")) != "success":
                await trio.sleep(0.1)
