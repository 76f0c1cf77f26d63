"""What was found: a level, what was seen, what it means for logins, what to do, and the settings that follow."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from types import MappingProxyType

import attrs

_NONE: Mapping[str, object] = MappingProxyType({})


class Level(enum.Enum):
    """How bad it is.

    OK: as it should be.  NOTE: allowed, or harmless behind the bridge, and worth knowing.  DEVIATES: not what the
    protocol asks for, or fails sooner or later.  ERROR: the configuration cannot work, whatever the program does.
    """

    OK = "ok"
    NOTE = "note"
    DEVIATES = "deviates"
    ERROR = "error"


@attrs.frozen
class Finding:
    """What one trial found.  No text holds a secret.

    Attributes:
      trial: what was tried.
      seen: what was seen.
      meaning: what that means for logins; empty if all is well.
      advice: what to do.
      settings: keys of the configuration with their recommended values.
      grave: strangers may get in.
    """

    trial: str
    level: Level
    seen: str
    meaning: str = ""
    advice: str = ""
    settings: Mapping[str, object] = _NONE
    grave: bool = False


def ok(trial: str, seen: str) -> Finding:
    """All is well."""
    return Finding(trial, Level.OK, seen)


def note(trial: str, seen: str, meaning: str, advice: str = "", settings: Mapping[str, object] = _NONE) -> Finding:
    """Worth knowing."""
    return Finding(trial, Level.NOTE, seen, meaning, advice, settings)


def deviates(
    trial: str,
    seen: str,
    meaning: str,
    advice: str = "",
    settings: Mapping[str, object] = _NONE,
    *,
    grave: bool = False,
) -> Finding:
    """Not as it should be."""
    return Finding(trial, Level.DEVIATES, seen, meaning, advice, settings, grave)


def error(trial: str, seen: str, meaning: str, advice: str = "") -> Finding:
    """Cannot work."""
    return Finding(trial, Level.ERROR, seen, meaning, advice)


OTHERS = "the others"
"""The trial that stands for those that make no sense as long as the program does not reply, and stay."""


def may_work(findings: Iterable[Finding]) -> bool:
    """Whether there is a configuration with which somebody can log in."""
    return not any(finding.level is Level.ERROR or finding.trial == OTHERS for finding in findings)


_LOWER = ("max_line", "max_requests")
"""Of two recommended values the lower one is the one to take."""


def recommended(findings: Iterable[Finding]) -> dict[str, object]:
    """The settings that all findings together recommend."""
    settings: dict[str, object] = {}
    for finding in findings:
        for name, value in finding.settings.items():
            other = settings.get(name)
            if name not in _LOWER or not isinstance(other, int) or not isinstance(value, int) or value < other:
                settings[name] = value
    return settings
