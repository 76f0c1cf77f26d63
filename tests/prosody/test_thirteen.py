"""What is new in Prosody 13: how it makes accounts, its shell, roles, tokens of its own."""

import base64
import hashlib
import hmac
import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from xml.sax.saxutils import quoteattr

import pytest
import trio
from support.prosody.site import Site, right
from support.prosody.xmpp_client import Client, condition
from support.relay.fake_daemon import Connection, FakeDaemon, honest

pytestmark = pytest.mark.slow

PROSODIES = ["13"]

ALL = ["auth", "isuser", "setpass", "tryregister", "removeuser"]
REGISTER = "<query xmlns='jabber:iq:register'><username>{}</username><password>{}</password></query>"
SASL2 = "urn:xmpp:sasl:2"
FAST = "urn:xmpp:fast:0"


async def shell(site: Site, line: str) -> str:
    return await trio.to_thread.run_sync(site.prosody.shell, line)


async def accounts(site: Site, nursery: trio.Nursery, users: set[bytes], **options: object) -> FakeDaemon:
    """A daemon that keeps accounts: of `users` at first."""
    site.configure(allow_registration=True, extauth_bridge_commands=ALL, **options)

    async def with_users(connection: Connection, line: bytes) -> None:
        command, user, *_ = line.split(b":")
        answer = user in users
        if command == b"auth":
            return await honest(connection, line)
        if command == b"tryregister":
            answer = user not in users
            users.add(user)
        elif command == b"removeuser":
            users.discard(user)
        return await connection.answer(line, b"1" if answer else b"0")

    return await FakeDaemon.start(nursery, site.socket, manner=with_users)


def changes(fake: FakeDaemon) -> list[bytes]:
    return [line for line in fake.asked if not line.startswith((b"isuser:", b"auth:"))]


async def test_an_account_is_registered_in_band_with_its_role(site: Site, nursery: trio.Nursery) -> None:
    fake = await accounts(site, nursery, {b"alice"})
    await shell(site, f'module:load("register_ibr", "{site.host}")')
    async with site.client() as client:
        assert condition(await client.request("set", REGISTER.format("alice", "new-secret"), to=None)) == "conflict"
        assert condition(await client.request("set", REGISTER.format("mira", "pw-mira"), to=None)) == "success"
        await client.login("mira", "pw-mira")
    assert changes(fake) == [site.line("tryregister", "mira", "pw-mira")]
    role = f"> return require'core.usermanager'.get_user_role('mira', '{site.host}').name"
    assert "prosody:registered" in await shell(site, role)


def in_band(token: str) -> str:
    """What a client with an invitation sends first (XEP-0445)."""
    return f"<preauth xmlns='urn:xmpp:pars:0' token={quoteattr(token)}/>"


async def invited(site: Site, command: str, address: str) -> str:
    """The token of an invitation that an operator has made."""
    said = await shell(site, f'invite:{command}("{address}")')
    match = re.search(r"preauth=(\S+)", said)
    assert match and "OK" in said, said
    return match[1]


async def test_who_is_invited_makes_his_account(site: Site, nursery: trio.Nursery) -> None:
    """And who has lost his password gets another one by invitation, once."""
    users = {b"alice"}
    fake = await accounts(site, nursery, users, modules_enabled=["invites", "invites_register", "register_ibr"])
    async with site.client() as stranger:
        assert condition(await stranger.request("set", REGISTER.format("mira", "pw-mira"), to=None)) == "not-acceptable"
    token = await invited(site, "create_account", f"mira@{site.host}")
    async with site.client() as client:
        assert condition(await client.request("set", in_band(token), to=site.host)) == "success"
        assert condition(await client.request("set", REGISTER.format("mira", "pw-mira"), to=None)) == "success"
        await client.login("mira", "pw-mira")
    token = await invited(site, "create_reset", f"alice@{site.host}")
    async with site.client() as client:
        assert condition(await client.request("set", in_band(token), to=site.host)) == "success"
        assert condition(await client.request("set", REGISTER.format("alice", "new-secret"), to=None)) == "success"
    async with site.client() as client:
        assert condition(await client.request("set", in_band(token), to=site.host)) == "forbidden", "a second time"
    assert changes(fake) == [site.line("tryregister", "mira", "pw-mira"), site.line("setpass", "alice", "new-secret")]


