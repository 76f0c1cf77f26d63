"""What ejabberd's administrators have: an export in XML, or a dump of the SQL database."""

from collections.abc import Iterator

from bridge.programs.importing import piefxis, sqldump
from bridge.programs.importing.entry import Found, opened


def read(path: str) -> Iterator[Found]:
    """The users in this file, whichever it is.

    Raises:
      Unreadable: it is neither, or cannot be read to its end.
    """
    with opened(path) as file:
        is_xml = file.peek(100).lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n").startswith(b"<")
        yield from piefxis.read(file) if is_xml else sqldump.read(file)
