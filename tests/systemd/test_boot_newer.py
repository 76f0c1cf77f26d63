"""The same installation at work with a newer systemd, booted; here `extauth-bridge setup` makes it.

Also a newer Prosody, 13.

Needs what test_boot needs, and another minimal Debian.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.machine.machine import Machine
from support.machine.prosody import GRANTED, REFUSED, WRONG, attempts, certify, client, restart
from support.machine.root import NEWER, debian_root
from support.machine.site import PASSWORD, SOCKETS, UNIT, Site, recipe

pytestmark = pytest.mark.slow

CONFIG = "/etc/extauth-bridge/auth.toml"


@pytest.fixture(scope="module")
def root() -> Path:
    return debian_root(NEWER, ["module: packages"])


@pytest.fixture(scope="module")
def installed(root: Path) -> Iterator[Site]:
    with Machine(root) as machine:
        site = Site(machine)
        site.install_software()
        assert "plugin_paths" not in site.set_up(), "Prosody says that it looks where the module is"
        site.add_alice()
        yield site


def test_units_are_in_order(site: Site) -> None:
    site.drop_in(UNIT, site.shipped("stricter.conf"))
    units = f"{UNIT} {' '.join(SOCKETS)} extauth-bridge@blue.service extauth-bridge@blue.socket"
    assert site.machine.run(f"systemd-analyze verify --man=no {units}").stdout == ""
    security = f"systemd-analyze security --no-pager --offline=true --threshold=13 /etc/systemd/system/{UNIT}"
    assert "Overall exposure level" in site.machine.run(security).stdout


def test_a_reload_is_over_when_the_command_returns(site: Site) -> None:
    """The new file is in force by then, every time; or it is refused, and the command fails."""
    config = site.read(CONFIG)
    assert site.answers()
    daemon = site.main_pid()
    for number, size in enumerate((1, 3, 2), 1):
        site.write(CONFIG, f"pool_size = {size}\n{config}")
        site.step("reload")
        assert site.machine.journal(UNIT).count("configuration loaded") == number
        assert f"of {size} programs up" in site.machine.show(UNIT, "StatusText")
        assert site.machine.show(UNIT, "ActiveState") == "active"
    site.write(CONFIG, 'program = "/opt/nowhere"\n')
    assert site.machine.run(recipe("reload"), check=False).returncode == 1
    assert "configuration refused: pool default: /opt/nowhere: " in site.machine.show(UNIT, "StatusText")
    assert site.main_pid() == daemon
    assert site.answers()


def test_a_frozen_daemon_is_restarted(site: Site) -> None:
    site.drop_in(UNIT, "[Service]\nWatchdogSec=2s\n")
    assert site.answers()
    daemon = site.main_pid()
    site.machine.run(f"kill -STOP {daemon}")
    site.machine.until("another one is there", lambda: site.main_pid() not in (0, daemon))
    assert site.answers()


def test_sockets_can_be_started_many_times(site: Site) -> None:
    """Here they have a start limit, unless told otherwise."""
    for _ in range(8):
        site.step("stop")
        site.machine.run(f"systemctl start {' '.join(SOCKETS)}")
        assert site.answers()


async def test_this_prosody_has_the_module_too(site: Site) -> None:
    assert "Prosody 13." in site.machine.run("prosodyctl about").stdout
    site.put("configure", "module")
    certify(site)
    restart(site)
    async with client(site) as one:
        await one.login("alice", PASSWORD)
        assert await attempts(site, WRONG, PASSWORD) == [REFUSED, GRANTED]
        site.step("restart")
        assert await attempts(site, WRONG, PASSWORD) == [REFUSED, GRANTED]
        await one.ping()
    log = site.read("/var/log/prosody/prosody.log")
    for text in (PASSWORD, WRONG, "traceback"):
        assert text not in log
