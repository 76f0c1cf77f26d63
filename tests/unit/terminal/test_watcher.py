"""What the Watcher sees of real clients: processes that hold our terminal's master and wait, or do not."""

import os
import re
import subprocess
import sys

import pytest
from support.components import command, missing
from support.watcher.scene import ROOT, Stage, settle, stage

__all__ = ["stage"]

# Another reason where the tests have been started by another user: perhaps the client is that process.
REFUSED = "permission denied on /proc/"

# Beginnings of a client's code; what Python does not have; something in another thread.
POLL = "import select; p = select.poll(); "
EPOLL = "import os, select; e = select.epoll(); "
LIBC = "import ctypes, os; libc = ctypes.CDLL(None); "
THREAD = "import os, select, threading, time; threading.Thread(target=lambda: {}).start(); "

WAITS = {
    "read": "import os; os.read(master, 1)",
    "readv": "import os; os.readv(master, [bytearray(1)])",
    "select": "import select; select.select([master], [], [])",
    "select with a timeout": "import select; select.select([master], [], [], 1000)",
    "select among others": "import os, select; select.select([0, slave, master, os.dup(slave)], [], [])",
    "poll": POLL + "p.register(master, select.POLLIN); p.poll()",
    "poll among others": POLL + "[p.register(number, 1) for number in (0, slave, master)]; p.poll()",
    "poll for POLLRDNORM": POLL + "p.register(master, select.POLLRDNORM); p.poll()",
    "ppoll": LIBC + "libc.ppoll((ctypes.c_uint32 * 2)(master, 1), ctypes.c_ulong(1), None, None)",
    "epoll": EPOLL + "e.register(master, select.EPOLLIN); e.poll()",
    "epoll, edge-triggered": EPOLL + "e.register(master, select.EPOLLIN | select.EPOLLET); e.poll()",
    "epoll of many": EPOLL + "[e.register(os.dup(n), 1) for n in [slave] * 400]; e.register(master, 1); e.poll()",
    "selectors": "import selectors; s = selectors.DefaultSelector(); s.register(master, 1); s.select()",
    "asyncio": "import asyncio; l = asyncio.new_event_loop(); l.add_reader(master, print); l.run_forever()",
    "read in a thread": THREAD.format("os.read(master, 1)") + "time.sleep(1000)",
    "select in a thread": THREAD.format("select.select([master], [], [])") + "select.epoll().poll()",
}

# The code, and the view of it.
WAITS_NOT = {
    "sleep": ("import time; time.sleep(1000)", "BUSY"),
    "lock": ("import threading; t = threading.Lock(); t.acquire(); t.acquire()", "BUSY"),
    "wait for a child": ("import os; os.waitpid(-1, 0)", "BUSY"),
    "read of another": ("import os; os.read(0, 1)", "BUSY"),
    "select of others": ("import select; select.select([0, slave], [], [])", "BUSY"),
    "select below the master": ("import select; select.select([0], [], [])", "BUSY"),
    "select for exceptions": ("import select; select.select([0, slave], [], [master])", "BUSY"),
    "poll of others": (POLL + "p.register(slave, 1); p.poll()", "BUSY"),
    "poll for hang-up": (POLL + "p.register(master, 0); p.poll()", "BUSY"),
    "threads": (THREAD.format("time.sleep(1000)") + "select.epoll().poll()", "BUSY"),
    "epoll of nothing": (EPOLL + "e.poll()", "ELSEWHERE"),
    "epoll of others": (EPOLL + "e.register(0, 1); e.poll()", "ELSEWHERE"),
    "epoll for hang-up": (EPOLL + "e.register(master, 0); e.poll()", "ELSEWHERE"),
    "epoll after it": (EPOLL + "e.register(master, 1); e.unregister(master); e.poll()", "ELSEWHERE"),
    "epoll, one shot": (
        EPOLL + "e.register(master, select.EPOLLIN | select.EPOLLONESHOT);"
        "os.write(slave, b'x'); e.poll(); os.read(master, 1); e.poll()",
        "ELSEWHERE",
    ),
    "asyncio": ("import asyncio; asyncio.new_event_loop().run_forever()", "ELSEWHERE"),
    "two main loops": (THREAD.format("select.epoll().poll()") + "select.epoll().poll()", "ELSEWHERE"),
}


@pytest.mark.parametrize("code", WAITS.values(), ids=WAITS)
def test_a_client_that_waits(stage: Stage, code: str) -> None:
    scene = stage(code)
    scene.probe.until("WAITING")
    scene.probe.always("WAITING")
    assert scene.probe.ask("describe") == f"client pid {scene.pid} by its system call"
    assert scene.probe.ask("sees") == "True"


@pytest.mark.parametrize(("code", "view"), WAITS_NOT.values(), ids=WAITS_NOT)
def test_a_client_that_does_not_wait_for_us(stage: Stage, code: str, view: str) -> None:
    scene = stage(code)
    settle(scene, view)
    scene.probe.always(view)
    assert scene.probe.ask("sees") == "True"


def test_a_client_that_runs(stage: Stage) -> None:
    scene = stage("while True: pass")
    scene.until_state("R")
    scene.probe.always("BUSY")


def test_a_client_that_runs_with_the_master_in_its_epoll_set(stage: Stage) -> None:
    """It may just have read something else as the reply, so that ours would be for the next question."""
    scene = stage(EPOLL + "e.register(master, 1); e.register(0, 1); e.poll()\nwhile True: pass")
    scene.probe.until("WAITING")
    scene.go_on()
    scene.probe.until("BUSY")
    scene.until_state("R")
    scene.probe.always("BUSY")


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="a system call by its number on x86-64")
@pytest.mark.parametrize(("bit", "view"), [(1, "WAITING"), (0, "BUSY")])
def test_the_older_select(stage: Stage, bit: int, view: str) -> None:
    """Today's C library makes a select a pselect6."""
    call = "libc.syscall(23, master + 1, readfds, None, None, None)"
    scene = stage(f"{LIBC}readfds = (ctypes.c_ulong * 16)({bit} << master); {call}")
    settle(scene, view)
    scene.probe.always(view)


