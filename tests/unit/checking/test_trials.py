"""Each trial of `check` names the mistake it is made for, in a real process, and finds nothing in a correct one."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support.process import ROOT, environment
from support.programs.bad import PROGRAMS, habit, line_habit

from bridge.checking import accounts, content, course, endings, endurance, first, flow
from bridge.checking.findings import Finding, Level, recommended
from bridge.checking.lab import Account, Interrupted, Lab, duration
from bridge.config.load import load
from bridge.config.options import COMMANDS
from bridge.config.settings import ProgramSettings, Settings

Trial = Callable[[Lab], list[Finding]]
Case = tuple[Trial, Sequence[str], Sequence[str], Mapping[str, object]]
"""A trial, a program, what must be told, and options."""

ALICE = Account("alice", "example.com", b"pw-alice")
QUICK = {"answer_timeout": 1.0, "shutdown_grace": 0.5}
HURRIED = {**QUICK, "start_timeout": 4.0}
LINES = {"protocol": "generic"}
"""Seconds, for programs that let them pass."""

ASKED: Mapping[str, Any] = {"timeout": 60, "capture_output": True, "env": environment()}

AT_A_TIME = 6
"""Trials; most of them wait."""

LONGEST = 240.0
"""Seconds; reached only by a test that fails."""


@pytest.fixture(autouse=True, scope="module")
def on_a_busy_machine() -> Iterator[None]:
    """Where nobody waits for it, a thousand questions may take longer, and a loop gets less of a CPU."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(endurance, "BUDGET", LONGEST)
        patch.setattr(endings, "_BUSY", 0.01)
        yield


@pytest.fixture
def no_time_is_worth_telling(monkeypatch: pytest.MonkeyPatch) -> None:
    """For programs that have no mistake, and are not slow by themselves."""
    monkeypatch.setattr(first, "_SLOW", LONGEST)
    monkeypatch.setattr(first, "_WORTH_TELLING", LONGEST)


@pytest.fixture(autouse=True)
def at_home(monkeypatch) -> None:
    """Starting a program changes the working directory; change back after the test."""
    monkeypatch.chdir(os.getcwd())


def mistake(name: str, *numbers: int) -> tuple[str, ...]:
    return (sys.executable, "-I", "-S", "-B", str(PROGRAMS / "mistakes.py"), name, *map(str, numbers))


def lines(name: str, milliseconds: int = 0) -> tuple[str, ...]:
    return line_habit(name, milliseconds)


def lab(argv: Sequence[str], account: Account | None = None, **options: object) -> Lab:
    settings = load(None, {"pool_size": 2, **options}, argv)
    assert settings.program is not None
    made = Lab(settings.program, settings, "", account, changes=False)
    made.startup = 1.0  # as `first` would find it if the machine were busy
    return made


def beginning(of: Lab) -> list[Finding]:
    return first.first(of)[0]


def found(trial: Trial, of: Lab) -> str:
    """What is not ok, with what is to be done."""
    findings = [finding for finding in trial(of) if finding.level is not Level.OK]
    return "\n".join(
        f"{one.level.value} {one.grave} {one.seen} | {one.advice} | {dict(one.settings)}" for one in findings
    )


