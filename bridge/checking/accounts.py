"""What takes a real account to tell: whether the right password, and no other, is granted.

Changes are made only if they were allowed: passwords of the account are set to what they are, and a new account is made
and removed.
"""

from __future__ import annotations

import secrets

from bridge.checking.content import secret
from bridge.checking.driver import Program
from bridge.checking.findings import Finding, deviates, note, ok
from bridge.checking.lab import Account, Lab
from bridge.protocol.query import Verdict

_SPLIT = "this cannot be mended from outside: have it split into four fields at most, the last being all the rest"


def credentials(lab: Lab) -> list[Finding]:
    """The account exists, and its password is granted."""
    account = _account(lab)
    with lab.ready() as program:
        exists = lab.ask(program, lab.plain(account.user))
        granted = lab.ask(program, lab.account_auth(account.secret))
    findings: list[Finding] = []
    if lab.asks_isuser and exists.verdict is not Verdict.GRANTED:
        meaning = "Prosody refuses messages and contact requests for this user"
        advice = "have isuser look where auth does"
        findings.append(deviates("isuser of the account", lab.told(exists), meaning, advice))
    if granted.verdict is Verdict.GRANTED:
        return [*findings, ok("auth of the account", "the right password is granted")]
    if flaw := granted.dialect.flaw(granted.data):
        seen = f"the password: {lab.told(granted)}"
        return [*findings, deviates("auth of the account", seen, flaw.meaning, flaw.advice, grave=flaw.grave)]
    advice = "type it again; then ask the program's own back end"
    if b":" in account.secret:
        advice += "; it holds a colon: the secret is all behind the third one"
    return [*findings, deviates("auth of the account", f"the password: {lab.told(granted)}", "cannot log in", advice)]


def cut_at_colon(lab: Lab) -> list[Finding]:
    """The right password with a colon and more behind is a wrong one."""
    account = _account(lab)
    trial = "colon in a password"
    if _grants(lab, account.secret + b":" + secret()):
        return [
            deviates(
                trial,
                "the right password with a colon and anything behind it is granted: it cuts the password there",
                "of a password with a colon only what is before it counts: whoever knows that gets in",
                _SPLIT,
                grave=True,
            )
        ]
    if b":" in account.secret and _grants(lab, account.secret.partition(b":")[0]):
        return [
            deviates(
                trial,
                "the part of the password before its first colon is granted",
                "who has a colon in the password needs only the part before it",
                _SPLIT,
                grave=True,
            )
        ]
    return [ok(trial, "the right password with a colon and more behind it: not granted")]


def all_of_it(lab: Lab) -> list[Finding]:
    """The right password with something behind, or with its end missing, is a wrong one."""
    account = _account(lab)
    trial = "all of a password"
    for what, other in (("with something behind it", account.secret + secret()), ("in part", account.secret[:-1])):
        if other and _grants(lab, other):
            return [
                deviates(
                    trial,
                    f"the right password {what} is granted: not all of it counts",
                    "who knows or guesses its beginning gets in",
                    "store passwords with a hash that takes all of them (not DES crypt: 8 bytes; bcrypt: 72)",
                    grave=True,
                )
            ]
    if lab.settings.allow_empty_password and _grants(lab, b""):
        meaning = "anybody gets in: with LDAP, a bind without a password is anonymous, and succeeds"
        return [deviates(trial, "an empty password is granted", meaning, "allow_empty_password = false", grave=True)]
    return [ok(trial, "longer and shorter ones: not granted")]


def verbatim(lab: Lab) -> list[Finding]:
    """The right password with a blank or a colon at its end, or a backslash inside, is a wrong one."""
    right = _account(lab).secret
    trial = "blanks, backslashes"
    of_line = "shell: IFS= read -r line, and only then its parts: ${line#*:*:*:} is the password"
    for what, other, advice in (
        ("a blank behind it", right + b" ", _LINE_END_ALONE),
        ("a backslash in it", right[:-1] + b"\\" + right[-1:], "shell: IFS= read -r line"),
        ("a colon behind it", right + b":", of_line),  # IFS=: read -r takes it for an empty field
    ):
        if _grants(lab, other):
            if other == right + b":" and _grants(lab, other + secret()):  # `cut_at_colon` has told
                return []
            meaning = "who has such a character in the password cannot log in, or needs only the others"
            return [deviates(trial, f"the right password with {what} is granted", meaning, advice)]
    return [ok(trial, "the right password with a blank, a colon or a backslash more: not granted")]


_LINE_END_ALONE = (
    'take nothing from a line but its end: chomp (Perl, Ruby), rstrip("\\n") (Python), IFS= read -r (shell)'
)


