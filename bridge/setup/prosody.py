"""Prosody's side: where it looks for modules, and which of its files name ours."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import attrs

from bridge.setup.host import Host

DEBIAN = "/usr/local/lib/prosody/modules"
"""Where Debian's Prosody looks for modules that do not come from Debian."""

_OWN = ("/usr/lib/prosody", "/var/lib/prosody")
"""Debian's own modules, and those that `prosodyctl install` puts there, as the user prosody."""


@attrs.frozen
class Plugins:
    """Where our module belongs.

    Attributes:
      folder: the directory.
      searched: Prosody looks there already; `None` if there is no Prosody.
    """

    folder: str
    searched: bool | None


def plugins(host: Host) -> Plugins:
    """Find the directory for our module: Debian's, or the first of `plugin_paths`."""
    if not any(host.path(path).exists() for path in ("/etc/prosody/prosody.cfg.lua", "/usr/bin/prosodyctl")):
        return Plugins(DEBIAN, None)
    found = [*_said(host)] or [*_written(host)]
    ours = [folder for folder in found if not folder.startswith(_OWN)]
    if DEBIAN in ours or not ours:
        return Plugins(DEBIAN, DEBIAN in ours)
    return Plugins(ours[0], True)


def naming(host: Host) -> list[str]:
    """Prosody's configuration files that name our module."""
    names = [f"/{path.relative_to(host.root)}" for path in sorted(host.path("/etc/prosody").rglob("*.cfg.lua"))]
    used = re.compile(r"""^\s*authentication\s*=\s*["']extauth_bridge["']""", re.MULTILINE)
    return [name for name in names if used.search(host.text(name))]


def _said(host: Host) -> Iterator[str]:
    """What Prosody says itself; nothing if its configuration is broken."""
    if host.root != Path("/"):
        return
    lines = iter(host.asked("prosodyctl", "about"))
    for line in lines:
        if line.startswith("Plugin directories:"):
            break
    for line in lines:
        if not (found := re.match(r"\s+(/.*?)/?( - .*)?$", line)):
            return
        yield found[1]


def _written(host: Host) -> Iterator[str]:
    """What the configuration sets, and what Debian's Prosody adds."""
    text = host.text("/etc/prosody/prosody.cfg.lua")
    for paths in re.findall(r"^\s*plugin_paths\s*=\s*(\{[^}]*|[^\n]*)", text, re.MULTILINE):
        yield from (path.rstrip("/") for path in re.findall(r"""["'](/[^"']*)["']""", paths))
    if host.path("/usr/lib/prosody").exists():
        yield DEBIAN
