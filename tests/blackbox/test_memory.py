"""Memory stays flat, whatever the number of lines, their length, or what the programs print."""

from pathlib import Path

import pytest
from support.programs.bad import CHAMELEON, compiled, habit

from .conftest import Start

pytestmark = pytest.mark.slow

MIB = 1024  # in the kernel's KiB


def test_two_hundred_thousand_lines(start: Start, tmp_path: Path) -> None:
    """With refusals among them, and with every program replaced now and then, as by default."""
    bridge = start("run", "--pool-size", 4, "--pool-max", 4, "--", *compiled(tmp_path))  # no spares to wait for
    batch = []
    for number in range(5_000):
        user = b"user%d" % number
        batch += [
            b"auth:%s:example.com:pw-%s" % (user, user),
            b"auth:%s:example.com:wrong" % user,
            b"isuser:no%s:example.com" % user,
            b"isuser:%s:example.com" % user if number % 5 else b"bogus:%s" % user,
        ]
    expected = ["1", "0", "0", "1"] * 5_000
    expected[3::20] = ["0"] * 1_000

    def converse() -> None:
        answers = bridge.converse(batch, seconds=60)
        assert [answer.verdict for answer in answers] == expected

    converse()
    bridge.wait_for_programs(4)
    memory, descriptors = bridge.memory(), bridge.descriptors()
    for _ in range(9):
        converse()
    grown = bridge.memory() - memory
    assert grown < 3 * MIB, f"{grown} KiB more after 200 000 lines than after 20 000"
    each = 4  # of a program, which may just be starting or leaving at either time; hundreds have been replaced
    bridge.until(lambda: bridge.descriptors() <= descriptors + each, "no more descriptors than before")
    bridge.until(lambda: not bridge.zombies(), "no zombies")
    bridge.finish()


def test_an_endless_line_is_not_stored(start: Start) -> None:
    bridge = start("run", "--pool-size", 2, "--", *habit("good"))
    assert bridge.ask(b"isuser:alice:example.com").verdict == "1"
    bridge.wait_for_programs(2)
    peak = bridge.memory("VmHWM")
    bridge.send(b"auth:alice:example.com:" + b"x" * 32 * MIB * 1024, lines=0)
    bridge.send(b"\nisuser:bob:example.com\n")
    answers = bridge.wait_for_answers(3)
    assert [answer.verdict for answer in answers] == ["1", "0", "1"]
    assert bridge.memory("VmHWM") - peak < 2 * MIB
    bridge.finish()


def test_endless_text_instead_of_a_reply_is_not_stored(start: Start) -> None:
    bridge = start("run", "--pool-size", 2, "--answer-timeout", 2, "--", *CHAMELEON)
    assert bridge.ask(b"isuser:alice:example.com").verdict == "1"
    bridge.wait_for_programs(2)
    peak = bridge.memory("VmHWM")
    for _ in range(5):
        assert bridge.ask(b"auth:babble-alice:example.com:pw-babble-alice").verdict == "0"
        assert bridge.ask(b"isuser:alice:example.com").verdict == "1"
    assert bridge.memory("VmHWM") - peak < 2 * MIB
    bridge.finish()


def test_a_flood_on_stderr_is_neither_stored_nor_logged_in_full(start: Start) -> None:
    """8 MB of stderr before each reply, which comes too late for that: nobody reads so much in that time."""
    timeouts = ("--answer-timeout", 0.5, "--start-timeout", 0.5)
    bridge = start("run", "--pool-size", 2, *timeouts, "--", *habit("floods", 8 * MIB))
    assert bridge.ask(b"isuser:alice:example.com").verdict == "0"
    peak = bridge.memory("VmHWM")
    answers = bridge.converse([b"isuser:u%d:example.com" % number for number in range(15)], in_flight=4)
    assert [answer.verdict for answer in answers] == ["0"] * 15
    assert bridge.memory("VmHWM") - peak < 3 * MIB
    bridge.finish()
    assert b"flood flood" in bridge.log
    assert len(bridge.log) < MIB * 1024, "the log is not rate-limited"
    assert max(map(len, bytes(bridge.log).split(b"\n"))) < 1024, "a line of stderr is not cut"


def test_hundreds_of_kilobytes_on_stderr_do_not_block_a_program(start: Start) -> None:
    bridge = start("run", "--pool-size", 1, "--answer-timeout", 20, "--", *habit("floods", 300))
    for number in range(5):
        assert bridge.ask(b"isuser:u%d:example.com" % number).verdict == "1"
    bridge.finish()
    assert b"failed" not in bridge.log
