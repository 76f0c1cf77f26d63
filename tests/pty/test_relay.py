"""A relay on a pty: whatever the client and the daemon do, an answer is never another question's."""

import os
import random
import signal
import sys
import time
from collections.abc import Iterator

import pytest
from support import procfs
from support.faults import LONG_BURST
from support.pty.driver import Client
from support.relay.daemon import question, resident
from support.relay.site import RelaySite, alive, relay_site, until

YES, NO = question("alice"), question("bob", right=False)
GIVE_UP = 0.3  # seconds

BLOCKING = ["lua", "lpty12", "lpty10"]


@pytest.fixture
def site() -> Iterator[RelaySite]:
    with relay_site() as place:
        yield place


def ask(client: Client, line: bytes, timeout: float = 5.0) -> str:
    return client.query(line + b"\n", timeout).verdict


def past_burst() -> None:
    """Let the 50 ms pass in which a line counts as part of the burst of the one that was read just now."""
    time.sleep(0.1)


def give_up(site: RelaySite, client: Client, line: bytes, times: int = 1) -> None:
    """The client asks and gives up; returns when the line has been read, and is no burst any more."""
    assert ask(client, line, GIVE_UP) == "none"
    site.daemon.until_asked(line, times)
    past_burst()


def all_right(client: Client) -> None:
    """Questions whose answers would be wrong, and let somebody in, if they were shifted."""
    for number, line in enumerate([YES, NO, NO, YES, YES, NO]):
        assert ask(client, line) == "10"[line is NO], number


@pytest.mark.parametrize("kind", [*BLOCKING, "nonblocking"])
def test_truth_is_told_over_one_connection(site: RelaySite, kind: str) -> None:
    client = site.ready(kind)
    for _ in range(10):
        all_right(client)
    assert site.daemon.connections == 1


@pytest.mark.parametrize("kind", ["raced", "lua"])
def test_echo_race(site: RelaySite, kind: str) -> None:
    for _ in range(3):
        client = site.client(kind)
        first = client.query(YES + b"\n")
        assert first.verdict == "garbage" or kind == "lua"
        client.until_no_echo(YES + b"\n", first)
        verdicts = [ask(client, line) for line in (NO, NO, YES, NO, YES, NO)]
        # The first of them may be the second line of a burst; none is a stranger's login.
        assert verdicts[1:] == ["0", "1", "0", "1", "0"]
        assert verdicts[0] == "0"


@pytest.mark.slow
@pytest.mark.parametrize("kind", BLOCKING)
def test_answer_that_comes_after_the_client_gave_up(site: RelaySite, kind: str) -> None:
    client = site.ready(kind)
    all_right(client)
    slow = question("pause1")
    for number in range(3):
        give_up(site, client, slow, number + 1)
        if number % 2:
            site.daemon.go()  # the answer is dropped: nobody waits
        else:
            assert ask(client, NO) == "0"
            assert ask(client, YES) == "1"  # on another connection: the first one's answer is still to come
            site.daemon.go()
        all_right(client)


@pytest.mark.slow
@pytest.mark.parametrize("kind", BLOCKING)
def test_reload_of_the_client(site: RelaySite, kind: str) -> None:
    client = site.ready(kind)
    slow = question("pause1")
    for number in range(3):
        client.begin(slow + b"\n")
        site.daemon.until_asked(slow, number + 1)
        past_burst()
        assert client.interrupt().verdict == "none"
        site.daemon.go()
        assert ask(client, NO) == "0"
        all_right(client)


@pytest.mark.parametrize("kind", BLOCKING)
def test_newline_in_a_secret(site: RelaySite, kind: str) -> None:
    client = site.ready(kind)
    all_right(client)
    for secret in (b"x\nsetpass:bob:example.com:pwned", b"x\n", b"x\r\n\r", b"\n" * 950, b"x" + b"\n" + YES):
        before = len(site.daemon.asked)
        assert ask(client, b"auth:alice:example.com:" + secret) == "0"
        assert ask(client, NO) == "0"
        assert ask(client, YES) == "1"
        assert site.daemon.asked[before:] == [NO, YES]
    assert not any(line.startswith(b"setpass") for line in site.daemon.asked)


@pytest.mark.parametrize("gap", [0.1, 0.3])
def test_second_line_while_the_first_is_with_the_daemon(site: RelaySite, gap: float) -> None:
    """Within its time: a burst.  The daemon's answer, a true one, dies with the connection."""
    client = site.emulation(code=LONG_BURST)
    slow = question("pause1")
    assert client.pieces(gap, slow + b"\n", YES + b"\n").verdict == "0"
    assert YES not in site.daemon.asked
    site.daemon.go()
    all_right(client)


def test_line_cut_off_at_a_nul(site: RelaySite) -> None:
    client = site.ready("lua")
    all_right(client)
    before = len(site.daemon.asked)
    assert client.query(b"auth:mallory:example.com:x", GIVE_UP).verdict in ("none", "0")
    client.until_read()
    assert ask(client, YES) == "0"
    all_right(client)
    assert set(site.daemon.asked[before:]) <= {YES, NO}


