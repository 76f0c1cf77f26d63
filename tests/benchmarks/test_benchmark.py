"""The measurements can be believed: the floor is right, load sees what is wrong and times what it should.

Nothing here measures: how fast something is depends on the machine and is looked at by hand.
"""

import json
import subprocess
import sys
from pathlib import Path

import compiling
import daemon
import pytest
from support.components import command

pytestmark = pytest.mark.slow

STALL = 0.4  # s
PATIENCE = 60  # s; a bound for what hangs, far from what anything here takes

# Commands for load, in Python: two that are wrong, and one that answers by channel, the last question first.
ALWAYS_YES = "for line in sys.stdin: print(1, flush=True)"
MUTE_AT_50 = """
for line in itertools.islice(sys.stdin, 50): os.write(1, b'%d\\n' % (ord(line[-2]) % 2))
os.close(1)
sys.stdin.read()  # not to be taken for one that refuses its input
"""
ANY_ORDER = """
while lines := os.read(0, 65536).splitlines():
    answers = [b'%s %d' % (line.split()[0], line[-1] % 2) for line in lines]
    print(*[answer.decode() for answer in reversed(answers)], sep='\\n', flush=True)
"""


def python(source: str) -> list[str]:
    return [sys.executable, "-c", f"import itertools, os, sys\n{source}"]


def floor(build: Path, pool: int) -> list[str]:
    return [str(build / "floor"), str(pool), str(build / "program")]


