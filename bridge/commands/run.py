"""`extauth-bridge run`: bridge one client on standard input and output to a pool of programs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence

from bridge.clients import stdio
from bridge.clients.lockstep import LockstepSession
from bridge.clients.pipelined import PipelinedSession
from bridge.commands.arguments import Arguments
from bridge.commands.cli import Parser, UsageError
from bridge.config.load import defaults, load
from bridge.config.settings import ConfigError, Settings
from bridge.daemon.lastresort import INTERNAL_ERROR
from bridge.daemon.process import running
from bridge.log.events import event, log
from bridge.log.setup import configure
from bridge.pool.poolset import PoolSet
from bridge.terminal.takeover import ProgramTerminal


def main(argv: Sequence[str], taken: ProgramTerminal | None) -> int:
    """Bridge until the input ends.

    Raises:
      UsageError, ConfigError: except on a program's terminal, where nobody would start us again.
    """
    with contextlib.ExitStack() as undo:
        broken: Exception | None = None
        read: Callable[[], Settings] = defaults  # every line is answered 0
        try:
            read = _reader(argv, undo)
            settings = read()
        except (UsageError, ConfigError) as error:
            if taken is None:
                raise
            broken, settings = error, defaults()
        _serve(settings, read, taken, broken)
    return 0


def _serve(
    settings: Settings, read: Callable[[], Settings], taken: ProgramTerminal | None, broken: Exception | None
) -> None:
    log_on_client = stdio.stderr_is_the_clients(taken)
    configure(settings.log, log_on_client)
    if broken is not None:
        log.error(event("every question is answered 0 until this is repaired", error=str(broken)))
    on_terminal = taken is not None or os.isatty(0)
    with running(settings, on_terminal, status=INTERNAL_ERROR if taken is None else 0) as process:
        # Late: it brings trio, and the programs start meanwhile.
        from bridge.daemon.service import Service

        def connect(over: Callable[[], None]) -> PipelinedSession | LockstepSession:
            return _session(settings, process.poolset, taken, over)

        Service(process, read, on_terminal, log_on_client).run(connect, isinstance(broken, ConfigError))


def _session(
    settings: Settings, poolset: PoolSet, taken: ProgramTerminal | None, over: Callable[[], None]
) -> PipelinedSession | LockstepSession:
    if settings.client == "lockstep" or (settings.client == "auto" and taken is not None):
        return stdio.lockstep(taken, poolset.router, poolset.reactor, over, _inform)
    if taken is not None:
        log.warning(event("a pipelined client on a program's terminal is not protected from injected lines"))
    return stdio.pipelined(taken, poolset.router, poolset.reactor, over)


def _inform(message: str, **fields: Callable[[], str]) -> None:
    log.info(event(message, **{name: field() for name, field in fields.items()}))


def _reader(argv: Sequence[str], undo: contextlib.ExitStack) -> Callable[[], Settings]:
    """A function that reads the configuration, now and at each reload.

    Raises:
      UsageError: the command line is wrong.
    """
    parser = Parser(
        "run",
        "[FILE] [options] [-- PROGRAM ARG...]",
        "Read Prosody's lines on standard input, ask a pool of programs, answer in order.",
    )
    parser.add_argument(
        "--demo", action="store_true", help="use the bundled program with alice / wonder:land at example.com"
    )
    arguments = Arguments(parser, argv)
    if not arguments.parsed.demo:
        return arguments.reader()
    if arguments.file or arguments.program:
        raise UsageError("--demo brings its own program: give no other")
    from bridge.commands.demo import demo_program

    program, environment = undo.enter_context(demo_program())
    return lambda: load(None, {**arguments.options, "env": environment}, program)