# fmt: off
MISTAKES: list[Case] = [
    (beginning, mistake("line_end"), ["deviates", "a line end behind the reply"], {}),
    (beginning, mistake("blank"), ["deviates", "a blank line before", "<?php"], {}),
    (beginning, mistake("mark"), ["deviates", "a byte order mark before"], {}),
    (beginning, habit("banner"), ["deviates", "PHP Warning: Module 'pdo'", "-d display_errors=stderr"], {}),
    (beginning, mistake("swapped"), ["deviates", "little-endian"], {}),
    (beginning, mistake("third"), ["deviates", "neither 1 nor 0", "00 02"], {}),
    (beginning, mistake("words"), ["deviates", "text instead of a reply: false"], {}),
    (beginning, mistake("behind"), ["deviates", "5 bytes behind the reply: done"], {}),
    (beginning, mistake("twice"), ["deviates", "a second reply"], {}),
    (beginning, habit("once", 3), ["deviates", "leaves after one reply (exit status 3"], {}),
    (beginning, habit("stillborn", 4), ["deviates", "ended before its first reply (exit status 4"], {}),
    (beginning, habit("needs_backend"), ["deviates", "exit status 1; its last words: cannot connect to the backend"],
     {"env": {"EXTAUTH_TEST_STATE": "/nonexistent"}}),
    (beginning, mistake("no_isuser"), ["isuser is not", "last words: isuser?", "'commands': ['auth', 'setpass']"], {}),
    (content.auth, mistake("everybody"), ["deviates True", "a random password of a user", "granted"], {}),
    (content.colons, mistake("unpacks_four"), ["deviates", "with colons: no reply, and it ended", "ValueError"], {}),
    (content.multibyte, mistake("characters"), ["deviates", "waits for 6 more bytes"], QUICK),
    (content.multibyte, mistake("ascii_only"), ["deviates", "multibyte secret: no reply, and it ended"], {}),
    (content.lengths, mistake("longest", 127), ["deviates", "128, 255, 256 bytes (it takes", "'max_line': 127"], {}),
    (content.lengths, mistake("longest", 200), ["deviates", "255, 256, 1000 bytes: ", "'max_line': 128"], {}),
    (content.lengths, mistake("longest", 1500), ["deviates", "2600, 4096, 8200 bytes", "'max_line': 1000"], {}),
    (content.lengths, mistake("longest", 4095), ["deviates", "4096, 8200, 32767 bytes", "'max_line': 2600"], {}),
    (content.lengths, mistake("longest", 8192), ["deviates", "8200, 32767 bytes", "leave max_line as it is"], {}),
    (content.unknown, mistake("silent_to_unknown"), ["deviates", "no reply within", "commands ="], QUICK),
    (content.unknown, mistake("agrees_to_unknown"), ["deviates True", "granted", "commands ="], {}),
    (content.unknown, habit("agrees"), ["deviates True", "a second reply"], {}),
    (flow.unasked, mistake("ahead"), ["deviates True", "a reply to nothing"], {}),
    (flow.unasked, mistake("blank"), ["deviates", "a blank line before"], {}),
    (flow.unasked, habit("stillborn"), ["deviates", "ended although its input is open"], {}),
    (flow.one_reply, habit("afterthought", 300), ["deviates True", "a second reply"], {}),
    (flow.two_writes, mistake("early"), ["deviates True", "before it has read the whole question"], {}),
    (flow.two_writes, mistake("one_read"), ["deviates", "cut in its middle: it replies to the first part"], {}),
    (flow.two_questions, habit("one_read"), ["note", "of two replies, one came"], QUICK),
    (endings.end_of_input, mistake("traceback_at_end"), ["note", "a traceback on stderr", "ValueError"], {}),
    (endings.end_of_input, habit("grandchild"), ["deviates", "something that it has started goes on"], {}),
    (endings.end_of_input, mistake("stray"), ["deviates", "something that it has started goes on"], {}),
    (endurance.in_a_row, habit("dies_after", 1000), ["deviates", "after 999 questions: no reply, and it ended",
                                                    "max_requests (500) has it replaced before", "{}"], {}),
    (endurance.in_a_row, habit("dies_after", 201), ["deviates", "after 200 questions", "'max_requests': 100"], {}),
    (endurance.in_a_row, habit("leaks_descriptors", 4096), ["deviates", "1100 more descriptors after 1100"], {}),
    (endurance.in_a_row, mistake("no_database"), ["deviates", "question 50 is denied", "'max_requests': 25"], {}),
    (endurance.in_a_row, mistake("grows"), ["note", "MB more after 1100 questions"], {}),
    (beginning, lines("bare"), ["note", "a digit each, ", "and no line end, ever", '"1\\n", in one write'], LINES),
    (beginning, lines("with_next"), ["note", "its line end comes with the next one only"], LINES),
    (beginning, lines("before_next", 5), ["note", "its line end comes with the next one only"], LINES),
    (beginning, lines("end_later", 90), ["note", "and its line end later"], LINES),
    (beginning, lines("end_later", 600), ["deviates", "its line end more than 0.25 s later", "in one write"], LINES),
    (beginning, lines("ten"), ["deviates True", "digits with no line end between them"], LINES),
    (beginning, lines("blank_behind"), ["deviates", "blanks behind the digit"], LINES),
    (beginning, lines("word_true"), ["deviates", "a word instead of a digit: true"], LINES),
    (beginning, lines("warned"), ["deviates", "text on stdout before the first reply: Warning: undef"], LINES),
    (beginning, lines("banner"), ["deviates", "text on stdout before the first reply: ready"], LINES),
    (beginning, lines("blank"), ["deviates", "a blank line before the first reply"], LINES),
    (beginning, lines("two_ends"), ["deviates", "more than one line end behind a digit"], LINES),
    (beginning, lines("contrary"), ["deviates True", "a second answer to one question"], LINES),
    (beginning, lines("twice", 100), ["deviates True", "a second answer to one question"], LINES),
    (beginning, lines("frame"), ["deviates", "speaks ejabberd's frames", "{'protocol': 'ejabberd'}"], LINES),
    (beginning, lines("exits", 0), ["deviates", "leaves after one reply (exit status 0"], LINES),
    (content.backslash, lines("unescapes"), ["deviates", "takes the next line for the rest", "IFS= read -r"],
     {**LINES, **QUICK}),
    (content.unknown, lines("silent_to_unknown"), ["deviates", "no reply within", "commands ="], {**LINES, **QUICK}),
    (beginning, lines("carriage_return"), ["deviates", "a carriage return behind the digit"], LINES),
    (beginning, lines("deaf"), ["deviates", "closed its stdin", "until they end"], LINES),
    (content.lengths, lines("fgets", 256), ["deviates True", "what follows byte 255", "'max_line': 254"], LINES),
    (content.lengths, lines("fgets", 65), ["deviates True", "what follows byte 64", "'max_line': 63"], LINES),
    (content.lengths, lines("fgets", 901), ["deviates True", "what follows byte 900", "'max_line': 899"], LINES),
    (content.multibyte, lines("latin"), ["deviates True", "is two lines to it"], LINES),
    (flow.unasked, lines("ahead"), ["deviates True", "a reply to nothing"], LINES),
    (flow.unasked, lines("ahead_bare"), ["deviates True", "a reply to nothing"], LINES),
    (flow.one_reply, lines("twice", 600), ["deviates True", "a second answer to one question"], LINES),
    (flow.one_reply, lines("twice_bare", 600), ["deviates True", "a second answer to one question"], LINES),
    (flow.two_writes, lines("chunks"), ["deviates", "cut after its command: it replies to the first part"], LINES),
    (flow.two_writes, lines("chunks", 400), ["deviates", "cut after its command: it replies to the first"], LINES),
    (flow.two_questions, lines("chunks"), ["note", "of two replies, one came"], {**LINES, **QUICK}),
]
SLOW: list[Case] = [
    (beginning, mistake("short"), ["deviates", "3 bytes that are no reply: 00 01 00"], {}),
    (beginning, mistake("unflushed"), ["deviates", "replies only when its input ends", "flush"], HURRIED),
    (beginning, mistake("lines"), ["deviates", "generic protocol", "with a digit |", "{'protocol': 'generic'}"], {}),
    (beginning, mistake("lines_without_end"), ["deviates", "generic protocol", "without a line end"], {}),
    (beginning, mistake("lines_unflushed"), ["deviates", "generic protocol", "when its input ends"], HURRIED),
    (beginning, lines("buffered"), ["deviates", "when its input ends: its output is buffered", "python3 -u"],
     {**LINES, **HURRIED}),
    (beginning, lines("frames"), ["deviates", "it speaks ejabberd's protocol", "leave protocol out", "'ejabberd'"],
     {**LINES, **HURRIED}),
    (beginning, habit("silent"), ["deviates", "no reply to its first question within start_timeout (4 s)"], HURRIED),
    (beginning, habit("deaf"), ["deviates", "closed its stdin"], HURRIED),
    (beginning, habit("starts_slowly", 4000), ["note", "after its start", "pool_size"], {}),
    (beginning, habit("good", 600), ["note", "a reply takes"], {}),
    (endings.end_of_input, habit("ignores_end"), ["deviates", "stays 1.5 s after the end of its input"], QUICK),
    (endings.end_of_input, habit("spins"), ["deviates", "keeps a CPU busy"], QUICK),
    (endings.terminated, habit("ignores_term"), ["deviates", "does not end within 1.5 s of SIGTERM"], QUICK),
    (content.lengths, mistake("line_feed"), ["deviates", "2600 bytes (2560 to 2815", "'max_line': 2559"], QUICK),
]
WITH_ACCOUNT = [
    (accounts.credentials, habit("denies"), ["the password: denied", "type it again"]),
    (accounts.cut_at_colon, mistake("colon"), ["deviates True", "colon and anything behind it is granted"]),
    (accounts.all_of_it, mistake("eight"), ["deviates True", "with something behind it is granted"]),
    (accounts.order, mistake("remembers"), ["deviates True", "a wrong password behind the right one: granted"]),
    (accounts.cut_at_colon, lines("colon"), ["deviates True", "colon and anything behind it is granted"]),
    (accounts.verbatim, lines("strips"), ["deviates", "with a blank behind it is granted", "chomp"]),
    (accounts.verbatim, lines("drops_colon"), ["deviates", "with a colon behind it is granted", "IFS= read -r line"]),
    (accounts.credentials, lines("no_after_yes"), ["deviates True", "a second answer to one question", "exactly once"]),
    (accounts.verbatim, lines("unescapes"), ["deviates", "with a backslash in it is granted", "IFS= read -r"]),
]
# fmt: on


