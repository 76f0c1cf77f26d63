"""Accounts: passwords changed by their users, accounts made and removed where the configuration allows it."""

import subprocess
import sys
from pathlib import Path

import pytest
import trio
from support.process import environment
from support.prosody.site import Site, right
from support.prosody.xmpp_client import condition
from support.prosody.xmpp_slixmpp import Login
from support.relay.fake_daemon import Connection, FakeDaemon, Manner, honest

PROSODIES = ["here", "13"]

ALL = ["auth", "isuser", "setpass", "tryregister", "removeuser"]


def add_user(database: Path, address: str, password: str) -> None:
    command = [sys.executable, "-m", "bridge.programs.sqlite", str(database), "adduser", address]
    subprocess.run(command, input=f"{password}\n".encode(), env=environment(), check=True, timeout=60)


async def test_a_password_with_colons_is_changed_and_counts_at_once(site: Site) -> None:
    """With the bundled program: from the first login to the next password, by a client that people use."""
    database = site.directory / "users.db"
    add_user(database, f"alice@{site.host}", "wonder:land")
    site.configure()
    site.serve((sys.executable, "-m", "bridge.programs.sqlite", str(database)), env=environment())
    assert await site.log_in(Login("alice", "wonder")) == ["not-authorized"]
    assert await site.log_in(Login("alice", "wonder:land", change_to="Über:den:Wolken")) == ["changed"]
    outcomes = await site.log_in(
        Login("alice", "wonder:land"),
        Login("alice", "Über:den:Wolken"),
        Login("alice", "U\u0308ber:den:Wolken"),
        Login("alice", "Über"),
    )
    assert outcomes == ["not-authorized", "success", "success", "not-authorized"]


async def test_a_change_that_the_program_refuses_is_an_error(site: Site) -> None:
    site.configure()
    site.serve()
    async with site.client() as client:
        await client.login("alice", right("alice"))
        assert await client.change_password("alice", "new-password") == "success"
        assert await client.change_password("bob", "new-password") == "bad-request"
        assert await client.change_password("alice", "") != "success"
    async with site.client() as client:
        await client.login("late0-carol", right("late0-carol"))  # the program says yes to whatever it is asked
    async with site.client() as client:
        await client.login("slow1-dora", right("slow1-dora"))
        assert await client.change_password("slow1-dora", "new-password") == "success"
    assert site.frames("setpass") == [
        site.line("setpass", "alice", "new-password"),
        site.line("setpass", "slow1-dora", "new-password"),
    ]


@pytest.mark.parametrize("how", ["silent", "gone"])
async def test_a_change_without_an_answer_fails_and_is_not_made_later(
    site: Site, nursery: trio.Nursery, how: str
) -> None:
    """Whether it was made nobody knows; asked again it could undo what came in between."""
    site.configure(extauth_bridge_timeout=2)  # in which she has to be logged in

    async def lose(connection: Connection, line: bytes) -> None:
        if how == "gone":
            await connection.close()

    fake = await FakeDaemon.start(nursery, site.socket, manner=honest)
    async with site.client() as client:
        await client.login("alice", right("alice"))
        fake.manner = lose
        assert await client.change_password("alice", "lost-password") != "success"
        fake.manner = honest
        await site.recovers()
        assert fake.asked.count(site.line("setpass", "alice", "lost-password")) == 1, "never twice"


REGISTER = "<query xmlns='jabber:iq:register'><username>{}</username><password>{}</password></query>"


def keeps(users: set[bytes]) -> Manner:
    """A daemon that keeps accounts, whatever their passwords."""

    async def answer(connection: Connection, line: bytes) -> None:
        command, user, *_ = line.split(b":")
        verdict = user in users
        if command == b"tryregister":
            verdict = user not in users
            users.add(user)
        elif command == b"removeuser":
            users.discard(user)
        await connection.answer(line, b"1" if verdict else b"0")

    return answer


