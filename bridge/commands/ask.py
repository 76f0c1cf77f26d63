"""`extauth-bridge ask`: ask a program or the running daemon one question by hand."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Callable, Sequence

import attrs

from bridge.commands.arguments import Arguments
from bridge.commands.cli import Parser, UsageError, say
from bridge.commands.password import read_password
from bridge.config.load import defaults, load
from bridge.config.options import option
from bridge.config.settings import ProgramSettings, Settings
from bridge.daemon.process import running
from bridge.log.events import event, log
from bridge.log.setup import configure
from bridge.log.text import escaped
from bridge.pool.poolset import DEFAULT, PoolSet
from bridge.protocol.checks import Checks
from bridge.protocol.lines import MAX_LINE
from bridge.protocol.query import Query, Refusal, Verdict
from bridge.relay.oneshot import ask_once
from bridge.relay.settings import RelayConfigError, RelaySettings, read
from bridge.terminal.takeover import ProgramTerminal

_WITH_PASSWORD = ("auth", "setpass")
_NOBODY = "whom to ask? Give the daemon's socket, such as /run/extauth-bridge/auth.sock, a FILE, or -- PROGRAM"
_COMMANDS = (*_WITH_PASSWORD, "isuser")


def main(argv: Sequence[str], taken: ProgramTerminal | None) -> int:
    """Ask, and print the verdict.

    Returns:
      exit status: 0 if it was granted, 1 if not.

    Raises:
      UsageError, ConfigError: nothing was asked.
    """
    del taken  # whoever owns such a terminal types no questions
    arguments = _arguments(argv)
    command, name = arguments.parsed.command, arguments.parsed.name
    _check(name)
    daemon = _daemon(arguments)
    if daemon is not None:
        return _ask_daemon(daemon, _line(command, name))
    if not (arguments.file or arguments.program or arguments.options.keys() & {"program", "hosts"}):
        raise UsageError(_NOBODY)
    settings = _one_of_each(load(arguments.file, arguments.options, arguments.program))
    return _ask(settings, _line(command, name))


def _check(name: str) -> None:
    """Raise UsageError if the name cannot be sent."""
    user, at, host = name.rpartition("@")
    if not (user and at and host):
        raise UsageError(f"{name!r} is not of the form USER@HOST, such as alice@example.com")
    if ":" in name:
        raise UsageError(f"{name!r} holds a colon, which ends a name in the protocol")


def _line(command: str, name: str) -> bytes:
    """The line to ask, password included.

    Raises:
      UsageError: the passwords typed differ.
    """
    user, _, host = name.rpartition("@")
    fields = [command, user, host]
    if command in _WITH_PASSWORD:
        fields.append(read_password(name, new=command == "setpass"))
    return ":".join(fields).encode(errors="surrogateescape")


def _ask(settings: Settings, line: bytes) -> int:
    configure(settings.log, client_terminal=False)
    with running(settings, hang_up_ends=True) as process:
        from bridge.daemon.service import Service  # late: it brings trio, and the program starts meanwhile

        verdicts: list[Verdict] = []
        failures: list[str] = []

        def told(verdict: Verdict) -> None:
            verdicts.append(verdict)
            failures.append(_failure(process.poolset, line))  # now: later, programs fail because we end

        def connect(over: Callable[[], None]) -> _Question:
            return _Question(line, process.poolset, told, over)

        Service(process, lambda: settings, on_terminal=True).run(connect)
    refused = [refusal for refusal, count in process.poolset.router.refused.items() if count]
    if refused:
        return _refused(refused[0])
    why = f"no answer within {settings.answer_timeout:g} seconds, the program's start included"
    why += ": `extauth-bridge check` finds out more"
    return _told(verdicts[0] if verdicts else Verdict.UNAVAILABLE, next(filter(None, failures), why))


def _failure(poolset: PoolSet, line: bytes) -> str:
    """Why the program that serves this line's host failed last, if it did."""
    host = line.split(b":")[2].decode(errors="surrogateescape")
    pool = poolset.pools.get(host.lower()) or poolset.pools.get(DEFAULT)
    return f"{escaped(pool.program.argv[0])}: {pool.last_failure}" if pool is not None and pool.last_failure else ""


