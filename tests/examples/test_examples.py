"""What holds for each program of systemd/examples, beside the back end it is for.

"No" is a wrong password and nothing else: where nobody can be asked, a program ends without a reply, and in time.
"""

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.backends import EXAMPLES, ODD, Backend
from support.backends.asked import Asked
from support.backends.servers import ALL
from support.canary import CANARY, right
from support.process import COMMAND, ROOT, Bridge, environment

from bridge.config.options import KEYS

from .conftest import at_work

DEFAULTS = {key.name: key.default for key in KEYS}
FILES = sorted(EXAMPLES.glob("*.py"))
SAME = "# --- The same in all examples"
ALICE = b"auth:alice:example.com:" + right("alice").encode()

PASSWORDS = ("", " ", "*", "x", CANARY, f"{right('alice')} ", f" {right('alice')}", right("alice")[:-1],
             f"{right('alice')}:", f"{right('alice')}x", right("alice").upper(), f"{right('alice')}\0",
             f"{right('alice')}\r\n1 NOOP", f"x\0{right('alice')}", '"', "\\", "{12}", "%s", "x" * 300,
             "x" * 20000)  # fmt: skip
"""Wrong ones of alice's, each with a meaning somewhere on the way."""

NAMES = ("*", "al*", "alic?", "alice)(uid=*", "*)(uid=alice", "alice)(|(uid=*", "alice,ou=people,dc=example,dc=com",
         "alice\\2a", "alice\\", 'alice"', "alice+cn=x", "#616c696365", "alice&user=alice", "alice%00", "alice bob",
         "alice\0", "alice\r\n", "{user}", "{user}alice", "{}", "../alice", "alïce", "alice😀", "a" * 300)  # fmt: skip
"""Nobody's, each close to alice's for somebody who does not look."""

_RIGHT = right("alice").encode()

NO_QUESTIONS = (
    *(b"auth", b"auth:alice", b"auth:alice:example.com", b"auth:alice:example.com:", b"auth::example.com:" + _RIGHT),
    *(b"auth:alice::" + _RIGHT, b"AUTH:alice:example.com:" + _RIGHT, b"auth:al\xffice:example.com:" + _RIGHT),
    *(b"isuser:alice:example.com:x", b"isuser:", b"isuser", b"\xff", b":::", ALICE + b"\xff", ALICE + b"\0"),
    *(ALICE.replace(b"auth", command) for command in (b"nosuchcommand", b"tryregister", b"removeuser3", b"")),
    *(ALICE.replace(b".com", more) for more in (b".com\x7f", b".com\xc2\x9f", b".com\xff", b".com\0", b".com\n")),
    *(ALICE.replace(b"e:e", b"e\x7f:e"), b"setpass:nobody:example.com:" + _RIGHT),
)


@pytest.fixture(scope="module", params=ALL)
def shared(request: pytest.FixtureRequest) -> Iterator[Backend]:
    with at_work(ALL[request.param]) as one:
        yield one


@pytest.fixture
def backend(shared: Backend) -> Iterator[Backend]:
    """It is at work before each test."""
    yield shared
    if shared.process is None:
        shared.start()


def test_who_is_let_in(backend: Backend, tmp_path: Path) -> None:
    with Asked(backend.edited(tmp_path)) as program:
        for user, password in backend.accounts.items():
            assert program.ask("auth", user, password).verdict == "1"
            assert program.ask("isuser", user).verdict == "1"
        limits = Path(f"/proc/{program.process.pid}/limits").read_text()
        assert re.search(r"^Max core file size +0 +0 ", limits, re.MULTILINE), "a core file would hold passwords"
        assert program.ask("auth", "alice", CANARY).verdict == "0"
        assert program.ask("auth", "nobody", right("alice")).verdict == "0"
        assert program.ask("auth", "alice", right("alice")).verdict == "1"
        assert program.end() == 0
    assert program.stderr == ""


@pytest.mark.slow
def test_who_is_not(backend: Backend, tmp_path: Path) -> None:
    """And no question, of whatever kind, ends the program."""
    words, count = backend.edited(tmp_path), backend.at_a_time
    questions = [("alice", password) for password in PASSWORDS] + [(user, right("alice")) for user in (*NAMES, "carol")]

    def asked(first: int) -> None:
        with Asked(words) as program:
            for user, password in questions[first::count]:
                assert program.ask("auth", user, password).verdict == "0", f"{user!r}: {password!r}"
            assert program.ask_bytes(ALICE).verdict == "1"
            assert program.end() == 0
        assert program.stderr == ""

    with ThreadPoolExecutor(count) as threads:
        list(threads.map(asked, range(count)))


def test_what_is_no_question_is_denied(backend: Backend, tmp_path: Path) -> None:
    with Asked(backend.edited(tmp_path)) as program:
        for body in NO_QUESTIONS:
            assert program.ask_bytes(body).verdict == "0", body
        assert program.ask_bytes(ALICE).verdict == "1"
        program.send(len(ALICE).to_bytes(2, "big") + ALICE[:-1])
        assert program.end() == 0
        assert program.rest == b"", "it has answered a part of a question"


