"""A newline in a secret: a second line in the same burst is an attack, not a question.

The whole burst gets one `0`, none of it reaches a program, and no answer is left over for the next query.
"""

import pytest
from support.faults import LONG_BURST
from support.pty.site import BLOCKING, CLIENTS, HOST, PASSWORDS, WRONG, Site, all_right, auth

pytestmark = pytest.mark.slow

STRANGER = auth("bob", WRONG)
PWNED = f"setpass:bob:{HOST}:pwned-Password-77"

SECRETS = {
    "setpass": f"x\n{PWNED}",
    "isuser": f"x\nisuser:alice:{HOST}",
    "right password": f"{PASSWORDS['alice']}\n{auth('bob')}",
    "own right password": f"{PASSWORDS['alice']}\nisuser:alice:{HOST}",
    "empty line": "x\n",
    "rest without meaning": "x\nnonsense",
    "carriage return": f"x\r\n{PWNED}\r",
    "three": f"x\nisuser:alice:{HOST}\nisuser:alice:{HOST}",
    "950 lines": "\n" * 950,
    "40 questions": "x" + f"\nisuser:bob:{HOST}" * 40,
}


@pytest.mark.parametrize("kind", CLIENTS)
def test_newline_in_a_secret(site: Site, kind: str) -> None:
    site.configure()
    client = site.client(kind)
    site.ready(client)
    all_right(client, 7)
    for name, secret in SECRETS.items():
        before = len(site.backend.settle())
        assert client.ask(auth("alice", secret)) == "0", name
        assert client.ask(STRANGER) == "0", name
        assert client.ask(auth("alice")) == "1", name
        assert site.backend.settle()[before:] == [STRANGER, auth("alice")], name
    assert client.ask(f"setpass:alice:{HOST}:{SECRETS['setpass']}") == "0"
    assert site.password("bob") == PASSWORDS["bob"]
    assert site.password("alice") == PASSWORDS["alice"]
    all_right(client)


@pytest.mark.parametrize("kind", CLIENTS)
def test_newline_in_the_very_first_secret(site: Site, kind: str) -> None:
    """The lines may already be there before the terminal is raw, split by its line editing."""
    client = site.client(kind)
    client.start()
    client.until_echo_is_off()  # no race, but long before it is raw
    assert client.query(auth("alice", f"x\n{PWNED}").encode() + b"\n").verdict == "0"
    assert client.ask(STRANGER) == "0"
    all_right(client)
    assert not any(body.startswith("setpass") for body in site.backend.settle())
    assert site.password("bob") == PASSWORDS["bob"]


@pytest.mark.parametrize("lines", [400, 1000, 2500])
def test_burst_that_is_longer_than_the_terminals_buffer(site: Site, lines: int) -> None:
    """The kernel hands it over in pieces of at most 4095 bytes: one violation all the same."""
    client = site.emulation("lpty12")
    site.ready(client)
    before = len(site.backend.settle())
    burst = auth("alice", "x").encode() + b"\n" + f"isuser:bob:{HOST}\n".encode() * lines
    assert client.query(burst).verdict == "0"
    assert client.ask(STRANGER) == "0"
    assert client.ask(auth("alice")) == "1"
    assert site.backend.settle()[before:] == [STRANGER, auth("alice")]
    all_right(client)


def test_long_line_is_one_line(site: Site) -> None:
    """Prosody's longest query, 1000 bytes, and more than the terminal's buffer: no bursts."""
    client = site.client("lpty12")
    name = f"isuser:{'n' * 980}:{HOST}"[:1000]
    assert client.ask(name) == "0"
    for length in (500, 999, 3000, 4096):
        line = auth("alice", "").encode()
        assert client.query(line.ljust(length, b"y") + b"\n").verdict == "0"
        assert site.backend.settle()[-1].endswith("yyy")
        assert len(site.backend.asked[-1]) == length
    assert client.query(auth("alice", "").encode().ljust(5000, b"y") + b"\n").verdict == "0"
    assert len(site.backend.settle()[-1]) == 4096
    all_right(client)


@pytest.mark.parametrize("gap", [0.1, 0.3])
@pytest.mark.parametrize("second", [f"isuser:alice:{HOST}", PWNED, "x"], ids=["isuser", "setpass", "nonsense"])
def test_second_piece_within_its_time_is_the_same_burst(site: Site, gap: float, second: str) -> None:
    """The first line is with a program by then: its answer, a true one, must not be written."""
    site.configure(env={"GATED": "slow"}, pool_size=2)
    client = site.faulty(LONG_BURST)
    all_right(client)  # by now it reads at once
    before = len(site.backend.settle())
    # The gate stays shut until the reply is there: the program's answer can come only after the second piece.
    reply = client.pieces(gap, auth("slow").encode() + b"\n", second.encode() + b"\n")
    assert reply.verdict == "0", "the reply to a burst is known, and waits for no program"
    assert set(site.backend.settle()[before:]) <= {auth("slow")}
    for _ in range(site.backend.asked.count(auth("slow"))):
        site.backend.go(auth("slow"))
    assert client.ask(STRANGER) == "0"
    all_right(client)
    assert site.password("bob") == PASSWORDS["bob"]


