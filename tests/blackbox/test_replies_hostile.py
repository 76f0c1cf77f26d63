"""Second replies while everything else goes wrong: kills, stops, reused descriptors, full buffers, huge questions."""

import contextlib
import fcntl
import json
import os
import random
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.components import command
from support.daemon.serving import Daemon, ask
from support.process import COMMAND, ROOT, Bridge, environment
from support.programs import oracle
from support.programs.bad import PROGRAMS, Journal
from support.programs.otheruser import as_somebody_else
from support.programs.replies import (
    HONEST,
    LEAVING,
    Doubles,
    compiled,
    doubling_lines,
    is_double,
    lengthened,
    tally,
    verdicts_of,
)

from .conftest import Start
from .test_serve_promise import converse

pytestmark = pytest.mark.slow

DOUBLES = Doubles("whole", 4, 32, 500, 60)
RUN = ("run", "--pool-size", 4, "--answer-timeout", 30, "--max-requests", 0)


class Trouble:
    """Now and then, from a thread of its own, a signal to one of the bridge's programs, or to the bridge."""

    def __init__(self, pid: int, dice: random.Random, *, kills: bool, stops: bool) -> None:
        self.pid, self.dice = pid, dice
        self.kinds = [*([self.kill] * kills), *([self.stop_program, self.stop_bridge] * stops)]
        self.done = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self) -> None:
        while not self.done.wait(self.dice.uniform(0.001, 0.02)):
            with contextlib.suppress(ProcessLookupError, FileNotFoundError):
                self.dice.choice(self.kinds)()

    def program(self) -> int:
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        if not children:
            raise ProcessLookupError
        return int(self.dice.choice(children))

    def kill(self) -> None:
        os.kill(self.program(), signal.SIGKILL)
        self.done.wait(0.1)  # so that a question that is asked again is not always hit twice

    def stop(self, pid: int) -> None:
        os.kill(pid, signal.SIGSTOP)
        self.done.wait(self.dice.uniform(0, 0.006))
        os.kill(pid, signal.SIGCONT)

    def stop_program(self) -> None:
        self.stop(self.program())

    def stop_bridge(self) -> None:
        self.stop(self.pid)


@contextlib.contextmanager
def trouble(pid: int, dice: random.Random, *, kills: bool = False, stops: bool = False) -> Iterator[None]:
    """Trouble while the body runs."""
    maker = Trouble(pid, random.Random(dice.random()), kills=kills, stops=stops)
    maker.thread.start()
    try:
        yield
    finally:
        maker.done.set()
        maker.thread.join()


@pytest.mark.parametrize("manner", ["whole", "halves", "straddle", "together"])
def test_killed_and_stopped_at_any_moment(
    start: Start, journal: Journal, tmp_path: Path, dice: random.Random, manner: str
) -> None:
    bridge = start(*RUN, "--", *DOUBLES._replace(manner=manner).command(tmp_path), env=journal.environment)
    lines = doubling_lines(40, dice)
    assert bridge.ask(b"isuser:u:h").verdict == "1"
    with trouble(bridge.pid, dice, kills=True, stops=True):
        answers = bridge.converse(lines, in_flight=32)
    bridge.finish()
    found = tally(lines, verdicts_of(answers), journal)
    assert (found.wrong, found.uncaught) == (0, 0), found


@pytest.mark.parametrize("manner", ["whole", "straddle"])
def test_bridge_stopped_at_any_moment(
    start: Start, journal: Journal, tmp_path: Path, dice: random.Random, manner: str
) -> None:
    """Nobody is killed from outside, so nobody's right login is lost."""
    bridge = start(*RUN, "--", *DOUBLES._replace(manner=manner).command(tmp_path), env=journal.environment)
    lines = doubling_lines(40, dice)
    with trouble(bridge.pid, dice, stops=True):
        answers = bridge.converse(lines, in_flight=32)
    bridge.finish()
    tally(lines, verdicts_of(answers), journal).check()


def test_client_that_reads_late(start: Start, journal: Journal, tmp_path: Path, dice: random.Random) -> None:
    """Its answers fill the pipe, while programs reply twice."""
    output, theirs = os.pipe()
    fcntl.fcntl(theirs, fcntl.F_SETPIPE_SZ, 4096)
    program = DOUBLES._replace(work=0).command(tmp_path)
    bridge = start(*RUN, "--", *program, stdout=theirs, ends=(None, output), env=journal.environment)
    os.close(theirs)
    lines = doubling_lines(40, dice, every=75)
    for line in lines:
        bridge.queue(line)
    while bridge.pump(0.3, read=False):
        pass
    verdicts = verdicts_of(bridge.wait_for_answers(len(lines), 60))
    bridge.finish()
    tally(lines, verdicts, journal).check()


