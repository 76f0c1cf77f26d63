"""What the command `extauth-bridge` starts with.  The terminal first; everything else is imported after it."""

from __future__ import annotations

import sys

from bridge import terminal


def main() -> int:
    """Run the command line; returns the exit status, which is always 0 on a program's terminal."""
    taken = terminal.take()
    try:
        status = _relayed(sys.argv[1:], taken)
        if status is None:
            from bridge.cli import dispatch

            status = dispatch(sys.argv[1:], taken)
    except BaseException as error:
        status = _status_of(error)
    return status if taken is None else 0


def _relayed(argv: list[str], taken: terminal.ProgramTerminal | None) -> int | None:
    """Be a relay if that is what the command line or the file on it says, before anything slow is imported."""
    if argv[:1] == ["connect"]:
        from bridge.relay import main as connect

        return connect(argv[1:], taken)
    files = argv[1:] if argv[:1] == ["run"] else argv
    if len(files) != 1 or files[0].startswith("-"):
        return None
    from bridge.relayfile import relay_file

    return relay_file(files[0], taken)


def _status_of(error: BaseException) -> int:
    """No traceback ever reaches a user: it could hold a password."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 0
    if isinstance(error, KeyboardInterrupt):
        return 130
    from bridge.log import describe, event, log

    log.critical(event("internal error, please report it", error=describe(error)))
    return 70
