"""The shared daemon and clients that mean it harm: what one of them does, the others do not notice."""

import json
import os
import resource
import signal
import socket
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread

import pytest
from support import procfs
from support.daemon.serving import PATIENCE, Daemon, ask, read, until
from support.daemon.standstill import unread_by_peer
from support.programs.bad import CHAMELEON, Journal

pytestmark = pytest.mark.slow

YES, NO = b"1\n", b"0\n"
TRUE, FALSE = b"isuser:u:h", b"isuser:no:h"


def figures(daemon: Daemon) -> dict[str, dict[str, int]]:
    status = daemon.connect_status()
    return json.loads(read(status, 1 << 20))


def delays(client: socket.socket, count: int) -> list[float]:
    """Seconds that each of so many questions took, the answers being right."""
    took = []
    for number in range(count):
        begun = time.monotonic()
        assert ask(client, FALSE if number % 3 else TRUE) == (NO if number % 3 else YES)
        took.append(time.monotonic() - begun)
    return took


def cpu_taken(daemon: Daemon, client: socket.socket, times: int = 100) -> list[float]:
    """Seconds of CPU time that the daemon took for three questions, one after the other, so many times.

    How long they waited depends on whatever else the machine does.
    """
    used = []
    for _ in range(times):
        before = procfs.on_cpu(daemon.process.pid)
        delays(client, 3)
        used.append(procfs.on_cpu(daemon.process.pid) - before)
    return used


@contextmanager
def meanwhile(work: Callable[[], None]) -> Iterator[None]:
    """Do `work` over and over beside the test."""
    done = Event()

    def run() -> None:
        while not done.is_set():
            work()

    thread = Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


# --- Connections


@pytest.mark.parametrize("descriptors", [100, 101])
def test_clients_cannot_take_the_descriptors_programs_need(
    serve: Callable[..., Daemon], tmp_path: Path, descriptors: int
) -> None:
    daemon = serve(
        *("--pool-size", 2, "--max-clients", 1000, "--status-listen", tmp_path / "status.sock"),
        descriptors=descriptors,
    )
    first = daemon.connect()
    assert ask(first, TRUE) == YES
    crowd = [daemon.connect() for _ in range(descriptors)]
    assert [client.recv(1) for client in crowd[20:]] == [b""] * (descriptors - 20), "shown out"
    # The programs' places are theirs still: both are killed, and replaced.
    old = daemon.programs()
    for pid in old:
        os.kill(pid, signal.SIGKILL)
    until(lambda: len(daemon.programs()) == 2 and not set(daemon.programs()) & set(old), "they are replaced")
    assert ask(first, TRUE) == YES
    assert figures(daemon)["clients"]["refused"] > descriptors - 20
    log = daemon.log.read_text()
    assert "fewer clients than max_clients" in log
    assert "cannot be accepted" not in log


@pytest.mark.parametrize("room", [0, 1])
def test_without_descriptors_it_lives_and_waits(serve: Callable[..., Daemon], tmp_path: Path, room: int) -> None:
    """The limit is lowered while it runs.  A client takes two: with room for one it is shown out, not half let in."""
    daemon = serve("--pool-size", 1, "--status-listen", tmp_path / "status.sock")
    client = daemon.connect()
    assert ask(client, TRUE) == YES
    limit = max(map(int, os.listdir(f"/proc/{daemon.process.pid}/fd"))) + 1 + room
    resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, (limit, 20000))
    waiting, looking = daemon.connect(), daemon.connect_status()
    until(lambda: "cannot be accepted" in daemon.log.read_text(), "it has tried")
    used = cpu_seconds(daemon)
    time.sleep(0.5)  # what is to be seen is that nothing happens
    assert cpu_seconds(daemon) - used < 0.1
    assert ask(client, TRUE) == YES
    resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, (1000, 20000))
    if room:
        assert waiting.recv(1) == b""
    else:
        assert ask(waiting, TRUE) == YES
    assert "pools" in json.loads(read(looking, 1 << 20))


