"""The frozen settings, and the kinds of value they are made from.

- Every field has a row of the same name in `bridge.config.options.KEYS`, which gives its kind.
- A kind checks a TOML value and converts it to what `Settings` holds.  It raises an InvalidValue, which says
  what was found and what is allowed; `bridge.config.load` adds where.
- Values of `env` may be secrets: no repr shows them, and an error names only their type.
"""

import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, cast

import attrs

from bridge.log.text import shown, type_name
from bridge.protocol.checks import Checks


def _frozen(table: Mapping[str, str]) -> Mapping[str, str]:
    return MappingProxyType(dict(table))


@attrs.frozen(kw_only=True)
class ProgramSettings:
    """One authentication program, and how it is run.

    Attributes:
      argv: the program and its arguments.
      pool_size: how many of it to keep running.
      pool_max: how many may run, with spares for programs that are stuck; at least `pool_size`.
      commands: those it may be asked.
      cwd: its working directory.
      env: added to the bridge's environment.
      probe: `user@host` that new and idle programs are asked about by isuser; empty: none.
      protocol: what it speaks.
    """

    argv: tuple[str, ...]
    pool_size: int
    pool_max: int
    commands: frozenset[str]
    cwd: str
    env: Mapping[str, str] = attrs.field(repr=False, converter=_frozen)
    probe: str
    protocol: Literal["ejabberd", "generic"]

    def checks(self, allow_empty_password: bool) -> Checks:
        """What a line must pass before this program is asked."""
        return Checks(self.commands, allow_empty_password, as_lines=self.protocol == "generic")


@attrs.frozen(kw_only=True)
class LogSettings:
    """How much is logged, and where to; `verdicts`: which questions, whatever the level."""

    level: str
    target: str
    verdicts: str


@attrs.frozen(kw_only=True)
class Settings:
    """Everything that can be set; meanings, units and ranges are in `bridge.config.options.KEYS`.

    Attributes:
      program: serves every domain that is not in `hosts`; None: only those are served.
      hosts: by domain in lower case (`str.lower`).
    """

    program: ProgramSettings | None
    hosts: Mapping[str, ProgramSettings]
    answer_timeout: float
    start_timeout: float
    probe_interval: float
    max_requests: int
    max_age: float
    max_line: int
    window: int
    client: Literal["auto", "lockstep", "pipelined"]
    allow_empty_password: bool
    listen: str | None
    status_listen: str | None
    socket_mode: int
    max_clients: int
    allow_users: tuple[str, ...]
    allow_groups: tuple[str, ...]
    shutdown_grace: float
    log: LogSettings


class ConfigError(Exception):
    """The settings cannot be used.  `str(error)` is one line for their author, and holds no secret."""


class InvalidValue(Exception):
    """A value that is not allowed.

    Attributes:
      found: what was found, in words.
      allowed: what is allowed, in words.
      below: the path to the invalid value inside a table.
    """

    def __init__(self, found: str, allowed: str, *below: str) -> None:
        super().__init__(found, allowed)
        self.found = found
        self.allowed = allowed
        self.below = below


class Kind:
    """A kind of value: what is allowed, in words, and how to check it."""

    def allowed(self) -> str:
        raise NotImplementedError

    def fits(self, value: object) -> bool:
        raise NotImplementedError

    def check(self, value: object) -> object:
        """The value as `Settings` holds it.

        Raises:
          InvalidValue: it is not allowed.
        """
        if not self.fits(value):
            raise InvalidValue(shown(value), self.allowed())
        return value


class Integer(Kind):
    """A whole number from `low` to `high`."""

    def __init__(self, low: int, high: int, unit: str) -> None:
        self.low, self.high, self.unit = low, high, unit

    def allowed(self) -> str:
        return f"a whole number of {self.unit} from {self.low} to {self.high}"

    def fits(self, value: object) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and self.low <= value <= self.high


