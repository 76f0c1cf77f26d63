"""Entry point of `extauth-bridge`: takes over the terminal first, and only then imports everything else."""

from __future__ import annotations

import gc
import os
import sys

from bridge.terminal import takeover

_COLLECT_AFTER = 20_000
"""Net allocations before the garbage collector looks for cycles.  Neither an import nor a query creates any; at the
default of 700 the collector would slow down the start by 2 ms, and run for every few hundred lines in flight."""

_OLDER_AFTER = 2
"""Collections after which it also looks among what has outlived one, and then among all.  Replaced pools and programs
are cycles, and have lived long: at the default of 10 they would be kept until 2 million more allocations, and memory
grow for weeks.  It takes a few milliseconds, and is left out until a quarter of what lives long is new."""

_FEWEST = 40
"""Descriptors without which no command is begun: the reserve that starting a program requires, and what is open by
then.  A limit so low is a mistake; above it, only a program's start and a client's connection can find none left."""


def main() -> int:
    """Run the command line.

    Returns:
      the exit status, always 0 on a program's terminal.
    """
    if os.getpid() == 1 and sys.argv[1:2] != ["ask"]:  # whose 0 would be a yes
        takeover.exit_0_on_sigterm()  # the kernel drops what PID 1 does not handle
    taken = takeover.take()
    gc.set_threshold(_COLLECT_AFTER, _OLDER_AFTER, _OLDER_AFTER)
    try:
        if reason := takeover.shortage(_FEWEST):
            status = _refuse(reason, taken)
        else:
            _disable_core_files()
            status = _run(sys.argv[1:], taken)
    except BaseException as error:
        status = _status_of(error)
    return _printed(status) if taken is None else 0


def _run(argv: list[str], taken: takeover.ProgramTerminal | None) -> int:
    status = _relayed(argv, taken)
    if status is not None:
        return status
    from bridge.commands.cli import dispatch

    return dispatch(argv, taken)


def _refuse(reason: str, taken: takeover.ProgramTerminal | None) -> int:
    """Say why nothing can be done; on a program's terminal, stay and answer 0 until the client is gone, and exit.

    Returns:
      the exit status.
    """
    if taken is None:
        os.write(2, f"extauth-bridge: {reason}\n".encode())
        return 2
    try:
        _disable_core_files()
        from bridge.log.events import event, log
        from bridge.log.setup import configure
        from bridge.relay.settings import LogChoice

        configure(LogChoice(), client_terminal=2 in taken.held)
        log.error(event("every question is answered 0 until this is repaired", error=reason))
    except (OSError, ImportError):
        pass  # not even enough for that
    taken.refuse_all()
    os._exit(0)  # at once: while Python ends, the SIGHUP that comes now would kill it


def _relayed(argv: list[str], taken: takeover.ProgramTerminal | None) -> int | None:
    """Run as a relay if the command line or its file says so, before anything slow is imported.

    Returns:
      the exit status; `None`, at once, for any other command.
    """
    if argv[:1] == ["connect"]:
        from bridge.commands.connect import main as connect

        return connect(argv[1:], taken)
    files = argv[1:] if argv[:1] == ["run"] else argv
    if len(files) != 1 or files[0].startswith("-"):
        return None
    from bridge.relay.settings import RelayConfigError, read, read_again

    try:
        if read(files[0]) is None:
            return None
    except RelayConfigError:
        pass  # a relay's file; the relay reads it again and decides, depending on its client, what to do
    from bridge.relay.relay import relay

    return relay(lambda: read_again(files[0]), taken)


def _disable_core_files() -> None:
    """A core file would hold passwords.  Programs inherit the limit, so theirs are covered too."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _printed(status: int) -> int:
    """Write what was printed and is still in Python's buffer; returns the exit status.

    Otherwise Python does that when it ends, and complains in words of its own if it cannot.
    """
    if sys.stdout is None:  # closed
        return status
    try:
        sys.stdout.flush()
    except OSError as error:
        return _not_printed(error) or status
    return status


def _not_printed(error: OSError) -> int:
    """Say that standard output cannot be written, unless its reader just does not want all of it; return the status."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    if isinstance(error, BrokenPipeError):
        return 0
    os.write(2, f"extauth-bridge: cannot write: {error.strerror}\n".encode())
    return 2


def _is_about_output(error: BaseException) -> bool:
    """Whether it was raised by `print`: no reader is left, or the disk is full."""
    import errno

    if isinstance(error, BrokenPipeError):
        import select

        poll = select.poll()
        poll.register(1, 0)
        return bool(poll.poll(0))
    return isinstance(error, OSError) and error.filename is None and error.errno == errno.ENOSPC


def _status_of(error: BaseException) -> int:
    """The exit status for an error.  No traceback is ever shown: it could hold a password."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 0
    if isinstance(error, KeyboardInterrupt):
        return 130
    if isinstance(error, OSError) and _is_about_output(error):
        return _not_printed(error)
    from bridge.log.events import describe, event, log

    log.critical(event("internal error, please report it", error=describe(error)))
    return 70
