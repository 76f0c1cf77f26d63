"""A relay's configuration file: what it may hold."""

import os
from pathlib import Path
from typing import Any

import pytest

from bridge.config.options import KEYS
from bridge.config.settings import InvalidValue
from bridge.relay.settings import _ALLOWED, RelayConfigError, read

GOOD = """#!/opt/extauth-bridge/bin/extauth-bridge
# a relay
connect = "/run/extauth-bridge/auth.sock"  # the daemon
answer_timeout = 3.5 # seconds
max_line=1000

[log]
level = "debug"
target = "file:/var/log/relay.log"
"""


def written(directory: Path, text: str | bytes) -> str:
    path = directory / "relay.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return str(path)


def test_everything_that_can_be_set(tmp_path: Path) -> None:
    for text in (GOOD, GOOD.replace("\n", "\r\n"), "\ufeff" + GOOD, GOOD + "# äöü\n", GOOD.replace("3.5", "3_5e-1")):
        settings = read(written(tmp_path, text))
        assert settings is not None
        assert settings.path == "/run/extauth-bridge/auth.sock"
        assert (settings.answer_timeout, settings.max_line) == (3.5, 1000)
        assert (settings.log.level, settings.log.target) == ("debug", "file:/var/log/relay.log")
        assert settings.broken == ""


def test_defaults(tmp_path: Path) -> None:
    settings = read(written(tmp_path, 'connect = "/s"'))
    assert settings is not None
    assert (settings.answer_timeout, settings.max_line, settings.window) == (4.5, 4096, 256)
    assert (settings.log.level, settings.log.target) == ("info", "auto")


@pytest.mark.parametrize("key", ['"connect"', "'connect'", '"conn\\u0065ct"', "\tconnect "])
def test_ways_to_write_the_key(tmp_path: Path, key: str) -> None:
    settings = read(written(tmp_path, f'{key} = "/s"'))
    if "\\" in key:
        assert settings is None, "the one way that is not found at a glance"
    else:
        assert settings is not None
        assert settings.path == "/s"


@pytest.mark.parametrize(
    "text",
    [
        "",
        'program = "x"\n',
        '# connect = "/s"\nprogram = "x"\n',
        '[hosts."a"]\nconnect = "/s"\n',
        'program = """\nconnect = "/s"\n"""\n',
        'disconnect = "/s"\n',
    ],
)
def test_file_that_is_none_for_a_relay(tmp_path: Path, text: str) -> None:
    assert read(written(tmp_path, text)) is None


def test_what_is_no_file(tmp_path: Path) -> None:
    assert read(str(tmp_path)) is None
    assert read(str(tmp_path / "missing")) is None
    assert read("nul\0") is None
    assert read("/dev/null") is None
    os.mkfifo(tmp_path / "fifo")
    assert read(str(tmp_path / "fifo")) is None
    assert read(written(tmp_path, 'connect = "/s"\n' + "#" * (1 << 20))) is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("connect = 5", "connect is 5, but must be the absolute path of a socket"),
        ('connect = "relative"', "connect is relative, but must be the absolute"),
        (f'connect = "/{"x" * 107}"', "at most 107 bytes"),
        ('connect = ""', "connect is"),
        ('connect = "/s"\nanswer_timeout = 0', "answer_timeout is 0, but must be a number of seconds above 0"),
        ('connect = "/s"\nanswer_timeout = "4"', "answer_timeout is 4"),
        ('connect = "/s"\nanswer_timeout = nan', "answer_timeout is nan"),
        ('connect = "/s"\nmax_line = true', "max_line is True"),
        (f'connect = "/s"\nmax_line = 0x{"f" * 9000}', "max_line is a huge number, but must be"),
        ('connect = "\\u001b[2J"', "connect is \\x1b[2J, but must be the absolute"),
        (f'connect = "{"x" * 300}"', f"connect is {'x' * 197}..., but must be the absolute"),
        ('connect = "/s"\nmax_line = 15', "max_line is 15, but must be a whole number of bytes from 16 to 32767"),
        (
            'connect = "/s"\nprogram = "x"',
            "unknown key program; a file with connect may hold connect, answer_timeout",
        ),
        ('connect = "/s"\nenv = { A = "secret" }', "unknown key env;"),
        ('connect = "/s"\n[log]\nlevel = "loud"', "log.level is loud, but must be debug, info, warning or error"),
        ('connect = "/s"\n[log]\ntarget = ["x"]', "log.target is something else, but must be auto"),
        ('connect = "/s"\n[log]\ncolour = 1', "unknown key log.colour"),
        ('connect = "/s"\nlog = 5', "unknown key log;"),
        ('connect = "/s"\nconnect = "/t"', "not valid TOML"),
        ("connect = ", "not valid TOML"),
        (b'connect = "/s"\n# \xff', "line 2: not UTF-8"),
    ],
)
def test_mistakes(tmp_path: Path, text: str | bytes, says: str) -> None:
    with pytest.raises(RelayConfigError) as caught:
        read(written(tmp_path, text))
    message = str(caught.value)
    assert says in message
    assert message.startswith(f"{tmp_path}/relay.toml")
    assert message.isprintable()
    assert "secret" not in message


VALUES: list[Any] = [0, 1, 15, 16, 4096, 32767, 32768, -1, 0.0, 0.001, 4.5, 3600, 3600.5, True, "", "info", "x"]
VALUES += ["auto", "journal", "syslog", "stderr", "file:/x", "file:x", "file:", [], {}, float("nan"), float("inf")]


@pytest.mark.parametrize("name", [name for name in _ALLOWED if name != "connect"])
@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_ranges_are_those_of_all_other_commands(name: str, value: Any) -> None:
    (key,) = [key for key in KEYS if key.name == name]
    try:
        key.kind.check(value)
    except InvalidValue:
        allowed = False
    else:
        allowed = True
    assert _ALLOWED[name][1](value) == allowed
