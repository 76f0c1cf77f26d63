"""Settings from a TOML file and options: checked, merged and frozen, or one clear line saying why not.

- The keys are listed in `bridge.config.options`; their types are in `bridge.config.settings`.
- Precedence, lowest first: defaults, the file, options, the program after `--`.  Tables (`env`, `hosts`) are
  merged entry by entry.
- A host's table inherits what it does not set from the top level.  The program after `--` is the top level's:
  a domain with its own program is never asked of another.
- A ConfigError says where (file and line, or option), what was found and what is allowed.  It never holds a
  value of `env`, and `load` raises nothing else.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, cast

from bridge.config.options import KEYS, Key, as_in_toml, default_pool_max, option
from bridge.config.regularfile import SIZE_MAX, read_regular_file
from bridge.config.settings import ConfigError, InvalidValue, LogSettings, ProgramSettings, Settings
from bridge.log.text import shortened, shown

NO_PROGRAM = 'no program: set program or [hosts."domain"] in a file, or give --program COMMAND or -- PROGRAM'

BY_NAME = {key.name: key for key in KEYS}
TOP = {key.name: key for key in KEYS if "." not in key.name}
HOST = {key.name: key for key in KEYS if key.per_host}
SECTIONS = {"log": {key.name.removeprefix("log."): key for key in KEYS if key.name.startswith("log.")}}

Path = tuple[str, ...]  # to a value: ("pool_size",), ("log", "level"), ("hosts", "other.example", "cwd")


def load(path: str | None, options: Mapping[str, object], argv: Sequence[str] = ()) -> Settings:
    """Load and check the settings.

    A relative program that holds a slash is relative to the file's directory; as an option, to the current
    one.  Whether it exists is not checked.

    Args:
      path: the TOML file, if any.
      options: from `options_from`; values may also be as in TOML (`{"pool_size": 4}`).
      argv: the program after `--`.

    Raises:
      ConfigError: something cannot be read, is unknown or is not allowed, or there is no program at all.
    """
    values = _defaults()
    command_line = _Place()
    place = command_line
    if path is not None:
        place = _Place(path, _read(path))
        values = _merged(values, _checked(_parse(place), place))
    values = _merged(values, _checked_options(options, command_line))
    if argv:
        values["program"] = _after_dashes(argv, command_line)
    if values["program"] is None and not values["hosts"]:
        raise place.error((), NO_PROGRAM)

    hosts: dict[str, ProgramSettings] = {}
    for domain, own in values.pop("hosts").items():
        below = ("hosts", domain)
        program = _program(_merged(values, own), place, below)
        if program is None:
            raise place.error(below, f"{place.name(below)} has no program, and there is none to inherit")
        hosts[domain] = program
    return _settings(values, hosts, place)


def defaults(options: Mapping[str, object] = MappingProxyType({})) -> Settings:
    """Settings without a program, under which every line is answered 0.

    Raises:
      ConfigError: an option is unknown or not allowed.
    """
    return _settings(_merged(_defaults(), _checked_options(options, _Place())), {}, _Place())


def _settings(values: Mapping[str, Any], hosts: Mapping[str, ProgramSettings], place: _Place) -> Settings:
    return Settings(
        program=_program(values, place),
        hosts=MappingProxyType(hosts),
        log=LogSettings(**{name: values[key.name] for name, key in SECTIONS["log"].items()}),
        **{name: values[name] for name in TOP if name not in HOST and name != "hosts"},
    )


def _defaults() -> dict[str, Any]:
    return {key.name: _default(key) for key in KEYS}


def _default(key: Key) -> Any:
    default = key.default() if callable(key.default) else key.default
    return None if default is None else key.kind.check(default)


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Merge values by key name: those `above` win; `env` is merged by entry, `hosts` by domain and key."""
    merged = {**below, **above}
    if "env" in below and "env" in above:
        merged["env"] = {**below["env"], **above["env"]}
    if "hosts" in below and "hosts" in above:
        new = {domain: _merged(below["hosts"].get(domain, {}), own) for domain, own in above["hosts"].items()}
        merged["hosts"] = {**below["hosts"], **new}
    return merged


