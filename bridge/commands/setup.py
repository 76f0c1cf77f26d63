"""`extauth-bridge setup`: as root, all that a service needs, from the installed package alone; or remove it again.

- Each step says in a line what became of it.  What is there already stays; done twice, it changes nothing.
- A file that somebody has changed is left alone, and `auth.toml` always is.
- Code that others than root can write is not run as a service: nothing is done then.
"""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import shutil
from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path

from bridge.commands import prosodymodule
from bridge.commands.cli import Parser, UsageError
from bridge.config.load import load
from bridge.config.settings import ProgramSettings, Settings
from bridge.setup import files, firstconfig, prosody, services
from bridge.setup.host import Host, SetupError
from bridge.setup.installation import SERVICE, SYSUSERS, TMPFILES, UNITS, Installation, broken, shipped
from bridge.setup.programs import configured, look_at, programs_of
from bridge.setup.report import Outcome, Report
from bridge.setup.trust import Trust
from bridge.terminal.takeover import ProgramTerminal

_SHOWN = 10
"""Paths that are listed when code is not root's: who sees these knows what to do with the others."""


def main(argv: Sequence[str], taken: ProgramTerminal | None) -> int:
    """Set up, or remove, what the units need.

    Returns:
      exit status: 0 all is so now, 1 something was left alone, 2 refused, or usage.

    Raises:
      UsageError: a step failed, or this is not root.
    """
    del taken
    end = argv.index("--") if "--" in argv else len(argv)
    parsed = _parser().parse_args(argv[:end])
    program = argv[end + 1 :]
    if parsed.protocol and not program:
        raise UsageError("setup --protocol goes with -- PROGRAM only")
    if parsed.remove and (program or parsed.force):
        raise UsageError("setup --remove goes with --dry-run and --json only")
    if any("\ud800" <= character <= "\udfff" for word in program for character in word):
        raise UsageError("setup: the program and its arguments must be UTF-8, which is what a configuration is")
    if os.geteuid() and not parsed.dry_run:
        raise UsageError("setup must be run by root; setup --dry-run shows what it would do")
    os.umask(0o022)  # Prosody and the service must be able to use what is made
    report = Report(dry_run=parsed.dry_run, as_json=parsed.json)
    setup = Setup(Host(), Installation.this(), report, force=parsed.force)
    try:
        return setup.remove() if parsed.remove else setup.install(program, parsed.protocol)
    except SetupError as error:
        raise UsageError(f"setup: {error}") from None
    except BrokenPipeError:
        raise  # whoever reads what is printed is gone
    except OSError as error:
        raise UsageError(f"setup: {error.filename or 'this system'}: {error.strerror}") from None


