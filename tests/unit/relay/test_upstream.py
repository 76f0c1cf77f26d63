"""The connection to the daemon, step by step: events are handled by `run_once`, and the test moves the clock."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.relay.daemon import question

from bridge.loop.reactor import Reactor
from bridge.protocol.query import Query, Refusal, Verdict, nothing
from bridge.relay.settings import RelaySettings
from bridge.relay.upstream import Upstream

YES, NO, LOST = Verdict.GRANTED, Verdict.DENIED, Verdict.UNAVAILABLE


class Scene:
    """An upstream, its asker, and the daemon's end of the connection."""

    def __init__(self, path: Path, lockstep: bool, negotiates: bool = False) -> None:
        self.now = 100.0
        self.warned: list[str] = []
        self.told: list[Query] = []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen(5)
        self.listener.settimeout(10)
        self.reactor = Reactor(clock=self.clock)
        settings = RelaySettings(str(path))
        self.upstream = Upstream(settings, self.read, lockstep, self.reactor, self.warn, nothing, negotiates)
        self.connections: list[socket.socket] = []

    def warn(self, message: str, **fields: object) -> None:
        assert "isuser" not in str(fields)
        self.warned.append(message)

    def clock(self) -> float:
        return self.now

    def read(self) -> RelaySettings:
        raise AssertionError("nothing is broken")

    def settled(self, query: Query) -> None:
        self.told.append(query)

    def ask(self, line: bytes | Refusal = b"isuser:u:h") -> Query:
        (query,) = self.upstream.ask([line], self)
        return query

    def run_once(self) -> None:
        self.reactor.run_once()

    def accept(self) -> socket.socket:
        connection, _ = self.listener.accept()
        connection.settimeout(10)
        self.connections.append(connection)
        return connection

    def close(self) -> None:
        self.upstream.close()
        self.reactor.close()
        for thing in (self.listener, *self.connections):
            thing.close()


@pytest.fixture
def lockstep(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path / "s", lockstep=True)
    yield scene
    scene.close()


@pytest.fixture
def negotiating(tmp_path: Path) -> Iterator[Scene]:
    """An upstream that requests the third answer, as `oneshot` does."""
    scene = Scene(tmp_path / "s", lockstep=True, negotiates=True)
    yield scene
    scene.close()


@pytest.fixture
def pipelined(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path / "s", lockstep=False)
    yield scene
    scene.close()


def test_connects_when_there_is_a_question_and_stays(lockstep: Scene) -> None:
    lockstep.run_once()
    first = lockstep.ask(b"one")
    assert not first.settled
    lockstep.run_once()
    daemon = lockstep.accept()
    assert daemon.recv(100) == b"one\n"
    daemon.sendall(b"1\n")
    lockstep.run_once()
    assert (first.verdict, lockstep.told) == (YES, [first])
    second = lockstep.ask(b"two")
    lockstep.run_once()
    assert daemon.recv(100) == b"two\n"
    daemon.sendall(b"0\n")
    lockstep.run_once()
    assert second.verdict is NO
    assert lockstep.upstream.idle
    assert lockstep.warned == []


@pytest.mark.parametrize("stale", [b"1\n", b"0\n", b"1", b"x"])
def test_what_is_there_before_a_question_answers_nothing(lockstep: Scene, stale: bytes) -> None:
    """Even if it is noticed only with the question."""
    lockstep.ask()
    lockstep.run_once()
    old = lockstep.accept()
    old.sendall(b"0\n")
    lockstep.run_once()
    old.sendall(stale)
    query = lockstep.ask(b"next")
    lockstep.run_once()
    assert not query.settled
    assert old.recv(100) == b"isuser:u:h\n"
    assert old.recv(100) == b"", "closed, and the new line is not on it"
    new = lockstep.accept()
    assert new.recv(100) == b"next\n"
    new.sendall(b"0\n")
    lockstep.run_once()
    assert query.verdict is NO
    assert "daemon said what nobody asked for" in lockstep.warned


def test_daemon_that_went_away_between_two_questions_costs_nothing(lockstep: Scene) -> None:
    lockstep.ask()
    lockstep.run_once()
    old = lockstep.accept()
    old.sendall(b"1\n")
    lockstep.run_once()
    old.close()
    query = lockstep.ask()
    lockstep.run_once()
    lockstep.accept().sendall(b"1\n")
    lockstep.run_once()
    assert query.verdict is YES
    assert lockstep.warned == []


