"""The programs of tests/programs as commands to run, and the journal they keep when a test asks for one."""

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from support import canary
from support.components import command

PROGRAMS = Path(__file__).parents[2] / "programs"

_PYTHON = (sys.executable, "-I", "-S", "-B")

CHAMELEON = (*_PYTHON, str(PROGRAMS / "chameleon.py"))


def habit(name: str, number: int = 0) -> tuple[str, ...]:
    """The program of habits.py with this name; what the number means is said there."""
    return (*_PYTHON, str(PROGRAMS / "habits.py"), name, str(number))


def perl(name: str) -> tuple[str, ...]:
    return (command("perl", "perl"), str(PROGRAMS / name))


def php(*arguments: str) -> tuple[str, ...]:
    """good.php, without any php.ini."""
    php_cli = command("php", "php-cli")
    return (php_cli, "-n", "-d", "display_errors=stderr", str(PROGRAMS / "good.php"), *arguments)


def compiled(directory: Path) -> tuple[str, ...]:
    """good.c, compiled into `directory`."""
    target = directory / "good"
    subprocess.run([command("gcc", "gcc"), "-O2", "-o", str(target), str(PROGRAMS / "good.c")], check=True, timeout=60)
    return (str(target),)


class Event(NamedTuple):
    """One line of the journal; `at` is CLOCK_MONOTONIC in seconds, as time.monotonic() has it."""

    at: float
    pid: int
    what: str
    body: bytes


class Journal:
    """What the programs noted.  Give `environment` to the bridge that starts them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.state = path.with_suffix(".state")
        self.state.mkdir()
        canary.knows(path, "what programs were asked, for the test to compare")
        canary.knows(self.state, "names of files are questions: what happened once")
        self.environment = {"EXTAUTH_TEST_JOURNAL": str(path), "EXTAUTH_TEST_STATE": str(self.state)}

    def events(self, *kinds: str) -> list[Event]:
        """All events so far, or those of some kinds: start, frame, reply, end, broken, grandchild …"""
        if not self.path.exists():
            return []
        found = []
        for line in self.path.read_text().splitlines(keepends=True):
            at, pid, what, body = line.split(" ")
            if not kinds or what in kinds:
                found.append(Event(float(at), int(pid), what, bytes.fromhex(body)))
        return found

    def frames(self) -> list[bytes]:
        """The bodies of all frames that reached a program, in the order they were read."""
        return [event.body for event in self.events("frame", "broken")]

    def pids(self, *kinds: str) -> list[int]:
        """Who noted such events, each once, in order of first appearance."""
        return list(dict.fromkeys(event.pid for event in self.events(*kinds)))
