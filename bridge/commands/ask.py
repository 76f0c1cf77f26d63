"""`extauth-bridge ask`: one question by hand, to see whether a program works and what it answers."""

from __future__ import annotations

import argparse
import resource
import sys
from collections.abc import Sequence

import attrs

from bridge.cli import Parser, UsageError, split_program
from bridge.config import ProgramSettings, Settings, add_options, load, options_from
from bridge.launch import be_a_good_parent
from bridge.log import configure
from bridge.messages import Query, Refusal, Verdict, nothing
from bridge.plant import Plant, running
from bridge.terminal import ProgramTerminal

_WITH_PASSWORD = ("auth", "setpass")
_COMMANDS = (*_WITH_PASSWORD, "isuser")


def main(argv: Sequence[str], taken: ProgramTerminal | None) -> int:
    """Ask, print the verdict; 0 if it was granted, 1 if not.

    Raises:
      UsageError, ConfigError: nothing was asked.
    """
    del taken  # its owner does not type questions
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    be_a_good_parent()
    before, program = split_program(argv)
    parsed = _parser().parse_args(before)
    user, at, host = parsed.name.rpartition("@")
    if not (user and at and host):
        raise UsageError(f"{parsed.name!r} is not of the form USER@HOST")
    settings = _one_of_each(load(parsed.file, options_from(parsed), program))
    configure(settings.log, client_terminal=False)
    fields = [parsed.command, user, host]
    if parsed.command in _WITH_PASSWORD:
        fields.append(_password(parsed.name))
    return _ask(settings, ":".join(fields).encode(errors="surrogateescape"))


def _ask(settings: Settings, line: bytes) -> int:
    with running(settings, hang_up_ends=True) as plant:
        question = _Question(plant)

        from bridge.service import Service  # brings trio: after the program's start

        Service(plant, lambda: settings, on_terminal=True).run(question.put(line))
    refused = [refusal for refusal, count in plant.exchange.refused.items() if count]
    if question.verdict is Verdict.GRANTED:
        print("granted")
        return 0
    print("denied" if question.verdict is Verdict.DENIED and not refused else "unavailable")
    if refused:
        print(f"extauth-bridge: not asked: {refused[0].value}", file=sys.stderr)
    elif question.verdict is Verdict.UNAVAILABLE:
        seconds = f"{settings.answer_timeout:g}"
        print(f"extauth-bridge: no answer within {seconds} seconds, or no program", file=sys.stderr)
    return 1


class _Question:
    """The client of a service that asks just once."""

    def __init__(self, plant: Plant) -> None:
        self._plant = plant
        self.verdict = Verdict.UNAVAILABLE
        self.over = nothing

    def put(self, line: bytes) -> _Question:
        """Ask as soon as the switchboard turns."""
        self._line = line
        self._plant.board.afterwards(self._put)
        return self

    def settled(self, query: Query) -> None:
        """The verdict; the service may stop now."""
        self.verdict = query.verdict
        self.over()

    def _put(self) -> None:
        line = self._line if b"\n" not in self._line else Refusal.CONTROL
        (query,) = self._plant.exchange.ask([line], self)
        if query.settled:
            self.settled(query)

    def reconfigure(self, settings: Settings) -> None:
        """One question has no use for new limits."""

    def stop(self) -> None:
        """Interrupted: the verdict stays unavailable."""
        self.over()

    abort = stop

    def close(self) -> None:
        """Nothing was opened."""


def _one_of_each(settings: Settings) -> Settings:
    """One program is enough for one question."""

    def single(program: ProgramSettings) -> ProgramSettings:
        return attrs.evolve(program, pool_size=1)

    program = single(settings.program) if settings.program is not None else None
    return attrs.evolve(
        settings, program=program, hosts={host: single(program) for host, program in settings.hosts.items()}
    )


def _password(name: str) -> str:
    """Prompted for on a terminal, else the first line of standard input."""
    if sys.stdin.isatty():
        import getpass

        return getpass.getpass(f"Password of {name}: ")
    line = sys.stdin.buffer.readline()
    return line.removesuffix(b"\n").removesuffix(b"\r").decode(errors="surrogateescape")


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="extauth-bridge ask",
        usage="extauth-bridge ask auth|isuser|setpass USER@HOST [FILE] [options] [-- PROGRAM ARG...]",
        description="Ask one question. The password is prompted for, or read as one line from standard input.",
        epilog="Prints granted, denied or unavailable. Exit status: 0 granted, 1 not, 2 usage or configuration.",
        allow_abbrev=False,
    )
    parser.add_argument("command", choices=_COMMANDS, help="what to ask")
    parser.add_argument("name", metavar="USER@HOST", help="about whom")
    parser.add_argument("file", nargs="?", metavar="FILE", help="configuration file (TOML)")
    add_options(parser)
    return parser
