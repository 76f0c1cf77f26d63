"""Questions and replies as streams of bytes: nothing unasked, one reply each, whatever the pieces."""

from __future__ import annotations

import contextlib

from bridge.checking.content import secret
from bridge.checking.findings import Finding, deviates, note, ok
from bridge.checking.lab import Lab, NotReady
from bridge.log.events import ending

_PAUSE = 0.2
"""Seconds between two pieces of a question, since the first was read: a program that does not wait for both has replied
by then."""

_BUSY = 2.0
"""Seconds for the first to be read, which takes none unless the machine is busy, or the program looks for both."""

_LONG = 1000
"""Bytes of a secret: more than a program reads that wants to know only the beginning of the question."""

_AFTERTHOUGHT = 1.0
"""Seconds to listen for a second reply, or for anything before the first question."""


_PIECES = {
    "ejabberd": "hardly any: the bridge writes a question at once, but one of 4095 bytes and more may come in pieces",
    "generic": "none: the bridge writes a question at once, and none is longer than a page of memory",
}
_WHOLE = {
    "ejabberd": "read in a loop until two bytes, and then as many as they say, are there",
    "generic": "read in a loop until a line end is there",
}


def unasked(lab: Lab) -> list[Finding]:
    """Nothing may be written before there is a question."""
    with lab.start() as program:
        program.ends_within(1.5 * lab.startup + _AFTERTHOUGHT)
        data, over = bytes(program.stdout), program.exit
        words = lab.last_words(program)
    trial = "before a question"
    if over is not None and not data:
        return [
            deviates(
                trial, f"it ended although its input is open ({ending(over)}{words})",
                "idle programs leave, and logins wait for new ones", "have it wait for questions",
            )
        ]  # fmt: skip
    if not data:
        return [ok(trial, "nothing on stdout")]
    found = lab.dialect.flaw(data + lab.dialect.no)
    if found is None or found == lab.ahead:
        return []
    if lab.dialect.replies(data)[0]:
        return [deviates(trial, "a reply to nothing", found.meaning, "reply only after a question", grave=True)]
    seen = f"{found.seen}{': ' + lab.shown(found.text) if found.text else ''}"
    return [deviates(trial, seen, found.meaning, found.advice)]


def one_reply(lab: Lab) -> list[Finding]:
    """One reply to each question, and nothing later."""
    with lab.ready() as program:
        program.listen(_AFTERTHOUGHT)
        more = program.take()
        if not more:
            answer = lab.ask(program, lab.auth(secret()))
            program.listen(_AFTERTHOUGHT)
            more = lab.dialect.behind(answer.data) + program.take()
        left = program.exit
        words = lab.last_words(program)
    trial = "one reply each"
    if more:
        found = lab.dialect.flaw(lab.dialect.no + more)
        assert found is not None
        return [deviates(trial, found.seen, found.meaning, found.advice, grave=found.grave)]
    if left is not None:
        seen = f"it leaves after a reply ({ending(left)}{words})"
        return [deviates(trial, seen, "every question costs the start of a program", "have it loop until end of input")]
    return [ok(trial, f"nothing more within {_AFTERTHOUGHT:g} s")]


def two_writes(lab: Lab) -> list[Finding]:
    """A question in pieces is one question."""
    trial = "question in pieces"
    data = lab.dialect.framed(lab.auth(secret()))
    if _is_early(lab):
        return [_early()]
    answers: list[str] = []
    for at, where in lab.dialect.cuts:
        with lab.ready() as program:
            program.send(data[:at], 1)
            program.until_read(_BUSY)
            program.listen(_PAUSE)
            if program.heard:
                answers.append(f"cut {where}: it replies to the first part, without waiting for the rest")
                continue
            program.send(data[at:], 1)
            answer = program.reply(lab.settings.answer_timeout)
            if answer.verdict is None:
                answers.append(f"cut {where}: {lab.told(answer)}")
    if not answers:
        return [ok(trial, "answered")]
    return [
        deviates(
            trial,
            "; ".join(answers),
            _PIECES[lab.dialect.name],
            _WHOLE[lab.dialect.name],
            {"max_line": 4000} if lab.dialect.name == "ejabberd" and lab.settings.max_line > 4000 else {},
        )
    ]


def _is_early(lab: Lab) -> bool:
    """Whether a reply is there while a part of the question is still unread."""
    with lab.ready() as program:
        program.send(lab.dialect.framed(lab.auth(secret() + b"x" * _LONG)), 1)
        program.wait(lambda: bool(program.heard) or program.is_done, lab.settings.answer_timeout)
        return bool(program.heard) and program.unread() > 0


def _early() -> Finding:
    return deviates(
        "question in pieces",
        "it replies before it has read the whole question, so before it can know what is asked",
        "an answer to something else than what was asked; the bridge refuses such replies where it sees them",
        "read the whole question before replying",
        grave=True,
    )


def two_questions(lab: Lab) -> list[Finding]:
    """Two questions in one write get two replies, in order."""
    trial = "two questions at once"
    bodies = [lab.auth(secret()), lab.plain()]
    with lab.ready() as program:
        expected = [lab.ask(program, body).verdict for body in bodies]
        program.send(b"".join(map(lab.dialect.framed, bodies)), 1)
        answer = program.reply(lab.settings.answer_timeout + lab.usual, count=2)
    verdicts, behind = lab.dialect.replies(answer.data)
    if None not in expected and verdicts == expected and not behind:
        return [ok(trial, "answered, in order")]
    meaning = "none: the bridge, as ejabberd, asks the next question when it has the reply to the one before"
    advice = "keep what was read beyond one question for the next"
    if len(verdicts) < 2:
        count = "a part" if behind else ("none", "one")[len(verdicts)]
        why = f"it ended ({ending(answer.exit)})" if answer.exit is not None else "the rest is lost"
        return [note(trial, f"of two replies, {count} came: {why}", meaning, advice)]
    return [note(trial, "the replies are not those to the same questions one by one", meaning, advice)]


def side_by_side(lab: Lab) -> list[Finding]:
    """Several of them run at the same time."""
    trial = "two programs"
    if lab.program.pool_size == 1 and lab.program.pool_max == 1:
        return [ok(trial, "not tried: pool_size is 1")]
    with contextlib.ExitStack() as stack:
        older = stack.enter_context(lab.ready())
        try:
            newer = stack.enter_context(lab.ready())
        except NotReady as refused:
            told = lab.told(refused.answer)
            return [_alone(f"a second one beside it does not become ready: {told}")]
        older.listen(_PAUSE)
        for program, which in ((older, "first"), (newer, "second")):
            answer = lab.ask(program, lab.plain())
            if answer.verdict is None:
                return [_alone(f"of two at the same time the {which} fails: {lab.told(answer)}")]
    return [ok(trial, "two at the same time: both answer")]


def _alone(seen: str) -> Finding:
    return deviates(
        "two programs",
        f"it must be alone: {seen}",
        "with a larger pool its programs end each other, and logins fail",
        "pool_size = 1, and start it nowhere else; or have it do without the lock",
        {"pool_size": 1},
    )
