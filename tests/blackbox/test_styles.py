"""Programs as people write them, in each language a good one and others with the flaws that real ones have.

`check` finds the flaw, no other, and recommends settings; the bridge, with these, answers whatever the program can
answer, and grants nothing wrong unless the program itself does.
"""

import itertools
import json
import subprocess
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import pytest
from support.process import COMMAND, ROOT, Bridge, environment
from support.programs import oracle
from support.programs.backend import backend
from support.programs.bad import GENERIC, style
from support.programs.bad import STYLES as EJABBERD

from .conftest import Start

pytestmark = pytest.mark.slow

AT_A_TIME = 6
"""Checks; most of the time they wait."""

ALICE = b"auth:alice:example.com:pw-alice"
SPECIAL = {
    "unknown command": b"nosuchcommand:alice:example.com:x",
    "wrong behind a colon": b"auth:alice:example.com:pw-alice:more",
    "multibyte": "auth:jürgen:example.com:pw-jürgen".encode(),
    "multibyte, wrong": "auth:alice:example.com:pw-alicé".encode(),
    "200 bytes": b"auth:%s:example.com:pw-%s" % ((b"a" * 90,) * 2),
    "2600 bytes": b"auth:%s:example.com:pw-%s" % ((b"a" * 1290,) * 2),
    "4000 bytes, wrong": b"auth:alice:example.com:".ljust(4000, b"x"),
}
"""Questions that not every program can answer, by what is special; the others are short and plain."""

NONE: Mapping[str, str] = MappingProxyType({})


class Style(NamedTuple):
    """A program of tests/programs/styles, or of tests/programs/generic.

    Attributes:
      name: its file, and its arguments behind that.
      finds: what `check` finds that is not well: for each trial words of what it says.
      settings: what it recommends.
      answers: special questions whose answer is not the right one, with that answer.
      answer_timeout: seconds; short where one of them makes it hang.
      questions: how many plain ones are asked. Some flaws take a thousand to show; and if there are more than for two
        renewals, which are made at once, further ones have to wait for a second each.
      protocol: which one it speaks.
    """

    name: str
    finds: Mapping[str, str] = NONE
    settings: Mapping[str, object] = MappingProxyType({})
    answers: Mapping[str, str] = NONE
    answer_timeout: float = 30
    questions: int = 100
    protocol: str = "ejabberd"

    def command(self, folder: Path) -> tuple[str, ...]:
        name, *words = self.name.split()
        of = GENERIC if self.protocol == "generic" else EJABBERD
        return style(name, folder, *(word.replace("FOLDER", str(folder)) for word in words), of=of)


NO_REPLY = "no reply within"
STYLES = (
    *(Style(f"clean.{suffix}") for suffix in ("py", "pl", "php", "js", "go", "c", "rb", "sh")),
    # Python
    Style("characters.py", {"multibyte": "it counts characters instead of bytes", "lengths": "part of a character"},
          {"max_line": 127}, {"multibyte": "0", "200 bytes": "0", "2600 bytes": "0"}, answer_timeout=1.5),
    Style("exceptions.py", {"colon in a secret": NO_REPLY}, answer_timeout=1.5),
    Style("recursion.py", {"many in a row": "its last words: RecursionError"}, questions=1800),
    Style("logs_passwords.py", {"stderr": "passwords are written there", "end of input": "1 line on stderr"}),
    # Perl
    Style("colon.pl", {"colon in a password": "it cuts the password there", "question in pieces": "the first part"},
          {"max_line": 4000}, {"wrong behind a colon": "1"}),
    Style("bareword.pl", {"unknown command": "granted"}),
    Style("alone.pl FOLDER/pid", {"two programs": "it must be alone"}, {"pool_size": 1}),
    # PHP
    Style("fgets.php", {"lengths": "is a line feed"}, {"max_line": 2559}, {"2600 bytes": "0"}),
    Style("gone_away.php FOLDER/forgetful", {"many in a row": "is denied, though", "lengths": "32767 bytes: "},
          {"max_requests": 150}, questions=550),
    # Node.js
    Style("chunks.js", {"question in pieces": "replies to the first part", "two questions at once": "one came"},
          {"max_line": 4000}),
    # Go and C
    Style("spins.go", {"end of input": "keeps a CPU busy"}),
    Style("signed.c", {"lengths": "a negative number"}, {"max_line": 127}, {"200 bytes": "0", "2600 bytes": "0"}),
    Style("leaks.c FOLDER/blocked", {"descriptors": "more descriptors"}, questions=1800),
    # Ruby
    Style("unknown.rb", {"unknown command": NO_REPLY}),
    Style("back_end_away.rb FOLDER/faithful"),
    # shell
    Style("once.sh", {"replies": "leaves after one reply", "the others": "not tried"}, questions=30),
)  # fmt: skip
WARNS = Style(
    "warns.php",
    {"replies": "before the first reply: Warning: Undefined variable $config", "lengths": "32767 bytes: "},
    answer_timeout=1.5,
)
"""Apart: without what `check` advises, no question to it is answered."""


