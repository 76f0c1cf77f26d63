"""Programs that speak Prosody's lines, in the pool: what the bridge promises for ejabberd's holds for them as well.

Every line's truth is known, and the right answers have no pattern: a `1` to a wrong one is another question's answer.
"""

import json
import random
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from support import canary
from support.daemon.serving import Daemon, ask
from support.process import COMMAND, ROOT, Bridge, environment
from support.programs import oracle
from support.programs.bad import CHAMELEON, GENERIC, Journal, habit, line_habit, style
from support.programs.replies import honest_lines, verdicts_of

from .conftest import Start
from .test_replies_hostile import trouble

CLEAN = ("py", "pl", "php", "js", "rb", "sh", "lua", "c", "go")
HONEST = (
    *("good", "crlf", "bare", "with_next", "before_next", "before_next 20", "late_end", "late_end 10", "late_end 60"),
    *("late_end 200", "late_crlf 10", "late_crlf 60", "forks", "forks 20", "forks_on 5", "exits", "exits_bare"),
)
NO_ANSWERS = (
    *("ten", "eleven", "blank_behind", "blank_before", "sign", "word_true", "word_ok", "nothing", "nul", "warned"),
    *("end_first", "two_ends", "two_digits", "contrary", "split", "frame", "repeats", "quotes", "banner", "prompt"),
    *("blank", "buffered"),
)
DOUBLE = (
    *("twice", "twice 10", "twice 45", "twice 60", "twice_bare", "twice_bare 10", "twice_bare 45", "twice_bare 60"),
    *("twice_bare 120", "stale", "stale_bare", "stale_end", "stale_end_line", "stale_pieces", "stale_pieces 10"),
    *("stale_pieces 60", "stale_straddle", "ahead", "ahead 60", "ahead_bare", "ahead_bare 20", "ahead_bare 60"),
)
HASTY = ("--answer-timeout", 1, "--start-timeout", 1, "--shutdown-grace", 0.2)
ALICE = b"auth:alice:example.com:pw-alice"


def lines_program(words: str) -> tuple[str, ...]:
    name, *number = words.split()
    return line_habit(name, *map(int, number))


def run(start: Start, program: Sequence[str], *options: object, journal: Journal | None = None) -> Bridge:
    words = ("--protocol", "generic", "--pool-size", 3, "--answer-timeout", 20, *options)
    return start("run", *words, "--", *program, env=journal.environment if journal else None)


def at(host: bytes, line: bytes) -> bytes:
    """The same question about a user of this host."""
    command, user, _, *secret = line.split(b":", 3)
    return b":".join((command, user, host, *secret))


class Kinds:
    """One bridge, and a host for each kind of program."""

    def __init__(
        self, start: Start, configure: Callable[..., Path], kinds: Mapping[str, Sequence[str]], **more: object
    ):
        self.hosts = {kind.replace(" ", "-").replace("_", "-").encode() + b".example": kind for kind in kinds}
        tables = {host.decode(): {"program": [*kinds[kind]]} for host, kind in self.hosts.items()}
        self.bridge = start("run", configure(protocol="generic", hosts=tables, max_requests=0, **more))

    def converse(self, dice: random.Random, each: int, in_flight: int) -> dict[str, list[tuple[bytes, str]]]:
        """Lines for all hosts, and the answers, by kind."""
        lines = [at(host, line) for host in self.hosts for line in honest_lines(each, dice)]
        dice.shuffle(lines)
        answers = verdicts_of(self.bridge.converse(lines, in_flight=in_flight, seconds=120))
        self.bridge.finish()
        found: dict[str, list[tuple[bytes, str]]] = {}
        for line, answer in zip(lines, answers, strict=True):
            found.setdefault(self.hosts[line.split(b":")[2]], []).append((line, answer))
        return found


def wrong(found: Mapping[str, list[tuple[bytes, str]]], *, grants: bool) -> dict[str, list[bytes]]:
    """Wrong answers by kind: grants, or those that are not the best."""
    told = {
        kind: [line for line, answer in pairs if answer != oracle.best_answer(line) and (answer == "1" or not grants)]
        for kind, pairs in found.items()
    }
    return {kind: lines for kind, lines in told.items() if lines}


