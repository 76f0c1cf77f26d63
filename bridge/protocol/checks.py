"""Which of a client's lines may reach a program; all others are answered `0`.

  command   one of those allowed
  fields    auth, setpass, tryregister, removeuser3, certauth: user:host:secret, where the secret is the whole
            rest, colons included; isuser, removeuser: exactly user:host
  contents  valid UTF-8 without control characters (C0, DEL, C1); no empty field, except the secret if allowed
  lines     what a program reads as lines may hold nothing that any of them takes for the end of one, is not longer
            than Prosody's own lines, and no question begins where its buffer may end (see `generic`)

No I/O.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import TypeGuard

from bridge.protocol.lines import MAX_LINE
from bridge.protocol.query import Refusal

WITH_SECRET = frozenset({"auth", "setpass", "tryregister", "removeuser3", "certauth"})
WITHOUT_SECRET = frozenset({"isuser", "removeuser"})

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_LINE_ENDS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")

LONGEST = 1000
"""Bytes of a line for a program that reads lines, without its end: Prosody's mod_auth_external sends no longer ones,
and a program with a small buffer would take the rest of one for another question."""

_BUFFER = 60
"""Bytes that every program reads at once: names alone need as many."""

_NEVER = b"(?!)"
_COMMAND_ENDS = b"|".join(b"(?<=%s:)" % name.encode() for name in WITH_SECRET | WITHOUT_SECRET)
_HIDDEN = rb".{%d}(?:[^:\n]*+:)+?(?i:%s)[^:\n]" % (_BUFFER, _COMMAND_ENDS)  # from colon to colon, for speed


class Checks:
    """The checks for one set of allowed commands.

    Called with a line, it returns `None` if the line may reach a program, otherwise the reason why not.

    Args:
      commands: those allowed.
      allow_empty_password: the secret may be empty.
      as_lines: the program reads lines.
    """

    def __init__(self, commands: Collection[str], allow_empty_password: bool, as_lines: bool = False) -> None:
        self._ends = _LINE_ENDS if as_lines else _CONTROL
        self._longest = LONGEST if as_lines else MAX_LINE
        self._hides_question = re.compile(_HIDDEN if as_lines else _NEVER).match
        self._with_secret = frozenset(name.encode() for name in WITH_SECRET.intersection(commands))
        self._without_secret = frozenset(name.encode() for name in WITHOUT_SECRET.intersection(commands))
        self._allow_empty_password = allow_empty_password
        short = rb"(?=.{,%d}\n)(?!%s)" % (LONGEST, _HIDDEN) if as_lines else b""
        self._plain = re.compile(
            rb"(?:%s(?:%s):[ -9;-~]+:[ -9;-~]+:[ -~]+\n|%s(?:%s):[ -9;-~]+:[ -9;-~]+\n)*+"
            % (short, b"|".join(self._with_secret) or _NEVER, short, b"|".join(self._without_secret) or _NEVER)
        ).fullmatch

    def plain(self, lines: Sequence[bytes | Refusal]) -> TypeGuard[Sequence[bytes]]:
        """Whether all `lines` are good, and of printable ASCII, as nearly all are.

        Two thirds of the time that it takes to match each by itself.
        """
        try:
            text = b"\n".join(lines) + b"\n"  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        except TypeError:  # some were refused already
            return False
        return self._plain(text) is not None and text.count(b"\n") == len(lines)

    def __call__(self, line: bytes) -> Refusal | None:
        if len(line) > self._longest:
            return Refusal.LENGTH
        try:
            text = line.decode()
        except UnicodeDecodeError:
            return Refusal.ENCODING
        # isprintable is one quick pass in C; only what it rejects (an odd space, say) needs the exact rule.
        if not text.isprintable() and self._ends.search(text):
            return Refusal.CONTROL
        command, _, rest = line.partition(b":")
        if command in self._with_secret:
            fields = rest.split(b":", 2)
            if len(fields) != 3:
                return Refusal.FIELDS
            if not fields[2] and self._allow_empty_password:
                fields.pop()
        elif command in self._without_secret:
            fields = rest.split(b":")
            if len(fields) != 2:
                return Refusal.FIELDS
        else:
            return Refusal.COMMAND
        if self._hides_question(line):
            return Refusal.HIDDEN
        return None if all(fields) else Refusal.EMPTY


def command_of(line: bytes) -> str:
    """The command of a checked `line`: one of those allowed, so it may be logged."""
    return line.partition(b":")[0].decode()


def host_of(line: bytes) -> bytes:
    """The host field of `line`, or nothing if it has none."""
    fields = line.split(b":", 3)
    return fields[2] if len(fields) > 2 else b""


def account_of(line: bytes) -> bytes:
    """The account that a checked `line` is about: `user:host`."""
    return b":".join(line.split(b":", 3)[1:3])


def shape_of(line: bytes) -> str:
    """What may be logged of a checked `line` that a program did not survive: neither names nor the secret."""
    contents = "ASCII" if line.isascii() else "with multibyte characters"
    return f"{command_of(line)}, {len(line)} bytes, {contents}"


def secret_of(line: bytes) -> bytes:
    """The secret of a checked `line`, or nothing if its command has none."""
    fields = line.split(b":", 3)
    return fields[3] if len(fields) > 3 else b""
