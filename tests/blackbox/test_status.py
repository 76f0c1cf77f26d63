"""`extauth-bridge status`, the page it reads, field by field, and SIGUSR1 where there is no daemon."""

import json
import math
import os
import pty
import re
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.daemon.serving import PATIENCE, Daemon, ask, read, until
from support.process import COMMAND, Bridge, environment
from support.programs.bad import CHAMELEON, habit
from support.terminal import read_until

from bridge.clients.page import FIELDS

YES, NO = b"1\n", b"0\n"
MISSING = ["/nonexistent/program"]


def configure(folder: Path, program: object = CHAMELEON, *lines: str) -> Path:
    """A configuration with a status socket."""
    file = folder / "auth.toml"
    status = json.dumps(str(folder / "status.sock"))
    file.write_text("\n".join([f"status_listen = {status}", f"program = {json.dumps(program)}", *lines, ""]))
    return file


@pytest.fixture
def daemon(serve: Callable[..., Daemon], tmp_path: Path) -> Daemon:
    """It has answered."""
    daemon = serve(file=configure(tmp_path, CHAMELEON, "pool_size = 2"))
    assert ask(daemon.connect(), b"isuser:u:h") == YES
    return daemon


def page(daemon: Daemon) -> dict[str, Any]:
    return json.loads(read(daemon.connect_status(), 1 << 20))


def status(*words: object) -> tuple[int, str]:
    """The command's exit status, and all it has printed."""
    argv = [*COMMAND, "status", *map(str, words)]
    done = subprocess.run(argv, env=environment(), capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout + done.stderr


def paths(value: object, path: str = "") -> Iterator[str]:
    """Where every value is, with names that depend on the site as `FIELDS` has them."""
    if isinstance(value, dict):
        named = {"pools": "POOL", "lines_refused": "REASON", "queries": "COMMAND", "restarts": "CAUSE"}
        named["latency"] = "WINDOW"
        for key, inner in value.items():
            yield from paths(inner, f"{path}.{named.get(path.rpartition('.')[2], key)}".lstrip("."))
    elif isinstance(value, list):
        for inner in value:
            yield from paths(inner, f"{path}[]")
    else:
        yield path


def test_every_field_is_written_down_and_is_there(daemon: Daemon) -> None:
    client = daemon.connect()
    assert ask(client, b"nonsense") == NO
    os.kill(daemon.programs()[0], signal.SIGKILL)
    until(lambda: bool(page(daemon)["pools"]["default"]["restarts"]), "it is noticed")
    until(lambda: bool(page(daemon)["pools"]["default"]["programs"]), "another one is there")
    assert {*paths(page(daemon))} == {path for path, _ in FIELDS} - {"pools.POOL"}
    assert len({path for path, _ in FIELDS}) == len(FIELDS)


def test_what_the_page_tells(daemon: Daemon, tmp_path: Path) -> None:
    client = daemon.connect()
    for line, answer in ((b"auth:u:h:pw-u", YES), (b"auth:no:h:hunter2-word", NO), (b"isuser:no:h", NO)):
        assert ask(client, line) == answer
    told = page(daemon)
    assert (told["pid"], told["configuration"]["file"]) == (daemon.process.pid, str(tmp_path / "auth.toml"))
    assert 0 <= time.time() - told["started"] < 60 and told["memory"] > 1_000_000
    pool = told["pools"]["default"]
    assert pool["queries"] == {
        "auth": {"granted": 1, "denied": 1, "unavailable": 0},
        "isuser": {"granted": 1, "denied": 1, "unavailable": 0},
    }
    assert sorted(program["pid"] for program in pool["programs"]) == sorted(daemon.programs())
    assert sum(program["served"] for program in pool["programs"]) == pool["latency"]["1m"]["answers"] == 4
    assert all(program["memory"] > 1_000_000 for program in pool["programs"])
    assert 0 < pool["latency"]["1m"]["p50"] <= pool["latency"]["15m"]["p99"] < 4
    assert "hunter2-word" not in json.dumps(told) and "pw-u" not in json.dumps(told)


def test_a_question_that_takes_long_is_seen(daemon: Daemon) -> None:
    client = daemon.connect()
    client.sendall(b"isuser:slow1500-u:h\n")
    until(lambda: any((one["busy"] or 0) >= 0.3 for one in page(daemon)["pools"]["default"]["programs"]), "it is told")
    assert read(client, 2) == YES
    until(lambda: page(daemon)["pools"]["default"]["latency"]["1m"]["p99"] > 1.4, "and its time")


def test_all_is_well(daemon: Daemon) -> None:
    code, said = status(daemon.status_path)
    assert code == 0
    assert said.startswith("OK: 2 of 2 programs up, 1 questions answered\n\nextauth-bridge ")
    assert "\npool default: 2 of 2 programs up, 0 waiting\n" in said
    assert "\x1b" not in said


def test_a_refused_configuration_is_a_warning(daemon: Daemon, tmp_path: Path) -> None:
    configure(tmp_path, CHAMELEON, "nonsense = 1")
    daemon.reload()
    code, said = status(daemon.status_path)
    assert (code, said.splitlines()[0][:32]) == (1, "WARNING: configuration refused: ")
    assert "nonsense" in said


def test_a_program_that_failed_is_a_warning(daemon: Daemon) -> None:
    begun = time.monotonic()
    os.kill(daemon.programs()[0], signal.SIGKILL)
    until(lambda: page(daemon)["pools"]["default"]["failures"] == 1, "it is noticed")
    until(lambda: len(daemon.programs()) == 2, "it is replaced")
    code, said = status(daemon.status_path)
    assert code == 1
    told = re.match(r"WARNING: pool default: a program failed (\d+) s ago: it ended", said)
    assert told and int(told[1]) <= math.ceil(time.monotonic() - begun), said


def test_a_program_that_cannot_be_started_is_critical(serve: Callable[..., Daemon], tmp_path: Path) -> None:
    daemon = serve(file=configure(tmp_path, MISSING))
    daemon.connect()
    why = f"pool default cannot answer: {MISSING[0]}: it cannot be started: No such file or directory"
    why += " (there is no directory /nonexistent)"
    assert status(daemon.status_path)[1].startswith(f"CRITICAL: {why}\n")
    assert status(daemon.status_path)[0] == 2


def test_programs_that_only_end_are_critical_too(serve: Callable[..., Daemon], tmp_path: Path) -> None:
    daemon = serve(file=configure(tmp_path, habit("stillborn", 3)))
    until(lambda: page(daemon)["pools"]["default"]["failures"] > 2, "it was tried again")
    code, said = status(daemon.status_path)
    assert (code, "it ended, with status 3" in said.splitlines()[0]) == (2, True)


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        (b"isuser:garbage0-u:h", "output"),
        (b"isuser:after0-u:h", "output"),
        (b"setpass:die3-u:h:x", "ended"),
        (b"setpass:hang-u:h:x", "time"),
    ],
)
def test_why_programs_had_to_be_replaced(serve: Callable[..., Daemon], tmp_path: Path, line: bytes, cause: str) -> None:
    daemon = serve(file=configure(tmp_path, CHAMELEON, "pool_size = 1", "answer_timeout = 0.5"))
    client = daemon.connect()
    assert ask(client, b"isuser:u:h") == YES
    ask(client, line)
    until(lambda: bool(page(daemon)["pools"]["default"]["restarts"]), "it is noticed")
    assert [*page(daemon)["pools"]["default"]["restarts"]] == [cause]