def _program(values: Mapping[str, Any], place: _Place, below: Path = ()) -> ProgramSettings | None:
    """The program that `values` describe, if any.

    Raises:
      ConfigError: `pool_max` is below `pool_size`; each may come from `below`, from the top, or be the default.
    """
    if values["program"] is None:
        return None
    others = {name: values[name] for name in HOST if name != "program"}
    size, most = values["pool_size"], values["pool_max"]
    others["pool_max"] = most or default_pool_max(size)
    if others["pool_max"] < size:
        path = (*below, "pool_max")
        raise place.refused(path, InvalidValue(str(most), f"at least pool_size, {size}"))
    return ProgramSettings(argv=values["program"], **others)


class _Place:
    """Where values were found: in a file with this text or, without a file, on the command line."""

    def __init__(self, file: str = "", text: str = "") -> None:
        self.file, self.text = file, text

    def name(self, path: Path) -> str:
        if self.file:
            return ".".join(part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else shown(part) for part in path)
        end = 2 if path[0] in SECTIONS else 1
        return " ".join([option(".".join(path[:end])), *map(shortened, path[end:])])

    def error(self, path: Path, sentence: str) -> ConfigError:
        """`sentence` preceded by the file and, if `path` is found in it, the line."""
        where = _where(self.file, _line_of(path, self.text)) if self.file else ""
        return ConfigError(where + sentence)

    def refused(self, path: Path, mistake: InvalidValue) -> ConfigError:
        path = (*path, *mistake.below)
        return self.error(path, f"{self.name(path)} is {mistake.found}, but must be {mistake.allowed}")

    def directory(self) -> str:
        """The directory that a relative program is relative to."""
        try:
            return os.path.dirname(os.path.abspath(self.file)) if self.file else os.getcwd()
        except OSError as error:
            raise ConfigError(f"the current directory is gone: {error.strerror}") from None


def _where(file: str, line: int | None = None) -> str:
    return shortened(file, 4096) + (f", line {line}: " if line else ": ")


def _checked(
    table: Mapping[str, Any], place: _Place, prefix: Path = (), known: Mapping[str, Key] = TOP
) -> dict[str, Any]:
    """Check a table of the file.

    Returns:
      its values by the full names of their keys.
    """
    values: dict[str, Any] = {}
    for name, value in table.items():
        path = (*prefix, name)
        if name in SECTIONS and not prefix:
            if not isinstance(value, dict):
                raise place.refused(path, InvalidValue(shown(value), "a table"))
            values |= _checked(cast("dict[str, Any]", value), place, path, SECTIONS[name])
        elif name in known:
            values[known[name].name] = _value(known[name], value, place, path)
        else:
            raise _unknown(path, value, place, known)
    return values


def _checked_options(options: Mapping[str, object], place: _Place) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, given in options.items():
        path = tuple(name.split("."))
        if name not in BY_NAME:
            raise _unknown(path, given, place, BY_NAME)
        values[name] = _value(BY_NAME[name], given, place, path)
    return values


def _value(key: Key, value: object, place: _Place, path: Path) -> Any:
    try:
        checked: Any = key.kind.check(value if place.file else as_in_toml(key.kind, value))
    except InvalidValue as mistake:
        raise place.refused(path, mistake) from None
    if key.name == "program":
        return _absolute(checked, place)
    if key.name == "hosts":
        return {name.lower(): _checked(table, place, (*path, name), HOST) for name, table in checked.items()}
    return checked


def _absolute(argv: tuple[str, ...], place: _Place) -> tuple[str, ...]:
    program = argv[0]
    if "/" not in program or program.startswith("/"):
        return argv
    while program.startswith("./"):
        program = program[2:].lstrip("/")
    return (os.path.join(place.directory(), program), *argv[1:])


def _after_dashes(argv: Sequence[str], place: _Place) -> tuple[str, ...]:
    try:
        return _absolute(cast("tuple[str, ...]", BY_NAME["program"].kind.check(list(argv))), place)
    except InvalidValue as mistake:
        raise ConfigError(f"the program after -- is {mistake.found}, but must be {mistake.allowed}") from None


