"""The arguments that `run`, `serve` and `ask` share: FILE, an option for each key, and a program after `--`."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from bridge.commands.cli import Parser
from bridge.config.load import load
from bridge.config.options import add_options, options_from
from bridge.config.settings import Settings


class Arguments:
    """A parsed command line.

    Args:
      parser: with the arguments before FILE, and the options that are not keys.
      file: the help for FILE.

    Attributes:
      parsed: what comes before `--`.
      file: FILE as it was typed.
      path: FILE in full.
      options: those that are keys, as `load` takes them.
      program: what comes after `--`.

    Raises:
      UsageError: the command line is wrong.
    """

    def __init__(self, parser: Parser, argv: Sequence[str], file: str = "configuration file (TOML)") -> None:
        parser.add_argument("file", nargs="?", metavar="FILE", help=file)
        parser.add_argument("--help-all", action="help", help="show this with all settings, and exit")
        add_options(parser, shown="--help-all" in argv)
        end = argv.index("--") if "--" in argv else len(argv)
        self.parsed = parser.parse_args(argv[:end])
        self.file: str | None = self.parsed.file
        self.options = options_from(self.parsed)
        self.path = (
            os.path.abspath(self.file) if self.file else None
        )  # starting a program changes the working directory
        self.program = argv[end + 1 :]

    def reader(self) -> Callable[[], Settings]:
        """A function that reads the settings, now and at each reload."""
        return lambda: load(self.path, self.options, self.program)
