"""Borrowed descriptors never block, and are left as they were found."""

import contextlib
import ctypes
import fcntl
import os
import select
import signal
import socket
import stat
import termios
import tty
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from bridge.loop import streams as descriptors
from bridge.loop.streams import Borrowed, borrow, is_one_stream, owned

NOBODY = 65534
PR_SET_DUMPABLE = 4


@pytest.fixture
def keep() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


def kept(keep: contextlib.ExitStack, *ends: int) -> tuple[int, ...]:
    for end in ends:
        keep.callback(os.close, end)
    return ends


class Ends(NamedTuple):
    """The descriptors the bridge reads and writes, and their other ends."""

    reader: int
    writer: int
    to: int
    of: int


def pipes(keep: contextlib.ExitStack) -> Ends:
    (reader, to), (of, writer) = kept(keep, *os.pipe()), kept(keep, *os.pipe())
    return Ends(reader, writer, to, of)


def one_socket(keep: contextlib.ExitStack) -> Ends:
    ours, theirs = socket.socketpair()
    one, other = kept(keep, ours.detach(), theirs.detach())
    return Ends(one, one, other, other)


def terminal(keep: contextlib.ExitStack) -> Ends:
    master, slave = kept(keep, *os.openpty())
    tty.setraw(slave)
    return Ends(slave, slave, master, master)


KINDS = {"pipes": pipes, "socket": one_socket, "terminal": terminal}


class Lent(NamedTuple):
    """`piece`: bytes to write at once; see the test of such a terminal."""

    source: Borrowed
    sink: Borrowed
    ends: Ends
    piece: int = 65536

    def reads(self, count: int) -> bytes:
        """Read this many bytes; a terminal passes them on in its own time."""
        data = b""
        while len(data) < count:
            ready = select.poll()
            ready.register(self.source.descriptor, select.POLLIN)
            assert ready.poll(20_000), "they never came"
            data += self.source.read(100)
        return data


@pytest.fixture(params=[(kind, careful) for kind in KINDS for careful in (False, True)], ids=str)
def lent(request, keep, monkeypatch) -> Lent:
    """A source and a sink on each kind of stream; also where it may not be reopened."""
    kind, careful = request.param
    ends = KINDS[kind](keep)
    if careful:
        monkeypatch.setattr(descriptors.os, "open", _refuse)  # as for another user's; below it is a real one
    source, sink = borrow(ends.reader, os.O_RDONLY), borrow(ends.writer, os.O_WRONLY)
    monkeypatch.undo()
    keep.callback(source.close)
    keep.callback(sink.close)
    return Lent(source, sink, ends, 256 if careful and kind == "terminal" else 65536)


@contextlib.contextmanager
def limited_to(seconds: float) -> Iterator[None]:
    """Fail, instead of hanging, if something blocks that must not."""

    def give_up(*_: object) -> None:
        raise AssertionError("it waits")

    old = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, old)


def _refuse(*_: object) -> int:
    raise PermissionError(13, "Permission denied")


def test_nothing_to_read_is_said_at_once(lent: Lent) -> None:
    with pytest.raises(BlockingIOError):
        lent.source.read(100)


def test_what_is_sent_is_read_and_what_is_written_is_received(lent: Lent) -> None:
    os.write(lent.ends.to, b"hello")
    assert lent.reads(5) == b"hello"
    with pytest.raises(BlockingIOError):
        lent.source.read(100)
    assert lent.sink.write(b"1\n") == 2
    assert os.read(lent.ends.of, 100) == b"1\n"


def test_no_room_is_said_at_once(lent: Lent) -> None:
    written = 0
    with limited_to(30.0), pytest.raises(BlockingIOError):
        while written < 1 << 26:
            count = lent.sink.write(b"x" * lent.piece)
            assert 0 < count <= lent.piece
            written += count
    assert written > 0


def test_a_terminal_that_may_not_be_opened_anew_gets_no_more_than_it_surely_has_room_for(keep) -> None:
    ends = terminal(keep)
    sink = owned(os.dup(ends.writer), may_block=True)
    keep.callback(sink.close)
    assert 0 < sink.write(b"x" * 100_000) <= 256


def test_they_are_left_as_they_were_found(lent: Lent) -> None:
    """O_NONBLOCK on the caller's file description would affect everybody who shares it, and stay if we are killed."""
    os.write(lent.ends.to, b"x")
    lent.reads(1)
    lent.sink.write(b"x")
    assert os.get_blocking(lent.ends.reader)
    assert os.get_blocking(lent.ends.writer)


def test_it_is_a_descriptor_of_our_own(lent: Lent) -> None:
    assert lent.source.descriptor != lent.ends.reader
    assert lent.sink.descriptor != lent.ends.writer
    assert not os.get_inheritable(lent.source.descriptor)
    assert not os.get_inheritable(lent.sink.descriptor)


@pytest.mark.parametrize("nonblocking", [False, True])
def test_one_that_was_non_blocking_stays_so(keep, nonblocking: bool) -> None:
    ends = pipes(keep)
    os.set_blocking(ends.reader, not nonblocking)
    source = borrow(ends.reader, os.O_RDONLY)
    keep.callback(source.close)
    with pytest.raises(BlockingIOError):
        source.read(1)
    assert os.get_blocking(ends.reader) is not nonblocking
    os.write(ends.to, b"x")
    assert source.read(9) == b"x"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two users")
