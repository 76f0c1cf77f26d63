"""Where ejabberd and the bridge do not say the same, and why that is so: this and nothing else.

The kinds are those of the questions; ejabberd is Debian 12's, 23.01.
"""

from typing import NamedTuple

NONE = "failed"
"""ejabberd's verdict where it crashed."""


class Difference(NamedTuple):
    """What each side says to all questions of these kinds, and the reason.

    `item` is what extauth-bridge-howto(7) has about it, if it can matter to anybody.
    """

    ejabberd: str
    bridge: str
    kinds: tuple[str, ...]
    reason: str
    item: str


WANTED = (
    Difference(
        "yes",
        "no",
        (
            "auth: name not prepared, password of the prepared one",
            "isuser: name not prepared, of a user who exists",
            "auth: host in capitals, to a program that compares",
        ),
        "ejabberd prepares names (nodeprep, nameprep) before it asks. So does Prosody; the bridge passes them on as it "
        "gets them.",
        "Names come as they are asked for",
    ),
    Difference(
        "no",
        "yes",
        (
            "auth: name not prepared, password of the name as it is",
            "auth: a character that names cannot hold",
            "isuser: a character that names cannot hold",
            "setpass: a character that names cannot hold",
            "auth: name longer than 1023 bytes",
            "setpass: another account and a colon in the name",
        ),
        "The same: ejabberd does not ask about names that XMPP forbids. Prosody lets none of them through, and what "
        "else connects to the bridge must do so, too.",
        "Names come as they are asked for",
    ),
    Difference(
        "yes",
        "no",
        ("auth: empty name", "isuser: empty name", "setpass: empty name"),
        "No account has an empty name; ejabberd asks the program all the same.",
        "No control characters",
    ),
    Difference(
        "yes",
        "no",
        ("auth: a NUL behind the right password, to a program in C",),
        "ejabberd passes on control characters, and a program in C takes a NUL for the end of the password. XMPP has "
        "none in passwords (SASLprep), so the bridge refuses them.",
        "No control characters",
    ),
    Difference(
        "no",
        "yes",
        ("auth: a carriage return behind the right password", "setpass: a carriage return at the end"),
        "A line may end in CR LF, so this one is no part of the password. Prosody's module refuses it.",
        "No control characters",
    ),
    Difference(
        "yes",
        "no",
        ("auth: right password longer than max_line",),
        "`max_line`, 4096 bytes, can be raised to 32767; ejabberd's limit is 65535.",
        "Longer questions are refused",
    ),
    Difference(
        "no",
        "yes",
        (
            "setpass: what resourceprep forbids",
            "tryregister: what resourceprep forbids",
            "setpass: new password longer than 1023 bytes",
        ),
        "ejabberd refuses new passwords that could be no resource: emoji, right-to-left mixed with other letters, more "
        "than 1023 bytes. The bridge leaves that to the program.",
        "What a new password may be is up to the program",
    ),
    Difference(
        "yes",
        "no",
        ("setpass: unknown", "removeuser: unknown"),
        "ejabberd says that a password was changed, or an account removed, even if the program said no.",
        "A no is a no",
    ),
    Difference(
        "yes",
        "no",
        ("auth: right password, replied to twice", "isuser: replied to twice", "setpass: replied to twice"),
        "ejabberd takes the first of two replies that come at once. The bridge takes neither and replaces the program, "
        "since the next such reply may come later and be taken for somebody else's.",
        "One reply to each question, and none unasked",
    ),
    Difference(
        NONE,
        "no",
        (
            "auth: unknown host",
            "isuser: unknown host",
            "setpass: unknown host",
            "auth: empty host",
        ),
        "ejabberd's modules crash for a host that it does not serve; its sessions ask about no such host.",
        "",
    ),
)