@pytest.mark.parametrize(
    "answer", [b"1\n1\n", b"1\n0", b"2\n", b"1\r\n", b"\n", b"11\n", b"01", b"1\n\n", b" 1\n", b"1 \n"]
)
def test_anything_but_one_answer_is_none(lockstep: Scene, answer: bytes) -> None:
    query = lockstep.ask()
    lockstep.run_once()
    daemon = lockstep.accept()
    daemon.sendall(answer)
    lockstep.run_once()
    assert query.verdict is LOST
    assert daemon.recv(100) == b"isuser:u:h\n"
    assert daemon.recv(100) == b"", "closed"


def test_answer_in_two_pieces(lockstep: Scene) -> None:
    query = lockstep.ask()
    lockstep.run_once()
    daemon = lockstep.accept()
    daemon.sendall(b"1")
    lockstep.run_once()
    assert not query.settled
    daemon.sendall(b"\n")
    lockstep.run_once()
    assert query.verdict is YES


def test_half_an_answer_is_no_answer(lockstep: Scene) -> None:
    query = lockstep.ask()
    lockstep.run_once()
    daemon = lockstep.accept()
    daemon.sendall(b"1")
    daemon.close()
    lockstep.run_once()
    lockstep.run_once()
    assert query.verdict is LOST


@pytest.mark.parametrize("how", ["question", "refusal", "time"])
def test_answer_to_a_question_given_up_dies_with_its_connection(lockstep: Scene, how: str) -> None:
    old_query = lockstep.ask(b"old")
    lockstep.run_once()
    old = lockstep.accept()
    if how == "refusal":
        lockstep.upstream.refuse(Refusal.INJECTION)
    elif how == "time":
        lockstep.now += 4.5
        lockstep.reactor._ring()
    query = lockstep.ask(b"new")
    old.setblocking(False)
    assert old.recv(100) == b"old\n"
    assert old.recv(100) == b"", "closed at once"
    lockstep.run_once()
    assert old_query.verdict is LOST
    assert not query.settled
    new = lockstep.accept()
    assert new.recv(100) == b"new\n"
    new.sendall(b"0\n")
    lockstep.run_once()
    assert query.verdict is NO


def test_time_runs_from_the_question(lockstep: Scene) -> None:
    query = lockstep.ask()
    lockstep.run_once()
    lockstep.now += 4.4
    lockstep.reactor._ring()
    assert not query.settled
    assert lockstep.now + lockstep.reactor.pause() == 104.5
    lockstep.now += 0.1
    lockstep.reactor._ring()
    assert query.verdict is LOST
    assert lockstep.warned == ["daemon did not answer in time"]


def test_only_lines_that_were_sent_can_be_answered(pipelined: Scene) -> None:
    """The second answer comes before the second line has left: it cannot be that line's."""
    first = pipelined.ask(b"one")
    pipelined.run_once()
    pipelined.accept().sendall(b"1\n1\n")
    second = pipelined.ask(b"two")
    pipelined.upstream._receive()  # as in a batch in which the daemon's event is handled before the line leaves
    assert (first.verdict, second.verdict) == (LOST, LOST)


def test_unread_lines_are_sent_when_there_is_room_and_never_cut(pipelined: Scene) -> None:
    line = question("u").ljust(4096, b"x")
    queries = [pipelined.ask(line) for _ in range(300)]
    pipelined.run_once()
    daemon = pipelined.accept()
    data = b""
    while len(data) < 300 * 4097:
        data += daemon.recv(1 << 20)
        pipelined.run_once()
    assert data == (line + b"\n") * 300
    daemon.sendall(b"1\n0\n" * 150)
    pipelined.run_once()
    assert [query.verdict for query in queries] == [YES, NO] * 150


@pytest.mark.parametrize("buffer", [131072, 16384, 4096])
def test_daemon_that_closes_while_lines_wait_for_room_has_read_whole_lines(
    pipelined: Scene, monkeypatch: pytest.MonkeyPatch, buffer: int
) -> None:
    """The daemon accepts a last line without its end, so part of a line must never be the last thing sent.  The system
    may allow a smaller buffer than requested."""
    monkeypatch.setattr("bridge.relay.upstream._SEND_BUFFER", buffer)
    queries = [pipelined.ask(question("u").ljust(length, b"x")) for length in range(3000, 3256)]
    pipelined.run_once()
    daemon = pipelined.accept()
    pipelined.now += 4.5
    pipelined.reactor._ring()
    assert {query.verdict for query in queries} == {LOST}
    data = b""
    while more := daemon.recv(1 << 20):
        data += more
    assert data.endswith(b"\n")
    assert 0 < data.count(b"\n") < 256, "it did not all fit"


