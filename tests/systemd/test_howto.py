"""What extauth-bridge-howto(7) has administrators do, on a booted machine, and the README's way from its first step."""

import pytest
from support.machine.clients import ask
from support.machine.prosody import GRANTED, REFUSED, WRONG, attempts, restart
from support.machine.site import PASSWORD, Site, recipe
from support.readme import commands

from bridge.commands.cli import COMMANDS

pytestmark = pytest.mark.slow

needs_setup = pytest.mark.skipif("setup" not in COMMANDS, reason="there is no setup yet")

STATUS = "/run/extauth-bridge/status.sock"
NEW = "another:one"


def howto(site: Site, step: str, typed: str = "", timeout: float = 60) -> str:
    """Do what the page says for this step, after its first command; what that printed."""
    script = commands("howto: path") + recipe(step, "howto")
    return site.machine.run(script, typed=typed, timeout=timeout).stdout


def test_a_backup_is_restored_while_the_daemon_runs(site: Site) -> None:
    assert site.answers()
    pid = site.main_pid()
    howto(site, "backup")
    assert ask(site.auth, f"setpass:alice:example.com:{NEW}") == "1"
    assert ask(site.auth, f"auth:alice:example.com:{NEW}") == "1"
    howto(site, "restore")
    assert site.answers()
    assert ask(site.auth, f"auth:alice:example.com:{NEW}") == "0"
    assert ask(site.auth, f"setpass:alice:example.com:{PASSWORD}") == "1"
    assert site.main_pid() == pid
    assert site.machine.run("stat -c '%a %U' /root/users.backup").stdout.split() == ["600", "root"]


def test_alice_is_asked_about(site: Site) -> None:
    assert howto(site, "isuser").split() == ["granted"]
    assert howto(site, "alone", typed=f"{PASSWORD}\n").split() == ["granted"]


def test_monitoring_reads_the_status_and_not_the_configuration(site: Site) -> None:
    site.machine.run("groupadd --force nagios")
    site.put("group", "howto")
    howto(site, "regroup")
    assert site.machine.run(f"stat -c '%G %a' {STATUS}").stdout.split() == ["nagios", "660"]
    assert site.answers()


@needs_setup
def test_another_python_needs_another_environment(site: Site) -> None:
    home = "/opt/extauth-bridge"
    site.machine.run(f"mv {home}/lib/python3.* {home}/lib/python3.10")
    assert "No module named 'bridge'" in site.machine.run(f"{home}/bin/extauth-bridge --version", check=False).stdout
    howto(site, "python", timeout=120)
    assert site.answers()


@needs_setup
def test_an_upgrade_and_back(site: Site) -> None:
    before = site.machine.run("stat -c %i /opt/extauth-bridge").stdout
    howto(site, "upgrade", timeout=120)
    assert site.answers()
    howto(site, "back", timeout=120)
    assert site.answers()
    assert site.machine.run("stat -c %i /opt/extauth-bridge").stdout != before


@needs_setup
async def test_the_readme(site: Site) -> None:
    site.step("remove")
    site.step("software", way="setup", timeout=120)
    site.step("setup", way="setup", typed=f"{PASSWORD}\n", timeout=60)
    assert site.step("ask", way="setup", typed=f"{PASSWORD}\n").split() == ["granted"]
    site.put("host", "setup")
    site.step("certificate", way="setup", typed="\n" * 10)
    restart(site, way="setup")
    assert await attempts(site, WRONG, PASSWORD) == [REFUSED, GRANTED]
