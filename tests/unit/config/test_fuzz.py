"""Whatever the file or the command line holds: the result is Settings, or a ConfigError of one harmless line."""

import argparse
import contextlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bridge.config.load import load
from bridge.config.options import KEYS, add_options, option, options_from
from bridge.config.settings import ConfigError, Settings

SECRET = "hush-hush"
slowly = settings(suppress_health_check=[HealthCheck.too_slow])  # the machine may be busy
Loading = Callable[[bytes], Settings | None]

scalars = st.one_of(
    st.booleans(),
    st.integers(),
    st.sampled_from([0, 1, 2, 16, 1.0, 3600, 32767, 65536, 1 << 200, -1]),
    st.floats(),
    st.text(max_size=80),
    st.sampled_from(["", "/", "auth", "info", "stderr", "lockstep", "file:/x", "a 'b", "1979-05-27"]),
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)
names = st.sampled_from([*(key.name for key in KEYS), "log", "level", "pool_sise"]) | st.text(max_size=12)
environments = st.dictionaries(st.text(max_size=5), st.just(SECRET) | st.just([SECRET]) | st.integers(), max_size=3)
programs = st.sampled_from(["p", "/p -x", ["./p", "y"], [], [""]]) | values
hosts = st.dictionaries(
    st.sampled_from(["a.example", "A.example", "b", "b c", ""]) | st.text(max_size=5),
    st.fixed_dictionaries({}, optional={"program": programs, "env": environments, "cwd": values, "x": values}) | values,
    max_size=3,
)
documents = st.fixed_dictionaries(
    {},
    optional={
        "program": programs,
        "env": environments | values,
        "hosts": hosts | values,
        "log": values,
        "window": values,
    },
)


def inline(value: object) -> str:
    """A value in TOML on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(name)} = {inline(below)}" for name, below in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(inline, value)) + "]"
    return json.dumps(value) if isinstance(value, str | bool) else str(value)


def harmless(error: ConfigError) -> None:
    assert str(error).isprintable(), "one line, and nothing a terminal would obey"
    assert len(str(error)) < 1000
    assert SECRET not in str(error)


@pytest.fixture(scope="module")
def loading(tmp_path_factory: pytest.TempPathFactory) -> Loading:
    """Load a file with these bytes; None if it was refused."""
    file: Path = tmp_path_factory.mktemp("fuzz") / "auth.toml"

    def loading(data: bytes) -> Settings | None:
        file.write_bytes(data)
        try:
            settings = load(str(file), {})
        except ConfigError as error:
            harmless(error)
            return None
        assert isinstance(settings, Settings) and SECRET not in repr(settings)
        return settings

    return loading


@slowly
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
@example(b"\xef\xbb\xbf")
@example(b"\xff\xfe")
@example(b"a." * 2000 + b"a = 1")
@example(b"[hosts." + b"a." * 2000 + b"a]")
@example(b"hosts = " + b"{a=" * 5000)
@example(b"program = 0b" + b"1" * 20000)
@example(b"[log]\n[log.level]\n")
@example(b'"log.level" = "info"')
@example(b'"" = 1\n[""]\n"" = 2')
def test_any_bytes(loading: Loading, data: bytes) -> None:
    loading(data)


@slowly
@given(st.lists(st.tuples(names, values), max_size=4))
def test_any_keys(loading: Loading, pairs: list[tuple[str, object]]) -> None:
    loading("\n".join(f"{json.dumps(name)} = {inline(value)}" for name, value in pairs).encode())


@slowly
@given(documents)
@example({"program": "p", "env": {"A": SECRET}})
@example({"program": "p", "env": {"A": [SECRET]}})
@example({"program": "p", "env": {f"A={SECRET}": "x"}})
@example({"hosts": {"b": {"program": "p", "env": {"A": SECRET}}}})
def test_known_keys_with_any_values(loading: Loading, document: dict[str, object]) -> None:
    loading("\n".join(f"{name} = {inline(value)}" for name, value in document.items()).encode())


@slowly
@given(
    st.sampled_from([1, 4, 1024]),
    st.floats(0.001, 3600),
    st.lists(st.sampled_from(["auth", "isuser", "setpass", "certauth"]), min_size=1, unique=True),
    st.dictionaries(st.from_regex(r"[A-Z_]{1,5}", fullmatch=True), st.text("abc =\"'\\é\n", max_size=9), max_size=3),
    st.lists(st.text("abc \"'\\é\n", min_size=1, max_size=9), min_size=1, max_size=3),
)
def test_what_was_written_comes_back(
    loading: Loading, size: int, timeout: float, commands: list[str], env: dict[str, str], words: list[str]
) -> None:
    written = {
        "pool_size": size,
        "answer_timeout": timeout,
        "commands": commands,
        "env": env,
        "program": ["/p", *words],
    }
    settings = loading("\n".join(f"{name} = {inline(value)}" for name, value in written.items()).encode())
    assert settings is not None and settings.program is not None
    assert settings.answer_timeout == timeout
    assert settings.program.argv == ("/p", *words)
    assert (settings.program.pool_size, settings.program.commands) == (size, set(commands))
    assert settings.program.env == env


@slowly
@given(
    st.lists(st.tuples(st.sampled_from([key.name for key in KEYS]), st.text(max_size=30)), max_size=5),
    st.lists(st.text(max_size=9), max_size=2),
)
def test_any_options(given_options: list[tuple[str, str]], argv: list[str]) -> None:
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_options(parser)
    words = [f"{option(name)}={text}" for name, text in given_options if name != "allow_empty_password"]
    options = options_from(parser.parse_args(words))
    assert set(options) == {name for name, _ in given_options} - {"allow_empty_password"}
    try:
        load(None, options, argv)
    except ConfigError as error:
        harmless(error)


@slowly
@given(st.dictionaries(names, values, max_size=3))
def test_any_values_as_options(options: dict[str, object]) -> None:
    with contextlib.suppress(ConfigError):
        load(None, options, ["p"])
