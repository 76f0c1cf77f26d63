"""A program that has changed its user, so that the bridge may not kill it."""

import os
from pathlib import Path

from support.components import command, missing
from support.programs.replies import compiled

NOBODY = 65534


def as_somebody_else() -> list[str]:
    """What to put before a command that root runs, for it to be one of a user, and group, of no process on this machine
    but those of this run: the kernel counts what a user has.
    """
    uid = 20_000 + os.getpid() % 30_000
    user = [command("setpriv", "util-linux"), f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
    # A Python below /root stays readable.
    return [*user, "--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"]


def changes_user(folder: Path) -> str:
    """tests/programs/changes_user.c, compiled into `folder` and installed set-user-ID; root starts it as nobody."""
    if os.geteuid():
        missing("root, to install a program of another user", "sudo")
    path = compiled(folder, "changes_user")
    if os.statvfs(path).f_flag & os.ST_NOSUID:
        missing(f"a file system without nosuid at {folder}", "mount")
    os.chown(path, NOBODY, NOBODY)
    os.chmod(path, 0o4755)
    return path


def without_the_right_to_kill() -> tuple[str, ...]:
    """What to put before a command that root runs, for it to have no power over other users' processes."""
    setpriv = command("setpriv", "util-linux")
    return (setpriv, "--bounding-set=-kill", "--inh-caps=-kill")
