"""What a program writes on its stderr, in whatever pieces it comes, becomes lines that are safe to log.

  - A line ends in a newline.  Of an unfinished one at most `512 + 3 * max_line` bytes are kept, and the rest
    of an overlong line is skipped.  Three times: every byte of a secret may be printed as `%41`.
  - Secrets are masked before anything is cut, so neither the end of a piece nor the cut shows half of one.
  - What leaves is one printable line of at most 512 bytes: a program cannot forge a second line, a terminal's
    escape sequence or a syslog priority.
  - A line that cannot be masked safely is withheld whole: better to lose a line of diagnosis than a password.

No I/O.  The time spent is linear in what the program writes, whatever it is.
"""

from __future__ import annotations

import re
from binascii import b2a_base64
from collections.abc import Iterable, Iterator
from itertools import islice

SHOWN = 512
"""Bytes of one line in the log; what is longer is a dump, and its first part says of what."""

WITHHELD = "(line withheld: it may hold a secret)"
MASK = b"***"

SHORTEST = 4
"""Bytes that are masked; the gaps of a shorter mask would spell the secret out."""

# Bounds on the work for one line, which is withheld beyond them.  No real password or diagnosis comes near.
MOST_SECRETS = 16  # questions asked while one line stays unfinished
MOST_PIECES = 64  # colon-separated parts of all these secrets
MOST_HITS = 64  # places in a line where one rendering of a secret stands

# Compiled when they are first needed, not at start-up.
_FORGED_PRIORITY = r"(?:<\d+>)+"
_PERCENT = rb"%([0-9A-Fa-f]{2})"
# A character as Python, JSON, JavaScript, Go (\u, \U, \x), Perl and Ruby (braces) and C (octal) print it;
# JSON's pairs of surrogates come first.  \n and its like are left alone: secrets hold no control characters.
_BACKSLASH = (
    rb"\\(?:u([dD][89abAB][0-9A-Fa-f]{2})\\u([dD][c-fC-F][0-9A-Fa-f]{2})"
    rb"|(?:x|u00)([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|[ux]\{([0-9A-Fa-f]{1,8})\}"
    rb"|([0-3][0-7]{2})|([^0-9A-Za-z\n]))"
)
_TORN_ESCAPE = rb"(?:\\u[dD][89abAB][0-9A-Fa-f]{2})?(?:\\(?:[uUx]\{?[0-9A-Fa-f]{0,8}|[0-3][0-7]?)?|%[0-9A-Fa-f]?)\Z"
_LONGEST_ESCAPE = 12
"""Bytes, of a pair such as \\ud83d\\ude00."""


