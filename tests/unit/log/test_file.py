"""The log in a file: rotated, torn, full, missing."""

import os
import re
import resource
import stat
from pathlib import Path

import pytest
from support.logsite import Site, flood, in_time, taken, texts

from bridge.log.events import log


def test_a_file_is_made_for_its_owner_only_and_appended_to(site: Site, tmp_path: Path):
    path = tmp_path / "log"
    site.configure(f"file:{path}")
    log.info("one")
    site.configure(f"file:{path}")
    log.info("two")
    assert re.fullmatch(r"(\S+ INFO extauth-bridge\[\d+\]: \w+\n){2}", path.read_text())
    assert texts(path.read_text()) == ["one", "two"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_exists_keeps_its_mode_and_text(site: Site, tmp_path: Path):
    path = tmp_path / "log"
    path.write_text("before\n")
    path.chmod(0o640)
    site.configure(f"file:{path}")
    log.info("one")
    assert texts(path.read_text()) == ["before", "one"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.parametrize("made_anew", [False, True])
def test_a_file_that_was_rotated_away_is_opened_anew_within_a_second(site: Site, tmp_path: Path, made_anew: bool):
    path, old = tmp_path / "log", tmp_path / "log.1"
    site.configure(f"file:{path}")
    log.info("one")
    path.rename(old)
    if made_anew:
        path.touch()
    site.clock.now += 0.5
    log.info("two")
    site.clock.now += 0.6
    log.info("three")
    assert texts(old.read_text()) == ["one", "two"]
    assert texts(path.read_text()) == ["three"]


def test_looking_for_a_rotation_is_not_done_for_each_line(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path, looks, real = tmp_path / "log", list[object](), os.stat
    site.configure(f"file:{path}")

    def counted(name: str) -> os.stat_result:
        looks.append(name)
        return real(name)

    monkeypatch.setattr(os, "stat", counted)
    for _ in range(100):
        log.info("hello")
        site.clock.now += 0.1
    assert 8 <= len(looks) <= 11


def test_a_full_disk_loses_lines_and_nothing_else(site: Site):
    site.configure("file:/dev/full", journal=site.journal.path)
    log.info("one")
    log.info("two")
    assert site.journal.received() == []
    site.configure("journal", journal=site.journal.path)
    log.info("three")
    assert site.journal.messages() == ["log lines lost count=2", "three"]


def test_a_line_that_a_full_disk_tore_is_not_continued(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path, real = tmp_path / "log", os.write
    site.configure(f"file:{path}")
    log.info("one")
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:30]))
    log.info("torn")
    monkeypatch.setattr(os, "write", real)
    log.info("two")
    one, torn, lost, two = path.read_text().splitlines()
    assert len(torn) == 30
    assert texts(f"{one}\n{lost}\n{two}") == ["one", "log lines lost count=1", "two"]


def test_the_limit_on_a_files_size_loses_lines_and_nothing_else(site: Site, tmp_path: Path):
    path = tmp_path / "log"
    path.write_bytes(b"x" * 9999 + b"\n")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    site.configure(f"file:{path}")
    resource.setrlimit(resource.RLIMIT_FSIZE, (10000, hard))  # Python ignores SIGXFSZ
    try:
        log.info("one")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    log.info("two")
    assert texts(path.read_text())[1:] == ["log lines lost count=1", "two"]


def test_a_file_that_cannot_be_opened_is_replaced_until_it_can(site: Site, tmp_path: Path):
    path = tmp_path / "later" / "log"
    site.configure(f"file:{path}", journal=site.journal.path)
    log.info("one")
    log.info("two")
    assert site.journal.messages() == [f"log target could not be reached target=file:{path} error=ENOENT", "one", "two"]
    path.parent.mkdir()
    log.info("three")
    assert site.journal.messages() == ["three"]
    site.clock.now += 1.1
    log.info("four")
    assert texts(path.read_text()) == ["four"]
    assert site.journal.messages() == []


def test_a_fifo_that_nobody_reads_does_not_block(site: Site, tmp_path: Path):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    site.configure(f"file:{path}", syslog=site.syslog.path)
    in_time(lambda: log.info("one"))
    assert site.syslog.messages() == [f"log target could not be reached target=file:{path} error=ENXIO", "one"]
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    site.clock.now += 1.1
    in_time(flood)
    arrived = texts(taken(reader))
    os.close(reader)
    assert 0 < len(arrived) < 2000
    assert arrived[0].endswith("flood  0")
