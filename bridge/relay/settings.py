"""A configuration file with `connect = "SOCKET"`, recognised with hardly anything imported.

    #!/opt/extauth-bridge/bin/extauth-bridge
    connect = "/run/extauth-bridge/auth.sock"
    answer_timeout = 4.5     # seconds; above the daemon's, below the client's
    max_line = 4096          # bytes
    [log]
    level = "info"
    target = "auto"

It may hold nothing else: programs are the daemon's business.  The ranges are those of `bridge.config.options`.

tomllib takes 7 to 9 ms to import, about as long as the interpreter's own start: it is imported only for a file that
may hold `connect`, when the terminal is already raw.
"""

from __future__ import annotations

import os

from bridge.loop.streams import SOCKET_PATH_MAX
from bridge.protocol.lines import MAX_LINE

TYPE_CHECKING = False  # typing is slow to import
if TYPE_CHECKING:
    from typing import Any

LEVELS = ("debug", "info", "warning", "error")
TARGETS = ("auto", "journal", "syslog", "stderr")


class LogChoice:
    """The log's level and target."""

    __slots__ = ("level", "target")

    def __init__(self, level: str = "info", target: str = "auto") -> None:
        self.level = level
        self.target = target


class RelaySettings:
    """A relay's settings.

    Attributes:
      path: the daemon's socket.
      answer_timeout: seconds.
      max_line: bytes.
      window: lines in flight of a pipelined client; the daemon's own default, so that none waits there unread.
      broken: why there is no path, in one line that holds no secret; empty if there is one.
    """

    __slots__ = ("answer_timeout", "broken", "log", "max_line", "path", "window")

    def __init__(self, path: str = "", broken: str = "") -> None:
        self.path = path
        self.broken = broken
        self.answer_timeout = 4.5
        self.max_line = 4096
        self.window = 256
        self.log = LogChoice()


class RelayConfigError(Exception):
    """A relay's file cannot be used.  The text is one line, and safe to show."""


def read(path: str) -> RelaySettings | None:
    """The settings in the file `path`; `None` if it has no `connect`, or cannot be read.

    Raises:
      RelayConfigError: it has `connect`, and something is wrong with it.
    """
    data = _contents(path)
    if data is None or not _may_say_connect(data):
        return None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RelayConfigError(f"{brief(path)}, line {data.count(10, 0, error.start) + 1}: not UTF-8") from None
    table = _table(text, path)
    return _checked(table, path) if "connect" in table else None


def read_again(path: str) -> RelaySettings:
    """`read` for a file that had `connect` before.

    Raises:
      RelayConfigError: it cannot be used any more.
    """
    settings = read(path)
    if settings is None:
        raise RelayConfigError(f"{brief(path)}: cannot be read, or does not say connect any more")
    return settings


def _contents(path: str) -> bytes | None:
    """The file's contents; `None` if it cannot be a relay's."""
    from bridge.config.regularfile import SIZE_MAX, read_regular_file

    try:
        data = read_regular_file(path)
    except OSError:  # `run` reads it instead, and says what is wrong
        return None
    return data if len(data) <= SIZE_MAX else None


def _may_say_connect(data: bytes) -> bool:
    """Whether a line begins with that key, in any of TOML's spellings."""
    return any(line.lstrip(b" \t\"'\xef\xbb\xbf").startswith(b"connect") for line in data.split(b"\n"))


def _table(text: str, path: str) -> dict[str, Any]:
    import tomllib  # late: it takes most of the start-up time, and `connect SOCKET` needs no file

    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        reason = brief(str(error)) if isinstance(error, tomllib.TOMLDecodeError) else "not understood"
        raise RelayConfigError(f"{brief(path)}: not valid TOML: {reason}") from None


def _checked(table: dict[str, Any], path: str) -> RelaySettings:
    settings = RelaySettings()
    for section, name, value in _flat(table):
        key = f"{section}{name}"
        if key not in _ALLOWED:
            known = ", ".join(_ALLOWED)
            raise RelayConfigError(f"{brief(path)}: unknown key {brief(key)}; a file with connect may hold {known}")
        allowed, fits = _ALLOWED[key]
        if not fits(value):
            raise RelayConfigError(f"{brief(path)}: {key} is {_sort(value)}, but must be {allowed}")
        if section:
            setattr(settings.log, name, value)
        else:
            setattr(settings, "path" if name == "connect" else name, value)
    return settings


def _flat(table: dict[str, Any]) -> list[tuple[str, str, Any]]:
    """Section, name and value of every key."""
    flat: list[tuple[str, str, Any]] = []
    for name, value in table.items():
        if name == "log" and _is_table(value):
            flat += [("log.", inner, value[inner]) for inner in value]
        else:
            flat.append(("", name, value))
    return flat


def brief(text: str) -> str:
    """`text` as an error shows it: long enough for any socket's path."""
    from bridge.log.text import shortened

    return shortened(text, 200)


def _sort(value: object) -> str:
    if isinstance(value, str):
        return brief(value)
    if isinstance(value, bool):
        return str(value)
    from bridge.log.text import shown

    return shown(value) if isinstance(value, int | float) else "something else"


def _is_table(value: Any) -> bool:
    return isinstance(value, dict)


def _is_socket(value: Any) -> bool:
    return (
        isinstance(value, str)
        and value.startswith("/")
        and "\0" not in value
        and len(os.fsencode(value)) <= SOCKET_PATH_MAX
    )


def _is_seconds(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 3600


def _is_length(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 16 <= value <= MAX_LINE


def _is_level(value: Any) -> bool:
    return value in LEVELS


def _is_target(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    return value in TARGETS or (value.startswith("file:/") and "\0" not in value)


_ALLOWED = {
    "connect": (f"the absolute path of a socket, at most {SOCKET_PATH_MAX} bytes", _is_socket),
    "answer_timeout": ("a number of seconds above 0, at most 3600", _is_seconds),
    "max_line": (f"a whole number of bytes from 16 to {MAX_LINE}", _is_length),
    "log.level": (", ".join(LEVELS[:-1]) + " or error", _is_level),
    "log.target": (", ".join(TARGETS) + " or file:/path", _is_target),
}
