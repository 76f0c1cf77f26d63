"""`extauth-sqlite DATABASE import` and `export`: users that come along from another server, and leave for one.

The rules:

- First everything is read, then passwords are hashed, then all is stored in one transaction: until that, nothing is
  changed, and no lock is held.
- Hashes are taken over as they are.  A SCRAM hash becomes one of scrypt at its user's next good login.
- Of what cannot be taken, a line says where it is and why; what was found there could be a password, so it is not
  shown.
"""

import functools
import getopt
import json
import os
from collections.abc import Callable, Collection, Iterator, Sequence

from bridge.programs import exporting, users
from bridge.programs.hashes import COST, Hash
from bridge.programs.importing import csvfile, ejabberd, prosody
from bridge.programs.importing.entry import Found, NotTaken, Unreadable
from bridge.programs.importing.haul import Haul, Names, estimate
from bridge.programs.importing.progress import duration
from bridge.programs.names import NOT_IN_NAMES, Refused, clean

READERS: dict[str, Callable[[str], Iterator[Found]]] = {
    "prosody": prosody.read,
    "ejabberd": ejabberd.read,
    "csv": csvfile.read,
}

WRITERS: dict[str, tuple[Callable[[str, exporting.Users], None], Callable[[str, str, Hash], str]]] = {
    "prosody": (exporting.write_prosody, exporting.prosody_lacks),
    "csv": (exporting.write_csv, exporting.csv_lacks),
}
"""What writes users, and what says why one of them cannot be written."""

MOST_LINES = 200
"""Of what could not be taken, how many are shown one by one; the summary counts all, --json has all."""

WORTH_SAYING = 2.0
"""Seconds that hashing takes before it is said."""

Say = Callable[[str], object]
Show = Callable[[str], int]


def bring(database: str, words: Sequence[str], complain: Say, show: Show) -> int:
    """Import users.

    Args:
      words: what was typed behind `import`.
      complain: writes a line to stderr.
      show: writes text to stdout, and returns an exit status.

    Returns:
      the exit status.

    Raises:
      Refused, Unavailable: nothing was changed.
    """
    options, path = _options(words, "from", READERS, "replace", "disabled", "dry-run", "json")
    dry = "dry-run" in options
    with users.Users(database, tell=complain) as store:
        exists = _names(store, database, dry)
        haul = Haul(options.get("host"), set[Names]() if "replace" in options else exists)
        try:
            haul.read(_reader(options)(path))
        except Unreadable as error:
            raise Refused(f"{error}; nothing was imported") from None
        if not (haul.users or haul.kept or haul.problems):
            raise Refused("there are no users of that host in it" if haul.elsewhere else "there are no users in it")
        _say_how_long(haul, dry, complain)
        taken = len(haul.users)
        if haul.users and not dry:
            stored = store.take(haul.hashed(COST), replace="replace" in options)
            taken = sum(stored)
            haul.kept += stored.count(False)
    counts = {"taken": taken, "there already": haul.kept, "of other hosts": haul.elsewhere}
    if dry:
        complain("a dry run: nothing was changed")
    status = _report(counts, "not taken", haul.problems, options, complain, show)
    if haul.problems and not taken and not haul.kept:
        return 2
    return min(status, 1) if taken and not dry else status


def export(database: str, words: Sequence[str], complain: Say, show: Show) -> int:
    """Export users; arguments, exit status and errors are those of `bring`."""
    options, path = _options(words, "to", WRITERS, "json")
    with users.Users(database, create=False) as store:
        found = store.hashes(options.get("host"))
    write, lacks = WRITERS[options["to"]]
    reasons = [lacks(*one) for one in found]
    left = [NotTaken(f"{user}@{host}", why) for (user, host, _), why in zip(found, reasons, strict=True) if why]
    written = [one for one, why in zip(found, reasons, strict=True) if not why]
    if written or not left:
        write(path, written)
    status = _report({"written": len(written)}, "not written", left, options, complain, show)
    return min(status, 1) if written or not left else 2


def _options(words: Sequence[str], what: str, kinds: Collection[str], *flags: str) -> tuple[dict[str, str], str]:
    """The options by name, and the path.

    Raises:
      Refused: they are not understood; what was typed is not shown.
    """
    command = "import" if what == "from" else "export"
    usage = (
        f"DATABASE {command} --{what} {'|'.join(kinds)} [--host HOST]{''.join(f' [--{flag}]' for flag in flags)} PATH"
    )
    try:
        pairs, rest = getopt.gnu_getopt([*words], "", [f"{what}=", "host=", *flags])
    except getopt.GetoptError:
        raise Refused(f"usage: {usage}, see --help") from None
    options = {name.removeprefix("--"): value for name, value in pairs}
    if options.get(what, "") not in kinds or len(rest) != 1:
        raise Refused(f"usage: {usage}, see --help")
    if "host" in options:
        options["host"] = clean(options["host"].lower(), "HOST", NOT_IN_NAMES)
    return options, rest[0]


def _reader(options: dict[str, str]) -> Callable[[str], Iterator[Found]]:
    if options["from"] == "prosody" and "disabled" in options:
        return functools.partial(prosody.read, disabled=True)
    return READERS[options["from"]]


def _names(store: users.Users, database: str, dry: bool) -> set[Names]:
    """Who is there; nobody where there is no database yet, which only an import that succeeds makes.

    Raises:
      Refused, Unavailable: it could not be written in the end, when passwords have been hashed for hours.
    """
    directory = os.path.dirname(os.path.abspath(database))
    try:
        is_new = os.stat(database).st_size == 0
    except FileNotFoundError:
        is_new = True
        if not os.access(directory, os.W_OK | os.X_OK):
            raise Refused(f"cannot write to the directory {directory!r}") from None
    except OSError:
        is_new = False  # and it is said what is the matter
    if is_new:
        return set()
    if not dry:
        store.take([], replace=False)
    return {*store.names()}


def _say_how_long(haul: Haul, dry: bool, complain: Say) -> None:
    passwords = len(haul.passwords)
    seconds = estimate(passwords, COST) if passwords else 0.0
    if seconds > WORTH_SAYING:
        complain(f"hashing {passwords} passwords {'would take' if dry else 'takes'} about {duration(seconds)}")


def _report(
    counts: dict[str, int], bad: str, problems: list[NotTaken], options: dict[str, str], complain: Say, show: Show
) -> int:
    """Say what became of all.

    Returns:
      the exit status: at least 1 if there are problems, 2 if it cannot be said.
    """
    for problem in problems[:MOST_LINES]:
        complain(f"{bad}: {_printable(problem.where)}: {problem.reason}")
    if len(problems) > MOST_LINES:
        complain(f"{bad}: {len(problems) - MOST_LINES} more")
    status = show(_as_json(counts, bad, problems) if "json" in options else _as_text(counts | {bad: len(problems)}))
    return max(status, 1) if problems else status


def _as_json(counts: dict[str, int], bad: str, problems: list[NotTaken]) -> str:
    listed = [{"where": problem.where, "reason": problem.reason} for problem in problems]
    return json.dumps({name.replace(" ", "_"): value for name, value in {**counts, bad: listed}.items()}) + "\n"


def _as_text(counts: dict[str, int]) -> str:
    return "".join(f"{name:<14} {count:>8}\n" for name, count in counts.items() if count or name != "of other hosts")


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text[:300])