@pytest.mark.parametrize(
    ("max_line", "sizes"),
    [(4096, (0, 0, 4000, 4093, 4094, 4095, 4096)), (32767, (0, 0, 4096, 8100)), (32767, (0, 0, 13000, 16000, 32000))],
    ids=["default", "two pages", "many pages"],
)
@pytest.mark.parametrize("manner", ["whole", "halves", "straddle"])
def test_large_questions(
    start: Start,
    journal: Journal,
    tmp_path: Path,
    dice: random.Random,
    manner: str,
    max_line: int,
    sizes: tuple[int, ...],
) -> None:
    """Of those that fill their pipe; three pages, say, do not, and are looked at less closely."""
    doubles = DOUBLES._replace(manner=manner)
    bridge = start(*RUN, "--max-line", max_line, "--", *doubles.command(tmp_path), env=journal.environment)
    lines = [lengthened(line, dice.choice(sizes)) for line in doubling_lines(30, dice)]
    verdicts = verdicts_of(bridge.converse(lines, in_flight=16))
    bridge.finish()
    tally(lines, verdicts, journal, max_line=max_line).check()


def test_hosts_of_all_kinds_at_once(
    start: Start, journal: Journal, tmp_path: Path, dice: random.Random, configure: Callable[..., Path]
) -> None:
    """Descriptors go from one program to the next, whoever that is; one host's trouble is not another's."""
    hosts = {
        "twice.example": DOUBLES.command(tmp_path),
        "halves.example": DOUBLES._replace(manner="halves", work=0).command(tmp_path),
        "leaves.example": LEAVING["leaves"](tmp_path),
        "closes.example": LEAVING["closes stdin, answers in halves, leaves"](tmp_path),
        "good.example": HONEST["C"](tmp_path),
    }
    file = configure(
        pool_size=2,
        answer_timeout=30,
        max_requests=0,
        hosts={name: {"program": list(program)} for name, program in hosts.items()},
    )
    bridge = start("run", file, env=journal.environment)
    lines = [line.replace(b"example.com", dice.choice([*hosts]).encode()) for line in doubling_lines(100, dice)]
    verdicts = verdicts_of(bridge.converse(lines, in_flight=64))
    bridge.finish()
    assert tally(lines, verdicts, journal).wrong == 0
    for line, verdict in zip(lines, verdicts, strict=True):
        if b"twice.example" not in line and b"halves.example" not in line:
            assert verdict == oracle.best_answer(line), line


def test_one_clients_second_reply_is_not_another_clients(
    serve: Callable[..., Daemon], journal: Journal, tmp_path: Path, dice: random.Random
) -> None:
    """One logs in rightly, to an account that is replied to twice; the others guess."""
    file = tmp_path / "auth.toml"
    program = list(DOUBLES.command(tmp_path))
    file.write_text(f"pool_size = 2\nanswer_timeout = 30.0\nmax_requests = 0\nprogram = {json.dumps(program)}\n")
    daemon = serve(file=file, env=journal.environment)
    assert ask(daemon.connect(), b"isuser:u:h") == b"1\n"
    right = [b"auth:twice-u%d:h:pw-twice-u%d" % (number, number) for number in range(60)]
    guesses = [[b"auth:u%d-%d:h:hunter2-%d" % (mine, number, number) for number in range(300)] for mine in range(3)]
    answers: dict[int, list[str]] = {}

    def guesser(mine: int) -> None:
        answers[mine] = verdicts_of(converse(daemon.connect(), guesses[mine], 4 + 4 * mine))

    threads = [threading.Thread(target=guesser, args=(mine,)) for mine in range(3)]
    for thread in threads:
        thread.start()
    converse(daemon.connect(), right, 2)
    for thread in threads:
        thread.join()
    assert [answers.get(mine) for mine in range(3)] == [["0"] * 300] * 3
    found = tally([], [], journal)
    assert found.second >= 60
    assert found.uncaught == 0, found


# --- one question by hand ------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["yes read stay", "yes_first read yes_last stay", "header yes rest stay", "yes leave"])
def test_ask_believes_no_early_reply(journal: Journal, what: str) -> None:
    program = (command("python3", "python3"), "-I", "-S", "-B", str(PROGRAMS / "steps.py"), *what.split())
    done = subprocess.run(
        [*COMMAND, "ask", "auth", "u@h", "--answer-timeout", "2", "--", *program],
        input=b"guess\n",
        capture_output=True,
        timeout=30,
        check=False,
        env=environment(journal.environment),
        cwd=ROOT,
    )
    assert done.returncode == 1
    assert b"granted" not in done.stdout


# --- the log -------------------------------------------------------------------------------------------------


def said(bridge: Bridge) -> list[str]:
    """The log's lines about second replies."""
    return [
        line for line in bytes(bridge.log).decode().splitlines() if re.search(r"second|twice |two repl", line, re.I)
    ]


