"""`extauth-bridge setup` on a booted machine: nothing but the software is there before."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.machine.clients import ask
from support.machine.machine import Machine
from support.machine.prosody import GRANTED, REFUSED, WRONG, attempts, certify, restart
from support.machine.site import COMMAND, ENVIRONMENT, PASSWORD, SOCKETS, UNIT, Site, socket_of

pytestmark = pytest.mark.slow

UNITS = "/etc/systemd/system"

VIRTUAL_HOST = "/etc/prosody/conf.d/example.com.cfg.lua"

# Everything that is there, but for what changes by itself.
UNSTEADY = "/proc /root /var/log /var/lib/systemd /var/tmp"
LISTING = (
    f"find / -xdev {' '.join(f'-path {path} -prune -o' for path in UNSTEADY.split())} -name __pycache__ -prune -o "
    "-not -path / -printf '%p %y %m %u %g %s %l %T@\\n' | sort; "
    "find /run/extauth-bridge /run/systemd/system /etc/systemd | sort"
)


@pytest.fixture(scope="module")
def machine_site(root: Path) -> Iterator[Site]:
    with Machine(root) as machine:
        site = Site(machine)
        site.install_software()
        yield site


@pytest.fixture
def bare(machine_site: Site) -> Site:
    """Only the software: what an earlier test set up is removed."""
    machine_site.machine.run(f"{COMMAND} setup --remove >/dev/null || true; rm -rf {UNITS}/extauth-bridge*")
    machine_site.machine.run("rm -rf /etc/extauth-bridge /var/lib/extauth-bridge; userdel extauth-bridge || true")
    return machine_site


@pytest.fixture
def site(bare: Site) -> Site:
    """Set up."""
    bare.set_up()
    bare.add_alice()
    return bare


def outcomes(site: Site, *arguments: str) -> dict[str, list[str]]:
    """What became of the steps: outcome to what was done."""
    found: dict[str, list[str]] = {}
    for step in json.loads(site.set_up("--json", *arguments, check=False))["steps"]:
        found.setdefault(step["outcome"], []).append(step["what"])
    return found


def listing(site: Site) -> list[str]:
    return site.machine.run(LISTING, check=False).stdout.splitlines()


def test_it_sets_up_all_that_is_needed_and_says_what_is_left(bare: Site) -> None:
    bare.machine.run("rm -rf /usr/local/lib/prosody")
    printed = bare.machine.run(f"umask 077; {COMMAND} setup").stdout
    assert 'authentication = "extauth_bridge"\n' in printed
    assert "extauth_bridge_saslprep = false\n" in printed
    assert "systemctl restart prosody.service" in printed
    assert bare.machine.run(f"systemctl is-enabled {UNIT} {' '.join(SOCKETS)}").stdout.split() == ["enabled"] * 3
    modes = bare.machine.run("cd /run/extauth-bridge; stat -c '%n %U %G %a' . *").stdout.split("\n")
    assert modes[:3] == [". root root 755", "auth.sock root prosody 660", "status.sock root extauth-bridge 660"]
    config = bare.machine.run("stat -c '%U %G %a' /etc/extauth-bridge /etc/extauth-bridge/auth.toml").stdout
    assert config.splitlines() == ["root extauth-bridge 750", "root extauth-bridge 640"]
    assert "plugin_paths" not in printed
    modes = bare.machine.run("find /usr/local/lib/prosody -printf '%m '").stdout.split()
    assert {*modes} == {"755", "644"}
    assert f"{ENVIRONMENT}/bin/extauth-sqlite /var/lib/extauth-bridge/users.db adduser" in printed
    bare.add_alice()
    assert bare.answers()


def test_done_twice_it_changes_nothing(site: Site) -> None:
    before = listing(site)
    assert {*outcomes(site)} == {"already so"}
    assert listing(site) == before


@pytest.mark.parametrize("user", ["root", "nobody"])
def test_a_dry_run_changes_nothing_and_needs_no_root(bare: Site, user: str) -> None:
    before = listing(bare)
    done = bare.machine.run(f"setpriv --reuid={user} --regid=nogroup --clear-groups {COMMAND} setup --dry-run")
    assert f"would do    {UNITS}/{UNIT}\n" in done.stdout
    assert "done  " not in done.stdout
    assert listing(bare) == before


def test_only_root_is_let_do_it_and_others_may_look(site: Site) -> None:
    as_nobody = f"setpriv --reuid=nobody --regid=nogroup --clear-groups {COMMAND} setup"
    done = site.machine.run(as_nobody, check=False)
    assert (done.returncode, "must be run by root" in done.stdout) == (2, True)
    looked = site.machine.run(f"{as_nobody} --dry-run").stdout
    assert f"already so  {UNITS}/{UNIT}\n" in looked
    assert "would do" not in looked


async def test_prosody_lets_in_who_is_to_be_let_in(site: Site) -> None:
    printed = site.set_up("--dry-run").splitlines()
    [lines] = [printed[at : at + 2] for at, line in enumerate(printed) if line.startswith("    authentication = ")]
    site.write(VIRTUAL_HOST, "\n".join(['VirtualHost "example.com"', *lines, ""]))
    try:
        certify(site)
        restart(site)
        assert await attempts(site, WRONG, PASSWORD) == [REFUSED, GRANTED]
        assert f"authentication in {VIRTUAL_HOST}" in outcomes(site)["already so"]
        assert VIRTUAL_HOST in outcomes(site, "--remove", "--dry-run")["note"][0]
    finally:
        site.machine.run(f"rm {VIRTUAL_HOST}; systemctl stop prosody")


def test_an_upgrade_replaces_what_nobody_has_changed(site: Site) -> None:
    assert site.answers()
    shipped = f"{ENVIRONMENT}/lib/python3.*/site-packages/bridge/systemd"
    site.machine.run(f"echo '# A newer one.' | tee -a {shipped}/{UNIT} >> $(echo {shipped})/{SOCKETS[0]}")
    try:
        site.machine.run(f"echo '# Mine.' >> {UNITS}/{SOCKETS[0]}")
        printed = site.set_up(check=False)
        assert f"done        {UNITS}/{UNIT}\n" in printed
        assert f"left alone  {UNITS}/{SOCKETS[0]}" in printed
        assert "-# Mine." in printed
        assert f"systemctl restart {UNIT}" in printed
        assert "# A newer one." in site.read(f"{UNITS}/{UNIT}")
        assert site.machine.show(UNIT, "NeedDaemonReload") == "no"
        assert site.answers()
        site.set_up("--force")
        assert "# Mine." not in site.read(f"{UNITS}/{SOCKETS[0]}")
    finally:
        site.machine.run(f"sed -i '/^# A newer one/d' {shipped}/{UNIT} {shipped}/{SOCKETS[0]}")


def test_a_group_that_is_missing_is_told(bare: Site) -> None:
    bare.drop_in(SOCKETS[0], "[Socket]\nSocketGroup=nowhere\n")
    try:
        left = outcomes(bare)["left alone"]
        assert left == ["sockets: no group nowhere to open them for"]
        assert "SocketGroup=NAME" in bare.set_up(check=False)
    finally:
        bare.machine.run("rm -r /run/systemd/system/extauth-bridge*; systemctl daemon-reload")
    bare.set_up()
    assert bare.machine.show(SOCKETS[0], "ActiveState") == "active"


PROGRAM = """\
#!/usr/bin/env python3
import sys
while head := sys.stdin.buffer.read(2):
    sys.stdin.buffer.read(int.from_bytes(head, "big"))
    sys.stdout.buffer.write(b"\\0\\2\\0\\1")
    sys.stdout.buffer.flush()
