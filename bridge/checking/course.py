"""All trials of one program: the first decides whether the others make sense; those are made side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures.thread import ThreadPoolExecutor  # now: as another user we may not be able to import any more

from bridge.checking import accounts, content, endings, endurance, flow
from bridge.checking.findings import OTHERS, Finding, Level, deviates, error, note, ok
from bridge.checking.first import first
from bridge.checking.lab import Interrupted, Lab, NotReady
from bridge.worker.startfault import why_not_started

Trial = Callable[[Lab], list[Finding]]

SIDE_BY_SIDE = 4
"""Trials at a time: most of them wait."""

ANYBODY: tuple[Trial, ...] = (
    *(content.auth, content.colons, content.multibyte, content.lengths, content.unknown),
    *(flow.unasked, flow.one_reply, flow.two_writes, flow.two_questions),
    *(endings.end_of_input, endings.terminated, endurance.in_a_row),
)
WITH_ACCOUNT: tuple[Trial, ...] = (*(accounts.credentials, accounts.cut_at_colon, accounts.all_of_it, accounts.order),)


def tried(lab: Lab) -> Iterator[Finding]:
    """Try everything; a finding comes when those before it are there."""
    try:
        findings, goes_on = first(lab)
        yield from findings
        if not goes_on and lab.speaks_instead(findings[-1].settings.get("protocol")):
            yield from tried(lab)
            return
        if not goes_on:
            if findings[-1].grave:  # two replies; was the first one to nothing?
                yield from (finding for finding in _tried(flow.unasked, lab) if finding.level is not Level.OK)
            yield from at_last(lab)
            yield note(OTHERS, "not tried: they need a program that replies, and stays", "unknown", _AGAIN)
            return
        alone = flow.side_by_side(lab)
    except (OSError, NotReady) as failure:
        yield from _failed(lab, "start", failure)
        return
    yield from alone
    together = SIDE_BY_SIDE if lab.program.pool_max > 1 and alone[0].level is Level.OK else 1
    trials = (*ANYBODY, *WITH_ACCOUNT) if lab.account is not None else ANYBODY
    if lab.dialect.name == "generic":
        trials += (content.backslash, *([accounts.verbatim] * (lab.account is not None)))

    def made(trial: Trial) -> list[Finding]:
        return _tried(trial, lab)

    with ThreadPoolExecutor(together) as threads:
        try:
            yield from (finding for found in threads.map(made, trials) for finding in found)
        except BaseException:
            lab.stop()
            threads.shutdown(wait=True, cancel_futures=True)
            raise
    if lab.changes:
        yield from _tried(accounts.changes, lab)
    yield from at_last(lab)
    if lab.account is None:
        yield _without_account()


_AGAIN = "repair this first, and check again"


def _tried(trial: Trial, lab: Lab) -> list[Finding]:
    try:
        return trial(lab)
    except Interrupted:
        return []
    except (OSError, NotReady) as failure:
        return _failed(lab, trial.__name__.replace("_", " "), failure)


def _failed(lab: Lab, trial: str, failure: OSError | NotReady) -> list[Finding]:
    if isinstance(failure, NotReady):
        seen = f"a fresh process does not become ready: {lab.told(failure.answer)}"
        meaning = "not every program that the pool starts can be used"
        return [deviates(trial, seen, meaning, "start several by hand, at the same time")]
    seen = f"cannot be started: {why_not_started(failure, lab.program.argv)}"
    advice = "name the program by its full path; see that it is executable"
    if "no #! line" in seen:
        advice = "give it one, such as #!/usr/bin/python3, or name its interpreter before it"
    return [error(trial, seen, "nobody can log in", advice)]


def at_last(lab: Lab) -> Iterator[Finding]:
    """What all trials together have shown."""
    yield from _stderr(lab)
    if lab.left:
        seen = f"it has changed its user, and may not be killed: still running are {', '.join(map(str, lab.left))}"
        meaning = "programs that hang cannot be ended: after pool_max of them nobody can log in"
        yield deviates("left behind", seen, meaning, "kill them as root; have the program keep its user")


def _stderr(lab: Lab) -> Iterator[Finding]:
    line = lab.leaks()
    if line is not None:
        yield deviates(
            "stderr",
            f"passwords are written there: {lab.shown(line)}",
            "none; the bridge masks them in its log, but not what the program keeps of its own",
            "switch its debugging off",
        )
        return
    lines = lab.chatter()
    if not lines:
        yield ok("stderr", "nothing written there")
    else:
        yield ok("stderr", f"no password, but other lines, such as: {lab.shown(lines[-1])}")


def _without_account() -> Finding:
    return note(
        "an account",
        "not tried: right passwords, and whether a password is cut at its first colon",
        "unknown",
        "check again with --account USER@HOST; the password is asked for",
    )