@pytest.mark.parametrize("kind", BLOCKING)
def test_second_line_later_than_that_is_the_question_now(site: Site, kind: str) -> None:
    site.configure(env={"GATED": "slow"}, pool_size=2)
    client = site.client(kind)
    site.ready(client)
    site.give_up(client, auth("slow"))
    assert client.ask(STRANGER) == "0"
    assert client.ask(auth("alice")) == "1"
    site.backend.go(auth("slow"))
    all_right(client)


def test_pieces_of_a_burst_much_later_than_its_first_line(site: Site) -> None:
    """What a client writes 300 ms after its query, without having been answered, is a query of its own."""
    site.configure(env={"GATED": "slow"}, pool_size=2)
    client = site.emulation("lpty12")
    site.ready(client)
    reply = client.pieces(0.3, auth("slow").encode() + b"\n", STRANGER.encode() + b"\n")
    assert reply.verdict == "0"
    for _ in range(site.backend.settle().count(auth("slow"))):
        site.backend.go(auth("slow"))
    assert client.ask(STRANGER) == "0"
    all_right(client)


def test_log_calls_it_a_possible_injection(site: Site) -> None:
    client = site.client("lpty12")
    site.secrets.add("pwned-Password-77")
    assert client.ask(auth("alice", f"x\n{PWNED}")) == "0"
    site.until_logged("possible injection")
    assert client.ask(STRANGER) == "0"


@pytest.mark.parametrize("timeout", [0.5, 0.02], ids=["after 500 ms", "after 20 ms"])
@pytest.mark.parametrize("kind", ["lua", "lpty12", "lpty10"])
def test_line_cut_off_at_a_nul_is_never_joined_to_the_next(site: Site, kind: str, timeout: float) -> None:
    """lpty cuts a password at its first NUL, newline and all; the attacker's own password is made for what follows."""
    trap = f"xauth:bob:{HOST}:anything"
    site.users.write_text(
        site.users.read_text().replace("}", f', "mallory@{HOST}": "{trap}", "eve@{HOST}": "auth:bob:{HOST}:anything"}}')
    )
    client = site.client(kind)
    site.ready(client)
    all_right(client)
    assert client.ask(auth("mallory", trap)) == "0", "even at once it may be two"
    before = len(site.backend.settle())
    for user, start in [("mallory", "x"), ("eve", "")]:
        assert client.query(auth(user, start).encode(), timeout).verdict in ("none", "0")
        client.until_read()  # both together would look like one line
        assert client.ask(auth("bob", "anything")) == "0"
        assert client.ask(STRANGER) == "0"
        assert client.ask(auth("alice")) == "1"
    asked = site.backend.settle()[before:]
    assert set(asked) <= {auth("bob", "anything"), STRANGER, auth("alice")}
    all_right(client)


@pytest.mark.parametrize("gap", [0.01, 0.2])
def test_cut_line_joined_within_one_write_and_after(site: Site, gap: float) -> None:
    """The same, the next query being written before anybody gave up: with and without 50 ms between them."""
    trap = f"xauth:bob:{HOST}:anything"
    site.users.write_text(site.users.read_text().replace("}", f', "mallory@{HOST}": "{trap}"}}'))
    client = site.emulation("lpty12")
    site.ready(client)
    reply = client.pieces(gap, auth("mallory", "x").encode(), auth("bob", "anything").encode() + b"\n")
    assert reply.verdict == "0"
    assert auth("mallory", trap) not in site.backend.settle()
    all_right(client)


def test_cut_line_with_a_newline_before_the_cut(site: Site) -> None:
    """A burst whose end is missing must not be made whole by the next query."""
    trap = f"auth:bob:{HOST}:anything"
    site.users.write_text(site.users.read_text().replace("}", f', "eve@{HOST}": "{trap}"}}'))
    client = site.client("lpty12")
    site.ready(client)
    for _ in range(2):
        assert client.query(auth("eve", f"x\nauth:eve:{HOST}:").encode()).verdict == "0"
        assert client.ask(auth("bob", "anything")) == "0"
        assert client.ask(auth("alice", WRONG)) == "0"
    assert auth("eve", trap) not in site.backend.settle()
    all_right(client)
