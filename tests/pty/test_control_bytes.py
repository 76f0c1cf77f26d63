"""Control characters in a secret are bytes like others to a raw terminal, and then refused: no signal, no editing."""

import json
import termios

import pytest
from support.pty.site import CLIENTS, EMULATED, HOST, PASSWORDS, WRONG, Site, all_right, auth

# All of C0 but the newline (it makes a burst), NUL (lpty cuts there) and DEL; and C1 as UTF-8 has it.
CONTROLS = [chr(code) for code in (*range(1, 10), *range(11, 32), 127, 0x80, 0x85, 0x9F)]


@pytest.mark.parametrize("kind", CLIENTS)
def test_every_control_character_in_a_secret_is_a_no(site: Site, kind: str) -> None:
    client = site.client(kind)
    site.ready(client)
    programs = list(site.started())
    for control in CONTROLS:
        before = len(site.backend.settle())
        # Where the terminal edits the line, each of these makes a true question of it, or eats it.
        for secret in (f"x{control}y", f"{control}isuser:alice:{HOST}", f"x{control}{PASSWORDS['alice']}"):
            assert client.ask(auth("alice", secret)) == "0", ascii(control)
        # (a single carriage return before the newline is part of the line's end)
        if control != "\r":
            assert client.ask(auth("alice", PASSWORDS["alice"] + control)) == "0", ascii(control)
        assert client.ask(auth("bob", WRONG)) == "0", ascii(control)
        assert client.ask(auth("alice")) == "1", ascii(control)
        assert site.backend.settle()[before:] == [auth("bob", WRONG), auth("alice")], ascii(control)
    assert client.status() == "running"
    assert site.started() == programs
    all_right(client)


@pytest.mark.parametrize("kind", CLIENTS)
def test_rubbing_out_makes_no_right_password(site: Site, kind: str) -> None:
    client = site.client(kind)
    site.ready(client)
    for rubout in ("\x7f", "\x08"):
        assert client.ask(auth("alice", "wrong" + rubout * 5 + PASSWORDS["alice"])) == "0"
        assert client.ask(f"isuser:nobody{rubout * 6}alice:{HOST}") == "0"
    assert client.ask(auth("alice", f"x\x15{auth('alice')}")) == "0"  # ^U: the line begins anew
    assert client.ask(auth("alice", f"\x16{PASSWORDS['alice']}")) == "0"  # ^V: the next one as it is
    all_right(client)


@pytest.mark.parametrize("kind", CLIENTS)
def test_carriage_return_is_no_newline(site: Site, kind: str) -> None:
    client = site.client(kind)
    site.ready(client)
    assert client.ask(auth("alice", f"x\rsetpass:bob:{HOST}:pwned-Password-77")) == "0"
    assert client.ask(auth("alice", f"x\risuser:alice:{HOST}")) == "0"
    assert client.ask(auth("alice", WRONG)) == "0"
    assert site.password("bob") == PASSWORDS["bob"]
    assert site.backend.settle() == [auth("alice", WRONG)]
    all_right(client)


@pytest.mark.parametrize("kind", EMULATED)
def test_terminal_is_raw(site: Site, kind: str) -> None:
    client = site.emulation(kind)
    site.ready(client)
    iflag, oflag, _, lflag, _, _, characters = json.loads(client.settings())
    assert not lflag & (termios.ICANON | termios.ECHO | termios.ECHONL | termios.ISIG | termios.IEXTEN)
    assert not iflag & (termios.ICRNL | termios.INLCR | termios.IGNCR | termios.ISTRIP)
    assert not iflag & (termios.IXON | termios.IXOFF | termios.BRKINT | termios.PARMRK)
    assert not oflag & termios.OPOST
    assert characters[termios.VMIN] in ("01", 1)
    assert characters[termios.VTIME] in ("00", 0)


def test_every_byte_of_a_right_password_arrives(site: Site) -> None:
    """Eight bits, more than ASCII, colons, spaces: what SASL lets through comes to the program as it is."""
    client = site.client("lpty12")
    site.ready(client)
    for password in ("päßwörd ☃ 🔑", ": :: a:b:", "".join(map(chr, range(32, 127))), "ÿþ\xa0x", "y" * 900):
        site.secrets.add(password)
        assert client.ask(f"setpass:alice:{HOST}:{password}") == "1"
        assert site.password("alice") == password
        assert client.ask(auth("alice", password)) == "1"
        assert client.ask(auth("alice", password[:-1])) == "0"


def test_right_password_with_a_carriage_return_at_the_end_of_the_line(site: Site) -> None:
    client = site.client("lpty12")
    site.ready(client)
    assert client.ask(auth("alice") + "\r") == "1"
    assert client.ask(auth("alice") + "\r\r") == "0"
    all_right(client)