def named(case: Case) -> str:
    return "-".join((case[0].__name__, *case[1][5:]))


@pytest.fixture(scope="module")
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        yield pool


@pytest.fixture(scope="module")
def tried(threads: ThreadPoolExecutor, request: pytest.FixtureRequest) -> dict[int, Future[str]]:
    """What is found by each case that was chosen; all are begun with the first."""
    chosen = [item.callspec.params["case"] for item in request.session.items if is_case(item)]
    return {id(case): threads.submit(found, case[0], lab(case[1], **case[3])) for case in chosen}


def is_case(item: object) -> bool:
    return "case" in getattr(getattr(item, "callspec", None), "params", {})


@pytest.mark.parametrize("case", [*MISTAKES, *(pytest.param(case, marks=pytest.mark.slow) for case in SLOW)], ids=named)
def test_a_mistake_is_named(case: Case, tried: dict[int, Future[str]]) -> None:
    text = tried[id(case)].result(LONGEST)
    for word in case[2]:
        assert word in text


def test_the_likely_cause_of_a_start_that_fails_is_named(tmp_path: Path) -> None:
    script = tmp_path / "auth.py"
    script.write_text("import sys\n")
    script.chmod(0o755)
    text = found(lambda of: [*course.tried(of)], lab([str(script)]))
    assert "Exec format error (it has no #! line, which names its interpreter) | give it one" in text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "1 ms"), (0.0207, "21 ms"), (0.1, "0.1 s"), (9.44, "9.4 s"), (15.0, "15 s"), (120, "120 s")],
)
def test_times_are_told_as_exactly_as_a_person_wants_to_know_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_program_that_must_be_alone(tmp_path: Path) -> None:
    text = found(flow.side_by_side, lab(habit("alone"), env={"EXTAUTH_TEST_STATE": str(tmp_path)}))
    for word in ("deviates", "must be alone", "SIGTERM", "'pool_size': 1"):
        assert word in text


