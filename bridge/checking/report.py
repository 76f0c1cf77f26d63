"""Prints findings, for a person or for a script."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import TextIO

from bridge.checking.findings import Finding, Level, may_work, recommended
from bridge.config.settings import ProgramSettings
from bridge.log.text import escaped

_COLOURS = {Level.OK: "32", Level.NOTE: "33", Level.DEVIATES: "31", Level.ERROR: "1;31"}

_WIDEST = 110
"""Columns; longer lines are hard to read."""

_NARROWEST = 30
"""Columns for text, however narrow the terminal is."""

_LEVELS = max(len(level.value) for level in Level)
_TRIALS = 21
"""Columns for the trial's name: that of the longest."""


class Report:
    """Text for a person, as the findings come."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._terminal = out.isatty() and os.environ.get("TERM") != "dumb"
        self._coloured = self._terminal and not os.environ.get("NO_COLOR")
        self._width = min(shutil.get_terminal_size().columns, _WIDEST) if self._terminal else _WIDEST

    def heading(self, text: str) -> None:
        """Begin a part."""
        self._print(self._painted("1", text) + "\n")

    def finding(self, finding: Finding) -> None:
        """One line, and what follows from it indented below."""
        level = self._painted(_COLOURS[finding.level], f"{finding.level.value:{_LEVELS}}")
        indent = 2 + _LEVELS + 2 + _TRIALS + 2
        first, *more = textwrap.wrap(finding.seen, max(_NARROWEST, self._width - indent)) or [""]
        lines = [f"  {level}  {finding.trial:{_TRIALS}}  {first}", *(" " * indent + line for line in more)]
        if finding.level is not Level.OK:
            lines += self._below("for logins: ", finding.meaning, indent)
            lines += self._below("to do: ", finding.advice, indent)
        self._print("\n".join(lines) + "\n")

    def _below(self, label: str, text: str, indent: int) -> list[str]:
        if not text:
            return []
        start, rest = " " * indent + label, " " * (indent + 2)
        width = max(self._width, indent + _NARROWEST)
        return textwrap.wrap(text, width, initial_indent=start, subsequent_indent=rest, break_on_hyphens=False)

    def summary(self, findings: Sequence[Finding], toml: str) -> None:
        """What it comes to, the gravest first, and the recommended configuration."""
        bad = [finding for finding in findings if finding.level in (Level.DEVIATES, Level.ERROR)]
        self._print("\n")
        if not bad:
            self._print("Nothing deviates.\n")
        else:
            bad.sort(key=lambda finding: not finding.grave)
            self._print(f"{len(bad)} to repair, the gravest first: {', '.join(finding.trial for finding in bad)}.\n")
            if bad[0].grave:
                danger = textwrap.fill(f"Strangers may get in: {bad[0].seen}", self._width)
                self._print(self._painted("1;31", danger) + "\n")
        if not may_work(findings):
            self._print("Until that is done, there is no configuration to recommend.\n\n")
            return
        self._print(f"Recommended configuration:\n\n{textwrap.indent(toml, '    ')}\n")

    def trying(self, what: str) -> None:
        """Say what is being done, on a terminal only; the next line replaces it."""
        if self._terminal:
            self._out.write(f"\r\x1b[K{what}")
            self._out.flush()

    def _print(self, text: str) -> None:
        if self._terminal:
            self._out.write("\r\x1b[K")
        self._out.write(text)
        self._out.flush()

    def _painted(self, colour: str, text: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._coloured else text


def toml(program: ProgramSettings, hosts: Sequence[str], findings: Iterable[Finding]) -> str:
    """The recommended configuration of one program: its own keys in its hosts' tables, the others above."""
    settings = recommended(findings)
    reasons = {
        name: finding.trial
        for finding in findings
        for name, value in finding.settings.items()
        if settings[name] == value
    }
    own = {name: settings[name] for name in ("protocol", "pool_size", "commands") if name in settings}
    top = {name: value for name, value in settings.items() if name not in own}
    lines = [_row(name, value, reasons) for name, value in top.items()]
    for host in hosts:
        heading = [f"[hosts.{_value(host)}]"] if host else []
        rows = [f"program = {_value(list(program.argv))}"]
        if "protocol" not in own and (host or program.protocol != "ejabberd"):  # a host without one has the file's
            rows.append(f"protocol = {_value(program.protocol)}")
        rows += [f"cwd = {_value(program.cwd)}"] if program.cwd != "/" else []
        rows += [f"# env = {{ {' '.join(program.env)} }}, as it is"] if program.env else []
        rows += [_row(name, value, reasons) for name, value in own.items()]
        lines = [*lines, "", *heading, *rows] if host else [*heading, *rows, *lines]
    return "\n".join(lines).strip("\n") + "\n"


def _row(name: str, value: object, reasons: Mapping[str, str]) -> str:
    return f"{name} = {_value(value)}  # {reasons[name]}"


def _value(value: object) -> str:
    """A TOML value: strings, numbers and arrays are written as in JSON."""
    return json.dumps(value, ensure_ascii=False)


def as_json(
    file: Sequence[Finding], programs: Sequence[tuple[Sequence[str], Sequence[str], Sequence[Finding]]], status: int
) -> str:
    """The same for a script.

    Args:
      file: findings about the file.
      programs: for each its command, the hosts it serves (one that is empty: all others), and its findings.
    """
    return json.dumps(
        {
            "version": 1,
            "status": status,
            "file": [_record(finding) for finding in file],
            "programs": [
                {
                    "program": list(argv),
                    "hosts": [host for host in hosts if host],
                    "findings": [_record(finding) for finding in findings],
                    "recommended": recommended(findings),
                }
                for argv, hosts, findings in programs
            ],
        },
        indent=2,
    )


def _record(finding: Finding) -> dict[str, object]:
    return {
        "trial": finding.trial,
        "level": finding.level.value,
        "seen": finding.seen,
        "meaning": finding.meaning,
        "advice": finding.advice,
        "settings": dict(finding.settings),
        "grave": finding.grave,
    }


def command_line(argv: Sequence[str]) -> str:
    """A command as one would type it."""
    return escaped(shlex.join(argv))
