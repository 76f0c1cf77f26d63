"""What a configuration names, looked at as the user we are: programs, directories, sockets, users, groups.

Root may do everything: what the service's user may not do shows only with `--user`.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator, Sequence

from bridge.checking.findings import Finding, error, note, ok
from bridge.checking.languages import language
from bridge.clients.listeners import ListenError, resolve_groups, resolve_users
from bridge.config.settings import ProgramSettings, Settings
from bridge.log.text import escaped
from bridge.loop.streams import SOCKET_PATH_MAX
from bridge.worker.startfault import HOMES, TEMPORARY, shell_syntax

_HEAD = 256
"""Bytes of a file in which the kernel looks for an interpreter's name (BINPRM_BUF_SIZE)."""

_STATE = "/var/lib/extauth-bridge"


def of_file(path: str, settings: Settings) -> Iterator[Finding]:
    """The file itself, and what serves everybody."""
    yield from _file(path, settings)
    yield from _hidden([path])
    for what, resolve, names in (
        ("allow_users", resolve_users, settings.allow_users),
        ("allow_groups", resolve_groups, settings.allow_groups),
    ):
        try:
            resolve(names)
        except ListenError as unknown:
            yield error(what, str(unknown), "serve refuses to start", "create it, or take it out")
    for what, path_ in (("listen", settings.listen), ("status_listen", settings.status_listen)):
        if path_ is not None:
            yield _socket(what, path_)
    if settings.log.target.startswith("file:"):
        yield _log(settings.log.target.removeprefix("file:"))


def of_program(program: ProgramSettings) -> Iterator[Finding]:
    """One program, before it is started."""
    found = [*_command(program), *_directory(program.cwd)]
    yield from found
    if not found:
        yield ok("program", f"{_whole(program.argv[0])} is executable, and {program.cwd} is there")
    yield from _sandbox(program)


def _file(path: str, settings: Settings) -> Iterator[Finding]:
    try:
        mode = os.stat(path).st_mode
    except OSError as failure:
        yield error("file", f"{path}: {failure.strerror}", "nothing starts", "see that this user may reach it")
        return
    if not os.access(path, os.R_OK):
        yield error("file", f"{path} cannot be read by this user", "the service cannot start", "chgrp it to its group")
        return
    programs = [*settings.hosts.values(), *([settings.program] if settings.program else [])]
    if any(program.env for program in programs) and mode & stat.S_IROTH:
        advice = "chmod o-r, chgrp to the service's group; or pass passwords as credentials"
        yield note("file", f"{path} can be read by everybody, and has env", "its values may be secrets", advice)
    elif mode & (stat.S_IWGRP | stat.S_IWOTH):
        meaning = "whoever can write it decides who may log in"
        yield note("file", f"{path} can be written by others than its owner", meaning, "chmod go-w")
    else:
        yield ok("file", f"{path} is valid, and can be read")


def _command(program: ProgramSettings) -> Iterator[Finding]:
    shell, _, instead = shell_syntax(program.argv).partition(": use ")
    path = _whole(program.argv[0])
    trouble = _trouble(path)
    if shell:
        advice = f"use {instead}, or a script with exec before the program; cwd and env are settings of their own"
        if trouble and "/" not in path:
            yield error("program", shell, "nobody can log in", advice)
            return
        yield note("program", shell, "the program may not do what is meant", advice)
    if trouble:
        yield error("program", f"{path}: {trouble[0]}", "nobody can log in", trouble[1])
        return
    for word in program.argv[1:]:
        if word.startswith("/") and os.path.splitext(word)[1] and not os.path.exists(word):
            yield note("program", f"{word}, an argument, does not exist", "the program may need it", "correct it")
        elif os.path.isfile(word) and not os.path.exists(os.path.join(program.cwd, word)):
            seen = f"{word}, an argument, is a file here, but not in {program.cwd}, where the program runs"
            yield error("program", seen, "the program will not find it", f"write {os.path.abspath(word)}, or set cwd")
    if os.stat(path).st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        advice = "chown root, chmod go-w, for it and its directories"
        yield note("program", f"{path} can be written by others than its owner", "they would get all passwords", advice)


def _whole(name: str) -> str:
    return name if "/" in name else shutil.which(name, os.X_OK) or shutil.which(name, os.F_OK) or name


def _trouble(path: str) -> tuple[str, str] | None:
    """What keeps a file from being started, and what to do."""
    if "/" not in path:
        return "not found in PATH", "name it by its full path: a service has a short PATH"
    try:
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode):
            return "is not a file", "name the program itself"
        if not os.access(path, os.X_OK):
            return "is not executable by this user", "chmod +x, or name its interpreter before it"
        with open(path, "rb") as file:
            head = file.read(_HEAD)
    except PermissionError:
        return _unreachable(path)
    except OSError as failure:
        return f"{failure.strerror}", "correct the path"
    return _interpreter_trouble(head)


