"""Names and passwords as the protocol and XMPP can carry them."""


class Refused(Exception):
    """The input is not acceptable. str() is one line, safe to show."""


NOT_IN_NAMES = " \"&'/:<>@"
"""What RFC 7622 forbids in a user name; the protocol could not carry the colon either."""


def parse_name(name: str) -> tuple[str, str]:
    """Convert USER@HOST as typed to (user, host) as XMPP prepares them.

    Raises:
      Refused: it is not acceptable.
    """
    user, at, host = name.lower().partition("@")
    if not at:
        raise Refused("USER@HOST expected: there is no @")
    return clean(user, "USER", NOT_IN_NAMES), clean(host, "HOST", NOT_IN_NAMES)


def clean(text: str, what: str, forbidden: str = "") -> str:
    """`text` itself, if the protocol and XMPP can carry it.

    Raises:
      Refused: they cannot; the message does not show it.
    """
    if not text:
        raise Refused(f"{what} is empty")
    if any(char in forbidden for char in text):
        raise Refused(f"{what} holds a space or one of {forbidden.strip()}")
    if has_controls(text):
        raise Refused(f"{what} holds a control character")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Refused(f"{what} is not valid UTF-8") from None
    return text


def has_controls(text: str) -> bool:
    """Whether it holds a C0, DEL or C1 control character, which XMPP forbids in names and passwords.

    Also, scrypt cannot tell a password from the same one followed by NULs: HMAC pads its key with them.
    """
    return any(char < " " or "\x7f" <= char <= "\x9f" for char in text)
