"""Every key of the table: its default, its limits and values beyond them, in the file and as an option."""

import argparse
import math
import os
import re
from pathlib import Path
from typing import Any

import attrs
import pytest

from bridge.config.load import load
from bridge.config.options import KEYS, add_options, default_pool_max, option, options_from
from bridge.config.settings import ConfigError, LogSettings, ProgramSettings, Settings

NAMES = [key.name for key in KEYS]
CPUS = max(2, len(os.sched_getaffinity(0)))
HOST_NAMES = ["program", "pool_size", "pool_max", "probe", "protocol", "commands", "cwd", "env"]


@attrs.frozen
class Example:
    """What a key accepts and refuses: TOML literals with their resulting values, and the same for options."""

    default: Any
    good: list[tuple[str, Any]]
    bad: list[str]
    options: list[tuple[list[str], Any]]
    bad_options: list[list[str]]


def number(default: float, low: float, high: float, bad: list[str]) -> Example:
    kind = type(default)
    return Example(
        default,
        [(str(low), kind(low)), (str(high), kind(high)), ("100", kind(100))],
        [*bad, "nan", "inf", "-inf", "true", '"100"', "[100]", "{}", "1979-05-27", "0x" + "f" * 5000],
        [([str(low)], kind(low)), ([str(high)], kind(high)), (["100"], kind(100))],
        [["nan"], ["inf"], ["1e999"], ["true"], [""], ["9" * 5000], ["\u0661\u0660\u0660"], ["1 0"]],
    )


def text(default: str, good: list[str], bad: list[str]) -> Example:
    return Example(
        default,
        [(f'"{word}"', word) for word in good],
        [*(f'"{word}"' for word in bad), '""', "true", "1", f'["{good[0]}"]', "{}", '"a\\u0000"'],
        [([word], word) for word in good],
        [[word] for word in [*bad, ""]],
    )


def path() -> Example:
    bad = [".", "var", "~/x"]
    return attrs.evolve(text("/", ["/", "/run/\u00fc x.sock"], bad), default=None)


def user_or_group_names() -> Example:
    return Example(
        (),
        [("[]", ()), ('["prosody", "1000"]', ("prosody", "1000"))],
        ["1", '"prosody"', "[1]", '[""]', "{}", "true"],
        [(["prosody"], ("prosody",)), (["a,b c"], ("a", "b", "c"))],
        [],
    )