@pytest.mark.parametrize("verdict", ["1", "0"])
@pytest.mark.parametrize("question", ["auth", "isuser"])
@pytest.mark.parametrize("manner", ["whole", "halves", "together", "straddle"])
def test_log_names_pool_program_command_and_verdict(
    start: Start, tmp_path: Path, configure: Callable[..., Path], manner: str, question: str, verdict: str
) -> None:
    """What brought two replies, so that its author can look for it; never the secret, neither question's."""
    program = Doubles(manner, 1, 1, 0, 300).command(tmp_path)
    file = configure(hosts={"chat.example": {"program": list(program)}}, pool_size=1, answer_timeout=10, max_requests=0)
    bridge = start("run", file)
    name = b"twice-u7" if verdict == "1" else b"twice-no7"
    secret = b":" + b"pw-" + name if question == "auth" else b""
    assert bridge.ask(b"isuser:u:chat.example").verdict == "1"
    line = question.encode() + b":" + name + b":chat.example" + secret
    bridge.send(line + b"\n" + b"auth:u8:chat.example:hunter2\n" * 3)
    assert [answer.verdict for answer in bridge.wait_for_answers(5)[2:]] == ["0"] * 3
    bridge.until(lambda: said(bridge), "the second reply in the log", 5)
    bridge.finish()
    told = " ".join(said(bridge))
    assert "chat.example" in told
    assert Path(program[0]).name in told
    assert question in told
    assert re.search(r"\b(1|yes|granted|true)\b" if verdict == "1" else r"\b(0|no|denied|false)\b", told)
    for word in (b"pw-twice", b"hunter2"):
        assert word not in bridge.log


def test_log_of_many_second_replies_is_short(start: Start, tmp_path: Path, dice: random.Random) -> None:
    bridge = start(*RUN, "--", *DOUBLES.command(tmp_path))
    lines = doubling_lines(100, dice)
    bridge.converse(lines, in_flight=16)
    bridge.finish()
    assert said(bridge)
    assert len(bridge.log.splitlines()) < 250
    secrets = [line.split(b":")[3] for line in lines if line.startswith(b"auth")]
    assert not [secret for secret in secrets if re.search(rb"\b" + re.escape(secret) + rb"\b", bridge.log)]


# --- a user who has used up what the kernel allows for pipes --------------------------------------------------

HOARD = """
import fcntl, os, sys
kept = []
try:
    while True:
        ends = os.pipe()
        kept.append(ends)
        fcntl.fcntl(ends[0], fcntl.F_SETPIPE_SZ, 1 << 20)
except PermissionError:
    pass
print("full", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def hoarder() -> Iterator[tuple[list[str], Callable[[], None]]]:
    """What makes a command another user's, whose pipe budget is used up; and what gives it back."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to become a user whose pipes are all known")
    user = as_somebody_else()
    words = [
        command("prlimit", "util-linux"),
        "--nofile=20000:20000",
        *user,
        command("python3", "python3"),
        "-c",
        HOARD,
    ]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == b"full\n"

        def release() -> None:
            assert process.stdin is not None
            process.stdin.close()
            process.wait()

        yield user, release
        process.stdin.close()


def test_pipe_budget_is_used_up(start: Start, hoarder: tuple[list[str], Callable[[], None]], tmp_path: Path) -> None:
    """Small questions work as ever; a large one is unavailable, and no program is killed for it."""
    user, release = hoarder
    os.chmod(tmp_path, 0o755)
    bridge = start(
        *("run", "--pool-size", 2, "--answer-timeout", 2, "--max-line", 32767, "--max-requests", 0),
        *("--", compiled(tmp_path, "pieces"), "exactly", "1", "0"),
        command=[*user, *COMMAND],
    )
    small = [b"auth:u%d:h:%s" % (n, b"pw-u%d" % n if n % 3 else b"guess") for n in range(300)]
    large = b"isuser:u:" + b"h" * 32000
    expected = [oracle.best_answer(line) for line in small]
    bridge.ask(small[0])
    programs = bridge.wait_for_programs(2)
    assert verdicts_of(bridge.converse(small, in_flight=16)) == expected
    for size in (4000, 4094, 4095, 4096, 8190, 9000, 16000, 32000):
        bridge.ask(lengthened(b"isuser:u:example.com", size))  # whichever answer, the program stays
        assert verdicts_of(bridge.converse(small, in_flight=16)) == expected
        assert set(programs) <= set(bridge.programs())
    begun = time.monotonic()
    assert verdicts_of(bridge.converse([large] * 8)) == ["0"] * 8
    assert time.monotonic() - begun < 5
    assert set(programs) <= set(bridge.programs())
    release()
    bridge.until(lambda: bridge.ask(large).verdict == "1", "room for a large question", 30)
    assert set(programs) <= set(bridge.programs())
    bridge.finish()


def test_default_questions_within_the_budgets_rest(
    start: Start, hoarder: tuple[list[str], Callable[[], None]], tmp_path: Path, dice: random.Random
) -> None:
    """And second replies are caught there as well."""
    user, _ = hoarder
    journal_folder = tmp_path / "own"
    journal_folder.mkdir()
    for folder in (tmp_path, journal_folder):
        os.chmod(folder, 0o777)
    journal = Journal(journal_folder / "events")
    doubles = Doubles("whole", 2, 16, 500, 60)
    bridge = start(
        *("run", "--pool-size", 2, "--answer-timeout", 30, "--max-requests", 0, "--", *doubles.command(tmp_path)),
        command=[*user, *COMMAND],
        env=journal.environment,
    )
    lines = doubling_lines(30, dice)
    verdicts = verdicts_of(bridge.converse(lines, in_flight=16))
    bridge.finish()
    assert any(map(is_double, lines))
    tally(lines, verdicts, journal).check()