def test_an_error_s_text_is_not_shown(backend: Backend, tmp_path: Path) -> None:
    """As it could hold a secret; whatever the error is."""
    words = backend.edited(tmp_path)
    text = Path(words[-1]).read_text()
    before = "def check(user: str, host: str, secret: str) -> bool:\n"
    assert before in text
    Path(words[-1]).write_text(text.replace(before, f"{before}    raise ValueError(secret)\n"))
    with Asked(words) as program:
        assert program.ask_bytes(ALICE).verdict == ""
        assert program.end() == 1
    assert program.stderr == f"{words[-1]}: ValueError\n"


@pytest.mark.slow
def test_check_finds_nothing(tmp_path: Path) -> None:
    """All side by side: it waits most of the time."""
    options = ("--json", "--account", "alice@example.com", "--commands", "auth,isuser")

    def checked(name: str) -> subprocess.CompletedProcess[str]:
        with at_work(ALL[name]) as backend:
            words = [*COMMAND, "check", *options, "--", *backend.edited(tmp_path / name)]
            how = {"input": f"{right('alice')}\n", "text": True, "env": environment(), "cwd": ROOT}
            return subprocess.run(words, capture_output=True, check=False, timeout=120, **how)

    with ThreadPoolExecutor(len(ALL)) as threads:
        for done in threads.map(checked, ALL):
            assert done.returncode == 0, done
            (found,) = json.loads(done.stdout)["programs"]
            noted = {finding["trial"] for finding in found["findings"] if finding["level"] != "ok"}
            assert noted <= {"unit's sandbox", "start", "speed", "isuser of nobody"}, found
            assert found["recommended"] == {}


@pytest.mark.slow
def test_where_nobody_can_be_asked_there_is_no_reply(backend: Backend, tmp_path: Path) -> None:
    words = backend.edited(tmp_path)
    with Asked(words) as program:
        assert program.ask_bytes(ALICE).verdict == "1"
        backend.stop()
        reply = program.ask_bytes(ALICE)
        assert (reply.verdict, program.end()) == ("", 1)
        assert re.fullmatch(rf"\S+/{backend.example}: .+\n", program.stderr)
    with Asked(words) as program:
        assert program.process.wait(20) == 1, "it does not even wait for a question"


@pytest.mark.slow
def test_one_that_stands_still_is_given_up_in_time(backend: Backend, tmp_path: Path) -> None:
    """`TIMEOUT` is for all together, wherever it waits."""
    with Asked(backend.edited(tmp_path, TIMEOUT=2.0)) as program:
        assert program.ask_bytes(ALICE).verdict == "1"
        backend.freeze()
        try:
            reply = program.ask_bytes(ALICE)
        finally:
            backend.thaw()
        assert reply.verdict == ""
        assert reply.seconds < 3.5
        assert program.end()


@pytest.mark.slow
def test_the_bridge_lets_in_again_when_it_is_back(
    backend: Backend, tmp_path: Path, start: Callable[..., Bridge]
) -> None:
    bridge = start(
        "run", "--pool-size", 1, "--answer-timeout", 1, "--log-verdicts", "all", "--", *backend.edited(tmp_path)
    )
    assert bridge.ask(ALICE).verdict == "1"
    backend.stop()
    assert bridge.ask(ALICE).verdict == "0"
    bridge.until(lambda: b"program failed" in bridge.log, "that it is said")
    bridge.until(lambda: b"verdict=unavailable" in bridge.log, "that nobody could be asked")
    assert b"verdict=denied" not in bridge.log
    backend.start()
    bridge.until(lambda: bridge.ask(ALICE).verdict == "1", "a login that works")
    assert bridge.ask(b"auth:alice:example.com:" + CANARY.encode()).verdict == "0"
    bridge.finish()


# --- what they are as files ---------------------------------------------------------------------------------


def test_all_are_tried() -> None:
    assert [path.name for path in FILES] == sorted(kind.example for kind in ALL.values())


def test_what_is_the_same_in_all_is_the_same() -> None:
    assert len({path.read_text().partition(SAME)[2] for path in FILES} - {""}) == 1
    assert all(SAME in path.read_text() for path in FILES)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_it_is_short_and_can_be_copied(path: Path) -> None:
    text = path.read_text()
    assert text.startswith("#!/usr/bin/python3 -I\n"), "what lies beside it must not be imported"
    assert path.stat().st_mode & 0o111
    assert sum(bool(line.strip()) for line in text.splitlines()) < 120
    assert "import bridge" not in text
    assert "from bridge" not in text
    (timeout,) = re.findall(r"^TIMEOUT = ([0-9.]+)", text, re.MULTILINE)
    assert float(timeout) <= DEFAULTS["answer_timeout"] - 0.5
    assert f'program = "/opt/auth/{path.name}"' in text


def test_the_odd_password_is_odd() -> None:
    assert {*':"\\ %{}*()&=+'} < {*ODD}