def cpu_seconds(daemon: Daemon) -> float:
    fields = Path(f"/proc/{daemon.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("allowed", [True, False], ids=["let in", "refused"])
def test_a_flood_of_connections_is_hardly_noticed(serve: Callable[..., Daemon], allowed: bool) -> None:
    daemon = serve("--pool-size", 2, "--max-clients", 100 if allowed else 1)
    client = daemon.connect()
    assert ask(client, TRUE) == YES
    count = 0

    def knock() -> None:
        nonlocal count
        crowd = [socket.socket(socket.AF_UNIX) for _ in range(50)]
        for other in crowd:
            other.connect(os.fspath(daemon.path))
        for other in crowd:
            other.close()
        count += 50

    with meanwhile(knock):
        used = cpu_taken(daemon, client)
    print(f"{count} connections; median {statistics.median(used) * 1e3:.2f} ms, worst {max(used) * 1e3:.1f} ms")
    assert count > 300
    assert statistics.median(used) < 0.06
    assert max(used) < 1.0


def test_ten_thousand_connections_leave_nothing(serve: Callable[..., Daemon], tmp_path: Path) -> None:
    """Some say nothing, some ask and do not wait, some get an answer, some leave half a line."""
    daemon = serve("--pool-size", 2, "--max-requests", 0, "--status-listen", tmp_path / "status.sock")
    steady = daemon.connect()
    assert ask(steady, TRUE) == YES

    def come_and_go(times: int) -> None:
        for number in range(times):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(os.fspath(daemon.path))
                if number % 4:
                    client.sendall((b"", TRUE + b"\n", b"bogus\n" * 20, b"auth:half")[number % 4])
                if number % 4 == 1:
                    assert read(client, 2) == YES

    def until_all_are_gone(accepted: int) -> None:
        until(
            lambda: figures(daemon)["clients"] == {"connected": 1, "accepted": accepted, "refused": 0}, "all are gone"
        )

    come_and_go(2000)
    until_all_are_gone(2001)
    descriptors, memory = daemon.descriptors(), daemon.resident()
    come_and_go(8000)
    until_all_are_gone(10_001)
    assert daemon.descriptors() == descriptors
    grown = daemon.resident() - memory
    print(f"{grown} KiB more after 8000 connections, {memory} KiB before")
    assert grown < 1024
    assert ask(steady, TRUE) == YES


def test_full_of_greedy_clients_it_stays_small(serve: Callable[..., Daemon]) -> None:
    """As many as are let in, each sending all it can of the shortest lines, and reading nothing."""
    daemon = serve("--pool-size", 2)
    client = daemon.connect()
    assert ask(client, TRUE) == YES
    before = daemon.resident()
    greedy = [daemon.connect() for _ in range(127)]
    for other in greedy:
        other.setblocking(False)
    stuck = 0
    while stuck < 3:  # rounds in which nothing more was taken of any of them
        moved = 0
        for other in greedy:
            try:
                moved += other.send(b"ab\n" * 20000)
            except BlockingIOError:
                continue
        stuck = 0 if moved else stuck + 1
        assert ask(client, TRUE) == YES
    grown = daemon.resident() - before
    print(f"{grown} KiB for 127 greedy clients")
    assert grown < 64 * 1024
    assert max(cpu_taken(daemon, client, 17)) < 3.0


# --- One client among others


def test_a_flood_costs_one_question_of_each_program(serve: Callable[..., Daemon], journal: Journal) -> None:
    """100 000 lines, every one of them slow: another's question waits for a program to be free, and never longer."""
    daemon = serve("--pool-size", 2, "--answer-timeout", 60, env=journal.environment)
    flood, other = daemon.connect(), daemon.connect()
    assert ask(other, TRUE) == YES
    slow = b"isuser:slow20-u:h"

    def send() -> None:
        with suppress(OSError):
            flood.sendall((slow + b"\n") * 100_000)

    sender = Thread(target=send)
    sender.start()
    assert read(flood, 20) == YES * 10
    begun = []
    for _ in range(60):
        begun.append(time.monotonic())
        assert ask(other, TRUE) == YES
    flood.shutdown(socket.SHUT_RDWR)
    sender.join()
    frames = journal.events("frame")
    given = [frame.at for frame in frames if frame.body == TRUE][-60:]
    # Of the flood's, those that a program was given while the other's question was on its way, or waited.
    before = sorted(
        sum(since < frame.at < at for frame in frames if frame.body == slow)
        for since, at in zip(begun, given, strict=True)
    )
    print(f"questions of the flood that went before: median {before[30]}, 9 of 10 {before[54]}, most {before[-1]}")
    assert before[54] <= 4  # two of each program: one, and one that a busy machine lets in before it is read


def test_a_flood_of_lines_that_are_refused_moves_nobody_s_deadline(serve: Callable[..., Daemon]) -> None:
    """A hundred clients with as many lines as one read takes, again and again, and they read their answers."""
    daemon = serve("--pool-size", 2, "--answer-timeout", 1.0)
    patient = daemon.connect()
    assert ask(patient, TRUE) == YES
    flooding = [daemon.connect() for _ in range(100)]
    for client in flooding:
        client.setblocking(False)

    def flood() -> None:
        for client in flooding:
            with suppress(BlockingIOError):
                client.send(b"\n" * 16384)
            with suppress(BlockingIOError):
                client.recv(65536)

    with meanwhile(flood):
        begun = time.monotonic()
        assert ask(patient, b"isuser:hang-u:h") == NO
        took = time.monotonic() - begun
    print(f"{took:.2f} s")
    assert 0.9 < took < 2.5


def test_clients_that_are_killed_or_frozen_in_the_middle(serve: Callable[..., Daemon]) -> None:
    daemon = serve("--pool-size", 1, "--answer-timeout", 30)
    other = daemon.connect()
    assert ask(other, TRUE) == YES
    for number in (signal.SIGSTOP, signal.SIGKILL):
        pid = os.fork()
        if pid == 0:
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(os.fspath(daemon.path))
                client.sendall(b"isuser:slow5-u:h\n" * 100)
                client.recv(2)
                os.kill(os.getpid(), number)
            os._exit(1)
        os.waitpid(pid, os.WUNTRACED)
        assert max(delays(other, 20)) < 2.0
        if number == signal.SIGSTOP:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


@pytest.mark.parametrize("client", ["pipelined", "lockstep"])
def test_clients_that_ask_and_vanish_hold_no_program(serve: Callable[..., Daemon], tmp_path: Path, client: str) -> None:
    daemon = serve(
        *("--pool-size", 1, "--answer-timeout", 60, "--client", client),
        *("--status-listen", tmp_path / "status.sock"),
    )
    other, *vanishing = (daemon.connect() for _ in range(101))
    assert ask(other, TRUE) == YES
    for one in vanishing:
        one.sendall(b"isuser:slow300-u:h\n")
    until(lambda: not any(map(unread_by_peer, vanishing)), "they have asked")
    begun = time.monotonic()
    for one in vanishing:
        one.close()
    assert ask(other, TRUE) == YES
    assert time.monotonic() - begun < 3.0
    assert figures(daemon)["clients"]["connected"] <= 2, "the one whose question a program has, perhaps"


def test_a_burst_of_a_lockstep_client_is_one_no(serve: Callable[..., Daemon]) -> None:
    daemon = serve("--pool-size", 1, "--client", "lockstep")
    client = daemon.connect()
    assert ask(client, TRUE) == YES
    client.sendall(b"auth:u:h:x\nsetpass:u:h:x\n")
    assert read(client, 2) == NO
    assert delays(client, 5)
    client.sendall(TRUE)
    client.shutdown(socket.SHUT_WR)
    assert read(client, 100) == YES, "a last line without its end, and nothing more"


def test_who_asks_for_the_third_answer_is_no_client_in_lockstep(serve: Callable[..., Daemon]) -> None:
    """It keeps many lines in flight: one answer to a burst, or none for a line that another follows, would shift."""
    daemon = serve("--pool-size", 2, "--client", "lockstep")
    client = daemon.connect()
    client.sendall(b"extauth-bridge:answers:3\n" + b"isuser:no:h\nisuser:u:h\n" * 40)
    assert read(client, 2 + 4 * 40) == b"1\n" + b"0\n1\n" * 40
    for _ in range(20):
        client.sendall(b"isuser:u:h\n")
        client.sendall(b"isuser:no:h\n")
    assert read(client, 4 * 20) == b"1\n0\n" * 20
    client.sendall(b"extauth-bridge:answers:3\n")
    assert read(client, 2) == b"0\n", "only as the first line"
    client.shutdown(socket.SHUT_WR)
    assert read(client, 1) == b""


@pytest.mark.parametrize("first", [b"isuser:u:h\n", b"\n", b"extauth-bridge:answers:3 \n"])
def test_as_a_later_line_it_changes_nothing_in_lockstep(serve: Callable[..., Daemon], first: bytes) -> None:
    daemon = serve("--pool-size", 1, "--client", "lockstep")
    burst, one_by_one = daemon.connect(), daemon.connect()
    burst.sendall(first + b"extauth-bridge:answers:3\nisuser:u:h\n")
    one_by_one.sendall(first)
    assert read(one_by_one, 2) == (b"1\n" if first.startswith(b"isuser") else b"0\n")
    one_by_one.sendall(b"extauth-bridge:answers:3\nisuser:u:h\n")
    burst.shutdown(socket.SHUT_WR)
    one_by_one.shutdown(socket.SHUT_WR)
    assert read(burst, 9) == b"0\n"
    assert read(one_by_one, 9) == b"0\n"


@pytest.mark.parametrize("client", ["pipelined", "lockstep"])
@pytest.mark.parametrize("pause", [0.0, 0.03, 0.1])
def test_the_first_part_of_a_line_of_a_client_that_is_gone_is_no_line(
    serve: Callable[..., Daemon], journal: Journal, client: str, pause: float
) -> None:
    """What it wanted to say may go on: a password cut off is one that nobody chose.  Who still listens means it."""
    daemon = serve("--pool-size", 1, "--client", client, env=journal.environment)
    other = daemon.connect()
    assert ask(other, TRUE) == YES
    for _ in range(10):
        with socket.socket(socket.AF_UNIX) as dying:
            dying.connect(os.fspath(daemon.path))
            dying.sendall(b"setpass:u:h:hunter2-part")
            time.sleep(pause)
    meaning_it = daemon.connect()
    meaning_it.sendall(b"setpass:u:h:whole")
    meaning_it.shutdown(socket.SHUT_WR)
    assert read(meaning_it, 100) == YES
    assert ask(other, TRUE) == YES
    assert {frame for frame in journal.frames() if frame != TRUE} == {b"setpass:u:h:whole"}


# --- Who only looks


def test_the_status_of_many_pools_comes_whole(serve: Callable[..., Daemon], tmp_path: Path) -> None:
    """More than a socket takes at once."""
    file = tmp_path / "auth.toml"
    hosts = "".join(f'[hosts."host{number}.example"]\nprogram = ["/missing"]\n' for number in range(2500))
    file.write_text(f"status_listen = {json.dumps(str(tmp_path / 'status.sock'))}\npool_size = 1\n{hosts}")
    daemon = serve(file=file)
    status = daemon.connect_status()
    page = read(status, 1 << 22)
    assert len(page) > 400_000
    assert len(json.loads(page)["pools"]) == 2500


def test_who_never_reads_the_status_holds_nothing(serve: Callable[..., Daemon], tmp_path: Path) -> None:
    file = tmp_path / "auth.toml"
    hosts = "".join(f'[hosts."host{number}.example"]\nprogram = ["/missing"]\n' for number in range(2500))
    program = f"program = {json.dumps(CHAMELEON)}\n"
    file.write_text(f"status_listen = {json.dumps(str(tmp_path / 'status.sock'))}\npool_size = 1\n{program}{hosts}")
    daemon = serve(file=file)
    client = daemon.connect()
    assert ask(client, TRUE) == YES

    def tried() -> int:
        pools = json.loads(read(daemon.connect_status(), 1 << 22))["pools"]
        return sum(pool["failures"] >= 1 for pool in pools.values())

    until(lambda: tried() > 100, "those that are tried at once were: the daemon has grown to its size")
    descriptors, memory = daemon.descriptors(), daemon.resident()
    deaf = []
    for _ in range(100):
        deaf.append(daemon.connect_status())
        assert deaf[-1].recv(1, socket.MSG_PEEK), "it is told; each is waited for, as a page of this size takes a while"
    assert len(json.loads(read(daemon.connect_status(), 1 << 22))["pools"]) == 2501
    until(lambda: daemon.descriptors() <= descriptors + 8, "no more than a few are kept")  # (programs are tried, too)
    assert daemon.resident() - memory < 16 * 1024
    assert max(delays(client, 20)) < PATIENCE, "whoever had to wait for the deaf would do so for ever"
    for other in deaf:
        other.close()
    until(lambda: daemon.descriptors() <= descriptors, "they are let go")


def test_a_flood_of_looks_is_hardly_noticed(serve: Callable[..., Daemon], tmp_path: Path) -> None:
    daemon = serve("--pool-size", 2, "--status-listen", tmp_path / "status.sock")
    client = daemon.connect()
    assert ask(client, TRUE) == YES

    def look() -> None:
        with socket.socket(socket.AF_UNIX) as status:
            status.connect(os.fspath(daemon.status_path))

    with meanwhile(look):
        used = cpu_taken(daemon, client)
    print(f"median {statistics.median(used) * 1e3:.2f} ms, worst {max(used) * 1e3:.1f} ms")
    assert statistics.median(used) < 0.06
    assert max(used) < 1.0
