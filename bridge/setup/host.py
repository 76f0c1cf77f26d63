"""The system that is set up, below its root directory, and the commands that change it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import attrs

from bridge.log.text import escaped

_PATIENCE = 120.0
"""Seconds for one command.  The longest, stopping a daemon that drains, takes at most its TimeoutStopSec=."""

_WITH_ROOT = ("systemctl", "systemd-sysusers", "systemd-tmpfiles")


class SetupError(Exception):
    """A step failed, or may not be done.  The text is one line for an administrator."""


@attrs.frozen
class Host:
    """A root file system.

    Args:
      root: its root directory; where it is not `/`, nothing runs in it.
      owner: the user id that everything in it is to belong to.
    """

    root: Path = Path("/")
    owner: int = 0

    def path(self, absolute: str | Path) -> Path:
        """Where a path of the host's is, as seen from here."""
        return self.root / str(absolute).lstrip("/")

    def needs_systemd(self) -> None:
        """Check that there is a systemd to set up.

        Raises:
          SetupError: there is none.
        """
        if not any(self.path(f"{folder}/systemctl").exists() for folder in ("/usr/bin", "/bin")):
            raise SetupError("there is no systemd here; in a container, have `extauth-bridge serve` run instead")

    @property
    def booted(self) -> bool:
        """Whether systemd runs it, as sd_booted(3) finds out."""
        return self.root == Path("/") and self.path("/run/systemd/system").is_dir()

    def run(self, *words: str) -> str:
        """Run a command, in the C locale.

        Returns:
          its output.

        Raises:
          SetupError: it could not be run, or failed.
        """
        done = self._run(*words)
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines() or [f"exit status {done.returncode}"]
            raise SetupError(f"{' '.join(words)}: {escaped('; '.join(said))}")
        return done.stdout

    def asked(self, *words: str) -> list[str]:
        """The lines a command prints, whatever its exit status says; none if there is no such command."""
        try:
            return self._run(*words).stdout.splitlines()
        except SetupError:
            return []

    def _run(self, *words: str) -> subprocess.CompletedProcess[str]:
        command, *rest = words
        if command in _WITH_ROOT and self.root != Path("/"):
            rest = [f"--root={self.root}", *rest]
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/root"}
        try:
            return subprocess.run(
                [command, *rest],
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_PATIENCE,
                check=False,
            )
        except FileNotFoundError:
            raise SetupError(f"{command}: there is no such command; this needs a system with systemd") from None
        except (OSError, subprocess.TimeoutExpired) as error:
            raise SetupError(f"{command}: {error}") from None

    def text(self, absolute: str | Path) -> str:
        """What a file holds; nothing if it is not there, or only root may look."""
        try:
            return self.path(absolute).read_text(errors="replace")
        except (FileNotFoundError, PermissionError):
            return ""

    def number(self, database: str, name: str) -> int | None:
        """The id of a user (`passwd`) or a group (`group`) of the host's own; `None` if there is none."""
        lines = self.text(f"/etc/{database}").splitlines()
        return next((int(line.split(":")[2]) for line in lines if line.startswith(f"{name}:")), None)