EXAMPLES = {
    "program": Example(
        None,
        [
            ('["/bin/a"]', ("/bin/a",)),
            ('["/bin/a", "", "-x y"]', ("/bin/a", "", "-x y")),
            ('"/bin/a -x \'y z\' \\"\\""', ("/bin/a", "-x", "y z", "")),
            ('"a"', ("a",)),
        ],
        [
            "[]",
            '""',
            '" "',
            '[""]',
            '["a", 1]',
            '["a", ["b"]]',
            "1",
            "true",
            "{}",
            '"\'"',
            '["a\\u0000"]',
            '"a\\u0000"',
        ],
        [(["/bin/a -x 'y z'"], ("/bin/a", "-x", "y z")), (["a"], ("a",))],
        [[""], [" "], ["'"], ["''"], ["a\\"]],
    ),
    "pool_size": number(CPUS, 1, 1024, ["0", "1025", "-1", "2.0"]),
    "pool_max": number(default_pool_max(CPUS), CPUS, 4096, ["0", "4097", "-1", "8.0"]),
    "start_timeout": number(30.0, math.nextafter(0.0, 1.0), 3600, ["0", "-1", "3601"]),
    "probe": Example(
        "",
        [('""', ""), ('"probe@example.com"', "probe@example.com"), ('"a.b@\u00fc"', "a.b@\u00fc")],
        ['"a"', '"@h"', '"a@"', '"a@b@c"', '"a b@c"', '"a:b@c"', '"a@b\\u0000"', "1", '["a@b"]', "true"],
        [(["a@b"], "a@b"), ([""], "")],
        [["a"], ["a@"], ["a@b:c"], ["a@" + "b" * 1000]],
    ),
    "protocol": text("ejabberd", ["ejabberd", "generic"], ["Generic", "prosody", "generic "]),
    "probe_interval": number(60.0, 0, 86400, ["-1", "86401"]),
    "answer_timeout": number(4.0, math.nextafter(0.0, 1.0), 3600, ["0", "0.0", "-1", "3600.001", "3601"]),
    "commands": Example(
        {"auth", "isuser", "setpass"},
        [
            ('["auth"]', {"auth"}),
            ('["removeuser3", "auth"]', {"auth", "removeuser3"}),
            (
                '["auth", "isuser", "setpass", "tryregister", "removeuser", "removeuser3", "certauth"]',
                {"auth", "isuser", "setpass", "tryregister", "removeuser", "removeuser3", "certauth"},
            ),
        ],
        [
            "[]",
            '["auth", "auth"]',
            '["auth", "Auth"]',
            '["auth", 1]',
            '["auth", ["auth"]]',
            '"auth"',
            "1",
            "true",
            "{}",
        ],
        [
            (["auth"], {"auth"}),
            (["auth isuser"], {"auth", "isuser"}),
            ([" auth, certauth,"], {"auth", "certauth"}),
        ],
        [[""], [","], ["auth auth"], ["auth,nonsense"]],
    ),
    "max_requests": number(500, 0, 10**9, ["-1", "1000000001", "1.0"]),
    "max_age": number(3600.0, 0, 31622400, ["-0.001", "31622400.5"]),
    "max_line": number(4096, 16, 32767, ["15", "32768", "4096.0"]),
    "window": number(256, 1, 65536, ["0", "65537", "1.5"]),
    "client": text("auto", ["auto", "lockstep", "pipelined"], ["Auto", "lockstep ", "file:/x"]),
    "allow_empty_password": Example(
        False,
        [("true", True), ("false", False)],
        ["1", "0", '"true"', "[]", "{}", "1979-05-27"],
        [([], True)],
        [],
    ),
    "shutdown_grace": number(2.0, 0, 3600, ["-1", "3600.001"]),
    "cwd": text("/", ["/", "/var/lib/\u00fc x"], [".", "var", "~", "./"]),
    "env": Example(
        {},
        [("{}", {}), ('{ A = "", "b c" = "x=y" }', {"A": "", "b c": "x=y"})],
        [
            "{ A = 1 }",
            '{ A = "a\\u0000" }',
            '{ "" = "a" }',
            '{ "A=" = "a" }',
            '{ "A\\u0000" = "a" }',
            '"A=b"',
            '["A=b"]',
            "1",
        ],
        [(["A="], {"A": ""}), (["A=x=y"], {"A": "x=y"})],
        [["A"], [""], ["=b"]],
    ),
    "listen": path(),
    "status_listen": path(),
    "socket_mode": Example(
        0o660,
        [("0", 0), ("0o777", 0o777), ("0o660", 0o660)],
        ["-1", "0o1000", "true", '"0660"', "6.0", "[]"],
        [(["0"], 0), (["0660"], 0o660), (["0o600"], 0o600), (["777"], 0o777)],
        [["888"], [""], ["-1"], ["1000"], ["rw"]],
    ),
    "max_clients": number(128, 1, 65536, ["0", "65537", "1.5"]),
    "allow_users": user_or_group_names(),
    "allow_groups": user_or_group_names(),
    "log.level": text("info", ["debug", "info", "warning", "error"], ["INFO", "critical"]),
    "log.target": text(
        "auto",
        ["auto", "journal", "syslog", "stderr", "file:/var/log/\u00fc"],
        ["file:", "file:x", "file:./x", "/var/log/x", "FILE:/x"],
    ),
    "log.verdicts": text("none", ["none", "failed", "all"], ["", "some", "FAILED"]),
    "hosts": Example(
        {},
        [("{}", {}), ('{ "a.example" = { program = "/bin/h" } }', {"a.example": ("/bin/h",)})],
        [
            "[]",
            "1",
            '"x"',
            "{ a = 1 }",
            '{ "" = {} }',
            '{ "a b" = {} }',
            '{ "a:b" = {} }',
            '{ "a\\n" = {} }',
            "{ a = { x = 1 } }",
        ],
        [(["a.example=/bin/h"], {"a.example": ("/bin/h",)}), (["B=h i=j"], {"b": ("h", "i=j")})],
        [["a"], [""], ["a="], ["=b"], ["a='"], ["a@b=c"]],
    ),
}

