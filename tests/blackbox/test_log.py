"""The log: useful, short, in one line each, and never a reason to stop or to be late."""

import fcntl
import os
import re
import socket
import time
from pathlib import Path

import pytest
from support.programs.bad import CHAMELEON, Journal, habit

from .conftest import Start

GOOD = b"isuser:alice:example.com"


def test_what_a_program_prints_cannot_disturb_the_log(start: Start) -> None:
    """No control character of its making, no line that looks like one of the bridge's or of the journal."""
    printed = r"\033[31mred\007 bell\r over \b back \000 nul \177 del \302\205 nel \377 bytes\n<0>fake\n\n tail"
    bridge = start("run", "--pool-size", 1, "--", "/bin/sh", "-c", f"printf '{printed}' >&2")
    bridge.until(lambda: b"tail" in bridge.log, "the program's last words, which have no newline")
    bridge.finish()
    log = bytes(bridge.log)
    assert b"red" in log
    assert not re.search(rb"[\x00-\x09\x0b-\x1f\x7f]|\xc2[\x80-\x9f]", log)
    assert not re.search(rb"^<0>", log, re.MULTILINE)
    log.decode()  # raises where a byte is no UTF-8


def test_lines_of_a_program_are_cut(start: Start) -> None:
    """At 512 bytes, before escaping."""
    script = "yes abcdefghi | head -c 5000 | tr -d '\\n' >&2; echo >&2; echo behind >&2; cat > /dev/null"
    bridge = start("run", "--pool-size", 1, "--", "/bin/sh", "-c", script)
    bridge.until(lambda: b"behind" in bridge.log, "the program's words")
    bridge.finish()
    (line,) = (line for line in bytes(bridge.log).splitlines() if b"abcdefghi" in line)
    assert 400 <= line.count(b"abcdefghi") * 9 <= 512


@pytest.mark.slow
def test_a_flood_of_refusals_is_a_few_lines(start: Start) -> None:
    bridge = start("run", "--pool-size", 1, "--", *habit("good"))
    answers = bridge.converse([b"bogus", b"auth:a:b", b"isuser:\x01:h", GOOD] * 5_000)
    assert [answer.verdict for answer in answers] == ["0", "0", "0", "1"] * 5_000
    bridge.finish()
    assert bridge.log, "refusals are not logged at all"
    assert len(bridge.log.splitlines()) < 200


@pytest.mark.slow
def test_the_pool_goes_down_and_comes_back_in_one_line_each(start: Start, journal: Journal) -> None:
    bridge = start(
        *("run", "--pool-size", 4, "--answer-timeout", 0.3, "--", *habit("needs_backend")),
        env=journal.environment,
    )
    bridge.until(lambda: b"pool is down" in bridge.log, "the line")
    begun = time.monotonic()
    while time.monotonic() - begun < 1.5:
        assert bridge.ask(GOOD).verdict == "0"
        bridge.pump(0.01)
    assert len(re.findall(rb"pool is down", bridge.log)) == 1
    (journal.state / "backend").touch()
    bridge.until(lambda: bridge.ask(GOOD).verdict == "1", "a good answer", 15)
    bridge.wait_for_programs(4, 15)
    bridge.finish()
    assert len(re.findall(rb"pool is down", bridge.log)) == 1
    (back,) = (line for line in bytes(bridge.log).splitlines() if b"pool is back" in line)
    assert re.search(rb"=\d+", back), "no counts"
    assert len(bridge.log.splitlines()) < 60


def test_levels(start: Start) -> None:
    """A good run says nothing above `info`; at `error` not even that refusals are seen."""
    for level, silent in (("debug", False), ("error", True)):
        bridge = start("run", "--pool-size", 1, "--log-level", level, "--", *habit("good"))
        assert bridge.ask(b"bogus").verdict == "0"
        assert bridge.ask(GOOD).verdict == "1"
        bridge.finish()
        assert (not bridge.log) is silent


NOISY = [b"isuser:noise40-u%d:h" % number for number in range(150)] + [b"bogus"] * 50


def test_nobody_reads_the_log(start: Start) -> None:
    """stderr is a pipe that is full: no answer waits for it."""
    unread, stderr = os.pipe()
    fcntl.fcntl(stderr, fcntl.F_SETPIPE_SZ, 4096)
    while True:  # to the last byte
        os.set_blocking(stderr, False)
        try:
            os.write(stderr, b"x")
        except BlockingIOError:
            break
    os.set_blocking(stderr, True)
    bridge = start(
        *("run", "--pool-size", 2, "--answer-timeout", 5, "--", *CHAMELEON),
        prepare=lambda: os.dup2(stderr, 2) and None,
    )
    answers = bridge.converse(NOISY, seconds=15)
    assert [answer.verdict for answer in answers] == ["1"] * 150 + ["0"] * 50
    assert bridge.ask(b"isuser:die-alice:h").verdict == "0"
    bridge.finish()
    assert os.get_blocking(stderr), "the caller's stderr was made non-blocking"
    os.close(unread)
    os.close(stderr)


def test_the_reader_of_the_log_is_gone(start: Start) -> None:
    """EPIPE, and SIGPIPE for those who do not ignore it, is about the log and not about the answers."""
    unread, stderr = os.pipe()
    os.close(unread)
    bridge = start(
        *("run", "--pool-size", 2, "--answer-timeout", 5, "--", *CHAMELEON),
        prepare=lambda: os.dup2(stderr, 2) and None,
    )
    answers = bridge.converse(NOISY, seconds=15)
    assert [answer.verdict for answer in answers] == ["1"] * 150 + ["0"] * 50
    bridge.finish()
    os.close(stderr)


@pytest.mark.parametrize("target", ["file:/dev/full", "file:{directory}/log"])
def test_a_log_file(start: Start, tmp_path: Path, target: str) -> None:
    """Also on a full disk."""
    target = target.format(directory=tmp_path)
    bridge = start("run", "--pool-size", 2, "--answer-timeout", 5, "--log-target", target, "--", *CHAMELEON)
    answers = bridge.converse(NOISY, seconds=15)
    assert [answer.verdict for answer in answers] == ["1"] * 150 + ["0"] * 50
    bridge.finish()
    if "full" not in target:
        assert b"chameleon: a notice" in (tmp_path / "log").read_bytes()
        assert not bridge.log


def test_the_journals_prefix(start: Start) -> None:
    """Where stderr is the journal's, each line begins with its priority, as sd-daemon(3) has it."""
    ours, theirs = socket.socketpair()
    found = os.fstat(theirs.fileno())
    bridge = start(
        *("run", "--pool-size", 1, "--log-level", "debug", "--", *CHAMELEON),
        env={"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"},
        prepare=lambda: os.dup2(theirs.fileno(), 2) and None,
    )
    theirs.close()
    assert bridge.ask(b"isuser:noise3-alice:h").verdict == "1"
    assert bridge.ask(b"bogus").verdict == "0"
    bridge.finish()
    with ours, ours.makefile("rb") as journal:
        lines = journal.read().splitlines()
    assert lines
    assert all(re.match(rb"<[0-7]>\S", line) for line in lines)
