"""The table of all keys, and the command-line options made from it.

- `KEYS` is the only place a key is described.  Checks, error messages, options and their help come from its rows.
  A new key needs a row, and a field of the same name in `Settings` (`ProgramSettings` if hosts can have their own).
- argparse converts nothing.  `options_from` passes on what was typed, and `as_in_toml` converts it to what the
  file would have held.  From there both are checked alike, so errors read the same for an option and a file.
- argparse is imported only where options are parsed: the relay has none, and must start quickly.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import attrs

from bridge.config.settings import (
    AbsolutePath,
    Address,
    Choice,
    Command,
    Environment,
    Flag,
    Hosts,
    Integer,
    InvalidValue,
    Kind,
    Mode,
    Names,
    Seconds,
    UserOrGroupNames,
)
from bridge.protocol.checks import WITH_SECRET, WITHOUT_SECRET
from bridge.protocol.lines import MAX_LINE

if TYPE_CHECKING:
    import argparse

SPARES = 16
"""Most spares of a pool by default: enough for a dozen logins that hang at the same time, and for a small machine."""

COMMANDS = tuple(sorted(WITH_SECRET | WITHOUT_SECRET))


def usable_cpus() -> int:
    """The number of CPUs this process may run on, at least 2: one slow query must not hold up everybody."""
    return min(max(2, len(os.sched_getaffinity(0))), 1024)


def default_pool_max(pool_size: int) -> int:
    """The default of `pool_max`; a program that has to be alone stays alone."""
    return 1 if pool_size == 1 else min(4 * pool_size, pool_size + SPARES)


@attrs.frozen
class Key:
    """One row of the table.

    Attributes:
      name: the key, with its section if it has one (`log.level`).
      kind: checks its values.
      default: as TOML would hold it, or a function that computes it.
      meaning: for the help.
      per_host: whether it may also be set in [hosts."domain"].
      default_text: how the help shows the default, if not by its value.
    """

    name: str
    kind: Kind
    default: Any
    meaning: str
    per_host: bool = attrs.field(default=False, kw_only=True)
    default_text: str = attrs.field(default="", kw_only=True)


# fmt: off
KEYS = (
    Key("program", Command(), None, "the program to ask, and its arguments", per_host=True),
    Key("pool_size", Integer(1, 1024, "programs"), usable_cpus, "how many programs are kept running",
        default_text="number of CPUs, at least 2", per_host=True),
    Key("pool_max", Integer(1, 4096, "programs"), None,
        "how many may run in all, with spares for programs that are stuck; not below pool_size",
        default_text="4 x pool_size, at most 16 more than it; 1 if that is 1", per_host=True),
    Key("answer_timeout", Seconds(0, 3600, above=True), 4.0,
        "a query without a verdict by then is answered 0; keep it below the clients' timeout"),
    Key("start_timeout", Seconds(0, 3600, above=True), 30.0, "how long a new program may take to its first reply"),
    Key("probe", Address(), "", "asked of new and idle programs by isuser; the account need not exist",
        default_text="none", per_host=True),
    Key("probe_interval", Seconds(0, 86400), 60.0,
        "a program that has been idle this long is asked the probe; 0 = only new ones"),
    Key("protocol", Choice("ejabberd", "generic"), "ejabberd",
        "what the program speaks: ejabberd's frames, or Prosody's own lines", per_host=True),
    Key("commands", Names(*COMMANDS), ["auth", "isuser", "setpass"], "what programs may be asked", per_host=True),
    Key("max_requests", Integer(0, 10**9, "requests"), 500, "a program is replaced after this many; 0 = never"),
    Key("max_age", Seconds(0, 366 * 86400), 3600.0, "a program is replaced after this long; 0 = never"),
    Key("max_line", Integer(16, MAX_LINE, "bytes"), 4096, "longer lines are refused unread"),
    Key("window", Integer(1, 65536, "lines"), 256, "most lines of one client in flight"),
    Key("client", Choice("auto", "lockstep", "pipelined"), "auto", "how clients send: one line at a time, or many"),
    Key("allow_empty_password", Flag(), False, "let empty passwords through to the program"),
    Key("shutdown_grace", Seconds(0, 3600), 2.0, "from the end of a program's input to SIGTERM"),
    Key("cwd", AbsolutePath(), "/", "the directory programs run in", per_host=True),
    Key("env", Environment(), {}, "added to the program's environment; everybody can see it if given as an option",
        per_host=True),
    Key("listen", AbsolutePath(), None, "serve: the socket for clients, unless systemd passes one"),
    Key("status_listen", AbsolutePath(), None, "serve: the socket that reports what the daemon is doing"),
    Key("socket_mode", Mode(), 0o660, "serve: mode of the sockets it creates", default_text="0o660"),
    Key("max_clients", Integer(1, 65536, "clients"), 128, "serve: connections at a time; more are refused"),
    Key("allow_users", UserOrGroupNames(), [],
        "serve: only these users may connect; empty: everybody whom the socket lets in"),
    Key("allow_groups", UserOrGroupNames(), [],
        "serve: only these groups may connect; together with allow_users, either"),
    Key("log.level", Choice("debug", "info", "warning", "error"), "info", "lowest level that is logged"),
    Key("log.target", Choice("auto", "journal", "syslog", "stderr", prefix="file:"), "auto", "where the log goes"),
    Key("log.verdicts", Choice("none", "failed", "all"), "none",
        "a line for each question, with names, the verdict and the time it took; never the secret"),
    Key("hosts", Hosts(), {}, "another program for one XMPP domain"),
)
# fmt: on

METAVARS: dict[type[Kind], str] = {
    Integer: "N",
    Seconds: "SECONDS",
    Choice: "NAME",
    AbsolutePath: "PATH",
    Address: "USER@HOST",
    Names: "NAMES",
    UserOrGroupNames: "NAMES",
    Mode: "MODE",
    Command: "COMMAND",
    Environment: "NAME=VALUE",
    Hosts: "DOMAIN=COMMAND",
}


def add_options(parser: argparse.ArgumentParser, shown: bool = True) -> None:
    """Give `parser` an option for every key.  Values stay strings; `bridge.config.load` checks them.

    Args:
      shown: in the help, which says otherwise where they are.
    """
    import argparse

    more = "" if shown else ", such as --pool-size 8; --help-all lists them"
    group = parser.add_argument_group("settings", f"the keys of the configuration file; options win over it{more}")
    for key in KEYS:
        how: dict[str, Any] = {"metavar": METAVARS.get(type(key.kind))}
        if isinstance(key.kind, Flag):
            how = {"action": argparse.BooleanOptionalAction}
        elif isinstance(key.kind, Environment | Hosts):
            how["action"] = "append"
        text = _help(key).replace("%", "%%") if shown else argparse.SUPPRESS
        group.add_argument(option(key.name), dest=_dest(key), default=argparse.SUPPRESS, help=text, **how)


def options_from(namespace: argparse.Namespace) -> dict[str, object]:
    """The options that were given, by key name, as `bridge.config.load` takes them."""
    given = vars(namespace)
    return {key.name: given[_dest(key)] for key in KEYS if _dest(key) in given}


def option(name: str) -> str:
    """The command-line option for the key `name`."""
    return "--" + name.replace(".", "-").replace("_", "-")


def as_in_toml(kind: Kind, given: object) -> object:
    """Convert an option's value to what TOML would have held.

    Returns:
      the converted value, or `given` itself if it cannot be converted; `kind.check` refuses that.

    Raises:
      InvalidValue: NAME=VALUE has no =, or a domain is given twice.
    """
    if isinstance(kind, Environment | Hosts):
        return _table(kind, given)
    if isinstance(given, str):
        if isinstance(kind, Integer):
            return _number(int, given)
        if isinstance(kind, Seconds):
            return _number(float, given)
        if isinstance(kind, Mode):
            return _number(lambda text: int(text.removeprefix("0o"), 8), given)
        if isinstance(kind, Names | UserOrGroupNames):
            return given.replace(",", " ").split()
    return given


def _table(kind: Environment | Hosts, given: object) -> object:
    if not isinstance(given, list):
        return given
    pairs = [str(text).partition("=") for text in cast("list[object]", given)]
    if not all(equals for _, equals, _ in pairs):
        raise InvalidValue("a string without =", METAVARS[type(kind)])
    table = {name: text for name, _, text in pairs}
    if isinstance(kind, Environment):
        return table
    if len(table) < len(pairs):
        raise InvalidValue("given twice for one domain", "given once for each")
    return {domain: {"program": command} for domain, command in table.items()}


def _number(convert: Callable[[str], object], text: str) -> object:
    try:
        return convert(text) if text.isascii() else text
    except ValueError:
        return text


def _dest(key: Key) -> str:
    return f"setting {key.name}"  # cannot clash with an argument of a command


def _help(key: Key) -> str:
    if isinstance(key.kind, Names | UserOrGroupNames):
        default = " ".join(key.default) or "none"
    else:
        default = "none" if key.default in (None, {}) else str(key.default).lower()
    allowed = "may be repeated" if isinstance(key.kind, Environment | Hosts) else key.kind.allowed()
    return f"{key.meaning}: {allowed} (default: {key.default_text or default})"
