"""An error of ours ends only the client or program it belongs to; everything else goes on."""

import contextlib
import logging
import os
import signal
import socket
import types
from collections.abc import Callable, Iterator

import pytest
import trio
from support.clock import Clock
from support.inmemory.clients import YES, on_connection, on_pipes
from support.inmemory.pools import made

from bridge.clients.acceptor import Acceptor
from bridge.clients.listeners import listen
from bridge.clients.pipelined import PipelinedSession
from bridge.clients.server import Server
from bridge.daemon.service import drive
from bridge.loop.reactor import Reactor
from bridge.loop.timer import FOREVER
from bridge.pool.poolset import PoolSet
from bridge.pool.router import Router
from bridge.protocol.query import nothing


class Fault(Exception):
    """Its text is a secret."""


class Owner:
    """An object with a handler that raises."""

    def __init__(self, descriptor: int = -1, fails_again: bool = False) -> None:
        self.descriptor = descriptor
        self.errors: list[Exception] = []
        self.fails_again = fails_again

    def handle(self) -> None:
        raise Fault("secret")

    def failed(self, error: Exception) -> None:
        self.errors.append(error)
        if self.fails_again:
            raise MemoryError


@pytest.fixture
def logged() -> Iterator[list[str]]:
    lines: list[str] = []
    handler, log = logging.Handler(), logging.getLogger("bridge")
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    log.addHandler(handler)
    yield lines
    log.removeHandler(handler)


@pytest.fixture
def reported() -> list[Exception]:
    return []


@pytest.fixture
def reactor(reported: list[Exception]) -> Iterator[Reactor]:
    reactor = Reactor()
    reactor.report = reported.append
    yield reactor
    reactor.close()


@pytest.fixture
def readable() -> Iterator[Callable[[], int]]:
    """Makes descriptors that are readable for ever."""
    ends: list[int] = []

    def make() -> int:
        reader, writer = os.pipe()
        os.write(writer, b"x")
        ends.extend((reader, writer))
        return reader

    yield make
    for end in ends:
        os.close(end)


# --- the reactor -------------------------------------------------------------------------------------


def test_an_event_s_error_is_its_owner_s(reactor: Reactor, readable, reported) -> None:
    bad, good = Owner(), []
    reactor.watch(readable(), bad.handle)
    reactor.watch(readable(), lambda: good.append(1))
    reactor.run_once()
    assert [type(error) for error in bad.errors] == [Fault] * len(bad.errors)
    assert bad.errors and good
    assert not reported


def test_so_is_an_error_afterwards_and_the_rest_is_done(reactor: Reactor, reported) -> None:
    bad, good = Owner(), []
    reactor.call_soon(bad.handle)
    reactor.call_soon(lambda: good.append(1))
    reactor.run_once()
    assert len(bad.errors) == 1
    assert good == [1]
    reactor.call_soon(lambda: good.append(2))
    reactor.run_once()
    assert good == [1, 2], "it turns on"


def test_so_is_an_error_over_what_is_always_ready(reactor: Reactor, tmp_path, reported) -> None:
    bad = Owner()
    with (tmp_path / "file").open("w") as file:
        reactor.watch(file.fileno(), bad.handle)
        reactor.run_once()
        reactor.unwatch(file.fileno())
    assert bad.errors
    assert not reported


def test_what_nobody_owns_is_reported(reactor: Reactor, readable, reported) -> None:
    def fail() -> None:
        raise Fault

    reactor.watch(readable(), fail)
    reactor.call_soon(fail)
    reactor.run_once()
    assert len(reported) >= 2
    assert {type(error) for error in reported} == {Fault}


def test_an_owner_that_cannot_even_end_is_reported(reactor: Reactor, reported) -> None:
    reactor.call_soon(Owner(fails_again=True).handle)
    reactor.run_once()
    assert [type(error) for error in reported] == [MemoryError]


def test_by_default_what_nobody_owns_ends_who_drives_the_board(reactor: Reactor) -> None:
    def fail() -> None:
        raise Fault

    del reactor.report
    reactor.report = Reactor().report
    reactor.call_soon(fail)
    with pytest.raises(Fault):
        reactor.run_once()


@pytest.mark.parametrize("how", [KeyboardInterrupt, SystemExit])
def test_what_is_meant_to_end_the_process_does(reactor: Reactor, reported, how) -> None:
    def leave() -> None:
        raise how

    reactor.call_soon(leave)
    with pytest.raises(how):
        reactor.run_once()
    assert not reported


