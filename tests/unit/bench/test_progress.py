"""A bar where it can be seen, and nothing elsewhere."""

import os
import pty
import subprocess
import sys

import pytest
from support.process import PATIENCE, environment
from support.terminal import read_until

SHOWN = """
from bridge.bench.progress import Bar
from bridge.log.events import log
from bridge.log.setup import configure
from bridge.relay.settings import LogChoice
configure(LogChoice(), client_terminal=False)
bar = Bar(4)
bar.show("measuring", 0.5)
log.warning("a line")
bar.show("measuring at a fixed rate", 0.75)
bar.end()
"""


def shown(code: str = SHOWN) -> str:
    """What comes on a terminal."""
    master, terminal = pty.openpty()
    try:
        env = environment({"TERM": "xterm", "COLUMNS": "80"})
        with subprocess.Popen([sys.executable, "-c", code], stderr=terminal, env=env) as process:
            os.close(terminal)
            found = read_until(master, None, PATIENCE).decode()
        assert process.returncode == 0, found
        return found
    finally:
        os.close(master)


def test_it_is_on_a_terminal_and_removed_at_the_end() -> None:
    pytest.importorskip("rich")
    found = shown()
    assert found.count("4 programs: measuring") >= 2
    assert found.rindex("\x1b[2K") > found.rindex("measuring")


def test_it_is_not_drawn_often() -> None:
    """That would take time from what is measured."""
    pytest.importorskip("rich")
    often = SHOWN.replace('bar.show("measuring", 0.5)\n', 'for _ in range(1000): bar.show("measuring", 0.5)\n')
    assert shown(often).count("measuring") < 20


def test_a_log_line_takes_its_place() -> None:
    pytest.importorskip("rich")
    before, _, _ = shown().partition("a line")
    assert "measuring" not in before[before.rindex("\r\x1b[2K") :]


def test_without_rich_there_is_nothing() -> None:
    found = shown(f"import sys; sys.modules['rich'] = None; {SHOWN.strip().replace(chr(10), '; ')}")
    assert found.count("\n") == 1
    assert "measuring" not in found


def test_without_a_terminal_there_is_nothing() -> None:
    done = subprocess.run([sys.executable, "-c", SHOWN], env=environment(), capture_output=True, timeout=30, check=True)
    assert b"measuring" not in done.stderr
    assert b"a line" in done.stderr
