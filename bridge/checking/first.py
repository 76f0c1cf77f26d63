"""The first process: how long it takes to its first reply, what a reply looks like, and why there may be none."""

from __future__ import annotations

import math
import time

from bridge.checking.content import secret
from bridge.checking.dialects import other
from bridge.checking.driver import QUIET, Answer, Program
from bridge.checking.findings import Finding, deviates, note, ok
from bridge.checking.lab import Lab, duration
from bridge.checking.languages import flushing
from bridge.checking.linereplies import FRAMES
from bridge.checking.replies import GENERIC
from bridge.log.events import ending
from bridge.protocol.query import Verdict
from bridge.worker.pieces import ALONE

_SUSPECT = 3.0
"""Seconds without a first reply after which other explanations than a slow start are tried beside it."""

_AT_LEAST = 1.0
"""Seconds for those others, however short `start_timeout` is."""

_LOOK = 0.25
"""Seconds between two looks at those."""

_SLOW = 1.0
"""Seconds of start-up worth knowing of: interpreters with a framework take less."""

_TWO = 2
"""Replies, of which each was a digit that stood alone."""

_LATE = 1.5
"""Seconds to wait for a line end that has not come with its digit."""

_WORTH_TELLING = 0.2
"""Seconds for a reply that are: five of them a second are what a program can do."""


def first(lab: Lab) -> tuple[list[Finding], bool]:
    """Start it and ask two questions.

    Returns:
      the findings, and whether further trials make sense.

    Raises:
      OSError: it cannot be started.
    """
    findings, goes_on, heard = _tried(lab)
    if heard or not lab.asks_isuser or not _answers_auth(lab):
        return findings, goes_on
    lab.asks_isuser = False
    instead, goes_on, _ = _tried(lab)
    return [_no_isuser(lab, findings[0]), *instead], goes_on


def _tried(lab: Lab) -> tuple[list[Finding], bool, bool]:
    """As `first`; also whether it has written anything."""
    with lab.start() as program:
        program.send(lab.dialect.framed(lab.plain()), lab.settings.start_timeout)
        answer = program.reply(min(_SUSPECT, lab.settings.start_timeout))
        if answer.waited and not answer.data:
            explained, answer = _suspected(lab, program)
            if explained is not None:
                return [explained], False, True
        lab.startup = program.spoke_at - program.started
        found = lab.dialect.flaw(answer.data)
        if answer.verdict is None and (found is None or not found.ahead):
            return [_no_reply(lab, program, answer)], False, bool(answer.data)
        return (*_second(lab, program, answer), True)


def _answers_auth(lab: Lab) -> bool:
    with lab.start() as program:
        answer = program.ask(lab.auth(secret()), min(2 * _SUSPECT, lab.settings.start_timeout))
        return answer.verdict is not None


def _no_isuser(lab: Lab, finding: Finding) -> Finding:
    commands = sorted(lab.program.commands - {"isuser"})
    return deviates(
        "isuser",
        f"auth is answered, but isuser is not: {finding.seen}",
        "messages to users who are offline, and contact requests, end a program each, or wait in vain",
        f"have it answer isuser; until then, leave it out: commands = {commands}".replace("'", '"'),
        {"commands": commands},
    )


def _second(lab: Lab, program: Program, answer: Answer) -> tuple[list[Finding], bool]:
    """One reply is there; the second tells whether there are more, and how they look."""
    findings = [_started(lab)]
    ahead = lab.ahead = lab.dialect.flaw(answer.data)
    if ahead is not None:
        findings.append(_flawed(lab, "replies", answer))
    again = lab.ask(program, lab.plain())
    lab.usual = again.seconds
    if again.exit is not None and not again.data:
        return [*findings, _left(lab, program, again)], False
    if again.verdict is None and not again.data and program.is_deaf:
        return [*findings, _deaf("the second login on each program fails")], False
    if again.verdict is None:
        if ahead is None or lab.dialect.flaw(again.data) != ahead:
            findings.append(_flawed(lab, "replies", again))
        return findings, False
    if ahead is None:
        lab.is_bare = program.alone == _TWO  # a line end is late each time, if it comes at all
        findings += [_well(lab, program, answer, again)]
    if again.seconds >= _WORTH_TELLING:
        findings.append(_slow(lab, again.seconds))
    if lab.asks_isuser:
        findings.append(_about_nobody(again))
    return findings, True


