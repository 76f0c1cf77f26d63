"""The units as systemd itself judges them: every directive known, nothing missing, little exposed."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from support.components import command
from support.process import ROOT

from bridge.commands import reload
from bridge.config import load as config

SYSTEMD = ROOT / "systemd"
UNITS = sorted(path.name for path in (*SYSTEMD.glob("*.service"), *SYSTEMD.glob("*.socket")))
DROP_INS = sorted(path.name for path in (SYSTEMD / "drop-ins").iterdir())

# Tenths. What lies below takes the network, or run-time compilers, from the programs.
EXPOSURE = 13

# Our command is not installed where the tests run; this one is everywhere.
OURS = "/opt/extauth-bridge/bin/extauth-bridge"
STAND_IN = "/bin/true"


def analyze(*words: str) -> subprocess.CompletedProcess[str]:
    """Run systemd-analyze; both streams come back as `stdout`."""
    return subprocess.run(
        [command("systemd-analyze", "systemd"), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """A directory with copies of all units, for systemd-analyze to complain about."""
    for name in UNITS:
        (tmp_path / name).write_text((SYSTEMD / name).read_text().replace(OURS, STAND_IN))
    return tmp_path


def add_drop_in(units: Path, unit: str, name: str) -> None:
    directory = units / f"{unit}.d"
    directory.mkdir(exist_ok=True)
    (directory / name).write_text((SYSTEMD / "drop-ins" / name).read_text())


def complaints(units: Path, unit: str) -> str:
    """What `systemd-analyze verify` says; it warns of most things with exit status 0."""
    done = analyze("verify", "--man=no", "--recursive-errors=yes", str(units / unit))
    return done.stdout or (f"exit status {done.returncode}" if done.returncode else "")


def test_all_units_are_there() -> None:
    names = [f"extauth-bridge{kind}{at}" for kind in ("", "-status") for at in ("", "@")]
    assert {f"{name}.socket" for name in names} | {"extauth-bridge.service", "extauth-bridge@.service"} == set(UNITS)


@pytest.mark.parametrize("unit", UNITS)
def test_verify_is_content(units: Path, unit: str) -> None:
    assert complaints(units, unit) == ""


@pytest.mark.parametrize("unit", UNITS)
def test_verify_would_see_a_mistake(units: Path, unit: str) -> None:
    path = units / unit
    text = path.read_text()
    path.write_text(re.sub(r"^(User|SocketUser)=", r"Mistaken\1=", text, flags=re.MULTILINE))
    assert "Mistaken" in complaints(units, unit)


@pytest.mark.parametrize("unit", ["extauth-bridge.service", "extauth-bridge@.service"])
@pytest.mark.parametrize("drop_in", DROP_INS)
def test_verify_is_content_with_a_drop_in(units: Path, unit: str, drop_in: str) -> None:
    add_drop_in(units, unit, drop_in)
    assert complaints(units, unit) == ""


@pytest.mark.parametrize("unit", ["extauth-bridge.service", "extauth-bridge@.service"])
def test_little_is_exposed(units: Path, unit: str) -> None:
    done = analyze("security", "--offline=true", "--no-pager", f"--threshold={EXPOSURE}", str(units / unit))
    assert done.returncode == 0, done.stdout
    # That the limit is one: with a single line less the same unit is over it.
    path = units / unit
    path.write_text(path.read_text().replace("PrivateTmp=yes", "PrivateTmp=no"))
    done = analyze("security", "--offline=true", "--no-pager", f"--threshold={EXPOSURE}", str(path))
    assert done.returncode != 0, done.stdout


def test_the_stricter_drop_in_is_stricter(units: Path) -> None:
    add_drop_in(units, "extauth-bridge.service", "stricter.conf")
    path = str(units / "extauth-bridge.service")
    done = analyze("security", "--offline=true", "--no-pager", "--threshold=3", path)
    assert done.returncode == 0, done.stdout


# --- What the files say about each other


def directives(unit: str) -> list[str]:
    lines = (SYSTEMD / unit).read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def value(unit: str, name: str) -> str:
    [found] = [line.partition("=")[2] for line in directives(unit) if line.startswith(f"{name}=")]
    return found


def test_the_template_differs_in_names_only() -> None:
    text = "\n".join(directives("extauth-bridge.service"))
    for pattern, instance in (
        (r"^(Description=.*)", r"\1, instance %i"),
        (r"^(StateDirectory=.*)", r"\1/%i"),
        (r"/auth\.toml", "/%i.toml"),
        (r"/status\.sock", "/%i.status.sock"),
        (r"(extauth-bridge(-status)?)\.socket", r"\1@%i.socket"),
    ):
        text = re.sub(pattern, instance, text, flags=re.MULTILINE)
    assert directives("extauth-bridge@.service") == text.splitlines()


def test_both_explain_the_same() -> None:
    def comments(unit: str) -> list[str]:
        lines = (SYSTEMD / unit).read_text().splitlines()
        return [line.replace("/%i", "").replace("@.service", ".service") for line in lines[1:] if line[:1] == "#"]

    assert comments("extauth-bridge@.service") == comments("extauth-bridge.service")


@pytest.mark.parametrize("unit", UNITS)
def test_nothing_stays_away_after_many_starts(unit: str) -> None:
    assert value(unit, "StartLimitIntervalSec") == "0"


@pytest.mark.parametrize("at", ["", "@"])
def test_sockets_have_the_names_the_daemon_knows(at: str) -> None:
    assert value(f"extauth-bridge{at}.socket", "FileDescriptorName") == "auth"
    assert value(f"extauth-bridge-status{at}.socket", "FileDescriptorName") == "status"


@pytest.mark.parametrize("at", ["", "@"])
def test_a_reload_is_asked_for_where_the_daemon_listens(at: str) -> None:
    assert value(f"extauth-bridge{at}.service", "ExecReload").split() == [
        *(OURS, "reload", value(f"extauth-bridge-status{at}.socket", "ListenStream")),
    ]


def test_by_default_the_command_asks_the_units_daemon() -> None:
    assert value("extauth-bridge-status.socket", "ListenStream") == reload.SOCKET


def test_the_relay_connects_to_the_socket() -> None:
    relay = SYSTEMD / "examples" / "prosody-auth.toml"
    text = relay.read_text()
    assert text.startswith(f"#!{OURS}\n")
    assert relay.stat().st_mode & 0o111
    assert tomllib.loads(text) == {"connect": value("extauth-bridge.socket", "ListenStream")}


def test_the_example_is_a_configuration() -> None:
    settings = config.load(str(SYSTEMD / "examples" / "auth.toml"), {})
    assert settings.program is not None
    state = Path("/var/lib") / value("extauth-bridge.service", "StateDirectory")
    assert Path(settings.program.argv[1]).parent == state
