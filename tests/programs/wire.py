"""What the Python test programs share: ejabberd frames, or lines, on descriptors 0 and 1, one truth table, the journal.

The truth table is the same in every test program, whatever its language. The last part of the user, after
its last dash, is the name; a name that begins with "no" does not exist; the password of user U is "pw-U".

The journal is a file that a test asks for by setting EXTAUTH_TEST_JOURNAL. Each event is appended by one
write: seconds of CLOCK_MONOTONIC, pid, what happened, and the frame's body in hexadecimal. Without that
variable nothing is recorded anywhere.

The programs run under `python -I -S`, which starts in about 10 ms; therefore only modules that the
interpreter has loaded anyway, and `time`.
"""

import os
import time

YES = b"\x00\x02\x00\x01"
NO = b"\x00\x02\x00\x00"

_path = os.environ.get("EXTAUTH_TEST_JOURNAL")
_journal = os.open(_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666) if _path else -1


def note(event: str, body: bytes = b"") -> None:
    """Append one event to the journal, if a test asked for one."""
    if _journal >= 0:
        os.write(_journal, f"{time.monotonic():.6f} {os.getpid()} {event} {body.hex()}\n".encode())


def read_exactly(count: int) -> bytes:
    """The next `count` bytes of stdin, in as many reads as it takes; shorter only at end of input."""
    data = b""
    while len(data) < count:
        piece = os.read(0, count - len(data))
        if not piece:
            break
        data += piece
    return data


def read_frame() -> bytes | None:
    """The next frame's body, noted in the journal; None at end of input."""
    header = read_exactly(2)
    if len(header) < 2:
        note("end")
        return None
    body = read_exactly(int.from_bytes(header, "big"))
    note("frame", body)
    return body


_line = bytearray()
"""What has been read beyond a line, as of any program with a buffer."""


def read_line() -> bytes | None:
    """The next line without its end, noted in the journal; None at end of input."""
    while (end := _line.find(b"\n")) < 0:
        if not (piece := os.read(0, 65536)):
            note("end")
            return None
        _line.extend(piece)
    body = bytes(_line[:end])
    del _line[: end + 1]
    note("frame", body)
    return body


def write(data: bytes, descriptor: int = 1) -> None:
    """Write everything; a program whose reader is gone leaves without a traceback."""
    try:
        while data:
            data = data[os.write(descriptor, data) :]
    except BrokenPipeError:
        os._exit(0)


def until_gate_is_open() -> None:
    """Wait until the test opens it (see support.programs.bad)."""
    while not os.path.exists(os.path.join(os.environ["EXTAUTH_TEST_STATE"], "open")):
        time.sleep(0.001)


def until_read() -> None:
    """Wait until somebody has read all that was written to stdout: what follows then counts from that moment."""
    import fcntl
    import termios

    while any(fcntl.ioctl(1, termios.FIONREAD, b"\0" * 4)):
        time.sleep(0.001)


def truth(body: bytes) -> bool:
    """What a correct program answers to this frame."""
    command, _, rest = body.partition(b":")
    user, _, rest = rest.partition(b":")
    _host, _, secret = rest.partition(b":")
    exists = not user.rpartition(b"-")[2].startswith(b"no")
    if command in (b"auth", b"removeuser3"):
        return exists and secret == b"pw-" + user
    if command == b"certauth":
        return exists and secret == b"cert-" + user
    if command == b"tryregister":
        return not exists
    return exists and command in (b"isuser", b"setpass", b"removeuser")


def reply(body: bytes) -> None:
    """Note that the question is answered, then write the right reply.

    The note comes first, so that whoever has read the reply finds it in the journal.
    """
    note("reply", body)
    write(YES if truth(body) else NO)