def _well(lab: Lab, program: Program, answer: Answer, again: Answer) -> Finding:
    """Both replies are good; a line end may be late, or missing."""
    after = f"{duration(again.seconds)} after the question"
    if not program.alone:
        crlf = " (CR LF)" if again.data.endswith(b"\r\n") else ""
        return ok("replies", f"{lab.dialect.well}{crlf}, {after}")
    advice = 'write each digit with its line end, "1\\n", in one write, and flush it'
    if answer.data.endswith(b"\n") or again.data.endswith(b"\n"):
        seen = f"a digit each, {after}, and its line end later"
        return note("replies", seen, "each answer counts only when its line end is there, too", advice)
    program.wait(lambda: bool(program.stdout) or program.is_done, _LATE)
    if program.stdout.startswith((b"\r", b"\n")):
        return deviates(
            "replies",
            f"a digit each, {after}, and its line end more than {ALONE + QUIET:g} s later",
            "the next question is asked before that: the line end and the next reply, read together, look like two "
            "replies, so logins fail now and then",
            advice,
        )
    how = "its line end comes with the next one only" if program.owed else "no line end, ever"
    return note(
        "replies",
        f"a digit each, {after}, and {how}",
        f"each answer counts only when nothing has followed for {ALONE * 1000:.0f} ms: one program answers "
        f"{1 / ALONE:.0f} questions a second at most",
        advice,
    )


def _started(lab: Lab) -> Finding:
    seen = f"first reply {duration(lab.startup)} after its start"
    if lab.startup < _SLOW:
        return ok("start", seen)
    enough = max(lab.settings.start_timeout, math.ceil(3 * lab.startup / 10) * 10)
    advice = "make pool_size large enough that a start is seldom waited for"
    if enough > lab.settings.start_timeout:
        return note("start", seen, _STARTING, f"allow for slower days; {advice}", {"start_timeout": float(enough)})
    return note("start", seen, _STARTING, advice)


_STARTING = (
    "none while others of the pool are ready: new programs are started before old ones go. After a restart, or when "
    "all have ended, logins fail for so long"
)


def _slow(lab: Lab, seconds: float) -> Finding:
    seen = f"a reply takes {duration(seconds)}"
    rate = f"one program answers {1 / seconds:.2g} questions a second, and more logins than that wait for another"
    if seconds > lab.settings.answer_timeout / 2:
        return note(
            "speed",
            seen,
            f"{rate}; close to answer_timeout ({lab.settings.answer_timeout:g} s), a busy moment makes logins fail",
            "find out what it waits for; raise pool_size",
        )
    return note("speed", seen, rate, "pool_size = logins a second x seconds for each, and as much again")


def _about_nobody(answer: Answer) -> Finding:
    if answer.verdict is Verdict.GRANTED:
        return note(
            "isuser of nobody",
            "granted: it says that a user exists whom nobody has made",
            "none; Prosody accepts messages and contact requests for users who do not exist",
            "have isuser look whether there is such an account",
        )
    return ok("isuser of nobody", "denied")


def _left(lab: Lab, program: Program, answer: Answer) -> Finding:
    assert answer.exit is not None
    return deviates(
        "replies",
        f"it leaves after one reply ({ending(answer.exit)}{lab.last_words(program)})",
        f"every question costs the start of a program, {duration(lab.startup)}",
        "have it loop: read a question, reply, read the next, until end of input",
    )


