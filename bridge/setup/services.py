"""The units at work: known to systemd, enabled, started; and all of them stopped, instances too."""

from __future__ import annotations

import re
from pathlib import Path

from bridge.setup.files import File
from bridge.setup.host import Host
from bridge.setup.installation import SERVICE, SOCKETS, SYSUSERS, TMPFILES, UNITS
from bridge.setup.report import Outcome, Report

USER = "extauth-bridge"

_OURS = re.compile(r"extauth-bridge(-status)?(@.*)?\.(service|socket)").fullmatch
"""Of a unit's name: an administrator may have others that begin like it, to monitor the daemon for instance."""


def add_user(host: Host, report: Report) -> None:
    """Create the user and group of the daemon and its programs."""
    name = Path(SYSUSERS).name
    missing = host.number("passwd", USER) is None
    report.step(f"user and group {USER}", missing, lambda: host.run("systemd-sysusers", name))


def add_folders(host: Host, report: Report, conf: File) -> None:
    """Create the directories, with the owners and modes that they are to have."""
    lines = [line.split() for line in conf.text.splitlines() if line.startswith("d ")]
    needed = [path for _, path, mode, user, group, *_ in lines if not _is_so(host, path, int(mode, 8), user, group)]
    what = f"directories {', '.join(path for _, path, *_ in lines)}"
    report.step(what, bool(needed), lambda: host.run("systemd-tmpfiles", "--create", Path(TMPFILES).name))


def _is_so(host: Host, path: str, mode: int, user: str, group: str) -> bool:
    folder = host.path(path)
    if not folder.is_dir():
        return False
    status = folder.stat()
    ids = host.number("passwd", user), host.number("group", group)
    return (status.st_mode & 0o7777, (status.st_uid, status.st_gid)) == (mode, ids)


def start(host: Host, report: Report, *, changed: bool) -> None:
    """Have systemd know the units, start the daemon at every boot, and open its sockets now.

    Args:
      changed: units were, so that systemd must read them again.
    """
    if host.booted:
        stale = host.asked("systemctl", "show", "--value", "--property=NeedDaemonReload", SERVICE, *SOCKETS)
        report.step(
            "systemd knows the units", changed or "yes" in stale, lambda: host.run("systemctl", "daemon-reload")
        )
    units = [SERVICE, *SOCKETS]
    enabled = host.asked("systemctl", "is-enabled", *units) == ["enabled"] * len(units)
    report.step("enabled at every boot", not enabled, lambda: host.run("systemctl", "--quiet", "enable", *units))
    if not host.booted:
        report.add(Outcome.NOTE, "systemd does not run here: nothing is started")
        return
    shown = host.asked("systemctl", "show", "--value", "--property=SocketGroup", SOCKETS[0])
    group = next((name for name in shown if name), "prosody")
    if not host.asked("getent", "group", group):
        hint = "Install Prosody, or name its group (systemctl edit extauth-bridge.socket: [Socket], SocketGroup=NAME);"
        report.add(Outcome.LEFT, f"sockets: no group {group} to open them for", hint, "then run this again.")
        return
    active = host.asked("systemctl", "is-active", *SOCKETS) == ["active"] * len(SOCKETS)
    report.step(f"started {' '.join(SOCKETS)}", not active, lambda: host.run("systemctl", "start", *SOCKETS))


def active(host: Host, kind: str) -> list[str]:
    """Our units of a kind, `service` or `socket`, that are active now."""
    if not host.booted:
        return []
    shown = host.asked("systemctl", "list-units", "--plain", "--no-legend", "--state=active", f"extauth-bridge*.{kind}")
    return [*filter(_OURS, (line.split()[0] for line in shown if line.split()))]


def stop(host: Host, report: Report) -> None:
    """Stop and disable everything, also every instance of the templates."""
    units = _all(host)
    if not units:
        report.step("nothing is enabled or runs", False, list)
        return
    now = ["--now"] if host.booted else []
    report.step(
        f"stopped and disabled {' '.join(units)}",
        True,
        lambda: host.run("systemctl", "--quiet", "disable", *now, *units),
    )


def _all(host: Host) -> list[str]:
    """All units of ours that are enabled or loaded; sockets first, lest they start a service again."""
    links = host.path(UNITS).glob("*.wants/extauth-bridge*")
    shown = host.asked("systemctl", "list-units", "--all", "--plain", "--no-legend", "extauth-bridge*")
    loaded = [line.split()[0] for line in shown if line.split()] if host.booted else []
    found = {*loaded, *(link.name for link in links)}
    return sorted(
        filter(_OURS, found),
        key=lambda unit: (unit.endswith(".service"), unit),
    )