def lines(name: str, finds: Mapping[str, str] = NONE, *more: object, **others: object) -> Style:
    style = Style(name, finds, *more, protocol="generic", **others)  # type: ignore[arg-type]
    return style._replace(answers={"2600 bytes": "0", **style.answers})  # refused: no line is that long


NOT_TRIED = {"the others": "not tried"}
LINES = (
    *(lines(f"clean.{suffix}") for suffix in ("py", "pl", "php", "js", "go", "c", "rb", "sh", "lua")),
    lines("echo.php", {"replies": "no line end, ever"}),
    lines("strip.py", {"blanks, backslashes": "with a blank behind it is granted"}),
    lines("backslash.sh", {"blanks, backslashes": "with a blank behind it is granted",
                           "backslash in a secret": "takes the next line for the rest"}),
    lines("colon.rb", {"colon in a password": "it cuts the password there"}, {}, {"wrong behind a colon": "1"}),
    lines("fgets.c", {"lengths": "(its buffer ends there): a second answer to one question"}, {"max_line": 254}),
    lines("once.sh", {"replies": "leaves after one reply", **NOT_TRIED}, questions=30),
)  # fmt: skip
"""Programs for Prosody."""

OF_NO_USE = (
    lines("buffered.py", {"start": "its output is buffered", **NOT_TRIED}),
    lines("buffered.pl", {"start": "its output is buffered", **NOT_TRIED}),
    lines("buffered.c", {"start": "its output is buffered", **NOT_TRIED}),
    lines("words.js", {"replies": "a word instead of a digit", **NOT_TRIED}),
    lines("prompt.lua", {"replies": "text on stdout before the first reply: auth helper ready"}),
)
"""Such programs that answer nothing as they are."""

CIRCUMSTANCES = {"unit's sandbox", "start", "speed", "many in a row"}
"""Where what is worth noting may be a matter of this machine: where things are, and how busy it is."""


