"""A terminal with its echo on has a person at it: it stays as it is, every line is answered, ^C works."""

import time

import pytest
from support.pty.driver import PATIENCE, Emulation
from support.pty.site import HOST, WRONG, Site, auth


def answers(client: Emulation, count: int) -> list[str]:
    """What is on the screen, but for the echo and the log: the first `count` answers."""
    text = ""
    found: list[str] = []
    end = time.monotonic() + PATIENCE
    while len(found) < count:
        assert time.monotonic() < end, f"on the screen: {text!r}"
        text += client.read(1.0).text.decode(errors="replace")
        *lines, _ = text.split("\r\n")
        found = [line for line in lines if line in ("0", "1")]
    return found


def ready(site: Site, client: Emulation) -> str:
    """Start it as a shell would, the terminal being the person's; its settings before."""
    before = client.settings()
    site.ready(client)
    return before


@pytest.mark.parametrize("target", ["auto", "stderr", "file"])
def test_every_line_of_a_burst_is_answered(site: Site, target: str) -> None:
    site.configure(log={"level": "debug", "target": f"file:{site.log}" if target == "file" else target})
    client = site.emulation("person")
    before = ready(site, client)
    lines = [auth("alice"), auth("alice", WRONG), f"isuser:bob:{HOST}", "nonsense", auth("bob"), f"isuser:x:{HOST}"]
    client.send("".join(f"{line}\n" for line in lines).encode())
    assert answers(client, 6) == ["1", "0", "1", "0", "1", "0"]
    assert client.settings() == before


def test_terminal_is_left_as_it_was_found(site: Site) -> None:
    client = site.emulation("person")
    before = ready(site, client)
    flags = site.slave_flags(client)
    client.send(auth("alice").encode() + b"\n")
    assert answers(client, 1) == ["1"]
    assert client.settings() == before
    client.send(b"\x04")  # ^D: the end of the input
    assert client.wait() == "exit 0"
    assert client.settings() == before
    assert site.slave_flags(client) == flags


def test_interrupt_key_ends_it(site: Site) -> None:
    client = site.emulation("person")
    before = ready(site, client)
    client.send(auth("alice").encode() + b"\n")
    assert answers(client, 1) == ["1"]
    client.send(b"\x03")
    assert client.wait() != "running"
    assert client.settings() == before


def test_interrupt_key_works_at_a_question_nobody_answers(site: Site) -> None:
    site.configure(env={"GATED": "slow"}, answer_timeout=600, shutdown_grace=0.3)
    client = site.emulation("person")
    ready(site, client)
    client.send(auth("slow").encode() + b"\n")
    site.backend.until(auth("slow"))
    # The first one lets questions in flight be answered, the second one means now.
    end = time.monotonic() + PATIENCE
    while client.status() == "running":
        assert time.monotonic() < end
        client.send(b"\x03")
        time.sleep(0.1)


def test_typing_can_be_corrected(site: Site) -> None:
    """The terminal's line editing is the person's."""
    client = site.emulation("person")
    ready(site, client)
    client.send(f"isuser:alicf\x7fe:{HOST}\n".encode())
    assert answers(client, 1) == ["1"]


def test_broken_configuration_is_told_and_ends_it(site: Site) -> None:
    """Here the one clear line on stderr and the exit status 2 have somebody who reads them."""
    site.config.write_text("program = '/bin/true'\npool_sise = 3\n")
    client = site.emulation("person")
    client.start()
    assert client.wait() == "exit 2"
    text = client.read(1.0).text.decode()
    assert "pool_sise" in text
    assert "Traceback" not in text
