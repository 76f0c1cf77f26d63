"""Fixtures of the tests that see the bridge from outside: its command line, its pipes, /proc."""

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import configfile
from support.daemon.serving import Daemon
from support.process import Bridge
from support.programs.bad import Journal

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


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """Starts daemons, see support.serving.Daemon; they stop properly and leave nothing."""
    daemons: list[Daemon] = []

    def start(*options: object, folder: Path = tmp_path, **how: object) -> Daemon:
        daemons.append(Daemon(folder, *options, **how))
        return daemons[-1]

    yield start
    for client in (client for daemon in daemons for client in daemon.clients):
        client.close()
    running = [daemon for daemon in daemons if daemon.process.poll() is None]
    statuses = [daemon.stop() for daemon in running]
    assert statuses == [0] * len(running)
    assert not any(daemon.path.exists() for daemon in daemons), "it removes the socket it made"


@pytest.fixture
def dice() -> random.Random:
    """A random generator whose seed is printed."""
    seed = int(os.environ.get("EXTAUTH_TEST_SEED") or random.SystemRandom().randrange(10**9))
    print(f"EXTAUTH_TEST_SEED={seed}")
    return random.Random(seed)
