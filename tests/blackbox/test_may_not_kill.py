"""A program that has changed its user and hangs, under a bridge that may not kill it."""

import os
import re
import signal
from pathlib import Path

import pytest
from support.process import COMMAND, Bridge
from support.programs.otheruser import changes_user, without_the_right_to_kill

from .conftest import Start

GOOD = b"auth:alice:example.com:pw-alice"
SAID = re.compile(rb"may not be killed: it has changed its user.* pid=(\d+)")


def of_another_user(start: Start, folder: Path, *options: object) -> Bridge:
    program = changes_user(folder)
    command = (*without_the_right_to_kill(), *COMMAND)
    return start("run", "--pool-size", 1, "--answer-timeout", 1, *options, "--", program, command=command)


def test_it_is_logged_once(start: Start, tmp_path: Path) -> None:
    bridge = of_another_user(start, tmp_path)
    assert bridge.ask(GOOD).verdict == "1"
    (program,) = bridge.programs()
    assert bridge.ask(b"auth:hang:example.com:pw").verdict == "0"
    bridge.until(lambda: SAID.search(bridge.log), "a line about it")
    os.kill(program, signal.SIGKILL)
    bridge.until(lambda: bridge.ask(GOOD).verdict == "1", "another program")
    bridge.finish()
    assert [int(pid) for pid in SAID.findall(bridge.log)] == [program]
    assert b"internal error" not in bridge.log


@pytest.mark.slow
def test_it_does_not_keep_the_bridge_from_ending(start: Start, tmp_path: Path) -> None:
    bridge = of_another_user(start, tmp_path, "--shutdown-grace", 0.2)
    assert bridge.ask(GOOD).verdict == "1"
    (program,) = bridge.programs()
    bridge.send(b"auth:hang:example.com:pw\n")
    bridge.signal(signal.SIGTERM)
    assert bridge.wait() == 0, bridge.tail()
    os.kill(program, signal.SIGKILL)
    assert [int(pid) for pid in SAID.findall(bridge.log)] == [program]
    assert b"internal error" not in bridge.log
