"""What the command `extauth-bridge` starts with.  The terminal first; everything else is imported after it."""

from __future__ import annotations

import sys

from bridge.terminal import takeover


def main() -> int:
    """Run the command line; returns the exit status, which is always 0 on a program's terminal."""
    taken = takeover.take()
    try:
        _leave_no_core_file()
        status = _relayed(sys.argv[1:], taken)
        if status is None:
            from bridge.commands.cli import dispatch

            status = dispatch(sys.argv[1:], taken)
    except BaseException as error:
        status = _status_of(error)
    return status if taken is None else 0


def _relayed(argv: list[str], taken: takeover.ProgramTerminal | None) -> int | None:
    """Be a relay if that is what the command line or the file on it says, before anything slow is imported.

    Returns:
      the exit status; `None`, at once, if it is something else that is to be done.
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
        pass  # it is for a relay, and is read again there: what to do about it depends on who is listening
    from bridge.relay.relay import relay

    return relay(lambda: read_again(files[0]), taken)


def _leave_no_core_file() -> None:
    """It would hold passwords; those of programs, which inherit this, too."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _status_of(error: BaseException) -> int:
    """No traceback ever reaches a user: it could hold a password."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 0
    if isinstance(error, KeyboardInterrupt):
        return 130
    from bridge.log.events import describe, event, log

    log.critical(event("internal error, please report it", error=describe(error)))
    return 70
