"""What ejabberd's `frames` and Prosody's lines (`generic`) have in common: either module is a `Codec`.

Whoever asks a program does not know which it is.  No I/O.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.protocol.query import Verdict


class Codec(Protocol):
    """How a question is written, and what its reply looks like."""

    @property
    def headers(self) -> list[bytes]:
        """What makes a frame of a short body, by the number of its bytes, where that is quicker than `framed`."""
        ...

    def framed(self, body: bytes) -> bytes:
        """A question as it is written.

        Raises:
          struct.error: it has more than `lines.MAX_LINE` bytes.
        """
        ...

    @property
    def overhead(self) -> int:
        """Bytes of a frame besides its body."""
        ...

    @property
    def verdict_of(self) -> Callable[[bytes], Verdict | None]:
        """The verdict of a complete reply; `None` for anything else."""
        ...

    @property
    def verdict_alone(self) -> Callable[[bytes], Verdict | None]:
        """The verdict of an incomplete reply that counts if nothing follows it for a while."""
        ...

    def may_become_reply(self, data: bytes) -> bool:
        """Whether `data` is an incomplete reply."""
        ...

    def may_become_replies(self, data: bytes) -> bool:
        """Whether `data` consists of replies, the last of which may be incomplete."""
        ...

    def split(self, data: bytes) -> tuple[Verdict | None, bytes]:
        """The verdict of the reply that `data` begins with, if it does, and all that follows it."""
        ...

    def hint(self, data: bytes) -> str:
        """What it seems to be instead: another protocol's reply, say; in words, or empty."""
        ...
