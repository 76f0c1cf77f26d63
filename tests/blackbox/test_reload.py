"""`extauth-bridge reload`, and what the daemon does meanwhile: a mistyped program puts nobody out."""

import json
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import pytest
from support.components import command
from support.daemon.serving import PATIENCE, Daemon, ask, read, until
from support.process import COMMAND, environment
from support.programs.bad import CHAMELEON, Journal, habit

from bridge.clients.status import RELOAD

YES, NO = b"1\n", b"0\n"
TRUE, FALSE = b"isuser:u:h", b"isuser:no:h"
MISSING = ["/nonexistent/program"]
STILLBORN = ["/bin/sh", "-c", "exit 3"]
"""Gone long before it would be taken for up, also on a busy machine."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The configuration, with a status socket."""
    return tmp_path / "auth.toml"


def write(file: Path, program: object = CHAMELEON, pool_size: int = 2, *lines: str) -> None:
    """Put a configuration there in one step."""
    status = json.dumps(str(file.with_name("status.sock")))
    text = [f"status_listen = {status}", f"program = {json.dumps(program)}", f"pool_size = {pool_size}", *lines]
    text.append(f"pool_max = {pool_size}")
    text += ["max_requests = 0", ""]  # programs are to be replaced for nothing else
    file.with_suffix(".new").write_text("\n".join(text))
    file.with_suffix(".new").rename(file)


@pytest.fixture
def daemon(serve: Callable[..., Daemon], file: Path) -> Daemon:
    """It has answered."""
    write(file)
    daemon = serve(file=file)
    assert ask(daemon.connect(), TRUE) == YES
    return daemon