def load(build: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    whole = [str(build / "load"), *argv]
    return subprocess.run(whole, capture_output=True, text=True, timeout=PATIENCE, check=False)


def figures(build: Path, *argv: str) -> dict[str, float]:
    done = load(build, *argv)
    assert (done.returncode, done.stderr) == (0, "")
    found: dict[str, float] = json.loads(done.stdout)
    return found


def complaint(build: Path, *argv: str) -> str:
    done = load(build, *argv)
    assert (done.returncode, done.stdout) == (1, "")
    return done.stderr


@pytest.mark.parametrize("pool", [1, 4, 16])
@pytest.mark.parametrize("in_flight", [1, 64, 1024])
def test_the_floor_answers_every_line_in_order(build: Path, pool: int, in_flight: int) -> None:
    found = figures(build, "pipe", "-k", str(in_flight), "-w", "100", "-n", "600", *floor(build, pool))
    assert found["lines"] >= 600
    assert found["checked"] >= found["lines"]
    assert 0 < found["p50_us"] <= found["p99_us"] <= found["max_us"]


def test_the_floor_answers_what_it_does_not_ask_and_the_last_line_without_its_end(build: Path) -> None:
    lines = b"1\n\n" + b"1" * 4096 + b"\n" + b"1" * 4097 + b"\n1\r\n2\n1"
    done = subprocess.run(floor(build, 2), input=lines, capture_output=True, timeout=PATIENCE, check=True)
    assert done.stdout.split() == [b"1", b"0", b"1", b"0", b"1", b"0", b"1"]


def test_more_lines_than_the_floors_window_at_once(build: Path) -> None:
    lines = b"".join(b"%d\n" % number for number in range(20_000))
    done = subprocess.run(floor(build, 3), input=lines, capture_output=True, timeout=PATIENCE, check=True)
    assert done.stdout == b"0\n1\n" * 10_000


def test_a_program_is_asked_directly_by_load_and_from_python(build: Path) -> None:
    assert figures(build, "frames", "-n", "300", str(build / "program"))["lines"] == 300
    script = compiling.HERE / "direct.py"
    argv = [sys.executable, str(script), "0.05", str(build / "program")]
    done = subprocess.run(argv, capture_output=True, timeout=PATIENCE, check=True)
    assert json.loads(done.stdout)["lines"] > 0


def test_on_a_terminal(build: Path) -> None:
    helper = command("sh", "dash"), "-c", 'stty raw && exec "$0"', str(build / "linehelper")
    assert figures(build, "pty", "-n", "300", *helper)["lines"] == 300


def test_times_of_a_start(build: Path) -> None:
    assert figures(build, "first", *floor(build, 4))["ms"] > 0
    assert figures(build, "exit", "true")["ms"] > 0
    assert figures(build, "raw", "sh", "-c", "stty raw; read line")["ms"] > 0
    assert "without having set its terminal" in complaint(build, "raw", "true")


def test_memory_with_lines_in_flight(build: Path) -> None:
    found = figures(build, "hold", "-k", "256", "-w", "20", *floor(build, 4))
    assert found["lines"] == 276
    assert found["held_rss_kb"] >= found["rss_kb"] > 0


def test_answers_by_channel_may_come_in_any_order(build: Path) -> None:
    assert figures(build, "channels", "-k", "32", "-n", "300", *python(ANY_ORDER))["lines"] >= 300


@pytest.mark.parametrize(("clients", "in_flight"), [(1, 1), (5, 8), (128, 4)])
def test_the_floor_as_a_daemon(build: Path, tmp_path: Path, clients: int, in_flight: int) -> None:
    path = str(tmp_path / "socket")
    argv = [str(build / "floor"), "-u", path, "4", str(build / "program")]
    with daemon.serving(argv, path, tmp_path):
        for _ in range(2):
            amount = ("-c", str(clients), "-k", str(in_flight), "-w", "600", "-n", "2000")
            found = figures(build, "socket", *amount, path)
            assert found["lines"] >= 2000
            assert found["checked"] >= 2600
            assert found["rss_kb"] > 0


@pytest.mark.parametrize("more", [(), ("-a",), ("-c", "5")])
def test_clients_with_tags(build: Path, tmp_path: Path, more: tuple[str, ...]) -> None:
    path = str(tmp_path / "socket")
    serve = [
        sys.executable,
        "-m",
        "bridge",
        "serve",
        "--pool-size",
        "2",
        "--listen",
        path,
        "--",
        str(build / "program"),
    ]
    with daemon.serving(serve, path, compiling.HERE.parent.parent):
        assert figures(build, "tagged", "-k", "8", "-w", "100", "-n", "500", *more, path)["checked"] >= 600


TAGGED = """
import signal, socket
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
server = socket.socket(socket.AF_UNIX)
server.bind({path!r})
server.listen()
while True:
    client = server.accept()[0].makefile('rwb', 0)
    client.readline() and client.write(b'1\\n')
    for line in client:
        client.write({answer!r})
"""


@pytest.mark.parametrize(("answer", "said"), [(b"0000 1\n", "is wrong"), (b"0009 1\n", "for no question")])
def test_load_sees_what_is_wrong_with_tags(build: Path, tmp_path: Path, answer: bytes, said: str) -> None:
    path = str(tmp_path / "socket")
    with daemon.serving(python(TAGGED.format(path=path, answer=answer)), path, tmp_path):
        assert said in complaint(build, "tagged", "-n", "300", path)


def test_a_daemon_that_fails_is_seen(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with pytest.raises(daemon.Failed, match="a reason"), daemon.serving(python("sys.exit('a reason')"), path, tmp_path):
        pass
    listening = f"import socket\ns = socket.socket(socket.AF_UNIX)\ns.bind({path!r})\ns.listen()\n"
    killed = python(f"{listening}sys.stdin.close()\nimport time\ntime.sleep(60)")
    with pytest.raises(daemon.Failed, match="exit status -15"), daemon.serving(killed, path, tmp_path):
        pass


@pytest.mark.parametrize("length", [16, 20, 39, 40, 100, 4000, 4096])
def test_lines_of_any_length(build: Path, length: int) -> None:
    found = figures(build, "pipe", "-l", str(length), "-k", "64", "-n", "300", *floor(build, 4))
    assert found["bytes_s"] == pytest.approx(found["rate"] * (length + 1), rel=0.001)
    assert figures(build, "frames", "-l", str(length), "-n", "300", str(build / "program"))["lines"] == 300


def test_a_line_is_as_long_as_wanted(build: Path) -> None:
    honest = """
for line in iter(sys.stdin.readline, ''):
    assert len(line) == 21 and line.startswith('auth:u') and line.count(':') == 3, line
    print(ord(line[-2]) % 2, flush=True)
"""
    assert figures(build, "pipe", "-l", "20", "-n", "100", *python(honest))["lines"] == 100


STALLS = f"""
import time
for number, line in enumerate(sys.stdin):
    if number == 300: time.sleep({STALL})
    print(ord(line[-2]) % 2, flush=True)
"""


def test_an_open_loop_counts_what_waited_for_a_stall(build: Path) -> None:
    """5000 lines a second, and nothing comes back for 0.4 s: 2000 lines of 3000 had to wait, half of these so
    long that they could not even be written; their latency begins when they were due nevertheless."""
    by_the_clock = figures(build, "open", "-r", "5000", "-s", "0.6", *python(STALLS))
    assert by_the_clock["lines"] == 3000
    assert by_the_clock["seconds"] > 0.59
    assert by_the_clock["p50_us"] > STALL / 8 * 1e6
    assert by_the_clock["p99_us"] > STALL * 0.9 * 1e6
    assert by_the_clock["late_p99_us"] > STALL / 8 * 1e6
    assert by_the_clock["max_us"] >= STALL * 1e6

    one_by_one = figures(build, "pipe", "-n", "1000", *python(STALLS))  # here a single line had to
    assert one_by_one["p99_us"] < STALL * 0.9 * 1e6
    assert one_by_one["max_us"] >= STALL * 1e6


def test_an_open_loop_checks_answers_too(build: Path) -> None:
    assert "is wrong" in complaint(build, "open", "-r", "1000", "-s", "0.3", *python(ALWAYS_YES))


RESTLESS = """
import select
while True:
    if select.select([0], [], [], 0.02)[0]:
        line = os.read(0, 4096)
        if not line: break
        os.write(1, b'%d\\n' % (line[-2] % 2))
"""
SPINS = """
os.set_blocking(0, False)
while True:
    try: line = os.read(0, 4096)
    except BlockingIOError: continue
    if not line: break
    os.write(1, b'%d\\n' % (line[-2] % 2))
"""


def test_rest_is_told_from_unrest(build: Path) -> None:
    still = figures(build, "pipe", "-n", "10", "-i", "0.3", *floor(build, 4))
    assert (still["rest_wakeups"], still["rest_cpu"]) == (0, 0)
    restless = figures(build, "pipe", "-n", "10", "-i", "0.5", *python(RESTLESS))
    assert 5 < restless["rest_wakeups"] < 200  # 50, or twice that with a sleep of its own in each
    assert 0 < restless["rest_cpu"] < 0.2
    spinning = figures(build, "pipe", "-n", "10", "-i", "0.3", *python(SPINS))
    assert 0.02 < spinning["rest_cpu"] < 1.1  # a whole CPU, of which others may take most


def test_cpu_time_is_that_of_the_command_alone(build: Path) -> None:
    """A program that works for 1 ms of CPU a line, and one behind a bridge that does nothing itself."""
    working = "import time\nfor line in sys.stdin:\n"
    working += "    end = time.process_time() + 0.001\n    while time.process_time() < end: pass\n"
    working += "    print(ord(line[-2]) % 2, flush=True)"
    assert 1000 < figures(build, "pipe", "-n", "100", *python(working))["cpu_us"] < 2000
    behind = ["sh", "-c", '"$@"; exit $?', "sh", *python(working)]
    assert figures(build, "pipe", "-n", "100", *behind)["cpu_us"] < 100


def test_load_sees_a_wrong_answer(build: Path) -> None:
    assert "is wrong" in complaint(build, "pipe", "-n", "300", *python(ALWAYS_YES))


@pytest.mark.parametrize("one_more", ["0", "1"])
def test_load_sees_a_shift_by_one(build: Path, one_more: str) -> None:
    shifted = ["sh", "-c", f'echo {one_more}; exec "$@"', "sh", *floor(build, 4)]
    said = complaint(build, "pipe", "-k", "16", "-n", "300", *shifted)
    assert "is wrong" in said or "more output than answers" in said


def test_load_sees_a_missing_answer(build: Path) -> None:
    assert "ended after 50 of" in complaint(build, "pipe", "-k", "8", "-n", "300", *python(MUTE_AT_50))


def test_load_sees_one_answer_too_many_at_the_end(build: Path) -> None:
    chatty = ["sh", "-c", '"$@"; echo 1', "sh", *floor(build, 4)]
    assert "more output than answers" in complaint(build, "pipe", "-n", "300", *chatty)


def test_load_sees_how_its_command_ended(build: Path) -> None:
    assert "exit status 3" in complaint(build, "pipe", "-n", "300", "sh", "-c", '"$@"; exit 3', "sh", *floor(build, 4))
    assert "nosuchcommand" in complaint(build, "pipe", "-n", "300", "nosuchcommand")