def order(lab: Lab) -> list[Finding]:
    """A wrong password behind the right one, and the right one behind a wrong one, in one process."""
    account = _account(lab)
    with lab.ready() as program:
        right = (account.secret, Verdict.GRANTED)
        wrong = (secret(), Verdict.DENIED)
        for number, (password, expected) in enumerate((right, wrong, right)):
            answer = lab.ask(program, lab.account_auth(password))
            if number == 0 and answer.verdict is not expected:
                return []  # `credentials` has told
            if answer.verdict is Verdict.GRANTED and expected is Verdict.DENIED:
                meaning = "strangers get in: it answers from what it remembers of the question before"
                return [deviates("turns", "a wrong password behind the right one: granted", meaning, "do not use it",
                                 grave=True)]  # fmt: skip
            if answer.verdict is not expected:
                told = f"right and wrong passwords in turns, question {number + 1}: {lab.told(answer)}"
                return [deviates("turns", told, "logins fail after others' mistakes", "begin anew with each question")]
    return [ok("turns", "right and wrong passwords in turns: each answered by itself")]


def changes(lab: Lab) -> list[Finding]:
    """What changes something, tried on the account and on a new one."""
    found: list[Finding] = []
    with lab.ready() as program:
        if lab.account is not None and "setpass" in lab.program.commands:
            found.append(_same_again(lab, lab.account, program))
        if {"tryregister", "removeuser"} <= lab.program.commands:
            found += _life(lab, program)
    if not found:
        reason = "it takes --account for setpass, and commands with tryregister and removeuser for a new account"
        found.append(note("changes", f"not tried: {reason}", "unknown"))
    return found


def _same_again(lab: Lab, account: Account, program: Program) -> Finding:
    """Set the password to what it is; one that was mistyped must not become it."""
    if lab.ask(program, lab.account_auth(account.secret)).verdict is not Verdict.GRANTED:
        return note("setpass", "not tried: this password is not granted, and would become the account's", "unknown")
    changed = lab.ask(program, lab.account_auth(account.secret, "setpass"))
    granted = lab.ask(program, lab.account_auth(account.secret))
    if changed.verdict is Verdict.GRANTED and granted.verdict is Verdict.GRANTED:
        return ok("setpass", "the password was set to what it is, and is granted")
    if changed.verdict is not Verdict.GRANTED:
        seen, advice = f"setpass: {lab.told(changed)}", 'if it cannot change passwords, commands = ["auth", "isuser"]'
        return note("setpass", seen, "users cannot change their password", advice, {"commands": ["auth", "isuser"]})
    return deviates("setpass", f"afterwards the password: {lab.told(granted)}", "whoever changes it is locked out",
                    "set it again by hand, and look how setpass stores it")  # fmt: skip


def _life(lab: Lab, program: Program) -> list[Finding]:
    """Make a new account, change its password, remove it."""
    user = f"check-{secrets.token_hex(6)}"
    old, new = b"old:" + secret(), b"new:" + secret()
    removed = f"removeuser:{user}:{lab.host}".encode(errors="surrogateescape")
    steps = [
        ("tryregister", lab.auth(old, user, "tryregister"), Verdict.GRANTED),
        ("isuser", lab.isuser(user), Verdict.GRANTED),
        ("auth", lab.auth(old, user), Verdict.GRANTED),
        ("setpass", lab.auth(new, user, "setpass"), Verdict.GRANTED),
        ("auth with the old password", lab.auth(old, user), Verdict.DENIED),
        ("auth with the new password", lab.auth(new, user), Verdict.GRANTED),
        ("removeuser", removed, Verdict.GRANTED),
        ("isuser of a removed account", lab.isuser(user), Verdict.DENIED),
    ]
    for what, body, expected in steps:
        answer = lab.ask(program, body)
        if answer.verdict is not expected:
            if what != "tryregister":
                lab.ask(program, removed)
            seen = f"a new account, {user}: {what}: {lab.told(answer)}"
            return [deviates("changes", seen, "accounts cannot be managed as these commands promise",
                             "repair it, or leave the command out of commands; look whether the account is gone",
                             grave=answer.verdict is Verdict.GRANTED)]  # fmt: skip
    return [ok("changes", "a new account was made, its password changed, and removed")]


def _grants(lab: Lab, password: bytes) -> bool:
    with lab.ready() as program:
        return lab.ask(program, lab.account_auth(password)).first is Verdict.GRANTED


def _account(lab: Lab) -> Account:
    assert lab.account is not None
    return lab.account