@pytest.mark.parametrize(("trial", "program", "words"), WITH_ACCOUNT)
def test_an_account_tells_more(trial: Trial, program: Sequence[str], words: Sequence[str]) -> None:
    options = LINES if program[-3].endswith("lines.py") else {}
    text = found(trial, lab(program, ALICE, **options))
    for word in words:
        assert word in text
    assert "pw-alice" not in text


def test_one_reply_too_many_is_not_taken_for_a_lost_database() -> None:
    assert not found(endurance.in_a_row, lab(lines("no_after_yes"), ALICE, **LINES))


@pytest.mark.usefixtures("no_time_is_worth_telling")
@pytest.mark.parametrize("kind", ["ejabberd", "lines", pytest.param("crlf", marks=pytest.mark.slow)])
def test_nothing_is_found_in_a_correct_program(threads: ThreadPoolExecutor, kind: str) -> None:
    trials = [beginning, flow.side_by_side, *course.ANYBODY, *course.WITH_ACCOUNT]
    of = lab(habit("good"), ALICE)
    if kind != "ejabberd":
        of = lab(lines("good" if kind == "lines" else "crlf"), ALICE, **LINES)
        trials += [content.backslash, accounts.verbatim]
    assert [*threads.map(lambda trial: found(trial, of), trials)] == [""] * len(trials)


@pytest.mark.slow
@pytest.mark.usefixtures("no_time_is_worth_telling")
@pytest.mark.parametrize("kind", ["bare", "with_next", "end_later"])
def test_where_line_ends_are_has_no_other_trial_fail(threads: ThreadPoolExecutor, kind: str) -> None:
    late = kind == "end_later"
    trials = [flow.side_by_side, *course.ANYBODY, *course.WITH_ACCOUNT, content.backslash, accounts.verbatim]
    of = lab(lines(kind, 60 * late), ALICE, **LINES)
    assert found(beginning, of).startswith("note")
    quick = [trial for trial in trials if not late or trial is not endurance.in_a_row]
    assert [*threads.map(lambda trial: found(trial, of), quick)] == [""] * len(quick)