def test_control_characters_reach_the_daemon(site: RelaySite) -> None:
    """^C, ^Z, ^S, ^\\, ^D: bytes of a password like others."""
    client = site.emulation()
    line = b"auth:alice:example.com:\x03\x1a\x13\x1c\x04\x11\x16\x7f"
    assert ask(client, line) == "0"
    assert site.daemon.asked == [line]
    all_right(client)


@pytest.mark.slow
@pytest.mark.parametrize(
    "manner", ["twice", "afterwards", "garbage", "long", "bare", "half", "close", "leave"], ids=str
)
def test_daemon_with_bad_manners(site: RelaySite, manner: str) -> None:
    site.configure(answer_timeout=1.5 if manner == "bare" else 4.5)  # only half an answer has to be waited for
    client = site.emulation()
    for number, right in enumerate((True, False, True), 1):
        began = time.monotonic()
        expected = "1" if manner in ("leave", "afterwards") and right else "0"
        assert ask(client, question(manner, right)) == expected
        took = time.monotonic() - began
        assert took < 4
        assert manner != "bare" or took > 1.4, "half an answer may still become a whole one"
        if manner == "afterwards":
            site.daemon.go()
            until(lambda number=number: site.daemon.unasked == number, "the second answer")
        if manner in ("afterwards", "leave"):  # the relay hears of it when it asks next, and that question is lost
            assert ask(client, NO) == "0"
        all_right(client)


def test_daemon_that_does_not_answer_in_time(site: RelaySite) -> None:
    site.configure(answer_timeout=1.5)
    client = site.emulation()
    slow = question("pause1")
    began = time.monotonic()
    assert ask(client, slow) == "0"
    assert time.monotonic() - began > 1.4
    assert ask(client, NO) == "0"
    site.daemon.go()
    all_right(client)


@pytest.mark.slow
def test_default_timeout_is_below_the_clients(site: RelaySite) -> None:
    client = site.emulation()
    began = time.monotonic()
    assert ask(client, question("pause1"), timeout=5.0) == "0"
    assert time.monotonic() - began > 4.4


@pytest.mark.slow
def test_daemon_that_takes_no_connection(site: RelaySite) -> None:
    """Its queue of new connections is full: connect(2) would wait; and gets through as soon as there is room."""
    site.configure(answer_timeout=1.0)
    site.daemon.stop()
    site.daemon.backlog = 0
    site.daemon.reading.clear()
    site.daemon.start()
    client, other = site.emulation(), site.emulation()
    began = time.monotonic()
    assert ask(client, YES) == "0"  # one connection fits into the queue
    assert ask(other, YES) == "0"
    assert ask(other, YES) == "0"
    assert 2.5 < time.monotonic() - began < 6
    other.begin(YES + b"\n")
    other.until_asleep()
    site.daemon.reading.set()
    assert other.finish().verdict == "1"
    all_right(client)


def test_missing_refused_and_impossible_sockets(site: RelaySite) -> None:
    client = site.emulation()
    all_right(client)
    site.daemon.stop()
    for _ in range(3):
        began = time.monotonic()
        assert ask(client, YES) == "0"
        assert time.monotonic() - began < 4, "at once: it does not wait for answer_timeout, 4.5 s"
    site.daemon.start()
    all_right(client)
    site.daemon.stop()
    site.daemon.path.write_text("no socket")
    assert ask(client, YES) == "0"
    site.daemon.start()
    all_right(client)
    until(lambda: "daemon answers again unanswered=" in site.logged(), "the log")
    assert "ENOENT" in site.logged() or "closed the connection" in site.logged()


@pytest.mark.slow
@pytest.mark.parametrize("keep", [True, False], ids=["socket kept by systemd", "socket gone"])
def test_daemon_restarted_between_and_during_thousands_of_questions(site: RelaySite, keep: bool) -> None:
    """A `1` is always the right one, and each restart costs at most the question in flight."""
    chance = random.Random(7)
    client = site.ready()
    assert ask(client, YES) == "1"
    wrong = restarts = asked = 0
    while asked < 3000:
        block = [(number, chance.random() < 0.5) for number in range(chance.randrange(1, 60))]
        texts = [question(f"u{asked + number}", right).decode() for number, right in block]
        client.command("queries", 0, 5.0, *((text + "\n").encode().hex() for text in texts))
        if restarted := chance.random() < 0.7:
            time.sleep(chance.random() * 0.01)
            site.daemon.stop(keep_listening=keep)
            site.daemon.start()
        verdicts = [bytes.fromhex(word.partition(":")[2]) for word in client.line(60)[2:]]
        truths = [b"1\n" if right else b"0\n" for _, right in block]
        differing = [got for got, truth in zip(verdicts, truths, strict=True) if got != truth]
        assert set(differing) <= {b"0\n"}, "an answer that is not its question's"
        assert not differing or restarted
        assert len(differing) <= 1 or not keep
        wrong, restarts, asked = wrong + len(differing), restarts + restarted, asked + len(block)
    print(f"{asked} questions, {restarts} restarts, {wrong} lost")
    all_right(client)
    assert restarts > 20


