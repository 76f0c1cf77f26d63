"""Finds secrets in a line, however a program printed them, and masks every word they are in.

  - Secrets are searched for in the line and in what it decodes to: backslash and percent escapes, and hexadecimal and
    base64 of each of these.  So only the secrets themselves are searched for, and a thousand of them cost little.
  - Many programs split their input at every colon and print the parts: each part counts as a secret too.
  - A mask covers the whole word, up to the next spaces, or all words that a secret with spaces touches, and always has
    the same length.
  - Whoever knows the program's messages would learn from a mask what it stands for, if a secret, or a part of one,
    just happens to be in a word of theirs ("data" in "database").  Such a line is not shown at all.
  - If masking would not hide a secret, or would take long, there is no masked line at all.

No I/O.  The time is linear in the line and in the secrets, and both are bounded.
"""

from __future__ import annotations

import re
from array import array
from binascii import a2b_base64, a2b_hex, b2a_base64
from bisect import bisect_right
from collections.abc import Callable, Container, Iterable, Iterator

MASK = b"***"

SHORTEST = 4
"""Bytes of the shortest secret that is masked.  A shorter one occurs in many words, and which of them are masked would
spell it out."""

# Bounds on the work for one line; beyond them it is withheld.  No real passwords or diagnostics come near.
MOST_PARTS = 4096  # colon-separated parts of all secrets: a millisecond
MOST_SOUGHT = 256  # those of them whose first four bytes are in the line
MOST_HITS = 1024  # occurrences of secrets in a line

# Compiled on first use, not at start-up.
_WORD_CHARACTER = rb"[0-9A-Za-z_\x80-\xff]"
_PERCENT = rb"(?:%[0-9A-Fa-f]{2})+"
# A character as Python, JSON, JavaScript, Go (\u, \U, \x), Perl and Ruby (braces) and C (octal) print it;
# JSON's surrogate pairs come first.  \n and the like are left alone: secrets hold no control characters.
_BACKSLASH = (
    rb"\\(?:u([dD][89abAB][0-9A-Fa-f]{2})\\u([dD][c-fC-F][0-9A-Fa-f]{2})"
    rb"|(?:x|u00)([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|[ux]\{([0-9A-Fa-f]{1,8})\}"
    rb"|([0-3][0-7]{2})|([^0-9A-Za-z\n]))"
)
_TORN_ESCAPE = (
    rb"(?:\\u[dD][89abAB][0-9A-Fa-f]{2})?(?:\\(?:[ux]\{[0-9A-Fa-f]{0,8}"
    rb"|u[0-9A-Fa-f]{0,3}|U[0-9A-Fa-f]{0,7}|x[0-9A-Fa-f]?|[0-3][0-7]?)?|%[0-9A-Fa-f]?)?\Z"
)
_LONGEST_ESCAPE = 12
"""Bytes: a pair such as \\ud83d\\ude00."""

_MOST_HEADS = 16
"""Places tried, for each secret, where the end of a torn line may be its beginning."""

# So that a whole line can be decoded at once: every non-digit reads as the digit for zero.
_HEX = bytes(byte if byte in b"0123456789abcdefABCDEF" else ord("0") for byte in range(256))
_BASE64 = bytearray(b"A" * 256)
for _digit in b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/":
    _BASE64[_digit] = _digit
_BASE64[ord("-")], _BASE64[ord("_")] = b"+/"  # the other alphabet

Span = tuple[int, int]


