"""Imports point one way, the codecs do no I/O, and what starts first imports little."""

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.process import environment

import bridge

PACKAGE = Path(bridge.__file__).parent

FLOORS = """
    protocol  log  terminal  programs  prosody  systemd
    loop
    config
    worker
    pool
    clients
    relay  checking
    daemon  setup
    bench
    commands
    entry
    __main__
"""
"""From the bottom up: a folder imports only from folders on lower floors, and from itself."""

FLOOR = {folder: floor for floor, line in enumerate(FLOORS.split("\n")) for folder in line.split()}

NO_IO = [
    *(
        f"protocol.{name}"
        for name in (
            "query",
            "lines",
            "checks",
            "codec",
            "codecs",
            "explain",
            "frames",
            "generic",
            "ordering",
            "tagged",
            "lockstep",
        )
    ),
    *(f"checking.{name}" for name in ("dialects", "findings", "flaw", "linereplies", "replies")),
    *("log.text", "log.tokenbucket", "loop.timer", "clients.budget", "bench.tally"),
    *(f"worker.{name}" for name in ("latch", "masks", "misbehaviour", "pieces", "state", "stderrlines")),
    *(f"pool.{name}" for name in ("backoff", "figures", "idle", "milestones", "record", "servicetime", "starts")),
    *(f"pool.{name}" for name in ("fairqueue", "lanes", "shared", "turns")),
]
FORBIDDEN_IO = {"trio", "os", "socket", "time", "logging", "select", "signal", "subprocess", "threading", "asyncio"}

SMALL = [
    *("protocol.lines", "protocol.lockstep", "protocol.query"),
    *("terminal.takeover", "terminal.watcher", "terminal.gate", "clients.budget"),
]
"""A relay uses them, and must be ready before its client has written its first query."""

WITHOUT_SITE = "-S"
"""An interpreter's option: do not count what an installation's .pth files import."""

FORBIDDEN_SMALL = {"trio", "attr", "attrs", "typing", "re", "logging", "argparse", "tomllib", "dataclasses", "inspect"}


def modules() -> Iterator[str]:
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        if not name.endswith("__init__"):
            yield name


def statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """All statements, also those of functions; not what only type checkers see."""
    for statement in body:
        if isinstance(statement, ast.If) and "TYPE_CHECKING" in ast.unparse(statement.test):
            yield from statements(statement.orelse)
            continue
        yield statement
        for inner in ("body", "orelse", "finalbody"):
            yield from statements(getattr(statement, inner, []))
        for handler in getattr(statement, "handlers", []):
            yield from statements(handler.body)


def imported(module: str) -> Iterator[str]:
    """Every name that `module` imports, in full; `bridge.` is left off our own."""
    path = PACKAGE.joinpath(*module.split(".")).with_suffix(".py")
    for statement in statements(ast.parse(path.read_text()).body):
        if isinstance(statement, ast.Import):
            yield from (alias.name for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom):
            base = statement.module or ""
            if statement.level:
                parent = ["bridge", *module.split(".")][: -statement.level]
                base = ".".join([*parent, *base.split(".")]).rstrip(".")
            if PACKAGE.parent.joinpath(*base.split(".")).is_dir():
                yield from (f"{base}.{alias.name}" for alias in statement.names)
            else:
                yield base


def ours(module: str) -> set[str]:
    """Our modules that it imports, without `bridge.`."""
    names = {name.removeprefix("bridge.") for name in imported(module) if name.startswith("bridge.")}
    return {name for name in names if PACKAGE.joinpath(*name.split(".")).with_suffix(".py").exists()}


def folder(module: str) -> str:
    return module.partition(".")[0]


@pytest.mark.parametrize("module", [*modules()])
def test_imports_point_down(module: str) -> None:
    assert folder(module) in FLOOR, "give its folder a place in FLOORS"
    for other in ours(module):
        if folder(other) != folder(module):
            assert FLOOR[folder(other)] < FLOOR[folder(module)], f"{module} imports {other}, which is not below it"


def test_no_two_modules_need_each_other() -> None:
    """Within a folder there is no such order, but no circle either."""
    order = graphlib.TopologicalSorter({module: ours(module) for module in modules()})
    order.prepare()


@pytest.mark.parametrize("module", NO_IO)
def test_no_io(module: str) -> None:
    roots = {name.partition(".")[0] for name in imported(module)}
    assert not roots & FORBIDDEN_IO
    assert ours(module) <= set(NO_IO)


def loaded(code: str, *options: str) -> set[str]:
    """The modules loaded after a fresh interpreter has run this."""
    code = f"import sys; before = set(sys.modules); {code}; print(*(set(sys.modules) - before))"
    done = subprocess.run(
        [sys.executable, *options, "-c", code],
        env=environment(),
        capture_output=True,
        check=True,
        timeout=60,
        text=True,
    )
    return set(done.stdout.split())


@pytest.mark.parametrize("module", SMALL)
def test_what_a_relay_uses_is_small(module: str) -> None:
    there = loaded(f"import bridge.{module}", WITHOUT_SITE)
    assert f"bridge.{module}" in there
    assert not there & FORBIDDEN_SMALL


def test_all_that_a_relay_uses_together() -> None:
    there = loaded("; ".join(f"import bridge.{module}" for module in SMALL), WITHOUT_SITE)
    assert not there & FORBIDDEN_SMALL
    assert len(there) < 40


def test_the_command_takes_the_terminal_before_anything_slow() -> None:
    """Every millisecond before raw mode is one in which a password can reach the terminal's line editing."""
    there = loaded("import bridge.entry", WITHOUT_SITE)
    assert "bridge.terminal.takeover" in there
    assert not there & {"trio", "tomllib", "argparse", "attr", "attrs"}
    assert not there & FORBIDDEN_SMALL
    assert not there & {"enum", "signal", "socket", "select", "subprocess", "contextlib", "collections"}


def test_the_programs_are_started_before_trio_is_there() -> None:
    there = loaded("import bridge.daemon.process, bridge.clients.pipelined, bridge.clients.lockstep")
    assert "trio" not in there
    assert "asyncio" not in there


def test_a_measurement_starts_without_what_it_may_not_need() -> None:
    assert not loaded("import bridge.commands.bench") & {"trio", "rich", "getpass"}


def test_the_example_program_stands_alone() -> None:
    """It is the one to copy."""
    assert ours("programs.sqlite") <= {"programs.names", "programs.transfer", "programs.users"}
    assert ours("programs.users") == {"programs.hashes"}
    assert ours("programs.hashes") == ours("programs.names") == set()


def test_a_program_that_serves_does_not_load_what_imports() -> None:
    there = loaded("import bridge.programs.sqlite")
    assert "bridge.programs.users" in there
    assert not [name for name in there if "import" in name.rpartition(".")[2] and name.startswith("bridge.")]
    assert not there & {"bridge.programs.transfer", "attrs", "csv", "argparse", "getopt", "xml"}
