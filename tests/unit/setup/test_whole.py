"""All of setup in a root file system in which nothing runs, with systemd's own commands."""

import os
from pathlib import Path

import pytest
from support.components import command, missing
from support.process import ROOT

from bridge.commands.cli import UsageError
from bridge.commands.setup import Setup, main
from bridge.setup.host import Host, SetupError
from bridge.setup.installation import Installation
from bridge.setup.report import Report

COMMAND = "/opt/extauth-bridge/bin/extauth-bridge"
CONFIG = "/etc/extauth-bridge/auth.toml"
SERVICE = "/etc/systemd/system/extauth-bridge.service"


@pytest.fixture
def host(host: Host) -> Host:
    """With an installation, and a Prosody that looks in Debian's directory."""
    if os.geteuid():
        missing("root, to give files to users", "sudo")
    for tool in ("systemctl", "systemd-sysusers", "systemd-tmpfiles"):
        command(tool, "systemd")
    for path, text in {
        COMMAND: "#!/usr/bin/python3\n",
        "/opt/extauth-bridge/bin/extauth-sqlite": "#!/usr/bin/python3\n",
        "/opt/auth/mine": "#!/usr/bin/python3\n",
        "/usr/bin/python3": "",
        "/etc/passwd": "root:x:0:0:root:/root:/bin/sh\n",
        "/etc/group": "root:x:0:\n",
        "/usr/bin/systemctl": "",
        "/usr/lib/prosody/x": "",
        "/etc/prosody/prosody.cfg.lua": "",
    }.items():
        file = host.path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(0o755)
    return host


def setup(host: Host, *, dry_run: bool = False, force: bool = False) -> tuple[Setup, Report]:
    prefix = Path("/opt/extauth-bridge")
    report = Report(dry_run=dry_run)
    return Setup(host, Installation(prefix, prefix / "bin", Path("/usr/bin/python3"), ()), report, force=force), report


def install(
    host: Host, *program: str, dry_run: bool = False, protocol: str | None = None
) -> tuple[int, dict[str, str]]:
    """Its exit status, and what became of each step."""
    one, report = setup(host, dry_run=dry_run)
    return one.install(program, protocol), {step.what: step.outcome for step in report.steps}


def remove(host: Host, *, dry_run: bool = False) -> tuple[int, dict[str, str]]:
    one, report = setup(host, dry_run=dry_run)
    return one.remove(), {step.what: step.outcome for step in report.steps}


