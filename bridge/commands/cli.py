"""Dispatches to the commands of `extauth-bridge`, each in its own module, imported when it is used."""

from __future__ import annotations

import argparse
import importlib
import os
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from bridge.config.settings import ConfigError
from bridge.terminal.takeover import ProgramTerminal
from bridge.worker.spawn import prepare_for_children

COMMANDS = {
    "run": "bridge a client on stdin and stdout, as `extauth-bridge FILE`",
    "serve": "the shared daemon: bridge many clients on Unix sockets",
    "connect": "relay a client on stdin and stdout to the shared daemon",
    "check": "does a program speak the protocol, and where does it deviate?",
    "ask": "ask a program, or the daemon, one question by hand",
    "status": "what the daemon is doing: for people, monitoring and scripts",
    "bench": "measure how fast a program is, and which pool_size it needs",
    "reload": "have the daemon read its file again, and wait for the outcome",
    "setup": "as root: set up, or remove, the daemon and Prosody's module",
    "prosody-module": "install our own module for Prosody, which needs no terminal",
    "completion": "print what makes bash, zsh or fish complete this command",
    "help": "show the manual page of a command, or of another TOPIC",
}

GROUPS = {
    "to serve Prosody": ("run", "serve", "connect"),
    "to see what it does": ("ask", "status", "check", "bench", "reload"),
    "to install it": ("setup", "prosody-module", "completion", "help"),
}
"""The order in which the help shows them."""

USAGE = 2


class UsageError(Exception):
    """The command line is wrong.  The text is one line for the user."""


class HelpRequested(Exception):
    """A command's help is wanted.

    Attributes:
      parser: of the command, complete.
    """

    def __init__(self, parser: Parser) -> None:
        super().__init__()
        self.parser = parser


class _HelpFormatter(argparse.HelpFormatter):
    """Breaks no word at its hyphens: they are options, paths and commands, to be copied."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        import textwrap  # late, as argparse does: it is needed for help only

        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n".join(indent + line for line in self._split_lines(text, width - len(indent)))


class Parser(argparse.ArgumentParser):
    """Raises UsageError or HelpRequested instead of printing and exiting.

    Args:
      usage: what follows the command's name.
    """

    def __init__(self, command: str, usage: str, description: str, epilog: str = "") -> None:
        name = f"extauth-bridge {command}"
        super().__init__(
            name, f"{name} {usage}", description, epilog, allow_abbrev=False, formatter_class=_HelpFormatter
        )

    def print_help(self, file: object = None) -> NoReturn:
        raise HelpRequested(self)

    def error(self, message: str) -> NoReturn:
        # Only the name of an unknown option: its value, or the word behind it, may be a password.
        message = re.sub(r"(unrecognized arguments:(?: .*?)? -[^ =]+)[ =].*", r"\1", message, flags=re.DOTALL)
        raise UsageError(f"{message}{self._meant(message)} (see {self.prog} --help)")

    def _meant(self, message: str) -> str:
        """What may have been meant by the unknown option, or the unknown word, that argparse complains about."""
        if options := re.fullmatch(r"unrecognized arguments:(?: .*?)? (-[^ =]+).*", message, re.DOTALL):
            return did_you_mean(options[1], self._option_string_actions)
        if choice := re.search(r"invalid choice: '(.*)' \(choose from (.*)\)", message):
            return did_you_mean(choice[1], re.findall(r"[\w-]+", choice[2]))
        return ""


def did_you_mean(typed: str, known: Iterable[str]) -> str:
    """The nearest of `known` as the end of a sentence, a question; empty if none is near."""
    from difflib import get_close_matches  # late: it is seldom needed

    near = get_close_matches(typed, [*known], 1)
    return f"; did you mean {near[0]}?" if near else ""


def say(text: str, end: str = "\n") -> None:
    """Print `text`.  A reader that does not want all of it is no error.

    Raises:
      UsageError: it cannot be written.
    """
    try:
        print(text, end=end, flush=True)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python tries again when it ends, and complains
        if not isinstance(error, BrokenPipeError):
            raise UsageError(f"cannot write: {error.strerror}") from None


def dispatch(argv: Sequence[str], taken: ProgramTerminal | None) -> int:
    """Run the command that `argv` names.

    Args:
      taken: standard input, if it is a program's terminal.

    Returns:
      exit status: 0 done, 1 the answer was no, 2 usage or configuration.
    """
    name, *rest = argv or ["--help"]
    try:
        if name in ("-h", "--help", "-V", "--version") and taken is None:
            say(_help() if "h" in name else _version())
            return 0 if argv else USAGE
        if name not in COMMANDS:
            if taken is None:
                _check_file(name)
            name, rest = "run", list(argv)
        module: Any = importlib.import_module(module_of(name))
        prepare_for_children()
        return _main(module, rest, taken)
    except (UsageError, ConfigError) as error:
        print(f"extauth-bridge: {error}", file=sys.stderr)
        return USAGE


def _main(module: Any, argv: Sequence[str], taken: ProgramTerminal | None) -> int:
    try:
        return int(module.main(argv, taken))
    except HelpRequested as wanted:
        if taken is None:
            say(wanted.parser.format_help().rstrip("\n"))
        return 0


def _check_file(name: str) -> None:
    """Raise UsageError if what is not a command is no file either, and may have been meant to be a command."""
    if re.fullmatch(r"[a-z-]*[a-z]", name) and not name.startswith("-") and not os.path.exists(name):
        meant = did_you_mean(name, COMMANDS)
        raise UsageError(f"{name} is neither a command nor a file{meant} (see extauth-bridge --help)")


def module_of(command: str) -> str:
    """The module that holds a command's `main`."""
    return f"bridge.commands.{command.replace('-', '')}"


def _version() -> str:
    from bridge import __version__

    return f"extauth-bridge {__version__}"


def _help() -> str:
    width = max(map(len, COMMANDS))
    named = {name for names in GROUPS.values() for name in names}
    groups = {**GROUPS, "besides": [name for name in COMMANDS if name not in named]}
    lines = [f"{_version()}: authentication programs for Prosody, ejabberd's too", ""]
    lines += ["usage: extauth-bridge FILE", "       extauth-bridge COMMAND ..."]
    for title, names in groups.items():
        if there := [name for name in names if name in COMMANDS]:
            lines += ["", f"{title}:", *(f"  {name:{width}}  {COMMANDS[name]}" for name in there)]
    lines += ["", "See `extauth-bridge COMMAND --help` for more; `run --help-all` has all settings."]
    return "\n".join(lines)