# --- honest programs ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_programs_as_people_write_them(
    start: Start, configure: Callable[..., Path], tmp_path: Path, dice: random.Random
) -> None:
    programs = {suffix: style(f"clean.{suffix}", tmp_path, of=GENERIC) for suffix in CLEAN}
    kinds = Kinds(start, configure, programs, pool_size=2, answer_timeout=20.0)
    assert wrong(kinds.converse(dice, 100, 36), grants=False) == {}
    assert b"program failed" not in kinds.bridge.log


@pytest.mark.slow
def test_wherever_its_line_ends_are(start: Start, configure: Callable[..., Path], dice: random.Random) -> None:
    """None, late ones, and those that come with the next answer: nobody is refused."""
    programs = {kind: lines_program(kind) for kind in HONEST}
    kinds = Kinds(start, configure, programs, pool_size=2, answer_timeout=20.0)
    assert wrong(kinds.converse(dice, 14, 32), grants=False) == {}
    assert b"wrote something that is not a reply" not in kinds.bridge.log


@pytest.mark.parametrize("kind", ["good", "bare"])
def test_answers_count(start: Start, journal: Journal, dice: random.Random, kind: str) -> None:
    bridge = run(start, line_habit(kind), "--max-requests", 0, journal=journal)
    lines = honest_lines(20, dice, (0, 0, 900))
    answers = verdicts_of(bridge.converse(lines, in_flight=12))
    assert answers == [oracle.best_answer(line) for line in lines]
    bridge.finish()
    assert sorted(journal.frames()) == sorted(lines), "something was asked again"
    assert b"program failed" not in bridge.log, bridge.tail()


# --- what is no answer, and answers too many ----------------------------------------------------------------


@pytest.mark.slow
def test_what_is_no_answer_grants_nothing(start: Start, configure: Callable[..., Path], dice: random.Random) -> None:
    """Most of these say 1 to everything, with something wrong about it."""
    programs = {kind: lines_program(kind) for kind in NO_ANSWERS}
    programs["flood"] = ("/bin/sh", "-c", "while :; do printf 1; done")
    programs["tickles"] = ("/bin/sh", "-c", "while :; do printf 1; sleep 0.06; done")
    kinds = Kinds(start, configure, programs, pool_size=1, answer_timeout=2.0, start_timeout=2.0)
    assert wrong(kinds.converse(dice, 10, 240), grants=True) == {}


@pytest.mark.slow
def test_no_answer_is_another_question_s(start: Start, configure: Callable[..., Path], dice: random.Random) -> None:
    """Each of these answers each question twice, the second time with yes; or before it is asked."""
    programs = {kind: lines_program(kind) for kind in DOUBLE}
    kinds = Kinds(start, configure, programs, pool_size=2, answer_timeout=3.0)
    assert wrong(kinds.converse(dice, 9, 120), grants=True) == {}


@pytest.mark.parametrize("kind", ["two_ends", "twice", "stale_end"])
def test_wrong_ones_are_not_granted(start: Start, dice: random.Random, kind: str) -> None:
    bridge = run(start, line_habit(kind), "--answer-timeout", 1, "--start-timeout", 1)
    lines = honest_lines(12, dice)
    answers = verdicts_of(bridge.converse(lines, in_flight=12))
    bridge.finish()
    assert [line for line, answer in zip(lines, answers, strict=True) if answer == "1" and not oracle.truth(line)] == []


@pytest.mark.slow
def test_nor_when_everything_stops_at_any_moment(
    start: Start, configure: Callable[..., Path], dice: random.Random
) -> None:
    programs = {kind: lines_program(kind) for kind in DOUBLE if "stale" in kind or "ahead" in kind}
    kinds = Kinds(start, configure, programs, pool_size=2, answer_timeout=3.0)
    with trouble(kinds.bridge.pid, dice, kills=True, stops=True):
        found = kinds.converse(dice, 9, 60)
    assert wrong(found, grants=True) == {}


# --- the pool's protections ----------------------------------------------------------------------------------


def test_a_hung_program_goes_with_its_children(start: Start, journal: Journal) -> None:
    bridge = run(start, line_habit("by_user"), "--pool-size", 2, "--answer-timeout", 1, journal=journal)
    assert bridge.ask(ALICE).verdict == "1"
    assert bridge.ask(b"auth:hang-u:example.com:pw-hang-u").verdict == "0"
    (hung,) = journal.pids("hangs")
    bridge.wait_for_deaths([hung])
    assert bridge.ask(ALICE).verdict == "1"
    bridge.finish()
    assert journal.frames().count(b"auth:hang-u:example.com:pw-hang-u") == 1


