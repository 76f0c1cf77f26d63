"""A bridge on a pty that stood still: a reply of the meantime is no answer, not even to one who still waits."""

import os
import signal
import time

import pytest
from support import procfs
from support.pty.driver import PATIENCE
from support.pty.site import BLOCKING, HOST, WRONG, Site, all_right, auth

pytestmark = pytest.mark.slow

# Seconds: what an answer may take, and for how long the bridge stands still, which is longer than it may be late, too.
TIMEOUT, STOP = 1.5, 2.0
SLOW = auth("slow")


def stop(pid: int) -> None:
    """Stop it, and return when it is."""
    os.kill(pid, signal.SIGSTOP)
    end = time.monotonic() + PATIENCE
    while not procfs.is_stopped(pid):
        assert time.monotonic() < end, "it does not stop"
        time.sleep(0.001)


# Not the real lpty: its wait ends when the helper is stopped, by SIGCHLD.
PATIENT = [kind for kind in BLOCKING if kind != "lua"]


@pytest.mark.parametrize("kind", PATIENT)
def test_reply_that_came_while_the_bridge_stood_still(site: Site, kind: str) -> None:
    site.configure(env={"GATED": "slow"}, answer_timeout=TIMEOUT)
    client = site.client(kind)
    site.ready(client)
    all_right(client)
    for _ in range(2):
        client.begin(SLOW.encode() + b"\n", timeout=3.0)
        site.backend.until(SLOW)
        bridge = site.bridge_pid(client)
        stop(bridge)
        site.backend.go(SLOW)  # yes, in time, to a bridge that does not look
        time.sleep(STOP)  # the standstill itself
        os.kill(bridge, signal.SIGCONT)
        # What is too late is not written at all: whether the client has given up cannot be known for certain.
        assert client.finish().verdict in ("0", "none")
        site.backend.asked.clear()
    all_right(client)


@pytest.mark.parametrize("kind", PATIENT)
def test_client_gave_up_while_the_bridge_stood_still(site: Site, kind: str) -> None:
    """And asks for somebody else, who is not let in by it."""
    site.configure(env={"GATED": "slow"}, answer_timeout=TIMEOUT, pool_size=2)
    client = site.client(kind)
    site.ready(client)
    client.begin(SLOW.encode() + b"\n", timeout=1.7)
    site.backend.until(SLOW)
    bridge = site.bridge_pid(client)
    stop(bridge)
    site.backend.go(SLOW)
    assert client.finish().verdict == "none"
    client.begin(auth("bob", WRONG).encode() + b"\n", timeout=3.0)
    time.sleep(STOP - 1.7)  # the rest of the standstill
    os.kill(bridge, signal.SIGCONT)
    assert client.finish().verdict in ("0", "none")
    all_right(client)


@pytest.mark.parametrize("kind", PATIENT)
def test_line_cut_off_at_a_nul_while_the_bridge_stood_still(site: Site, kind: str) -> None:
    """It reads that and the next query at once: together, mallory's own password, made for that."""
    trap = f"xauth:bob:{HOST}:anything"
    site.users.write_text(site.users.read_text().replace("}", f', "mallory@{HOST}": "{trap}"}}'))
    client = site.client(kind)
    site.ready(client)
    all_right(client)
    before = len(site.backend.settle())
    bridge = site.bridge_pid(client)
    stop(bridge)
    client.begin(auth("mallory", "x").encode(), timeout=0.1)
    assert client.finish().verdict == "none"
    client.begin(auth("bob", "anything").encode() + b"\n", timeout=3.0)
    time.sleep(0.1)
    os.kill(bridge, signal.SIGCONT)
    assert client.finish().verdict == "0"
    assert site.backend.settle()[before:] == []
    all_right(client)
