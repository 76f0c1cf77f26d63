"""Debian's Prosody on a booted machine, set up in each of the documented ways and from its first line on, and logins.

Nothing is done that the manual pages do not say, but for what the machine, which has no network, cannot download:
lpty's source comes from the cache, and in the place of the community's module is a stand-in (see its first lines), or
the real one, where EXTAUTH_TEST_AUTH_EXTERNAL names the file.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.machine.prosody import GRANTED, REFUSED, WRONG, attempts, certify, client, restart, set_up_module
from support.machine.root import lpty_source
from support.machine.site import PASSWORD, SOCKETS, Site

pytestmark = pytest.mark.slow

STAND_IN = Path(__file__).parents[1] / "prosody" / "mod_auth_external_insecure.lua"

# After a start on its terminal Prosody may read its own question back: the more starts, the surer it has been so.
STARTS = 4


@pytest.fixture
def site(installed: Site) -> Iterator[Site]:
    """The installed bridge; no password may get into a log."""
    yield installed
    logs = installed.machine.run("journalctl --sync; journalctl --no-pager; cat /var/log/prosody/*").stdout
    for text in (PASSWORD, WRONG, "Traceback", "traceback"):
        assert text not in logs


@pytest.fixture
def by_module(site: Site) -> Site:
    set_up_module(site)
    return site


async def test_the_module_lets_in_who_is_to_be_let_in(by_module: Site) -> None:
    async with client(by_module) as one:
        assert await one.plain("alice", WRONG) == REFUSED
        assert await one.plain("mallory", PASSWORD) == REFUSED
        await one.login("alice", PASSWORD)
        await one.ping()
        assert await one.change_password("alice", "another:one") == "success"
        assert await attempts(by_module, PASSWORD, "another:one") == [REFUSED, GRANTED]
        assert await one.change_password("alice", PASSWORD) == "success"
    assert "Active: active (running)" in by_module.step("look")


async def test_a_restart_of_either_is_not_noticed(by_module: Site) -> None:
    async with client(by_module) as one:
        await one.login("alice", PASSWORD)
        for _ in range(3):
            assert await attempts(by_module, WRONG, PASSWORD) == [REFUSED, GRANTED]
            by_module.step("restart")
        assert await attempts(by_module, WRONG, PASSWORD) == [REFUSED, GRANTED]
        await one.ping()
    daemon = by_module.main_pid()
    restart(by_module)
    assert await attempts(by_module, WRONG, PASSWORD) == [REFUSED, GRANTED]
    assert by_module.main_pid() == daemon != 0


async def test_without_the_daemon_nobody_is_told_that_the_password_is_wrong(by_module: Site) -> None:
    by_module.step("stop")
    try:
        assert set(await attempts(by_module, WRONG, PASSWORD)) == {"temporary-auth-failure"}
        assert "cannot be reached" in by_module.read("/var/log/prosody/prosody.log")
    finally:
        by_module.machine.run(f"systemctl start {' '.join(SOCKETS)}")
    restart(by_module)
    assert await attempts(by_module, WRONG, PASSWORD) == [REFUSED, GRANTED]


@pytest.fixture(scope="module")
def with_terminals(installed: Site) -> Site:
    """Prosody with what it needs to start helpers on terminals."""
    source = installed.machine.path / "usr/local/src"
    installed.step("packages", way="pty", timeout=120)
    shutil.copytree(lpty_source(), source, dirs_exist_ok=True)
    module = os.environ.get("EXTAUTH_TEST_AUTH_EXTERNAL", STAND_IN)
    shutil.copy(module, source / "mod_auth_external_insecure.lua")
    assert installed.step("build", way="pty").split()[-1] == "OK"
    return installed


async def log_in_after_starts(site: Site, starts: int = STARTS) -> None:
    """Wrong passwords never let in; right ones do, once Prosody is over reading back what it said itself."""
    for _ in range(starts):
        restart(site, way="pty")
        outcomes = await attempts(site, *[WRONG, PASSWORD] * 4)
        assert outcomes[::2] == [REFUSED] * 4
        assert outcomes[3::2] == [GRANTED] * 3


async def test_a_bridge_on_a_terminal(site: Site, with_terminals: Site) -> None:
    site.step("install", way="pty", timeout=120)
    site.put("file", "pty")
    site.step("configure", way="pty", typed=f"{PASSWORD}\n")
    assert site.step("ask", way="pty", typed=f"{PASSWORD}\n").split() == ["granted"]
    site.put("host", "pty")
    certify(site)
    await log_in_after_starts(site)
    assert "answers are written only while the client is seen waiting" in site.step("look", way="pty")
    async with client(site) as one:
        await one.login("alice", PASSWORD)
        assert await one.change_password("alice", "x\nisuser:alice:example.com") != "success"
        assert await attempts(site, WRONG, "x", PASSWORD) == [REFUSED, REFUSED, GRANTED]
        assert await one.change_password("alice", "another:one") == "success"
        assert await attempts(site, PASSWORD, "another:one") == [REFUSED, GRANTED]
    site.machine.run("journalctl --sync")
    assert "possible injection" in site.step("look", way="pty")


async def test_a_relay_on_a_terminal(site: Site, with_terminals: Site) -> None:
    site.put("host", "pty")
    certify(site)
    restart(site, way="pty")
    site.step("install", way="relay")
    assert site.step("try", way="relay").split() == ["1"]
    await log_in_after_starts(site, 2)
    site.step("restart")
    assert await attempts(site, WRONG, PASSWORD) == [REFUSED, GRANTED]