async def test_what_is_done_for_all_users_is_done_for_none(site: Site, nursery: trio.Nursery) -> None:
    """Nothing breaks, and the log says why."""
    await accounts(site, nursery, {b"alice"}, modules_enabled=["announce", "mimicking"])
    words = "No program can list its users"
    assert "all 0 users" in await shell(site, f'user:list("{site.host}")')
    assert site.log().count(words) == 1
    assert "sent to 0 users" in await shell(site, f'announce:all("{site.host}", "hello")')
    assert site.log().count(words) == 2
    said = await trio.to_thread.run_sync(site.prosody.ctl, "mod_mimicking", "bootstrap", site.host)
    assert "0 usernames indexed" in said and words in said, said


async def test_accounts_in_the_shell(site: Site, nursery: trio.Nursery) -> None:
    fake = await accounts(site, nursery, {b"alice"})
    assert (await shell(site, f'user:create("mira@{site.host}", "pw:mira", "prosody:admin")')).startswith("OK")
    assert "User exists" in await shell(site, f'user:create("alice@{site.host}", "x", "prosody:admin")')
    assert (await shell(site, f'user:password("alice@{site.host}", "new:secret")')).startswith("OK")
    assert "No such user" in await shell(site, f'user:password("nobody@{site.host}", "x")')
    assert "admin" in await shell(site, f'user:role("mira@{site.host}", "{site.host}")')
    assert "can only be disabled where" in await shell(site, f'user:disable("alice@{site.host}")')
    assert (await shell(site, f'user:delete("mira@{site.host}")')).startswith("OK")
    assert changes(fake) == [
        site.line("tryregister", "mira", "pw:mira"),
        site.line("setpass", "alice", "new:secret"),
        site.line("removeuser", "mira"),
    ]


async def test_the_shell_asks_for_passwords(site: Site, nursery: trio.Nursery) -> None:
    """As `prosodyctl adduser` and `prosodyctl passwd` have it do."""
    fake = await accounts(site, nursery, {b"alice"})
    for line, typed in [
        (f'user:create("mira@{site.host}")', "pw:mira"),
        (f'user:password("alice@{site.host}")', "new"),
    ]:
        said = await trio.to_thread.run_sync(lambda: site.prosody.shell(line, typed=typed))  # noqa: B023
        assert said.startswith("OK"), said
    assert changes(fake) == [site.line("tryregister", "mira", "pw:mira"), site.line("setpass", "alice", "new")]


async def test_an_account_whose_removal_would_take_its_time_stays(site: Site, nursery: trio.Nursery) -> None:
    """`registration_delete_grace_period` disables accounts first, which we cannot."""
    fake = await accounts(site, nursery, {b"alice"}, registration_delete_grace_period=3600)
    async with site.client() as client:
        await client.login("alice", right("alice"))
        remove = "<query xmlns='jabber:iq:register'><remove/></query>"
        assert condition(await client.request("set", remove, to=site.host)) == "service-unavailable"
        await client.ping()
    assert changes(fake) == []


# --- tokens -------------------------------------------------------------------------------------------------


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


async def authenticate(client: Client, mechanism: str, initial: bytes, more: str) -> ElementTree.Element:
    """XEP-0388; the outcome."""
    agent = "<user-agent id='d4565fa7-4d72-4749-b3d3-740edbf87770'/>"
    response = f"<initial-response>{encoded(initial)}</initial-response>"
    await client.send(f"<authenticate xmlns='{SASL2}' mechanism='{mechanism}'>{response}{agent}{more}</authenticate>")
    return await client.next()


async def token_of(site: Site, user: str) -> bytes:
    """From a login by password (XEP-0484)."""
    async with site.client(f"{user}@{site.host}") as client:
        request = f"<request-token xmlns='{FAST}' mechanism='HT-SHA-256-NONE'/>"
        done = await authenticate(client, "PLAIN", f"\0{user}\0{right(user)}".encode(), request)
        token = done.find(f"{{{FAST}}}token")
        assert token is not None, ElementTree.tostring(done)
        return token.attrib["token"].encode()


async def by_token(site: Site, user: str, token: bytes) -> str:
    """`success`, or the condition of the failure."""
    proof = hmac.new(token, b"Initiator", hashlib.sha256).digest()
    async with site.client(f"{user}@{site.host}") as client:
        done = await authenticate(client, "HT-SHA-256-NONE", user.encode() + b"\0" + proof, f"<fast xmlns='{FAST}'/>")
        return "success" if done.tag.endswith("}success") else done[0].tag.rpartition("}")[2]


