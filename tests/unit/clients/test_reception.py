"""What a client's first line makes of it, however that line comes, and how a connection without one ends."""

import socket
from collections.abc import Iterator

import pytest
from support.inmemory.clients import YES, Client, on_pipes, on_socket

from bridge.clients.lockstep import LockstepSession
from bridge.clients.pipelined import PipelinedSession
from bridge.clients.reception import Reception
from bridge.clients.tagged import TaggedSession

ANSWERS = b"extauth-bridge:answers:3\n"
TAGGED = b"extauth-bridge:tagged:1\n"
LINE = b"isuser:alice:example.com\n"

requests = pytest.mark.parametrize(("request_line", "kind"), [(ANSWERS, PipelinedSession), (TAGGED, TaggedSession)])
settings = pytest.mark.parametrize("setting", ["auto", "lockstep", "pipelined"])


@pytest.fixture
def client() -> Iterator[Client]:
    with on_socket(kind="any") as client:
        yield client


@requests
@settings
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("size", [1, 15, 16, 99])
def test_a_request_in_pieces(request_line: bytes, kind: type, setting: str, end: bytes, size: int) -> None:
    """Whatever the setting for those who request nothing, and the limit for lines."""
    with on_socket(kind="any", client=setting, max_line=16) as client:
        line = request_line[:-1] + end
        for at in range(0, len(line), size):
            client.says(line[at : at + size])
        assert type(client.session) is kind
        assert client.got() == b"1\n"
        assert client.is_quiet


@requests
def test_what_comes_with_it(client: Client, request_line: bytes, kind: type) -> None:
    client.desk.verdict = YES
    tag = b"t - " if kind is TaggedSession else b""
    client.says(request_line + tag + LINE)
    assert client.got() == b"1\n" + tag[:2] + b"1\n"
    assert client.desk.lines == [LINE[:-1]]


@requests
def test_a_request_that_ends_with_the_input(client: Client, request_line: bytes, kind: type) -> None:
    client.send(request_line[:-1])
    client.end_input()
    client.run_once()
    assert type(client.session) is kind
    assert client.got() == b"1\n"
    assert client.over == 1


NO_REQUESTS = [
    LINE,
    b"\n",
    b"nonsense\n",
    b"e\n",
    b"extauth-bridge:\n",
    b"extauth-bridge:tagged:2\n",
    b"extauth-bridge:tagged:1 \n",
    b"extauth-bridge:tagged:1x\n",
    b"extauth-bridge:tagged:1\r\r\n",
    b"extauth-bridge:tagged\n",
    b" " + TAGGED,
    TAGGED.upper(),
    b"extauth-bridge:" + b"x" * 9999 + b"\n",
]


@pytest.mark.parametrize("first", NO_REQUESTS, ids=repr)
@pytest.mark.parametrize("request_line", [ANSWERS, TAGGED])
@pytest.mark.parametrize("setting", ["pipelined", "lockstep"])
@pytest.mark.parametrize("size", [1, 9, 99999])
def test_after_any_other_line_it_is_refused(first: bytes, request_line: bytes, setting: str, size: int) -> None:
    with on_socket(kind="any", client=setting) as client:
        client.desk.verdict = YES
        answer = b"1\n" if first == LINE else b"0\n"
        for at in range(0, len(first), size):
            client.says(first[at : at + size])
        assert type(client.session) is (LockstepSession if setting == "lockstep" else PipelinedSession)
        client.wait(1.0)
        assert client.got() == answer
        client.says(request_line)
        client.wait(1.0)
        assert client.got() == b"0\n"


@pytest.mark.parametrize("first", [b"extauth-bridge:tagge", b"extauth-bridge:answers:3x", LINE[:-1], b"x"])
@pytest.mark.parametrize("setting", ["pipelined", "lockstep"])
def test_any_other_line_that_ends_with_the_input(first: bytes, setting: str) -> None:
    with on_socket(kind="any", client=setting) as client:
        client.desk.verdict = YES
        client.send(first)
        client.end_input()
        client.run_once()
        assert client.got() == (b"1\n" if first == LINE[:-1] else b"0\n")
        assert client.over == 1


def test_a_burst_to_one_in_lockstep_is_one() -> None:
    """Also if it is longer than what is read at first."""
    with on_socket(kind="any", client="lockstep") as client:
        client.desk.verdict = YES
        client.says(b"auth:a:h:" + b"x" * (4096 - 10) + b"\n" + LINE)
        client.wait(1.0)
        assert client.got() == b"0\n"
        assert client.desk.asked == []
        client.says(LINE)
        assert client.got() == b"1\n"


@pytest.mark.parametrize("begun", [b"", b"extauth"])
@pytest.mark.parametrize("end", ["stop", "abort", "failed", "close"])
def test_one_that_said_nothing_ends_at_once(client: Client, begun: bytes, end: str) -> None:
    client.says(begun)
    assert client.session.idle
    if end == "failed":
        client.session.failed(MemoryError())
    else:
        getattr(client.session, end)()
    assert client.over == (end != "close")
    if end != "close":  # there would be nobody to send it to
        client.says(b"more")
    assert client.is_quiet, "it is not even read"
    assert client.got() == b""
    client.session.stop()
    assert client.over == (end != "close")


def test_nobody_is_left_after_a_hang_up() -> None:
    for begun in (b"", b"ext"):
        with on_pipes(kind="any") as client:
            client.says(begun)
            client.end_output()
            client.end_input()
            client.run_once()
            assert client.over == 1
            assert client.desk.asked == []


def test_a_connection_that_is_closed_at_once() -> None:
    ours, theirs = socket.socketpair()
    with on_socket(kind="any", pair=(ours, theirs)) as client:
        socket.socket(fileno=client.to).close()
        client.run_once()
        assert client.over == 1
        client.to = client.of = -1


@requests
def test_a_session_that_cannot_begin(client: Client, monkeypatch, request_line: bytes, kind: type) -> None:
    """No memory for its place in the epoll set, say: the connection ends, and the caller is not disturbed."""

    def fail(*_: object) -> None:
        raise MemoryError

    reception = client.session
    monkeypatch.setattr(kind, "__init__", fail)
    client.says(request_line)
    assert client.session is reception
    assert client.over == 1
    client.says(LINE)
    assert client.is_quiet


@pytest.mark.parametrize("kind", [PipelinedSession, LockstepSession, TaggedSession])
def test_a_session_that_fails_with_its_first_line_ends_alone(monkeypatch, kind: type) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(kind, "take", fail)
    setting = "lockstep" if kind is LockstepSession else "pipelined"
    with on_socket(kind="any", client=setting) as client:
        client.says((TAGGED if kind is TaggedSession else b"") + LINE)
        assert type(client.session) is kind
        assert client.over == 1
        assert not isinstance(client.session, Reception)
        assert client.is_quiet
