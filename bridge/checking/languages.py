"""How a program's output is made to leave its buffer after each reply, in the language that it seems to be in."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence

_HEAD = 256
"""Bytes in which an interpreter's name stands."""

_FLUSHES = {
    "perl": "at its top: $| = 1; (Perl)",
    "python": "print(..., flush=True), or run it with python3 -u (Python)",
    "ruby": "at its top: $stdout.sync = true (Ruby)",
    "lua": 'at its top: io.stdout:setvbuf("no") (Lua)',
    "php": "after each echo: flush(), and no output_buffering in php.ini (PHP)",
    "node": "process.stdout.write, not a stream of its own (Node.js)",
    "sh": "what it pipes through must not buffer: stdbuf -oL COMMAND, sed -u, grep --line-buffered (shell)",
}
_SUFFIXES = {".pl": "perl", ".py": "python", ".rb": "ruby", ".lua": "lua", ".php": "php", ".js": "node", ".sh": "sh"}
_COMPILED = (
    "setvbuf(stdout, NULL, _IOLBF, 0) at its start, or fflush (C); Flush (Go's bufio); without a change, often: "
    "program = stdbuf -oL and the command as it is"
)


def flushing(argv: Sequence[str]) -> str:
    """What to do about a program whose output is buffered."""
    return f"flush stdout after each reply: {_FLUSHES.get(language(argv), _COMPILED)}"


def language(argv: Sequence[str]) -> str:
    """The language of the interpreter that runs this, or of the file that it runs; empty if it is a compiled one."""
    for word in argv[:2]:
        known = _named(os.path.basename(word))
        if known:
            return known
    return _named(os.path.basename(_interpreter(shutil.which(argv[0]) or argv[0])))


def _named(name: str) -> str:
    suffix = os.path.splitext(name)[1]
    if suffix in _SUFFIXES:
        return _SUFFIXES[suffix]
    bare = name.rstrip("0123456789.-")
    return "sh" if bare in ("bash", "dash", "ksh", "zsh") else bare if bare in _FLUSHES else ""


def _interpreter(path: str) -> str:
    """What the first line of a script names; empty if there is none."""
    try:
        with open(path, "rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return ""
    words = head[2:].partition(b"\n")[0].split() if head.startswith(b"#!") else []
    if len(words) > 1 and os.path.basename(words[0]) == b"env":
        words = [word for word in words[1:] if not word.startswith(b"-")]
    return os.fsdecode(words[0]) if words else ""
