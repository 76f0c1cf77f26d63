"""Text that would be a line of its own, by every way in which Prosody lets a client or an operator hand one to the
module: nothing that was not asked for is ever written to the daemon, and no answer goes astray.

The test plays the daemon here: the real one refuses such lines too, and this is about what the module sends."""

import json
from collections.abc import Awaitable, Callable

import pytest
import trio
from support.prosody.server import lua_text
from support.prosody.site import Site, right
from support.prosody.xmpp_client import Client
from support.relay.fake_daemon import FakeDaemon, honest

pytestmark = pytest.mark.slow

PROSODIES = ["here", "13"]

WRONG = "wrong-password"

# Secrets that no line can carry. HOST stands for the host's name.
HOSTILE = {
    "a line": "x-secret\nsetpass:bob:HOST:pwned-secret",
    "a question for later": "x-secret\nisuser:alice:HOST",
    "many lines": "x-secret" + "\nisuser:alice:HOST" * 50,
    "a line end at the end": "pw-alice\n",
    "a line end first": "\npw-alice",
    "only a line end": "\n",
    "return": "x-secret\rsetpass:bob:HOST:pwned-secret",
    "both": "x-secret\r\nsetpass:bob:HOST:pwned-secret",
    "return at the end": "pw-alice\r",
    "tabulator": "x-secret\ty",
    "delete": "x-secret\x7f",
    "next line": "x-secret\x85setpass:bob:HOST:pwned-secret",
    "the last control": "x-secret\x9f",
    "the wish for three answers": "x-secret\nextauth-bridge:answers:3",
    "too long": "x-secret" * 4100,
    "very long": "x-secret" * 7000,
    "long, then a line": "x-secret" * 600 + "\nsetpass:bob:HOST:pwned-secret",
    "empty": "",
}

# What Lua can hold, and XML cannot.
BEYOND_XML = {
    "zero": "x-secret\0y",
    "zero and a line": "x-secret\0\nsetpass:bob:HOST:pwned-secret",
    "control C": "x-secret\x03",
    "control Z and a question": "\x1aisuser:alice:HOST",
    "escape": "x-secret\x1b[2J",
}

# Looks like a line end to some, and is none: arrives as it is.
HARMLESS = {
    "line separator": "x-secret\u2028setpass:bob:HOST:y-secret",
    "paragraph separator": "x-secret\u2029y",
    "a question as a password": "setpass:bob:HOST:y-secret",
    "the wish as a password": "extauth-bridge:answers:3",
    "backslashes": "x-secret\\nsetpass:bob:HOST:y-secret",
    "percent": "%s%d%5c%n-secret",
    "Lua patterns": "^(.-)%z$-secret",
    "a byte order mark": "\ufeffx-secret",
    "beyond the basic plane": "x-secret\U0001f511",
    "as long as may be": "s" * 3000,
}

Way = Callable[[Site, Client, str], Awaitable[bool]]


async def by_registration(site: Site, client: Client, secret: str) -> bool:
    """XEP-0077: the user changes it."""
    return await client.change_password("alice", secret) == "success"


async def by_command(site: Site, client: Client, secret: str) -> bool:
    """XEP-0133: an administrator changes somebody's."""
    return await client.change_password_of(f"carol@{site.host}", secret)


async def by_shell(site: Site, client: Client, secret: str) -> bool:
    """An operator, by `prosodyctl shell`."""
    site.secrets.add(secret)
    said = await trio.to_thread.run_sync(
        site.prosody.shell, f"user:password({lua_text('carol@' + site.host)}, {lua_text(secret)})"
    )
    assert said.startswith(("OK:", "Error:", "Result:")), f"the shell says {said.replace(secret, '…')}"
    return said.startswith("OK:")


WAYS: dict[str, Way] = {"registration": by_registration, "command": by_command, "shell": by_shell}


async def logged_in(site: Site, client: Client) -> None:
    """Alice, who is an administrator of the host."""
    await client.login("alice", right("alice"))


