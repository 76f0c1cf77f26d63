"""Replies that come in pieces, and those that end without saying so.

What has come of a reply that is not complete, and what may follow:

  nothing   begun      its first bytes have come
  begun     nothing    completed, or no reply at all, or nothing has followed it and it does not count
            counted    it counts alone, and nothing has followed it for a while; its line end is owed
  counted   nothing    that has come, alone or before the next reply, or the next reply has come without it

A line end that is owed is nobody's reply, whenever it comes: it says nothing.  No I/O.
"""

from __future__ import annotations

from bridge.loop.timer import FOREVER
from bridge.protocol.codec import Codec
from bridge.protocol.query import Verdict

ALONE = 0.05
"""Seconds after which an incomplete reply counts, if it counts alone and an earlier one had to."""

AT_FIRST = 0.3
"""The same as long as none had to: a line end that is merely late has to come before the next question is asked, as it
and the next reply, read together, would look like a second reply."""


class Pieces:
    """What has come of one program's reply.

    Attributes:
      patience: seconds after which an incomplete one counts, if it counts alone.
    """

    __slots__ = ("_codec", "_counted", "_partial", "patience")

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._partial = b""
        self._counted = False
        self.patience = AT_FIRST

    @property
    def begun(self) -> bytes:
        """The beginning of a reply that has not counted."""
        return b"" if self._counted else self._partial

    def join(self, data: bytes) -> bytes | None:
        """What has been read together with what came before.

        Args:
          data: as it was read; at the end of output it is empty, and what came before stays.

        Returns:
          `None` if that is the line end that was owed, or a part of it; otherwise without that.
        """
        if not data:
            return data
        joined = self._partial + data
        if not self._counted:
            self._partial = b""
            return joined
        if self._codec.may_become_reply(joined):
            self._partial = joined
            return None
        self._partial, self._counted = b"", False
        verdict, rest = self._codec.split(joined)
        return joined[1:] if verdict is None else rest or None

    def keep(self, data: bytes) -> float:
        """Keep the beginning of a reply.

        Returns:
          seconds after which it counts if nothing follows it, or is no reply; infinity for a part of a frame.
        """
        self._partial = data
        if self._codec.verdict_alone(data) is not None:
            return self.patience
        return AT_FIRST if self._codec.verdict_alone(data[:1]) is not None else FOREVER

    def count(self) -> Verdict | None:
        """The verdict of what has begun, if nothing will follow it any more but its line end."""
        verdict = self._codec.verdict_alone(self._partial) if not self._counted else None
        self._counted = verdict is not None
        if self._counted:
            self.patience = ALONE
        return verdict