def _flawed(lab: Lab, trial: str, answer: Answer) -> Finding:
    found = lab.dialect.flaw(answer.data)
    if found is not None and found.protocol:
        return deviates("protocol", found.seen, found.meaning, found.advice, {"protocol": found.protocol})
    if found is None:
        return deviates(
            trial, lab.told(answer), "the second login on each program fails", "have it go on after a reply"
        )
    return deviates(trial, lab.told(answer), found.meaning, found.advice, grave=found.grave)


def _no_reply(lab: Lab, program: Program, answer: Answer) -> Finding:
    if answer.data:
        return _flawed(lab, "replies", answer)
    if answer.exit is not None:
        seen = f"it ended before its first reply ({ending(answer.exit)}{lab.last_words(program)})"
        return deviates("start", seen, "nobody can log in", "run it by hand, as the same user, and read what it prints")
    if program.is_deaf:
        return _deaf("nobody can log in")
    if not answer.waited:
        return deviates("start", "it closed its stdout", "nobody can log in", "have it reply on stdout")
    patience = f"start_timeout ({lab.settings.start_timeout:g} s)"
    return deviates(
        "start",
        f"no reply to its first question within {patience}{lab.last_words(program)}",
        "nobody can log in",
        "if it waits for a database or directory, see to that; if it is that slow, raise start_timeout; else "
        + flushing(lab.program.argv),
    )


def _deaf(meaning: str) -> Finding:
    return deviates("start", "it has closed its stdin", meaning, "have it read questions from stdin until they end")


def _suspected(lab: Lab, program: Program) -> tuple[Finding | None, Answer]:
    """It is silent: wait for it, and meanwhile try the other protocol, and whether it replies when its input ends."""
    until = time.monotonic() + max(_AT_LEAST, lab.settings.start_timeout - _SUSPECT)
    nothing = program.reply(0)
    with lab.start(other(lab.dialect)) as stranger, lab.start() as ending_soon:
        for trial in (stranger, ending_soon):
            trial.send(trial.dialect.framed(lab.plain()), 1)
        ending_soon.close_input()
        while not (program.stdout or program.is_done or _spoke(stranger)) and time.monotonic() < until:
            program.wait(lambda: bool(program.stdout) or program.is_done, _LOOK)
        if _spoke(stranger):
            return _speaks(stranger, ""), nothing
        answer = program.reply(0)
        if answer.data or answer.exit is not None:
            return None, answer
        stranger.close_input()
        stranger.ends_within(_SUSPECT)
        if _spoke(stranger):
            return _speaks(stranger, " when its input ends: it does not flush"), nothing
        late = ending_soon.reply(0)
        if late.verdict is not None:
            return _unflushed(lab), nothing
    return None, answer


def _spoke(program: Program) -> bool:
    program.listen(0)
    return program.dialect.verdict_of(bytes(program.stdout)) is not None


def _speaks(program: Program, when: str) -> Finding:
    """It was spoken to in the other protocol, and answered."""
    if program.dialect.name == "ejabberd":
        return deviates(
            "protocol",
            f"it speaks ejabberd's protocol, frames: it answers one with four bytes{when}",
            "every login fails: it waits for as many bytes as the first two of a line seem to say",
            FRAMES,
            {"protocol": "ejabberd"},
        )
    without = "" if program.stdout.endswith(b"\n") else ", without a line end"
    return deviates(
        "protocol",
        f"it speaks Prosody's generic protocol, lines: it answers one with a digit{without}{when}",
        "every login fails: nothing of a frame, which has no line end, ever reaches it as a line",
        GENERIC,
        {"protocol": "generic"},
    )


def _unflushed(lab: Lab) -> Finding:
    return deviates(
        "start",
        "it replies only when its input ends: its output is buffered",
        "every login fails: no reply arrives in time",
        flushing(lab.program.argv),
    )
