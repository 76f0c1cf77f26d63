"""`bench`: how fast a program is, and how many of it are needed."""

import contextlib
import json
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from support import procfs
from support.process import COMMAND, MARK, ROOT, environment
from support.programs.bad import CHAMELEON, PROGRAMS, Journal

QUICK = ("--seconds", "0.1")
"""If there are few answers, a measurement lasts five times as long: half a second."""


def paced(milliseconds: float, *habits: str) -> tuple[str, ...]:
    return (sys.executable, "-I", "-S", "-B", str(PROGRAMS / "paced.py"), str(milliseconds), *habits)


def bench(
    *arguments: object, program: Sequence[str] = (), password: bytes = b"", env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run `bench`, and check that nothing is left of it."""
    mark = uuid.uuid4().hex
    done = subprocess.run(
        [*COMMAND, "bench", *map(str, arguments), *(["--", *program] if program else [])],
        check=False,
        input=password,
        capture_output=True,
        timeout=60,
        env=environment({MARK: mark, **(env or {})}),
        cwd=ROOT,
    )
    assert procfs.having(MARK, mark) == []
    assert b"Traceback" not in done.stderr, done
    return done


def measured(*arguments: object, program: Sequence[str] = (), status: int = 0, **how: Any) -> dict[str, Any]:
    """What `bench --json` tells."""
    done = bench("--json", *arguments, program=program, **how)
    assert done.returncode == status, done
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def test_programs_that_do_not_disturb_each_other() -> None:
    """The rate grows with their number; a login is two questions, and a program works four fifths of the time."""
    found = measured(*QUICK, "--max-pool", 4, "--logins-per-second", 30, program=paced(20))
    assert [size["programs"] for size in found["sizes"]] == [1, 2, 4]
    rates = [size["closed"]["queries_per_second"] for size in found["sizes"]]
    assert rates[0] <= 50
    assert rates[1] > 1.25 * rates[0], "asked one at a time, they would be the same"
    assert rates[2] > 1.25 * rates[1]
    assert all(0.02 <= size["closed"]["p50_seconds"] <= size["closed"]["max_seconds"] for size in found["sizes"])
    assert all(size["closed"]["failures"] == {} for size in found["sizes"])
    memory = [size["memory_bytes"] for size in found["sizes"]]
    assert 0 < memory[0] < memory[1] < memory[2]
    assert (found["stopped"], found["queries_needed_per_second"]) == ("most", 60)
    assert found["advice"]["enough"]
    enough = next(size for size in range(1, 5) if 0.8 * rate(found, size) >= 60)
    assert found["advice"]["pool_size"] == enough >= 2


def rate(found: dict[str, Any], programs: int) -> float:
    """Queries a second, with three programs as many as two and four have on the average."""
    rates = {size["programs"]: float(size["closed"]["queries_per_second"]) for size in found["sizes"]}
    return rates[programs] if programs in rates else (rates[2] + rates[4]) / 2


def test_programs_that_wait_for_each_other(tmp_path: Path) -> None:
    """More of them answer no more: 50 questions a second, whatever their number."""
    found = measured(*QUICK, program=paced(20, f"lock={tmp_path / 'lock'}"))
    assert found["stopped"] == "no growth"
    assert found["sizes"][-1]["programs"] <= 8, "two, if the machine lets them"
    assert all(size["closed"]["queries_per_second"] <= 51 for size in found["sizes"])
    assert "answer hardly more than" in found["advice"]["reason"]
    assert "wait for each other, or for the same thing (a lock, a server)" in found["advice"]["reason"]


def test_starting_is_not_measured() -> None:
    found = measured(*QUICK, "--max-pool", 2, program=paced(1, "start=0.5"))
    assert all(size["ready_seconds"] >= 0.5 for size in found["sizes"])
    assert all(size["closed"]["max_seconds"] < 0.5 for size in found["sizes"])


def test_every_question_is_about_another_name(journal: Journal) -> None:
    found = measured(*QUICK, "--max-pool", 2, "--host", "example.org", program=CHAMELEON, env=journal.environment)
    frames = journal.frames()
    assert len({*frames}) == len(frames) >= sum(size["closed"]["answers"] for size in found["sizes"])
    assert all(frame.startswith(b"isuser:bench-") and frame.endswith(b":example.org") for frame in frames)


def test_a_program_that_stalls_once_makes_those_late_that_come_meanwhile() -> None:
    """The open loop does not wait for it: in a second, 10 of its 25 questions come.  A closed loop would see one."""
    found = measured("--seconds", 0.5, "--max-pool", 1, "--rate", 10, program=paced(1, "stall=1"))
    (size,) = found["sizes"]
    at_rate = size["at_rate"]
    assert at_rate["answers"] == 25
    assert at_rate["max_seconds"] >= 1.0
    assert at_rate["p95_seconds"] >= 0.85, "the second of them waits for nine tenths of it"
    assert at_rate["p50_seconds"] < 0.5
    assert size["closed"]["p95_seconds"] < 0.5


def test_a_rate_that_is_too_high_is_told_by_its_failures() -> None:
    """One program answers 50 questions a second; of 400, the others are refused."""
    options = ("--seconds", 0.2, "--max-pool", 1, "--rate", 400, "--answer-timeout", 1)
    found = measured(*options, program=paced(20))
    (size,) = found["sizes"]
    assert size["closed"]["failures"] == {}
    failures = size["at_rate"]["failures"]
    assert failures.keys() <= {"overload", "timeouts"}
    assert size["at_rate"]["answers"] + sum(failures.values()) == 200
    assert sum(failures.values()) > 100
    assert not found["advice"]["enough"]


def test_a_program_that_stops_answering() -> None:
    options = ("--answer-timeout", 0.4, "--start-timeout", 1, "--shutdown-grace", 0.1)
    done = bench("--seconds", 0.3, "--max-pool", 1, *options, program=paced(5, "hang=30"))
    assert done.returncode == 1, done
    assert b"failed: no answer in time" in done.stdout
    assert b"No pool_size is recommended." in done.stdout


def test_a_program_that_dies_now_and_then_is_measured() -> None:
    """Its questions are asked again, so none is lost, but that it failed is told."""
    found = measured("--seconds", 0.3, "--max-pool", 2, program=paced(2, "die=40"))
    assert all(size["closed"]["programs_failed"] > 0 for size in found["sizes"])
    assert found["advice"]["pool_size"] == 2


@pytest.mark.parametrize(
    ("program", "said"),
    [
        (("/nonexistent/program",), b"No such file"),
        (("/bin/false",), b", with status 1"),  # it ended, before or while it was given a question
        (("/bin/cat",), b"not a reply"),
    ],
    ids=["missing", "ends", "echoes"],
)
def test_a_program_that_cannot_be_used(program: Sequence[str], said: bytes) -> None:
    done = bench(program=program)
    assert done.returncode == 1, done
    last = done.stderr.splitlines()[-1]
    assert last.startswith(b"extauth-bridge: " + program[0].encode())
    assert said in last
    assert b"queries/s" not in done.stdout


def test_a_program_that_never_replies_is_given_up() -> None:
    options = ("--start-timeout", 0.5, "--answer-timeout", 0.3, "--shutdown-grace", 0.1)
    found = measured(*options, program=paced(1, "hang=1"), status=1)
    assert (found["stopped"], found["sizes"], found["advice"]) == ("trouble", [], None)
    assert found["trouble"]


def test_logins_of_an_account(journal: Journal) -> None:
    """The password is read from standard input; nothing but the program gets it."""
    options = (*QUICK, "--max-pool", 2, "--account", "alice@example.com")
    done = bench(*options, program=CHAMELEON, password=b"pw-alice\n", env=journal.environment)
    assert done.returncode == 0, done
    assert {*journal.frames()} == {b"auth:alice:example.com:pw-alice"}
    assert b"pw-alice" not in done.stdout + done.stderr


@pytest.mark.parametrize("program", [CHAMELEON, ("/bin/cat",)], ids=["denies", "echoes"])
def test_a_wrong_password_is_no_measurement_and_never_shown(program: Sequence[str]) -> None:
    done = bench("--account", "alice@example.com", program=program, password=b"not-the-word\n")
    assert done.returncode == 1, done
    assert b"not-the-word" not in done.stdout + done.stderr
    assert program is not CHAMELEON or b"it denies this account with this password" in done.stderr


def test_a_program_that_must_be_alone_is(configure) -> None:
    file = configure(program=paced(5), pool_size=1)
    done = bench(file, *QUICK)
    assert done.returncode == 0, done
    assert b"must be alone" in done.stdout
    assert b"pool_size = 1\n" in done.stdout


def test_the_program_of_a_host(configure, journal: Journal) -> None:
    hosts = {"other.example": {"program": CHAMELEON, "env": journal.environment}}
    found = measured(configure(hosts=hosts), *QUICK, "--max-pool", 1)
    assert journal.frames()
    assert {frame.rpartition(b":")[2] for frame in journal.frames()} == {b"other.example"}
    assert found["program"] == CHAMELEON[0]


@contextlib.contextmanager
def running(*arguments: object) -> Iterator[subprocess.Popen[bytes]]:
    mark = uuid.uuid4().hex
    command = [*COMMAND, "bench", *map(str, arguments)]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=environment({MARK: mark}), cwd=ROOT, **pipes) as child:
        try:
            yield child
        finally:
            if child.poll() is None:
                child.kill()
            child.wait()
    assert procfs.having(MARK, mark) == []


def test_an_interrupt_prints_what_there_is() -> None:
    with running(*QUICK, "--", *paced(20)) as child:
        assert child.stdout is not None
        lines = []
        while not lines or lines[-1].split()[:1] != [b"1"]:
            lines.append(child.stdout.readline())
            assert lines[-1], lines
        child.send_signal(signal.SIGINT)
        out, errors = child.communicate(timeout=30)
    assert child.returncode == 0, errors
    assert b"until it was interrupted" in b" ".join(out.split())
    assert b"pool_size = " in out
    assert b"Traceback" not in errors


def test_an_interrupt_within_a_measurement_keeps_what_was_measured(journal: Journal) -> None:
    with running("--seconds", "3000", "--env", f"EXTAUTH_TEST_JOURNAL={journal.path}", "--", *CHAMELEON) as child:
        while len(journal.frames()) < 50:
            assert child.poll() is None
            time.sleep(0.01)
        child.send_signal(signal.SIGINT)
        out, _ = child.communicate(timeout=30)
    assert child.returncode == 0
    assert b"interrupted after" in out


def test_an_interrupt_before_anything_was_measured(journal: Journal) -> None:
    with running(
        "--shutdown-grace", "0.1", "--env", f"EXTAUTH_TEST_JOURNAL={journal.path}", "--", *paced(1, "hang=1")
    ) as child:
        while not journal.frames():
            assert child.poll() is None
            time.sleep(0.01)
        child.send_signal(signal.SIGINT)
        _, errors = child.communicate(timeout=30)
    assert child.returncode == 1
    assert b"interrupted before anything was measured" in errors


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--pool-size", "3", "--", "/bin/cat"],
        ["--max-pool", "0", "--", "/bin/cat"],
        ["--max-pool", "1.5", "--", "/bin/cat"],
        ["--rate", "-1", "--", "/bin/cat"],
        ["--seconds", "nan", "--", "/bin/cat"],
        ["--account", "alice", "--", "/bin/cat"],
        ["--commands", "auth", "--", "/bin/cat"],
        ["--host", "exam:ple", "--", "/bin/cat"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_one_line(arguments: list[str]) -> None:
    done = bench(*arguments)
    assert done.returncode == 2, done
    assert (len(done.stderr.splitlines()), done.stdout) == (1, b"")