def escaped(text: str) -> str:
    """`text` on one line: every character that is not printable in it as a backslash escape.

    By `str.isprintable` these are C0, DEL, C1, line separators, bidirectional overrides, lone surrogates …
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def cut(text: str, size: int) -> bytes:
    """`text` as UTF-8 of at most `size` bytes (3 or more); `…` at its end says that something was cut off."""
    data = text.encode("utf-8", "backslashreplace")
    if len(data) <= size:
        return data
    return data[: size - 3].decode("utf-8", "ignore").encode() + "…".encode()


class StderrLines:
    """One program's stderr.

    Args:
      max_line: bytes of the longest line a client may send, which bounds a secret's length.
    """

    def __init__(self, max_line: int) -> None:
        self._room = SHOWN + 3 * max_line
        self._line = bytearray()
        self._overlong = False
        self._too_many = False
        self._secrets: frozenset[bytes] = frozenset()  # those of every feed since the line began

    def feed(self, data: bytes, secrets: Iterable[bytes]) -> list[str]:
        """The lines that `data` completes.

        Args:
          data: what was read, any piece of the stream.
          secrets: what the program may be printing: the secrets of its query and of the one before.  A line
            is masked with those of every feed since it began.
        """
        return self._feed(data, secrets, ended=False)

    def finish(self, secrets: Iterable[bytes]) -> list[str]:
        """The last line, where the program ended without a newline.  What comes then is a new stream."""
        return self._feed(b"\n", secrets, ended=True)

    def _feed(self, data: bytes, secrets: Iterable[bytes], ended: bool) -> list[str]:
        known = frozenset(filter(None, secrets))
        lines: list[str] = []
        *whole, rest = data.split(b"\n")
        if self._line and whole:
            self._add(whole.pop(0), known)
            lines += self._take(_Masks(self._secrets), ended)
        if any(whole):
            masks = _Masks(known, data)
            for piece in filter(None, whole):
                self._add(piece, known)
                lines += self._take(masks, ended)
        if rest:
            self._add(rest, known)
        return lines

    def _add(self, piece: bytes, known: frozenset[bytes]) -> None:
        self._secrets |= known
        room = self._room - len(self._line)
        self._line += piece[:room]
        self._overlong = self._overlong or len(piece) > room
        if len(self._secrets) > MOST_SECRETS:
            self._secrets = frozenset()
            self._too_many = True

    def _take(self, masks: _Masks, ended: bool) -> list[str]:
        """The buffered line, ready for the log, or nothing where it is blank; the buffer is empty then."""
        line, overlong, too_many = bytes(self._line), self._overlong, self._too_many
        self._line.clear()
        self._secrets = frozenset()
        self._overlong = self._too_many = False
        masked = None if too_many else masks.apply(line, torn=overlong or ended)
        if masked is None:
            return [WITHHELD]
        text = masked.decode("utf-8", "backslashreplace").rstrip()
        if text.startswith("<"):
            text = re.sub(_FORGED_PRIORITY, "", text, count=1)
        # Escaping shortens nothing, so one character more than fits is enough to have it cut, and marked.
        shown = cut(escaped(text[: SHOWN + 1]) + ("…" if overlong else ""), SHOWN)
        if shown != line and masks.betrayed_by(shown):
            return [WITHHELD]
        return [shown.decode()] if text else []


class _View:
    """A line as it reads with escapes undone, and where in the line each byte of that came from."""

    def __init__(self, text: bytes, starts: range | list[int], ends: range | list[int]) -> None:
        self.text = text
        self._starts = starts
        self._ends = ends

    def spans(self, needle: bytes) -> Iterator[tuple[int, int]]:
        """Where in the line `needle` stands, from and to, overlapping places too."""
        at = self.text.find(needle)
        while at >= 0:
            yield self._starts[at], self._ends[at + len(needle) - 1]
            at = self.text.find(needle, at + 1)

    def head(self, needle: bytes) -> int | None:
        """Where in the line the first part of `needle` begins, if the line ends in it."""
        at = self.text.find(needle[:1], max(0, len(self.text) - len(needle)))
        while at >= 0 and not needle.startswith(self.text[at:]):
            at = self.text.find(needle[:1], at + 1)
        return self._starts[at] if at >= 0 else None


def _views(line: bytes) -> Iterator[_View]:
    yield _View(line, range(len(line)), range(1, len(line) + 1))
    if b"\\" in line:
        yield _decoded(line, _BACKSLASH)
    if b"%" in line:
        yield _decoded(line, _PERCENT)
    if b"+" in line:  # a space, in an HTML form's encoding
        yield _decoded(line.replace(b"+", b" "), _PERCENT)


def _decoded(line: bytes, pattern: bytes) -> _View:
    """The view in which every match of `pattern` reads as what it stands for."""
    text, done = bytearray(), 0
    starts: list[int] = []
    ends: list[int] = []
    for escape in re.finditer(pattern, line):
        start, end = escape.span()
        meaning = _meaning(escape)
        text += line[done:start] + meaning
        starts += [*range(done, start), *[start] * len(meaning)]
        ends += [*range(done + 1, start + 1), *[end] * len(meaning)]
        done = end
    text += line[done:]
    starts += range(done, len(line))
    ends += range(done + 1, len(line) + 1)
    return _View(bytes(text), starts, ends)


def _meaning(escape: re.Match[bytes]) -> bytes:
    """What an escape stands for.

    `\\xe9` is U+00E9, as in Python's strings.  In its bytes it is one byte: a secret printed so reads as if its
    encoding had been mistaken, which is looked for as well.
    """
    if escape.re.groups == 1:  # percent
        return bytes([int(escape[1], 16)])
    high, low, *hexadecimal, octal, itself = escape.groups()
    if itself is not None:
        return itself
    if high is not None:
        code = 0x10000 + ((int(high, 16) & 0x3FF) << 10) + (int(low, 16) & 0x3FF)
    elif octal is not None:
        code = int(octal, 8)
    else:
        code = int(next(filter(None, hexadecimal)), 16)
    if 0xDC80 <= code <= 0xDCFF:  # a byte, by Python's surrogateescape
        code -= 0xDC00
    return chr(code).encode("utf-8", "replace") if code <= 0x10FFFF else escape[0]


class _Masks:
    """What to look for.

    Args:
      secrets: what must not be shown.
      text: all that will be looked at, where that is known: what is not in it need not be sought in each line.
    """

    def __init__(self, secrets: frozenset[bytes], text: bytes | None = None) -> None:
        long = {secret for secret in secrets if len(secret) >= SHORTEST}
        # Many programs split what they get at every colon, and print the parts.
        pieces = long | {part for secret in long for part in secret.split(b":") if len(part) >= SHORTEST}
        self._too_many = len(pieces) > MOST_PIECES
        self._hidden = set[bytes]()
        if not self._too_many:
            self._hidden.update(rendering for piece in pieces for rendering in _renderings(piece))
        self._forbidden = {rendering for secret in secrets - long for rendering in _plain_renderings(secret)}
        self._needles = self._sought = self._hidden | self._forbidden
        if text is not None and self._needles:
            self._sought = {needle for view in _views(text) for needle in self._needles if needle in view.text}

    def apply(self, line: bytes, torn: bool) -> bytes | None:
        """`line` with the secrets masked; None where that would not hide them.

        Args:
          torn: the line went on, or was to; so its end may be the first part of a secret.
        """
        if self._too_many:
            return None
        spans: list[tuple[int, int]] = []
        for view in _views(line) if self._sought else ():
            for needle in [needle for needle in self._sought if needle in view.text]:
                found = list(islice(view.spans(needle), MOST_HITS + 1))
                if needle in self._forbidden or len(found) > MOST_HITS:
                    return None
                spans += found
        if torn:
            spans += self._torn_off(line)
        return _masked(line, spans)

    def betrayed_by(self, shown: bytes) -> bool:
        """Whether a secret can be read in what is to be shown, by some accident of masking and escaping."""
        return any(needle in shown for needle in self._needles)

    def _torn_off(self, line: bytes) -> Iterator[tuple[int, int]]:
        """The end of `line` as far as it is the first part of a secret, whose last escape may be torn too."""
        tail = line[-2 * _LONGEST_ESCAPE :]
        torn = re.search(_TORN_ESCAPE, tail)
        for view in _views(line[: len(line) - len(tail) + torn.start()] if torn else line):
            for needle in self._hidden:
                start = view.head(needle)
                if start is not None and len(line) - start >= SHORTEST:
                    yield start, len(line)


def _masked(line: bytes, spans: list[tuple[int, int]]) -> bytes:
    kept: list[bytes] = []
    done = 0
    for start, end in sorted(spans):
        if start > done or not kept:
            kept += [line[done:start], MASK]
        done = max(done, end)
    return b"".join(kept) + line[done:]


def _plain_renderings(secret: bytes) -> Iterator[bytes]:
    """The ways to print exactly this secret that show in some view of the line."""
    yield secret
    yield secret.hex().encode()
    yield secret.hex().upper().encode()
    yield from _both_alphabets(b2a_base64(secret, newline=False).rstrip(b"="))
    yield secret.decode("latin-1").encode()  # the encoding mistaken


def _renderings(secret: bytes) -> Iterator[bytes]:
    """The plain ones, those as a part of something longer, and the secret in Latin-1."""
    yield from _plain_renderings(secret)
    for before in range(3):  # bytes, modulo 3; of the base64 of all together what the secret alone decides
        encoded = b2a_base64(bytes(before) + secret, newline=False)
        yield from _both_alphabets(encoded[(8 * before + 5) // 6 : 8 * (before + len(secret)) // 6])
    latin = secret.decode("utf-8", "replace").encode("latin-1", "ignore")
    if len(latin) >= SHORTEST:
        yield latin


def _both_alphabets(encoded: bytes) -> Iterator[bytes]:
    yield encoded
    yield encoded.replace(b"+", b"-").replace(b"/", b"_")
