"""Which files of an authentication program are code."""

import pytest

from bridge.config.load import load
from bridge.config.settings import ConfigError, Settings
from bridge.setup.host import Host
from bridge.setup.programs import code_of, configured, look_at, programs_of
from bridge.setup.trust import Trust


@pytest.fixture
def host(host: Host) -> Host:
    """With some files in the usual places."""
    for path, text in {
        "/usr/bin/php": "ELF",
        "/usr/bin/env": "ELF",
        "/usr/bin/python3": "ELF",
        "/opt/auth/x.php": "<?php",
        "/opt/auth/plain": "#!/usr/bin/python3 -I\n",
        "/opt/auth/by-env": "#!/usr/bin/env -S python3 -I\n",
        "/opt/auth/by-script": "#!/opt/auth/plain\n",
        "/opt/auth/itself": "#!/opt/auth/itself\n",
        "/opt/auth/users.db": "SQLite format 3",
        "/opt/auth/x.conf": "password = 1",
    }.items():
        file = host.path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(0o755 if text == "ELF" else 0o644)
    return host


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        (["/usr/bin/php", "-d", "display_errors=stderr", "/opt/auth/x.php"], ["/usr/bin/php", "/opt/auth/x.php"]),
        (["php", "/opt/auth/x.php"], ["/usr/bin/php", "/opt/auth/x.php"]),
        (["/opt/auth/plain"], ["/opt/auth/plain", "/usr/bin/python3"]),
        (["/opt/auth/by-env"], ["/opt/auth/by-env", "/usr/bin/python3"]),
        (["/opt/auth/by-script"], ["/opt/auth/by-script", "/opt/auth/plain", "/usr/bin/python3"]),
        (["env", "A=1", "/opt/auth/plain"], ["/usr/bin/env", "/opt/auth/plain", "/usr/bin/python3"]),
        (["/usr/bin/python3", "/opt/auth/users.db", "/opt/auth/x.conf"], ["/usr/bin/python3"]),
        (["python3", "-c", "x" * 5000], ["/usr/bin/python3"]),
        (["/opt/missing"], []),
    ],
)
def test_code_is_told_from_data(host: Host, argv: list[str], code: list[str]) -> None:
    assert [*code_of(host, argv)] == code


def test_a_relative_argument_is_below_the_working_directory(host: Host) -> None:
    assert [*code_of(host, ["php", "x.php"], "/opt/auth")] == ["/usr/bin/php", "/opt/auth/x.php"]


def test_a_script_that_names_itself_ends(host: Host) -> None:
    assert {*code_of(host, ["/opt/auth/itself"])} == {"/opt/auth/itself"}


def test_all_programs_of_all_configurations_are_looked_at(host: Host) -> None:
    folder = host.path("/etc/extauth-bridge")
    folder.mkdir(parents=True)
    (folder / "auth.toml").write_text(
        'program = "/opt/auth/plain"\n[hosts."a.example"]\nprogram = ["php", "/opt/auth/x.php"]\ncwd = "/srv"\n'
    )
    (folder / "blue.toml").write_text("nonsense = 1\n")
    (folder / "auth.toml").chmod(0o666)
    trust = Trust(host)
    found = dict(configured(host, trust))
    assert isinstance(found["/etc/extauth-bridge/blue.toml"], ConfigError)
    settings = found["/etc/extauth-bridge/auth.toml"]
    assert isinstance(settings, Settings)
    host.path("/srv").mkdir()
    for path in ("/opt/auth/plain", "/opt/auth/x.php", "/srv"):
        host.path(path).chmod(0o777)
    assert [look_at(trust, host, program, None) for program in programs_of(settings)] == [True, True]
    assert {*trust.faults} == {"/etc/extauth-bridge/auth.toml", "/opt/auth/plain", "/opt/auth/x.php", "/srv"}


def test_where_its_environment_has_it_find_code_is_looked_at(host: Host) -> None:
    for path in ("/opt/lib", "/opt/bin"):
        host.path(path).mkdir(parents=True)
        host.path(path).chmod(0o777)
    env = {"PYTHONPATH": "/usr/lib/x:/opt/lib", "PATH": "/opt/bin", "DATA": "/opt/lib"}
    [program] = programs_of(load(None, {"env": env}, ["/opt/missing"]))
    trust = Trust(host)
    look_at(trust, host, program, None)
    assert {*trust.faults} == {"/opt/lib", "/opt/bin"}


def test_a_missing_program_is_told(host: Host) -> None:
    [program] = programs_of(load(None, {}, ["/opt/missing"]))
    assert not look_at(Trust(host), host, program, None)
