"""The example for a web application: what a status means, and where passwords go."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.backends import certificate
from support.backends.asked import Asked
from support.backends.servers import Web
from support.canary import CANARY, right

from .conftest import at_work, verdicts

ALICE = ("auth", "alice", right("alice"))


@pytest.fixture(scope="module")
def web() -> Iterator[Web]:
    with at_work(Web) as one:
        assert isinstance(one, Web)
        yield one


@pytest.mark.parametrize("user", ["status-500", "status-503", "status-429", "status-204", "status-400", "moved"])
def test_any_other_status_is_no_answer(web: Web, tmp_path: Path, user: str) -> None:
    assert verdicts(web, tmp_path, ("auth", user, CANARY)) == [""]


@pytest.mark.parametrize("status", [401, 403, 404])
def test_three_of_them_are_a_no(web: Web, tmp_path: Path, status: int) -> None:
    assert verdicts(web, tmp_path, ("auth", f"status-{status}", CANARY), ALICE) == ["0", "1"]


def test_a_page_that_says_yes_to_anybody_is_not_believed(web: Web, tmp_path: Path) -> None:
    with Asked(web.edited(tmp_path, URL=web.url.replace("/auth", "/open"))) as program:
        assert program.ask(*ALICE).verdict == ""
        program.end()
    assert "says yes to a name and a password that were made up" in program.stderr


def test_the_password_is_in_no_url(web: Web, tmp_path: Path) -> None:
    url = web.url + "?site=1"
    assert verdicts(web, tmp_path, ALICE, URL=url) == ["1"]
    assert verdicts(web, tmp_path, ALICE, ("auth", "alice", CANARY), BASIC="{user}", URL=url) == ["1", "0"]
    assert web.log.read_text().count("?site=1") == 5  # the first question of each is made up; no password is in the log


def test_basic_authentication(web: Web, tmp_path: Path) -> None:
    questions = [("auth", user, password) for user, password in web.accounts.items()]
    more = [("auth", "alice", CANARY), ("auth", "nobody", CANARY), ("isuser", "nobody"), ("setpass", *ALICE[1:])]
    everything = "auth isuser setpass"
    assert verdicts(web, tmp_path, *questions, *more, BASIC="{user}", COMMANDS=everything) == [
        "1",
        "1",
        "0",
        "0",
        "1",
        "0",
    ]
    assert verdicts(web, tmp_path, ("isuser", "alice"), BASIC="{user}", ISUSER=False) == ["0"]
    assert verdicts(web, tmp_path, ALICE, BASIC="{user}@{host}") == ["0"]


def test_a_password_that_no_header_can_hold_is_a_no(web: Web, tmp_path: Path) -> None:
    assert verdicts(web, tmp_path, ("auth", "alice", "x" * 50_000), ALICE, BASIC="{user}") == ["0", "1"]


def test_what_the_application_does_not_know_it_is_not_asked(web: Web, tmp_path: Path) -> None:
    before = web.log.read_text().count("POST")
    assert verdicts(web, tmp_path, ("isuser", "nobody"), ("setpass", *ALICE[1:]), COMMANDS="auth") == ["1", "0"]
    assert web.log.read_text().count("POST") == before + 1


def test_a_password_is_changed(web: Web, tmp_path: Path) -> None:
    questions = [("setpass", "new", CANARY), ("auth", "new", CANARY), ("auth", "new", right("new"))]
    assert verdicts(web, tmp_path, *questions, COMMANDS="auth setpass") == ["1", "1", "0"]


def test_a_reply_that_nobody_asked_for_answers_nobody(web: Web, tmp_path: Path) -> None:
    with Asked(web.edited(tmp_path)) as program:
        for _ in range(20):
            assert program.ask("auth", "twice", CANARY).verdict == "0"
            assert program.ask("auth", "alice", CANARY).verdict == "0"


def test_no_connection_is_used_twice(web: Web, tmp_path: Path) -> None:
    """As one that was lost meanwhile, or has more to say, could not be."""
    before = len(web.log.read_text().splitlines())
    with Asked(web.edited(tmp_path)) as program:
        for user in ("last", "long", "alice"):
            assert program.ask("auth", user, CANARY).verdict == "0"
        web.stop()
        web.start()
        assert program.ask(*ALICE).verdict == "1"
    lines = web.log.read_text().splitlines()[before:]
    assert len(lines) == len({line.split()[1] for line in lines}) == 5


@pytest.mark.slow
def test_a_slow_one_is_given_up(web: Web, tmp_path: Path) -> None:
    """Each byte comes in time, and the whole does not."""
    with Asked(web.edited(tmp_path, TIMEOUT=2.0)) as program:
        reply = program.ask("auth", "slow", CANARY)
        assert (reply.verdict, program.end()) == ("", -signal.SIGALRM)
        assert reply.seconds < 3.5


def test_only_the_right_server_is_told(web: Web, tmp_path: Path) -> None:
    other, _ = certificate(tmp_path)
    assert verdicts(web, tmp_path, ALICE, CA=None) == [""]
    assert verdicts(web, tmp_path, ALICE, CA=str(other)) == [""]
    assert verdicts(web, tmp_path, ALICE, URL=web.url.replace("localhost", "127.0.0.1")) == [""]
    with Asked(web.edited(tmp_path, URL="http://localhost.example.com/")) as program:
        assert program.ask(*ALICE).verdict == ""
        program.end()
    assert "URL must begin with https://" in program.stderr


def test_on_this_machine_it_goes_without_tls(tmp_path: Path) -> None:
    with at_work(lambda folder: Web(folder, tls=False)) as plain:
        assert isinstance(plain, Web)
        assert verdicts(plain, tmp_path, ALICE, ("auth", "alice", CANARY)) == ["1", "0"]
