"""`extauth-bridge check`: does this program speak the protocol, and where does it deviate?"""

from __future__ import annotations

import os
import pwd
import signal
import sys
from collections.abc import Iterator, Sequence

from bridge.checking import surroundings
from bridge.checking.course import tried
from bridge.checking.findings import Finding, Level, note
from bridge.checking.lab import Account, Lab
from bridge.checking.report import Report, as_json, command_line, toml
from bridge.commands.arguments import Arguments
from bridge.commands.cli import Parser, UsageError
from bridge.commands.password import read_password
from bridge.config.settings import ProgramSettings, Settings
from bridge.relay.settings import RelayConfigError, read
from bridge.terminal.takeover import ProgramTerminal

_DEVIATES = 1
_UNUSABLE = 2

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""What systemd gives to services, on Debian."""


def main(argv: Sequence[str], taken: ProgramTerminal | None) -> int:
    """Check the file, and each of its programs.

    Returns:
      exit status: 0 nothing deviates, 1 something does, 2 the configuration cannot work.

    Raises:
      UsageError, ConfigError: nothing was checked.
    """
    del taken
    arguments = _arguments(argv)
    _refuse_relays(arguments.file)
    settings = arguments.reader()()
    parsed = arguments.parsed
    account = _account(parsed.account)
    file = os.path.abspath(arguments.file) if arguments.file else None
    if parsed.user is not None:
        _become(parsed.user)
    signal.signal(signal.SIGTERM, _terminated)
    try:
        return _Check(settings, file, account, parsed.allow_changes, parsed.json).run()
    except OSError as failure:  # only printing is left to raise one
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is still buffered would fail again when Python ends
        raise UsageError(f"standard output: {failure.strerror}") from None


def _terminated(number: int, _frame: object) -> None:
    """Exit in the orderly way, which ends the programs."""
    sys.exit(128 + number)


class _Check:
    """One run.

    Args:
      file: an absolute path, or `None`.
      account: its host's program is tried with it, too.
      changes: whether trials may change accounts.
      for_script: print JSON, at the end.
    """

    def __init__(
        self, settings: Settings, file: str | None, account: Account | None, changes: bool, for_script: bool
    ) -> None:
        self._settings = settings
        self._file = file
        self._account = account
        self._changes = changes
        self._report = None if for_script else Report(sys.stdout)

    def run(self) -> int:
        """Check everything, and print it; returns the exit status."""
        about_file = [*self._told(self._about_file())]
        programs: list[tuple[Sequence[str], Sequence[str], Sequence[Finding]]] = []
        for program, hosts in self._programs():
            if self._report:
                others = " but those below" if self._settings.hosts else ""
                serves = ", ".join(hosts) if hosts[0] else f"all hosts{others}"
                self._report.heading(f"{command_line(program.argv)}  ({serves})")
            findings = [*self._told(self._about(program, hosts))]
            programs.append((program.argv, hosts, findings))
            if self._report:
                self._report.summary(findings, toml(program, hosts, findings))
        status = _status([*about_file, *(finding for *_, findings in programs for finding in findings)])
        if self._report is None:
            print(as_json(about_file, programs, status), flush=True)
        return status

    def _told(self, findings: Iterator[Finding]) -> Iterator[Finding]:
        if self._report:
            self._report.trying("trying ...")
        for finding in findings:
            if self._report:
                self._report.finding(finding)
                self._report.trying("trying ...")
            yield finding
        if self._report:
            self._report.trying("")

    def _about_file(self) -> Iterator[Finding]:
        if self._file is not None:
            if self._report:
                self._report.heading(self._file)
            yield from surroundings.of_file(self._file, self._settings)
        if os.geteuid() == 0:
            if self._report and self._file is None:
                self._report.heading("as root")
            yield note(
                "user",
                "this is root, who may do everything; a program started by it runs as root, too",
                "the service's user may not be allowed what works here",
                "check as that user: --user extauth-bridge (or prosody, without the service)",
            )

    def _about(self, program: ProgramSettings, hosts: Sequence[str]) -> Iterator[Finding]:
        usable = True
        for finding in surroundings.of_program(program):
            usable = usable and finding.level is not Level.ERROR
            yield finding
        if not usable:
            return
        account = self._account if self._account and self._serves(program, self._account.host) else None
        lab = Lab(program, self._settings, hosts[0], account, self._changes)
        try:
            yield from tried(lab)
        finally:
            lab.stop()

    def _programs(self) -> Iterator[tuple[ProgramSettings, list[str]]]:
        """Each program, with its hosts; an empty one stands for all that have none of their own."""
        if self._settings.program is not None:
            yield self._settings.program, [""]
        programs: list[tuple[ProgramSettings, list[str]]] = []
        for host, program in self._settings.hosts.items():
            same = next((hosts for other, hosts in programs if other == program), None)
            if same is None:
                programs.append((program, [host]))
            else:
                same.append(host)
        yield from programs

    def _serves(self, program: ProgramSettings, host: str) -> bool:
        return self._settings.hosts.get(host.lower(), self._settings.program) == program


def _status(findings: Sequence[Finding]) -> int:
    levels = {finding.level for finding in findings}
    if Level.ERROR in levels:
        return _UNUSABLE
    return _DEVIATES if Level.DEVIATES in levels else 0


def _refuse_relays(file: str | None) -> None:
    if file is None:
        return
    try:
        relay = read(file)
    except RelayConfigError as error:
        raise UsageError(str(error)) from None
    if relay is not None:
        raise UsageError(f"{file} passes questions on to the daemon at {relay.path}: check the daemon's own file")


def _account(name: str | None) -> Account | None:
    """The account that was given, and its password from the terminal or standard input.

    Raises:
      UsageError: the name cannot be sent, or there is no password.
    """
    if name is None:
        return None
    user, at, host = name.rpartition("@")
    if not (user and at and host) or ":" in name:
        raise UsageError(f"{name!r} is not of the form USER@HOST, without colons")
    secret = read_password(name).encode(errors="surrogateescape")
    if not secret:
        raise UsageError(f"no password of {name} was given")
    return Account(user, host, secret)


def _become(name: str) -> None:
    """Become another user, with the environment that systemd would give to a service of theirs.

    Raises:
      UsageError: only root can, or there is no such user.
    """
    try:
        user = pwd.getpwnam(name)
    except KeyError:
        raise UsageError(f"--user {name}: there is no such user") from None
    if os.geteuid() == user.pw_uid != 0:
        return
    if os.geteuid() != 0:
        raise UsageError("--user: only root can become another user")
    os.initgroups(name, user.pw_gid)
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)
    os.umask(0o077)  # as the unit has it: what a program makes now would else stay readable by everybody
    kept = {variable: value for variable, value in os.environ.items() if variable in _KEPT}
    os.environ.clear()
    os.environ.update(kept, PATH=_PATH, HOME=user.pw_dir, USER=name, LOGNAME=name, SHELL=user.pw_shell)


_KEPT = ("LANG", "TERM", "NO_COLOR", "COLUMNS")
"""LANG is the system's for services, too; the others are for the output."""


def _arguments(argv: Sequence[str]) -> Arguments:
    parser = Parser(
        "check",
        "[--account USER@HOST] [--user NAME] [--allow-changes] [--json] [FILE] [options] [-- PROGRAM ARG...]",
        "Start the program as the pool would, try what real programs fail at, and say what each finding means for "
        "logins and what to do.  Questions are about a user who does not exist; nothing is changed.",
        "Exit status: 0 nothing deviates, 1 something does, 2 usage, or a configuration that cannot work.",
    )
    parser.add_argument(
        "--account",
        metavar="USER@HOST",
        help="try with this account, too; its password is prompted for, or read as one line from standard input. "
        "A few of the logins are wrong on purpose",
    )
    parser.add_argument("--user", metavar="NAME", help="as root: check as this user, as the service would run")
    parser.add_argument(
        "--allow-changes",
        action="store_true",
        help="also try what changes something: set the account's password to what it is; make and remove an account",
    )
    parser.add_argument("--json", action="store_true", help="print all findings as JSON")
    return Arguments(parser, argv)
