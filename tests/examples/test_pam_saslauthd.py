"""The example for PAM, beside saslauthd with accounts of its own, and beside what only says that it is saslauthd."""

import pwd
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.backends.servers import Saslauthd
from support.canary import CANARY, right

from .conftest import at_work, verdicts

ALICE = ("auth", "alice", right("alice"))


@pytest.fixture(scope="module")
def saslauthd() -> Iterator[Saslauthd]:
    with at_work(Saslauthd) as one:
        assert isinstance(one, Saslauthd)
        yield one


def test_accounts(saslauthd: Saslauthd, tmp_path: Path) -> None:
    questions = [
        *(("auth", "eve", right("eve")), ("isuser", "eve")),  # expired
        *(("auth", "mallory", right("mallory")), ("isuser", "mallory")),  # the system's
        *(("isuser", "root"), ("isuser", "nobody-at-all"), ("auth", "dora", " "), ("setpass", *ALICE[1:])),
    ]
    assert verdicts(saslauthd, tmp_path, *questions) == ["0", "1", *"000000"]
    assert verdicts(saslauthd, tmp_path, ("auth", "mallory", right("mallory")), FIRST_UID=500) == ["1"]


def test_the_service_counts(saslauthd: Saslauthd, tmp_path: Path) -> None:
    assert verdicts(saslauthd, tmp_path, ALICE, ALICE, SERVICE="nothing") == ["0", "0"]
    assert verdicts(saslauthd, tmp_path, ALICE, REALM="example.com") == ["1"]


# --- what says that it is saslauthd -------------------------------------------------------------------------


def framed(text: bytes) -> bytes:
    return struct.pack(">H", len(text)) + text


SAID = {
    "yes": (framed(b"OK"), "1"),
    "yes, with a word": (framed(b"OK remote authentication successful"), "1"),
    "no": (framed(b"NO PAM auth error"), "0"),
    "expired": (framed(b"NO PAM acct error"), "0"),
    "no, without a word": (framed(b"NO"), "0"),
    "PAM cannot be asked": (framed(b"NO PAM start error"), ""),
    "nothing can be asked": (framed(b"NO internal mechanism failure"), ""),
    "almost yes": (framed(b"OKAY"), ""),
    "lower case": (framed(b"ok"), ""),
    "half": (framed(b"OK done")[:-2], ""),
    "half a length": (b"\0", ""),
    "empty": (framed(b""), ""),
    "nothing": (b"", ""),
}


@contextmanager
def saying(path: Path, reply: bytes, asked: list[bytes]) -> Iterator[None]:
    """Gives this reply to everybody who has said something."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def serve() -> None:
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                with client:
                    if question := client.recv(4096):
                        asked.append(question)
                        client.sendall(reply)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.parametrize("what", SAID)
def test_what_is_said_means(what: str, tmp_path: Path) -> None:
    reply, verdict = SAID[what]
    asked: list[bytes] = []
    alone = object.__new__(Saslauthd)  # there is none: only the example is wanted
    alone.settings = {"SOCKET": str(tmp_path / "mux")}
    root = pwd.getpwuid(0).pw_name
    with saying(tmp_path / "mux", reply, asked):
        questions = (("auth", root, CANARY), ("auth", "nobody-at-all", "x" * 257), ("auth", "nobody-at-all", CANARY))
        assert verdicts(alone, tmp_path, *questions) == ["0", "0", verdict]
    assert asked == [framed(b"nobody-at-all") + framed(CANARY.encode()) + framed(b"xmpp") + framed(b"")]