def _unknown(path: Path, value: object, place: _Place, known: Mapping[str, Key]) -> ConfigError:
    """An error for an unknown key, with its likeliest cause."""
    name = path[-1]
    sentence = f"unknown {'key' if place.file else 'option'} {place.name(path)}"
    if len(path) > 1 and name in BY_NAME:
        return place.error(path, f"{sentence}; {name} belongs above the first [table]")
    from difflib import get_close_matches  # late: needed only here

    if known is TOP:
        known = BY_NAME  # includes the sections' keys: level should have been log.level
    near = get_close_matches(shortened(".".join(path) if known is BY_NAME else name), known, 1)
    if near:
        meant = known[near[0]].name
        return place.error(path, f"{sentence}; did you mean {meant if place.file else option(meant)}?")
    if known is HOST and isinstance(value, dict) and name not in SECTIONS:
        path = _domain_in_parts(path, cast("dict[str, object]", value))
        return place.error(path, f'a domain needs quotes: [hosts."{shortened(".".join(path[1:]))}"]')
    return place.error(path, f"{sentence}; known keys: {', '.join(key.name for key in known.values())}")


def _domain_in_parts(path: Path, table: Mapping[str, object]) -> Path:
    """[hosts.im.example] is a table "example" in a table "im": the path to the intended table."""
    while len(table) == 1:
        (name, below), *_ = table.items()
        if name in HOST or not isinstance(below, dict):
            break
        path, table = (*path, name), cast("dict[str, object]", below)
    return path


def _read(file: str) -> str:
    """The text of a file, without a byte order mark."""
    try:
        data = read_regular_file(file)
    except OSError as error:
        raise ConfigError(f"{_where(file)}cannot be read: {error.strerror}") from None
    if len(data) > SIZE_MAX:
        raise ConfigError(f"{_where(file)}larger than {SIZE_MAX} bytes, hardly a configuration")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{_where(file, line)}not UTF-8") from None


def _parse(place: _Place) -> dict[str, Any]:
    try:
        return tomllib.loads(place.text)
    except RecursionError:
        raise place.error((), "not valid TOML: nested too deeply") from None
    except ValueError as error:
        reason = str(error) if isinstance(error, tomllib.TOMLDecodeError) else "a number with too many digits"
        match = re.fullmatch(r"(.*) \(at line (\d+), (column \d+)\)", reason, re.DOTALL)
        if match is None:
            raise place.error((), f"not valid TOML: {shortened(reason, 200)}") from None
        where = _where(place.file, int(match[2]))
        raise ConfigError(f"{where}not valid TOML: {shortened(match[1], 200)} ({match[3]})") from None


_PART = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*')"""
_KEY = rf"{_PART}(?:[ \t]*\.[ \t]*{_PART})*"
_LINE = re.compile(rf"[ \t]*(\[\[?[ \t]*)?({_KEY})[ \t]*(?(1)\]\]?[ \t]*(?:#.*)?$|=)")


def _line_of(path: Path, text: str) -> int | None:
    """The number of the line that sets `path`, or None if scanning line by line cannot tell."""
    if not path or '"""' in text or "'''" in text:  # what looks like a key may be inside a string
        return None
    wanted = list(path)
    exact: list[int] = []
    in_lower_case: list[int] = []  # domains are in lower case in the settings
    around: list[int] = []  # an inline table that may hold it
    inside: list[int] = []  # a key below it
    section: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        match = _LINE.match(line.rstrip("\r"))
        if match is None:
            continue
        found = _parts(match[2])
        if match[1]:
            section = found
        else:
            found = section + found
        if found == wanted:
            exact.append(number)
        elif [part.lower() for part in found] == wanted:
            in_lower_case.append(number)
        elif not match[1] and found == wanted[: len(found)]:
            around.append(number)
        elif found[: len(wanted)] == wanted:
            inside.append(number)
    lines = exact or in_lower_case or around or inside
    return lines[0] if len(lines) == 1 else None


def _parts(key: str) -> list[str]:
    """Split a key in TOML syntax into its parts."""
    if '"' not in key and "'" not in key:
        return [part.strip() for part in key.split(".")]
    parts: list[str] = []
    below: Any = tomllib.loads(f"{key} = 0")
    while isinstance(below, dict):
        (part, below), *_ = cast("dict[str, Any]", below).items()
        parts.append(part)
    return parts
