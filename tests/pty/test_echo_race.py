"""The echo race: the first query is written before the helper's terminal is silent, and comes back as its own reply.

From then on every reply would belong to the query before it, and wrong passwords would log in.
"""

import time

import pytest
from support.pty.site import EMULATED, WRONG, Site, all_right, auth, logins

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("delay", [0, 0.02], ids=["0ms", "20ms"])
@pytest.mark.parametrize("kind", EMULATED)
def test_no_false_accept_follows_a_raced_start(site: Site, kind: str, delay: float) -> None:
    site.configure(env={"DELAY": delay})
    client = site.client(kind, "--race")
    first = client.query(auth("alice").encode() + b"\n")
    assert first.text.startswith(b"auth:alice"), "the race has not been forced"
    outcome = logins(client, 40)
    assert outcome.false_accepts == []
    assert outcome.garbage == []
    assert outcome.refused <= 1, outcome
    all_right(client)


@pytest.mark.parametrize("kind", EMULATED)
def test_answer_to_the_raced_query_is_dropped_when_the_client_has_gone_on(site: Site, kind: str) -> None:
    site.configure(env={"GATED": "slow"})
    client = site.emulation(kind, "--race")
    assert client.ask(auth("slow")) == "garbage"
    site.backend.until(auth("slow"))
    site.past_burst()
    site.backend.go(auth("slow"))  # a true answer, while the client sleeps in its main loop
    all_right(client)


@pytest.mark.parametrize("pool_size", [1, 2])
@pytest.mark.parametrize("kind", EMULATED)
def test_raced_query_is_answered_while_the_next_one_is_waited_for(site: Site, kind: str, pool_size: int) -> None:
    site.configure(env={"GATED": "slow"}, pool_size=pool_size)
    client = site.client(kind, "--race")
    assert client.ask(auth("slow")) == "garbage"
    site.backend.until(auth("slow"))
    site.past_burst()
    client.begin(auth("bob", WRONG).encode() + b"\n")
    if pool_size == 2:
        site.backend.until(auth("bob", WRONG))
    client.until_asleep()
    site.backend.go(auth("slow"))
    assert client.finish().verdict == "0"
    all_right(client)


def test_raced_and_next_query_in_one_read_are_one_burst(site: Site) -> None:
    """The helper starts so slowly that both lines are there when it looks: one `0`, and no shift."""
    gate = site.root / "gate"
    client = site.client("lpty12", "--race", command=site.command(before=f'mkfifo "{gate}"; read line < "{gate}"'))
    assert client.ask(auth("alice")) == "garbage"
    # The shell runs: the echo is off, and the second line waits behind the first one.
    while not gate.exists():
        time.sleep(0.005)
    client.begin(auth("bob", WRONG).encode() + b"\n")
    gate.write_text("\n")
    assert client.finish().verdict == "0"
    assert site.backend.settle() == []
    all_right(client)


def test_real_lpty_starts_as_it_likes(site: Site) -> None:
    """Six starts of the real lpty, most of which lose the race by themselves."""
    raced = 0
    site.configure(env={"DELAY": 0.02})
    for _ in range(6):
        with site.client("lua") as client:
            line = auth("alice").encode() + b"\n"
            first = client.query(line)
            assert first.verdict in ("1", "garbage")
            raced += first.verdict == "garbage"
            client.until_no_echo(line, first)  # the next login is never that quick
            outcome = logins(client, 16)
            assert (outcome.false_accepts, outcome.garbage) == ([], [])
            assert outcome.refused <= (first.verdict == "garbage"), outcome
        site.clients.remove(client)
    print(f"raced starts: {raced} of 6")