class Seconds(Kind):
    """A number from `low` to `high`, with `above` greater than `low`; nan and inf are never in range."""

    def __init__(self, low: int, high: int, *, above: bool = False) -> None:
        self.low, self.high, self.above = low, high, above

    def allowed(self) -> str:
        start, end = ("above", ", at most") if self.above else ("from", " to")
        return f"a number of seconds {start} {self.low}{end} {self.high}"

    def fits(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return self.low <= value <= self.high and not (self.above and value == self.low)

    def check(self, value: object) -> float:
        return float(cast("float", super().check(value)))


class Flag(Kind):
    """true or false."""

    def allowed(self) -> str:
        return "true or false"

    def fits(self, value: object) -> bool:
        return isinstance(value, bool)


class Choice(Kind):
    """One of `names`; with a `prefix`, also the prefix followed by an absolute path."""

    def __init__(self, *names: str, prefix: str = "") -> None:
        self.names, self.prefix = names, prefix

    def allowed(self) -> str:
        ways = (*self.names, f"{self.prefix}/absolute/path") if self.prefix else self.names
        return f"{', '.join(ways[:-1])} or {ways[-1]}"

    def fits(self, value: object) -> bool:
        return value in self.names or (bool(self.prefix) and _starts(f"{self.prefix}/", value))


class AbsolutePath(Kind):
    """A path that means the same from every directory."""

    def allowed(self) -> str:
        return "an absolute path"

    def fits(self, value: object) -> bool:
        return _starts("/", value)


class Names(Kind):
    """Some of `known`, each once."""

    def __init__(self, *known: str) -> None:
        self.known = known

    def allowed(self) -> str:
        return f"one or more of {', '.join(self.known)}, each once"

    def fits(self, value: object) -> bool:
        names = cast("list[object]", value) if isinstance(value, list) else []
        return bool(names) and all(name in self.known and names.count(name) == 1 for name in names)

    def check(self, value: object) -> frozenset[str]:
        return frozenset(cast("list[str]", super().check(value)))


class UserOrGroupNames(Kind):
    """Names or numbers of users or groups, looked up when they are needed."""

    def allowed(self) -> str:
        return "an array of names or numbers"

    def fits(self, value: object) -> bool:
        names = cast("list[object]", value) if isinstance(value, list) else []
        return isinstance(value, list) and all(isinstance(name, str) and name for name in names)

    def check(self, value: object) -> tuple[str, ...]:
        return tuple(cast("list[str]", super().check(value)))


class Mode(Kind):
    """A file mode, as an octal number: 0o660 in TOML, 0660 or 660 as an option."""

    def allowed(self) -> str:
        return "an octal number from 0o000 to 0o777"

    def fits(self, value: object) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 0o777


class Command(Kind):
    """A program with its arguments.  Whether it exists is not checked: it may come back while we run."""

    def allowed(self) -> str:
        return "an array of strings or one string split as a shell would, not empty, without NUL"

    def fits(self, value: object) -> bool:
        words = cast("list[object]", value) if isinstance(value, list) else []
        return bool(words and words[0]) and all(_fits_the_system(word) for word in words)

    def check(self, value: object) -> tuple[str, ...]:
        words = value
        if isinstance(value, str):
            import shlex  # late: needed only if a program is written as one string

            try:
                words = shlex.split(value)
            except ValueError as unbalanced:
                raise InvalidValue(shown(value), f"{self.allowed()} ({unbalanced})") from None
        if not self.fits(words):
            raise InvalidValue(shown(value), self.allowed())
        return tuple(cast("list[str]", words))


class Address(Kind):
    """`user@host`, or nothing: fields that a question may have."""

    def allowed(self) -> str:
        return "user@host, without spaces, controls and colons, at most 1000 bytes, or empty"

    def fits(self, value: object) -> bool:
        if not isinstance(value, str) or not value.isprintable() or any(char in " :" for char in value):
            return False
        user, at, host = value.partition("@")
        return not value or bool(user and at and host and "@" not in host and len(value.encode()) <= 1000)


class Environment(Kind):
    """Variables for the program; their values are never shown."""

    def allowed(self) -> str:
        return "a table of strings"

    def fits(self, value: object) -> bool:
        return isinstance(value, dict)

    def check(self, value: object) -> Mapping[str, str]:
        if not self.fits(value):
            raise InvalidValue(type_name(value), self.allowed())
        table = cast("dict[str, object]", value)
        for name, text in table.items():
            before, equals, _ = name.partition("=")  # what follows the = may be a secret value
            if not before or equals or not _fits_the_system(name):
                raise InvalidValue("not a variable name", "one: not empty, without = and NUL", before + equals)
            if not _fits_the_system(text):
                raise InvalidValue(type_name(text), "a string without NUL", name)
        return cast("dict[str, str]", table)


class Hosts(Kind):
    """A table for every domain; `bridge.config.load`, which knows what they inherit, checks their contents."""

    def allowed(self) -> str:
        return "a table of domains, each with a table"

    def fits(self, value: object) -> bool:
        return isinstance(value, dict)

    def check(self, value: object) -> Mapping[str, Mapping[str, object]]:
        tables = cast("dict[str, object]", super().check(value))
        spellings: dict[str, str] = {}
        for domain, table in tables.items():
            if not domain or not domain.isprintable() or any(char in " :/@" for char in domain):
                raise InvalidValue("not a domain", "one: not empty, without spaces, controls, : / and @", domain)
            if not isinstance(table, dict):
                raise InvalidValue(shown(table), "a table", domain)
            other = spellings.setdefault(domain.lower(), domain)
            if other != domain:
                raise InvalidValue(f"the same domain as {shown(other)}", "the only one of that name", domain)
        return cast("dict[str, dict[str, object]]", tables)


def _starts(prefix: str, value: object) -> bool:
    return isinstance(value, str) and value.startswith(prefix) and _fits_the_system(value)


def _fits_the_system(text: object) -> bool:
    """Whether this can be passed to a process: a string without NUL that the system's encoding can hold."""
    try:
        return isinstance(text, str) and b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False
