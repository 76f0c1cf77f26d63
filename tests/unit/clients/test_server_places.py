"""When max_clients are connected, no user keeps all places to himself."""

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from support.clock import Clock
from support.inmemory.clients import YES, Desk
from support.inmemory.pools import made

from bridge.clients import server as server_module
from bridge.clients.listeners import Peer, listen
from bridge.clients.server import Server
from bridge.loop.reactor import Reactor
from bridge.pool.router import Router
from bridge.protocol.query import nothing

PROSODY, ADMIN, OTHER = 105, 0, 1000
LINE = b"isuser:alice:example.com\n"
SHOWN_OUT = b""


class House:
    """A server with few places, and clients of any user."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, undo: contextlib.ExitStack, **how: Any) -> None:
        self.desk, self.reactor, self._undo = Desk(), Reactor(), undo
        self._user = 0
        monkeypatch.setattr(server_module, "peer", lambda _: Peer(4711, self._user, self._user, frozenset()))
        settings = made(max_clients=4, **how)
        router = Router(settings, Clock())
        router.connect(settings, cast("Any", self.desk), {})
        self.listener = listen(str(folder / "auth.sock"), 0o600)
        self.server = Server([self.listener], router, self.reactor, nothing)
        undo.callback(self.reactor.close)
        undo.callback(self.server.close)

    def connect(self, user: int) -> socket.socket:
        client = self._undo.enter_context(socket.socket(socket.AF_UNIX))
        client.setblocking(False)
        self._user = user
        client.connect(self.listener.path)
        self.reactor.run_once()
        return client

    def asks(self, client: socket.socket, lines: bytes = LINE) -> None:
        client.sendall(lines)
        self.reactor.run_once()

    @property
    def users(self) -> list[int]:
        return sorted(who.uid for who in self.server.sessions.values())


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    with contextlib.ExitStack() as undo:
        yield House(tmp_path, monkeypatch, undo)


def is_here(client: socket.socket) -> bool:
    try:
        return client.recv(1, socket.MSG_PEEK) != SHOWN_OUT
    except BlockingIOError:
        return True


def test_one_user_may_have_all_places_while_nobody_else_comes(house: House) -> None:
    clients = [house.connect(PROSODY) for _ in range(5)]
    assert [*map(is_here, clients)] == [True] * 4 + [False]
    assert house.server.refused == 1


def test_another_user_comes_in_and_one_goes(house: House, caplog: pytest.LogCaptureFixture) -> None:
    clients = [house.connect(PROSODY) for _ in range(4)]
    admin = house.connect(ADMIN)
    assert [*map(is_here, [*clients, admin])] == [False, True, True, True, True]
    assert "client disconnected" in caplog.text
    assert "uid=105 pid=4711 for_uid=0 for_pid=4711" in caplog.text
    assert house.server.refused == 0


def test_it_is_one_that_asks_nothing(house: House) -> None:
    clients = [house.connect(PROSODY) for _ in range(4)]
    for number in (0, 1, 3):
        house.asks(clients[number])
    assert is_here(house.connect(ADMIN))
    assert [*map(is_here, clients)] == [True, True, False, True]


def test_whoever_asks_for_ever_keeps_nobody_out_either(house: House) -> None:
    clients = [house.connect(OTHER) for _ in range(4)]
    for client in clients:
        house.asks(client, LINE * 2)
    house.desk.asked[0].settle(YES)
    prosody = house.connect(PROSODY)
    house.asks(prosody)
    assert clients[0].recv(99) == b"1\n0\n", "answered, and then disconnected"
    assert clients[0].recv(99) == SHOWN_OUT
    assert is_here(prosody)
    assert len(house.desk.asked) == 9


def test_nobody_gets_more_than_those_he_takes_from(house: House) -> None:
    for _ in range(4):
        house.connect(PROSODY)
    others = [house.connect(OTHER) for _ in range(4)]
    assert [*map(is_here, others)] == [True, True, False, False]
    assert house.users == [PROSODY, PROSODY, OTHER, OTHER]
    assert is_here(house.connect(ADMIN)), "a third user gets one, too"
    assert not is_here(house.connect(ADMIN)), "the fourth place would make him the one with most"


def test_places_of_those_who_left_are_free(house: House) -> None:
    clients = [house.connect(PROSODY) for _ in range(4)]
    others = [house.connect(OTHER) for _ in range(2)]
    for client in others:
        client.close()
    house.reactor.run_once()
    assert house.users == [PROSODY] * 2
    assert is_here(house.connect(PROSODY))
    assert is_here(house.connect(PROSODY))
    assert house.users == [PROSODY] * 4
    assert not is_here(house.connect(PROSODY))
    assert is_here(clients[-1])


def test_in_lockstep_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with contextlib.ExitStack() as undo:
        house = House(tmp_path, monkeypatch, undo, client="lockstep")
        clients = [house.connect(PROSODY) for _ in range(4)]
        for client in clients[:3]:
            house.asks(client)
        assert is_here(house.connect(ADMIN))
        assert [*map(is_here, clients)] == [True, True, True, False]
        house.asks(clients[0], b"extra\n")
        assert is_here(house.connect(ADMIN))
        assert clients[0].recv(9) == b"0\n"
        assert clients[0].recv(9) == SHOWN_OUT


def test_who_turns_out_to_be_no_client_in_lockstep_keeps_the_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with contextlib.ExitStack() as undo:
        house = House(tmp_path, monkeypatch, undo, client="lockstep")
        clients = [house.connect(PROSODY) for _ in range(4)]
        for client in clients:
            house.asks(client, b"extauth-bridge:answers:3\n" + LINE)
        assert not is_here(house.connect(PROSODY))
        assert is_here(house.connect(ADMIN))
        assert house.users == [ADMIN, PROSODY, PROSODY, PROSODY]


def test_a_single_place_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise whoever has one place would have none."""
    with contextlib.ExitStack() as undo:
        house = House(tmp_path, monkeypatch, undo)
        house.server._most = 1
        first = house.connect(PROSODY)
        assert not is_here(house.connect(ADMIN))
        assert is_here(first)
