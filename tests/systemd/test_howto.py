"""What extauth-bridge-howto(7) has administrators do, on a booted machine."""

from collections.abc import Iterator

import pytest
from support.machine.clients import ask
from support.machine.site import PASSWORD, TRUTH, UNIT, Site

from bridge.commands.cli import COMMANDS

pytestmark = pytest.mark.slow

NEW = "another:one"


@pytest.fixture
def page(site: Site) -> Iterator[Site]:
    """The machine, with the page's first command done."""
    site.machine.run("ln -sf /opt/extauth-bridge/bin/extauth-* /usr/local/bin")
    yield site


def howto(site: Site, step: str, typed: str = "", timeout: float = 60) -> str:
    return site.step(step, way="howto", typed=typed, timeout=timeout)


def test_a_backup_is_restored_while_the_daemon_runs(page: Site) -> None:
    assert page.answers()
    pid = page.main_pid()
    howto(page, "backup")
    assert ask(page.auth, f"setpass:alice:example.com:{NEW}") == "1"
    assert ask(page.auth, f"auth:alice:example.com:{NEW}") == "1"
    howto(page, "restore")
    assert page.answers()
    assert ask(page.auth, f"auth:alice:example.com:{NEW}") == "0"
    assert ask(page.auth, f"setpass:alice:example.com:{PASSWORD}") == "1"
    assert page.main_pid() == pid
    assert page.machine.run("stat -c '%a %U' /root/users.backup").stdout.split() == ["600", "root"]


def test_alice_is_asked_about(page: Site) -> None:
    assert howto(page, "isuser").split() == ["granted"]
    assert howto(page, "alone", typed=f"{PASSWORD}\n").split() == ["granted"]


def test_another_python_needs_another_environment(page: Site) -> None:
    home = "/opt/extauth-bridge"
    page.machine.run(f"mv {home}/lib/python3.* {home}/lib/python3.10")
    assert "No module named 'bridge'" in page.machine.run(f"{home}/bin/extauth-bridge --version", check=False).stdout
    howto(page, "python", timeout=120)
    assert page.answers()


@pytest.mark.skipif("setup" not in COMMANDS, reason="there is no setup yet")
def test_an_upgrade_and_back(page: Site) -> None:
    page.machine.run("systemctl disable prosody.service")
    before = page.machine.run("stat -c %i /opt/extauth-bridge").stdout
    howto(page, "upgrade", timeout=120)
    assert page.answers()
    howto(page, "back", timeout=120)
    assert page.answers(TRUTH)
    assert page.machine.run("stat -c %i /opt/extauth-bridge").stdout != before