@pytest.mark.slow
@pytest.mark.parametrize("asked_in", ["ejabberd", "generic"])
def test_the_other_trials_are_made_in_the_protocol_that_it_speaks(asked_in: str) -> None:
    speaks = "generic" if asked_in == "ejabberd" else "ejabberd"
    of = lab(lines("good") if speaks == "generic" else habit("good"), protocol=asked_in)
    findings = [*course.tried(of)]
    assert [one.trial for one in findings if one.level is Level.DEVIATES] == ["protocol"]
    assert recommended(findings) == {"protocol": speaks}
    assert "many in a row" in {one.trial for one in findings}


def bundled(tmp_path: Path) -> tuple[Settings, ProgramSettings]:
    """The bundled program, with Alice's account."""
    program = (sys.executable, "-m", "bridge.programs.sqlite", str(tmp_path / "users.db"))
    passwords = b"pw-alice\npw-alice\n"
    subprocess.run([*program, "adduser", "alice@example.com"], check=True, input=passwords, **ASKED)
    options = {"commands": [*COMMANDS], "env": {"PYTHONPATH": str(ROOT)}, "answer_timeout": LONGEST}  # for its hashes
    settings = load(None, options, program)
    assert settings.program is not None
    return settings, settings.program


def test_a_mistyped_password_does_not_become_the_accounts(tmp_path: Path) -> None:
    settings, program = bundled(tmp_path)
    mistyped = Account("alice", "example.com", b"pw-alcie")
    first, *_ = accounts.changes(Lab(program, settings, "", mistyped, changes=True))
    assert first.seen.startswith("not tried: this password is not granted")
    assert not found(accounts.credentials, Lab(program, settings, "", ALICE, changes=False))


def test_an_account_is_asked_about_at_its_own_host() -> None:
    """Its program may serve others, named before, where somebody else has the same name."""
    settings = load(None, {}, habit("good"))
    assert settings.program is not None
    of = Lab(settings.program, settings, "other.example", ALICE, changes=False)
    assert of.account_auth(b"x") == b"auth:alice:example.com:x"


@pytest.mark.slow
def test_changes_leave_everything_as_it_was(tmp_path: Path) -> None:
    settings, program = bundled(tmp_path)
    findings = accounts.changes(Lab(program, settings, "", ALICE, changes=True))
    assert [(one.trial, one.level) for one in findings] == [("setpass", Level.OK), ("changes", Level.OK)]
    assert subprocess.run([*program.argv, "listusers"], check=True, **ASKED).stdout == b"alice@example.com\n"
    assert not found(accounts.credentials, Lab(program, settings, "", ALICE, changes=False))


def test_changes_that_do_not_work_are_told() -> None:
    of = lab(habit("good"), ALICE, commands=[*COMMANDS])
    assert "deviates" in found(accounts.changes, of)
    assert "it takes --account" in found(accounts.changes, lab(habit("good")))


@pytest.mark.parametrize("secret", [b"two  spaces", b" at-the-edges ", b"a\ttab"])
def test_secrets_with_spaces_are_not_shown(secret: bytes) -> None:
    of = lab(habit("good"), Account("alice", "example.com", secret))
    assert of.shown(b"login\n\tof  alice with " + secret + b" at\r\nnoon") == "login of alice with *** at noon"


@pytest.mark.parametrize("way", ["tells_before", "tells_after", "tells_in_pieces", "tells_parts", "tells_late"])
def test_secrets_on_stderr_are_named_and_not_shown(way: str) -> None:
    of = lab(habit(way, 20), commands=["auth"])
    content.colons(of)
    endings.end_of_input(of)
    line = of.leaks()
    assert line is not None
    assert "***" in of.shown(line)


def test_other_words_on_stderr_are_no_secrets() -> None:
    of = lab(habit("floods", 8), ALICE)
    content.auth(of)
    assert of.chatter()
    assert of.leaks() is None


def test_nothing_is_left_when_a_check_is_stopped() -> None:
    of = lab(habit("ignores_both"))
    with of.ready() as program:
        of.stop()
        assert program.ends_within(10)
    with pytest.raises(Interrupted), of.start():
        pass


def test_what_may_not_be_killed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_pid: int, _number: int) -> None:
        raise PermissionError

    of = lab(habit("ignores_both"))
    with monkeypatch.context() as changed:
        changed.setattr(os, "killpg", refuse)
        with of.ready() as program:
            pass
    os.killpg(program.pid, signal.SIGKILL)
    os.waitpid(program.pid, 0)
    assert of.left == [program.pid]
    text = found(lambda of: [*course.at_last(of)], of)
    assert "may not be killed" in text
    assert str(program.pid) in text
