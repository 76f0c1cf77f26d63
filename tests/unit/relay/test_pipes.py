"""A relay on pipes and sockets: every line gets its answer, in order, whatever happens to the daemon."""

import os
import random
import select
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.relay.daemon import LineDaemon, question, resident, truth
from support.relay.site import RelaySite, relay, relay_site, until

PATIENCE = 30


@pytest.fixture
def site() -> Iterator[RelaySite]:
    with relay_site() as place:
        yield place


def finish(process: "subprocess.Popen[bytes]", data: bytes) -> list[bytes]:
    """Send all input; returns the answers."""
    answers, log = process.communicate(data, PATIENCE)
    assert process.returncode == 0, log
    assert b"Traceback" not in log
    assert b"pass-" not in log
    assert b"wrong-" not in log
    return answers.splitlines(keepends=True)


def test_many_lines_in_order_over_one_connection(site: RelaySite) -> None:
    lines = [question(f"u{number}", number % 3 == 0) for number in range(5000)]
    answers = finish(relay("connect", site.daemon.path), b"".join(line + b"\n" for line in lines))
    assert answers == [truth(line) for line in lines]
    assert site.daemon.asked == lines
    assert site.daemon.connections == 1


def test_executable_configuration_file(site: RelaySite) -> None:
    site.configure(max_line=100)
    long = question("u1").ljust(101, b"x")
    assert finish(relay(site.file), question("u1") + b"\n" + long + b"\n" + question("u2")) == [b"1\n", b"0\n", b"1\n"]
    assert site.daemon.asked == [question("u1"), question("u2")]
    assert "longer than max_line" in site.logged()


def test_lines_arrive_as_the_daemon_would_have_read_them(site: RelaySite) -> None:
    """The daemon drops one CR, so one that belongs to the line is doubled."""
    answers = finish(relay("connect", site.daemon.path), b"a\r\nb\r\r\n\r\n\nauth:\xff:\0:\n" + question("end"))
    assert answers == [b"0\n"] * 5 + [b"1\n"]
    assert site.daemon.asked == [b"a", b"b\r\r", b"", b"", b"auth:\xff:\0:", question("end")]


# Not `twice`: while other lines are open, a second answer cannot be told from the next line's.
@pytest.mark.parametrize("manner", ["garbage", "long", "half", "close", "leave"])
def test_bad_manners_never_shift_an_answer(site: RelaySite, manner: str) -> None:
    """No open line gets another's answer."""
    lines = [question(manner if number % 7 == 3 else f"u{number}", number % 2 == 0) for number in range(200)]
    answers = finish(relay("connect", site.daemon.path), b"".join(line + b"\n" for line in lines))
    assert len(answers) == len(lines)
    assert all(answer == b"0\n" or answer == truth(line) for answer, line in zip(answers, lines, strict=True))


def test_lost_daemon_is_a_no_to_exactly_the_lines_that_were_open(site: RelaySite) -> None:
    process = relay("connect", site.daemon.path)
    assert process.stdin is not None
    assert process.stdout is not None
    before, held, after = [question("a")] * 3, [question("pause1"), question("b"), question("c")], [question("d")] * 2
    process.stdin.write(b"".join(line + b"\n" for line in before + held))
    process.stdin.flush()
    site.daemon.until_asked(held[0])
    assert [process.stdout.readline() for _ in before] == [b"1\n"] * 3
    site.daemon.stop(keep_listening=True)
    assert [process.stdout.readline() for _ in held] == [b"0\n"] * 3
    site.daemon.start()
    assert finish(process, b"".join(line + b"\n" for line in after)) == [b"1\n"] * 2


def test_restarts_under_load_never_shift_an_answer(site: RelaySite) -> None:
    chance = random.Random(11)
    process = relay("connect", site.daemon.path)
    assert process.stdin is not None
    assert process.stdout is not None
    os.set_blocking(process.stdin.fileno(), False)
    lines = [question(f"u{number}", chance.random() < 0.5) for number in range(40000)]
    data = b"".join(line + b"\n" for line in lines)
    answers, restarts, next_restart, enough = b"", 0, time.monotonic() + 0.01, 0
    while len(answers) < 2 * len(lines):
        wanted = [process.stdin] if data else []
        readable, writable, _ = select.select([process.stdout], wanted, [], 0.02)
        if writable:
            data = data[os.write(process.stdin.fileno(), data[: chance.randrange(1, 4000)]) :]
        if readable:
            answers += os.read(process.stdout.fileno(), 65536)
        if time.monotonic() > next_restart and len(answers) >= enough:
            site.daemon.stop(keep_listening=chance.random() < 0.5)
            site.daemon.start()
            restarts, next_restart = restarts + 1, time.monotonic() + 0.01
            enough = len(answers) + 2 * 520  # twice as many lines as are open at most, or half of all could be lost
    got = [answers[at : at + 2] for at in range(0, len(answers), 2)]
    wrong = [one for one, line in zip(got, lines, strict=True) if one != truth(line)]
    assert set(wrong) <= {b"0\n"}
    assert len(wrong) < len(lines) / 2
    assert finish(process, b"") == []
    print(f"{len(lines)} lines, {restarts} restarts, {len(wrong)} lost")