def test_whole_groups_are_killed(start: Start) -> None:
    bridge = run(start, line_habit("hangs_with_child"), "--pool-size", 1, *HASTY)
    before = bridge.wait_for_programs(1)
    assert bridge.ask(ALICE).verdict == "0"
    bridge.wait_for_deaths(before)
    bridge.finish()


def test_what_dies_of_a_question_is_not_asked_it_again_and_again(start: Start, journal: Journal) -> None:
    """Asked of two programs, and then suspect: others are answered well meanwhile."""
    bridge = run(start, line_habit("by_user"), "--pool-size", 2, journal=journal)
    poison = b"auth:die-u:example.com:pw-die-u"
    bridge.until(lambda: bridge.ask(ALICE).verdict == "1", "a program")
    for _ in range(12):
        lines = [*[b"isuser:u%d:example.com" % number for number in range(20)], poison]
        assert bridge.converse(lines)[-1].verdict == "0"
    bridge.finish()
    assert journal.frames().count(poison) <= 12, "each time of two, at most until others have been answered"


def test_programs_are_renewed(start: Start, journal: Journal) -> None:
    bridge = run(start, line_habit("bare"), "--pool-size", 1, "--max-requests", 3, journal=journal)
    assert set(verdicts_of(bridge.converse([ALICE] * 8, in_flight=1))) == {"1"}
    bridge.finish()
    assert len(journal.pids("reply")) >= 2
    assert b"program failed" not in bridge.log


@pytest.mark.parametrize("kind", ["garbage", "tells"])
def test_no_secret_is_logged(start: Start, kind: str) -> None:
    """Neither from stderr nor from what it writes instead of an answer."""
    bridge = run(start, line_habit("by_user"))
    assert bridge.ask(ALICE).verdict == "1"
    for secret in (canary.CANARY, "two  blanks", "with:colons"):
        bridge.ask(f"auth:{kind}-u:example.com:{secret}".encode())
    bridge.until(lambda: b"***" in bridge.log, "the masks in the log")
    bridge.finish()
    for word in (canary.CANARY.encode(), b"two  blanks", b"with:colons"):
        assert word not in bridge.log


def test_what_some_programs_take_for_two_lines_reaches_none(start: Start, journal: Journal) -> None:
    """Node.js ends a line at U+2028, and a program with a small buffer where that is full."""
    bridge = run(start, line_habit("by_user"), journal=journal)
    for end in ("\u2028", "\u2029", "x" * 980):
        assert bridge.ask(b"auth:bob:example.com:" + end.encode() + ALICE).verdict == "0"
        assert bridge.ask(b"isuser:bob" + end.encode() + b":example.com").verdict == "0"
    assert bridge.ask(ALICE).verdict == "1"
    bridge.finish()
    assert journal.frames() == [ALICE]


def test_no_stranger_sets_a_password_through_a_small_buffer(start: Start, journal: Journal) -> None:
    """To a program that reads 255 bytes at a time, what is behind them is a question."""
    bridge = run(start, line_habit("fgets", 256), journal=journal)
    for question in (b"setpass:alice:example.com:pw", b"SETPASS:alice::pw", b"removeuser:alice", b"isuser:alice:h"):
        assert bridge.ask(b"auth:bob:example.com:".ljust(255, b"x") + question).verdict == "0"
    assert bridge.ask(ALICE).verdict == "1"
    bridge.finish()
    assert len(journal.pids("start")) == 3, "none was asked, so none had to be killed"
    assert bridge.log.count(b"possible injection") == 4


def test_a_change_is_never_made_twice(start: Start, journal: Journal) -> None:
    bridge = run(start, line_habit("by_user"), "--pool-size", 2, journal=journal)
    assert bridge.ask(ALICE).verdict == "1"
    assert bridge.ask(b"setpass:die-u:example.com:new").verdict == "0"
    bridge.finish()
    assert sum(frame.startswith(b"setpass") for frame in journal.frames()) == 1


def test_a_probe_finds_what_answers_nothing(start: Start, journal: Journal) -> None:
    bridge = run(start, line_habit("bare"), "--probe", "probe@example.com", "--pool-size", 2, journal=journal)
    bridge.until(lambda: len(journal.events("reply")) >= 2, "both to be probed")
    assert {event.body for event in journal.events("reply")} == {b"isuser:probe:example.com"}
    assert bridge.ask(ALICE).verdict == "1"
    bridge.finish()


