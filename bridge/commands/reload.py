"""`extauth-bridge reload [SOCKET]`: have the running daemon read its configuration again, and wait for the outcome."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Sequence
from typing import BinaryIO

from bridge.clients.status import ASKED, IN_FORCE, NOT_ALLOWED, REFUSED, RELOAD
from bridge.commands.cli import Parser, UsageError
from bridge.commands.statussocket import SOCKET, explained
from bridge.log.text import escaped
from bridge.terminal.takeover import ProgramTerminal

_PATIENCE = 10.0
"""Seconds for the daemon to notice us: it may still have to be started.  How long the outcome takes is its to say."""

_LONGEST = 65536
"""Bytes of what it tells: far more than any reason takes."""


def main(argv: Sequence[str], taken: ProgramTerminal | None) -> int:
    """Have the configuration read again.

    Returns:
      exit status: 0 if it is in force, 1 if it was refused.

    Raises:
      UsageError: there is no daemon, or it does not reload.
    """
    del taken
    path: str = _parser().parse_args(argv).socket
    try:
        outcome, reason = _request(path)
    except OSError as error:
        raise UsageError(explained(path, error)) from None
    if outcome == REFUSED:
        print(f"extauth-bridge: refused, the old configuration stays: {escaped(reason)}", file=sys.stderr)
        return 1
    if outcome == NOT_ALLOWED:
        raise UsageError("only root and the daemon's own user may have it reload")
    if outcome != IN_FORCE:
        raise UsageError(f"{path}: the daemon was gone before it told the outcome")
    print(outcome)
    return 0


def _request(path: str) -> tuple[str, str]:
    """Request a reload; returns what became of it, and why."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.bind(RELOAD + os.urandom(8).hex().encode())
        connection.settimeout(_PATIENCE)
        try:
            connection.connect(path)
            with connection.makefile("rb") as lines:
                outcome, reason = _next(path, lines)
                connection.settimeout(None)
                return _next(path, lines) if outcome == ASKED else (outcome, reason)
        except TimeoutError:
            raise UsageError(f"{path}: no answer: the daemon hangs, or this is not its status socket") from None


def _next(path: str, lines: BinaryIO) -> tuple[str, str]:
    line = lines.readline(_LONGEST)
    if not line:
        return "", ""
    try:
        told = json.loads(line)
        return str(told["reload"]), str(told.get("reason", ""))
    except (ValueError, KeyError, TypeError, RecursionError):
        raise UsageError(f"{path}: this is not the status socket of a daemon of this version") from None


def _parser() -> Parser:
    parser = Parser(
        "reload",
        "[SOCKET]",
        "Have the running daemon read its configuration again, and wait until it is in force or refused.  "
        "It is refused if it is broken, or if one of its new programs cannot be started, ends, or does not answer "
        "the probe; everything stays as it was then.",
        "Exit status: 0 in force, 1 refused, with the reason on stderr, 2 usage, or no daemon that can be asked.",
    )
    parser.add_argument("socket", nargs="?", default=SOCKET, metavar="SOCKET", help=f"status socket ({SOCKET})")
    return parser
