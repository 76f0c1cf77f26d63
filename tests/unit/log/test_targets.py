"""The log on the journal's and syslog's sockets, which target is chosen, and what a reload does."""

import os
import re
import resource
import socket
from pathlib import Path

import pytest
from support.logsite import Site, descriptors, flood, handlers, in_time, texts

from bridge.log.events import log
from bridge.log.targets import journal_field


def test_the_journals_fields(site: Site):
    site.configure("journal", journal=site.journal.path)
    log.error("größer")
    (datagram,) = site.journal.received()
    assert datagram.decode().splitlines() == [
        "MESSAGE=größer",
        "PRIORITY=3",
        "SYSLOG_FACILITY=3",
        "SYSLOG_IDENTIFIER=extauth-bridge",
        f"SYSLOG_PID={os.getpid()}",
    ]


def test_a_journal_field_with_a_newline_carries_its_length():
    assert journal_field("MESSAGE", b"plain=x") == b"MESSAGE=plain=x\n"
    assert journal_field("MESSAGE", b"a\nPRIORITY=0") == b"MESSAGE\n\x0c\0\0\0\0\0\0\0a\nPRIORITY=0\n"


def test_a_line_for_syslog(site: Site):
    site.configure("syslog", syslog=site.syslog.path)
    log.warning("pool is down")
    assert site.syslog.received() == [f"<28>extauth-bridge[{os.getpid()}]: pool is down".encode()]


def test_on_the_clients_terminal_it_is_the_journal_then_syslog_then_nothing(site: Site):
    where = {"journal": site.journal.path, "syslog": site.syslog.path}
    site.configure("auto", True, **where)
    log.info("one")
    assert (site.journal.messages(), site.syslog.messages()) == (["one"], [])
    site.journal.stop()
    log.info("two")
    assert site.syslog.messages() == ["two"]
    site.syslog.stop()
    log.info("three")
    site.journal.start()
    log.info("four")
    site.clock.now += 1.1
    log.info("five")
    assert site.journal.messages() == ["log lines lost count=2", "five"]
    site.syslog.start()


@pytest.mark.parametrize(("target", "other"), [("journal", "syslog"), ("syslog", "journal")])
def test_what_was_asked_for_comes_first_and_is_missed_aloud_once(site: Site, target: str, other: str):
    wanted, spare = getattr(site, target), getattr(site, other)
    site.configure(target, journal=site.journal.path, syslog=site.syslog.path)
    log.info("one")
    assert (wanted.messages(), spare.messages()) == (["one"], [])
    wanted.stop()
    log.info("two")
    site.clock.now += 1.1
    log.info("three")
    assert spare.messages() == [f"log target could not be reached target={target} error=ENOENT", "two", "three"]
    wanted.start()
    site.clock.now += 1.1
    log.info("four")
    assert (wanted.messages(), spare.messages()) == (["four"], [])


@pytest.mark.parametrize("target", ["journal", "syslog"])
def test_a_daemon_that_was_started_again_is_found(site: Site, target: str):
    daemon = getattr(site, target)
    site.configure(target, journal=site.journal.path, syslog=site.syslog.path)
    log.info("one")
    daemon.stop()
    daemon.start()
    log.info("two")
    assert daemon.messages() == ["two"]


@pytest.mark.parametrize("target", ["journal", "syslog"])
def test_a_busy_daemon_does_not_block_and_what_is_lost_is_counted(site: Site, target: str):
    daemon = getattr(site, target)
    site.configure(target, journal=site.journal.path, syslog=site.syslog.path)
    in_time(flood)
    arrived = daemon.messages()
    assert 0 < len(arrived) < 2000
    log.info("hello")
    assert daemon.messages() == [f"log lines lost count={2000 - len(arrived)}", "hello"]


@pytest.mark.parametrize("target", ["journal", "syslog"])
def test_a_message_too_large_for_a_datagram_is_cut(site: Site, target: str, monkeypatch: pytest.MonkeyPatch):
    class Small(socket.socket):
        def __init__(self, *args: int) -> None:
            super().__init__(*args)
            self.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)  # the kernel's least, about 4.5 KB

    monkeypatch.setattr(socket, "socket", Small)
    site.configure(target, journal=site.journal.path, syslog=site.syslog.path)
    log.info("€" * 3000)
    (cut,) = getattr(site, target).messages()
    assert re.fullmatch("€+…", cut)
    assert 2000 < len(cut.encode()) < 5000
    log.info("hello")
    assert getattr(site, target).messages() == ["hello"]


# All together


def test_a_reload_leaks_no_descriptor(site: Site, pipe: tuple[int, int], tmp_path: Path):
    targets = ["auto", "stderr", f"file:{tmp_path / 'log'}", "journal", "syslog"]

    def round_of_reloads() -> None:
        for target in targets:
            site.configure(target, stderr=pipe[1], journal=site.journal.path, syslog=site.syslog.path)
            log.info("hello")

    round_of_reloads()
    before = len(descriptors())
    for _ in range(5):
        round_of_reloads()
    assert len(descriptors()) == before
    assert len(handlers()) == 1


def test_a_reload_keeps_the_count_of_lost_lines(site: Site):
    site.configure("journal")
    log.info("one")
    site.configure("journal", journal=site.journal.path)
    log.info("two")
    assert site.journal.messages() == ["log lines lost count=1", "two"]


def test_programs_inherit_none_of_the_descriptors(site: Site, pipe: tuple[int, int], tmp_path: Path):
    before = descriptors()
    site.configure(f"file:{tmp_path / 'log'}", stderr=pipe[1], journal=site.journal.path)
    log.info("hello")
    ours = descriptors() - before
    assert len(ours) == 2
    assert not any(os.get_inheritable(fd) for fd in ours)


def test_without_descriptors_nothing_is_raised_and_the_loss_is_counted(site: Site, tmp_path: Path):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    site.configure(f"file:{tmp_path / 'log'}", journal=site.journal.path)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        log.info("one")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    site.clock.now += 1.1
    log.info("two")
    assert len(texts((tmp_path / "log").read_text())) >= 2
    assert texts((tmp_path / "log").read_text())[-1] == "two"
