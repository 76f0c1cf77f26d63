"""Why a program could not be started, for whoever has to mend that: the error's own text, and the likely cause.

Of the command only its first word, the file, is ever named, as its arguments may hold a secret.  The file is looked at
only after a start that failed, when it costs nobody anything.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from codecs import BOM_UTF8
from collections.abc import Iterator, Sequence

from bridge.log.events import describe
from bridge.log.text import shortened
from bridge.worker.spawn import CwdError

_SHELLS = {"sh", "bash", "dash", "ksh", "zsh", "ash", "busybox", "fish"}

_BUILT_IN = {".", "cd", "eval", "exec", "export", "set", "source", "trap", "ulimit", "umask", "if", "for", "while", "{"}
"""Words that begin a line of a shell's, and are no programs."""

_SYNTAX = (
    (r"\d*(?:<|>>?|>&|<<<?).*|&>.*", "redirection such as 2>>"),
    (r"&&|\|\|?|;|&", "operators such as && and |"),
    (r"(?:[\w-]+=)?\$(?:\w|[({]).*", "a $VARIABLE"),
    (r"~(?:/.*)?", "~"),
    (r"`.*", "backquotes"),
)

HOMES = ("/home", "/root", "/run/user")
TEMPORARY = ("/tmp", "/var/tmp")
"""What our systemd unit hides from the service and its programs, by ProtectHome= and PrivateTmp=."""

_HIDDEN = {**dict.fromkeys(HOMES, "ProtectHome=yes"), **dict.fromkeys(TEMPORARY, "PrivateTmp=yes")}

_FILES_FAULT = {errno.ENOENT, errno.EACCES, errno.ENOEXEC, errno.ENOTDIR}

_READ = 256
"""Bytes: the kernel reads no more of a first line either."""


def why_not_started(error: Exception, argv: Sequence[str]) -> str:
    """One line about a start that failed; it holds no secret.

    Args:
      error: raised by `spawn.start`.
      argv: the command.
    """
    if not isinstance(error, OSError) or error.errno not in _FILES_FAULT:
        return describe(error)
    text = os.strerror(error.errno or 0)
    if isinstance(error, CwdError):
        path = str(error.filename)
        return f"cwd {shortened(path, 200)}: {text}{_in_brackets(_missing(path), _hidden(path))}"
    path = argv[0]
    look = _format_of if error.errno == errno.ENOEXEC else _fault_of if "/" in path else _not_in_path
    return text + _in_brackets(look(path), _hidden(path), shell_syntax(argv))


def shell_syntax(argv: Sequence[str]) -> str:
    """What of a command only a shell would understand, in words; empty if there is nothing, or a shell is asked to."""
    if os.path.basename(argv[0]) in _SHELLS:
        return ""
    found = [f"{argv[0]}, which is a shell's own word"] if argv[0] in _BUILT_IN else []
    if re.match(r"\w+=", argv[0]):
        found.append("NAME=VALUE, for which there is env")
    for pattern, what in _SYNTAX:
        if any(re.fullmatch(pattern, word, re.DOTALL) for word in argv):
            found.append(what)
    if any(re.fullmatch(r"[^;]+;", word) for word in argv[1:]):
        found.append("a ; at the end of a word")
    if not found:
        return ""
    return f'no shell reads the command, but it has {", ".join(found)}: use ["/bin/sh", "-c", "exec ..."]'


def _in_brackets(*causes: str) -> str:
    known = [cause for cause in causes if cause]
    return f" ({'; '.join(known)})" if known else ""


def _hidden(path: str) -> str:
    """Whether the service's unit hides it; empty if it does not, or we are no service."""
    if "INVOCATION_ID" in os.environ and not os.path.exists(path):
        for folder, setting in _HIDDEN.items():
            if path.startswith(f"{folder}/"):
                return f"{setting} of a systemd unit hides {folder} from services: move it, to /opt say"
    return ""


def _fault_of(path: str) -> str:
    """Why a program that a path names is not found, or may not be run."""
    if missing := _missing(path):
        return missing
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return ""
    if stat.S_ISDIR(mode):
        return "it is a directory"
    if not mode & 0o111:
        return "it is not executable: chmod +x"
    if not os.access(path, os.X_OK):
        return f"user {os.geteuid()} may not execute it"
    if os.statvfs(path).f_flag & os.ST_NOEXEC:
        return "its file system is mounted noexec"
    return _fault_of_first_line(_beginning(path))


def _missing(path: str) -> str:
    """The first directory on the way to a path that is not there or may not be entered; empty if there is none."""
    for folder in _folders(path):
        if not os.path.isdir(folder):
            return f"there is no directory {shortened(folder, 200)}" if not os.path.lexists(folder) else ""
        if not os.access(folder, os.X_OK):
            return f"user {os.geteuid()} may not enter {shortened(folder, 200)}"
    return ""


def _folders(path: str) -> Iterator[str]:
    parts = os.path.dirname(os.path.abspath(path)).split("/")
    return ("/".join(parts[:end]) or "/" for end in range(1, len(parts) + 1))


def _not_in_path(name: str) -> str:
    if name in _BUILT_IN or "=" in name or name.startswith("~"):
        return ""  # `shell_syntax` says more
    return f"not found in PATH={shortened(os.environ.get('PATH', ''), 200)}"


def _fault_of_first_line(beginning: bytes) -> str:
    """Why the interpreter of an executable file may be missing: the kernel blames the file for it."""
    if beginning.startswith(b"\x7fELF"):
        return "its loader is missing: it was built for another system"
    if not beginning.startswith(b"#!"):
        return ""
    line = beginning.partition(b"\n")[0]
    interpreter = (line[2:].split() or [b""])[0].decode(errors="replace")
    if line.endswith(b"\r"):
        return "its #! line ends in a carriage return: save it with Unix line ends"
    if os.access(interpreter, os.X_OK):
        return ""
    fault = "cannot be run" if os.path.exists(interpreter) else "is missing"
    return f"its interpreter {fault}: #!{shortened(interpreter, 200)}"


def _format_of(path: str) -> str:
    """What the kernel does not know how to run."""
    import shutil

    beginning = _beginning(path if "/" in path else shutil.which(path) or path)
    if beginning.startswith(b"\x7fELF"):
        return "it was built for another kind of machine"
    if beginning.startswith(BOM_UTF8):
        return "a byte order mark comes before its #! line: save it without one"
    if not beginning:
        return "it is empty"
    return "it has no #! line, which names its interpreter"


def _beginning(path: str) -> bytes:
    """The first bytes of a regular file, nothing of any other."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        try:
            return os.read(descriptor, _READ) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""
        finally:
            os.close(descriptor)
    except OSError:
        return b""
