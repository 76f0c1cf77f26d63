"""Files that setup installs, and knows again.

Each begins with a line that holds a digest of all that follows.  A file whose digest is right was not changed since, so
that an upgrade may replace it, and a removal may remove it.  Any other is somebody's work: it is left alone, and shown.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import os
import tempfile
from pathlib import Path

import attrs

from bridge.log.text import escaped
from bridge.setup import former
from bridge.setup.host import Host
from bridge.setup.report import Outcome, Report

_MARK = '# Installed by "extauth-bridge setup", which replaces it at an upgrade if this is still its digest: '

_DIGITS = 32
"""128 bits of the digest: enough to tell what somebody has changed; it keeps nobody from writing a right one."""


@attrs.frozen
class File:
    """A file to install.

    Attributes:
      path: where, on the host.
      text: what it is to hold, below the line with the digest.
    """

    path: str
    text: str


def marked(text: str) -> str:
    """The text below a line with its digest."""
    return f"{_MARK}{_digest(text)}\n{text}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]


def unchanged(current: str, file: File) -> bool:
    """Whether nobody has changed it since it was installed, by any version of setup, or copied by hand."""
    _, _, text = current.partition("\n")
    return current in (marked(text), file.text) or _digest(current) in former.DIGESTS


def current_text(path: Path) -> str | None:
    """What is there, `None` if nothing is; of a symbolic link, where it leads to."""
    if path.is_symlink():
        return f"(a symbolic link to {os.readlink(path)})\n"
    try:
        return path.read_text(errors="replace") if path.is_file() else "(not a file)\n" if path.exists() else None
    except PermissionError:
        return "(only root may read it)\n"


def put(host: Host, report: Report, file: File, *, force: bool) -> bool:
    """Install a file, unless somebody has changed the one that is there.

    Args:
      force: replace it even then.

    Returns:
      whether something was changed.
    """
    target, wanted = host.path(file.path), marked(file.text)
    current = current_text(target)
    if current is None or current == wanted or unchanged(current, file):
        return report.step(file.path, current != wanted, lambda: write(target, wanted))
    difference = _difference(file.path, current, wanted)
    if force or _agreed(file.path, difference, report):
        return report.step(f"{file.path}, which was changed", True, lambda: write(target, wanted))
    report.add(Outcome.LEFT, f"{file.path} is not what setup installs; --force replaces it:", *difference)
    return False


def remove(host: Host, report: Report, file: File) -> bool:
    """Remove a file, unless somebody has changed it.

    Returns:
      whether something was changed.
    """
    target = host.path(file.path)
    current = current_text(target)
    if current is not None and not unchanged(current, file):
        report.add(Outcome.LEFT, f"{file.path} was changed: remove it yourself")
        return False
    return report.step(f"{file.path} is removed", current is not None, target.unlink)


def write(target: Path, text: str, mode: int = 0o644, group: int = -1) -> None:
    """Write a text, with its directory, so that it appears whole or not at all."""
    target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    write_whole(target, text.encode(), mode, group)


def write_whole(target: Path, content: bytes, mode: int, group: int = -1) -> None:
    """Write a file so that it appears whole or not at all, and replaces whatever had its name, a symbolic link too."""
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            os.fchown(descriptor, -1, group)
            os.fchmod(descriptor, mode)
            file.flush()
            os.fsync(descriptor)
        os.replace(name, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


def _difference(path: str, current: str, wanted: str) -> list[str]:
    lines = difflib.unified_diff(current.splitlines(), wanted.splitlines(), path, "what setup installs", lineterm="")
    return [*lines]


def _agreed(path: str, difference: list[str], report: Report) -> bool:
    """Whether a person at a terminal wants it replaced."""
    if report.dry_run or not report.interactive:
        return False
    print(*map(escaped, difference), sep="\n")
    try:
        return input(f"{path} was changed. Replace it? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False
