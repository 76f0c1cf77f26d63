"""The first configuration, `auth.toml`: made once, and never changed again by us."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from bridge.config.load import load
from bridge.config.settings import ConfigError, ProgramSettings
from bridge.setup.files import write
from bridge.setup.host import Host
from bridge.setup.report import Outcome, Report
from bridge.setup.services import USER

PATH = "/etc/extauth-bridge/auth.toml"

_MODE = 0o640
"""Only root and the daemon's group may read it: it can hold database passwords."""


def make(host: Host, report: Report, example: str, asked: ProgramSettings | None) -> None:
    """Write the configuration if there is none.

    Args:
      example: what it holds.
      asked: the program to ask, in the place of the example's, and its protocol.
    """
    target = host.path(PATH)
    try:
        there = target.exists()
    except PermissionError:
        report.add(Outcome.NOTE, f"{PATH}: only root can see whether it is there")
        return
    if not there:
        report.step(PATH, True, lambda: write(target, first(example, asked), _MODE, host.number("group", USER) or 0))
    elif asked and _program(host) != (asked.argv, asked.protocol):
        hint = f"{PATH} is there, and asks another program: change `program` yourself, to"
        report.add(Outcome.LEFT, hint, *_rows(asked))
    else:
        report.step(PATH, False, list)


def _program(host: Host) -> tuple[tuple[str, ...], str] | None:
    try:
        program = load(str(host.path(PATH)), {}).program
    except ConfigError:
        return None
    return (program.argv, program.protocol) if program else None


def first(example: str, asked: ProgramSettings | None) -> str:
    """The example, with another program if there is one."""
    if not asked:
        return example
    own = "".join(f"{line}\n" for line in ("# The program to ask, and its arguments.", *_rows(asked)))
    return re.sub(r"^# The bundled program[^\n]*\nprogram = [^\n]*\n", lambda _: own, example, flags=re.MULTILINE)


def _rows(asked: ProgramSettings) -> list[str]:
    rows = [f"program = {_toml(asked.argv)}"]
    return rows if asked.protocol == "ejabberd" else [*rows, f'protocol = "{asked.protocol}"']


def _toml(argv: Sequence[str]) -> str:
    """An array of basic strings, which are JSON's but for DEL."""
    return json.dumps([*argv], ensure_ascii=False).replace("\x7f", "\\u007f")