class Masks:
    """The masks for some secrets.

    Args:
      secrets: in clear, as in the queries.
    """

    def __init__(self, secrets: Iterable[bytes]) -> None:
        secrets = {secret for secret in secrets if secret}
        short = {secret for secret in secrets if len(secret) < SHORTEST}
        long = {form for secret in secrets - short for form in _in_other_encodings(secret)}
        self._too_many = sum(secret.count(b":") for secret in long) > MOST_PARTS
        self._whole = long
        pieces = set(long)
        if not self._too_many:
            for secret in long:
                pieces.update([part for part in secret.split(b":") if len(part) >= SHORTEST])
        self._pieces = [*pieces]
        self._beginnings = _numbers(b"".join([piece[:SHORTEST] for piece in pieces]))
        self._any_beginning = frozenset(self._beginnings)
        self._forbidden = {
            rendering for secret in short for form in _in_other_encodings(secret) for rendering in _renderings(form)
        }

    def apply(self, line: bytes, torn: bool) -> bytes | None:
        """`line` with the secrets masked; `None` if that would not hide them.

        Args:
          torn: the line was cut off, so its end may be the first part of a secret.
        """
        spans = None if self._too_many else self._spans(line)
        if spans is not None and torn:
            torn_off = self._torn_off(line)
            spans = None if torn_off is None else spans + torn_off
        return None if spans is None else _masked(line, spans)

    def betrayed_by(self, shown: bytes) -> bool:
        """Whether a secret can be read in `shown`, by some accident of masking and escaping."""
        return self._spans(shown) != []

    def _spans(self, line: bytes) -> list[Span] | None:
        """Where the secrets are; `None` if masks would not hide them, or if there are too many."""
        if not (self._pieces or self._forbidden):
            return []
        spans: list[Span] = []
        parts: list[Span] = []
        as_it_is: list[Span] = []
        for escapes_undone in _unescaped(line):
            if any(rendering in escapes_undone.text for rendering in self._forbidden):
                return None
            for view in escapes_undone.decoded():
                sought = self._sought(view.text)
                if len(sought) > MOST_SOUGHT:
                    return None
                for piece in sought:
                    found = spans if piece in self._whole else parts
                    for span in view.places(piece):
                        found.append(span)
                        if view.text is line:
                            as_it_is.append(span)
                        if len(spans) + len(parts) > MOST_HITS:
                            return None
        if _are_inside(parts, _with_words(line, spans)) and not _cut_words(line, as_it_is):
            return spans
        return None

    def _sought(self, text: bytes) -> list[bytes]:
        """The secrets whose first four bytes are in `text`."""
        there: set[int] = set()
        for shift in range(SHORTEST):
            there |= self._any_beginning.intersection(_numbers(text[shift:]))
        if not there:
            return []
        return [piece for piece, begins in zip(self._pieces, self._beginnings, strict=True) if begins in there]

    def _torn_off(self, line: bytes) -> list[Span] | None:
        """Where the end of `line` is the first part of a secret, whose last escape may be torn too.

        Returns:
          `None` if there are too many candidates.
        """
        tail = line[-2 * _LONGEST_ESCAPE :]
        torn = re.search(_TORN_ESCAPE, tail)
        few = {piece[:length] for piece in self._pieces for length in range(1, SHORTEST)}
        whole = len(line) - (len(torn[0]) if torn else 0)
        starts = {whole}
        for escapes_undone in _unescaped(line[:whole]):
            for view in escapes_undone.decoded():
                sought = self._sought(view.text)
                if len(sought) > MOST_SOUGHT:
                    return None
                starts.update(view.heads(sought))
                starts.update(view.tails(few))
        return [(start, len(line)) for start in starts if len(line) - start >= SHORTEST]


