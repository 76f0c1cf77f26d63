"""Texts made safe to show: one printable line, not too long.  No I/O."""

from __future__ import annotations


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
