"""Back ends for the examples of systemd/examples, each started once for the tests of a file."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.backends import Backend
from support.backends.asked import Asked
from support.process import Bridge


@contextmanager
def at_work(kind: Callable[[Path], Backend]) -> Iterator[Backend]:
    """One of these, in a directory with a short name, that its own user may enter."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    folder.chmod(0o755)
    made: Backend | None = None
    try:
        made = kind(folder)
        made.start()
        yield made
    finally:
        if made is not None:
            made.close()
        shutil.rmtree(folder)


def verdicts(backend: Backend, folder: Path, *questions: tuple[str, ...], **settings: object) -> list[str]:
    """The replies to these, until it ends."""
    with Asked(backend.edited(folder, **settings)) as program:
        return [program.ask(*question).verdict for question in questions]


@pytest.fixture
def start() -> Iterator[Callable[..., Bridge]]:
    """Starts bridges, see support.process.Bridge; nothing of them outlives the test."""
    bridges: list[Bridge] = []

    def start_one(*arguments: object) -> Bridge:
        bridges.append(Bridge(*arguments))
        return bridges[-1]

    yield start_one
    for bridge in bridges:
        bridge.destroy()
