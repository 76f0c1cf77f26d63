"""`extauth-bridge bench`: how many queries a program answers, and which `pool_size` it needs."""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from bridge.bench import machine, report, sizing
from bridge.bench.load import Load
from bridge.bench.phases import Job, Sized
from bridge.bench.progress import Bar
from bridge.bench.sizing import Stop
from bridge.commands.arguments import Arguments
from bridge.commands.cli import Parser, UsageError
from bridge.commands.password import read_password
from bridge.config.load import load
from bridge.config.options import option
from bridge.config.settings import ProgramSettings, Settings
from bridge.daemon.process import running
from bridge.log.setup import configure
from bridge.log.text import escaped
from bridge.terminal.takeover import ProgramTerminal

if TYPE_CHECKING:
    from bridge.daemon.service import Client

_MOST = 64
"""Programs that are tried unless told otherwise: few sites have the memory for more."""

_SECONDS = 2.0
"""Of each measurement: the scheduler's moods, and a renewal, have averaged out by then."""

_WIDTH = 90
"""Columns at most: that of the table with the open loop."""

_FASTEST = 100_000
"""Queries a second: several times what the bridge itself can do."""


def main(argv: Sequence[str], taken: ProgramTerminal | None) -> int:
    """Measure, and print a table with a recommendation.

    Returns:
      exit status: 0 if a `pool_size` is recommended, 1 if the program cannot be used.

    Raises:
      UsageError, ConfigError: nothing was measured.
    """
    del taken  # whoever owns such a terminal measures nothing
    arguments = _arguments(argv)
    settings, question = _chosen(load(arguments.file, arguments.options, arguments.program), arguments)
    configure(settings.log, client_terminal=False)
    return _Bench(arguments.parsed, settings, question).run()


@attrs.frozen
class _Question:
    """What is asked.

    Attributes:
      about: in words.
      must_be_granted: nothing can be measured if the program says no.
      line: makes the next one; of isuser, each is about another name: those that wait at the same time would be asked
        as one, and one that hung a program would not be asked again for a while.
    """

    about: str
    must_be_granted: bool
    line: Callable[[], bytes] = attrs.field(repr=False)  # it may hold the password