def test_time_is_over_for_the_oldest_line(site: RelaySite) -> None:
    site.configure(answer_timeout=0.4)
    process = relay(site.file)
    began = time.monotonic()
    assert finish(process, question("pause1") + b"\n" + question("u") + b"\n") == [b"0\n", b"0\n"]
    assert 0.35 < time.monotonic() - began < 5
    site.daemon.go()
    assert site.daemon.open_connections <= 1


def test_no_daemon(tmp_path: Path) -> None:
    answers = finish(relay("connect", tmp_path / "nobody"), question("u") + b"\n" + question("v") + b"\n")
    assert answers == [b"0\n", b"0\n"]


def test_back_pressure_and_memory(site: RelaySite) -> None:
    """A daemon that does not read, then a client that does not: nothing grows, nothing is lost."""
    process = relay("connect", site.daemon.path)
    assert process.stdin is not None
    assert process.stdout is not None
    site.daemon.reading.clear()
    os.set_blocking(process.stdin.fileno(), False)
    line = question("u").ljust(4000, b"x") + b"\n"
    data = line * 1000
    sent = 0
    quiet = time.monotonic() + 0.5
    while time.monotonic() < quiet:
        if select.select([], [process.stdin], [], 0.05)[1]:
            try:
                sent += os.write(process.stdin.fileno(), data[sent : sent + 40000])
                quiet = time.monotonic() + 0.5
            except BlockingIOError:
                pass
    used = resident(process.pid)
    print(f"{sent} bytes taken, {used} KiB resident")
    assert sent < 3 << 20
    assert used < 15 * 1024 + sent // 1024
    site.daemon.reading.set()
    os.set_blocking(process.stdin.fileno(), True)
    answers = finish(process, data[sent:])
    assert len(answers) == 1000


def test_socket_as_input_and_output(site: RelaySite) -> None:
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            process = relay("connect", site.daemon.path, stdin=theirs, stdout=theirs)
        ours.sendall(question("u") + b"\n" + question("v", right=False) + b"\n")
        ours.shutdown(socket.SHUT_WR)
        with ours.makefile("rb") as answers:
            assert answers.read() == b"1\n0\n"
        _, log = process.communicate(timeout=PATIENCE)
        assert (process.returncode, log) == (0, b"")


def test_client_that_reads_no_more_ends_it(site: RelaySite) -> None:
    process = relay("connect", site.daemon.path)
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    assert process.wait(PATIENCE) == 0
    process.communicate()


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_signals(site: RelaySite, name: str) -> None:
    """The first one ends it after the outstanding answer, the second at once."""
    for signals in (1, 2):
        process = relay("connect", site.daemon.path)
        assert process.stdin is not None
        process.stdin.write(question("pause1") + b"\n")
        process.stdin.flush()
        site.daemon.until_asked(question("pause1"), signals)
        for number in range(signals):
            process.send_signal(getattr(signal, name))
            until(lambda process=process: not pending(process.pid), "the signal to be taken")
            del number
        if signals == 1:
            site.daemon.go()
            assert process.communicate(timeout=PATIENCE)[0] == b"1\n"
        else:
            assert process.communicate(timeout=PATIENCE)[0] == b"0\n"
            site.daemon.go()
        assert process.returncode == 0


def pending(pid: int) -> bool:
    """Whether a signal has not been delivered, or its handler has not taken effect."""
    status = Path(f"/proc/{pid}/status").read_text()
    waiting = any(int(line.split()[1], 16) for line in status.splitlines() if line.startswith(("SigPnd", "ShdPnd")))
    return waiting or status.split("State:")[1].split()[0] == "R"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["connect"], "usage: extauth-bridge connect SOCKET"),
        (["connect", "/a", "/b"], "usage: extauth-bridge connect SOCKET"),
        (["connect", "--socket"], "usage: extauth-bridge connect SOCKET"),
        (["connect", "/" + "x" * 107], "at most 107 bytes"),
    ],
)
def test_wrong_command_line(arguments: list[str], says: str) -> None:
    process = relay(*arguments)
    answers, log = process.communicate(timeout=PATIENCE)
    assert (process.returncode, answers) == (2, b"")
    assert says in log.decode()
    assert log.count(b"\n") == 1


def test_broken_file_is_an_error_where_somebody_sees_it(tmp_path: Path) -> None:
    path = tmp_path / "relay.toml"
    path.write_text('connect = "/s"\nprogram = "x"\n')
    process = relay(path)
    answers, log = process.communicate(timeout=PATIENCE)
    assert (process.returncode, answers) == (2, b"")
    assert log == f"extauth-bridge: {path}: unknown key program; a file with connect may hold ".encode() + (
        b"connect, answer_timeout, max_line, log.level, log.target\n"
    )


def test_file_of_another_kind_is_left_to_others(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('program = "x"\n')
    process = relay(path)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 64


def test_help() -> None:
    process = relay("connect", "--help")
    answers, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert b"connect SOCKET" in answers


def test_daemon_is_not_asked_twice_and_connections_are_closed(site: RelaySite) -> None:
    assert isinstance(site.daemon, LineDaemon)
    for _ in range(3):
        assert finish(relay("connect", site.daemon.path), question("u")) == [b"1\n"]
    assert site.daemon.asked == [question("u")] * 3
    until(lambda: site.daemon.open_connections == 0, "the connections to be closed")
