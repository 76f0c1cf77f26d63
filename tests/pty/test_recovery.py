"""A client never restarts a helper that failed: so the bridge stays, says no, and recovers when the cause is gone."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest
from support import procfs
from support.pty.driver import PATIENCE, Client
from support.pty.site import HOST, PROGRAM, WRONG, Site, all_right, auth

pytestmark = pytest.mark.slow


def until_yes(client: Client) -> None:
    """Ask until the right password is right; all that the client reads meanwhile must be `0`."""
    end = time.monotonic() + PATIENCE
    while (verdict := client.ask(auth("alice"))) != "1":
        assert verdict == "0"
        assert time.monotonic() < end, "it does not recover"
        assert client.ask(auth("bob", WRONG)) == "0"
        time.sleep(0.05)


def program_file(site: Site, path: Path) -> None:
    """An executable program at `path`."""
    path.with_suffix(".new").write_text(f"#!/bin/sh\nexec {sys.executable} -I -S {PROGRAM}\n")
    path.with_suffix(".new").chmod(0o755)
    path.with_suffix(".new").rename(path)


BROKEN = {"syntax": "program = [", "key": "pool_sise = 3\n", "empty": "", "missing": None}


@pytest.mark.parametrize(
    ("kind", "what"),
    [*(("lpty12", what) for what in BROKEN), ("lua", "syntax"), ("nonblocking", "missing"), ("wrapped", "key")],
)
def test_configuration_is_repaired(site: Site, kind: str, what: str) -> None:
    config = site.root / "late.toml"
    if (text := BROKEN[what]) is not None:
        config.write_text(text)
    client = site.client(kind, command=site.command("run", str(config), wrapped=kind == "wrapped"))
    client.start()
    client.until_echo_is_off()
    assert client.ask(auth("alice")) == "0"
    assert client.ask(auth("alice")) == "0"
    site.configure().rename(config)
    until_yes(client)
    all_right(client)
    assert client.status() == "running"


@pytest.mark.parametrize("kind", ["lua", "lpty12", "nonblocking"])
def test_program_appears(site: Site, kind: str) -> None:
    program = site.root / "program"
    site.configure(program=[str(program)])
    client = site.client(kind)
    client.start()
    client.until_echo_is_off()
    assert client.ask(auth("alice")) == "0"
    assert client.ask(f"isuser:alice:{HOST}") == "0"
    program_file(site, program)
    until_yes(client)
    all_right(client)
    assert client.status() == "running"


def test_program_becomes_executable(site: Site) -> None:
    program = site.root / "program"
    program_file(site, program)
    program.chmod(0o644)
    site.configure(program=[str(program)])
    client = site.client("lpty12")
    client.start()
    assert client.ask(auth("alice")) == "0"
    program.chmod(0o755)
    until_yes(client)
    all_right(client)


def test_every_program_is_killed_again_and_again(site: Site) -> None:
    site.configure(pool_size=2)
    client = site.client("lpty12")
    site.ready(client)
    for _ in range(5):
        for pid in site.started():
            if procfs.alive(pid):
                os.kill(pid, signal.SIGKILL)
        until_yes(client)
        assert client.ask(auth("bob", WRONG)) == "0"
    all_right(client)
    assert client.status() == "running"


def test_while_nothing_can_answer_the_no_comes_at_once(site: Site) -> None:
    """The client stands still while it waits."""
    site.configure(program=["/bin/false"], answer_timeout=1.0)
    client = site.client("lpty12")
    client.start()
    for _ in range(4):
        assert client.ask(auth("alice")) == "0"
    took = []
    for _ in range(6):
        began = time.monotonic()
        assert client.ask(auth("alice")) == "0"
        took.append(time.monotonic() - began)
    # One or two of them may fall just before a new attempt, which is worth waiting for.
    assert sum(seconds > 0.9 for seconds in took) <= 3, f"six questions, each of them its whole time: {took}"


def test_hang_up_signal_is_no_reload_on_a_terminal(site: Site) -> None:
    client = site.emulation("lpty12")
    site.ready(client)
    os.kill(client.pid(), signal.SIGHUP)
    assert client.wait() == "exit 0"


def test_hosts_of_their_own(site: Site) -> None:
    """A client asks for one VirtualHost; one that is not served is a no, whatever its case."""
    environment = {"USERS": str(site.users), "CONTROL": str(site.backend.path)}
    table = {"program": [sys.executable, "-I", "-S", str(PROGRAM)], "pool_size": 1, "env": environment}
    site.configure(hosts={"Other.Example": table})
    site.users.write_text(site.users.read_text().replace("}", ', "alice@other.example": "other-hunter2-31c"}'))
    site.secrets.add("other-hunter2-31c")
    client = site.client("lpty12")
    site.ready(client)
    assert client.ask("auth:alice:other.example:other-hunter2-31c") == "1"
    assert client.ask(auth("alice")) == "1"
    assert client.ask("isuser:alice:elsewhere.example") == "0"
    all_right(client)
