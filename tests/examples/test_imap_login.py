"""The example for IMAP, beside Dovecot, and beside servers that say something strange."""

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.backends import certificate
from support.backends.asked import Asked
from support.backends.servers import Dovecot
from support.canary import CANARY, right

from .conftest import at_work, verdicts

pytestmark = pytest.mark.slow

ALICE = ("auth", "alice", right("alice"))
WRONG = ("auth", "alice", CANARY)


@pytest.fixture(scope="module")
def dovecot() -> Iterator[Dovecot]:
    with at_work(Dovecot) as one:
        assert isinstance(one, Dovecot)
        yield one


def test_nobody_is_known_to_exist(dovecot: Dovecot, tmp_path: Path) -> None:
    questions = [("isuser", "alice"), ("isuser", "nobody"), ("setpass", *ALICE[1:])]
    assert verdicts(dovecot, tmp_path, *questions) == ["1", "1", "0"]
    assert verdicts(dovecot, tmp_path, *questions, ISUSER=False) == ["0", "0", "0"]


def test_dovecot_in_trouble_says_nothing_about_a_password(dovecot: Dovecot, tmp_path: Path) -> None:
    with Asked(dovecot.edited(tmp_path)) as program:
        assert program.ask(*ALICE).verdict == "1"
        assert program.ask("auth", "broken", CANARY).verdict == ""
        program.end()
    assert "neither yes nor no" in program.stderr


def test_wrong_passwords_do_not_hold_up_others(dovecot: Dovecot, tmp_path: Path) -> None:
    """With what the example says of Dovecot's settings."""
    words = dovecot.edited(tmp_path)
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda number: verdicts(dovecot, tmp_path / str(number), WRONG, WRONG), range(4)))
    assert found == [["0", "0"]] * 4
    with Asked(words) as program:
        assert program.ask(*ALICE).seconds < 2  # else it would be 15 seconds by now


def test_only_the_right_server_is_told(dovecot: Dovecot, tmp_path: Path) -> None:
    other, _ = certificate(tmp_path)
    assert verdicts(dovecot, tmp_path, ALICE, CA=None) == [""]
    assert verdicts(dovecot, tmp_path, ALICE, CA=str(other)) == [""]
    assert verdicts(dovecot, tmp_path, ALICE, **{"HOST, PORT": ("127.0.0.1", dovecot.port)}) == [""]
    plain = {"HOST, PORT": ("localhost", dovecot.plain_port), "TLS": False}
    assert verdicts(dovecot, tmp_path, ALICE, ("auth", "alice", CANARY), **plain) == ["1", "0"]
    with Asked(dovecot.edited(tmp_path, **{"HOST, PORT": ("127.0.0.2", dovecot.plain_port), "TLS": False})) as program:
        assert program.ask(*ALICE).verdict == ""
        program.end()
    assert "TLS must be True" in program.stderr


# --- servers that say something strange ---------------------------------------------------------------------

GREETING, GO_ON = b"* OK hello\r\n", b"+ \r\n"

SAID = {
    "yes": ([GREETING, GO_ON, b"1 OK done\r\n"], "1"),
    "yes, after other things": ([GREETING, b"* CAPABILITY IMAP4rev1\r\n+\r\n", b"* 1 EXISTS\r\n1 OK\r\n"], "1"),
    "no": ([GREETING, GO_ON, b"1 NO Login failed\r\n"], "0"),
    "no, without a word": ([GREETING, GO_ON, b"1 NO\r\n"], "0"),
    "wrong password": ([GREETING, GO_ON, b"1 NO [authenticationfailed] no\r\n"], "0"),
    "expired": ([GREETING, GO_ON, b"1 NO [EXPIRED] 1 OK\r\n"], "0"),
    "not now": ([GREETING, GO_ON, b"1 NO [UNAVAILABLE] later\r\n"], ""),
    "too many": ([GREETING, GO_ON, b"1 NO [LIMIT] later\r\n"], ""),
    "bad": ([GREETING, GO_ON, b"1 BAD what?\r\n"], ""),
    "another's yes": ([GREETING, GO_ON, b"2 OK done\r\n"], ""),
    "an untagged yes": ([GREETING, GO_ON, b"* OK done\r\n"], ""),
    "almost yes": ([GREETING, GO_ON, b"1 OKAY\r\n"], ""),
    "half a yes": ([GREETING, GO_ON, b"1 OK"], ""),
    "asked for more": ([GREETING, GO_ON, b"+ \r\n"], ""),
    "a yes before the password": ([GREETING, b"1 OK done\r\n", b"1 OK done\r\n"], ""),
    "LOGINDISABLED": ([GREETING, b"1 NO not here\r\n", b"1 NO what?\r\n"], ""),
    "PREAUTH": ([b"* PREAUTH welcome\r\n", GO_ON, b"1 OK done\r\n"], ""),
    "BYE": ([b"* BYE busy\r\n"], ""),
    "nothing": ([b""], ""),
    "another protocol": ([b"220 smtp\r\n", b"334 \r\n", b"235 ok\r\n"], ""),
}


@contextmanager
def saying(lines: list[bytes]) -> Iterator[tuple[str, int]]:
    """A server whose every connection hears these: the first at once, each other after a line."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                with client, client.makefile("rb") as asked:
                    try:
                        for number, line in enumerate(lines):
                            if number and not asked.readline():
                                break
                            client.sendall(line)
                        else:
                            client.shutdown(socket.SHUT_WR)
                            asked.read()
                    except OSError:
                        pass

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.parametrize("what", SAID)
def test_what_is_said_means(what: str, tmp_path: Path) -> None:
    lines, verdict = SAID[what]
    with saying(lines) as address:
        dovecot = object.__new__(Dovecot)  # there is none: only the example is wanted
        dovecot.settings = {"HOST, PORT": address, "TLS": False}
        assert verdicts(dovecot, tmp_path, ("auth", "alice", CANARY)) == [verdict]