async def test_a_token_outlives_a_change_of_the_password_no_more(site: Site, nursery: trio.Nursery) -> None:
    await accounts(site, nursery, {b"alice"}, modules_enabled=["sasl2", "sasl2_fast"])
    token = await token_of(site, "alice")
    assert await by_token(site, "alice", token) == "success"
    assert await by_token(site, "alice", token + b"x") == "not-authorized"
    await trio.sleep(1.1)  # times of changes are whole seconds, in Prosody's own accounts as well
    assert (await shell(site, f'user:password("alice@{site.host}", "other-secret")')).startswith("OK")
    assert await by_token(site, "alice", token) == "credentials-expired"


async def test_a_removed_users_token_is_believed_unless_somebody_is_asked(site: Site, nursery: trio.Nursery) -> None:
    """Removed in the back end, where nobody tells us."""
    users = {b"alice"}
    await accounts(site, nursery, users, modules_enabled=["sasl2", "sasl2_fast"])
    token = await token_of(site, "alice")
    users.remove(b"alice")
    assert await by_token(site, "alice", token) == "success"


async def test_a_removed_users_token_is_not_believed_if_somebody_is_asked(site: Site, nursery: trio.Nursery) -> None:
    users = {b"alice"}
    modules = ["sasl2", "sasl2_fast"]
    fake = await accounts(site, nursery, users, modules_enabled=modules, extauth_bridge_check_tokens=True)
    token = await token_of(site, "alice")
    assert await by_token(site, "alice", token) == "success"
    await trio.sleep(2.1)  # for which an answer counts as fresh
    users.remove(b"alice")
    assert await by_token(site, "alice", token) == "not-authorized"
    await trio.sleep(2.1)
    fake.stop()
    assert await by_token(site, "alice", token) == "temporary-auth-failure"
    await FakeDaemon.start(nursery, site.socket, manner=honest)
    with trio.fail_after(20):
        while await by_token(site, "alice", token) == "temporary-auth-failure":
            await trio.sleep(0.1)
    assert await by_token(site, "alice", token) == "success", "an outage costs nobody his token"


async def bearer(site: Site, user: str, token: str) -> str:
    async with site.client() as client:
        message = f"n,a={user}@{site.host},\1auth=Bearer {token}\1\1"
        await client.send(
            f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='OAUTHBEARER'>{encoded(message.encode())}</auth>"
        )
        reply = await client.next()
        kind = reply.tag.rpartition("}")[2]
        return reply[0].tag.rpartition("}")[2] if kind == "failure" else kind


async def test_a_bearers_token_is_asked_about_as_a_password(site: Site, nursery: trio.Nursery) -> None:
    site.configure(extauth_bridge_oauthbearer=True)
    fake = await FakeDaemon.start(nursery, site.socket, manner=honest)
    async with site.client() as client:
        assert set(client.mechanisms()) == {"PLAIN", "OAUTHBEARER"}
    assert await bearer(site, "alice", right("alice")) == "success"
    assert await bearer(site, "alice", right("bob")) == "challenge"
    assert fake.asked == [site.line("auth", "alice", right(user)) for user in ("alice", "bob")]
    fake.stop()
    assert await bearer(site, "alice", right("alice")) == "temporary-auth-failure"


async def test_tokens_of_prosodys_own_are_believed_and_expire(site: Site, nursery: trio.Nursery) -> None:
    fake = await accounts(site, nursery, {b"alice"}, modules_enabled=["tokenauth"])
    host = json.dumps(site.host)
    grant = f"t.create_grant('alice@'..{host}, 'alice@'..{host}, 3600, nil)"
    make = f"t.create_token('alice@'..{host}, {grant}, 'prosody:member', 3600, 'oauth2')"
    said = await shell(site, f"> local t = prosody.hosts[{host}].modules.tokenauth; return ({make})")
    token = said.removeprefix("Result: ").strip('"')
    assert token.startswith("secret-token:")
    assert await bearer(site, "alice", token) == "success"
    assert not [line for line in fake.asked if line.startswith(b"auth")]
    await trio.sleep(1.1)
    assert (await shell(site, f'user:password("alice@{site.host}", "other-secret")')).startswith("OK")
    assert await bearer(site, "alice", token) == "challenge"


def test_the_module_loads_from_a_folder_there(site: Site) -> None:
    site.configure()
    assert Path(site.prosody.plugins, "mod_auth_extauth_bridge", "protocol.lib.lua").exists()
