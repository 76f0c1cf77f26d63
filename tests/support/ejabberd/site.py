"""ejabberd and the bridge side by side, with the same programs."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, Self

from support import canary, configfile
from support.ejabberd.node import Ejabberd
from support.ejabberd.questions import Question
from support.process import Bridge
from support.programs.bad import PROGRAMS, Journal, compiled, habit, style

COMMANDS = ["auth", "isuser", "setpass", "tryregister", "removeuser", "removeuser3"]

SQLITE = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); from bridge.programs import sqlite, users; "
    "users.COST = users.Cost(2**4, 8, 1); sys.exit(sqlite.main())"
)
"""The bundled program, with new hashes that cost nothing: thousands are made."""

CHECKOUT = Path(__file__).parents[3]

PYTHON, PERL, PHP, C, BUNDLED, FAULTY = (
    f"{name}.example" for name in ("python", "perl", "php", "c", "bundled", "faulty")
)
"""The hosts, each with another program."""


class Outcome(NamedTuple):
    """One question, what both said to it, and what PYTHON's programs read."""

    question: Question
    ejabberd: str
    bridge: str
    ejabberd_read: list[bytes]
    bridge_read: list[bytes]

    @property
    def kind(self) -> str:
        """The question's; a program in C has one of its own where its strings end at a NUL."""
        kind, host = self.question.kind, self.question.host.decode()
        return kind + ", to a program in C" * (host == C and kind == "auth: a NUL behind the right password")


class Reader:
    """Reads what was added to a journal."""

    def __init__(self, journal: Journal) -> None:
        self._path = journal.path
        self._at = 0

    def more(self) -> list[bytes]:
        """The frames that were read since the last call."""
        with open(self._path, "rb") as file:
            file.seek(self._at)
            data = file.read()
        self._at += len(data)
        rows = [line.split(b" ") for line in data.splitlines()]
        return [bytes.fromhex(row[3].decode()) for row in rows if row[2] == b"frame"]


class Side:
    """One side's programs, with a journal and a database of its own."""

    def __init__(self, folder: Path, c: tuple[str, ...]) -> None:
        folder.mkdir()
        self.journal = Journal(folder / "journal")
        self.database = folder / "users.db"
        self._script = folder / "bundled.py"  # ejabberd can quote nothing in a command
        self._script.write_text(SQLITE)
        noting = ("/usr/bin/env", *(f"{name}={value}" for name, value in self.journal.environment.items()))
        self.programs = {
            PYTHON: (*noting, *habit("good")),
            PERL: style("clean.pl", folder),
            PHP: style("clean.php", folder),
            C: c,
            BUNDLED: (sys.executable, str(self._script), str(CHECKOUT), str(self.database)),
            FAULTY: (sys.executable, "-I", "-S", "-B", str(PROGRAMS / "faulty.py")),
        }


class Site:
    """Asks both the same questions, in the same order; to be closed."""

    def __init__(self, folder: Path) -> None:
        c = compiled(folder)
        self.sides = [Side(folder / name, c) for name in ("with_ejabberd", "with_bridge")]

    def start(self, folder: Path) -> Self:
        """Start both, when the databases are filled."""
        theirs, ours = self.sides
        canary.knows(folder / "ejabberd", "ejabberd logs whatever is in the place of a name")
        self.ejabberd = Ejabberd(folder / "ejabberd", theirs.programs)
        hosts = {host: {"program": list(program), "pool_size": 1} for host, program in ours.programs.items()}
        settings = {"client": "lockstep", "commands": COMMANDS, "hosts": hosts}
        self.bridge = Bridge("run", configfile.write(folder / "auth.toml", settings))
        self.bridge.wait_until_up()
        for host in theirs.programs:  # so that all of them are up
            assert self.ejabberd.ask("isuser", b"nobody", host.encode()) == "no"
            assert self.bridge.ask(b"isuser:nobody:" + host.encode()).verdict == "0"
        self._readers = [Reader(side.journal) for side in self.sides]
        self.skip_journals()
        return self

    def close(self) -> None:
        self.ejabberd.stop()
        self.bridge.destroy()

    def skip_journals(self) -> None:
        """What programs have read so far is no question's of `ask`."""
        for reader in self._readers:
            reader.more()

    def ask(self, question: Question) -> Outcome:
        """One question to both."""
        tag = self.ejabberd.put(question.command, question.user, question.host, question.secret)
        ours = "yes" if self.bridge.ask(question.line).verdict == "1" else "no"
        theirs = self.ejabberd.answer(tag).split()[0]
        read = [reader.more() if question.host.decode().lower() == PYTHON else [] for reader in self._readers]
        return Outcome(question, theirs, ours, *read)

    def ask_all(self, questions: Iterable[Question]) -> list[Outcome]:
        return [self.ask(question) for question in questions]
