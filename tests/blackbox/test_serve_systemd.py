"""What the daemon tells systemd, on a socket of systemd's kind; what it does not pass on; and when it falls silent."""

import json
import os
import select
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import trio
from support import procfs
from support.components import command
from support.daemon.serving import PATIENCE, Daemon, ask, read, until
from support.inmemory.pools import made
from support.process import COMMAND, ROOT
from support.programs.bad import CHAMELEON

from bridge.daemon.process import Process
from bridge.daemon.service import Service, drive
from bridge.daemon.systemd import Notifier
from bridge.pool.poolset import PoolSet
from bridge.protocol.query import Query, nothing

YES, NO = b"1\n", b"0\n"
TRUE = b"isuser:u:h"


class Systemd:
    """The receiving end of NOTIFY_SOCKET; `address` as the variable has it."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.settimeout(PATIENCE)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)

    def next(self, *fields: str) -> dict[str, str]:
        """The next message that has all these fields; others are passed over."""
        while True:
            message = dict(line.split("=", 1) for line in self._socket.recv(65536).decode().split("\n"))
            if message.keys() >= {*fields}:
                return message

    def waiting(self, seconds: float) -> bool:
        """Whether something comes within that time."""
        return bool(select.select([self._socket], [], [], seconds)[0])

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Systemd]:
    there = Systemd(f"{tmp_path}/notify" if request.param == "path" else f"@extauth-test-{uuid.uuid4()}")
    yield there
    there.close()


def test_a_whole_life(serve: Callable[..., Daemon], systemd: Systemd, tmp_path: Path) -> None:
    file = tmp_path / "auth.toml"
    file.write_text(f"program = {json.dumps(CHAMELEON)}\npool_size = 2\nshutdown_grace = 0.5\n")
    daemon = serve(file=file, env={"NOTIFY_SOCKET": systemd.address})

    ready = systemd.next("READY")
    assert ready["STATUS"].startswith("2 of 2 programs up, 0 in flight, 0 answered")
    client = daemon.connect()
    assert ask(client, TRUE) == YES
    assert "0 in flight, 1 answered" in systemd.next("STATUS")["STATUS"], "live figures"

    for broken in (True, False):
        file.write_text(f"{'nonsense' if broken else 'pool_size'} = 1\nprogram = {json.dumps(CHAMELEON)}\n")
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        daemon.process.send_signal(signal.SIGHUP)
        reloading = systemd.next("RELOADING")
        assert before <= int(reloading["MONOTONIC_USEC"]) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        status = systemd.next("READY")["STATUS"]
        assert ("configuration refused" in status) is broken
        assert ("nonsense" in status) is broken, "it says what is wrong"
        assert ask(client, TRUE) == YES

    client.sendall(b"isuser:slow300-u:h\n")
    assert ask(daemon.connect(), b"bogus") == NO
    daemon.process.send_signal(signal.SIGTERM)
    assert "STOPPING" in systemd.next("STOPPING")
    # Until the last answer, and until the last program has left, with something to spare.
    assert int(systemd.next("EXTEND_TIMEOUT_USEC")["EXTEND_TIMEOUT_USEC"]) > 5_000_000
    assert read(client, 2) == YES
    assert daemon.process.wait(PATIENCE) == 0


@pytest.mark.slow
def test_the_watchdog_is_fed_while_it_lives(serve: Callable[..., Daemon], systemd: Systemd) -> None:
    daemon = serve("--pool-size", 1, env={"NOTIFY_SOCKET": systemd.address, "WATCHDOG_USEC": "400000"})
    for _ in range(5):
        systemd.next("WATCHDOG")
    # With everything hanging that can hang, it is still alive.
    client = daemon.connect()
    client.sendall(b"isuser:hang-u:h\n" * 10)
    for _ in range(5):
        systemd.next("WATCHDOG")
    os.kill(daemon.process.pid, signal.SIGSTOP)
    until(lambda: procfs.is_stopped(daemon.process.pid), "the stop")
    while systemd.waiting(0):
        systemd.next()
    assert not systemd.waiting(1.0)
    os.kill(daemon.process.pid, signal.SIGCONT)
    systemd.next("WATCHDOG")


@pytest.mark.slow
def test_another_process_watchdog_is_not_ours(serve: Callable[..., Daemon], systemd: Systemd) -> None:
    env = {"NOTIFY_SOCKET": systemd.address, "WATCHDOG_USEC": "200000", "WATCHDOG_PID": "1"}
    daemon = serve("--pool-size", 1, env=env)
    assert ask(daemon.connect(), TRUE) == YES
    systemd.next("READY")
    seen = []
    while systemd.waiting(1.0):
        seen.append(systemd.next())
    assert not any("WATCHDOG" in message for message in seen)


@pytest.mark.slow
def test_systemd_that_does_not_listen_disturbs_nobody(serve: Callable[..., Daemon], systemd: Systemd) -> None:
    """Its socket is full after about ten messages."""
    daemon = serve("--pool-size", 1, env={"NOTIFY_SOCKET": systemd.address, "WATCHDOG_USEC": "4000"})
    client = daemon.connect()
    begun = time.monotonic()
    while time.monotonic() - begun < 0.5:
        assert ask(client, TRUE) == YES
    daemon.reload()
    assert ask(client, TRUE) == YES
    assert daemon.stop() == 0


def test_programs_are_told_nothing_of_it(serve: Callable[..., Daemon], systemd: Systemd, tmp_path: Path) -> None:
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(os.fspath(tmp_path / "auth.sock"))
    listening.listen()
    env = {"NOTIFY_SOCKET": systemd.address, "WATCHDOG_USEC": "30000000", "JOURNAL_STREAM": "1:2", "KEPT": "yes"}
    daemon = serve("--pool-size", 1, handed=listening, env=env)
    assert ask(daemon.connect(), TRUE) == YES
    (program,) = daemon.programs()
    variables = Path(f"/proc/{program}/environ").read_bytes().split(b"\0")
    names = {variable.partition(b"=")[0].decode() for variable in variables}
    assert "KEPT" in names
    assert not {name for name in names if name.startswith(("LISTEN_", "WATCHDOG_", "NOTIFY_SOCKET", "JOURNAL_"))}
    assert {os.readlink(link) for link in Path(f"/proc/{program}/fd").iterdir()} & {"socket:"} == set()
    assert daemon.stop() == 0
    assert daemon.path.exists(), "systemd's file is not ours to remove"
    daemon.path.unlink()
    listening.close()


@pytest.mark.parametrize("names", ["auth:status", ""], ids=["named", "unnamed"])
def test_started_by_its_first_client(tmp_path: Path, names: str) -> None:
    """By the real thing: the question that was sent before there was a daemon is answered, and so is the status."""
    activate = command("systemd-socket-activate", "systemd")
    auth, status = tmp_path / "auth.sock", tmp_path / "status.sock"
    words = [activate, f"--listen={auth}", f"--listen={status}", f"-EPYTHONPATH={ROOT}"]
    words += [f"--fdname={names}"] if names else []
    process = subprocess.Popen(
        [*words, *COMMAND, "serve", "--pool-size", "1", "--log-target", f"file:{tmp_path}/log", "--", *CHAMELEON],
        stderr=subprocess.DEVNULL,
    )
    try:
        until(status.exists, "it listens")
        with socket.socket(socket.AF_UNIX) as client, socket.socket(socket.AF_UNIX) as looking:
            for connection, path in ((client, auth), (looking, status)):
                connection.settimeout(PATIENCE)
                connection.connect(os.fspath(path))
            assert ask(client, TRUE) == YES
            assert json.loads(read(looking, 1 << 20))["clients"]["connected"] <= 1
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        process.wait()
    assert auth.exists() and status.exists(), "they are not the daemon's to remove"


class _Asker:
    def settled(self, query: Query) -> None:
        """The test looks at the query."""


async def test_the_watchdog_starves_when_a_deadline_is_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop turns, events are handled, but nobody keeps the pool's time: restarting is what helps."""
    monkeypatch.chdir(os.getcwd())  # starting a program leaves it
    systemd = Systemd(f"{tmp_path}/notify")
    environ = {"NOTIFY_SOCKET": systemd.address, "WATCHDOG_USEC": "40000"}
    now = 1000.0
    with ExitStack() as undo:
        undo.callback(systemd.close)
        notifier = Notifier.from_environment(environ)
        undo.callback(notifier.close)
        settings = made(*CHAMELEON, pool_size=1, answer_timeout=1.0)
        poolset = PoolSet(settings, clock=lambda: now)
        undo.callback(poolset.close)
        poolset.apply(settings)
        poolset.starts.start_at_once()
        service = Service(Process(poolset, nothing), lambda: settings, notifier=notifier)
        poolset.router.ask([b"isuser:hang-u:h"], _Asker())
        poolset.pools[""]._timer.cancel()
        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(drive, poolset.reactor)
                nursery.start_soon(service._feed_watchdog)
                await _until(lambda: systemd.waiting(0))
                now += 2.0  # late, as on a machine that is busy for a moment
                await _fed_again(systemd)
                now += 2.0
                await trio.sleep(0.1)
                while systemd.waiting(0):
                    systemd.next()
                await trio.sleep(0.3)
                assert not systemd.waiting(0)
                poolset.pools[""].set_timer(now)  # somebody keeps time again
                await _fed_again(systemd)
                nursery.cancel_scope.cancel()


async def _fed_again(systemd: Systemd) -> None:
    while systemd.waiting(0):
        systemd.next()
    await _until(lambda: systemd.waiting(0))


async def _until(true: Callable[[], bool]) -> None:
    while not true():
        await trio.sleep(0.002)


def test_a_program_that_cannot_be_started_is_told(
    serve: Callable[..., Daemon], systemd: Systemd, tmp_path: Path
) -> None:
    """In the line of `systemctl status`."""
    file = tmp_path / "auth.toml"
    file.write_text('program = "/nonexistent/program"\npool_size = 1\n')
    serve(file=file, env={"NOTIFY_SOCKET": systemd.address})
    why = "pool default cannot answer: /nonexistent/program: it cannot be started: No such file or directory"
    why += " (there is no directory /nonexistent)"
    assert systemd.next("READY")["STATUS"].startswith(f"{why}; 0 of 1 programs up")
