"""An answer is written only while the client waits for it, whatever made it give up: else it is the next query's."""

import os
import time
from pathlib import Path

import pytest
from support.pty.driver import Emulation
from support.pty.site import BLOCKING, GIVE_UP, WRONG, Site, all_right, auth, logins, until_gone

pytestmark = pytest.mark.slow

SLOW, STRANGER = auth("slow"), auth("bob", WRONG)


def raw(text: str) -> bytes:
    return text.encode() + b"\n"


def sees_system_calls() -> bool:
    """May a process of the same uid read another's /proc/PID/syscall (ptrace)?"""
    scope = Path("/proc/sys/kernel/yama/ptrace_scope")
    return os.geteuid() == 0 or not scope.exists() or scope.read_text().strip() == "0"


needs_system_calls = pytest.mark.skipif(
    not sees_system_calls(), reason="needs to read the client's /proc/PID/syscall: sysctl kernel.yama.ptrace_scope=0"
)


@pytest.mark.parametrize("kind", BLOCKING)
def test_answer_after_the_clients_timeout_is_never_written(site: Site, kind: str) -> None:
    site.configure(env={"GATED": "slow"})
    client = site.client(kind)
    site.ready(client)
    all_right(client)
    site.give_up(client, SLOW)
    site.backend.go(SLOW)  # the program says yes; nobody waits
    if isinstance(client, Emulation):
        time.sleep(0.2)
        assert client.pending() == 0
    all_right(client)


@pytest.mark.parametrize("pool_size", [1, 2])
@pytest.mark.parametrize("kind", BLOCKING)
def test_answer_to_the_query_given_up_is_not_the_next_ones(site: Site, kind: str, pool_size: int) -> None:
    site.configure(env={"GATED": "slow"}, pool_size=pool_size)
    client = site.client(kind)
    site.ready(client)
    site.give_up(client, SLOW)
    client.begin(raw(STRANGER))
    client.until_asleep()
    site.backend.go(SLOW)
    assert client.finish().verdict == "0"
    all_right(client)


@pytest.mark.parametrize("kind", BLOCKING)
def test_reload_of_the_client_shifts_nothing(site: Site, kind: str) -> None:
    site.configure(env={"GATED": "slow"})
    client = site.client(kind)
    site.ready(client)
    all_right(client)
    for _ in range(3):
        client.begin(raw(SLOW))
        site.backend.until(SLOW)
        site.past_burst()
        assert client.interrupt().verdict == "none"
        site.backend.go(SLOW)
        assert client.ask(STRANGER) == "0"
        site.backend.asked.clear()
    all_right(client)


def test_real_reload_after_700_ms(site: Site) -> None:
    """As it was seen: SIGHUP to Prosody 0.7 s into a wait, the program takes 1 s."""
    site.configure(env={"GATED": "slow"})
    client = site.client("lpty12")
    site.ready(client)
    client.begin(raw(SLOW))
    site.backend.until(SLOW)
    time.sleep(0.7)
    assert client.interrupt().verdict == "none"
    client.begin(raw(STRANGER))
    time.sleep(0.3)
    site.backend.go(SLOW)
    assert client.finish().verdict == "0"


@needs_system_calls
def test_wait_for_another_helper_is_no_wait_for_this_one(site: Site) -> None:
    """Two VirtualHosts, two helpers: the late answer of one comes while the client waits for the other's."""
    site.configure(env={"GATED": "slow late"})
    client = site.emulation("lpty12", helpers=2)
    site.ready(client, 0)
    site.ready(client, 1)
    assert client.ask(auth("alice"), helper=1) == "1"
    site.give_up(client, SLOW, helper=0)
    client.begin(raw(auth("late")), helper=1)
    client.until_asleep()
    site.backend.go(SLOW)
    time.sleep(0.2)
    site.backend.go(auth("late"))
    assert client.finish().verdict == "1"
    assert client.pending(0) == 0
    assert client.ask(auth("alice", WRONG), helper=0) == "0"
    all_right(client, helper=0)
    site.backend.asked.clear()


