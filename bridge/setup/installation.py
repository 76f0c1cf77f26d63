"""This installation: its commands, its code, and the units with its paths filled in."""

from __future__ import annotations

import os
import re
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import attrs

import bridge
from bridge.setup.files import File
from bridge.setup.host import Host, SetupError
from bridge.setup.trust import Trust

_SHIPPED = Path("/opt/extauth-bridge")
"""Where the units, as they are shipped, expect an environment."""

SERVICE = "extauth-bridge.service"
SOCKETS = ("extauth-bridge.socket", "extauth-bridge-status.socket")
UNITS = "/etc/systemd/system"
SYSUSERS = "/etc/sysusers.d/extauth-bridge.conf"
TMPFILES = "/etc/tmpfiles.d/extauth-bridge.conf"


@attrs.frozen
class Installation:
    """Where the software is.

    Attributes:
      prefix: its environment; `None` if it shares Python's own.
      commands: the directory of its commands.
      interpreter: what runs them.
      libraries: where it imports from.
    """

    prefix: Path | None
    commands: Path
    interpreter: Path
    libraries: tuple[Path, ...]

    @classmethod
    def this(cls) -> Installation:
        """The one that runs now."""
        ours_alone = {os.getcwd(), *os.environ.get("PYTHONPATH", "").split(":")}  # a service has neither
        searched = [Path(path) for path in sys.path if os.path.isabs(path) and path not in ours_alone]
        libraries = [Path(bridge.__file__).parent, *searched]
        prefix = Path(sys.prefix) if sys.prefix != sys.base_prefix else None
        return cls(prefix, Path(sysconfig.get_path("scripts")), Path(sys.executable), tuple(libraries))

    @property
    def command(self) -> Path:
        """`extauth-bridge`."""
        return self.commands / "extauth-bridge"

    def look_at(self, trust: Trust, host: Host) -> None:
        """Have `trust` look at all of its code.

        Raises:
          SetupError: its command is missing, or has a name that no unit can hold.
        """
        if not host.path(self.command).exists():
            raise SetupError(f"{self.command} is missing: install extauth-bridge with pip or pipx, and run that")
        if not re.fullmatch(r"[\w@/.+:-]+", str(self.command), re.ASCII):
            raise SetupError(f"{self.command}: a unit cannot hold this name; install it where names are plain")
        trust.path(self.interpreter)
        for tree in (self.prefix or self.command, *self.libraries):
            if host.path(tree).exists():
                trust.tree(tree)
        for needed in (self.command, self.interpreter, Path(bridge.__file__)):
            if host.path(needed).exists():
                trust.usable(needed)

    def files(self) -> list[File]:
        """The units, and the files for systemd-sysusers and systemd-tmpfiles."""
        units = [path for path in sorted(shipped().iterdir()) if path.suffix in (".service", ".socket")]
        return [
            *(File(f"{UNITS}/{path.name}", self._filled_in(path.read_text())) for path in units),
            File(SYSUSERS, (shipped() / "sysusers.d/extauth-bridge.conf").read_text()),
            File(TMPFILES, (shipped() / "tmpfiles.d/extauth-bridge.conf").read_text()),
        ]

    def example(self) -> str:
        """The first configuration."""
        return self._filled_in((shipped() / "examples/auth.toml").read_text())

    def _filled_in(self, text: str) -> str:
        own = {f"{_SHIPPED}/bin/": f"{self.commands}/", str(_SHIPPED): str(self.prefix or _SHIPPED)}
        # In one go: our own paths may hold the shipped one.
        return re.sub("|".join(map(re.escape, own)), lambda found: own[found[0]], text)


def shipped() -> Path:
    """The folder with units, drop-ins and examples."""
    return Path(bridge.__file__).parent / "systemd"


def broken(host: Host) -> Iterator[tuple[str, str]]:
    """Commands that installed units name and that cannot run, each with why."""
    for unit in sorted(host.path(UNITS).glob("extauth-bridge*.service")):
        for command in {*re.findall(r"^ExecStart=(\S+)", host.text(f"{UNITS}/{unit.name}"), re.MULTILINE)}:
            if why := _why_broken(host, command):
                yield f"{UNITS}/{unit.name}", f"{command} {why}"


def _why_broken(host: Host, command: str) -> str:
    """Why a command that pip installed cannot run any more; empty if it can, as far as can be told."""
    path = host.path(command)
    if not path.is_file():
        return "is missing"
    interpreter = path.read_bytes()[:256].partition(b"\n")[0].removeprefix(b"#!").decode(errors="replace").strip()
    if not interpreter.startswith("/"):
        return ""
    if not host.path(interpreter).exists():
        return f"cannot run: its interpreter {interpreter} is gone"
    libraries = Path(interpreter).parent.parent / "lib"
    version = os.path.basename(os.path.realpath(host.path(interpreter)))
    if host.path(libraries.parent / "pyvenv.cfg").exists() and not host.path(libraries / version).exists():
        return f"cannot run: it was installed for another version of Python than today's, {version}"
    return ""
