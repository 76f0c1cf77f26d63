"""Many questions to one process, one by one: does it go on, stay the same, and stay small?"""

from __future__ import annotations

import time

import attrs

from bridge.checking.driver import Answer, Program, descriptors, memory
from bridge.checking.findings import Finding, deviates, note, ok
from bridge.checking.lab import Lab, duration
from bridge.protocol.query import Verdict

QUESTIONS = 1200
"""More than the thousand levels of recursion, and the 1024 descriptors, that programs have by default."""

BUDGET = 26.0
"""Seconds for all of them: enough for 20 ms each, and a person waits for it."""

_FOR_AUTH = 5.0
"""Seconds of these that auth may take: its hashes are slow by intention."""

_WARM = 100
"""Questions before the first measurement: caches fill, connections are made."""

_LEAKS = 0.5
"""Descriptors a question from which on it is no accident."""

_GROWS = 16 << 20
"""Bytes from which on growth is worth telling: a collector may let garbage lie that long."""


@attrs.define
class _Run:
    asked: int = 0
    failed: Answer | None = None
    other: str = ""  # the verdict that differed from the first one to the same question
    unasked: bool = False
    memory: int = 0
    descriptors: int = 0
    seconds: float = 0.0


def in_a_row(lab: Lab) -> list[Finding]:
    """Ask and ask."""
    with lab.ready() as program:
        run = _asked(lab, program)
        words = lab.last_words(program) if run.failed is not None else ""
    if run.failed is not None:
        return [_failed(lab, run, f"{lab.told(run.failed)}{words}")]
    if run.unasked:
        return [_unasked(run)]
    if run.other:
        return [_changed(lab, run)]
    return _grown(lab, run)


def _asked(lab: Lab, program: Program) -> _Run:
    run = _Run()
    bodies = _questions(lab, program)
    first: dict[bytes, Verdict] = {}
    begun = time.monotonic()
    while run.asked < QUESTIONS and time.monotonic() - begun < BUDGET:
        if run.asked == _WARM:
            run.memory, run.descriptors = memory(program.pid), descriptors(program.pid)
        body = bodies[run.asked % len(bodies)]
        answer = program.ask(body, lab.settings.answer_timeout, quiet=0)
        run.seconds = time.monotonic() - begun
        if answer.verdict is None:
            if answer.first is not None:
                run.unasked = True
            else:
                run.failed = answer
            return run
        run.asked += 1
        if first.setdefault(body, answer.verdict) is not answer.verdict:
            run.other = answer.verdict.value
            return run
    if run.asked > 2 * _WARM:
        run.memory, run.descriptors = memory(program.pid) - run.memory, descriptors(program.pid) - run.descriptors
    else:
        run.memory = run.descriptors = 0
    return run


def _questions(lab: Lab, program: Program) -> list[bytes]:
    """What to ask in turns: about nobody and, as often as its time allows, about the account."""
    if lab.account is None:
        return [lab.plain()]
    auth = lab.account_auth(lab.account.secret)
    answer = lab.ask(program, auth)
    if answer.verdict is None and answer.first is not None:
        return [lab.plain()]  # a second reply, of which `accounts.credentials` tells: all later ones would be one off
    others = max(1, round(answer.seconds * QUESTIONS / _FOR_AUTH))
    return [auth, *[lab.plain(lab.account.user), lab.plain()] * others]


def _replaced_before(lab: Lab, number: int) -> tuple[str, dict[str, object]]:
    """What to do about a program that is good for so many questions: words, and a setting if it needs another."""
    enough = max(1, number // 2)
    in_force = lab.settings.max_requests
    if in_force and in_force <= number:
        return f"repair it; max_requests ({in_force}) has it replaced before", {}
    return f"repair it; until then, have it replaced before: max_requests = {enough}", {"max_requests": enough}


def _failed(lab: Lab, run: _Run, told: str) -> Finding:
    advice, settings = _replaced_before(lab, run.asked)
    seen = f"after {run.asked} questions: {told}"
    return deviates("many in a row", seen, "works for hours, then a login fails", advice, settings)


def _changed(lab: Lab, run: _Run) -> Finding:
    advice, settings = _replaced_before(lab, run.asked)
    return deviates(
        "many in a row",
        f"question {run.asked} is {run.other}, though the same question was answered otherwise before",
        "works for hours, then every login is answered wrongly, until the program is replaced: as if it had lost its "
        "database",
        f"{advice}; have it end when its database is gone, and set probe to an account of yours",
        settings,
    )


def _unasked(run: _Run) -> Finding:
    return deviates(
        "many in a row",
        f"after {run.asked} questions more came back than one reply",
        "it could be taken for the answer to the next login, which may be a stranger's",
        "have it reply exactly once",
        grave=True,
    )


def _each(seconds: float) -> str:
    return f"{round(seconds * 1000)} ms" if seconds > 0.001 else "less than 1 ms"


def _grown(lab: Lab, run: _Run) -> list[Finding]:
    trial = "many in a row"
    each = run.seconds / max(1, run.asked)
    findings: list[Finding] = []
    if run.descriptors > _LEAKS * max(_WARM, run.asked - _WARM):
        advice, settings = _replaced_before(lab, 900)
        seen = f"{run.descriptors} more descriptors after {run.asked - _WARM} questions"
        meaning = "at its limit, often 1024, it can open nothing any more, and every login fails"
        findings.append(deviates("descriptors", seen, meaning, f"close what it opens; {advice}", settings))
    if run.memory > _GROWS:
        seen = f"{run.memory >> 20} MB more after {run.asked - _WARM} questions"
        advice = "look whether it keeps what it no longer needs; max_requests and max_age have it replaced in time"
        findings.append(note("memory", seen, "none as long as it is replaced in time", advice))
    seen = f"{run.asked} questions in {duration(run.seconds)}, {_each(each)} each"
    if run.asked < QUESTIONS:
        text = f"only {seen}: it is slow, and the others were left out"
        findings.insert(0, note(trial, text, "unknown beyond that", "max_requests has programs replaced in time"))
    elif not findings:
        findings.append(ok(trial, f"{seen}; no growth"))
    return findings
