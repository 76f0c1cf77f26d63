"""The benchmark can be believed: it compiles without warnings, the floor is right, load sees what is wrong.

Nothing here measures: how fast something is depends on the machine and is looked at by hand.
"""

import json
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from benchmarks import compiling, report
from support.components import command

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


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiling.build(tmp_path_factory.mktemp("build"), command("gcc", "gcc"))


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
    lines = b"1\n\n" + b"1" * 1000 + b"\n" + b"1" * 1001 + b"\n1\r\n2\n1"
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


class Answers(socketserver.StreamRequestHandler):
    """One client of a Unix socket, answered by the rule of program.c."""

    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(b"1\n" if line[-2] & 1 else b"0\n")


@pytest.fixture
def socket_path(tmp_path: Path) -> Iterator[str]:
    path = str(tmp_path / "socket")
    with socketserver.ThreadingUnixStreamServer(path, Answers) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield path
        server.shutdown()
        thread.join(PATIENCE)


def test_many_clients_of_a_socket(build: Path, socket_path: str) -> None:
    found = figures(build, "socket", "-c", "5", "-k", "8", "-w", "50", "-n", "500", socket_path)
    assert found["lines"] >= 500


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


SAMPLES = {"case": {"bridge": [{"rate": 50.0}, {"rate": 30.0}], "floor": [{"rate": 100.0}, {"rate": 40.0}]}}


def test_a_ratio_is_taken_within_each_round() -> None:
    ratios = report.paired(SAMPLES, "case", "rate", "bridge", "times", "floor")
    assert ratios == [0.5, 0.75]


@pytest.mark.parametrize(("bound", "holds"), [("at least", True), ("at most", False)])
def test_goals(bound: str, holds: bool) -> None:
    goal = report.Goal("g", "case", "rate", "bridge", bound, 0.6, "times", "floor", later=0.65)
    said = report.judge(goal, SAMPLES)
    assert said is not None
    assert (said["value"], said["holds"], said["later_holds"]) == (0.625, holds, not holds)


def test_a_goal_of_a_single_figure_in_its_unit() -> None:
    goal = report.Goal("g", "case", "rate", "bridge", "at most", 4, scale=10)
    said = report.judge(goal, SAMPLES)
    assert said is not None
    assert (said["value"], said["holds"]) == (4, True)


def test_what_was_not_measured_does_not_hold() -> None:
    goal = report.Goal("g", "case", "rate", "nobody", "at most", 4)
    said = report.judge(goal, SAMPLES)
    assert said is not None
    assert (said["value"], said["holds"]) == (None, False)
    assert report.judge(report.Goal("g", "other", "rate", "bridge", "at most", 4), SAMPLES) is None