"""


def test_a_program_of_the_sites_own(bare: Site) -> None:
    bare.write("/opt/auth/yes.py", PROGRAM)
    bare.machine.run("chmod 755 /opt/auth/yes.py")
    bare.set_up("--", "/opt/auth/yes.py", "'a \"b'")
    assert 'program = ["/opt/auth/yes.py", "a \\"b"]' in bare.read("/etc/extauth-bridge/auth.toml")
    assert ask(bare.auth, "isuser:anybody:example.com") == "1"
    bare.machine.run("chown nobody /opt/auth")
    before = listing(bare)
    for arguments in ("", "-- /opt/auth/yes.py"):
        refused = bare.machine.run(f"{COMMAND} setup {arguments}", check=False)
        assert refused.returncode == 2
        assert "/opt/auth: belongs to nobody" in refused.stdout
    assert listing(bare) == before
    bare.machine.run("rm -r /opt/auth")


@pytest.mark.parametrize("harm", ["mv {bin}/python3 {bin}/gone", "mv {lib} {lib}.gone"], ids=["interpreter", "version"])
def test_a_new_version_of_python_is_told(site: Site, harm: str) -> None:
    """As an upgrade of Debian does it: the environment has lost what it ran on, or what it imported."""
    places = {"bin": f"{ENVIRONMENT}/bin", "lib": f"$(ls -d {ENVIRONMENT}/lib/python3.*[0-9])"}
    site.machine.run(f"cp -a {ENVIRONMENT} {ENVIRONMENT}.kept; {harm.format(**places)}")
    try:
        site.machine.run(f"systemctl start {UNIT}", check=False)
        log = site.machine.journal(UNIT)
        assert f"{COMMAND} cannot run. If Python was upgraded, run: python3 -m venv --clear {ENVIRONMENT}" in log
        # Its own command names the interpreter that is gone.
        other = site.machine.run(f"{ENVIRONMENT}.kept/bin/python3 -m bridge setup --dry-run", check=False)
        assert f"note        {UNITS}/{UNIT}: {COMMAND} cannot run: " in other.stdout
    finally:
        site.machine.run(f"systemctl stop {UNIT}; rm -r {ENVIRONMENT}; mv {ENVIRONMENT}.kept {ENVIRONMENT}")
        site.machine.run(f"systemctl start {' '.join(SOCKETS)}")


def test_a_removal_leaves_what_is_the_sites_own(site: Site) -> None:
    site.write("/opt/auth/yes.py", PROGRAM)
    site.write("/etc/extauth-bridge/blue.toml", 'program = ["python3", "/opt/auth/yes.py"]')
    site.machine.run("systemctl enable --now --quiet extauth-bridge@blue.socket extauth-bridge-status@blue.socket")
    assert ask(socket_of(site.machine, "blue"), "isuser:alice:example.com") == "1"
    assert site.answers()
    site.set_up("--remove")
    assert site.processes() == {}
    left = "find /etc /usr/local /run /var/lib/extauth-bridge -name '*extauth*' -o -name users.db"
    assert sorted(site.machine.run(left).stdout.split()) == [
        "/etc/extauth-bridge",
        "/var/lib/extauth-bridge",
        "/var/lib/extauth-bridge/users.db",
    ]
    assert site.machine.run("systemctl list-units --all --plain --no-legend 'extauth*'").stdout == ""
    assert {*outcomes(site, "--remove")} == {"already so"}
    site.set_up()
    assert site.answers(), "with the users it had before"