def tree(host: Host) -> dict[str, tuple[object, ...]]:
    """Everything there is."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(host.root.rglob("*")):
        status = path.lstat()
        text = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        found[str(path)] = (status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, text)
    return found


@pytest.mark.parametrize("dry_run", [False, True])
def test_users_are_added_to_the_bundled_program_only(
    host: Host, capsys: pytest.CaptureFixture[str], dry_run: bool
) -> None:
    for argv, told in (("/opt/auth/mine",), False), ((), True):
        host.path("/etc/extauth-bridge/auth.toml").unlink(missing_ok=True)
        install(host, *argv, dry_run=dry_run)
        assert ("adduser" in capsys.readouterr().out) is told


def test_all_is_set_up_and_then_already_so(host: Host) -> None:
    status, outcomes = install(host)
    assert status == 0
    assert {*outcomes.values()} == {"done", "note"}
    assert outcomes["systemd does not run here: nothing is started"] == "note"
    wants = host.path("/etc/systemd/system/multi-user.target.wants/extauth-bridge.service")
    assert os.readlink(wants).endswith("/etc/systemd/system/extauth-bridge.service")
    config = host.path(CONFIG)
    assert config.stat().st_mode & 0o7777 == 0o640
    assert config.stat().st_gid == host.number("group", "extauth-bridge") != 0
    assert config.read_text() == (ROOT / "systemd/examples/auth.toml").read_text()
    before = tree(host)
    status, outcomes = install(host)
    assert (status, {*outcomes.values()}) == (0, {"already so", "note"})
    assert tree(host) == before


def test_a_dry_run_changes_nothing(host: Host) -> None:
    before = tree(host)
    status, outcomes = install(host, dry_run=True)
    assert (status, {*outcomes.values()}) == (0, {"would do", "note"})
    assert tree(host) == before
    install(host)
    before = tree(host)
    assert "would do" in remove(host, dry_run=True)[1].values()
    assert tree(host) == before


def test_the_program_after_dashes_is_configured_once(host: Host) -> None:
    install(host, "/opt/auth/mine", 'a "b"', "ü\x7f")
    text = host.path(CONFIG).read_text()
    assert 'program = ["/opt/auth/mine", "a \\"b\\"", "ü\\u007f"]\n' in text
    assert "bundled" not in text
    assert install(host, "/opt/auth/mine", 'a "b"', "ü\x7f")[1][CONFIG] == "already so"
    assert install(host)[1][CONFIG] == "already so"
    status, outcomes = install(host, "/opt/auth/mine", "other")
    assert status == 1
    assert outcomes[f"{CONFIG} is there, and asks another program: change `program` yourself, to"] == "left alone"
    assert host.path(CONFIG).read_text() == text


@pytest.mark.parametrize("place", ["/opt/auth", "/opt/extauth-bridge/bin/extauth-sqlite", "/opt", COMMAND])
def test_code_that_others_can_write_is_refused_and_nothing_done(
    host: Host, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    host.path(place).chmod(0o777)
    before = tree(host)
    assert install(host, "/opt/auth/mine")[0] == 2
    assert f"{place}: everybody can write to it" in capsys.readouterr().out
    assert tree(host) == before
    assert install(host, "/opt/auth/mine", dry_run=True)[0] == 2
    host.path(place).chmod(0o755)
    assert install(host, "/opt/auth/mine")[0] == 0


def test_a_program_for_prosody_is_configured_as_one(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    """And its passwords stay as Prosody normalises them."""
    install(host, "/opt/auth/mine", protocol="generic")
    assert 'program = ["/opt/auth/mine"]\nprotocol = "generic"\n' in host.path(CONFIG).read_text()
    assert "extauth_bridge_saslprep = false" not in capsys.readouterr().out
    assert install(host, "/opt/auth/mine", protocol="generic")[1][CONFIG] == "already so"
    other = f"{CONFIG} is there, and asks another program: change `program` yourself, to"
    assert install(host, "/opt/auth/mine")[1][other] == "left alone"
    assert "extauth_bridge_saslprep = false" in capsys.readouterr().out


def test_a_protocol_is_a_program_s() -> None:
    with pytest.raises(UsageError, match="goes with -- PROGRAM only"):
        main(["--dry-run", "--protocol", "generic"], None)


def test_a_configured_program_that_others_can_write_is_refused(host: Host) -> None:
    install(host, "/opt/auth/mine")
    host.path("/opt/auth/mine").chmod(0o775)
    assert install(host)[0] == 2


def test_a_program_that_is_missing_is_told(host: Host) -> None:
    before = tree(host)
    with pytest.raises(SetupError, match="there is no program /opt/auth/other"):
        install(host, "/opt/auth/other")
    assert tree(host) == before
    install(host, "/opt/auth/mine")
    host.path("/opt/auth/mine").unlink()
    status, outcomes = install(host)
    assert (status, outcomes[f"{CONFIG}: there is no program /opt/auth/mine"]) == (1, "left alone")


def test_a_configuration_that_cannot_be_used_is_named(host: Host) -> None:
    install(host)
    host.path(CONFIG).write_text("nonsense = 1\n")
    status, outcomes = install(host)
    assert status == 1
    assert any(CONFIG in what and "unknown key nonsense" in what for what in outcomes)


def test_a_removal_leaves_the_configuration_and_what_was_changed(host: Host) -> None:
    before = {*tree(host)}
    install(host)
    socket = host.path("/etc/systemd/system/extauth-bridge.socket")
    socket.write_text(socket.read_text() + "# Mine.\n")
    drop_in = host.path(f"{SERVICE}.d/mine.conf")
    drop_in.parent.mkdir()
    drop_in.write_text("")
    host.run("systemctl", "enable", "extauth-bridge@blue.service")
    others = host.path("/etc/systemd/system/multi-user.target.wants/extauth-bridge-backup.service")
    others.symlink_to("/etc/systemd/system/extauth-bridge-backup.service")
    status, outcomes = remove(host)
    assert status == 1
    assert outcomes["/etc/systemd/system/extauth-bridge.socket was changed: remove it yourself"] == "left alone"
    left = {path.removeprefix(str(host.root)) for path in {*tree(host)} - before if "extauth" in path}
    assert left == {
        "/etc/systemd/system/extauth-bridge.socket", f"{SERVICE}.d", f"{SERVICE}.d/mine.conf",
        "/etc/extauth-bridge", CONFIG, "/var/lib/extauth-bridge",
        "/etc/systemd/system/multi-user.target.wants/extauth-bridge-backup.service",
    }  # fmt: skip
    assert "already so" in remove(host)[1].values()


def test_where_others_can_write_root_installs_no_module(host: Host) -> None:
    folder, what = host.path("/usr/local/lib/prosody/modules"), "Prosody's module mod_auth_extauth_bridge"
    folder.mkdir(parents=True)
    os.chown(folder, 1234, -1)
    status, outcomes = install(host)
    assert (status, outcomes[f"{what}: others can write where it belongs"]) == (1, "left alone")
    assert not [*folder.iterdir()]
    os.chown(folder, 0, -1)
    assert install(host)[1][what] == "done"
    os.chown(folder, 1234, -1)
    assert install(host)[1][what] == "already so"


def test_without_systemd_or_prosody_it_says_so(host: Host) -> None:
    host.path("/etc/prosody/prosody.cfg.lua").unlink()
    status, outcomes = install(host)
    assert status == 1
    assert outcomes["Prosody's module: there is no Prosody here; install it and run this again"] == "left alone"
    host.path("/usr/bin/systemctl").unlink()
    with pytest.raises(SetupError, match="in a container"):
        install(host)


def test_a_program_that_no_configuration_can_hold_is_refused_at_once() -> None:
    with pytest.raises(UsageError, match="must be UTF-8"):
        main(["--dry-run", "--", "/bin/\udcff"], None)


def test_only_root_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(UsageError, match="must be run by root"):
        main([], None)
    with pytest.raises(UsageError, match="goes with"):
        main(["--remove", "--", "/bin/true"], None)
