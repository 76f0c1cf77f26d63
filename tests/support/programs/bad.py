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


def line_habit(name: str, milliseconds: int = 0) -> tuple[str, ...]:
    """The program of lines.py with this name, which speaks Prosody's lines."""
    return (*_PYTHON, str(PROGRAMS / "lines.py"), name, str(milliseconds))


STYLES = PROGRAMS / "styles"
GENERIC = PROGRAMS / "generic"
"""Programs as people write them: for ejabberd, and for Prosody."""

_INTERPRETERS = {
    ".pl": "perl perl",
    ".php": "php php-cli -n",
    ".js": "node nodejs",
    ".rb": "ruby ruby",
    ".sh": "bash bash",
    ".lua": "lua5.4 lua5.4",
}
"""For each suffix a command, the Debian package that it is from, and options: PHP goes without any php.ini."""

_COMPILERS = {".c": ("gcc", "gcc", "-std=gnu11", "-O2"), ".go": ("go", "golang-go", "build")}
"""The same of what is compiled, and how."""


def style(name: str, folder: Path, *arguments: str, of: Path = STYLES) -> tuple[str, ...]:
    """A program of styles/, or of another directory; what must be compiled goes into `folder`, once."""
    source = of / name
    if source.suffix == ".py":
        return (*_PYTHON, str(source), *arguments)
    if source.suffix in _COMPILERS:
        target = folder / f"{of.name}-{name.replace('.', '-')}"
        if not target.exists():
            compiler, package, *flags = _COMPILERS[source.suffix]
            words = [command(compiler, package), *flags, "-o", str(target), str(source)]
            subprocess.run(words, check=True, timeout=120)
        return (str(target), *arguments)
    interpreter, package, *options = _INTERPRETERS[source.suffix].split()
    return (command(interpreter, package), *options, str(source), *arguments)


def compiled(folder: Path) -> tuple[str, ...]:
    """A program that costs next to nothing, for long loads."""
    return style("clean.c", folder)


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

    def open_gate(self) -> None:
        """Let programs go on that wait at a gate, and those that come there."""
        (self.state / "open").touch()

    def close_gate(self) -> None:
        """Have those wait that come there from now on."""
        (self.state / "open").unlink()

    def events(self, *kinds: str) -> list[Event]:
        """All events so far, or those of some kinds: start, frame, reply, end, broken, grandchild …"""
        if not self.path.exists():
            return []
        found = []
        for line in self.path.read_text().splitlines(keepends=True):
            if not line.endswith("\n"):  # it is just being written
                continue
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