class _Bench:
    """One run, with ever more programs."""

    def __init__(self, parsed: argparse.Namespace, settings: Settings, question: _Question) -> None:
        self._parsed = parsed
        self._settings = settings
        self._program = _program_of(settings)
        self._question = question
        self._alone = self._program.pool_max == 1
        self._most: int = parsed.max_pool or (1 if self._alone else _MOST)
        self._available = machine.available()
        self._measured: list[Sized] = []
        self._stop = Stop.MOST
        self._trouble = ""

    def run(self) -> int:
        """Measure and report; returns the exit status."""
        self._say(_filled(self._about()))
        if self._alone:
            self._say("A program that must be alone (pool_max = 1): no more are tried.", self._most == 1)
        for programs in sizing.sizes(self._most):
            if stop := self._stop_before(programs) or self._measure(programs):
                self._stop = stop
                break
        advice = None
        if self._measured:
            advice = sizing.advise(self._measured, self._stop, self._needed(), self._most == 1)
        if self._parsed.json:
            print(json.dumps(report.as_json(self._described(), self._measured, self._stop, self._trouble, advice)))
        self._conclude(advice)
        return 0 if advice is not None and advice.pool_size is not None else 1

    def _stop_before(self, programs: int) -> Stop | None:
        """Why so many programs are not even started, if so."""
        if self._measured and not sizing.fits(self._measured[-1], programs, self._available):
            return Stop.MEMORY
        return None

    def _measure(self, programs: int) -> Stop | None:
        """Measure with so many programs; returns why there are to be no more, if so."""
        bar = Bar(programs)
        try:
            measured = _load(self._sized(programs), self._job(programs), bar.show)
        finally:
            bar.end()
        if measured is None:
            return Stop.INTERRUPTED
        if measured.sized is not None:
            self._add(measured.sized)
        if measured.interrupted:
            return Stop.INTERRUPTED
        self._trouble = measured.trouble
        if measured.trouble:
            return Stop.TROUBLE
        return Stop.GROWTH if len(self._measured) > 1 and not sizing.has_grown(*self._measured[-2:]) else None

    def _add(self, sized: Sized) -> None:
        if not self._measured:
            self._say(f"\n{report.heading(bool(self._parsed.rate))}")
        self._measured.append(sized)
        for line in report.rows(sized, self._parsed.rate):
            self._say(line)

    def _sized(self, programs: int) -> Settings:
        """The settings with so many programs, and no spares, which would be more."""
        program = attrs.evolve(self._program, pool_size=programs, pool_max=programs)
        return attrs.evolve(self._settings, program=program)

    def _job(self, programs: int) -> Job:
        return Job(
            programs=programs,
            line=self._question.line,
            must_be_granted=self._question.must_be_granted,
            seconds=self._parsed.seconds,
            rate=self._parsed.rate,
            patience=self._settings.start_timeout + self._settings.answer_timeout,
        )

    def _needed(self) -> float:
        """Queries a second that are to be answered."""
        parsed = self._parsed
        return max(float(parsed.rate), float(parsed.logins_per_second) * sizing.QUESTIONS)

    def _about(self) -> str:
        memory = f", {report.memory(self._available)} of memory available" if self._available else ""
        return f"{escaped(self._program.argv[0])}: {self._question.about}; {_cpus()} CPUs{memory}"

    def _described(self) -> dict[str, Any]:
        return {
            "program": self._program.argv[0],  # its arguments may hold a secret
            "command": "auth" if self._question.must_be_granted else "isuser",
            "cpus": _cpus(),
            "memory_available_bytes": self._available,
            "rate": self._parsed.rate or None,
            "logins_per_second": self._parsed.logins_per_second or None,
            "queries_needed_per_second": self._needed() or None,
        }

    def _conclude(self, advice: sizing.Advice | None) -> None:
        if self._trouble:
            which = f"with {self._most_tried()} programs: " if self._measured else ""
            print(f"extauth-bridge: {escaped(self._program.argv[0])}: {which}{escaped(self._trouble)}", file=sys.stderr)
        if advice is None:
            if self._stop is Stop.INTERRUPTED:
                print("extauth-bridge: interrupted before anything was measured", file=sys.stderr)
            return
        size = "No pool_size is recommended." if advice.pool_size is None else f"pool_size = {advice.pool_size}"
        self._say(f"\n{size}")
        first, *others = advice.sentences
        for sentence in (f"{self._assumed()}{first}", *others, *self._doubts()):
            self._say(_filled(sentence, "  "))

    def _most_tried(self) -> int:
        return min(2 * self._measured[-1].programs, self._most)

    def _assumed(self) -> str:
        """What is taken for granted about the queries that are needed."""
        if not self._needed():
            return ""
        if self._needed() == self._parsed.rate:
            return f"For {sizing.number(self._parsed.rate)} queries a second: "
        alike = "" if self._question.must_be_granted else " as quick as this one"
        return (
            f"For {sizing.number(self._parsed.logins_per_second)} logins a second, each an auth and an isuser{alike}: "
        )

    def _doubts(self) -> Iterator[str]:
        """What makes the result less certain."""
        if self._stop is Stop.INTERRUPTED:
            yield "This is from what was measured until it was interrupted."
        if not self._question.must_be_granted:
            if any(sized.closed.granted for sized in self._measured):
                yield "The program says that users exist whom nobody has: perhaps it looks nobody up."
            yield "An auth may take longer than an isuser (password hashes): --account USER@HOST measures one."

    def _say(self, line: str, really: bool = True) -> None:
        if really and not self._parsed.json:
            print(line, flush=True)


def _filled(text: str, indent: str = "") -> str:
    """Text in lines that fit the terminal, if there is one."""
    width = min(_WIDTH, shutil.get_terminal_size((_WIDTH, 0)).columns)
    return textwrap.fill(text, width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)


def _load(settings: Settings, job: Job, show: Callable[[str, float], None]) -> Load | None:
    """Measure one pool; `None` if interrupted before it could begin."""
    from bridge.daemon.service import Service  # late: it brings trio

    loads: list[Load] = []
    try:
        with running(settings, hang_up_ends=True) as process:

            def connect(over: Callable[[], None]) -> Client:
                loads.append(Load(job, process.poolset, over, show))
                return loads[0]

            Service(process, lambda: settings, on_terminal=True).run(connect)
    except SystemExit:  # a signal came before the service handled any
        return None
    return loads[0]