GOOD = [(name, *pair) for name, example in EXAMPLES.items() for pair in example.good]
BAD = [(name, literal) for name, example in EXAMPLES.items() for literal in example.bad]
OPTIONS = [(name, *pair) for name, example in EXAMPLES.items() for pair in example.options]
BAD_OPTIONS = [(name, given) for name, example in EXAMPLES.items() for given in example.bad_options]


def parsed(*given: str) -> dict[str, object]:
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_options(parser)
    return options_from(parser.parse_args(given))


def as_options(name: str, given: list[str]) -> list[str]:
    return [f"{option(name)}={given[0]}"] if given else [option(name)]


def document(name: str, literal: str) -> str:
    """A file that sets `name`, on line 3 or, in a section, on line 4."""
    program = "" if name == "program" else 'program = "/bin/p"'
    *section, last = name.split(".")
    return f"# a comment\n{program}\n" + "".join(f"[{part}]\n" for part in section) + f"{last} = {literal}\n"


def value_of(settings: Settings, name: str) -> Any:
    """What the settings hold for a key, in the form of EXAMPLES."""
    if name == "hosts":
        return {domain: program.argv for domain, program in settings.hosts.items()}
    if name.startswith("log."):
        return getattr(settings.log, name.removeprefix("log."))
    if name not in HOST_NAMES:
        return getattr(settings, name)
    return settings.program and getattr(settings.program, "argv" if name == "program" else name)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "auth.toml"


def test_every_key_has_examples_and_a_field() -> None:
    assert set(EXAMPLES) == set(NAMES) and len(NAMES) == len(set(NAMES))
    fields = {field.name for field in attrs.fields(Settings)} - {"log"}
    assert fields == {name for name in NAMES if "." not in name and (name not in HOST_NAMES or name == "program")}
    assert {field.name for field in attrs.fields(LogSettings)} == {"level", "target", "verdicts"}
    assert {field.name for field in attrs.fields(ProgramSettings)} == {"argv", *HOST_NAMES} - {"program"}
    assert [key.name for key in KEYS if key.per_host] == HOST_NAMES


@pytest.mark.parametrize("name", NAMES)
def test_default(name: str) -> None:
    program = {"hosts": {"a": {"program": "a"}}} if name == "program" else {"program": "a"}
    value = value_of(load(None, program), name)
    assert value == EXAMPLES[name].default
    assert isinstance(value, type(EXAMPLES[name].default)) or name in ("commands", "env")


@pytest.mark.parametrize(("name", "literal", "expected"), GOOD)
def test_in_the_file(file: Path, name: str, literal: str, expected: object) -> None:
    file.write_text(document(name, literal))
    value = value_of(load(str(file), {}), name)
    assert value == expected
    assert type(value) is type(expected) or isinstance(expected, set | dict)


@pytest.mark.parametrize(("name", "literal"), BAD)
def test_wrong_in_the_file(file: Path, name: str, literal: str) -> None:
    file.write_text(document(name, literal))
    with pytest.raises(ConfigError) as caught:
        load(str(file), {})
    assert re.match(rf"{file}, line {4 if '.' in name else 3}: (unknown key )?{re.escape(name)}\b", str(caught.value))
    assert len(str(caught.value)) < len(str(file)) + 300 and str(caught.value).isprintable()