def start_reload(socket_path: Path, *user: str) -> subprocess.Popen[str]:
    """The command, at work."""
    words = [*user, *COMMAND, "reload", str(socket_path)]
    return subprocess.Popen(
        words, env=environment(), text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd="/"
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """The command's exit status, and all it has printed."""
    out, errors = process.communicate(timeout=2 * PATIENCE)
    assert "Traceback" not in errors
    return process.returncode, out + errors


def reload(daemon: Daemon) -> tuple[int, str]:
    return ended(start_reload(daemon.status_path))


def figures(daemon: Daemon) -> dict[str, object]:
    return json.loads(read(daemon.connect_status(), 1 << 20))["reloads"]


@contextmanager
def load(daemon: Daemon, clients: int = 4) -> Iterator[list[list[bytes]]]:
    """Clients that ask all the time; the answers that were wrong, and the right ones, of each client."""
    done = Event()
    wrong: list[list[bytes]] = [[] for _ in range(clients)]
    right = [0] * clients
    connections = [daemon.connect() for _ in range(clients)]

    def client(mine: int) -> None:
        while not done.is_set():
            truth = (right[mine] + mine) % 3 == 0
            answer = ask(connections[mine], TRUE if truth else FALSE)
            if answer != (YES if truth else NO):
                wrong[mine].append(answer)
            right[mine] += 1

    threads = [Thread(target=client, args=(mine,), daemon=True) for mine in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield wrong
    finally:
        done.set()
        for thread in threads:
            thread.join(PATIENCE)
    assert min(right) > 10


def test_it_is_in_force_when_the_command_returns(daemon: Daemon, file: Path) -> None:
    client = daemon.connect()
    write(file, habit("denies"))
    assert reload(daemon) == (0, "in force\n")
    assert ask(client, TRUE) == NO
    assert figures(daemon) == {"in_force": 1, "refused": 0, "reason": "", "proving": False}
    write(file, habit("denies"), 2, "window = 9")
    assert reload(daemon) == (0, "in force\n")


def test_a_mistyped_program_puts_nobody_out(daemon: Daemon, file: Path) -> None:
    programs = daemon.programs()
    with load(daemon) as wrong:
        for program in (MISSING, STILLBORN):
            write(file, program)
            status, said = reload(daemon)
            assert status == 1
            assert said.startswith(
                f"extauth-bridge: refused, the old configuration stays: pool default: {program[0]}: "
            )
            assert said.count("\n") == 1
        assert daemon.programs() == programs
    assert wrong == [[]] * 4
    there = figures(daemon)
    assert (there["in_force"], there["refused"]) == (0, 2)
    assert there["reason"] == f"pool default: {program[0]}: it ended, with status 3"


@pytest.mark.slow
def test_nor_does_a_good_one(daemon: Daemon, file: Path) -> None:
    with load(daemon) as wrong:
        for number in range(2):
            write(file, CHAMELEON, 2 + number, f'env = {{ GENERATION = "{number}" }}')
            assert reload(daemon) == (0, "in force\n")
    assert wrong == [[]] * 4


def test_a_program_that_must_be_alone(serve: Callable[..., Daemon], file: Path, journal: Journal) -> None:
    """It would kill the other one; those who ask meanwhile wait."""
    env = [f"{name} = {json.dumps(value)}" for name, value in journal.environment.items()]
    write(file, habit("alone"), 1, f"env = {{ {', '.join(env)} }}")
    daemon = serve(file=file)
    assert ask(daemon.connect(), TRUE) == YES
    with load(daemon) as wrong:
        for program, outcome in ((MISSING, 1), (habit("alone", 1), 0)):
            write(file, program, 1, f"env = {{ {', '.join(env)} }}")
            assert reload(daemon)[0] == outcome
    assert wrong == [[]] * 4
    assert "program failed" not in daemon.log.read_text()


def test_a_broken_file_and_an_unknown_user(daemon: Daemon, file: Path) -> None:
    for line, why in (("nonsense = 1", "unknown key nonsense"), ('allow_users = ["no-such-user"]', "no-such-user")):
        write(file, habit("denies"), 2, line)
        status, said = reload(daemon)
        assert (status, why in said, said.count("\n")) == (1, True, 1)
        assert ask(daemon.connect(), TRUE) == YES
    assert len(daemon.programs()) == 2, "nothing was started for it"


def test_told_to_stop_while_it_waits_for_a_program(daemon: Daemon, file: Path) -> None:
    """One that never answers its probe: the command is told, and nothing is left."""
    write(file, habit("silent"), 2, 'probe = "nobody@h"')
    waiting = start_reload(daemon.status_path)
    until(lambda: len(daemon.programs()) == 4, "the new ones are started")
    programs = daemon.programs()
    assert figures(daemon)["proving"]
    assert daemon.stop() == 0, "long before the probe's time is over"
    status, said = ended(waiting)
    assert (status, "the daemon is stopping" in said) == (1, True)
    assert not any(Path(f"/proc/{pid}/fd/0").exists() for pid in programs)


def test_the_next_request_takes_its_place(daemon: Daemon, file: Path) -> None:
    write(file, habit("silent"), 2, 'probe = "nobody@h"')
    first = start_reload(daemon.status_path)
    until(lambda: len(daemon.programs()) == 4, "the new ones are started")
    write(file, habit("denies"))
    second = start_reload(daemon.status_path)
    assert ended(first) == ended(second) == (0, "in force\n")
    assert ask(daemon.connect(), TRUE) == NO


@pytest.mark.slow
def test_many_that_are_refused_leave_nothing(daemon: Daemon, file: Path) -> None:
    client = daemon.connect()
    assert ask(client, TRUE) == YES
    programs, descriptors = daemon.programs(), daemon.descriptors()
    for number in range(8):
        write(file, MISSING if number % 2 else STILLBORN, 3)
        assert reload(daemon)[0] == 1
    assert daemon.programs() == programs
    until(lambda: daemon.descriptors() == descriptors, "all is closed")
    assert figures(daemon)["refused"] == 8
    assert ask(client, TRUE) == YES


def test_where_no_daemon_is(daemon: Daemon, tmp_path: Path) -> None:
    for path, why in (
        (tmp_path / "nowhere.sock", "there is no such socket"),
        (tmp_path / "log", "nobody listens there"),
        (tmp_path / ("x" * 200), "too long"),
    ):
        status, said = ended(start_reload(path))
        assert status == 2
        assert said.startswith(f"extauth-bridge: {path}: ") and why in said and said.count("\n") == 1
    done = subprocess.run([*COMMAND, "reload", "a", "b"], env=environment(), capture_output=True, check=False)
    assert done.returncode == 2


@pytest.mark.parametrize("said", [b"", b'{"pools": {}}\n', b"0\n", b'{"reload": "asked"}\n'])
def test_what_is_no_status_socket_of_this_version(tmp_path: Path, said: bytes) -> None:
    """Such as an older daemon's, or one of a daemon that is gone before it could tell."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.fspath(tmp_path / "other.sock"))
        listening.listen()
        listening.settimeout(PATIENCE)
        process = start_reload(tmp_path / "other.sock")
        connection, _ = listening.accept()
        connection.sendall(said)
        connection.close()
    status, told = ended(process)
    assert status == 2
    assert told.startswith(f"extauth-bridge: {tmp_path / 'other.sock'}: ") and told.count("\n") == 1


@pytest.mark.slow
def test_the_socket_for_questions_is_not_taken_for_it(daemon: Daemon) -> None:
    """It waits for a line, as the command does."""
    status, said = ended(start_reload(daemon.path))
    assert (status, "not its status socket" in said) == (2, True)
    assert "configuration loaded" not in daemon.log.read_text()


def test_others_may_not(daemon: Daemon, file: Path, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to be somebody else")
    write(file, habit("denies"))
    os.chmod(daemon.status_path, 0o666)
    somebody = [command("setpriv", "util-linux"), "--reuid=54321", "--regid=54321", "--clear-groups"]
    # A Python below /root and a socket below a directory of root's stay within reach.
    somebody += ["--inh-caps=-all,+dac_read_search,+dac_override", "--ambient-caps=-all,+dac_read_search,+dac_override"]
    status, said = ended(start_reload(daemon.status_path, *somebody))
    assert (status, said) == (2, "extauth-bridge: only root and the daemon's own user may have it reload\n")
    assert "reload refused" in daemon.log.read_text()
    assert ask(daemon.connect(), TRUE) == YES
    assert figures(daemon)["in_force"] == 0


def test_who_asks_and_says_no_more_holds_nothing(daemon: Daemon, file: Path) -> None:
    """The oldest of too many is dropped; the page comes at once to whoever wants it; what was asked for is done."""
    write(file, habit("silent"), 2, 'probe = "nobody@h"')
    before = daemon.descriptors()
    asking: list[socket.socket] = []
    for number in range(40):
        connection = socket.socket(socket.AF_UNIX)
        connection.bind(RELOAD + f"{os.getpid()} {number}".encode())
        connection.settimeout(PATIENCE)
        connection.connect(os.fspath(daemon.status_path))
        assert connection.recv(100) == b'{"reload": "asked"}\n'
        asking.append(connection)
    assert asking[0].recv(100) == b""
    asking[-1].close()
    until(lambda: len(daemon.programs()) == 4, "the new ones are started")
    until(lambda: daemon.descriptors() <= before + 8 + 2 * 4, "eight of them, and two programs")
    assert figures(daemon)["proving"]
    write(file)
    assert reload(daemon) == (0, "in force\n")
    assert asking[-2].recv(100) == b'{"reload": "in force"}\n'
    for connection in asking:
        connection.close()
    until(lambda: daemon.descriptors() == before, "all is closed")


def test_a_signal_does_the_same(daemon: Daemon, file: Path) -> None:
    write(file, MISSING)
    daemon.reload()
    assert 'the old one stays reason="pool default: /nonexistent/program: ' in daemon.log.read_text()
    daemon.process.send_signal(signal.SIGHUP)
    until(lambda: figures(daemon)["refused"] == 2, "the second one is decided")
    assert ask(daemon.connect(), TRUE) == YES