def _chosen(settings: Settings, arguments: Arguments) -> tuple[Settings, _Question]:
    """The settings with only the program to be measured, and what to ask it.

    Raises:
      UsageError: it cannot be told which, or it may not be asked.
    """
    for name in ("pool_size", "pool_max"):
        if name in arguments.options:
            raise UsageError(f"{option(name)} is what is to be found out: give --max-pool N for the most to be tried")
    account: str = arguments.parsed.account
    user, at, host = account.rpartition("@")
    if account and not (user and at and host):
        raise UsageError(f"{account!r} is not of the form USER@HOST")
    program, host = _program_and_host(settings, host or arguments.parsed.host)
    question = _auth(user, host) if account else _isuser(host)
    if refusal := program.checks(settings.allow_empty_password)(question.line()):
        hint = "" if account else " (with --account, auth is asked)"
        raise UsageError(f"the query would be refused: {refusal.value}{hint}")
    log = attrs.evolve(settings.log, verdicts="none")  # ours are nobody's logins, and thousands a second
    return attrs.evolve(settings, program=program, hosts={}, log=log), question


def _program_and_host(settings: Settings, host: str) -> tuple[ProgramSettings, str]:
    program = settings.program
    if program is None and not host and len(settings.hosts) == 1:
        (host,) = settings.hosts
    program = settings.hosts.get(host.lower(), program)
    if program is None:
        raise UsageError(f"give --host with one of {', '.join(settings.hosts)}: each has a program of its own")
    return program, host or program.probe.rpartition("@")[2] or "localhost"


def _program_of(settings: Settings) -> ProgramSettings:
    if settings.program is None:
        raise AssertionError("`_chosen` has chosen one")
    return settings.program


def _isuser(host: str) -> _Question:
    """About names that nobody has."""
    nobody, numbers = f"bench-{os.urandom(8).hex()}", itertools.count(1)

    def line() -> bytes:
        return f"isuser:{nobody}-{next(numbers)}:{host}".encode(errors="surrogateescape")

    return _Question(f"isuser of names that nobody has at {escaped(host)}", False, line)


def _auth(user: str, host: str) -> _Question:
    query = f"auth:{user}:{host}:{read_password(f'{user}@{host}')}".encode(errors="surrogateescape")
    return _Question(f"auth of {escaped(f'{user}@{host}')}", True, lambda: query)


def _cpus() -> int:
    return len(os.sched_getaffinity(0))


def _between(low: float, high: float, whole: bool = False) -> Callable[[str], float]:
    """A kind of option: a number, above `low` if that is 0."""

    def number(text: str) -> float:
        try:
            value = int(text) if whole else float(text)
        except ValueError:
            value = math.nan
        if not (low <= value <= high) or value == 0:
            above = "above 0, at most" if low == 0 else f"from {low:g} to"
            raise argparse.ArgumentTypeError(f"{text!r} is not a {'whole ' * whole}number {above} {high:g}")
        return value

    return number


def _arguments(argv: Sequence[str]) -> Arguments:
    parser = Parser(
        "bench",
        "[FILE] [options] [-- PROGRAM ARG...]",
        "Measure how many queries a program answers: with 1, 2, 4, ... of it, until more of them answer hardly more.  "
        "It is asked whether a user exists whom nobody has, or, with --account, to log in.",
        "^C ends it with what was measured so far.  Exit status: 0 with a recommendation, 1 if the program cannot be "
        "used, 2 usage or configuration.",
    )
    rate = _between(0, _FASTEST)
    for name, kind, default, metavar, text in (
        ("--max-pool", _between(1, 1024, whole=True), 0, "N", f"the most programs to try ({_MOST}; 1 if pool_max is)"),
        ("--seconds", _between(0, 3600), _SECONDS, "S", f"of each measurement, or until 200 answers ({_SECONDS:g})"),
        ("--rate", rate, 0.0, "N", "ask N queries a second besides, whether those before are answered or not"),
        ("--logins-per-second", rate, 0.0, "N", "recommend a pool_size for so many logins a second"),
        ("--account", str, "", "USER@HOST", "ask auth; the password is prompted for, or read from standard input"),
        ("--host", str, "", "HOST", "the domain to ask about, and whose program is measured"),
    ):
        parser.add_argument(name, type=kind, default=default, metavar=metavar, help=text)
    parser.add_argument("--json", action="store_true", help="print one JSON object, for scripts")
    return Arguments(parser, argv)
