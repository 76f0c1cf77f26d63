"""The units of an installation, and whether what installed ones name can still run."""

from pathlib import Path

import pytest

from bridge.setup.host import Host, SetupError
from bridge.setup.installation import UNITS, Installation, broken, shipped
from bridge.setup.trust import Trust

COMMAND = "/srv/bridge/bin/extauth-bridge"


def installation(prefix: str | None = "/srv/bridge", commands: str = "/srv/bridge/bin") -> Installation:
    return Installation(Path(prefix) if prefix else None, Path(commands), Path("/usr/bin/python3"), ())


def test_its_own_paths_are_filled_in() -> None:
    files = {file.path: file.text for file in installation().files()}
    assert len(files) == 8
    for text in files.values():
        assert "/opt/" not in text
    assert f"ExecStart={COMMAND} serve /etc/extauth-bridge/auth.toml\n" in files[f"{UNITS}/extauth-bridge.service"]
    assert f"ExecStart={COMMAND} serve /etc/extauth-bridge/%i.toml\n" in files[f"{UNITS}/extauth-bridge@.service"]
    assert "venv --clear /srv/bridge;" in files[f"{UNITS}/extauth-bridge.service"]
    assert 'program = ["/srv/bridge/bin/extauth-sqlite", ' in installation().example()


@pytest.mark.parametrize("prefix", ["/opt/extauth-bridge-0.2", "/opt/extauth-bridge/venv"])
def test_its_own_paths_may_hold_the_shipped_one(prefix: str) -> None:
    there = installation(prefix, f"{prefix}/bin")
    text = {file.path: file.text for file in there.files()}[f"{UNITS}/extauth-bridge.service"]
    assert f"ExecStart={prefix}/bin/extauth-bridge serve" in text
    assert f"venv --clear {prefix};" in text
    assert f'program = ["{prefix}/bin/extauth-sqlite", ' in there.example()


def test_without_an_environment_python_itself_is_not_to_be_cleared() -> None:
    files = {file.path: file.text for file in installation(None, "/usr/local/bin").files()}
    text = files[f"{UNITS}/extauth-bridge.service"]
    assert "ExecStart=/usr/local/bin/extauth-bridge serve" in text
    assert "venv --clear /opt/extauth-bridge;" in text


def test_where_it_is_expected_nothing_is_changed() -> None:
    there = {path.read_text() for path in shipped().rglob("*.*") if path.is_file()}
    assert {file.text for file in installation("/opt/extauth-bridge", "/opt/extauth-bridge/bin").files()} < there


def test_where_setup_is_run_from_is_none_of_its_code(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nor what only this process imports from."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", "/somewhere:/else")
    monkeypatch.setattr("sys.path", [str(tmp_path), "/somewhere", "", "/usr/lib/python3"])
    assert Installation.this().libraries == (shipped().parent, Path("/usr/lib/python3"))


@pytest.mark.parametrize("name", ["/srv/a b", "/srv/100%", "/srv/$x", "/srv/'"])
def test_a_name_that_a_unit_cannot_hold_is_refused(host: Host, name: str) -> None:
    command = host.path(name) / "extauth-bridge"
    command.parent.mkdir(parents=True)
    command.write_text("")
    with pytest.raises(SetupError, match="a unit cannot hold this name"):
        installation(commands=name).look_at(Trust(host), host)


def test_what_is_not_installed_is_refused(host: Host) -> None:
    with pytest.raises(SetupError, match="install extauth-bridge with pip"):
        installation().look_at(Trust(host), host)


@pytest.fixture
def installed(host: Host) -> Host:
    """An environment as pip and venv leave it, and a unit that names its command."""
    for folder in (UNITS, "/srv/bridge/bin", "/srv/bridge/lib/python3.11", "/usr/bin"):
        host.path(folder).mkdir(parents=True)
    host.path("/usr/bin/python3.11").write_text("")
    host.path("/srv/bridge/bin/python3").symlink_to(host.path("/usr/bin/python3.11"))
    host.path("/srv/bridge/pyvenv.cfg").write_text("")
    host.path(COMMAND).write_text("#!/srv/bridge/bin/python3\n")
    host.path(f"{UNITS}/extauth-bridge.service").write_text(f"[Service]\nExecStart={COMMAND} serve x\n")
    return host


def test_one_that_can_run_is_not_broken(installed: Host) -> None:
    assert [*broken(installed)] == []


@pytest.mark.parametrize(
    ("gone", "why"),
    [
        (COMMAND, "is missing"),
        ("/srv/bridge/bin/python3", "cannot run: its interpreter /srv/bridge/bin/python3 is gone"),
        ("/usr/bin/python3.11", "cannot run: its interpreter /srv/bridge/bin/python3 is gone"),
    ],
)
def test_one_that_has_lost_what_it_needs_is_broken(installed: Host, gone: str, why: str) -> None:
    installed.path(gone).unlink()
    assert [*broken(installed)] == [(f"{UNITS}/extauth-bridge.service", f"{COMMAND} {why}")]


def test_one_of_another_version_of_python_is_broken(installed: Host) -> None:
    installed.path("/usr/bin/python3.13").write_text("")
    link = installed.path("/srv/bridge/bin/python3")
    link.unlink()
    link.symlink_to(installed.path("/usr/bin/python3.13"))
    [(_, why)] = broken(installed)
    assert why.endswith("it was installed for another version of Python than today's, python3.13")