def test_what_could_not_be_watched_can_be_later(reactor: Reactor, readable) -> None:
    """Left in the epoll set without a handler, it would be ready for ever."""
    heard: list[int] = []
    with pytest.raises(OSError):
        reactor.watch(99_999, lambda: None)
    assert 99_999 not in reactor._handlers
    descriptor = readable()
    reactor.watch(descriptor, lambda: heard.append(os.read(descriptor, 1)[0]))
    reactor.run_once()
    assert heard


def test_a_poolset_logs_it_without_what_it_says(logged: list[str]) -> None:
    def fail() -> None:
        raise Fault("secret")

    poolset = PoolSet(made())
    for _ in range(20):
        poolset.reactor.call_soon(fail)
    poolset.reactor.run_once()
    poolset.reactor.close()
    assert 1 <= len(logged) <= 5, "not too often"
    assert all(line.startswith('internal error, please report it error="Fault at bridge/') for line in logged)
    assert not any("secret" in line for line in logged)


def test_a_timer_that_could_not_be_kept_is_not_set(monkeypatch, reactor: Reactor) -> None:
    def no_memory(*_: object) -> None:
        raise MemoryError

    timer = reactor.call_at(FOREVER, nothing)
    with monkeypatch.context() as patched:
        patched.setattr("bridge.loop.timer.heapq.heappush", no_memory)
        with pytest.raises(MemoryError):
            timer.set(1.0)
    assert timer.when == FOREVER
    timer.set(2.0)
    assert reactor._timers.first == 2.0


# --- clients ---------------------------------------------------------------------------------------------


@contextlib.contextmanager
def failing(monkeypatch: pytest.MonkeyPatch, name: str, session: PipelinedSession) -> Iterator[None]:
    """Have this session's method raise when it is called."""

    def fail(*_arguments: object) -> None:
        raise Fault("secret")

    with monkeypatch.context() as patch:
        patch.setattr(session, name, types.MethodType(fail, session))
        yield


def test_an_error_ends_the_session_and_frees_what_it_held(monkeypatch, logged) -> None:
    with on_connection(window=2) as client:
        client.says(b"isuser:a:h\nisuser:b:h\nisuser:c:h\n")
        with failing(monkeypatch, "_write", client.session):
            client.settle(0)
        assert client.over == 1
        assert client.got() == b""
        client.settle(1)
        client.says(b"isuser:d:h\n")
        assert client.got() == b"", "no answer may come now: whose would it be?"
        assert client.desk.lines == [b"isuser:a:h", b"isuser:b:h"], "nothing more is asked"
        assert not client.session._ordering and not client.session._backlog
        assert client.is_quiet
    assert any("client dropped after an internal error" in line and 'error="Fault at' in line for line in logged)
    assert not any("secret" in line for line in logged)


@pytest.mark.parametrize("method", ["_take", "_count", "_flush", "_fitting", "_listen", "_go_on"])
def test_wherever_it_is(monkeypatch, method: str) -> None:
    with on_connection(window=1) as client:
        client.session._uncounted = 10**9
        with failing(monkeypatch, method, client.session):
            client.says(b"isuser:a:h\nisuser:b:h\n")
            for query in client.desk.asked:
                query.settle(YES)
            client.run_once()
        assert client.over == 1
        asked = len(client.desk.asked)
        client.send(b"isuser:c:h\n")
        assert client.is_quiet, "it is not even read"
        assert len(client.desk.asked) == asked


def test_a_lockstep_client_s_error_ends_it(monkeypatch) -> None:
    with on_pipes(kind="lockstep") as client:
        with failing(monkeypatch, "_put", client.session):
            client.says(b"isuser:a:h\n")
        assert client.over == 1
        assert client.got() == b""
        client.says(b"isuser:b:h\n")
        assert client.is_quiet


def test_so_does_one_when_its_timer_rings(monkeypatch) -> None:
    with on_pipes(kind="lockstep") as client:
        client.says(b"isuser:a:h\nisuser:b:h\n")
        with failing(monkeypatch, "_answer_now", client.session):
            client.wait(1.0)
        assert client.over == 1
        assert client.got() == b""


# --- the pools -----------------------------------------------------------------------------------------