def test_many_helpers_at_once(site: Site) -> None:
    client = site.client("lpty12", "--race", helpers=3)
    for helper in range(3):
        assert client.ask(auth("alice"), helper=helper) == "garbage"
    for helper in range(3):
        outcome = logins(client, 10, helper=helper)
        assert (outcome.false_accepts, outcome.garbage) == ([], [])
        assert outcome.refused <= 1, outcome
    for _ in range(4):
        for helper in range(3):
            all_right(client, 4, helper=helper)


def test_many_helpers_without_blocking_all_waited_for_at_once(site: Site) -> None:
    site.configure(env={"GATED": "slow"})
    client = site.client("nonblocking", helpers=3)
    for helper in range(3):
        client.begin(raw(SLOW), helper=helper)
        site.backend.until(SLOW)
        site.backend.asked.clear()
    for _ in range(3):
        site.backend.asked.append(SLOW)
        site.backend.go(SLOW)
        assert client.finish().verdict == "1"
    for helper in range(3):
        assert client.ask(STRANGER, helper=helper) == "0"


@needs_system_calls
def test_wait_for_a_database_is_no_wait_for_this_helper(site: Site) -> None:
    """The client sits in poll(2), whose wait channel is that of select(2)."""
    site.configure(env={"GATED": "slow"})
    client = site.emulation("lpty12")
    site.ready(client)
    site.give_up(client, SLOW)
    with client.in_database(site.root / "database"):
        site.backend.go(SLOW)
        time.sleep(0.2)
    assert client.pending() == 0
    all_right(client)


@needs_system_calls
def test_main_loop_on_select_is_no_wait(site: Site) -> None:
    site.configure(env={"GATED": "slow"})
    client = site.emulation("select loop")
    all_right(client)
    site.give_up(client, SLOW)
    site.backend.go(SLOW)
    time.sleep(0.2)
    assert client.pending() == 0
    all_right(client)


def test_client_that_does_not_wait_at_all_gets_nothing(site: Site) -> None:
    client = site.emulation("lpty12")
    all_right(client)
    client.send(raw(auth("alice")))
    site.backend.until(auth("alice"), "answered")
    time.sleep(0.3)
    assert client.pending() == 0
    assert client.ask(STRANGER) == "0"
    all_right(client)


def test_answer_waits_for_a_client_that_is_slow_to_wait(site: Site) -> None:
    """Busy between its write and its select(2): not yet waiting is not the same as waiting no more."""
    client = site.emulation("lpty12")
    all_right(client)
    for _ in range(3):
        assert client.lazy(raw(auth("alice")), 0.2).verdict == "1"
        assert client.lazy(raw(STRANGER), 0.01).verdict == "0"
        assert client.lazy(b"nonsense\n", 0.1).verdict == "0"  # refused without asking a program


@pytest.mark.parametrize("kind", ["lua", "lpty12", "nonblocking"])
def test_program_that_never_answers_is_a_no_in_time(site: Site, kind: str) -> None:
    site.configure(env={"GATED": "slow"}, answer_timeout=2.0, start_timeout=2.0)
    client = site.client(kind)
    site.ready(client)
    began = time.monotonic()
    assert client.ask(SLOW) == "0"
    assert time.monotonic() - began > 1.8
    holder = site.started()[0]
    site.until_started(2, client)
    all_right(client)
    assert not until_gone({holder}), "the program with the late answer must be killed"


def test_log_says_that_the_client_gave_up(site: Site) -> None:
    site.configure(env={"GATED": "slow"})
    client = site.client("lpty12")
    site.ready(client)
    site.give_up(client, SLOW)
    assert client.ask(STRANGER, GIVE_UP) == "none"  # the only program is still at the gate
    site.until_logged(r"gave up|interrupted|shorter|answer_timeout")
    site.past_burst()
    site.backend.go(SLOW)
    all_right(client)