@pytest.mark.parametrize("lua", ["lua5.1", "lua5.2"])
def test_lpty(stage: Stage, lua: str) -> None:
    """Prosody's pty library: it waits from the question to the reply, and no longer."""
    path = command(lua, lua)
    if subprocess.run([path, "-llpty", "-e", ""], check=False, capture_output=True).returncode:
        missing(f"the module lpty of {lua}", "lua-lpty")
    scene = stage(command=[path, str(ROOT / "tests/support/watcher/client.lua")])
    # When the probe runs, lpty has switched echo off: the client does not read its own question.
    settle(scene, "BUSY")
    for answer in "101":
        scene.go_on()
        scene.probe.until("WAITING")
        scene.probe.always("WAITING")
        scene.probe.ask(f"write {answer}")
        assert scene.line() == answer
        settle(scene, "BUSY")
        scene.probe.always("BUSY")


# --- Who is the client? ---


def test_each_program_has_its_own_terminal(stage: Stage) -> None:
    """A wait for the reply of one program is not a wait for that of another."""
    scene = stage("import select; select.select([masters[1]], [], [])", probes=3)
    scene.probes[1].until("WAITING")
    scene.probes[0].always("BUSY")
    scene.probes[1].always("WAITING")
    scene.probes[2].always("BUSY")


def test_each_program_in_an_epoll_set(stage: Stage) -> None:
    scene = stage(EPOLL + "e.register(masters[1], 1); e.poll()", probes=3)
    scene.probes[1].until("WAITING")
    scene.probes[0].always("ELSEWHERE")
    scene.probes[1].always("WAITING")
    scene.probes[2].always("ELSEWHERE")


def test_a_wrapper_is_not_the_client(stage: Stage) -> None:
    """The shell has inherited the master too, and waits for its child."""
    scene = stage("import select; select.select([master], [], [])", wrapper=["sh", "-c", '"$@"; true', "sh"])
    scene.probe.until("WAITING")
    scene.probe.always("WAITING")
    assert scene.probe.ask("describe") == f"client pid {scene.pid} by its system call"


def test_a_wrapper_without_the_master(stage: Stage) -> None:
    code = (
        "import os, subprocess, sys; control = int(sys.argv[-1]);"
        "os.closerange(3, control); os.closerange(control + 1, 100);"
        "subprocess.run(sys.argv[1:], pass_fds=[control])"
    )
    scene = stage("import select; select.select([master], [], [])", wrapper=[sys.executable, "-c", code])
    scene.probe.until("WAITING")
    assert scene.probe.ask("describe") == f"client pid {scene.pid} by its system call"


def test_a_wrapper_alone(stage: Stage) -> None:
    """Its state says nothing, and the client may be out of sight."""
    scene = stage("import os; os.close(master); os.read(0, 1)", wrapper=["sh", "-c", '"$@"; true', "sh"])
    settle(scene, "UNSEEN")
    assert re.search(f"only a wrapper, pid |{REFUSED}", scene.probe.ask("describe"))
    assert scene.probe.ask("sees") == "False"


def test_a_duplicate_of_the_master(stage: Stage) -> None:
    scene = stage("import os; copy = os.dup(master); os.close(master); print(flush=True); os.read(copy, 1)")
    assert scene.line() == ""
    scene.probe.until("WAITING")


def test_a_number_that_is_used_again(stage: Stage) -> None:
    """The master has moved, and its number now belongs to another descriptor, which the client waits for."""
    scene = stage(
        "import os, select; select.select([0], [], []); os.dup(master); os.dup2(slave, master);"
        "select.select([master], [], [])"
    )
    settle(scene, "BUSY")
    scene.go_on()
    scene.probe.until("UNSEEN")
    # It is found at its new number, a second later.
    scene.probe.until("BUSY")
    scene.probe.always("BUSY")


def test_a_client_that_becomes_another_program(stage: Stage) -> None:
    scene = stage(
        "import os, select, sys; os.set_inheritable(master, True); select.select([0], [], []); os.read(0, 1);"
        "os.execv(sys.executable, [sys.executable, '-c', f'import select; select.select([{master}], [], [])'])"
    )
    settle(scene, "BUSY")
    scene.go_on()
    scene.probe.until("WAITING")


def test_a_client_that_is_gone(stage: Stage) -> None:
    scene = stage("import select; select.select([master], [], [])")
    scene.probe.until("WAITING")
    scene.process.kill()
    scene.until_state("Z")
    scene.probe.until("UNSEEN")
    assert scene.probe.ask("sees") == "False"
    scene.process.wait()
    scene.probe.always("UNSEEN")
    assert scene.probe.ask("describe").startswith("client not visible (")


def test_no_client(stage: Stage) -> None:
    scene = stage("import os; os.close(master); os.read(0, 1)")
    settle(scene, "UNSEEN")
    assert re.search(f"no ancestor holds the master of /dev/pts/|{REFUSED}", scene.probe.ask("describe"))


def test_no_descriptor_is_left_for_programs(stage: Stage) -> None:
    scene = stage("import select; select.select([master], [], [])")
    before = scene.probe.ask("inherited")
    scene.probe.until("WAITING")
    assert scene.probe.ask("inherited") == before
