"""What `run`, `serve` and `ask` are told alike: FILE, an option for each key, and a program after `--`."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from bridge.commands.cli import Parser
from bridge.config.load import load
from bridge.config.options import add_options, options_from
from bridge.config.settings import Settings


class Arguments:
    """A command line, taken apart.

    Args:
      parser: knows what stands before FILE, and options that are no keys.
      file: what FILE may be.

    Attributes:
      parsed: what stands before `--`.
      file: FILE as it was typed.
      options: those that are keys, as `load` takes them.
      program: what stands after `--`.

    Raises:
      UsageError: it is wrong.
    """

    def __init__(self, parser: Parser, argv: Sequence[str], file: str = "configuration file (TOML)") -> None:
        parser.add_argument("file", nargs="?", metavar="FILE", help=file)
        add_options(parser)
        end = argv.index("--") if "--" in argv else len(argv)
        self.parsed = parser.parse_args(argv[:end])
        self.file: str | None = self.parsed.file
        self.options = options_from(self.parsed)
        self.program = argv[end + 1 :]

    def reader(self) -> Callable[[], Settings]:
        """What reads the settings, now and at each reload: starting a program changes the working directory."""
        file = os.path.abspath(self.file) if self.file else None
        return lambda: load(file, self.options, self.program)
