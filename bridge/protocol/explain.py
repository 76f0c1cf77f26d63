"""What a program wrote instead of a reply, explained to whoever has to mend it.  No I/O."""

from __future__ import annotations

from codecs import BOM_UTF8

from bridge.protocol.checks import command_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bridge.protocol.codec import Codec
    from bridge.protocol.query import Query


def explain(codec: Codec, data: bytes, query: Query | None, taken: Query | None, blamed: Query | None) -> str:
    """What `data` seems to be.

    Args:
      query: the one the program has, if any.
      taken: the same, if the program had read it before it wrote this.
      blamed: the one before, if this is a second reply to it.

    Returns:
      it in brackets after a space, or an empty string.
    """
    first, rest = codec.split(data)
    if taken is not None and first is not None:
        if codec.may_become_replies(rest):
            return f" (two replies to {command_of(taken.body)}, the first one {first.value})"
        if not rest.strip(b"\r\n"):
            return " (a reply, and a line end after it)"
        return " (a reply, and something after it)"
    if taken is None and codec.may_become_replies(data):
        if blamed is not None and blamed.verdict is not None:
            return f" (a second reply to {command_of(blamed.body)}, which was {blamed.verdict.value})"
        return " (a reply before it had read the question)" if query is not None else " (a reply)"
    if hint := codec.hint(data):
        return f" ({hint})"
    return _opening(codec, data)


def _opening(codec: Codec, data: bytes) -> str:
    """What comes before a reply when a program's file begins, or ends, with more than the program."""
    rest = data.removeprefix(BOM_UTF8)
    found = ["a byte order mark"] if rest != data else []
    bare = rest.lstrip(b"\r\n")
    if bare != rest:
        found.append("a blank line")
    if found and bare:
        found.append("and a reply" if codec.may_become_replies(bare) else "and something else")
    return f" ({', '.join(found)})" if found else ""