def _ask_daemon(daemon: RelaySettings, line: bytes) -> int:
    # Do not send what the daemon would refuse anyway: a line with another inside would be two.
    refusal = Checks(_COMMANDS, allow_empty_password=True)(line)
    if refusal is None and len(line) > daemon.max_line:
        refusal = Refusal.LENGTH
    return _told(*ask_once(daemon, line)) if refusal is None else _refused(refusal)


def _told(verdict: Verdict, why: str) -> int:
    """Print the verdict and, if it is unavailable, why.

    Returns:
      the exit status.
    """
    say(verdict.value)
    if verdict is Verdict.UNAVAILABLE:
        print(f"extauth-bridge: {why}", file=sys.stderr)
    return 0 if verdict is Verdict.GRANTED else 1


def _refused(refusal: Refusal) -> int:
    return _told(Verdict.UNAVAILABLE, f"not asked: {refusal.value}")


def _daemon(arguments: Arguments) -> RelaySettings | None:
    """The daemon to ask, if FILE is its socket or a relay's configuration; else `None`.

    Raises:
      UsageError: such a file cannot be used, or options for programs are given with it.
    """
    if arguments.file is None:
        return None
    try:
        daemon = _on_socket(arguments.file) or read(arguments.file)
    except RelayConfigError as error:
        raise UsageError(str(error)) from None
    if daemon is None:
        return None
    strange = [option(name) for name in arguments.options if name != "answer_timeout"]
    if arguments.program or strange:
        what = strange[0] if strange else "-- PROGRAM"
        raise UsageError(f"{what} does not apply to the daemon, which has its own: only --answer-timeout may be given")
    if arguments.options:
        daemon.answer_timeout = defaults(arguments.options).answer_timeout
    return daemon


def _on_socket(path: str) -> RelaySettings | None:
    with contextlib.suppress(OSError, ValueError):
        if stat.S_ISSOCK(os.stat(path).st_mode):
            settings = RelaySettings(path)
            settings.max_line = MAX_LINE
            return settings
    return None


class _Question:
    """A service's client that asks just once.

    Args:
      told: called with the verdict, unless interrupted before there is one.
      over: called when the service may stop.
    """

    def __init__(
        self, line: bytes, poolset: PoolSet, told: Callable[[Verdict], None], over: Callable[[], None]
    ) -> None:
        self._line = line
        self._router = poolset.router
        self._told = told
        self._over = over
        poolset.reactor.call_soon(self._put)

    def settled(self, query: Query) -> None:
        """Pass on the verdict, and let the service stop."""
        if query.verdict is not None:
            self._told(query.verdict)
        self._over()

    def failed(self, error: Exception) -> None:
        """Stop without a verdict."""
        log.error(event("internal error, please report it", error=error))
        self._over()

    def _put(self) -> None:
        line = self._line if b"\n" not in self._line else Refusal.CONTROL
        (query,) = self._router.ask([line], self)
        if query.settled:
            self.settled(query)

    def reconfigure(self, settings: Settings) -> None:
        """Nothing to do: the question has been asked."""

    def stop(self) -> None:
        """Interrupted: stop without a verdict."""
        self._over()

    abort = stop

    def close(self) -> None:
        """Nothing to close."""


def _one_of_each(settings: Settings) -> Settings:
    """The settings with one program per pool, enough for one question."""

    def single(program: ProgramSettings) -> ProgramSettings:
        return attrs.evolve(program, pool_size=1, pool_max=1)

    program = single(settings.program) if settings.program is not None else None
    return attrs.evolve(
        settings, program=program, hosts={host: single(program) for host, program in settings.hosts.items()}
    )


def _arguments(argv: Sequence[str]) -> Arguments:
    parser = Parser(
        "ask",
        "auth|isuser|setpass USER@HOST [FILE | SOCKET] [options] [-- PROGRAM ARG...]",
        "Ask one question. The password is prompted for, or read as one line from standard input.",
        "Prints granted, denied or unavailable. Exit status: 0 granted, 1 not, 2 usage or configuration.",
    )
    parser.add_argument("command", choices=_COMMANDS, help="what to ask")
    parser.add_argument("name", metavar="USER@HOST", help="about whom")
    return Arguments(parser, argv, "configuration file (TOML), or the daemon's socket")