@pytest.mark.parametrize("form", ["text", "--json", "--prometheus"])
def test_where_no_daemon_is(daemon: Daemon, tmp_path: Path, form: str) -> None:
    options = [] if form == "text" else [form]
    for path, why in (
        (tmp_path / "nowhere.sock", "there is no such socket; with systemd: systemctl enable --now"),
        (tmp_path / "log", "nobody listens there"),
        (tmp_path / ("x" * 200), "too long"),
        (daemon.path, "not the status socket"),
    ):
        code, said = status(path, *options)
        assert code == 3
        if form == "--prometheus":
            assert said.endswith("extauth_bridge_up 0.0\n")
        else:
            assert why in said and said.count("\n") == 1
            assert said.startswith("UNKNOWN: " if form == "text" else '{"error": ')


def test_a_wrong_option_is_nothing_critical() -> None:
    code, said = status("--no-such-option")
    assert (code, said.startswith("UNKNOWN: "), said.count("\n")) == (3, True, 1)


def test_for_scripts(daemon: Daemon) -> None:
    code, said = status(daemon.status_path, "--json")
    told = json.loads(said)
    assert (code, told["version"], told["pools"]["default"]["granted"]) == (0, 1, 1)
    assert said.count("\n") == 1


def test_for_prometheus(daemon: Daemon) -> None:
    code, said = status(daemon.status_path, "--prometheus")
    assert code == 0
    assert 'extauth_bridge_queries_total{pool="default",verdict="granted"} 1\n' in said
    assert 'extauth_bridge_queries_by_command_total{pool="default",command="isuser",verdict="granted"} 1\n' in said


