"""Configuration files: settings, or one line that names the file and holds no secret; and a relay's are apart.

What follows a line `#options` is not the file's, but options, NAME=VALUE one a line.
"""

import contextlib
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import attrs

from bridge.config.load import BY_NAME, TOP, load
from bridge.config.settings import ConfigError, Settings
from bridge.relay import settings as relay
from fuzz.engine import Check
from fuzz.source import MANY, repeated

SECRET = "canary-6f1e"
OPTIONS = b"\n#options\n"

TOKENS = (
    *(f"\n{name} = ".encode() for name in TOP),
    *(
        b"\n[log]\n",
        b"\nlevel = ",
        b"\n[hosts.a]\n",
        b'\n[hosts."b.example"]\n',
        b"\n[env]\n",
        b"\nconnect = ",
        OPTIONS,
        MANY,
    ),
    *(
        b'"/p"',
        b'["/p", "x"]',
        b'env = { A = "canary-6f1e" }',
        b'"canary-6f1e"',
        b"true",
        b"1e9",
        b"0o660",
        b"[",
        b"]",
        b"{",
    ),
    *(
        b"}",
        b'"',
        b"'",
        b'"""',
        b"=",
        b".",
        b"\n",
        b"#",
        b"\\u0000",
        b"\\n",
        b"\x00",
        b"\xef\xbb\xbf",
        b"\xff",
        b"1979-05-27",
    ),
    *(
        b"nan",
        b"-inf",
        b"0x" + b"f" * 60,
        b"[[hosts]]",
        b"log.level",
        b"hosts.a.env",
        "\u2028".encode(),
        b"\xed\xa0\x80",
    ),
)


@contextlib.contextmanager
def target() -> Iterator[Check]:
    with tempfile.TemporaryDirectory(prefix="fuzz-config-") as directory:
        file = Path(directory, "auth.toml")

        def check(data: bytes) -> None:
            text, marked, rest = data.partition(OPTIONS)
            text = repeated(text)
            file.write_bytes(text)
            options = _options(rest) if marked else {}
            settings = loaded(file, text, options)
            connected = related(file, text)
            assert settings is None or connected is None, "two kinds of configuration at once"

        yield check


def loaded(file: Path, text: bytes, options: dict[str, object]) -> Settings | None:
    document = _document(text)
    try:
        settings = load(str(file), options)
    except ConfigError as error:
        said = harmless(error)
        assert said.startswith(f"{file}") or options, "it does not say which file"
        assert SECRET not in said or not _hidden(document, text, options)
        return None
    assert document is not None, "loaded what is no TOML"
    if _hidden(document, text, options):
        assert SECRET not in repr(settings)
    same(settings, document, options)
    return settings


def related(file: Path, text: bytes) -> relay.RelaySettings | None:
    """The settings of a relay, if the file is one's."""
    try:
        settings = relay.read(str(file))
    except relay.RelayConfigError as error:
        assert harmless(error).startswith(str(file))
        assert b"connect" in text
        return None
    if settings is not None:
        document = _document(text)
        assert document is not None and settings.path == document["connect"] and settings.path.startswith("/")
        assert settings.answer_timeout == document.get("answer_timeout", 4.5) and 0 < settings.answer_timeout <= 3600
        assert settings.max_line == document.get("max_line", 4096) and 16 <= settings.max_line <= 32767
    return settings


def harmless(error: Exception) -> str:
    said = str(error)
    assert said and said.isprintable(), "one line, and nothing that a terminal would obey"
    assert len(said) < 1000
    return said


def same(settings: Settings, document: dict[str, Any], options: dict[str, object]) -> None:
    """What the file says is in force, unless an option says otherwise."""
    for name in {"answer_timeout", "max_requests", "max_line", "window", "client", "listen"} - {*options}:
        if name in document:
            assert getattr(settings, name) == document[name]
    assert {*settings.hosts} >= {name.lower() for name in document.get("hosts", {})}
    for program in (settings.program, *settings.hosts.values()):
        assert program is None or (program.argv[0] and 1 <= program.pool_size <= program.pool_max)
    if settings.program and "env" in document and "env" not in options:
        assert settings.program.env == document["env"]
    assert settings.program is not None or settings.hosts
    hash(attrs.evolve(settings, max_line=16).max_line)


def _hidden(document: dict[str, Any] | None, text: bytes, options: dict[str, object]) -> bool:
    """Whether the secret stands only where one may: in values of `env`; a broken file shows none of itself."""
    if SECRET in repr(options):
        return False
    if document is None:
        return True
    shown = {name: value for name, value in document.items() if name != "env" or not isinstance(value, dict)}
    if isinstance(hosts := shown.get("hosts"), dict):
        shown["hosts"] = {
            domain: {name: value for name, value in table.items() if name != "env"}
            if isinstance(table, dict)
            else table
            for domain, table in cast("dict[str, Any]", hosts).items()
        }
    names = [*_tables(document)]
    return SECRET not in repr(shown) and not any(SECRET in name for name in names)


def _tables(document: dict[str, Any]) -> Iterator[str]:
    """The names of all variables."""
    hosts = document.get("hosts")
    tables = [document, *(hosts.values() if isinstance(hosts, dict) else ())]
    for table in tables:
        if isinstance(table, dict) and isinstance(table.get("env"), dict):
            yield from (name.partition("=")[0] for name in table["env"])


def _document(text: bytes) -> dict[str, Any] | None:
    try:
        return tomllib.loads(text.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return None


def _options(rest: bytes) -> dict[str, object]:
    """As the command line gives them: all are strings, those of tables in lists."""
    given: dict[str, object] = {}
    for line in rest.decode("utf-8", "surrogateescape").split("\n"):
        name, _, value = line.partition("=")
        if name in ("env", "hosts"):
            cast("list[str]", given.setdefault(name, [])).append(value)
        elif name in BY_NAME:
            given[name] = value
    return given
