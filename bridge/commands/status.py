"""`extauth-bridge status [SOCKET]`: what the daemon is doing, for people, for monitoring, and for scripts."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

from bridge.commands.cli import Parser, UsageError
from bridge.commands.health import CRITICAL, NAMES, OK, UNKNOWN, WARNING, health
from bridge.commands.prometheus import exposition
from bridge.commands.statussocket import FOLDER, SOCKET, Unreadable, found, none_found, not_understood, read
from bridge.commands.statustext import text
from bridge.terminal.takeover import ProgramTerminal

_PAUSE = 1.0
"""Seconds from one look to the next."""

_COLOURS = {OK: "32", WARNING: "33", CRITICAL: "31", UNKNOWN: "35"}

Pages = Mapping[str, "dict[str, Any] | Unreadable"]


def main(argv: Sequence[str], taken: ProgramTerminal | None) -> int:
    """Print the status.

    Returns:
      exit status, as monitoring plugins have it: 0 well, 1 warning, 2 critical, 3 cannot tell.
    """
    del taken
    try:
        options = _parser().parse_args(argv)
        look = _Looks(options.socket, "json" if options.json else "prometheus" if options.prometheus else "text")
        return _watch(look) if options.watch else _print(look)
    except (UsageError, Unreadable) as error:
        print(f"{NAMES[UNKNOWN]}: {error}")
    except BrokenPipeError:  # whoever read it has seen enough; Python is not to try again while it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return UNKNOWN


class _Looks:
    """Looks at one daemon, or at all that systemd's units have.

    Args:
      path: of the socket; `None` for those of the units.
      form: json, prometheus or text.
    """

    def __init__(self, path: str | None, form: str) -> None:
        self._path = path
        self._form = form
        self._before: Pages = {}
        self.state = UNKNOWN

    def told(self) -> str:
        """What there is to tell now.

        Raises:
          Unreadable: there is no socket.
        """
        pages = self._pages()
        states = [UNKNOWN if isinstance(page, Unreadable) else health(page)[0] for page in pages.values()]
        self.state = max(states, key=(OK, WARNING, UNKNOWN, CRITICAL).index)
        before, self._before = self._before, pages
        if self._form == "json":
            return "".join(f"{json.dumps(_or_error(page))}\n" for page in pages.values())
        if self._form == "prometheus":
            return exposition({name: page if isinstance(page, dict) else None for name, page in pages.items()})
        several = len(pages) > 1
        parts = (_part(name if several else None, page, before.get(name)) for name, page in pages.items())
        return "\n".join(parts)

    def _pages(self) -> Pages:
        sockets = {"": self._path} if self._path is not None else found()
        if not sockets:
            raise Unreadable(none_found())
        return {name: _page(path) for name, path in sockets.items()}


def _page(path: str) -> dict[str, Any] | Unreadable:
    """What the daemon says, if it can be told in every form: no field is missing, none holds what it cannot."""
    try:
        page = read(path)
        exposition({"": page}).encode()
        text(page)
        json.dumps(page)
    except Unreadable as error:
        return error
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError):
        return not_understood(path)
    return page


def _or_error(page: dict[str, Any] | Unreadable) -> dict[str, Any]:
    return page if isinstance(page, dict) else {"error": str(page)}


def _part(name: str | None, page: dict[str, Any] | Unreadable, before: dict[str, Any] | Unreadable | None) -> str:
    """One daemon for people; with its `name` if there are several."""
    title = "" if name is None else f"=== {name or 'extauth-bridge'}\n"
    if isinstance(page, Unreadable):
        return f"{title}{_coloured(UNKNOWN)}: {page}\n"
    told = text(page, before if isinstance(before, dict) else None)
    state = health(page)[0]
    return f"{title}{_coloured(state)}{told.removeprefix(NAMES[state])}"


def _coloured(state: int) -> str:
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return NAMES[state]
    return f"\x1b[1;{_COLOURS[state]}m{NAMES[state]}\x1b[0m"


def _print(look: _Looks) -> int:
    told = look.told()
    sys.stdout.write(told)
    sys.stdout.flush()
    return look.state


# --- again and again --------------------------------------------------------------------------------------


def _watch(look: _Looks) -> int:
    """Print it every second: on a terminal, in place, until q or ^C."""
    with contextlib.suppress(KeyboardInterrupt):
        if sys.stdout.isatty():
            with _screen() as is_over:
                while not is_over():
                    _show(look.told())
        else:
            while True:
                _print(look)
                time.sleep(_PAUSE)
    return look.state


def _show(told: str) -> None:
    """Put as much of it on the screen as there is room for, without flicker."""
    width, height = shutil.get_terminal_size()
    lines = told.splitlines()[: height - 1]
    shown = "\x1b[K\n".join(line if "\x1b" in line else line[:width] for line in lines)
    sys.stdout.write(f"\x1b[H{shown}\x1b[K\n\x1b[J")
    sys.stdout.flush()


@contextlib.contextmanager
def _screen() -> Generator[Callable[[], bool]]:
    """The terminal's other screen; what it yields waits, and says whether q was typed."""
    import termios
    import tty

    before = termios.tcgetattr(0) if sys.stdin.isatty() else None
    asked = False

    def is_over() -> bool:
        nonlocal asked
        wait, asked = (_PAUSE if asked else 0.0), True
        if before is None:
            time.sleep(wait)
            return False
        return bool(select.select([0], [], [], wait)[0]) and os.read(0, 1) in (b"q", b"Q", b"")

    sys.stdout.write("\x1b[?1049h\x1b[?25l")
    try:
        if before is not None:
            tty.setcbreak(0)
        yield is_over
    finally:
        if before is not None:
            termios.tcsetattr(0, termios.TCSADRAIN, before)
        sys.stdout.write("\x1b[?25h\x1b[?1049l")
        sys.stdout.flush()


def _parser() -> Parser:
    parser = Parser(
        "status",
        "[SOCKET] [--json | --prometheus] [--watch]",
        "What the daemon is doing: its programs, questions, errors, and how long answers take.",
        "Exit status, as monitoring plugins have it: 0 well; 1 warning: a refused configuration, too few programs, or "
        "within five minutes a failed program or an overload; 2 critical: a pool cannot answer; 3 cannot tell.",
    )
    parser.add_argument(
        "socket",
        nargs="?",
        metavar="SOCKET",
        help=f"status socket (default: {SOCKET} and those of the units' instances in {FOLDER})",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="the daemon's page, one line of JSON for each daemon")
    form.add_argument("--prometheus", action="store_true", help="Prometheus' text format")
    parser.add_argument("--watch", action="store_true", help="every second, until q or ^C")
    return parser