# --- both protocols in one place ------------------------------------------------------------------------------


@pytest.mark.slow
def test_hosts_of_both_kinds(
    start: Start, configure: Callable[..., Path], journal: Journal, dice: random.Random
) -> None:
    file = configure(
        pool_size=2,
        answer_timeout=20.0,
        max_requests=7,
        program=[*CHAMELEON],
        hosts={
            "lines.example": {"program": [*line_habit("good")], "protocol": "generic"},
            "bare.example": {"program": [*line_habit("bare")], "protocol": "generic"},
            "double.example": {"program": [*line_habit("stale_bare")], "protocol": "generic"},
        },
    )
    bridge = start("run", file, env=journal.environment)
    names = [b"example.com", b"lines.example", b"bare.example", b"double.example"]
    lines = [at(dice.choice(names), line) for line in honest_lines(80, dice)]
    answers = verdicts_of(bridge.converse(lines, in_flight=24))
    bridge.finish()
    for line, answer in zip(lines, answers, strict=True):
        if b"double.example" not in line:
            assert answer == oracle.best_answer(line), line
        elif answer == "1":
            assert oracle.truth(line), line


@pytest.mark.slow
@pytest.mark.parametrize("first", ["generic", "ejabberd"])
def test_a_reload_from_one_protocol_to_the_other(serve: Callable[..., Daemon], tmp_path: Path, first: str) -> None:
    file = tmp_path / "auth.toml"
    programs = {"generic": line_habit("good"), "ejabberd": CHAMELEON}

    def write(protocol: str, program: str) -> None:
        text = f"program = {json.dumps([*programs[program]])}\nprotocol = {json.dumps(protocol)}\n"
        times = "answer_timeout = 3.0\nstart_timeout = 1.0\nshutdown_grace = 0.2\n"
        file.write_text(f"pool_size = 2\nprobe = 'p@example.com'\n{times}{text}")

    second = "ejabberd" if first == "generic" else "generic"
    write(first, first)
    daemon = serve(file=file)
    client = daemon.connect()
    assert ask(client, ALICE) == b"1\n"
    write(second, first)  # a program that cannot answer in it: refused
    daemon.reload()
    assert daemon.log.read_text().count("configuration refused") == 1
    assert ask(client, ALICE) == b"1\n"
    write(second, second)
    daemon.reload()
    assert daemon.log.read_text().count("configuration refused") == 1
    assert ask(client, ALICE) == b"1\n"
    assert ask(client, b"auth:alice:example.com:hunter2") == b"0\n"


@pytest.mark.parametrize(("said", "other"), [("ejabberd", "generic"), ("generic", "ejabberd")])
def test_the_log_guesses_at_the_wrong_protocol(start: Start, said: str, other: str) -> None:
    """Neither program ever finds the end of what it takes for a question, so neither writes anything."""
    program = lines_program("good") if other == "generic" else habit("good")
    bridge = start("run", "--protocol", said, "--pool-size", 1, "--start-timeout", 1, "--", *program)
    bridge.send(b"isuser:alice:example.com\n")
    told = f"its protocol is {other}, not {said}".encode()
    bridge.until(lambda: told in bridge.log, "the guess")


# --- by hand ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("password", "said"), [("pw-alice", "granted"), ("hunter2", "denied")])
@pytest.mark.parametrize("words", ["good", "bare"])
def test_ask_by_hand(words: str, password: str, said: str) -> None:
    argv = [*COMMAND, "ask", "auth", "alice@example.com", "--protocol", "generic", "--", *lines_program(words)]
    done = subprocess.run(
        argv, input=f"{password}\n".encode(), capture_output=True, timeout=60, check=False, env=environment(), cwd=ROOT
    )
    assert (done.stdout, done.stderr) == (f"{said}\n".encode(), b"")


def test_bench_knows_what_a_digit_alone_costs() -> None:
    argv = [*COMMAND, "bench", "--json", "--seconds", "0.1", "--max-pool", "1", "--protocol", "generic"]
    done = subprocess.run(
        [*argv, "--", *line_habit("bare")], capture_output=True, timeout=60, check=True, env=environment(), cwd=ROOT
    )
    (size,) = json.loads(done.stdout)["sizes"]
    assert 5 < size["closed"]["queries_per_second"] <= 20
