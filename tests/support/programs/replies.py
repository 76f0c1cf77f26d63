"""Programs that reply twice, and honest ones that read and write in pieces: as commands, with what to ask them.

Every line's truth is known, so a `1` to a wrong one can only be another question's reply.  What must hold of a run
with programs that reply twice is said by `Tally`; the counts come from the programs' own journal, not from the log.
"""

import random
import subprocess
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from support.components import command
from support.process import Answer
from support.programs import oracle
from support.programs.bad import PROGRAMS, Event, Journal, style

FLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-D_GNU_SOURCE")


def compiled(folder: Path, name: str) -> str:
    """The C program of this name, compiled into `folder` unless it is there."""
    target = folder / name
    if not target.exists():
        source = PROGRAMS / f"{name}.c"
        subprocess.run([command("gcc", "gcc"), *FLAGS, "-o", str(target), str(source)], check=True, timeout=60)
    return str(target)


# --- programs that reply twice -------------------------------------------------------------------------------

MANNERS = ("whole", "halves", "together", "straddle")
"""How the second reply of tests/programs/doubles.c is written; "deaf" and "flood" are for tests of their own."""


class Doubles(NamedTuple):
    """A pool of tests/programs/doubles.c and its load; times in microseconds."""

    manner: str
    pool_size: int
    in_flight: int
    work: int
    gap: int

    def __str__(self) -> str:
        return "{} pool={} in_flight={} work={} gap={}".format(*self)

    def command(self, folder: Path) -> tuple[str, ...]:
        return (compiled(folder, "doubles"), self.manner, str(self.work), str(self.gap))


def doubling_lines(count: int, dice: random.Random, every: int = 6, prefix: str = "") -> list[bytes]:
    """Lines of which `count` are replied to twice, the others mostly wrong, each about a user of its own."""
    lines: list[bytes] = []
    for number in range(count * every):
        kind = dice.choices(["wrong", "right", "nobody", "somebody"], [6, 2, 1, 1])[0]
        double = number % every == every // 2
        way = dice.choice(["twice", "twiceyes", "twiceno"]) if double else "u"
        name = f"{way}-{'no' if kind == 'nobody' else 'u'}{prefix}{number}"
        if kind in ("wrong", "right"):
            lines.append(f"auth:{name}:example.com:{'pw-' + name if kind == 'right' else f'guess{number}'}".encode())
        else:
            lines.append(f"isuser:{name}:example.com".encode())
    return lines


def is_double(line: bytes) -> bool:
    """Is this one replied to twice?"""
    return line.split(b":")[1].startswith(b"twice")


class Tally(NamedTuple):
    """What became of a run.

    Attributes:
      second: pairs of replies that programs wrote.
      programs: how many programs wrote one.
      uncaught: those that went on afterwards: they were given more than the one question they may have had in hand.
      wrong: grants of a wrong line.
      refused: right lines that were not granted, without those that were replied to twice.
      doubles_refused: those; when both replies come in one read, there is no telling that the first one was good.
    """

    second: int
    programs: int
    uncaught: int
    wrong: int
    refused: int
    doubles_refused: int

    def check(self) -> None:
        """No wrong answer; each second reply costs its program; a right line is lost only with two programs."""
        assert self.wrong == 0, f"{self.wrong} wrong grants: {self}"
        assert self.uncaught == 0, f"{self.uncaught} programs go on after a second reply: {self}"
        assert self.refused <= self.programs // 2, f"right lines are refused: {self}"


def tally(lines: Sequence[bytes], verdicts: Sequence[str], journal: Journal, *, max_line: int = 4096) -> Tally:
    """Compare the verdicts with the truth, and read in the journal what the programs did."""
    pairs = list(zip(lines, verdicts, strict=True))
    granted = [line for line, verdict in pairs if verdict == "1"]
    refused = [line for line, verdict in pairs if verdict != "1"]

    def right(line: bytes) -> bool:
        return oracle.lets_through(line, max_line=max_line) and oracle.truth(line)

    lost = [line for line in refused if right(line)]
    return Tally(
        second=len(journal.events("second")),
        programs=len(journal.pids("second")),
        uncaught=len(went_on(journal.events("readon"))),
        wrong=sum(not right(line) for line in granted),
        refused=sum(not is_double(line) for line in lost),
        doubles_refused=sum(is_double(line) for line in lost),
    )


def went_on(read_on: Sequence[Event]) -> list[int]:
    """The programs that read more than one question after a second reply.

    One may be in the pipe already when the reply is seen; whoever gets another was not caught.
    """
    return [pid for pid, times in Counter(event.pid for event in read_on).items() if times > 1]