def named(value: object) -> str | None:
    return f"{value.protocol}-{value.name.split()[0]}" if isinstance(value, Style) else None


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where programs are compiled, once, and have what they need."""
    folder = tmp_path_factory.mktemp("styles")
    (folder / "blocked").write_text("mallory\n\n")
    with backend(folder / "faithful"), backend(folder / "forgetful", 301):
        yield folder


# --- what `check` finds --------------------------------------------------------------------------------------


def report(one: Style, folder: Path) -> dict[str, object]:
    """What `check` says of it."""
    options = ("--account", "alice@example.com", "--answer-timeout", "2", "--protocol", one.protocol)
    options += ("--start-timeout", "8") if one in OF_NO_USE else ()
    done = subprocess.run(
        [*COMMAND, "check", "--json", *options, "--", *one.command(folder)],
        check=False,
        input=b"pw-alice\n",
        capture_output=True,
        timeout=180,
        env=environment(),
        cwd=ROOT,
    )
    assert done.stderr == b"", done
    (found,) = json.loads(done.stdout)["programs"]
    return found


@pytest.fixture(scope="module")
def reports(folder: Path, request: pytest.FixtureRequest) -> Iterator[dict[str, Future[dict[str, object]]]]:
    """What `check` says of all that were chosen; begun with the first."""
    wanted = [item for item in request.session.items if "reports" in getattr(item, "fixturenames", ())]
    styles = [item.callspec.params["one"] for item in wanted]
    with ThreadPoolExecutor(AT_A_TIME) as threads:
        yield {one.name + one.protocol: threads.submit(report, one, folder) for one in styles}


@pytest.mark.parametrize("one", [*STYLES, WARNS, *LINES, *OF_NO_USE], ids=named)
def test_check_finds_the_flaw_and_no_other(one: Style, reports: dict[str, Future[dict[str, object]]]) -> None:
    found = reports[one.name + one.protocol].result(300)
    told = {
        finding["trial"]: finding["seen"]
        for finding in found["findings"]
        if finding["level"] == "deviates" or (finding["level"] == "note" and finding["trial"] not in CIRCUMSTANCES)
    }
    assert told.keys() == one.finds.keys(), told
    for trial, words in one.finds.items():
        assert words in told[trial]
    assert found["recommended"] == one.settings


def test_check_says_why_a_program_without_its_back_end_is_of_no_use(folder: Path) -> None:
    away = Style("back_end_away.rb FOLDER/nowhere 0.5")
    (start,) = [finding for finding in report(away, folder)["findings"] if finding["level"] == "deviates"]
    assert start["seen"].startswith("it ended before its first reply (exit status 1; its last words: back end: No such")


# --- what the bridge makes of it -----------------------------------------------------------------------------


def plain(count: int) -> list[bytes]:
    """Short questions, in turns right and wrong ones."""
    turns = itertools.cycle([b"auth:%s:h:pw-%s", b"auth:%s:h:hunter2", b"isuser:%s:h", b"setpass:%s:h:new", b"bogus"])
    users = (b"%s%d" % (b"no" if number % 7 == 3 else b"u", number) for number in range(count))
    return [line.replace(b"%s", user) for line, user in zip(turns, users, strict=False)]


def run(start: Start, folder: Path, one: Style, *options: object) -> Bridge:
    """A bridge with this program and what `check` recommends for it."""
    settings = {
        "protocol": one.protocol,
        "pool_size": 1 if one.questions > 100 else 2,
        "answer_timeout": one.answer_timeout,
        **one.settings,
    }
    words = [word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", value)]
    return start("run", *words, *options, "--", *one.command(folder))


def answers_plain_questions(bridge: Bridge, count: int) -> None:
    bridge.until(lambda: bridge.ask(ALICE).verdict == "1", "a login that works")
    lines = plain(count)
    answers = bridge.converse(lines, in_flight=8)
    assert [answer.verdict for answer in answers] == [oracle.best_answer(line) for line in lines]


@pytest.mark.parametrize("one", [*STYLES, *LINES[9:]], ids=named)
def test_what_the_program_can_answer_is_answered(start: Start, folder: Path, one: Style) -> None:
    bridge = run(start, folder, one)
    answers_plain_questions(bridge, one.questions)
    for what, line in SPECIAL.items():
        assert bridge.ask(line).verdict == one.answers.get(what, oracle.best_answer(line)), what
        assert bridge.ask(ALICE).verdict == "1", f"nobody can log in after: {what}"
    bridge.finish()
    assert b"pw-" not in bridge.log
    if one.questions > 100:
        assert b"program failed" not in bridge.log, "it was not replaced in time"


def test_warnings_are_no_reply_and_what_check_advises_helps(start: Start, folder: Path) -> None:
    bridge = run(start, folder, WARNS)
    assert {answer.verdict for answer in bridge.converse(plain(20), in_flight=8)} == {"0"}
    bridge.finish()
    assert b"Undefined variable" in bridge.log
    php, *rest = WARNS.command(folder)
    bridge = start("run", "--pool-size", 2, "--", php, "-d", "display_errors=stderr", *rest)
    answers_plain_questions(bridge, 100)
    bridge.finish()


def test_logins_work_again_when_the_back_end_is_back(start: Start, folder: Path) -> None:
    """Nobody waits for one that is away, nor long for a program that sleeps before it leaves."""
    bridge = run(start, folder, Style("back_end_away.rb FOLDER/late 0.5", answer_timeout=1.5))
    assert {answer.verdict for answer in bridge.converse(plain(20), in_flight=8)} == {"0"}
    assert b"back end: No such file" in bridge.log
    with backend(folder / "late"):
        answers_plain_questions(bridge, 100)
    bridge.finish()
