"""`extauth-bridge prosody-module DIR`: install our module for Prosody where Prosody finds it.

The file appears whole or not at all, and replaces whatever had its name: a symbolic link is replaced, its target
is left alone.
"""

from __future__ import annotations

import contextlib
import importlib.resources
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bridge.commands.cli import Parser, UsageError
from bridge.terminal.takeover import ProgramTerminal

NAME = "mod_auth_extauth_bridge.lua"

_MODE = 0o644
"""Prosody's user must be able to read it, whatever the umask is."""

_ADVICE = """\
In /etc/prosody/prosody.cfg.lua, then restart Prosody:

    plugin_paths = {{ {directory} }}    -- in addition to those already there
    authentication = "extauth_bridge"
"""


def main(argv: Sequence[str], taken: ProgramTerminal | None) -> int:
    """Install the module, or check whether it is current.

    Returns:
      exit status: 0 if it is current now, 1 if `--check` found that it is not.

    Raises:
      UsageError: there is no such directory, or nothing can be written to it.
    """
    del taken
    parsed = _parser().parse_args(argv)
    directory = Path(os.path.abspath(parsed.directory))
    if not directory.is_dir():
        raise UsageError(f"{directory}: no such directory")
    return _check(directory / NAME) if parsed.check else _install(directory / NAME)


def _check(target: Path) -> int:
    found = _installed(target)
    if found == packaged():
        print(f"{target} is current")
        return 0
    what = "is not installed" if found is None else "is not this version's: run this without --check"
    print(f"extauth-bridge: {target} {what}", file=sys.stderr)
    return 1


def _install(target: Path) -> int:
    try:
        _put(target, packaged())
    except OSError as error:
        raise UsageError(f"{target}: cannot be written: {error.strerror}") from None
    print(f"Installed {target}")
    print(_ADVICE.format(directory=_lua_string(str(target.parent))), end="")
    return 0


def packaged() -> bytes:
    """The module that belongs to this version."""
    return importlib.resources.files("bridge").joinpath("prosody", NAME).read_bytes()


def _installed(target: Path) -> bytes | None:
    """The installed file's contents, or `None`.

    Raises:
      UsageError: it cannot be read.
    """
    try:
        return target.read_bytes() if target.is_file() else None  # reading a FIFO would block
    except OSError as error:
        raise UsageError(f"{target}: cannot be read: {error.strerror}") from None


def _put(target: Path, content: bytes) -> None:
    descriptor, name = tempfile.mkstemp(prefix=f".{NAME}.", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            os.fchmod(descriptor, _MODE)
            file.flush()
            os.fsync(descriptor)
        os.replace(name, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


def _lua_string(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def _parser() -> Parser:
    parser = Parser(
        "prosody-module",
        "[--check] DIR",
        "Install mod_auth_extauth_bridge, the module that lets Prosody ask the shared daemon directly, "
        "into DIR, which must be one of Prosody's plugin_paths.",
        "Exit status: 0 it is now current, 1 --check found another version or none, 2 usage.",
    )
    parser.add_argument("directory", metavar="DIR", help="an existing directory")
    parser.add_argument("--check", action="store_true", help="change nothing; say whether the installed one is current")
    return parser