def verdicts_of(answers: Sequence[Answer]) -> list[str]:
    return [answer.verdict for answer in answers]


# --- honest programs -----------------------------------------------------------------------------------------


def _c(*words: str) -> Callable[[Path], tuple[str, ...]]:
    return lambda folder: (compiled(folder, "pieces"), *words)


def _python(*words: str) -> Callable[[Path], tuple[str, ...]]:
    return lambda _: (command("python3", "python3"), "-I", "-S", "-B", str(PROGRAMS / "pieces.py"), *words)


def _style(name: str) -> Callable[[Path], tuple[str, ...]]:
    return lambda folder: style(name, folder)


def _perl(*words: str) -> Callable[[Path], tuple[str, ...]]:
    return lambda _: (command("perl", "perl"), str(PROGRAMS / words[0]), *words[1:])


def _php(name: str) -> Callable[[Path], tuple[str, ...]]:
    return lambda _: (command("php", "php-cli"), "-n", str(PROGRAMS / name))


def _node(*words: str) -> Callable[[Path], tuple[str, ...]]:
    return lambda _: (command("node", "nodejs"), str(PROGRAMS / "pieces.js"), *words)


def _shell(script: str, *words: str) -> Callable[[Path], tuple[str, ...]]:
    """A wrapper that does not exec; in the script, `"$@"` is the program."""
    return lambda folder: ("/bin/sh", "-c", script, "sh", *_c(*words)(folder))


HONEST: dict[str, Callable[[Path], tuple[str, ...]]] = {
    "C": _c("exactly", "1", "0"),
    "C, byte by byte": _c("bytes", "4", "0"),
    "C, big reads": _c("greedy", "1", "0"),
    "C, poll and FIONREAD": _c("waits", "2", "0"),
    "C, readv": _c("vectors", "1", "0"),
    "C, splice": _c("splice", "1", "0"),
    "C, non-blocking": _c("nonblock", "2", "0"),
    "C, header, pause, body, halves": _c("exactly", "2", "300"),
    "C, four writes with pauses": _c("greedy", "4", "100"),
    "Python": _python("exactly", "1", "0"),
    "Python, buffered": _python("buffered", "1", "0"),
    "Python, byte by byte": _python("bytes", "4", "0"),
    "Python, big reads with pauses": _python("greedy", "2", "0.2"),
    "Perl": _style("clean.pl"),
    "Perl, sysread of three bytes": _perl("pieces.pl", "3", "2"),
    "Perl, sysread of much": _perl("pieces.pl", "65536", "4"),
    "PHP": _style("clean.php"),
    "PHP, byte by byte": _php("pieces.php"),
    "Node.js": _node("events", "1"),
    "Node.js, four writes": _node("events", "4"),
    "Node.js, readSync": _node("sync", "2"),
    "Ruby": _style("clean.rb"),
    "Go": _style("clean.go"),
    "shell": _shell('"$@"; exit', "exactly", "1", "0"),
    "shell, byte by byte": _shell('"$@"; exit', "bytes", "2", "0"),
    "shell, between two cats": _shell('cat | "$@" | cat; exit', "exactly", "1", "0"),
}
"""Programs that take one question, answer it rightly and take the next, by what they are written in and how."""

LEAVING = {
    "leaves": _c("leaves", "1", "0"),
    "leaves, halves": _c("leaves", "2", "50"),
    "closes stdin, answers, leaves": _c("closes", "1", "0"),
    "closes stdin, answers in halves, leaves": _c("closes", "2", "50"),
}
"""Honest programs that answer one question each."""


def honest_lines(count: int, dice: random.Random, sizes: Sequence[int] = (0,)) -> list[bytes]:
    """Lines whose right answers have no pattern, each about a user of its own, some at least so long."""
    lines: list[bytes] = []
    for number in range(count):
        name = f"{dice.choice(['u', 'u', 'no'])}{number}"
        size = dice.choice(sizes)
        secret = dice.choice([f"pw-{name}", f"pw-{name}", f"guess{number}"])
        line = f"auth:{name}:example.com:{secret}" if dice.random() < 0.7 else f"isuser:{name}:example.com"
        lines.append(lengthened(line.encode(), size))
    return lines


def lengthened(line: bytes, size: int) -> bytes:
    """The same question by a longer host, which the truth does not depend on."""
    return line.replace(b"example.com", b"h" * (11 + max(0, size - len(line))), 1)
