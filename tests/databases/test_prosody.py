"""Users of a real Prosody, in the table that it makes by itself through LuaDBI: taken over, changed, and given back."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from support import canary
from support.canary import CANARY, right
from support.components import missing
from support.databases.program import manage, serving
from support.databases.server import LOGIN, PASSWORD, Server
from support.prosody.running import running
from support.prosody.server import Prosody, lua_text

from .conftest import SERVERS

pytestmark = pytest.mark.slow

KINDS = ("sqlite", *SERVERS)
DRIVERS = {"sqlite": "SQLite3", "postgresql": "PostgreSQL", "mariadb": "MySQL"}
PACKAGES = {"sqlite": "lua-dbi-sqlite3", "postgresql": "lua-dbi-postgresql", "mariadb": "lua-dbi-mysql"}

STORED = {
    "plain": {"authentication": "internal_plain"},
    "sha1": {"authentication": "internal_hashed"},
    "sha256": {"authentication": "internal_hashed", "password_hash": "SHA-256"},
}
"""How Prosody keeps passwords; each is a host in each database."""

USERS = {"alice": right("alice"), "bob": CANARY, "grüße": "pässword 😀", "o.1=_~%": "' OR 1=1 -- \\"}

NEW = "pä \\' 😀"


class Site(NamedTuple):
    """Prosody, and the URLs of its databases."""

    prosody: Prosody
    urls: dict[str, str]

    def check(self, user: str, host: str, secret: str) -> bool:
        """What Prosody itself says of a password."""
        return self._lua(f"test_password({lua_text(user)}, {lua_text(host)}, {lua_text(secret)})") == "true"

    def make(self, user: str, host: str, secret: str) -> None:
        assert self._lua(f"create_user({lua_text(user)}, {lua_text(secret)}, {lua_text(host)})") == "true"

    def _lua(self, call: str) -> str:
        said = self.prosody.shell(f'> tostring((require "core.usermanager".{call}))')
        return said.rpartition("Result: ")[2]


@pytest.fixture(scope="module")
def site(servers: Callable[[str], Server], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One Prosody, with a host for each database and each way to keep passwords."""
    for package, driver in zip(PACKAGES.values(), DRIVERS.values(), strict=True):
        if not list(Path("/usr/lib").glob(f"*/lua/5.4/dbd/{driver.lower()}.so")):
            missing(f"LuaDBI's {driver}", package)
    with running(level="info") as prosody:
        canary.knows(prosody.data / "users.sqlite", "internal_plain keeps passwords as they are")
        urls, options = {}, {}
        for kind in SERVERS:
            server = servers(kind)
            server.create("prosody")
            urls[kind] = server.url("prosody")
            options[kind] = {"database": "prosody", "host": "127.0.0.1", "port": server.port}
            options[kind] |= {"username": LOGIN, "password": PASSWORD}
        options["sqlite"] = {"database": str(prosody.data / "users.sqlite")}
        urls["sqlite"] = f"sqlite:///{prosody.data}/users.sqlite"
        for kind in KINDS:
            sql = _table({"driver": DRIVERS[kind], **options[kind]})
            for name, settings in STORED.items():
                host = f"{name}.{kind}.example"
                own = "".join(f"  {option} = {json.dumps(value)}\n" for option, value in settings.items())
                prosody.configure_host(host, f'VirtualHost "{host}"\n  storage = "sql"\n  sql = {sql}\n{own}')
                assert prosody.shell(f'host:activate("{host}")') == "Result: true", prosody.tail()
        site = Site(prosody, urls)
        for kind in KINDS:
            for name in STORED:
                for user, secret in USERS.items():
                    site.make(user, f"{name}.{kind}.example", secret)
        yield site


def _table(values: dict[str, object]) -> str:
    return "{ " + "; ".join(f"{name} = {json.dumps(value)}" for name, value in values.items()) + " }"


@pytest.mark.parametrize("kind", KINDS)
def test_its_users_log_in_as_before_and_keep_what_is_changed(site: Site, kind: str) -> None:
    words = (site.urls[kind], "--table", "prosody", "--write")
    listed = manage(*words, "listusers", f"sha1.{kind}.example").stdout.splitlines()
    assert sorted(listed) == sorted(f"{user}@sha1.{kind}.example" for user in USERS)
    with serving(*words) as program:
        for host in (f"{name}.{kind}.example" for name in STORED):
            for user in USERS:
                accepted = {secret for secret in USERS.values() if program.ask("auth", user, host, secret) == "yes"}
                assert accepted == {USERS[user]} == {s for s in USERS.values() if site.check(user, host, s)}
                assert program.ask("isuser", user, host) == "yes"
            assert program.ask("isuser", "carol", host) == "no"
        for host in (f"{name}.{kind}.example" for name in STORED):
            assert program.ask("tryregister", "dora", host, right("dora")) == "yes"
            assert site.check("dora", host, right("dora"))
            assert not site.check("dora", host, right("alice"))
            for user, before in (("dora", right("dora")), ("bob", CANARY)):
                assert program.ask("setpass", user, host, NEW) == "yes"
                assert site.check(user, host, NEW)
                assert not site.check(user, host, before)
                assert program.ask("auth", user, host, NEW) == "yes"
                assert program.ask("auth", user, host, before) == "no"
            assert program.ask("removeuser", "dora", host) == "yes"
            assert not site.check("dora", host, NEW)
    host = f"sha256.{kind}.example"
    done = manage(*words, "adduser", f"carol@{host}", typed=f"{right('carol')}\n")
    assert done.returncode == 0, done.stderr
    assert site.check("carol", host, right("carol"))
