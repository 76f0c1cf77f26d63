"""What a question may hold: a name nobody has, colons, other alphabets, much text, an unknown command."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Generator, Iterable

import attrs

from bridge.checking.driver import Answer, Program
from bridge.checking.findings import Finding, deviates, ok
from bridge.checking.lab import Lab
from bridge.protocol.query import Verdict

_ENOUGH = 3
"""Lengths in a row that fail: longer ones would, too, and each costs `answer_timeout`."""

_SUSPENDED = "that login fails, and its program is replaced: nobody else waits for it"


def secret() -> bytes:
    """One that nobody has."""
    return secrets.token_hex(12).encode()


def auth(lab: Lab) -> list[Finding]:
    """A secret that nobody has, of a user whom nobody is."""
    with lab.ready() as program:
        return [_judged(lab, "auth of nobody", "a random password", lab.ask(program, lab.auth(secret())), program)]


def colons(lab: Lab) -> list[Finding]:
    """A secret may hold colons: it is all the rest."""
    with lab.ready() as program:
        answer = lab.ask(program, lab.auth(b"a:" + secret() + b"::b"))
    finding = _judged(
        lab,
        "colon in a secret",
        "a secret with colons",
        answer,
        program,
        meaning=f"who has a colon in the password cannot log in: {_SUSPENDED}",
        advice="split into four fields at most; the last one is all the rest",
    )
    if answer.verdict is Verdict.DENIED and lab.account is None:
        seen = "a secret with colons is denied; whether one is cut at its colon takes an account to tell"
        return [attrs.evolve(finding, seen=seen)]
    return [finding]


def backslash(lab: Lab) -> list[Finding]:
    """A backslash in a secret is nothing but one, at its end, too."""
    trial = "backslash in a secret"
    with lab.ready() as program:
        answer = lab.ask(program, lab.auth(secret() + b"\\"))
        joined = answer.waited and not answer.data and lab.ask(program, lab.plain()).verdict is not None
    if joined:
        return [
            deviates(
                trial,
                "a backslash at the end of a line: it waits, and takes the next line for the rest of it",
                f"whoever types one at the end of a password: {_SUSPENDED}",
                "shell: IFS= read -r line",
            )
        ]
    return [_judged(lab, trial, "a secret with a backslash at its end", answer, program)]


def multibyte(lab: Lab) -> list[Finding]:
    """Lengths count bytes; UTF-8 has characters of two to four."""
    trials = [
        ("secret", lab.auth("ä€😀".encode() + secret())),
        ("user name", lab.plain(lab.nobody.replace("nobody", "nobödy"))),
    ]
    for what, body in trials:
        with lab.ready() as program:
            answer = lab.ask(program, body)
            if answer.verdict is None:
                return [_not_bytes(lab, what, body, answer, program)]
    if lab.dialect.name == "generic" and _ends_line_in_latin(lab):
        seen = "a secret with Å is two lines to it, as it reads Latin-1, where byte 85 ends one"
        return [deviates("multibyte", seen, _INJECTED, "decode stdin as UTF-8, or not at all", grave=True)]
    return [ok("multibyte", "secret and user name with characters of 2, 3 and 4 bytes: answered")]


def _ends_line_in_latin(lab: Lab) -> bool:
    with lab.ready() as program:
        return lab.ask(program, lab.auth("Å".encode() + lab.auth(secret()))).is_double


def _not_bytes(lab: Lab, what: str, body: bytes, answer: Answer, program: Program) -> Finding:
    meaning = f"whoever types one, anywhere, into a login form: {_SUSPENDED}"
    advice = "read stdin as bytes, decode afterwards as UTF-8, and answer 0 to what cannot be decoded"
    if lab.dialect.name == "ejabberd" and not answer.data and answer.waited:
        missing = len(body) - len(body.decode())
        program.send(b"x" * missing, 1)
        if program.reply(max(1.0, 2 * lab.usual)).data:
            seen = f"multibyte {what}: it waits for {missing} more bytes, as it counts characters instead of bytes"
            return deviates("multibyte", seen, meaning, advice)
    return _judged(lab, "multibyte", f"multibyte {what}", answer, program, meaning=meaning, advice=advice)


def lengths(lab: Lab) -> list[Finding]:
    """Questions of any length; and whether what does not fit in a buffer is another question."""
    failed: dict[int, str] = {}
    tried: list[int] = []
    answers_twice = False
    with contextlib.closing(_asked(lab, lab.dialect.lengths)) as asked:
        for length, answer, program in asked:
            tried.append(length)
            if answer.verdict is None:
                answers_twice |= answer.is_double
                failed[length] = lab.told(answer) + (lab.last_words(program) if answer.exit is not None else "")
            if len(failed) >= _ENOUGH and failed.keys() >= {*tried[-_ENOUGH:]}:
                break
    if not failed and (taken := _taken_for_another(lab)):
        return [taken]
    return _about_lengths(lab, tried, failed, answers_twice)


def _taken_for_another(lab: Lab) -> Finding | None:
    """Ask questions with another one in their secret, where the buffer of a program that reads lines may end."""
    with contextlib.closing(_asked(lab, lab.dialect.buffers, hides_another=True)) as asked:
        for cut, answer, _ in asked:
            if answer.is_double:
                return deviates(
                    "lengths",
                    f"what follows byte {cut} of a question is answered like a question of its own",
                    _INJECTED,
                    f"read a whole line, however long; until then, max_line = {cut - 1}",
                    {"max_line": cut - 1},
                    grave=True,
                )
    return None


def _asked(
    lab: Lab, lengths: Iterable[int], *, hides_another: bool = False
) -> Generator[tuple[int, Answer, Program], None, None]:
    """Ask one process questions of these lengths, and a fresh one after an answer that is none.

    Args:
      hides_another: what follows that many bytes is another question.
    """
    with contextlib.ExitStack() as stack:
        program: Program | None = None
        for length in lengths:
            body = _long(lab, length)
            if body is None:
                continue
            program = program or stack.enter_context(lab.ready())
            answer = lab.ask(program, body + lab.auth(secret()) if hides_another else body)
            yield length, answer, program
            if answer.verdict is None:
                stack.close()
                program = None


_INJECTED = (
    "whoever types a question into a password, behind that many bytes, has it answered: a setpass for somebody else, "
    "say; the bridge refuses such a password where it can tell"
)


def _long(lab: Lab, length: int) -> bytes | None:
    """A question of this length; `None` if its host alone is that long."""
    body = lab.auth(secret())
    if len(body) > length:
        return None
    return lab.auth(secret() + b"x" * (length - len(body)))


def _about_lengths(lab: Lab, tried: list[int], failed: dict[int, str], answers_twice: bool) -> list[Finding]:
    if not failed:
        return [ok("lengths", f"questions of {tried[0]} to {tried[-1]} bytes: answered")]
    shortest = min(failed)
    below = max((length for length in tried if length < shortest), default=0)
    limit, why = (below, "") if lab.dialect.name == "generic" else _misread_length(shortest, below, failed)
    if shortest in _BUFFERS[lab.dialect.name]:
        why = " (its buffer ends there)"
    seen = f"{', '.join(map(str, failed))} bytes{why}: {failed[shortest]}"
    in_force = lab.settings.max_line
    if limit >= in_force:
        meaning = f"none: max_line ({in_force}) keeps longer lines from it"
        return [deviates("lengths", seen, meaning, "leave max_line as it is")]
    if limit < 16:
        return [deviates("lengths", seen, "hardly anybody can log in", "repair how it reads the length")]
    advice = f"repair how it reads; until then, have the bridge refuse longer lines at once: max_line = {limit}"
    meaning = _INJECTED if answers_twice else f"with so long a password, {_SUSPENDED}"
    return [deviates("lengths", seen, meaning, advice, {"max_line": limit}, grave=answers_twice)]


_BUFFERS = {"ejabberd": (4096, 8200), "generic": (128, 256, 512)}
"""Lengths that are just too much for a buffer."""


def _misread_length(shortest: int, below: int, failed: dict[int, str]) -> tuple[int, str]:
    """The longest question that is read, and why that is so."""
    if shortest == 2600 and 4096 not in failed:
        return 2559, " (2560 to 2815: the first byte of the length is a line feed)"
    if shortest == 128 and below == 127:
        return below, (
            " (it takes a byte of the length above 127 for something else: a negative number, or part of a character)"
        )
    return below, ""


def unknown(lab: Lab) -> list[Finding]:
    """What it does not know, it must deny."""
    with lab.ready() as program:
        answer = lab.ask(program, lab.auth(secret(), command="nosuchcommand"))
    trial = "unknown command"
    if answer.verdict is Verdict.DENIED:
        return [ok(trial, "denied")]
    grave = answer.first is Verdict.GRANTED
    change = "seem to succeed" if grave else "wait, and fail"
    return [
        deviates(
            trial,
            lab.told(answer),
            f"none while commands names only what it knows; a setpass that it does not know would {change}",
            'reply 0 to all others; until then, commands = ["auth", "isuser"] if it cannot change passwords',
            grave=grave,
        )
    ]


def _judged(
    lab: Lab,
    trial: str,
    what: str,
    answer: Answer,
    program: Program,
    meaning: str = f"a login like that: {_SUSPENDED}",
    advice: str = "have it reply 0 when it cannot answer, also after an exception",
) -> Finding:
    """A question about nobody must be denied."""
    if answer.verdict is Verdict.DENIED:
        return ok(trial, f"{what}: denied")
    if answer.verdict is Verdict.GRANTED:
        return deviates(
            trial,
            f"{what} of a user whom nobody has made: granted",
            "anybody gets in, with any password",
            "do not use it",
            grave=True,
        )
    words = lab.last_words(program) if answer.exit is not None else ""
    return deviates(trial, f"{what}: {lab.told(answer)}{words}", meaning, advice)
