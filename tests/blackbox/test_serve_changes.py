"""The shared daemon as it starts, reloads and stops: at any moment, and with every mistake an administrator makes."""

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread

import pytest
from support.daemon.serving import PATIENCE, Daemon, ask, read, until
from support.process import environment
from support.programs.bad import CHAMELEON, Journal

pytestmark = pytest.mark.slow

YES, NO = b"1\n", b"0\n"
TRUE, FALSE = b"isuser:u:h", b"isuser:no:h"


def write(file: Path, *lines: str) -> None:
    """Put the configuration there in one step, with the usual program."""
    new = file.with_suffix(".new")
    new.write_text("\n".join([f"program = {json.dumps(CHAMELEON)}", "pool_size = 1", *lines, ""]))
    new.rename(file)


# --- Start


@pytest.mark.parametrize(
    "options",
    [
        ("--status-listen", "/nonexistent/status.sock"),
        ("--allow-groups", "no-such-group"),
        ("--allow-users", "0 no-such-user"),
        ("--socket-mode", "rw"),
        ("--max-clients", "0"),
    ],
    ids=lambda options: options[0],
)
def test_a_start_that_fails_is_one_line_and_leaves_nothing(tmp_path: Path, options: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "bridge", "serve", "--listen", str(tmp_path / "auth.sock"), *options]
    done = subprocess.run(
        [*command, "--", *CHAMELEON], capture_output=True, text=True, timeout=PATIENCE, check=False, env=environment()
    )
    assert done.returncode == 2
    complaints = [line for line in done.stderr.splitlines() if line.startswith("extauth-bridge: ")]
    assert len(complaints) == 1
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_stopped_at_any_moment_of_its_start(serve: Callable[..., Daemon]) -> None:
    """From the moment its socket is there; the fixture sees that the socket is not there any more."""
    for pause in range(12):
        daemon = serve("--pool-size", 1)
        until(daemon.path.exists, "it listens")
        time.sleep(pause * 0.015)
        assert daemon.stop() == 0
        assert not daemon.path.exists()


def test_a_reload_asked_for_during_the_start_is_done(serve: Callable[..., Daemon], tmp_path: Path) -> None:
    """The file was read before: what it says by now must come into force."""
    file = tmp_path / "auth.toml"
    for pause in range(8):
        write(file, 'commands = ["auth"]')
        daemon = serve(file=file)
        until(daemon.path.exists, "it listens")
        write(file, 'commands = ["isuser"]')
        time.sleep(pause * 0.015)
        daemon.process.send_signal(signal.SIGHUP)
        client = daemon.connect()
        until(lambda client=client: ask(client, TRUE) == YES, "the new configuration is in force")
        assert daemon.stop() == 0


def test_after_a_kill_the_next_one_takes_its_place(serve: Callable[..., Daemon]) -> None:
    """The socket's file is left behind, the programs are not; and a client that comes back finds the new one."""
    daemon = serve("--pool-size", 2)
    assert ask(daemon.connect(), TRUE) == YES
    programs = daemon.programs()
    assert len(programs) == 2
    daemon.process.kill()
    daemon.process.wait()
    assert daemon.path.exists()
    until(lambda: not any(Path(f"/proc/{pid}/fd/0").exists() for pid in programs), "its programs have left")
    again = serve("--pool-size", 1)
    assert ask(again.connect(), TRUE) == YES


# --- Who may connect


