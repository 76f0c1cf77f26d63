"""An input as a series of choices, so that any bytes are a scenario."""

from collections.abc import Sequence
from typing import TypeVar

Choice = TypeVar("Choice")


class Source:
    """Reads an input from its start; false once nothing is left.  Beyond its end there are zeros."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def below(self, limit: int) -> int:
        """A number from 0 to `limit` - 1; `limit` is at most 256."""
        taken = self.take(1)
        return taken[0] % limit if taken else 0

    def pick(self, choices: Sequence[Choice]) -> Choice:
        return choices[self.below(len(choices))]

    def take(self, size: int) -> bytes:
        """Bytes as they are, as many as are left."""
        taken = self._data[self._at : self._at + size]
        self._at += size
        return taken

    def rest(self) -> bytes:
        return self.take(len(self._data))


MANY = b"#*"
"""In an input that is a text: what follows is repeated, as there is not room for everything."""

_LONG = 8192
"""Bytes of what was repeated: enough for any recursion."""


def repeated(text: bytes) -> bytes:
    """`text`, of which the part behind `MANY` is repeated."""
    once, _, again = text.partition(MANY)
    return once + again * (_LONG // max(1, len(again)))


def pieces(data: bytes, sizes: Sequence[int]) -> list[bytes]:
    """`data` in pieces of these sizes, again and again; each size is at least 1."""
    cut: list[bytes] = []
    at = number = 0
    while at < len(data):
        size = sizes[number % len(sizes)]
        cut.append(data[at : at + size])
        at, number = at + size, number + 1
    return cut
