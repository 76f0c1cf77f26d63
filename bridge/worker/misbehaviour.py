"""Why a program is killed for what it wrote, and whose reply it may have been.  No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.log.text import escaped
from bridge.protocol.explain import explain
from bridge.worker.stderrlines import StderrLines

if TYPE_CHECKING:
    from bridge.protocol.codec import Codec
    from bridge.protocol.query import Query
    from bridge.worker.stderr import Asked

_SHOWN = 120
"""Characters of a protocol error that the log shows: enough to recognise a PHP warning."""


def protocol_error(
    codec: Codec,
    data: bytes,
    query: Query | None,
    taken: Query | None,
    previous: Query | None,
    asked: Asked,
    number: int,
) -> tuple[str, Query | None]:
    """What is wrong with `data`.

    Args:
      query: the one the program has, if any.
      taken: the same, if the program had read it before it wrote this.
      previous: the last one it answered.
      asked: its last questions, of which no secret may show.
      number: how many it was asked.

    Returns:
      it in words; and the query to which it is a second reply, if it is one.
    """
    blamed = _doubly_answered(codec, data, taken, previous)
    what = "bytes nobody asked for" if query is None else "something that is not a reply"
    explained = explain(codec, data, query, taken, previous if blamed is not None else None)
    return f"it wrote {what}{explained}: {_shown(data, asked, number)}", blamed


def _doubly_answered(codec: Codec, data: bytes, taken: Query | None, previous: Query | None) -> Query | None:
    first, rest = codec.split(data)
    if taken is not None and first is not None:
        return taken if codec.may_become_replies(rest) else None
    return previous if previous is not None and codec.may_become_replies(data) else None


def _shown(data: bytes, asked: Asked, number: int) -> str:
    """The beginning of a program's output with secrets masked, even those of earlier questions.

    Nothing may be cut off before that: what looks like a reply may be the first digit of a secret.
    """
    if not data.strip(b"\0\1\2\r\n"):
        return escaped(data.decode())
    said = StderrLines(asked)
    return " ".join(map(str, [*said.feed(data, number), *said.finish(number)]))[:_SHOWN]