async def test_accounts_are_neither_made_nor_removed_by_default(site: Site, nursery: trio.Nursery) -> None:
    site.configure(allow_registration=True)
    site.prosody.shell(f'module:load("register_ibr", "{site.host}")')
    fake = await FakeDaemon.start(nursery, site.socket, manner=honest)
    async with site.client() as client:
        assert condition(await client.request("set", REGISTER.format("nora", "new-secret"), to=None)) != "success"
        await client.login("alice", right("alice"))
        remove = "<query xmlns='jabber:iq:register'><remove/></query>"
        assert condition(await client.request("set", remove, to=site.host)) != "success"
        await client.ping()
    for line in [f'user:create("nora@{site.host}", "new-secret")', f'user:delete("alice@{site.host}")']:
        said = await trio.to_thread.run_sync(site.prosody.shell, line)
        assert said.startswith("Error: Could not"), said
    assert {line.split(b":")[0] for line in fake.asked} <= {b"auth", b"isuser"}


async def test_accounts_are_made_and_removed_where_that_is_allowed(site: Site, nursery: trio.Nursery) -> None:
    site.configure(allow_registration=True, extauth_bridge_commands=ALL)
    users = {b"alice"}
    fake = await FakeDaemon.start(nursery, site.socket, manner=keeps(users))
    async with site.client() as client:
        for secret in ["new-secret\nsetpass:bob:h:x", "new-secret\r"]:
            attempt = REGISTER.format("nora", secret.replace("\n", "&#10;").replace("\r", "&#13;"))
            assert condition(await client.request("set", attempt, to=None)) != "success"
        assert condition(await client.request("set", REGISTER.format("alice", "new-secret"), to=None)) == "conflict"
        assert b"nora" not in users
        assert condition(await client.request("set", REGISTER.format("nora", "new:secret"), to=None)) == "success"
        await client.login("nora", "new:secret")
        await client.request("set", "<query xmlns='jabber:iq:register'><remove/></query>", to=site.host)
    assert users == {b"alice"}
    changes = [line for line in fake.asked if not line.startswith((b"isuser:", b"auth:"))]
    assert changes == [site.line("tryregister", "nora", "new:secret"), site.line("removeuser", "nora")]


@pytest.mark.parametrize("command", ["auth", "isuser", "setpass"])
async def test_a_command_that_is_not_allowed_is_never_sent(site: Site, nursery: trio.Nursery, command: str) -> None:
    site.configure(extauth_bridge_commands=[one for one in ALL if one != command])
    fake = await FakeDaemon.start(nursery, site.socket, manner=honest)
    assert (await site.plain("alice", right("alice")) == "success") is (command != "auth")
    said = await trio.to_thread.run_sync(site.prosody.shell, f'user:password("bob@{site.host}", "new-password")')
    assert said.startswith("OK") is (command not in ("isuser", "setpass"))
    assert command.encode() not in {line.split(b":")[0] for line in fake.asked}


async def ctl(site: Site, command: str, user: str, password: str = "") -> str:
    """What `prosodyctl` says, which asks for a password twice."""
    site.secrets.add(password)
    typed = f"{password}\n" * 2
    return await trio.to_thread.run_sync(lambda: site.prosody.ctl(command, f"{user}@{site.host}", typed=typed))


@pytest.mark.slow
async def test_the_operators_commands(site: Site, nursery: trio.Nursery) -> None:
    site.configure(extauth_bridge_commands=ALL)
    users = {b"alice"}
    fake = await FakeDaemon.start(nursery, site.socket, manner=keeps(users))
    await ctl(site, "adduser", "mira", "pw:mira-ctl")
    assert users == {b"alice", b"mira"}
    assert "exists" in await ctl(site, "adduser", "alice", "other-secret")
    await ctl(site, "passwd", "alice", "other-secret")
    said = await ctl(site, "passwd", "nobody", "other-secret")
    assert ("No such user" if site.prosody.system else "does not exist") in said
    await ctl(site, "deluser", "mira")
    assert users == {b"alice"}
    assert [line for line in fake.asked if not line.startswith(b"isuser:")] == [
        site.line("tryregister", "mira", "pw:mira-ctl"),
        site.line("setpass", "alice", "other-secret"),
        site.line("removeuser", "mira"),
    ]


async def test_it_says_what_the_operator_may_not_do(site: Site, nursery: trio.Nursery) -> None:
    site.configure()
    await FakeDaemon.start(nursery, site.socket, manner=honest)
    said = await ctl(site, "adduser", "nobody", "new-secret")
    assert "ryregister is not in extauth_bridge_commands" in said, said  # Prosody begins with a capital