def _unreachable(path: str) -> tuple[str, str] | None:
    """It cannot be read: which does not matter to the kernel, but a directory that may not be passed does."""
    directory = os.path.dirname(path)
    while directory != "/":
        if not os.access(directory, os.X_OK):
            return (
                f"{directory} may not be passed by this user",
                "chmod o+x, or move the program to /opt",
            )
        directory = os.path.dirname(directory)
    return None


def _interpreter_trouble(head: bytes) -> tuple[str, str] | None:
    if not head.startswith(b"#!"):
        if head.startswith(b"\xef\xbb\xbf#!"):
            return "begins with a byte order mark, which hides its #!", "save it as UTF-8 without a BOM"
        return None
    line = head[2:].partition(b"\n")[0]
    if line.endswith(b"\r"):
        return "its first line ends in a carriage return, as in Windows", "convert its line ends: sed -i 's/\\r$//'"
    words = line.split()
    if not words:
        return "its #! names nothing", "name the interpreter"
    interpreter = os.fsdecode(words[0])
    if not os.access(interpreter, os.X_OK):
        return f"its interpreter {escaped(interpreter)} is missing", "install it, or correct its first line"
    if os.path.basename(interpreter) == "env" and len(words) > 1:
        name = os.fsdecode(words[-1] if words[1].startswith(b"-") else words[1])
        if shutil.which(name) is None:
            return f"its interpreter {escaped(name)} is not in PATH", "install it, or name its full path"
    return None


def _directory(cwd: str) -> Iterator[Finding]:
    if not os.path.isdir(cwd):
        yield error("cwd", f"{cwd} is no directory", "nobody can log in", "create it, or correct cwd")
    elif not os.access(cwd, os.X_OK):
        yield error("cwd", f"{cwd} may not be entered by this user", "nobody can log in", "chmod o+x, or chgrp")


def _socket(what: str, path: str) -> Finding:
    if len(os.fsencode(path)) > SOCKET_PATH_MAX:
        return error(what, f"{path} is too long", "serve refuses to start", f"at most {SOCKET_PATH_MAX} bytes")
    return _place(what, path, "serve refuses to start, unless systemd passes the socket")


def _log(path: str) -> Finding:
    if os.path.exists(path):
        if os.access(path, os.W_OK):
            return ok("log.target", f"{path} can be written")
        return error("log.target", f"{path} cannot be written by this user", "nothing is logged", "chown it")
    return _place("log.target", path, "nothing is logged")


def _place(what: str, path: str, meaning: str) -> Finding:
    """A file that is to be made."""
    directory = os.path.dirname(path)
    if not os.path.isdir(directory):
        return error(what, f"{directory} is no directory", meaning, "create it")
    if not os.access(directory, os.W_OK | os.X_OK):
        return error(what, f"nothing can be made in {directory} by this user", meaning, "give the service a directory")
    return ok(what, f"{path} can be made")


def _sandbox(program: ProgramSettings) -> Iterator[Finding]:
    """What the systemd unit hides, or forbids."""
    executable = _whole(program.argv[0])
    yield from _hidden([*_paths([executable, *program.argv[1:]]), program.cwd])
    unbuffered = "PYTHONUNBUFFERED"
    if language(program.argv) == "python" and os.environ.get(unbuffered) and unbuffered not in program.env:
        yield note(
            "unit's sandbox",
            f"{unbuffered} is set here, as in many containers, and not in the systemd service",
            "replies that leave its buffer here may not do so in the service",
            f"check again without it: env -u {unbuffered} extauth-bridge check ...",
        )
    executable = os.path.realpath(executable)
    if os.path.isfile(executable) and os.stat(executable).st_mode & (stat.S_ISUID | stat.S_ISGID):
        yield note(
            "unit's sandbox",
            f"{executable} changes its user (setuid), which the systemd service forbids (NoNewPrivileges=)",
            "it lacks its rights in the service",
            "the drop-in setuid.conf; better, a daemon with the privilege",
        )


def _hidden(paths: Sequence[str]) -> Iterator[Finding]:
    """Those of them that are not there for the service."""
    for path in dict.fromkeys(os.path.realpath(path) for path in paths):
        if _below(path, HOMES):
            yield note(
                "unit's sandbox",
                f"{path} does not exist for the systemd service (ProtectHome=)",
                "works here and under Prosody, but not in the service",
                "move it to /opt, or ProtectHome=read-only in a drop-in (systemctl edit extauth-bridge)",
            )
        elif _below(path, TEMPORARY):
            yield note(
                "unit's sandbox",
                f"{path} does not exist for the systemd service, which has a directory of its own there (PrivateTmp=)",
                "works here and under Prosody, but not in the service",
                f"move it to /opt, or data to {_STATE}",
            )


def _paths(words: Sequence[str]) -> Iterator[str]:
    """Arguments that name something that is there."""
    return (word for word in words if word.startswith("/") and os.path.exists(word))


def _below(path: str, directories: Sequence[str]) -> bool:
    return any(path == directory or path.startswith(f"{directory}/") for directory in directories)
