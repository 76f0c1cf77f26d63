"""What is read as a configuration, and what is not even opened."""

import contextlib
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bridge.config import regularfile
from bridge.config.load import load
from bridge.config.regularfile import SIZE_MAX, read_regular_file
from bridge.config.settings import ConfigError
from bridge.relay.settings import read

TEXT = b'program = "/bin/p"\n'


@pytest.fixture(autouse=True)
def bounded() -> Iterator[None]:
    """Anything that blocks here would block for ever."""

    def give_up(*_: object) -> None:
        raise AssertionError("it waits")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(autouse=True)
def no_descriptor_is_left() -> Iterator[None]:
    before = os.listdir("/proc/self/fd")
    yield
    assert os.listdir("/proc/self/fd") == before


@contextlib.contextmanager
def fifo(path: Path) -> Iterator[None]:
    os.mkfifo(path)
    yield


@contextlib.contextmanager
def fifo_held_open(path: Path) -> Iterator[None]:
    """A writer has written something, and never closes it."""
    os.mkfifo(path)
    holder = os.open(path, os.O_RDWR)
    os.write(holder, TEXT)
    yield
    assert os.read(holder, 100) == TEXT, "nothing of it was taken"
    os.close(holder)


@contextlib.contextmanager
def directory(path: Path) -> Iterator[None]:
    path.mkdir()
    yield


@contextlib.contextmanager
def a_socket(path: Path) -> Iterator[None]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(path))
        yield


@contextlib.contextmanager
def terminal(path: Path) -> Iterator[None]:
    """Opened without O_NOCTTY, this would become the daemon's controlling terminal."""
    master, slave = os.openpty()
    path.symlink_to(os.ttyname(slave))
    yield
    os.close(master)
    os.close(slave)


@contextlib.contextmanager
def device(path: Path) -> Iterator[None]:
    path.symlink_to("/dev/zero")
    yield


KINDS = [
    (fifo, "a FIFO"),
    (fifo_held_open, "a FIFO"),
    (directory, "a directory"),
    (a_socket, "a socket"),
    (terminal, "a character device"),
    (device, "a character device"),
]


@pytest.mark.parametrize(("make", "kind"), KINDS, ids=[make.__name__ for make, _ in KINDS])
def test_what_is_no_regular_file_is_refused_at_once(
    tmp_path: Path,
    make: Callable[[Path], contextlib.AbstractContextManager[None]],
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And not opened, since that alone can have effects."""
    path = tmp_path / "auth.toml"
    opened: list[object] = []
    with make(path):
        monkeypatch.setattr(os, "open", lambda *arguments: opened.append(arguments))
        with pytest.raises(ConfigError) as caught:
            load(str(path), {})
        assert read(str(path)) is None
        monkeypatch.undo()
    assert str(caught.value) == f"{path}: cannot be read: it must be a regular file, but is {kind}"
    assert opened == []


@pytest.mark.parametrize(("make", "kind"), KINDS[:2], ids=["fifo", "fifo_held_open"])
def test_what_becomes_another_kind_between_look_and_open(
    tmp_path: Path,
    make: Callable[[Path], contextlib.AbstractContextManager[None]],
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "auth.toml"
    path.write_bytes(TEXT)
    seen = path.stat()
    path.unlink()
    with make(path):
        monkeypatch.setattr(os, "stat", lambda _path: seen)
        with pytest.raises(OSError, match=f"but is {kind}"):
            read_regular_file(str(path))
        monkeypatch.undo()


def test_a_file_is_read_whole_however_it_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "auth.toml"
    path.write_bytes(TEXT)
    assert read_regular_file(str(path)) == TEXT
    piece = os.read
    monkeypatch.setattr(regularfile.os, "read", lambda descriptor, _size: piece(descriptor, 1))
    assert read_regular_file(str(path)) == TEXT


def test_a_file_without_a_size_is_a_file() -> None:
    """Files of /proc have no size, but can be read."""
    assert os.stat("/proc/self/status").st_size == 0
    assert read_regular_file("/proc/self/status").startswith(b"Name:")


def test_a_redirected_file_is_a_file(tmp_path: Path) -> None:
    """`/dev/stdin` and the like stand for the file behind them."""
    path = tmp_path / "auth.toml"
    path.write_bytes(TEXT)
    with path.open("rb") as redirected:
        assert read_regular_file(f"/dev/fd/{redirected.fileno()}") == TEXT


def test_the_largest_is_read_and_of_a_larger_one_not_much_more(tmp_path: Path) -> None:
    path = tmp_path / "auth.toml"
    path.write_bytes(b"#" * SIZE_MAX)
    assert len(read_regular_file(str(path))) == SIZE_MAX
    with path.open("r+b") as file:
        file.truncate(1 << 40)
    assert SIZE_MAX < len(read_regular_file(str(path))) <= 2 * SIZE_MAX + 1


def test_what_is_not_there_or_not_allowed(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_regular_file(str(tmp_path / "missing"))
    with pytest.raises(OSError, match="holds a NUL"):
        read_regular_file("nul\0")