class _View:
    """A line, or what it decodes to.

    Args:
      text: the decoded text.
      origin: maps a span of `text` to the span of the line it comes from.
    """

    def __init__(self, text: bytes, origin: Callable[[int, int], Span]) -> None:
        self.text = text
        self._origin = origin

    def decoded(self) -> Iterator[_View]:
        """This view, and its text decoded as hexadecimal and base64, from every possible offset."""
        yield self
        for shift in range(2):
            yield self._from_digits(shift, 2, 1)
        for shift in range(4):
            yield self._from_digits(shift, 4, 3)

    def places(self, piece: bytes) -> Iterator[Span]:
        """Where `piece` is in the line.

        If it has no space, overlapping occurrences are in the same word, so only those that do not overlap are needed.
        """
        step = len(piece) if piece.split() == [piece] else 1
        at = self.text.find(piece)
        while at >= 0:
            yield self._origin(at, at + len(piece))
            at = self.text.find(piece, at + step)

    def heads(self, pieces: Iterable[bytes]) -> Iterator[int]:
        """Where in the line the first part of a piece begins, if the line ends in it, or might."""
        end = self.text[-SHORTEST:]
        for piece in pieces:
            if end not in piece:
                continue
            first = at = self.text.find(piece[:SHORTEST], max(0, len(self.text) - len(piece)))
            for _ in range(_MOST_HEADS):
                if at < 0 or piece.startswith(self.text[at:]):
                    break
                at = self.text.find(piece[:SHORTEST], at + 1)
            else:
                at = first
            if at >= 0:
                yield self._origin(at, len(self.text))[0]

    def tails(self, few: Container[bytes]) -> Iterator[int]:
        """Where in the line its last one, two or three bytes begin, for each of these that is among `few`."""
        for length in range(1, min(SHORTEST, len(self.text) + 1)):
            if self.text[-length:] in few:
                yield self._origin(len(self.text) - length, len(self.text))[0]

    def _from_digits(self, shift: int, digits: int, size: int) -> _View:
        """The text from `shift` on, decoded: `digits` characters stand for `size` bytes."""
        whole = self.text[shift:]
        if size == 1:
            text = a2b_hex(whole.translate(_HEX)[: len(whole) & ~1])
        else:
            padded = whole.translate(_BASE64) + b"A" * (-len(whole) % digits)
            text = a2b_base64(padded)[: len(whole) * size // digits]

        def origin(start: int, end: int) -> Span:
            return self._origin(shift + start * digits // size, shift - (-end * digits // size))

        return _View(text, origin)


def _unescaped(line: bytes) -> Iterator[_View]:
    """`line`, and `line` with its escapes undone."""
    yield _View(line, lambda start, end: (start, end))
    if b"\\" in line:
        yield _replaced(line, _BACKSLASH, _character)
    if b"%" in line:
        yield _replaced(line, _PERCENT, _octets)
    if b"+" in line:  # a space, in an HTML form's encoding
        yield _replaced(line.replace(b"+", b" "), _PERCENT, _octets)


def _replaced(line: bytes, pattern: bytes, meaning: Callable[[re.Match[bytes]], bytes]) -> _View:
    """The view of `line` in which every match of `pattern` is replaced by its meaning."""
    text = bytearray()
    places, sources = [0], [0]
    for match in re.finditer(pattern, line):
        text += line[sources[-1] : match.start()]
        places.append(len(text))
        sources.append(match.start())
        text += meaning(match)
        places.append(len(text))
        sources.append(match.end())
    text += line[sources[-1] :]
    return _View(bytes(text), _Sources(places, sources))


class _Sources:
    """Maps a text in which matches were replaced back to the line.

    Args:
      places: where each part of the text begins; unchanged and replaced parts alternate.
      sources: where each of them begins in the line.
    """

    def __init__(self, places: list[int], sources: list[int]) -> None:
        self._places = places
        self._sources = sources

    def __call__(self, start: int, end: int) -> Span:
        """The span in the line; a replaced part counts as a whole."""
        first, last = (bisect_right(self._places, at) - 1 for at in (start, end - 1))
        from_start = self._sources[first] + (0 if first % 2 else start - self._places[first])
        to_end = self._sources[last + 1] if last % 2 else self._sources[last] + end - self._places[last]
        return from_start, to_end


def _octets(escapes: re.Match[bytes]) -> bytes:
    return a2b_hex(escapes[0].replace(b"%", b""))


def _character(escape: re.Match[bytes]) -> bytes:
    """The character an escape stands for.

    `\\xe9` is U+00E9, as in Python's str.  In Python's bytes it is one byte: a secret printed that way looks like UTF-8
    decoded as Latin-1, which is searched for as well.
    """
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


def _masked(line: bytes, spans: list[Span]) -> bytes:
    """`line` with a mask for each span, from the word it begins in to the word it ends in."""
    kept: list[bytes] = []
    done = 0
    for start, end in _with_words(line, spans):
        kept += [line[done:start], MASK]
        done = end
    return b"".join(kept) + line[done:]


def _with_words(line: bytes, spans: list[Span]) -> list[Span]:
    """What masks for `spans` cover, in order and without overlaps: the words they are in, or next to.

    Only spaces end a word: any other white space is shown as an escape, which looks like a part of it.
    """
    covered: list[Span] = []
    for start, end in _merged(spans):
        last = line.find(b" ", end)
        covered.append((line.rfind(b" ", 0, start) + 1, last if last >= 0 else len(line)))
    return _merged(covered)


def _merged(spans: list[Span]) -> list[Span]:
    """`spans` in order, with those that overlap or touch as one."""
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], end)
        else:
            merged.append((start, end))
    return merged


def _are_inside(spans: list[Span], covered: list[Span]) -> bool:
    """Whether each of `spans` is within one that is `covered`."""
    beginnings = [start for start, _ in covered]
    for start, end in spans:
        at = bisect_right(beginnings, start) - 1
        if at < 0 or covered[at][1] < end:
            return False
    return True


def _cut_words(line: bytes, spans: list[Span]) -> bool:
    """Whether any of `spans` begins or ends inside a word, not counting punctuation."""
    cuts = {at for span in _merged(spans) for at in span if 0 < at < len(line)}
    return any(re.fullmatch(_WORD_CHARACTER * 2, line[at - 1 : at + 1]) for at in cuts)


def _in_other_encodings(secret: bytes) -> Iterator[bytes]:
    """`secret` as it is, as its UTF-8 looks when taken for Latin-1, and in Latin-1."""
    yield secret
    if not secret.isascii():
        yield secret.decode("latin-1").encode()
        latin = secret.decode("utf-8", "replace").encode("latin-1", "ignore")
        if len(latin) >= SHORTEST:
            yield latin


def _renderings(secret: bytes) -> Iterator[bytes]:
    """The ways to print exactly this secret that are still visible once escapes are undone."""
    yield secret
    yield secret.hex().encode()
    yield secret.hex().upper().encode()
    encoded = b2a_base64(secret, newline=False).rstrip(b"=")
    yield encoded
    yield encoded.replace(b"+", b"-").replace(b"/", b"_")


def _numbers(text: bytes) -> array[int]:
    """`text` in groups of four bytes, each as a number, so that they compare in one step."""
    return array("I", text[: len(text) // SHORTEST * SHORTEST])
