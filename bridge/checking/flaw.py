"""What may be wrong with the bytes that should have been a reply, whatever the protocol."""

from __future__ import annotations

import attrs

BOM = b"\xef\xbb\xbf"

KILLED = "the bridge takes it for no reply: the login fails, and the program is replaced"

UNASKED = (
    "it could be taken for the answer to the next login, which may be a stranger's; the bridge replaces such a "
    "program at once where it can see it"
)


@attrs.frozen
class Flaw:
    """What is wrong with it.

    Attributes:
      seen, meaning, advice: see `Finding`.
      ahead: it stood before a good reply, so that the next one may be good.
      text: bytes to show with it.
      grave: strangers may get in.
      protocol: the one it seems to speak instead.
    """

    seen: str
    meaning: str
    advice: str
    ahead: bool = False
    text: bytes = attrs.field(default=b"", repr=False)  # it may hold what was asked
    grave: bool = False
    protocol: str = ""


def ahead(before: bytes, *, are_replies: bool) -> Flaw:
    """What stood before a reply."""
    stderr = "write nothing but replies to stdout; with PHP, run it with -d display_errors=stderr"
    if before == BOM:
        return Flaw("a byte order mark before the first reply", KILLED, "save the file as UTF-8 without a BOM", True)
    if not before.strip():
        return Flaw(
            "a blank line before the first reply",
            KILLED,
            "with PHP, remove what stands before <?php and behind ?> in all its files",
            True,
        )
    if are_replies:
        return Flaw(
            "a second reply, or one before anything was asked",
            "every reply would be taken for the next question's: strangers could get in",
            "have the program reply exactly once, after it has read the question",
            True,
            grave=True,
        )
    return Flaw("text on stdout before the first reply", KILLED, stderr, True, before)
