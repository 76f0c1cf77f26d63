"""Every way by which a password reaches the daemon, as Prosody prepares passwords and as the client sent them.

By whichever way it was set, it must log in by every other."""

# ruff: noqa: RUF001 (letters that look like others are the point here)

import itertools
import shutil
from pathlib import Path

import pytest
import trio
from support.prosody import web
from support.prosody.server import lua_text
from support.prosody.site import Site, right
from support.prosody.xmpp_client import Client, condition
from support.relay.fake_daemon import Connection, FakeDaemon, honest

pytestmark = pytest.mark.slow

PROSODIES = ["here", "13"]

HERE = Path(__file__).parent

# As the client sends it, and as SASLprep leaves it.
PASSWORDS = {
    "u\u0308ber-geheim": "über-geheim",  # decomposed
    "ﬁsh-password": "fish-password",
    "ｇｅｈｅｉｍ": "geheim",
    "pass\u00adword-hyphen": "password-hyphen",
    "a\u00a0hard\u00a0space": "a hard space",
    "½-password": "1⁄2-password",
    "wonder:land:": "wonder:land:",
}

# Which SASLprep refuses.
BEYOND = {
    "a token": "t" * 2000,
    "a long token": "t" * 8000,
    "right to left, with a digit": "סיסמה1",
}

REGISTER = "<query xmlns='jabber:iq:register'><username>{}</username><password>{}</password></query>"
_numbers = itertools.count(1)
ALL = ["auth", "isuser", "setpass", "tryregister"]


async def by_sasl(site: Site, secret: str) -> bool:
    return await site.plain("alice", secret) == "success"


async def by_legacy_authentication(site: Site, secret: str) -> bool:
    async with site.client() as client:
        return await client.legacy("alice", secret) == "success"


async def by_bosh(site: Site, secret: str) -> bool:
    return await web.bosh(site.prosody.http, site.host, "alice", secret) == "success"


async def by_http(site: Site, secret: str) -> bool:
    """As modules ask that have pages or tokens for users, where nothing limits a password to what a header holds."""
    status, _ = await web.post(site.prosody.http, site.host, "/password", f"alice:{secret}")
    return status == 204


async def by_change(site: Site, client: Client, secret: str) -> bool:
    return await client.change_password("carol", secret) == "success"


async def by_shell(site: Site, client: Client, secret: str) -> bool:
    """Somebody else's, who would be logged out by it."""
    said = await trio.to_thread.run_sync(
        site.prosody.shell, f"user:password({lua_text('dora@' + site.host)}, {lua_text(secret)})"
    )
    return said.startswith("OK")


async def by_command(site: Site, client: Client, secret: str) -> bool:
    return await client.change_password_of(f"dora@{site.host}", secret)


async def by_creation(site: Site, client: Client, secret: str) -> bool:
    address = lua_text(f"nora{next(_numbers)}@{site.host}")
    said = await trio.to_thread.run_sync(site.prosody.shell, f"user:create({address}, {lua_text(secret)})")
    return said.startswith("OK")


async def by_registration(site: Site, client: Client, secret: str) -> bool:
    async with site.client() as stranger:
        words = REGISTER.format(f"nora{next(_numbers)}", secret)
        return condition(await stranger.request("set", words, to=None)) == "success"


LOGINS = [by_sasl, by_legacy_authentication, by_bosh, by_http]
CHANGES = [by_change, by_command, by_shell, by_creation, by_registration]


async def daemon_and_client(site: Site, nursery: trio.Nursery, saslprep: bool) -> FakeDaemon:
    shutil.copy(HERE / "mod_password_by_http.lua", site.prosody.plugins)
    site.configure(
        allow_registration=True,
        extauth_bridge_commands=ALL,
        extauth_bridge_saslprep=saslprep,
        admins=[f"carol@{site.host}"],
        modules_enabled=["register_ibr", "bosh", "password_by_http"],
    )

    async def agrees(connection: Connection, line: bytes) -> None:
        if line.startswith(b"isuser:nora"):
            await connection.answer(line, b"0")
        elif line.startswith((b"auth:alice", b"tryregister")):
            await connection.answer(line, b"1")
        else:
            await honest(connection, line)

    return await FakeDaemon.start(nursery, site.socket, manner=agrees)


def sent(fake: FakeDaemon) -> list[str]:
    """The secrets."""
    return [line.decode().split(":", 3)[3] for line in fake.asked if not line.startswith(b"isuser:")]


@pytest.mark.parametrize("saslprep", [True, False])
async def test_a_password_is_the_same_by_every_way(site: Site, nursery: trio.Nursery, saslprep: bool) -> None:
    fake = await daemon_and_client(site, nursery, saslprep)
    async with site.client() as client:
        await client.login("carol", right("carol"))
        for secret, prepared in PASSWORDS.items():
            site.secrets.update({secret, prepared})
            before = len(sent(fake))
            for login in LOGINS:
                assert await login(site, secret), (login, secret)
            for change in CHANGES:
                assert await change(site, client, secret), (change, secret)
            expected = prepared if saslprep else secret
            assert sent(fake)[before:] == [expected] * (len(LOGINS) + len(CHANGES))


@pytest.mark.parametrize("saslprep", [True, False])
async def test_what_saslprep_refuses_is_refused_or_sent(site: Site, nursery: trio.Nursery, saslprep: bool) -> None:
    fake = await daemon_and_client(site, nursery, saslprep)
    async with site.client() as client:
        await client.login("carol", right("carol"))
        for secret in BEYOND.values():
            site.secrets.add(secret)
            before = len(sent(fake))
            for login in LOGINS:
                assert await login(site, secret) is not saslprep, (login, secret)
            for change in CHANGES:
                assert await change(site, client, secret) is not saslprep, (change, secret)
            assert sent(fake)[before:] == ([] if saslprep else [secret] * (len(LOGINS) + len(CHANGES)))


async def test_what_is_too_long_for_the_daemon_is_wrong_and_harms_nobody(site: Site) -> None:
    site.configure(extauth_bridge_saslprep=False)
    site.serve(max_line=9000)
    async with site.client() as client:
        assert await client.plain("alice", "t" * 8900) == "not-authorized"
        assert site.frames("auth") == [site.line("auth", "alice", "t" * 8900)]
        for size in (9000, 32000, 40000):
            assert await client.plain("alice", "t" * size) == "not-authorized"
        assert await client.plain("alice", right("alice")) == "success"
    assert len(site.frames("auth")) == 2