def test_restart_while_a_question_is_open(site: RelaySite) -> None:
    client = site.emulation()
    slow = question("pause1")
    for times in range(1, 6):
        client.begin(slow + b"\n")
        site.daemon.until_asked(slow, times)
        client.until_asleep()
        site.daemon.stop(keep_listening=True)
        assert client.finish().verdict == "0"
        site.daemon.start()
        all_right(client)


@pytest.mark.parametrize("length", [4096, 4097, 70000])
def test_over_long_line(site: RelaySite, length: int) -> None:
    client = site.emulation()
    line = question("alice").ljust(length, b"x")
    assert ask(client, line) == "0"
    assert (line in site.daemon.asked) == (length <= 4096)
    all_right(client)


@pytest.mark.slow
def test_broken_configuration_is_answered_no_until_it_is_repaired(site: RelaySite) -> None:
    for broken in ("connect = 5\n", 'connect = "/x"\nprogram = "y"\n', "connect = \n"):
        site.file.write_text(broken)
        client = site.client()
        assert ask(client, YES) == "0"
        site.configure()
        until(lambda client=client: ask(client, YES) == "1", "the repair")
        assert ask(client, NO) == "0"


def test_repaired_configuration_is_in_force_from_the_line_that_finds_it_repaired(site: RelaySite) -> None:
    long = [question(name).ljust(size, b"x") for name, size in (("alice", 65), ("bob", 65), ("bob", 64))]
    site.file.write_text('connect = "nowhere"\n[log]\ntarget = "stderr"\n')
    client = site.client()
    assert ask(client, YES) == "0"
    site.configure(max_line=64)
    until(lambda: ask(client, long[0]) == "0" and "configuration loaded" in site.logged(), "the repair, in the new log")
    assert ask(client, long[1]) == "0"
    assert ask(client, long[2]) == "0"
    all_right(client)
    assert [line for line in long if line in site.daemon.asked] == [long[2]]
    until(lambda: "longer than max_line" in site.logged(), "what is refused to be in the new log")


@pytest.mark.parametrize("name", ["TERM", "INT", "HUP"])
@pytest.mark.parametrize("busy", [False, True], ids=["idle", "asked"])
def test_signal_ends_it_with_0(site: RelaySite, name: str, busy: bool) -> None:
    client = site.emulation()
    slow = question("pause1")
    if busy:
        client.begin(slow + b"\n")
        site.daemon.until_asked(slow)
        client.until_asleep()
    os.kill(client.pid() if not busy else client.children()[0], getattr(signal, f"SIG{name}"))
    if busy:
        site.daemon.go()
        assert client.finish().verdict == "1"
    assert client.wait() == "exit 0"


def test_hang_up_ends_it_with_0(site: RelaySite) -> None:
    for busy in (False, True):
        client = site.emulation()
        all_right(client)
        if busy:
            client.send(question("pause1") + b"\n")
            site.daemon.until_asked(question("pause1"))
        client.hangup()
        assert client.wait() == "exit 0"
        site.daemon.go()
    until(lambda: site.daemon.open_connections == 0, "the connections to be closed")


def test_crash_of_the_client_ends_it(site: RelaySite) -> None:
    client = site.emulation()
    client.send(question("pause1") + b"\n")
    site.daemon.until_asked(question("pause1"))
    pid = client.pid()
    client.process.kill()
    client.process.wait()
    until(lambda: not alive(pid), "the relay to notice")
    site.daemon.go()


def test_keeps_no_inherited_descriptor(site: RelaySite) -> None:
    client = site.emulation()
    all_right(client)
    links = set(procfs.descriptors(client.pid()).values())
    _, *sockets = client.call("inherited", 0)
    assert not {f"socket:[{inode}]" for inode in sockets} & links
    assert "/dev/ptmx" not in links
    assert len([link for link in links if link.startswith("socket:")]) == 1


def test_memory(site: RelaySite) -> None:
    client = site.emulation()
    for _ in range(20):
        all_right(client)
    ask(client, b"x\ny")
    until(lambda: "injection" in site.logged(), "the log, whose import is the largest of all")
    used = resident(client.pid())
    print(f"{used} KiB")
    assert used <= (15 if sys.version_info < (3, 14) else 18) * 1024  # since then, logging imports much more


def test_log_says_what_happened_and_never_a_secret(site: RelaySite) -> None:
    client = site.emulation()
    all_right(client)
    assert ask(client, b"auth:alice:example.com:pass-secret\nauth:bob:example.com:wrong-secret") == "0"
    give_up(site, client, question("pause1"))
    assert ask(client, YES) == "1"
    site.daemon.go()
    until(lambda: "possible injection" in site.logged(), "the log")
    until(lambda: "gave up" in site.logged(), "the log")
    assert "client on a terminal" in site.logged()
    assert "by its system call" in site.logged() or "wait channel" in site.logged()