@pytest.mark.parametrize("kind", ["pipes", "terminal"])
def test_another_user_s_pipe_or_terminal(keep, kind: str) -> None:
    """It cannot be reopened; it is polled before it is used."""
    ends = KINDS[kind](keep)
    os.fchmod(ends.reader, 0o600)
    os.seteuid(NOBODY)
    try:
        with pytest.raises(PermissionError):
            os.close(os.open(f"/proc/self/fd/{ends.reader}", os.O_RDONLY | os.O_NOCTTY))
        lent = Lent(borrow(ends.reader, os.O_RDONLY), borrow(ends.writer, os.O_WRONLY), ends)
    finally:
        os.seteuid(0)
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)  # as before: other tests look at us through /proc
    keep.callback(lent.source.close)
    keep.callback(lent.sink.close)
    with pytest.raises(BlockingIOError):
        lent.source.read(100)
    os.write(ends.to, b"hello")
    assert lent.reads(5) == b"hello"
    assert 0 < lent.sink.write(b"y" * 100_000) <= select.PIPE_BUF
    assert os.get_blocking(ends.reader)
    assert os.get_blocking(ends.writer)


def test_the_end_of_input(keep) -> None:
    reader, writer = os.pipe()
    source = borrow(reader, os.O_RDONLY)
    keep.callback(source.close)
    os.close(reader)
    os.close(writer)
    assert source.read(100) == b""


def test_nobody_reads(keep) -> None:
    reader, writer = os.pipe()
    sink = borrow(writer, os.O_WRONLY)
    keep.callback(sink.close)
    os.close(writer)
    os.close(reader)
    with pytest.raises(BrokenPipeError):
        sink.write(b"x")


def test_a_reader_that_is_gone_before_we_begin(keep) -> None:
    """Reopening it fails then; writing says why."""
    reader, writer = os.pipe()
    os.close(reader)
    sink = borrow(writer, os.O_WRONLY)
    keep.callback(sink.close)
    os.close(writer)
    with pytest.raises(BrokenPipeError):
        sink.write(b"x")


def test_a_hang_up_is_an_error_or_the_end(keep) -> None:
    master, slave = os.openpty()
    source = borrow(slave, os.O_RDONLY)
    keep.callback(source.close)
    os.close(slave)
    os.close(master)
    try:
        assert source.read(100) == b""
    except OSError as error:
        assert not isinstance(error, BlockingIOError)


def test_regular_files(tmp_path: Path, keep) -> None:
    """Read and written from the caller's file position."""
    path = tmp_path / "file"
    path.write_bytes(b"skipped, read")
    (there,) = kept(keep, os.open(path, os.O_RDWR))
    os.read(there, 9)
    source = borrow(there, os.O_RDONLY)
    assert source.read(100) == b"read"
    assert source.read(100) == b""
    sink = borrow(there, os.O_WRONLY)
    sink.write(b"!")
    source.close()
    sink.close()
    assert path.read_bytes() == b"skipped, read!"
    assert stat.S_ISREG(os.fstat(there).st_mode)


def test_dev_null(keep) -> None:
    (null,) = kept(keep, os.open(os.devnull, os.O_RDWR))
    source, sink = borrow(null, os.O_RDONLY), borrow(null, os.O_WRONLY)
    assert source.read(100) == b""
    assert sink.write(b"x" * 100) == 100
    source.close()
    sink.close()


def test_a_descriptor_of_our_own() -> None:
    reader, writer = os.pipe2(os.O_NONBLOCK)
    source, sink = owned(reader), owned(writer)
    sink.write(b"x")
    assert source.read(9) == b"x"
    source.close()
    sink.close()
    with pytest.raises(OSError, match="descriptor"):
        fcntl.fcntl(reader, fcntl.F_GETFD)


def test_a_terminal_does_not_become_ours(keep) -> None:
    """A session leader without a terminal that opens one gets it as its controlling terminal, with its signals."""
    master, slave = os.openpty()
    kept(keep, master, slave)
    child = os.fork()
    if child == 0:
        os.setsid()
        borrow(slave, os.O_RDONLY)
        try:
            os.close(os.open("/dev/tty", os.O_RDWR))
        except OSError:
            os._exit(0)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0


def test_one_stream_or_two(keep, tmp_path: Path) -> None:
    first, second = pipes(keep), one_socket(keep)
    (again,) = kept(keep, os.dup(first.writer))
    (file,) = kept(keep, os.open(tmp_path / "file", os.O_WRONLY | os.O_CREAT))
    assert is_one_stream(first.writer, again)
    assert not is_one_stream(first.writer, first.reader)
    assert is_one_stream(second.reader, second.writer)
    assert not is_one_stream(second.reader, second.to)
    assert not is_one_stream(file, file), "a log in the same file as the answers is the caller's wish"
    assert not is_one_stream(first.writer, file)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_left_open(kind: str) -> None:
    before = set(os.listdir("/proc/self/fd"))
    with contextlib.ExitStack() as keep:
        ends = KINDS[kind](keep)
        borrow(ends.reader, os.O_RDONLY).close()
        borrow(ends.writer, os.O_WRONLY).close()
    assert set(os.listdir("/proc/self/fd")) <= before


def test_the_settings_of_a_terminal_are_left_alone(keep) -> None:
    ends = terminal(keep)
    before = termios.tcgetattr(ends.reader)
    source = borrow(ends.reader, os.O_RDONLY)
    assert termios.tcgetattr(ends.reader) == before
    source.close()
