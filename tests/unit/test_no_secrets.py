"""No representation of an object, no error and no core file shows a password, whoever prints it."""

import enum
import importlib
import inspect
import pkgutil
import subprocess
import sys
from collections.abc import Iterator

import attrs
import pytest
from support.canary import CANARY, is_in
from support.process import ROOT, environment

import bridge
from bridge.commands.cli import Parser
from bridge.log.events import describe, event
from bridge.log.setup import _Handler
from bridge.loop.reactor import _Handlers, _Pipes
from bridge.pool.shared import Hurried, Shared
from bridge.pool.verdicts import LoggedQuery
from bridge.programs.hashes import Scram, Scrypt
from bridge.protocol.ordering import Ordering
from bridge.protocol.query import Query, StandIn

SHOWN = {Query, StandIn, LoggedQuery, Shared, Ordering, Hurried}
"""Classes that have a representation and may hold questions: tested one by one."""

HARMLESS = {
    Scrypt: "bytes that are no password: salted and hashed",
    Scram: "the same",
    Parser: "options, as argparse shows them",
    _Handler: "its level, as logging shows it",
    _Handlers: "methods, and of whom",
    _Pipes: "numbers",
}
"""Classes with a representation that holds nothing of a question, and what it holds."""


def classes() -> Iterator[type]:
    """All classes of the package that have a representation of their own."""
    for module in pkgutil.walk_packages(bridge.__path__, "bridge."):
        if not module.name.endswith("__main__"):
            for one in vars(importlib.import_module(module.name)).values():
                mine = inspect.isclass(one) and one.__module__ == module.name
                if mine and not issubclass(one, (enum.Enum, BaseException)) and one.__repr__ is not object.__repr__:
                    yield one


def shown(one: type) -> dict[str, str]:
    """The fields that its representation shows, with their types."""
    if attrs.has(one):
        return {field.name: str(field.type) for field in attrs.fields(one) if field.repr}
    fields = getattr(one, "_fields", None)
    assert fields is not None, f"{one} has a representation: put it among SHOWN, with a test"
    return {name: str(one.__annotations__[name]) for name in fields}


@pytest.mark.parametrize("one", sorted({*classes()} - SHOWN - HARMLESS.keys(), key=str), ids=lambda one: one.__name__)
def test_no_representation_shows_a_password(one: type) -> None:
    """What comes from a question or a program is bytes, or a function that makes them."""
    fields = shown(one)
    assert not [
        name for name, kind in fields.items() if "bytes" in kind or "Callable" in kind or name in ("env", "secret")
    ]


def test_nor_does_that_of_a_question() -> None:
    body = f"auth:alice:example.com:{CANARY}".encode()
    asked = [Query(body, 1.0, None), StandIn(body, None)]  # type: ignore[arg-type]
    kinds = {one.__name__ for one in SHOWN if issubclass(one, Query)}
    assert kinds == {"Query", "StandIn", "LoggedQuery", "Shared"}
    assert all(one.__repr__ is Query.__repr__ for one in SHOWN if issubclass(one, Query)), "then they are tested here"
    for query in asked:
        assert not is_in(f"{query!r} {query} {[query]} {vars(type(query)).keys()}".encode())


ERRORS = [
    ValueError(CANARY),
    KeyError(CANARY),
    UnicodeDecodeError("utf-8", CANARY.encode() + b"\xff", 7, 8, CANARY),
    OSError(2, CANARY, CANARY),
    ExceptionGroup(CANARY, [RuntimeError(CANARY), OSError(CANARY)]),
    AssertionError(CANARY.encode()),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_no_error_shows_a_password(error: Exception) -> None:
    assert not is_in(describe(error).encode())
    assert not is_in(event("internal error", error=error).encode())


RAISES = """
import sys
from bridge import entry
from bridge.log.setup import configure
from bridge.relay.settings import LogChoice

def run(argv, taken):
    configure(LogChoice(), client_terminal=False)
    secret = PASSWORD
    raise ValueError(secret) from KeyError(secret)

PASSWORD = sys.stdin.readline()
entry._run = run
sys.exit(entry.main())
"""


def test_an_error_that_nobody_expected_is_a_line_without_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", RAISES], input=CANARY, capture_output=True, text=True, timeout=60, check=False,
        env=environment(),
    )  # fmt: skip
    assert done.returncode == 70
    assert "ValueError" in done.stderr
    assert not is_in((done.stdout + done.stderr).encode())


@pytest.mark.parametrize("unit", sorted((ROOT / "bridge/systemd").glob("*.service")), ids=lambda unit: unit.name)
def test_units_allow_no_core_file(unit: object) -> None:
    lines = (ROOT / "bridge/systemd" / str(unit)).read_text().splitlines()
    if any(line.startswith("ExecStart=") and " serve " in line for line in lines):
        assert "LimitCORE=0" in lines
        assert "WatchdogSignal=SIGKILL" in lines


@pytest.mark.parametrize("words", [[f"--password={CANARY}"], ["--password", CANARY], ["x", "y", "-p", CANARY, CANARY]])
def test_what_is_given_to_an_option_that_there_is_not_is_not_repeated(words: list[str]) -> None:
    """In a unit the log would have it."""
    done = subprocess.run(
        [sys.executable, "-m", "bridge", "reload", "/nowhere", *words], capture_output=True, text=True, timeout=60,
        check=False, env=environment(),
    )  # fmt: skip
    assert done.returncode == 2
    assert "unrecognized arguments" in done.stderr
    assert not is_in((done.stdout + done.stderr).encode())