def test_line_that_does_not_fit_is_not_sent_at_all(pipelined: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.relay.upstream._SEND_BUFFER", 8192)
    short, long = pipelined.ask(b"x" * 100), pipelined.ask(b"x" * 20000)
    pipelined.run_once()
    daemon = pipelined.accept()
    assert (short.verdict, long.verdict) == (LOST, LOST)
    assert daemon.recv(1 << 20) == b"x" * 100 + b"\n"
    assert daemon.recv(1 << 20) == b""


def test_longest_line_is_sent_whole_or_not_at_all(pipelined: Scene) -> None:
    for _ in range(40):
        pipelined.ask(b"x" * 32767)
    pipelined.run_once()
    daemon = pipelined.accept()
    pipelined.upstream.close()
    data = b""
    while more := daemon.recv(1 << 20):
        data += more
    assert data
    assert len(data) % 32768 == 0


def test_outage_is_logged_once_and_its_end(tmp_path: Path, lockstep: Scene) -> None:
    path = lockstep.upstream.settings.path
    lockstep.upstream.settings.path = str(tmp_path / "missing")
    for _ in range(3):
        assert lockstep.ask().settled is False
        lockstep.run_once()
    assert [query.verdict for query in lockstep.told] == [LOST] * 3
    assert lockstep.warned == ["daemon cannot be reached"]
    lockstep.upstream.settings.path = path
    lockstep.ask()
    lockstep.run_once()
    lockstep.accept().sendall(b"1\n")
    lockstep.run_once()
    assert lockstep.warned == ["daemon cannot be reached", "daemon answers again"]


def ended_by_the_daemon(relay: Scene) -> str:
    """After an answer, and it listens no more; returns its path."""
    relay.ask(b"before")
    relay.run_once()
    daemon = relay.accept()
    daemon.sendall(b"1\n")
    relay.run_once()
    daemon.close()
    relay.listener.close()
    path = relay.upstream.settings.path
    Path(path).unlink()
    relay.run_once()
    relay.told.clear()
    return path


@pytest.mark.parametrize("scene", ["lockstep", "pipelined"])
def test_a_question_waits_for_a_daemon_that_is_restarted(scene: str, request: pytest.FixtureRequest) -> None:
    relay: Scene = request.getfixturevalue(scene)
    path = ended_by_the_daemon(relay)
    query = relay.ask()
    for _ in range(3):
        relay.run_once()
        relay.now += 0.5
    assert not query.settled
    relay.listener = socket.socket(socket.AF_UNIX)
    relay.listener.bind(path)
    relay.listener.listen(5)
    relay.run_once()
    relay.accept().sendall(b"1\n")
    relay.run_once()
    assert query.verdict is YES
    assert relay.warned == []


def test_nobody_waits_for_long_for_a_daemon_that_is_gone(lockstep: Scene) -> None:
    """All of Prosody would wait: once, for two seconds, and not for every login."""
    ended_by_the_daemon(lockstep)
    first = lockstep.ask()
    for _ in range(4):
        lockstep.run_once()
        assert not first.settled
        lockstep.now += 0.51
    lockstep.run_once()
    assert first.verdict is LOST
    second = lockstep.ask()
    lockstep.run_once()
    assert second.verdict is LOST
    assert lockstep.warned == ["daemon cannot be reached"]


def test_a_short_timeout_is_not_all_spent_on_waiting_for_the_daemon(lockstep: Scene) -> None:
    lockstep.upstream.settings.answer_timeout = 1.0
    ended_by_the_daemon(lockstep)
    query = lockstep.ask()
    lockstep.run_once()
    assert not query.settled
    lockstep.now += 0.51
    lockstep.run_once()
    assert query.verdict is LOST


@pytest.mark.parametrize("request_line", [b"answers:3", b"tagged:1", b"of:tomorrow"])
@pytest.mark.parametrize("scene", ["lockstep", "pipelined"])
def test_a_client_s_request_is_never_passed_on(scene: str, request_line: bytes, request: pytest.FixtureRequest) -> None:
    """It could be the first on a connection: then the daemon's `2`, or a tag, would be an answer to nobody."""
    relay: Scene = request.getfixturevalue(scene)
    assert relay.ask(b"extauth-bridge:" + request_line).verdict is NO
    assert relay.warned == ["line refused"]
    query = relay.ask(b"one")
    relay.run_once()
    daemon = relay.accept()
    assert daemon.recv(100) == b"one\n"
    daemon.sendall(b"1\n")
    relay.run_once()
    assert query.verdict is YES


@pytest.mark.parametrize(
    ("said", "verdict"),
    [
        (b"1\n2\n", LOST),
        (b"1\n1\n", YES),
        (b"1\n0\n", NO),
        (b"0\n1\n", YES),
        (b"0\n0\n", NO),
    ],
)
@pytest.mark.parametrize("size", [1, 9])
def test_who_asks_for_himself_may_ask_for_the_third_answer(
    negotiating: Scene, said: bytes, verdict: Verdict, size: int
) -> None:
    query = negotiating.ask(b"one")
    negotiating.run_once()
    daemon = negotiating.accept()
    assert daemon.recv(100) == b"extauth-bridge:answers:3\none\n"
    for start in range(0, len(said), size):
        assert not query.settled
        daemon.sendall(said[start : start + size])
        negotiating.run_once()
    assert (query.settled, query.verdict) == (True, verdict)
    assert (negotiating.told, negotiating.warned) == ([query], [])
    again = negotiating.ask(b"two")
    negotiating.run_once()
    assert daemon.recv(100) == b"two\n", "once on a connection"
    daemon.sendall(said[2:])
    negotiating.run_once()
    assert again.verdict is verdict


@pytest.mark.parametrize(
    "said", [b"0\n2\n", b"2\n", b"2\n1\n", b"1\n3\n", b"1\n1\n1\n", b"1\n22", b"x\n1\n", b"1\n2 \n"]
)
def test_nor_does_it_believe_more_than_was_agreed(negotiating: Scene, said: bytes) -> None:
    query = negotiating.ask(b"one")
    negotiating.run_once()
    daemon = negotiating.accept()
    daemon.recv(100)
    daemon.sendall(said)
    negotiating.run_once()
    assert (query.settled, query.verdict) == (True, LOST)
    assert negotiating.warned == ["daemon said what nobody asked for"]
    assert daemon.recv(100) == b""


def test_what_was_agreed_ends_with_the_connection(negotiating: Scene) -> None:
    negotiating.ask(b"one")
    negotiating.run_once()
    first = negotiating.accept()
    first.recv(100)
    first.sendall(b"1\n2\n")
    negotiating.run_once()
    first.close()
    negotiating.run_once()
    query = negotiating.ask(b"two")
    negotiating.run_once()
    second = negotiating.accept()
    assert second.recv(100) == b"extauth-bridge:answers:3\ntwo\n"
    second.sendall(b"0\n2\n")
    negotiating.run_once()
    assert query.verdict is LOST
    assert "daemon said what nobody asked for" in negotiating.warned


def test_the_wish_has_no_more_time_than_the_question(negotiating: Scene) -> None:
    query = negotiating.ask(b"one")
    negotiating.run_once()
    negotiating.accept().sendall(b"1\n")
    negotiating.run_once()
    negotiating.now = negotiating.upstream._timer.when
    negotiating.reactor._ring()
    assert (query.settled, query.verdict) == (True, LOST)
    assert negotiating.warned == ["daemon did not answer in time"]


@pytest.mark.parametrize("kind", ["lockstep", "pipelined"])
def test_an_answer_that_is_read_after_its_time(kind: str, request: pytest.FixtureRequest) -> None:
    """We were stopped, and the timer with us; the answer had arrived meanwhile."""
    scene: Scene = request.getfixturevalue(kind)
    query = scene.ask()
    scene.run_once()
    daemon = scene.accept()
    assert daemon.recv(99) == b"isuser:u:h\n"
    daemon.sendall(b"1\n")
    scene.now += 4.5
    scene.run_once()
    assert query.verdict is LOST
    assert scene.warned == ["daemon did not answer in time"]
    again = scene.ask()
    scene.run_once()
    scene.accept().sendall(b"1\n")
    scene.run_once()
    assert again.verdict is YES