class Setup:
    """What the command does, on one host.

    Args:
      force: replace what was changed.
    """

    def __init__(self, host: Host, installation: Installation, report: Report, *, force: bool = False) -> None:
        self._host = host
        self._installation = installation
        self._report = report
        self._force = force

    def install(self, program: Sequence[str] = (), protocol: str | None = None) -> int:
        """Install all that is missing or old.

        Args:
          program: what the first configuration asks; by default the bundled program.
          protocol: what it speaks, if that is not the default.

        Returns:
          the exit status.
        """
        host, report = self._host, self._report
        host.needs_systemd()
        asked = load(None, {"protocol": protocol} if protocol else {}, program) if program else None
        if not self._only_roots(asked) and not report.dry_run:
            return report.end("Nothing was changed.")
        for unit, why in broken(host):
            report.add(Outcome.NOTE, f"{unit}: {why}")
        wanted = self._installation.files()
        changed = {file.path for file in wanted if files.put(host, report, file, force=self._force)}
        services.add_user(host, report)
        services.add_folders(host, report, next(file for file in wanted if file.path == TMPFILES))
        first = asked.program if asked else None
        firstconfig.make(host, report, self._installation.example(), first)
        services.start(host, report, changed=bool(changed - {SYSUSERS, TMPFILES}))
        module_changed = self._module()
        return report.end(self._following(module_changed, changed, first))

    def remove(self) -> int:
        """Stop everything, and remove what was installed and not changed since.

        Returns:
          the exit status.
        """
        host, report = self._host, self._report
        for name in prosody.naming(host):
            report.add(Outcome.NOTE, f'{name} still says authentication = "extauth_bridge": nobody can log in there')
        services.stop(host, report)
        changed = [files.remove(host, report, file) for file in self._installation.files()]
        for folder in sorted(host.path(UNITS).glob("extauth-bridge*.d")):
            report.add(Outcome.NOTE, f"{UNITS}/{folder.name} holds drop-ins of yours, and stays")
        self._remove_module()
        sockets = host.path("/run/extauth-bridge")
        report.step("/run/extauth-bridge is removed", sockets.exists(), lambda: shutil.rmtree(sockets))
        if host.booted and any(changed):
            report.step("systemd knows that they are gone", True, lambda: host.run("systemctl", "daemon-reload"))
        return report.end(self._left())

    @cached_property
    def _plugins(self) -> prosody.Plugins:
        return prosody.plugins(self._host)

    def _only_roots(self, asked: Settings | None) -> bool:
        """Whether nobody but root can change what the service is to run; what others can is reported."""
        trust = Trust(self._host)
        self._installation.look_at(trust, self._host)
        advice = _ADVICE if trust.faults else _ADVICE[:1]
        user = self._host.number("passwd", services.USER)
        for program in programs_of(asked) if asked else []:
            if not look_at(trust, self._host, program, user):
                raise SetupError(f"there is no program {program.argv[0]}")
        for name, settings in configured(self._host, trust):
            if not isinstance(settings, Settings):
                self._report.add(Outcome.LEFT, f"{name} cannot be used: {settings}")
                continue
            for program in programs_of(settings):
                if not look_at(trust, self._host, program, user):
                    self._report.add(Outcome.LEFT, f"{name}: there is no program {program.argv[0]}")
        if trust.faults:
            lines = [f"{path}: {why}" for path, why in trust.faults.items()]
            more = [f"and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
            self._report.add(Outcome.REFUSED, "a service must run what it can get at, and only root can change:",
                             *lines[:_SHOWN], *more, *advice)  # fmt: skip
        return not trust.faults

    def _module(self) -> bool:
        """Install Prosody's module; returns whether it was not current."""
        report, plugins = self._report, self._plugins
        if plugins.searched is None:
            report.add(Outcome.LEFT, "Prosody's module: there is no Prosody here; install it and run this again")
            return False
        folder = self._host.path(plugins.folder)
        if not plugins.searched:
            report.add(Outcome.NOTE, f"Prosody does not look in {plugins.folder}: see below")
        what = f"Prosody's module {prosodymodule.NAME}"
        current = folder.is_dir() and _quietly("--check", str(folder)) == 0
        trust = Trust(self._host)
        trust.path(plugins.folder)
        if trust.faults and not current:
            # Root would follow a link that somebody puts there, and write and delete where that leads.
            lines = [f"{path}: {why}" for path, why in trust.faults.items()]
            hint = f"Let only root write there, or do it as its owner: extauth-bridge prosody-module {plugins.folder}"
            report.add(Outcome.LEFT, f"{what}: others can write where it belongs", *lines, hint)
            return False
        report.step(plugins.folder, not folder.is_dir(), lambda: folder.mkdir(0o755, parents=True))
        return report.step(what, not current, lambda: _quietly(str(folder)))

    def _remove_module(self) -> None:
        report, plugins = self._report, self._plugins
        folder = self._host.path(plugins.folder)
        there = [folder / name for name in (prosodymodule.NAME, prosodymodule.MAIN) if os.path.lexists(folder / name)]
        if there and _quietly("--check", str(folder)) != 0:
            report.add(Outcome.LEFT, f"{plugins.folder}/{there[0].name} is not this version's: remove it yourself")
            return
        for path in there:
            report.step(f"{plugins.folder}/{path.name} is removed", True, partial(_remove, path))

    def _following(self, module_changed: bool, changed: set[str], first: ProgramSettings | None) -> str:
        """What is left to the administrator."""
        host, plugins = self._host, self._plugins
        lines = [] if plugins.searched in (True, None) else [_PATHS.format(folder=plugins.folder)]
        if named := prosody.naming(host):
            self._report.add(Outcome.SAME, f"authentication in {', '.join(named)}")
        else:
            lines.append(_CONFIGURE_PROSODY_S if first and first.protocol == "generic" else _CONFIGURE)
        if module_changed or not named:
            lines.append("Restart Prosody, which loads the module:\n\n    systemctl restart prosody.service\n")
        if running := services.active(host, "service"):
            command = _restart(running, services.active(host, "socket"), changed)
            lines.append(f"If the software was upgraded, restart what runs:\n\n    {command}\n")
        config = host.text(firstconfig.PATH) or firstconfig.first(self._installation.example(), first)  # in a dry run
        commands = self._installation.commands
        add = _ADD.format(commands=commands) if "extauth-sqlite" in config else ""
        lines.append(_TRY.format(add=add, commands=commands, shipped=shipped()))
        return "\n".join(lines)

    def _left(self) -> str:
        prefix = self._installation.prefix
        software = f"rm -r {shlex.quote(str(prefix))}" if prefix else "pip uninstall extauth-bridge"
        return _LEFT.format(software=software)


def _restart(running: Sequence[str], sockets: Sequence[str], changed: set[str]) -> str:
    """The command: sockets cannot be restarted while their service runs."""
    if not any(path.endswith(".socket") for path in changed):
        return f"systemctl restart {' '.join(running)}"
    return f"systemctl stop {' '.join(running)} && systemctl restart {' '.join(sockets)}"


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _quietly(*argv: str) -> int:
    """Run `prosody-module`, whose output says what we say in another way."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return prosodymodule.main(argv, None)


_ADVICE = (
    "Let only root write to it (chown root:root, chmod go-w), or put it where only root can, such as below /opt.",
    "The software:",
    "    umask 022; python3 -m venv /opt/extauth-bridge; /opt/extauth-bridge/bin/pip install extauth-bridge",
)

_PATHS = """\
In /etc/prosody/prosody.cfg.lua, in addition to the paths already there:

    plugin_paths = {{ "{folder}" }}
"""

_CONFIGURE = """\
In Prosody's configuration, for each VirtualHost that the program is to serve:

    authentication = "extauth_bridge"
    extauth_bridge_saslprep = false

The second line has passwords arrive as clients send them, which is how ejabberd passes them on and what programs for
it expect. Without it Prosody normalises them first (SASLprep), which changes some that are not ASCII and refuses long
ones: leave it out where passwords were stored through Prosody so far.
"""

_CONFIGURE_PROSODY_S = """\
In Prosody's configuration, for each VirtualHost that the program is to serve:

    authentication = "extauth_bridge"

Passwords arrive as Prosody normalises them (SASLprep), as they did where it asked the program itself.
"""

_TRY = """\
Ask a question by hand:

{add}    {commands}/extauth-bridge ask auth alice@example.com /run/extauth-bridge/auth.sock

Drop-ins and examples are in {shipped}."""

_ADD = """\
    {commands}/extauth-sqlite /var/lib/extauth-bridge/users.db adduser alice@example.com
"""

_LEFT = """\
Left for you to remove, or to use again:

    rm -r /etc/extauth-bridge       # the configuration
    rm -r /var/lib/extauth-bridge   # what programs keep: users and passwords of the bundled one
    userdel extauth-bridge          # to whom they belong
    {software}"""


def _parser() -> Parser:
    parser = Parser(
        "setup",
        "[--dry-run] [--force] [--json] [--remove] [--protocol NAME] [-- PROGRAM ARG...]",
        "As root, set up the shared daemon: its user, directories, systemd units, a first "
        f"{firstconfig.PATH}, which asks PROGRAM or else the bundled one, and Prosody's module; then enable {SERVICE} "
        "and open its sockets.  It can be repeated, and must be after an upgrade.",
        "Exit status: 0 all is so now, 1 something was left alone and is named, 2 refused, failed, or usage.",
    )
    parser.add_argument("--dry-run", action="store_true", help="change nothing, show what would be done; needs no root")
    parser.add_argument(
        "--force", action="store_true", help=f"replace files that were changed; never {firstconfig.PATH}"
    )
    parser.add_argument(
        "--protocol",
        choices=("ejabberd", "generic"),
        metavar="NAME",
        help="what PROGRAM speaks: ejabberd's frames (default), or generic, Prosody's lines",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object, for scripts")
    parser.add_argument("--remove", action="store_true", help="stop everything, and remove what was installed")
    return parser
