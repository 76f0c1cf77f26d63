"""`extauth-bridge prosody-module DIR`: install our module for Prosody where Prosody finds it.

The module is a folder.  Each of its files appears whole or not at all, and replaces whatever had its name: a symbolic
link is replaced, its target is left alone.  Files of an older version go, the one file that the module once was, too.
"""

from __future__ import annotations

import importlib.resources
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from bridge.commands.cli import Parser, UsageError
from bridge.setup.files import write_whole
from bridge.terminal.takeover import ProgramTerminal

NAME = "mod_auth_extauth_bridge"
MAIN = f"{NAME}.lua"
"""The file that Prosody loads, in the folder; a version before had only this one, beside where the folder is now."""

_MODE = 0o644
"""Prosody's user must be able to read it, whatever the umask is."""
_FOLDER_MODE = 0o755

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
    return _check(directory) if parsed.check else _install(directory)


def packaged() -> dict[str, bytes]:
    """The files of the module that belong to this version, by name."""
    folder = importlib.resources.files("bridge").joinpath("prosody", NAME)
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def _check(directory: Path) -> int:
    folder = directory / NAME
    if not os.path.lexists(folder) and not os.path.lexists(directory / MAIN):
        what = "is not installed"
    elif os.path.lexists(directory / MAIN) or _installed(folder) != packaged():
        what = "is not this version's: run this without --check"
    else:
        print(f"{folder} is current")
        return 0
    print(f"extauth-bridge: {folder} {what}", file=sys.stderr)
    return 1


def _installed(folder: Path) -> dict[str, bytes | None]:
    """The installed files' contents, by name; `None` for what is no file.

    Raises:
      UsageError: one cannot be read.
    """
    try:
        if folder.is_symlink() or not folder.is_dir():
            return {}
        # Reading a FIFO would block.
        return {entry.name: entry.read_bytes() if entry.is_file() else None for entry in _ours(folder)}
    except OSError as error:
        raise UsageError(f"{error.filename}: cannot be read: {error.strerror}") from None


def _ours(folder: Path) -> list[Path]:
    """What is in the folder by this version or another one."""
    return [entry for entry in folder.iterdir() if entry.suffix in (".lua", ".md")]


def _install(directory: Path) -> int:
    folder, files = directory / NAME, packaged()
    try:
        if folder.is_symlink() or not folder.is_dir():
            folder.unlink(missing_ok=True)
            folder.mkdir()
        folder.chmod(_FOLDER_MODE)
        # What Prosody loads comes last: until then it finds the old version, or none.
        for name in sorted(files, key=MAIN.__eq__):
            write_whole(folder / name, files[name], _MODE)
        for old in [entry for entry in _ours(folder) if entry.name not in files]:
            old.unlink()
        (directory / MAIN).unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"{error.filename}: cannot be written: {error.strerror}") from None
    print(f"Installed {folder}")
    print(_ADVICE.format(directory=_lua_string(str(directory))), end="")
    return 0


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