def test_the_clock_of_one_pool_does_not_stop_the_others(logged) -> None:
    poolset = PoolSet(made(), Clock())

    def broken() -> None:
        raise Fault

    rung: list[int] = []
    for action in (broken, lambda: rung.append(1)):
        poolset.reactor.call_at(poolset.clock(), action)
    poolset.reactor.run_once()
    assert rung == [1]
    assert 0 < poolset.reactor.pause() < 5, "it is tried again"
    assert len(logged) == 1
    poolset.close()


def test_what_breaks_while_a_program_is_started_does_not_stop_the_other_starts(logged) -> None:
    poolset = PoolSet(made(), Clock())
    started: list[str] = []

    class Pool:
        pressing = True

        def __init__(self, name: str, error: Exception | None) -> None:
            self.name, self.error = name, error

        def start_due(self) -> bool:
            started.append(self.name)
            if self.error is not None:
                raise self.error
            return False

    for pool in (Pool("broken", Fault()), Pool("working", None)):
        poolset.starts.plan(pool, poolset.clock())
    poolset.starts.start_at_once()
    assert started == ["broken", "working"]
    assert 0 < poolset.reactor.pause() < 5, "it is tried again"
    assert len(logged) == 1
    poolset.close()


def test_a_poolset_closes_what_can_be_closed(logged) -> None:
    class Program:
        def __init__(self) -> None:
            self.did: list[object] = []

        def signal(self, number: int) -> None:
            self.did.append(number)

        def reap(self, _seconds: float) -> None:
            self.did.append("reap")
            raise Fault

    class Pool:
        workers = (Program(), Program())

    poolset = PoolSet(made())
    poolset.pools = {"": Pool()}  # type: ignore[dict-item]
    poolset.close()
    assert [program.did for program in Pool.workers] == [[signal.SIGKILL, "reap"]] * 2
    assert len(logged) == 2


async def test_a_reactor_that_failed_itself_turns_on(reported: list[Exception], reactor: Reactor) -> None:
    turn, faults, turned = reactor.run_once, [MemoryError()], trio.Event()

    def fail_at_first(linger: float) -> None:
        if faults:
            reactor._turning = True  # as it is in the middle
            raise faults.pop()
        turn(linger)

    reactor.run_once = fail_at_first  # type: ignore[method-assign]
    reactor.call_soon(turned.set)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(drive, reactor)
        with trio.fail_after(20):
            await turned.wait()
        nursery.cancel_scope.cancel()
    assert [type(error) for error in reported] == [MemoryError]


# --- the server ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["stop", "abort"])
def test_a_client_that_cannot_be_stopped_is_let_go_and_the_others_are_stopped(
    monkeypatch, reactor: Reactor, method: str
) -> None:
    router = Router(made(), lambda: 1.0)
    server = Server([], router, reactor, nothing)
    clients = [socket.socketpair() for _ in range(3)]
    for ours, _ in clients:
        server._admit(ours)
    with failing(monkeypatch, method, [*server.sessions][1]):  # type: ignore[arg-type]
        getattr(server, method)()
        reactor.run_once()
    assert not server.sessions
    for _, theirs in clients:
        assert theirs.recv(1) == b""
        theirs.close()
    server.close()


def test_what_a_server_could_not_do_in_time_it_does_later(monkeypatch, reactor: Reactor, reported) -> None:
    reactor.clock = Clock()
    server = Server([], Router(made(), reactor.clock), reactor, nothing)
    server._grace.set(reactor.clock())
    with monkeypatch.context() as patch:
        patch.setattr(server._grace, "action", lambda: 1 / 0)
        reactor.run_once()
    assert [type(error) for error in reported] == [ZeroDivisionError]
    assert 0.5 < reactor.pause() < 2.0
    server.close()


# --- acceptor -----------------------------------------------------------------------------------------------


def test_without_memory_to_look_a_door_is_tried_again(monkeypatch, tmp_path, reactor: Reactor) -> None:
    warned: list[str] = []
    listener = listen(str(tmp_path / "sock"), 0o600)
    acceptor = Acceptor(reactor, lambda *said, **_more: warned.append(said[0]))
    acceptor.open(listener, lambda connection: connection.close())
    acceptor._look_away(MemoryError())

    def fail(*_arguments: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(reactor, "watch", fail)
        acceptor._pause.cancel()
        acceptor._look_again()
        assert acceptor._pause.when < FOREVER
    acceptor._pause.cancel()
    acceptor._look_again()
    assert acceptor._pause.when == FOREVER
    assert listener.fileno() in reactor._handlers
    acceptor.shut(listener)
    listener.close()
    assert warned == ["client cannot be accepted"] * 2