def as_user(uid: int, groups: list[int], path: Path) -> bytes:
    """What a process of that user, in these groups besides its own, is answered; nothing if it is shown out."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setgroups(groups)
        os.setgid(uid)
        os.setuid(uid)
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE)
            try:
                client.connect(os.fspath(path))
                os.write(writer, ask(client, TRUE))
            except OSError:
                pass
        os._exit(0)
    os.close(writer)
    os.waitpid(pid, 0)
    with open(reader, "rb") as answers:
        return answers.read()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_groups_are_those_the_client_really_has(serve: Callable[..., Daemon]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        options = ("--socket-mode", "666", "--allow-users", "4711", "--allow-groups", "4712,4713")
        daemon = serve("--pool-size", 1, *options, folder=folder)
        until(daemon.path.exists, "it listens")
        assert as_user(4711, [], daemon.path) == YES
        assert as_user(4712, [], daemon.path) == YES, "its own group is one of them"
        assert as_user(65534, [1, 4713, 2], daemon.path) == YES
        assert as_user(65534, [1, 2], daemon.path) == b""
        assert as_user(65534, [], daemon.path) == b""
        assert daemon.connect().recv(1) == b"", "root is nobody special"
        assert daemon.log.read_text().count("not allowed") == 3
        assert daemon.stop() == 0


# --- Reload


def test_who_may_not_be_here_any_more_is_shown_out(serve: Callable[..., Daemon], tmp_path: Path) -> None:
    file = tmp_path / "auth.toml"
    write(file, f'allow_users = ["{os.getuid()}"]')
    daemon = serve(file=file)
    client = daemon.connect()
    assert ask(client, TRUE) == YES
    daemon.reload()
    assert ask(client, TRUE) == YES, "who is still allowed stays"
    write(file, 'allow_users = ["65534"]')
    daemon.reload()
    assert client.recv(1) == b""
    assert daemon.connect().recv(1) == b""
    assert "not allowed any more" in daemon.log.read_text()


def test_who_is_shown_out_is_answered_and_changes_nothing_any_more(
    serve: Callable[..., Daemon], tmp_path: Path, journal: Journal
) -> None:
    """Of several changes at once a program has the first; the others were answered no, and so it must be."""
    file = tmp_path / "auth.toml"
    write(file, f'allow_users = ["{os.getuid()}"]')
    daemon = serve(file=file, env=journal.environment)
    client = daemon.connect()
    client.sendall(b"setpass:gate-u:h:pw\n" + b"setpass:v:h:pw\n" * 3)
    until(journal.frames, "the first is asked")
    write(file, 'allow_users = ["65534"]')
    daemon.reload()
    answers = b""
    while piece := client.recv(64):
        answers += piece
    assert answers == NO * 4
    write(file)
    daemon.reload()
    journal.open_gate()
    assert ask(daemon.connect(), TRUE) == YES
    assert journal.frames() == [b"setpass:gate-u:h:pw", TRUE]


def test_a_refused_reload_changes_nothing(serve: Callable[..., Daemon], tmp_path: Path) -> None:
    """Least of all who may connect: the first of the two lists is a good one."""
    file = tmp_path / "auth.toml"
    write(file, f'allow_users = ["{os.getuid()}"]')
    daemon = serve(file=file)
    client = daemon.connect()
    assert ask(client, TRUE) == YES
    for broken in (['allow_users = ["65534"]', 'allow_groups = ["no-such-group"]'], ["max_clients = 0"], ["="]):
        write(file, 'commands = ["auth"]', *broken)
        daemon.reload()
        assert "configuration refused" in daemon.log.read_text().splitlines()[-1]
        assert ask(client, TRUE) == YES
        assert ask(daemon.connect(), TRUE) == YES
    file.unlink()
    daemon.reload()
    assert ask(daemon.connect(), TRUE) == YES


def test_a_fifo_in_the_files_place_stops_nobody(serve: Callable[..., Daemon], tmp_path: Path) -> None:
    """Whoever holds it open has written a good configuration, and may write more: nobody waits for that."""
    file = tmp_path / "auth.toml"
    write(file)
    daemon = serve(file=file)
    client = daemon.connect()
    assert ask(client, TRUE) == YES
    text = file.read_bytes()
    file.unlink()
    os.mkfifo(file)
    holder = os.open(file, os.O_RDWR)
    os.write(holder, text)
    daemon.reload()
    assert "configuration refused" in daemon.log.read_text().splitlines()[-1]
    assert "is a FIFO" in daemon.log.read_text().splitlines()[-1]
    assert ask(client, TRUE) == YES
    assert ask(daemon.connect(), TRUE) == YES
    daemon.process.send_signal(signal.SIGHUP)
    assert daemon.stop() == 0
    os.close(holder)


def test_what_needs_a_restart_is_said(serve: Callable[..., Daemon], tmp_path: Path) -> None:
    file = tmp_path / "auth.toml"
    write(file)
    daemon = serve(file=file)
    assert ask(daemon.connect(), TRUE) == YES
    daemon.reload()
    assert "restart is needed" not in daemon.log.read_text()
    write(file, "socket_mode = 0o600", f"status_listen = {json.dumps(str(daemon.status_path))}")
    daemon.reload()
    assert 'restart is needed for these to take effect keys="status_listen socket_mode"' in daemon.log.read_text()
    assert ask(daemon.connect(), TRUE) == YES


def test_fewer_clients_after_a_reload(serve: Callable[..., Daemon], tmp_path: Path) -> None:
    """Those who are here stay; nobody else comes in."""
    file = tmp_path / "auth.toml"
    write(file, "max_clients = 3")
    daemon = serve(file=file)
    clients = [daemon.connect() for _ in range(3)]
    assert [ask(client, TRUE) for client in clients] == [YES] * 3
    write(file, "max_clients = 1")
    daemon.reload()
    assert [ask(client, TRUE) for client in clients] == [YES] * 3
    assert daemon.connect().recv(1) == b""


# --- Stop


def asked(daemon: Daemon, line: bytes, times: int = 1) -> socket.socket:
    """A client whose questions are with the programs, or wait for one."""
    client = daemon.connect()
    client.sendall((line + b"\n") * times)
    assert ask(daemon.connect(), b"bogus") == NO  # by now the lines before it were read
    return client


def test_stopping_waits_no_longer_than_it_may(serve: Callable[..., Daemon]) -> None:
    """What hangs is answered 0 after `shutdown_grace`; what was answered before that keeps its answer."""
    daemon = serve("--pool-size", 2, "--shutdown-grace", 0.5, "--answer-timeout", 60)
    assert ask(daemon.connect(), TRUE) == YES
    hanging, quick = asked(daemon, b"isuser:hang-u:h"), asked(daemon, b"isuser:slow100-u:h")
    begun = time.monotonic()
    daemon.process.send_signal(signal.SIGTERM)
    assert read(quick, 100) == YES
    assert read(hanging, 100) == NO
    assert 0.4 < time.monotonic() - begun < 2.0
    assert daemon.process.wait(PATIENCE) == 0
    assert time.monotonic() - begun < 4.0


def test_a_second_sigterm_means_now(serve: Callable[..., Daemon]) -> None:
    daemon = serve("--pool-size", 1, "--shutdown-grace", 60, "--answer-timeout", 60)
    assert ask(daemon.connect(), TRUE) == YES
    hanging = asked(daemon, b"isuser:hang-u:h", 3)
    begun = time.monotonic()
    daemon.process.send_signal(signal.SIGTERM)
    until(lambda: not daemon.path.exists(), "it takes no more clients")
    daemon.process.send_signal(signal.SIGTERM)
    assert read(hanging, 100) == NO * 3
    assert daemon.process.wait(PATIENCE) == 0
    assert time.monotonic() - begun < 3.0


def test_told_to_stop_while_it_reloads(serve: Callable[..., Daemon], tmp_path: Path) -> None:
    """At whatever moment: it stops, and so do the old programs and the new ones."""
    file = tmp_path / "auth.toml"
    for pause in range(10):
        write(file, f'env = {{ GENERATION = "{pause}" }}')
        daemon = serve(file=file)
        client = daemon.connect()
        assert ask(client, TRUE) == YES
        client.sendall(b"isuser:slow50-u:h\n")
        programs = daemon.programs()
        write(file, 'env = { GENERATION = "next" }')
        daemon.process.send_signal(signal.SIGHUP)
        time.sleep(pause * 0.004)
        programs += daemon.programs()
        daemon.process.send_signal(signal.SIGTERM)
        assert read(client, 100) in (YES, b"")  # nothing, if the line had not been read yet
        assert daemon.process.wait(PATIENCE) == 0
        assert not any(Path(f"/proc/{pid}/fd/0").exists() for pid in programs)


def test_clients_that_never_read_do_not_keep_it(serve: Callable[..., Daemon]) -> None:
    daemon = serve("--pool-size", 1, "--shutdown-grace", 0.5)
    assert ask(daemon.connect(), TRUE) == YES
    for _ in range(20):
        deaf = daemon.connect()
        deaf.setblocking(False)
        try:
            while deaf.send(b"bogus\n" * 10_000):
                pass
        except BlockingIOError:
            pass
    begun = time.monotonic()
    assert daemon.stop() == 0
    assert time.monotonic() - begun < 4.0


def test_a_locked_directory_does_not_delay_the_last_answers(serve: Callable[..., Daemon], tmp_path: Path) -> None:
    """Anybody who may read the directory can lock it."""
    daemon = serve("--pool-size", 1)
    assert ask(daemon.connect(), TRUE) == YES
    client = asked(daemon, b"isuser:slow100-u:h")
    directory = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(directory, fcntl.LOCK_EX)
    begun = time.monotonic()
    daemon.process.send_signal(signal.SIGTERM)
    assert read(client, 100) == YES
    assert daemon.process.wait(PATIENCE) == 0
    assert time.monotonic() - begun < 3.0
    os.close(directory)
    daemon.path.unlink()  # what it could not do; the next daemon would have replaced it


def test_restarts_with_a_socket_of_systemds_lose_nothing(serve: Callable[..., Daemon], tmp_path: Path) -> None:
    """Clients that come back when they are cut off get all their answers; the socket never stops queueing."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(os.fspath(tmp_path / "handed.sock"))
    listening.listen(128)
    wrong: list[bytes] = []
    counts, done = [0] * 6, Event()

    def client(mine: int) -> None:
        connection: socket.socket | None = None
        while not done.is_set():
            truth = (counts[mine] + mine) % 3 == 0
            for _attempt in range(10):
                if connection is None:
                    connection = socket.socket(socket.AF_UNIX)
                    connection.settimeout(PATIENCE)
                    connection.connect(os.fspath(tmp_path / "handed.sock"))
                try:
                    answer = ask(connection, TRUE if truth else FALSE)
                except (ConnectionError, BrokenPipeError):
                    answer = b""
                if len(answer) == 2:
                    break
                connection.close()
                connection = None
            if answer != (YES if truth else NO):
                wrong.append(answer)
            counts[mine] += 1
        if connection is not None:
            connection.close()

    threads = [Thread(target=client, args=(mine,), daemon=True) for mine in range(6)]
    for thread in threads:
        thread.start()
    for _restart in range(6):
        daemon = serve("--pool-size", 2, handed=listening)
        before = [*counts]
        until(lambda before=before: all(now > old + 20 for now, old in zip(counts, before, strict=True)), "all ask")
        assert daemon.stop() == 0
    daemon = serve("--pool-size", 2, handed=listening)
    done.set()
    for thread in threads:
        thread.join(PATIENCE)
    listening.close()
    assert not any(thread.is_alive() for thread in threads)
    assert wrong == []
    print(f"{sum(counts)} questions, 6 restarts")