async def still_in_step(site: Site, fake: FakeDaemon) -> None:
    """Each later question gets its own answer."""
    async with site.client() as client:
        assert await client.plain("mallory", WRONG) == "not-authorized"
        assert await client.plain("nobody", right("nobody")) == "not-authorized"
        assert await client.plain("bob", right("bob")) == "success"
    assert all(connection.unfinished == b"" for connection in fake.connections)


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
async def test_a_secret_that_no_line_can_carry_is_refused_before_it_is_sent(
    site: Site, nursery: trio.Nursery, way: Way
) -> None:
    site.configure(extauth_bridge_saslprep=False, admins=[f"alice@{site.host}"])
    fake = await FakeDaemon.start(nursery, site.socket, manner=honest)
    secrets = {**HOSTILE, **(BEYOND_XML if way is by_shell else {})}
    async with site.client() as client:
        await logged_in(site, client)
        for name, secret in secrets.items():
            before = len(fake.asked)
            assert not await way(site, client, secret.replace("HOST", site.host)), name
            # Whether she exists is a fair question, and by these ways the only one.
            assert set(fake.asked[before:]) <= {site.line("isuser", "carol")}, name
            await client.ping()
    await still_in_step(site, fake)
    assert len(fake.connections) == 1, "there was no doubt about any answer"


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
async def test_a_secret_that_only_looks_like_two_lines_arrives_as_it_is(
    site: Site, nursery: trio.Nursery, way: Way
) -> None:
    site.configure(extauth_bridge_saslprep=False, admins=[f"alice@{site.host}"])
    fake = await FakeDaemon.start(nursery, site.socket, manner=honest)
    async with site.client() as client:
        await logged_in(site, client)
        for name, template in HARMLESS.items():
            secret = template.replace("HOST", site.host)
            before = len(fake.asked)
            assert await way(site, client, secret), name
            asked = [line for line in fake.asked[before:] if not line.startswith(b"isuser:")]
            user = "alice" if way is by_registration else "carol"
            assert asked == [site.line("setpass", user, secret)], name
    await still_in_step(site, fake)


async def test_legacy_authentication_sends_no_line_of_its_own(site: Site, nursery: trio.Nursery) -> None:
    """XEP-0078: any password that XML can carry, from anybody, before any login."""
    site.configure(extauth_bridge_saslprep=False)
    fake = await FakeDaemon.start(nursery, site.socket, manner=honest)
    async with site.client() as client:
        for name, secret in HOSTILE.items():
            assert await client.legacy("alice", secret.replace("HOST", site.host)) == "not-authorized", name
        assert fake.asked == []
        for name, secret in HARMLESS.items():
            assert await client.legacy("alice", secret.replace("HOST", site.host)) == "not-authorized", name
    assert fake.asked == [site.line("auth", "alice", secret.replace("HOST", site.host)) for secret in HARMLESS.values()]
    await still_in_step(site, fake)


@pytest.mark.parametrize("code", ["0", "1", "3", "1a", "1b", "b", "c", "fffe", "ffff", "d800"])
async def test_what_xml_cannot_carry_ends_the_stream(site: Site, nursery: trio.Nursery, code: str) -> None:
    site.configure()
    fake = await FakeDaemon.start(nursery, site.socket, manner=honest)
    async with site.client() as client:
        words = f"<username>alice</username><password>pw&#x{code};isuser:alice:h</password><resource>r</resource>"
        await client.send(f"<iq type='set' id='a'><query xmlns='jabber:iq:auth'>{words}</query></iq>")
        assert "not-well-formed" in await client.ended()
    assert fake.asked == []
    await still_in_step(site, fake)


async def test_bytes_that_are_no_text_end_the_stream(site: Site, nursery: trio.Nursery) -> None:
    site.configure()
    fake = await FakeDaemon.start(nursery, site.socket, manner=honest)
    for raw in [b"\xff", b"\xc0\x8a", b"\xed\xa0\x80", b"\x00", b"\xf4\x90\x80\x80"]:
        async with site.client() as client:
            words = b"<username>alice</username><password>pw" + raw + b"</password><resource>r</resource>"
            await client.send(b"<iq type='set' id='a'><query xmlns='jabber:iq:auth'>" + words + b"</query></iq>")
            assert "not-well-formed" in await client.ended()
    assert fake.asked == []
    await still_in_step(site, fake)


NAMES = {
    "colon": "al:ice",
    "a host of its own": "alice:other.example:x",
    "line": "alice\nsetpass:bob:HOST:pwned",
    "return": "alice\r",
    "zero": "alice\0bob",
    "control": "alice\x1f",
    "next line": "alice\x85",
    "not UTF-8": "alice\udcff",
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES.keys())
async def test_a_name_that_no_line_can_carry_is_refused(site: Site, nursery: trio.Nursery, name: str) -> None:
    """Prosody prepares names that clients send; other modules may ask about one that nobody prepared."""
    site.configure(extauth_bridge_commands=["auth", "isuser", "setpass", "tryregister", "removeuser"])
    fake = await FakeDaemon.start(nursery, site.socket, manner=honest)
    raw = name.replace("HOST", site.host).encode(errors="surrogateescape")
    provider = f"require'core.usermanager'.get_provider({json.dumps(site.host)})"
    user = '"' + "".join(f"\\{byte:03d}" for byte in raw) + '"'
    for line in [
        *(f">{provider}.user_exists({user})", f">{provider}.test_password({user}, 'pw')"),
        *(f">{provider}.set_password({user}, 'pw')", f">{provider}.create_user({user}, 'pw')"),
        f">{provider}.delete_user({user})",
    ]:
        said = await trio.to_thread.run_sync(site.prosody.shell, line)
        assert said.startswith(("Error:", "Result: nil", "Result: false")), (line, said)
    assert fake.asked == []
    await still_in_step(site, fake)
