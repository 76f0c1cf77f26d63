"""The shared daemon, from outside: many clients on one Unix socket."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread

import pytest
from support.daemon.serving import PATIENCE, Daemon, ask, read, until
from support.programs.bad import CHAMELEON


def test_clients_have_their_own_answers_in_order(serve: Callable[..., Daemon]) -> None:
    daemon = serve("--pool-size", 4)
    clients = [daemon.connect() for _ in range(20)]
    for number, client in enumerate(clients):
        client.sendall(b"".join(b"isuser:%s:h\n" % (b"no%d" % i if (i + number) % 3 else b"u") for i in range(60)))
    for number, client in enumerate(clients):
        assert read(client, 120) == b"".join(b"0\n" if (i + number) % 3 else b"1\n" for i in range(60))


@pytest.mark.slow
def test_a_flood_delays_another_by_one_turn_only(serve: Callable[..., Daemon]) -> None:
    daemon = serve("--pool-size", 2, "--answer-timeout", 60)
    flood, other = daemon.connect(), daemon.connect()
    flood.settimeout(60)  # for all of it
    assert ask(other, b"isuser:u:h") == b"1\n"
    answers = 0

    def read_on() -> None:
        nonlocal answers
        while data := flood.recv(65536):
            answers += len(data) // 2

    lines = b"".join(b"isuser:slow20-u%d:h\n" % number for number in range(300)) + b"bogus\n" * 99_700
    sender, reader = Thread(target=flood.sendall, args=(lines,)), Thread(target=read_on)
    reader.start()
    sender.start()
    before = []  # how many of its questions were answered while another's waited
    while answers < 200:  # its window is full of slow questions all the time
        begun = answers
        assert ask(other, b"isuser:u:h") == b"1\n"
        before.append(answers - begun)
    assert len(before) >= 20
    assert sorted(before)[len(before) // 2] <= 4  # a turn of each program, and one that a busy machine lets in
    sender.join()
    flood.shutdown(socket.SHUT_WR)
    reader.join()
    assert answers == 100_000


@pytest.mark.slow
@pytest.mark.parametrize(("changes", "reloads"), [(True, 8), (False, 100)], ids=["another program", "the same program"])
def test_many_reloads_lose_nothing(serve: Callable[..., Daemon], tmp_path: Path, changes: bool, reloads: int) -> None:
    """Every reload is seen to be done before the next; meanwhile eight clients check each of their answers."""
    file = tmp_path / "auth.toml"

    def configure(number: int) -> None:
        nothing_else = "pool_size = 2\npool_max = 2\nmax_requests = 0\n"  # for which there would be a third program
        env = f'env = {{ GENERATION = "{number if changes else 0}" }}\n'
        file.with_suffix(".new").write_text(f"{nothing_else}{env}program = {json.dumps(CHAMELEON)}\n")
        file.with_suffix(".new").rename(file)

    configure(0)
    daemon = serve(file=file)
    assert ask(daemon.connect(), b"isuser:u:h") == b"1\n"
    wrong: list[tuple[int, bytes]] = []
    asked, done = [0] * 8, Event()

    def client(mine: int) -> None:
        connection = daemon.connect()
        while not done.is_set():
            truth = (asked[mine] + mine) % 3 == 0
            answer = ask(connection, b"isuser:%s:h" % (b"u" if truth else b"no"))
            if answer != (b"1\n" if truth else b"0\n"):
                wrong.append((mine, answer))
            asked[mine] += 1

    threads = [Thread(target=client, args=(mine,), daemon=True) for mine in range(8)]
    for thread in threads:
        thread.start()
    for number in range(1, reloads + 1):
        configure(number)
        daemon.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + PATIENCE
        while daemon.log.read_text().count("configuration loaded") < number:
            assert time.monotonic() < deadline, "not reloaded"
            time.sleep(0.005)
    done.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert wrong == []
    assert min(asked) >= 20
    until(lambda: len(daemon.programs()) == 2, "the replaced programs have left")
    # Standard ones, log, listener, epoll and what trio has; a program has four, a client two.
    assert daemon.descriptors() < 20 + 2 * 4 + 9 * 2


def test_half_closed_and_vanished_clients(serve: Callable[..., Daemon]) -> None:
    daemon = serve("--pool-size", 1, "--answer-timeout", 30)
    half, vanished, other = daemon.connect(), daemon.connect(), daemon.connect()
    vanished.sendall(b"isuser:slow300-u:h\n" * 100)
    assert read(vanished, 2) == b"1\n"
    vanished.close()
    half.sendall(b"isuser:u:h\nbogus\nisuser:u:h")
    half.shutdown(socket.SHUT_WR)
    assert read(half, 100) == b"1\n0\n1\n"
    begun = time.monotonic()
    assert ask(other, b"isuser:u:h") == b"1\n"
    assert time.monotonic() - begun < 5.0, "what the vanished one had asked holds the program"


def test_a_client_that_never_reads_holds_nothing(serve: Callable[..., Daemon]) -> None:
    daemon = serve("--pool-size", 1, "--answer-timeout", 30)
    other = daemon.connect()
    assert ask(other, b"isuser:u:h") == b"1\n"
    descriptors = len(os.listdir(f"/proc/{daemon.process.pid}/fd"))
    deaf = daemon.connect()
    deaf.setblocking(False)
    sent = 0
    quiet = 0
    while quiet < 20:  # until the daemon takes no more of it
        try:
            sent += deaf.send(b"bogus\n" * 1000)
            quiet = 0
        except BlockingIOError:
            quiet += 1
            assert ask(other, b"isuser:u:h") == b"1\n"
    assert sent < 16_000_000, "it stores whatever it is sent"
    deaf.close()
    deadline = time.monotonic() + PATIENCE
    while len(os.listdir(f"/proc/{daemon.process.pid}/fd")) > descriptors:
        assert ask(other, b"isuser:u:h") == b"1\n"
        assert time.monotonic() < deadline, "its descriptors stay"


def test_more_clients_than_allowed_are_refused(serve: Callable[..., Daemon]) -> None:
    daemon = serve("--max-clients", 2)
    first, _second, third = daemon.connect(), daemon.connect(), daemon.connect()
    assert third.recv(1) == b""
    assert ask(first, b"isuser:u:h") == b"1\n"
    first.close()
    deadline = time.monotonic() + PATIENCE
    while True:  # until the daemon has noticed that the first is gone
        client = daemon.connect()
        try:
            if ask(client, b"isuser:u:h") == b"1\n":
                break
        except OSError:
            pass
        assert time.monotonic() < deadline
    assert "max_clients" in daemon.log.read_text()


def test_only_some_users_may_connect(serve: Callable[..., Daemon]) -> None:
    daemon = serve("--allow-users", "65534")
    client = daemon.connect()
    assert client.recv(1) == b""
    assert "not allowed" in daemon.log.read_text()


def test_a_second_daemon_does_not_take_the_socket(serve: Callable[..., Daemon], tmp_path: Path) -> None:
    daemon = serve()
    client = daemon.connect()
    second = subprocess.run(
        [sys.executable, "-m", "bridge", "serve", "--listen", str(daemon.path), "--", *CHAMELEON],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert second.returncode == 2
    assert str(daemon.path) in second.stderr
    assert len(second.stderr.splitlines()) == 1
    assert ask(client, b"isuser:u:h") == b"1\n"


def test_stopping_answers_what_is_in_flight(serve: Callable[..., Daemon]) -> None:
    daemon = serve("--pool-size", 2)
    client = daemon.connect()
    assert ask(client, b"isuser:u:h") == b"1\n"
    client.sendall(b"isuser:slow300-u:h\n" * 2)
    assert ask(daemon.connect(), b"bogus") == b"0\n"  # by now the lines before it are in flight
    daemon.process.send_signal(signal.SIGTERM)
    assert read(client, 100) == b"1\n1\n"
    assert daemon.process.wait(PATIENCE) == 0


def test_the_status_socket_tells_the_figures(serve: Callable[..., Daemon], tmp_path: Path) -> None:
    daemon = serve("--status-listen", tmp_path / "status.sock", "--pool-size", 2)
    client = daemon.connect()
    assert ask(client, b"isuser:u:h") + ask(client, b"bogus") == b"1\n0\n"
    with socket.socket(socket.AF_UNIX) as status:
        status.settimeout(PATIENCE)
        status.connect(os.fspath(tmp_path / "status.sock"))
        figures = json.loads(read(status, 65536))
    assert figures["pools"]["default"]["granted"] == 1
    assert figures["pools"]["default"]["pool_size"] == 2
    assert figures["lines_refused"] == {"command": 1}
    assert figures["clients"]["connected"] == 1


@pytest.mark.slow
def test_the_third_answer_is_for_those_who_ask_for_it(serve: Callable[..., Daemon], tmp_path: Path) -> None:
    """With a program that never stays alive, nobody can be asked; only one of two clients is told."""
    file = tmp_path / "auth.toml"
    file.write_text('program = "/bin/false"\n')
    daemon = serve(file=file)
    plain, knowing = daemon.connect(), daemon.connect()
    line = b"isuser:alice:example.com\n"
    knowing.sendall(b"extauth-bridge:answers:3\n" + line + b"nonsense\n" + line)
    plain.sendall(line + b"extauth-bridge:answers:3\n" + line)
    assert read(knowing, 8) == b"1\n2\n0\n2\n"
    assert read(plain, 6) == b"0\n0\n0\n"
    daemon.stop()