def test_counters_go_on_after_a_reload(daemon: Daemon, tmp_path: Path) -> None:
    configure(tmp_path, habit("denies"))
    daemon.reload()
    assert ask(daemon.connect(), b"isuser:u:h") == NO
    pool = page(daemon)["pools"]["default"]
    assert (pool["granted"], pool["denied"]) == (1, 1)
    assert pool["latency"]["1m"]["answers"] == 2


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A directory that others may enter: pytest closes those above its own, also those of other runs."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def test_who_may_read_it_need_not_read_the_configuration(open_folder: Path, serve: Callable[..., Daemon]) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to become somebody else")
    folder = open_folder
    file = configure(folder, CHAMELEON, "socket_mode = 0o666")
    file.chmod(0o600)
    daemon = serve(file=file, folder=folder)
    assert ask(daemon.connect(), b"isuser:u:h") == YES
    code = "import json, socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); print(s.recv(9))"
    for mode, seen in ((0o666, "b'{\"version'\n"), (0o660, "")):
        daemon.status_path.chmod(mode)
        argv = ["/usr/bin/python3", "-c", code, str(daemon.status_path)]
        done = subprocess.run(
            argv, user=65534, group=65534, extra_groups=[], capture_output=True, text=True, check=False
        )
        assert done.stdout == seen, done.stderr


def test_who_may_not_read_it_is_told_who_may(daemon: Daemon, tmp_path: Path) -> None:
    """As a user who is not let in would see it."""
    from bridge.commands.statussocket import explained

    said = explained(str(daemon.status_path), PermissionError(13, "Permission denied"))
    assert re.search(r"you may not read it: it is for user \S+ and group \S+$", said)


@pytest.mark.slow
def test_watched_by_a_script_it_goes_on_until_nobody_reads(daemon: Daemon) -> None:
    argv = [*COMMAND, "status", str(daemon.status_path), "--json", "--watch"]
    with subprocess.Popen(
        argv, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as watching:
        assert watching.stdout is not None and watching.stderr is not None
        times = [json.loads(watching.stdout.readline())["time"] for _ in range(2)]
        assert times[1] - times[0] > 0.9
        watching.stdout.close()
        assert watching.wait(PATIENCE) == 3
        assert watching.stderr.read() == ""


@pytest.mark.parametrize("key", ["q", "\x03"])
def test_watched_on_a_terminal_it_ends_with_a_key(daemon: Daemon, key: str) -> None:
    process, terminal = pty.fork()
    if process == 0:
        os.execve(COMMAND[0], [*COMMAND, "status", str(daemon.status_path), "--watch"], environment())
    try:
        screen = read_until(terminal, b"served", 2 * PATIENCE)
        assert b"\x1b[1;32mOK\x1b[0m: 2 of 2 programs up" in screen
        os.write(terminal, key.encode())
        assert b"Traceback" not in read_until(terminal, b"\x1b[?1049l", 2 * PATIENCE)
        assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
    finally:
        os.close(terminal)


def test_the_status_of_the_units_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plain unit's first, then its instances'."""
    from bridge.commands import statussocket

    monkeypatch.setattr(statussocket, "FOLDER", str(tmp_path))
    monkeypatch.setattr(statussocket, "SOCKET", str(tmp_path / "status.sock"))
    assert statussocket.found() == {}
    for name in ("red.status.sock", "auth.sock", "status.sock", "blue.status.sock"):
        (tmp_path / name).touch()
    assert [*statussocket.found()] == ["", "blue", "red"]


def test_without_a_daemon_it_is_logged(start: Callable[..., Bridge], tmp_path: Path) -> None:
    """Early, too: it ends nothing."""
    log = tmp_path / "log"
    bridge = start("run", "--pool-size", 2, "--log-target", f"file:{log}", "--log-level", "warning", "--", *CHAMELEON)
    assert bridge.ask(b"isuser:u:h").verdict == "1"
    os.kill(bridge.pid, signal.SIGUSR1)
    until(lambda: log.exists() and "status of a pool" in log.read_text(), "it is logged")
    assert re.search(r"status version=\S+ pid=\d+ up_seconds=\d+ pools=1\n", log.read_text())
    assert re.search(r"pool=default .*granted=1 denied=0 .*isuser=1/0/0 p50_1m=\S+ .*programs=", log.read_text())
    assert bridge.ask(b"isuser:no:h").verdict == "0"
    bridge.finish()


def test_a_page_of_another_version_is_not_understood(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.fspath(tmp_path / "other.sock"))
        listening.listen()
        with subprocess.Popen(
            [*COMMAND, "status", str(tmp_path / "other.sock")], env=environment(), stdout=subprocess.PIPE, text=True
        ) as process:
            listening.settimeout(PATIENCE)
            connection, _ = listening.accept()
            connection.sendall(b'{"version": 2}\n')
            connection.close()
            assert "understands" in process.communicate(timeout=PATIENCE)[0]
            assert process.returncode == 3
