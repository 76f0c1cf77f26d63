"""Fixtures of the tests that see the bridge from outside: its command line, its pipes, /proc."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import configfile
from support.bad_programs import Journal
from support.process import Bridge

Start = Callable[..., Bridge]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts bridges, see support.process.Bridge; nothing of them outlives the test."""
    bridges: list[Bridge] = []

    def start_one(*arguments: object, **options: object) -> Bridge:
        bridges.append(Bridge(*arguments, **options))
        return bridges[-1]

    yield start_one
    for bridge in bridges:
        bridge.destroy()


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    """A journal of this test's own; programs under any uid can write to it."""
    directory = tmp_path / "journal"
    directory.mkdir()
    os.chmod(directory, 0o777)
    return Journal(directory / "events")


@pytest.fixture
def configure(tmp_path: Path) -> Callable[..., Path]:
    """Writes, and at a second call replaces, the configuration file of this test."""

    def write(**settings: object) -> Path:
        return configfile.write(tmp_path / "auth.toml", settings)

    return write
