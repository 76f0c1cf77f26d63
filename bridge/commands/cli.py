"""Dispatches to the commands of `extauth-bridge`, each in its own module, imported when it is used."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import NoReturn

from bridge.config.settings import ConfigError
from bridge.terminal.takeover import ProgramTerminal
from bridge.worker.spawn import prepare_for_children

COMMANDS = {
    "run": "bridge a client on standard input and output; what `extauth-bridge FILE` does",
    "serve": "the shared daemon: bridge many clients on Unix sockets",
    "connect": "relay a client on standard input and output to the shared daemon",
    "ask": "ask a program, or the daemon, one question by hand",
    "reload": "have the daemon read its configuration again, and wait for the outcome",
    "prosody-module": "install our own module for Prosody, which needs no terminal",
    "help": "show the manual page of a command, or of another TOPIC",
}

USAGE = 2


class UsageError(Exception):
    """The command line is wrong.  The text is one line for the user."""


class Parser(argparse.ArgumentParser):
    """Raises UsageError instead of printing the usage and exiting.

    Args:
      usage: what follows the command's name.
    """

    def __init__(self, command: str, usage: str, description: str, epilog: str = "") -> None:
        name = f"extauth-bridge {command}"
        super().__init__(name, f"{name} {usage}", description, epilog, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see {self.prog} --help)")


def dispatch(argv: Sequence[str], taken: ProgramTerminal | None) -> int:
    """Run the command that `argv` names.

    Args:
      taken: standard input, if it is a program's terminal.

    Returns:
      exit status: 0 done, 1 the answer was no, 2 usage or configuration.
    """
    name, *rest = argv or ["--help"]
    if name in ("-h", "--help", "-V", "--version") and taken is None:
        print(_help() if "h" in name else _version())
        return 0 if argv else USAGE
    if name not in COMMANDS:
        name, rest = "run", list(argv)
    module = importlib.import_module(module_of(name))
    prepare_for_children()
    try:
        return int(module.main(rest, taken))
    except (UsageError, ConfigError) as error:
        print(f"extauth-bridge: {error}", file=sys.stderr)
        return USAGE


def module_of(command: str) -> str:
    """The module that holds a command's `main`."""
    return f"bridge.commands.{command.replace('-', '')}"


def _version() -> str:
    from bridge import __version__

    return f"extauth-bridge {__version__}"


def _help() -> str:
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:{width}}  {text}" for name, text in COMMANDS.items())
    return (
        f"{_version()}: lets Prosody use ejabberd authentication programs\n\n"
        "usage: extauth-bridge FILE\n"
        f"       extauth-bridge COMMAND ...\n\n{commands}\n\n"
        "See `extauth-bridge COMMAND --help` for more."
    )