@pytest.mark.parametrize(("name", "given", "expected"), OPTIONS)
def test_as_an_option(name: str, given: list[str], expected: object) -> None:
    options = {"program": "/bin/p"} | parsed(*as_options(name, given))
    value = value_of(load(None, options), name)
    assert value == expected
    assert type(value) is type(expected) or isinstance(expected, set | dict)


@pytest.mark.parametrize(("name", "given"), BAD_OPTIONS)
def test_wrong_as_an_option(name: str, given: list[str]) -> None:
    options = {"program": "/bin/p"} | parsed(*as_options(name, given))
    with pytest.raises(ConfigError, match=rf"^{option(name)} .*but must be ") as caught:
        load(None, options)
    assert len(str(caught.value)) < 300 and str(caught.value).isprintable()


@pytest.mark.parametrize(("name", "given", "expected"), OPTIONS)
def test_an_option_wins(file: Path, name: str, given: list[str], expected: object) -> None:
    for literal, value in EXAMPLES[name].good:
        file.write_text(document(name, literal))
        merged = {**value, **expected} if isinstance(expected, dict) else expected  # tables: entry by entry
        assert value_of(load(str(file), parsed(*as_options(name, given))), name) == merged


def test_an_option_can_say_no(file: Path) -> None:
    file.write_text(document("allow_empty_password", "true"))
    assert load(str(file), parsed("--no-allow-empty-password")).allow_empty_password is False


def test_only_options_that_were_given() -> None:
    assert parsed() == {}
    assert parsed("--log-level", "debug", "--env", "A=1", "--env", "B=2") == {
        "log.level": "debug",
        "env": ["A=1", "B=2"],
    }


def test_options_keep_clear_of_other_arguments() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("program", nargs="*")
    parser.add_argument("--hosts-file", dest="hosts")
    add_options(parser)
    namespace = parser.parse_args(["a", "b", "--program", "c"])
    assert (namespace.program, namespace.hosts) == (["a", "b"], None)
    assert options_from(namespace) == {"program": "c"}


def test_help_tells_meaning_range_unit_and_default() -> None:
    parser = argparse.ArgumentParser()
    add_options(parser)
    text = " ".join(parser.format_help().split())
    for key in KEYS:
        assert f"{option(key.name)}" in text and key.meaning in text
    assert "a whole number of programs from 1 to 1024 (default: number of CPUs, at least 2)" in text
    assert "a number of seconds above 0, at most 3600 (default: 4.0)" in text
    assert "(default: auth isuser setpass)" in text and "true or false (default: false)" in text


@pytest.mark.parametrize(("size", "most"), [(1, 1), (2, 8), (4, 16), (5, 20), (6, 22), (64, 80), (1024, 1040)])
def test_a_pool_has_room_for_spares_unless_its_program_is_alone(size: int, most: int) -> None:
    program = load(None, {"program": "a", "pool_size": str(size)}).program
    assert program is not None and program.pool_max == most


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("pool_size = 4\npool_max = 3", ", line 3: pool_max is 3, but must be at least pool_size, 4"),
        (
            '[hosts."b"]\npool_size = 3\npool_max = 2',
            ", line 4: hosts.b.pool_max is 2, but must be at least pool_size, 3",
        ),
        ('pool_max = 8\n[hosts."b"]\npool_size = 9', ": hosts.b.pool_max is 8, but must be at least pool_size, 9"),
    ],
)
def test_there_is_room_for_the_whole_pool(file: Path, text: str, complaint: str) -> None:
    file.write_text(f'program = "/bin/p"\n{text}\n')
    with pytest.raises(ConfigError) as caught:
        load(str(file), {})
    assert str(caught.value).startswith(f"{file}{complaint}")
