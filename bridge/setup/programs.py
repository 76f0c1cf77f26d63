"""The authentication programs of the configurations, and which files of theirs are code."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from bridge.config.load import load
from bridge.config.settings import ConfigError, ProgramSettings, Settings
from bridge.setup.host import Host
from bridge.setup.trust import Trust

FOLDER = "/etc/extauth-bridge"

_SEARCHED = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
"""Where systemd's services look for programs."""

_NESTED = 5
"""As many scripts as the kernel lets run each other."""

_CODE = {
    *(".class", ".exs", ".jar", ".js", ".lua", ".luac", ".mjs", ".cjs", ".phar", ".php"),
    *(".pl", ".pm", ".py", ".pyc", ".pyz", ".rb", ".sh", ".tcl", ".ts"),
}


_LOADED_FROM = ("PATH", "LD_PRELOAD", "LD_LIBRARY_PATH", "PYTHONPATH", "PERL5LIB", "RUBYLIB", "NODE_PATH", "CLASSPATH")
"""Variables that tell a program where code is, separated by colons."""


def configured(host: Host, trust: Trust) -> Iterator[tuple[str, Settings | ConfigError]]:
    """Every configuration of the daemon and its instances, or why it cannot be used.

    `trust` looks at them: whoever writes one decides which program is run.
    """
    for path in sorted(host.path(FOLDER).glob("*.toml")):
        trust.path(f"{FOLDER}/{path.name}")
        try:
            yield f"{FOLDER}/{path.name}", load(str(path), {})
        except ConfigError as error:
            yield f"{FOLDER}/{path.name}", error


def programs_of(settings: Settings) -> list[ProgramSettings]:
    """All programs of a configuration."""
    own = [settings.program] if settings.program else []
    return [*own, *settings.hosts.values()]


def look_at(trust: Trust, host: Host, program: ProgramSettings, user: int | None) -> bool:
    """Have `trust` look at all that this program is known to run.

    Args:
      user: the service's, who may own the working directory.

    Returns:
      whether the program is there at all.
    """
    trust.path(program.cwd, owners=() if user is None else (user,))
    for path in code_of(host, program.argv, program.cwd):
        trust.path(path)
    for place in ":".join(program.env.get(name, "") for name in _LOADED_FROM).split(":"):
        if place.startswith("/"):
            trust.path(place)
    return _found(host, program.argv[0]) is not None


def code_of(host: Host, argv: Sequence[str], cwd: str = "/") -> Iterator[str]:
    """The program, the interpreters named in `#!` lines, and whichever arguments are code themselves.

    That covers `php FILE`, and also what `env` or `nice` run.  A database or a configuration is not code.
    """
    for place, word in enumerate(argv):
        path = _found(host, word) if place == 0 else os.path.join(cwd, word)
        if path and (place == 0 or _is_code(host.path(path))):
            yield path
            yield from _interpreters(host, path)


def _found(host: Host, word: str) -> str | None:
    """The file that is run when a program is called so."""
    places = [word] if "/" in word else [f"{folder}/{word}" for folder in _SEARCHED]
    return next((path for path in places if host.path(path).is_file()), None)


def _interpreters(host: Host, path: str | None) -> Iterator[str]:
    """What a script names in its first line, or has `env` look for; that may be a script, too."""
    for _ in range(_NESTED):
        words = _first_line(host.path(path)).split() if path else []
        if not words or not words[0].startswith("#!"):
            return
        words = " ".join(words)[2:].split()
        if words and os.path.basename(words[0]) == "env":
            words = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
        path = _found(host, words[0]) if words else None
        if path:
            yield path


def _is_code(path: Path) -> bool:
    try:
        if not path.is_file():
            return False
    except OSError:
        return False  # no name of a file, such as a whole script behind `sh -c`
    return os.access(path, os.X_OK) or path.suffix in _CODE or _first_line(path).startswith(("#!", "<?"))


def _first_line(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.readline(256).decode("utf-8", "replace")
    except PermissionError:
        return ""  # not to be read by whoever has a dry run
