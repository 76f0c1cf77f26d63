"""The log on stderr, with real pipes, terminals and sockets; it never blocks there."""

import errno
import logging
import os
import pty
import re
import select
import socket
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.logsite import Site, flood, in_time, taken, texts

from bridge.log.events import log


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """The two ends of a raw terminal; what is written to the second can be read from the first."""
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    os.set_blocking(ours, False)
    yield ours, theirs
    os.close(ours)
    os.close(theirs)


def test_a_line_on_stderr(site: Site, pipe: tuple[int, int]):
    read, write = pipe
    site.configure(stderr=write)
    log.warning("pool is down")
    assert re.fullmatch(
        rf"\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{{4}} WARNING extauth-bridge\[{os.getpid()}\]: pool is down\n",
        taken(read),
    )


@pytest.mark.parametrize(
    ("level", "priority"),
    [
        (logging.DEBUG, 7),
        (logging.INFO, 6),
        (25, 6),
        (logging.WARNING, 4),
        (logging.ERROR, 3),
        (logging.CRITICAL, 2),
    ],
)
@pytest.mark.parametrize("target", ["auto", "stderr"])
def test_a_line_on_stderr_that_is_the_journal(
    site: Site, monkeypatch: pytest.MonkeyPatch, level: int, priority: int, target: str
):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        status = os.fstat(theirs.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        site.configure(target, stderr=theirs.fileno(), journal=site.journal.path)
        log.log(level, "pool is down")
        assert ours.recv(4096) == f"<{priority}>pool is down\n".encode()
        assert site.journal.received() == []


def test_anothers_journal_stream_does_not_make_stderr_the_journal(
    site: Site, pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
):
    read, write = pipe
    monkeypatch.setenv("JOURNAL_STREAM", "8:1234")
    site.configure(stderr=write)
    log.warning("pool is down")
    assert " WARNING extauth-bridge[" in taken(read)


@pytest.mark.parametrize("target", ["auto", "stderr", "journal", "syslog", "file:/dev/tty", "file:/nowhere/log"])
def test_the_clients_terminal_gets_nothing(site: Site, terminal: tuple[int, int], target: str):
    ours, theirs = terminal
    site.configure(target, client_terminal=True, stderr=theirs)
    flood(5)
    site.configure(target, client_terminal=True, stderr=theirs, journal=site.journal.path)
    log.info("hello")
    assert site.journal.messages()[-1] == "hello"
    assert taken(ours) == ""


def test_the_clients_terminal_gets_nothing_under_another_name_either(site: Site, terminal: tuple[int, int]):
    ours, theirs = terminal
    target = f"file:{os.ttyname(theirs)}"
    site.configure(target, client_terminal=True, stderr=theirs, journal=site.journal.path)
    log.info("hello")
    assert site.journal.messages() == [f"log target could not be reached target={target} error=EPERM", "hello"]
    assert taken(ours) == ""
    site.configure(target, client_terminal=False, stderr=theirs)
    log.info("hello")
    assert texts(taken(ours)) == ["hello"]


def test_an_unread_pipe_does_not_block_and_what_is_lost_is_counted(site: Site, pipe: tuple[int, int]):
    read, write = pipe
    site.configure(stderr=write)
    in_time(flood)
    arrived = texts(taken(read))
    assert 0 < len(arrived) < 2000
    assert arrived == [f"{'flood ' * 20} {number}" for number in range(len(arrived))]
    log.info("hello")
    log.info("again")
    assert texts(taken(read)) == [f"log lines lost count={2000 - len(arrived)}", "hello", "again"]


def test_a_pipe_that_cannot_be_opened_anew_does_not_block_either(
    site: Site, pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
):
    def refused(*_: object) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    read, write = pipe
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refused)  # another user's pipe; root could open it
        site.configure(stderr=write)
    in_time(flood)
    arrived = texts(taken(read))
    assert 0 < len(arrived) < 2000
    log.info("hello")
    assert texts(taken(read)) == [f"log lines lost count={2000 - len(arrived)}", "hello"]


def test_a_shared_stderr_stays_blocking(site: Site, pipe: tuple[int, int], terminal: tuple[int, int]):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for fd in (pipe[1], terminal[1], theirs.fileno()):
            site.configure(stderr=fd)
            log.info("hello")
            assert os.get_blocking(fd)


def test_a_long_line_is_one_write_of_a_pipes_atomic_size(site: Site, pipe: tuple[int, int]):
    read, write = pipe
    site.configure(stderr=write)
    log.info("ä" * 2500)
    data = taken(read)
    assert 4000 < len(data.encode()) <= select.PIPE_BUF
    assert data.endswith("ä…\n")


def test_an_unread_terminal_does_not_block_and_a_torn_line_stays_alone(site: Site, terminal: tuple[int, int]):
    ours, theirs = terminal
    site.configure(stderr=theirs)
    in_time(flood)
    arrived = texts(taken(ours))
    assert len(arrived) < 2000
    log.info("hello")
    lost, hello = [line for line in texts(taken(ours)) if line]
    assert lost.startswith("log lines lost count=")
    assert hello == "hello"


def test_an_unread_socket_does_not_block(site: Site):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        site.configure(stderr=theirs.fileno())
        in_time(lambda: flood(20000))
        data = b""
        while b"flood" in (more := ours.recv(1 << 24)):
            data += more
            if not select.select([ours], [], [], 0)[0]:
                break
        log.info("hello")
        lost, hello = texts(ours.recv(1 << 20).decode())
        assert lost == f"log lines lost count={20000 - len(texts(data.decode()))}"
        assert hello == "hello"


def test_without_a_reader_the_next_target_gets_the_line(site: Site):
    read, write = os.pipe()
    os.close(read)
    site.configure(stderr=write, journal=site.journal.path)
    os.close(write)
    log.info("hello")
    assert site.journal.messages() == ["hello"]


def test_a_closed_stderr_is_not_written_on_when_its_number_is_used_again(site: Site, pipe: tuple[int, int]):
    read, write = pipe
    spare = os.dup(write)
    os.close(spare)
    site.configure(stderr=spare, journal=site.journal.path)
    assert os.dup(write) == spare  # as an accepted connection could be
    log.info("hello")
    site.clock.now += 100.0
    log.info("hello")
    os.close(spare)
    assert taken(read) == ""
    assert site.journal.messages() == ["hello", "hello"]


def test_stderr_that_is_pointed_elsewhere_later_is_not_followed(site: Site, pipe: tuple[int, int], tmp_path: Path):
    read, write = pipe
    stderr = os.dup(write)
    site.configure(stderr=stderr)
    with open(tmp_path / "other", "wb") as other:
        os.dup2(other.fileno(), stderr)
    log.info("hello")
    os.close(stderr)
    assert texts(taken(read)) == ["hello"]
    assert (tmp_path / "other").read_bytes() == b""
