"""What the Watcher sees where the system shows less: other users, no system call, other terminals' numbers."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from support.components import command
from support.watcher.scene import ROOT, Scene, Stage, overlay, settle, stage

__all__ = ["stage"]

NOBODY = 65534
EPOLL = "import os, select; e = select.epoll(); "
SELECT = "import select; select.select([master], [], [])"

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to start processes of another user")


def python_of_nobody() -> str:
    """A Python with this checkout that the user `nobody` can run."""
    for python in (sys.executable, "/usr/bin/python3"):
        try:
            tried = subprocess.run(
                [python, "-c", "import bridge.terminal.watcher, support.procfs"],
                check=False,
                capture_output=True,
                user=NOBODY,
                group=NOBODY,
                extra_groups=[],
                cwd="/",
                env={"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
            )
        except OSError:
            continue
        if tried.returncode == 0:
            return python
    pytest.skip("the user nobody can run no Python with this checkout")


# --- Users ---


@needs_root
def test_the_same_user_without_privileges(stage: Stage) -> None:
    scene = stage(SELECT, user=NOBODY, python=python_of_nobody())
    scene.probe.until("WAITING")
    assert scene.probe.ask("describe") == f"client pid {scene.pid} by its system call"


@needs_root
def test_another_user(stage: Stage) -> None:
    scene = stage(SELECT)
    scene.probe.ask(f"uid {NOBODY}")
    scene.until_state("S")
    scene.probe.always("UNSEEN")
    assert scene.probe.ask("sees") == "False"
    assert scene.probe.ask("describe") == f"client not visible (permission denied on /proc/{scene.pid}/fd)"


@needs_root
def test_a_client_that_changed_its_user(stage: Stage) -> None:
    """It is the same user now, but the kernel protects what it may still hold in memory."""
    python = python_of_nobody()
    code = (
        f"import os, runpy, sys; os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY});"
        "del sys.argv[:3]; runpy.run_module('support.watcher.client', run_name='__main__')"
    )
    scene = stage(SELECT, python=python, prefix=[python, "-c", code])
    scene.until_state("S")
    scene.probe.always("UNSEEN")
    assert scene.probe.ask("describe") == f"client not visible (permission denied on /proc/{scene.pid}/fd)"


@needs_root
def test_a_view_that_is_lost(stage: Stage) -> None:
    scene = stage(SELECT)
    scene.probe.until("WAITING")
    scene.probe.ask(f"uid {NOBODY}")
    scene.probe.until("UNSEEN")
    assert scene.probe.ask("sees") == "False"
    scene.probe.always("UNSEEN")


# --- Without the system call: what yama leaves, made of links to the real files but this ---


def hide(scene: Scene, tmp_path: Path, *names: str) -> None:
    """Give the probe a /proc without these files."""
    scene.probe.ask(f"proc {overlay(tmp_path, [scene.probe.pid, scene.pid], names)}")


CHANNELS = {
    "select": (EPOLL + "select.select([master], [], [])", "WAITING"),
    "poll": (EPOLL + "p = select.poll(); p.register(master, 1); p.poll()", "WAITING"),
    "epoll with the master": (EPOLL + "e.register(master, 1); e.poll()", "WAITING"),
    "epoll without it": (EPOLL + "e.register(0, 1); e.poll()", "ELSEWHERE"),
    "a second epoll with it": (EPOLL + "f = select.epoll(); f.register(master, 1); e.poll()", "WAITING"),
    "sleep": (EPOLL + "import time; time.sleep(1000)", "BUSY"),
    "read": (EPOLL + "os.read(0, 1)", "BUSY"),
}


@pytest.mark.parametrize(("code", "view"), CHANNELS.values(), ids=CHANNELS)
def test_the_wait_channel(stage: Stage, tmp_path: Path, code: str, view: str) -> None:
    scene = stage(code)
    hide(scene, tmp_path, "syscall")
    settle(scene, view)
    scene.probe.always(view)
    assert scene.probe.ask("describe") == f"client pid {scene.pid} by its wait channel"


def test_the_wait_channel_of_a_client_that_runs(stage: Stage, tmp_path: Path) -> None:
    scene = stage(EPOLL + "print(flush=True)\nwhile True: pass")
    assert scene.line() == "", "without an epoll set nothing would be seen of it"
    hide(scene, tmp_path, "syscall")
    scene.probe.always("BUSY")


def test_the_wait_channel_is_not_trusted_without_epoll(stage: Stage, tmp_path: Path) -> None:
    """A main loop on select would be mistaken for a wait for us."""
    scene = stage(SELECT)
    scene.probe.until("WAITING")
    hide(scene, tmp_path, "syscall")
    scene.probe.always("UNSEEN")
    assert scene.probe.ask("describe").startswith("client not visible (no such file or directory on ")
    assert "no main loop on epoll" in scene.probe.ask("describe")


@pytest.mark.parametrize(
    ("code", "view"),
    [
        (SELECT, "WAITING"),
        ("import select; select.select([0], [], [])", "BUSY"),
        ("import os, select; os.dup2(slave, 900); select.select([master, 900], [], [])", "BUSY"),
        ("import select; p = select.poll(); p.register(master, 1); p.poll()", "BUSY"),
        ("import os; os.read(master, 1)", "WAITING"),
    ],
)
def test_without_the_memory(stage: Stage, tmp_path: Path, code: str, view: str) -> None:
    """Only the highest descriptor of a select is known then: lpty has only one in it."""
    scene = stage(code)
    hide(scene, tmp_path, "mem")
    settle(scene, view)
    scene.probe.always(view)


def test_without_descriptors(stage: Stage, tmp_path: Path) -> None:
    scene = stage(SELECT)
    hide(scene, tmp_path, "fd")
    scene.probe.always("UNSEEN")


def test_without_proc(stage: Stage, tmp_path: Path) -> None:
    scene = stage(SELECT)
    scene.probe.ask(f"proc {tmp_path}")
    scene.probe.always("UNSEEN")


# --- Containers: terminals of another devpts ---

CONTAINER = ["-m", "--propagation", "private", "sh", "-ec"]
MOUNT = 'mount -t devpts -o newinstance,ptmxmode=0666 devpts /dev/pts; exec "$@"'


def unshare() -> list[str]:
    path = command("unshare", "util-linux")
    if subprocess.run([path, *CONTAINER, MOUNT, "sh", "true"], check=False, capture_output=True).returncode:
        pytest.skip("no right to make a mount namespace here")
    return [path, *CONTAINER, MOUNT, "sh"]


@pytest.mark.parametrize("ptmx", ["/dev/ptmx", "/dev/pts/ptmx"])
def test_a_client_in_a_container(stage: Stage, ptmx: str) -> None:
    code = f"import os; os.open({ptmx!r}, os.O_RDWR | os.O_NOCTTY); " + SELECT
    scene = stage(code, prefix=unshare())
    scene.probe.until("WAITING")
    assert scene.probe.ask("describe") == f"client pid {scene.pid} by its system call"


@pytest.mark.parametrize("ptmx", ["/dev/ptmx", "/dev/pts/ptmx"])
def test_a_terminal_of_the_same_number_elsewhere(stage: Stage, ptmx: str) -> None:
    """The probe's terminal is one of ours, whose master is closed; the client has that number in its own devpts."""
    master, terminal = pty.openpty()
    number = os.minor(os.fstat(terminal).st_rdev)
    os.close(master)
    scene = stage(
        f"import os; [os.open({ptmx!r}, os.O_RDWR | os.O_NOCTTY) for _ in range({number + 1})]; os.read(0, 1)",
        prefix=unshare(),
        wrapper=[sys.executable, "-c", f"import os, sys; os.dup2({terminal}, 0); os.execv(sys.argv[1], sys.argv[1:])"],
        pass_fds=[terminal],
    )
    os.close(terminal)
    settle(scene, "UNSEEN")
    infos = [info.read_text() for info in Path(f"/proc/{scene.pid}/fdinfo").iterdir()]
    assert any(f"tty-index:\t{number}\n" in info for info in infos), "nothing to be mistaken for ours"
    assert scene.probe.ask("describe") == f"client not visible (no ancestor holds the master of /dev/pts/{number})"
