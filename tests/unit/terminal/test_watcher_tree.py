"""How the Watcher reads /proc: a made-up tree, for what this machine or kernel does not have.

The client is process 100, our parent, with the master as descriptor 7; see `tree`.
"""

import os
import pty
import re
import resource
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from support.components import missing
from support.examples import examples
from support.watcher.scene import ROOT
from support.watcher.tree import AARCH64, ADDRESS, I386, NANOSLEEP, S390X, X86_64, Tree

from bridge.terminal import procfs
from bridge.terminal.watcher import SILENCE, Look, Watcher

READ_OF_7 = "0 0x7 0x1 0x1 0x0 0x0 0x0 0x7ffc 0x7f5e"
SELECT_OF_8 = f"270 0x8 {ADDRESS:#x} 0x0 0x0 0x0 0x0 0x7ffc 0x7f5e"


@pytest.fixture(scope="module")
def terminal() -> Iterator[int]:
    master, slave = pty.openpty()
    yield slave
    os.close(slave)
    os.close(master)


@pytest.fixture
def tree(tmp_path: Path, terminal: int) -> Tree:
    return Tree(tmp_path, terminal)


# --- The system call ---


@pytest.mark.parametrize(
    ("line", "view"),
    [
        (READ_OF_7, Look.WAITING),
        # int arguments are half a register; what is in the other half is not theirs.
        ("0 0xffffffff00000007 0x1 0x1 0x0 0x0 0x0 0x7ffc 0x7f5e", Look.WAITING),
        ("0 0x8 0x1 0x1 0x0 0x0 0x0 0x7ffc 0x7f5e", Look.BUSY),
        (NANOSLEEP, Look.BUSY),
        # A poll that was stopped and goes on.
        (f"219 {ADDRESS:#x} 0x1 0x64 0x0 0x0 0x0 0x7ffc 0x7f5e", Look.BUSY),
        ("running", Look.BUSY),
        ("-1 0x7ffc 0x7f5e", Look.BUSY),
        ("", Look.BUSY),
        ("0 0x7 0x1", Look.BUSY),
        # A zombie.
        ("-1 0x0 0x0", Look.UNSEEN),
        ("0 seven 0x1 0x1 0x0 0x0 0x0 0x7ffc 0x7f5e", Look.UNSEEN),
    ],
)
def test_a_line_of_syscall(tree: Tree, line: str, view: Look) -> None:
    tree.write("100/syscall", line + "\n")
    assert tree.look() is view


@pytest.mark.parametrize(
    ("head", "number", "bits"),
    [(X86_64, 270, 64), (X86_64, 23, 64), (AARCH64, 72, 64), (I386, 142, 32), (I386, 413, 32), (S390X, 301, 64)],
)
@pytest.mark.parametrize("descriptor", [0, 7, 8, 31, 32, 63, 64, 100, 1023])
def test_a_set_of_select(tree: Tree, head: tuple[int, int, int], number: int, bits: int, descriptor: int) -> None:
    """An fd_set is an array of the machine's longs."""
    tree.program(100, head)
    if descriptor != 7:
        (tree.path / "100/fd/7").rename(tree.path / f"100/fd/{descriptor}")
        (tree.path / "100/fdinfo/7").rename(tree.path / f"100/fdinfo/{descriptor}")
    tree.write("100/syscall", f"{number} 0x400 {ADDRESS:#x} 0x0 0x0 0x0 0x0 0x7ffc 0x7f5e\n")
    order, word = "<>"[head[1] - 1], {32: "I", 64: "Q"}[bits]
    for present in (True, False):
        longs = [0 if present else 2**bits - 1] * (1024 // bits)
        longs[descriptor // bits] ^= 1 << descriptor % bits
        tree.memory(struct.pack(f"{order}{len(longs)}{word}", *longs))
        assert tree.look() is (Look.WAITING if present else Look.BUSY)


@pytest.mark.parametrize(("count", "view"), [(8, Look.WAITING), (7, Look.BUSY), (0, Look.BUSY)])
def test_a_select_below(tree: Tree, count: int, view: Look) -> None:
    """Descriptors from the first argument up are not waited for."""
    tree.memory(bytes([255] * 128))
    tree.write("100/syscall", SELECT_OF_8.replace("0x8", hex(count)))
    assert tree.look() is view


@pytest.mark.parametrize(("head", "number"), [(X86_64, 7), (X86_64, 271), (AARCH64, 73), (I386, 168), (S390X, 302)])
@pytest.mark.parametrize(
    ("entries", "view"),
    [
        ([(7, 1)], Look.WAITING),
        ([(7, 0x40)], Look.WAITING),
        ([(3, 1), (7, 1)], Look.WAITING),
        ([(7, 0), (7, 1)], Look.WAITING),
        ([(7, 4)], Look.BUSY),
        ([(3, 1), (-8, 1)], Look.BUSY),
        ([], Look.BUSY),
        ([(7, 1)] * 4097, Look.BUSY),
    ],
)
def test_an_array_of_poll(
    tree: Tree, head: tuple[int, int, int], number: int, entries: list[tuple[int, int]], view: Look
) -> None:
    tree.program(100, head)
    tree.write("100/syscall", f"{number} {ADDRESS:#x} {len(entries):#x} 0x0 0x0 0x0 0x0 0x7ffc 0x7f5e\n")
    order = "<>"[head[1] - 1]
    # Behind the array there is more, which is not part of it.
    tree.memory(b"".join(struct.pack(f"{order}ihh", *entry, 0) for entry in [*entries, (7, 1)]))
    assert tree.look() is view


@pytest.mark.parametrize("address", ["0x0", "0x7000", "0xffffffffffffffff", "0x8000000000000000"])
def test_an_address_where_nothing_is(tree: Tree, address: str) -> None:
    """Not WAITING; a client whose memory is gone runs another program, and is searched for again."""
    tree.memory(b"\xff" * 128)
    tree.write("100/syscall", f"270 0x8 {address} 0x0 0x0 0x0 0x0 0x7ffc 0x7f5e\n")
    assert tree.look() is (Look.UNSEEN if address == "0x7000" else Look.BUSY)


def test_another_thread_waits(tree: Tree) -> None:
    tree.write("100/task/101/syscall", NANOSLEEP)
    assert tree.look() is Look.BUSY
    tree.write("100/task/102/syscall", READ_OF_7)
    assert tree.look() is Look.WAITING


@pytest.mark.parametrize(
    ("entries", "view"),
    [
        ("tfd:        7 events:       19 data:                7  pos:0 ino:5b sdev:6\n", Look.WAITING),
        ("tfd:        7 events: 80000001 data:                7  pos:0 ino:5b sdev:6\n", Look.WAITING),
        ("tfd:        7 events:       18 data:                7  pos:0 ino:5b sdev:6\n", Look.ELSEWHERE),
        ("tfd:        7 events: 40000000 data:                7  pos:0 ino:5b sdev:6\n", Look.ELSEWHERE),
        ("tfd:       17 events:       19 data:                7  pos:0 ino:5b sdev:6\n", Look.ELSEWHERE),
        ("tfd:       70 events:       19 data:                7  pos:7 ino:7 sdev:7\n", Look.ELSEWHERE),
        ("tfd:        7 events:        0 data: 7\ntfd:        7 events:        1 data: 7\n", Look.WAITING),
        ("", Look.ELSEWHERE),
    ],
)
@pytest.mark.parametrize("by", ["syscall", "wchan"])
def test_an_epoll_set(tree: Tree, entries: str, view: Look, by: str) -> None:
    tree.write("100/fdinfo/4", "pos:\t0\nflags:\t02\nmnt_id:\t15\nino:\t1057\n" + entries)
    tree.write("100/syscall", "232 0x4 0x7ffc 0x400 0xffffffff 0x0 0x0 0x7ffc 0x7f5e\n")
    tree.write("100/wchan", "ep_poll")
    if by == "wchan":
        tree.remove("100/syscall")
    assert tree.look() is view


def test_an_epoll_set_that_is_closed_meanwhile(tree: Tree) -> None:
    tree.write("100/syscall", "232 0x5 0x7ffc 0x400 0xffffffff 0x0 0x0 0x7ffc 0x7f5e\n")
    assert tree.look() is Look.BUSY


def test_a_32_bit_program_has_its_own_numbers(tree: Tree) -> None:
    """The number of read on x86-64 is restart_syscall there, poll's is waitpid, and close's is read."""
    tree.program(100, I386)
    tree.memory(struct.pack("<ihh", 7, 1, 0))
    for number in (0, 7):
        tree.write("100/syscall", f"{number} 0x7 0x1 0x1 0x0 0x0 0x0 0x7ffc 0x7f5e\n")
        assert tree.look() is Look.BUSY
    tree.write("100/syscall", "3 0x7 0x1 0x1 0x0 0x0 0x0 0x7ffc 0x7f5e\n")
    assert tree.look() is Look.WAITING


@pytest.mark.parametrize(
    ("table", "header"),
    [
        (procfs._X86_64, "x86_64-linux-gnu/asm/unistd_64.h"),
        (procfs._I386, "x86_64-linux-gnu/asm/unistd_32.h"),
        (procfs._GENERIC, "asm-generic/unistd.h"),
    ],
)
def test_the_numbers_are_those_of_the_c_headers(table: dict[str, tuple[int, ...]], header: str) -> None:
    path = Path("/usr/include", header)
    if not path.exists():
        missing(str(path), "linux-libc-dev on amd64")
    names = {
        "read": {"read", "readv"},
        "select": {"select", "_newselect", "pselect6", "pselect6_time64"},
        "poll": {"poll", "ppoll", "ppoll_time64"},
        "epoll": {"epoll_wait", "epoll_pwait", "epoll_pwait2"},
    }
    defined = dict(re.findall(r"^#define __NR_(\w+)\s+(\d+)$", path.read_text(), re.MULTILINE))
    if "_newselect" in defined:
        names["select"].discard("select")  # the old one of i386, with one argument
    if "generic" in header:
        # These are for 32-bit machines only there.
        names["select"].discard("pselect6_time64")
        names["poll"].discard("ppoll_time64")
    for kind, numbers in table.items():
        assert set(numbers) == {int(defined[name]) for name in names[kind] if name in defined}


# --- The wait channel ---


@pytest.mark.parametrize(
    ("channel", "view"),
    [
        ("poll_schedule_timeout.constprop.0", Look.WAITING),
        ("do_select", Look.WAITING),
        ("core_sys_select", Look.WAITING),
        ("ep_poll", Look.ELSEWHERE),
        ("do_epoll_wait", Look.ELSEWHERE),
        ("do_wait", Look.BUSY),
        ("hrtimer_nanosleep", Look.BUSY),
        ("wait_woken", Look.BUSY),
    ],
)
@pytest.mark.parametrize("lacks", ["syscall", "right to read it", "exe", "known program"])
def test_a_wait_channel(tree: Tree, channel: str, view: Look, lacks: str) -> None:
    if lacks == "known program":
        tree.program(100, (2, 1, 9999))
    elif lacks == "right to read it":
        # As under yama: it can be opened, but every read is refused.
        tree.remove("100/syscall")
        (tree.path / "100/syscall").mkdir()
    else:
        tree.remove(f"100/{lacks}")
    tree.write("100/wchan", channel)
    watcher = tree.watcher()
    assert watcher.look() is view
    assert watcher.describe() == "client pid 100 by its wait channel"
    watcher.close()


def test_no_wait_channel_of_one_that_runs(tree: Tree) -> None:
    tree.remove("100/syscall")
    tree.write("100/wchan", "0")
    tree.sleeps(100, 5, "R (running)")
    assert tree.look() is Look.BUSY


def test_a_kernel_that_shows_no_wait_channels(tree: Tree) -> None:
    """`0` for a client that certainly sleeps, and has for a while: it would seem busy for ever."""
    tree.remove("100/syscall")
    tree.write("100/wchan", "0")
    watcher = tree.watcher()
    assert watcher.look() is Look.BUSY
    tree.now += SILENCE
    assert watcher.look() is Look.UNSEEN
    assert not watcher.sees
    assert "not shown while it sleeps" in watcher.describe()
    watcher.close()


def test_one_that_shows_them_late(tree: Tree) -> None:
    """As Linux does since 6.12 on a busy CPU, each time that somebody has gone to sleep."""
    tree.remove("100/syscall")
    watcher = tree.watcher()
    for times in range(5, 100):
        tree.sleeps(100, times)
        tree.write("100/wchan", "0")
        assert watcher.look() is Look.BUSY
        tree.now += SILENCE / 2
        assert watcher.look() is Look.BUSY
        tree.now += SILENCE / 4
        tree.write("100/wchan", "do_select")
        assert watcher.look() is Look.WAITING
    watcher.close()


# --- The client ---


def test_the_outermost_holder_is_the_client(tree: Tree) -> None:
    tree.write("100/stat", "100 (sh) S 200 100 100 0 -1")
    tree.process(200, parent=1)
    tree.write("100/syscall", READ_OF_7)
    watcher = tree.watcher()
    assert watcher.look() is Look.BUSY
    assert watcher.describe() == "client pid 200 by its system call"
    tree.write("200/syscall", READ_OF_7)
    assert watcher.look() is Look.WAITING
    watcher.close()


def test_several_descriptors_of_the_master(tree: Tree) -> None:
    tree.write("100/fdinfo/9", f"tty-index:\t{tree.index}\n")
    tree.link("100/fd/9", "/dev/ptmx")
    tree.write("100/syscall", SELECT_OF_8.replace("0x8", "0xa"))
    for mask, view in ((1 << 9, Look.WAITING), (1 << 7, Look.WAITING), (1 << 8, Look.BUSY)):
        tree.memory(struct.pack("<Q", mask))
        assert tree.look() is view


@pytest.mark.parametrize("info", ["", "pos:\t0\n", "tty-index:\t", "tty-index:\tx\n", "tty-index:\t9999\n"])
def test_a_ptmx_that_is_not_known_to_be_ours(tree: Tree, info: str) -> None:
    tree.write("100/fdinfo/7", info)
    watcher = tree.watcher()
    assert watcher.look() is Look.UNSEEN
    assert watcher.describe() == f"client not visible (no ancestor holds the master of /dev/pts/{tree.index})"
    watcher.close()


def test_a_file_with_the_name_of_a_ptmx(tree: Tree) -> None:
    tree.write("ptmx", "")
    tree.remove("100/fd/7")
    tree.link("100/fd/7", str(tree.path / "ptmx"))
    assert tree.look() is Look.UNSEEN


def test_parents_in_a_circle(tree: Tree) -> None:
    """As happens when pids are reused while they are read."""
    tree.write("100/stat", "100 (sh) S 100 100 100 0 -1")
    assert tree.look() is Look.BUSY


def test_a_client_that_lost_its_master_is_looked_for_again_after_a_second(tree: Tree) -> None:
    tree.write("100/syscall", READ_OF_7)
    watcher = tree.watcher()
    assert watcher.look() is Look.WAITING
    ours = (tree.path / "100/fdinfo/7").read_bytes()
    tree.write("100/fdinfo/7", "pos:\t0\n")
    tree.now += 5
    assert watcher.look() is Look.UNSEEN
    assert watcher.look() is Look.UNSEEN
    tree.write("100/fdinfo/7", ours)
    tree.now += 0.9
    assert watcher.look() is Look.UNSEEN
    assert "no ancestor holds the master" in watcher.describe()
    tree.now += 0.2
    assert watcher.look() is Look.WAITING
    assert watcher.sees
    watcher.close()


def test_a_want_of_descriptors_of_our_own_says_nothing_about_the_client(tree: Tree) -> None:
    watcher = tree.watcher()
    assert watcher.look() is Look.BUSY
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            os.dup(0)
        views = [watcher.look() for _ in range(3)]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert views == [Look.BUSY] * 3
    assert watcher.sees
    watcher.close()


def test_not_a_terminal(tmp_path: Path) -> None:
    with open(os.devnull) as file:
        watcher = Watcher(file.fileno())
        assert watcher.look() is Look.UNSEEN
        assert not watcher.sees
        assert watcher.describe() == "client not visible (not on a pseudo-terminal)"
    closed = Watcher(file_number := os.dup(0), proc=str(tmp_path))
    os.close(file_number)
    assert closed.look() is Look.UNSEEN
    assert closed.describe() == "client not visible (bad file descriptor)"


def test_close(tree: Tree) -> None:
    before = os.listdir("/proc/self/fd")
    watcher = tree.watcher()
    assert watcher.sees
    assert len(os.listdir("/proc/self/fd")) > len(before)
    watcher.close()
    watcher.close()
    assert len(os.listdir("/proc/self/fd")) == len(before)
    assert watcher.look() is Look.BUSY
    watcher.close()


def test_nothing_stays_open_of_a_client_that_cannot_be_seen(tree: Tree) -> None:
    tree.remove("100/syscall")
    tree.remove("100/fd/4")
    before = os.listdir("/proc/self/fd")
    assert not tree.watcher().sees
    assert len(os.listdir("/proc/self/fd")) == len(before)


# --- Whatever the files say ---

FILES = ["syscall", "wchan", "status", "mem", "exe", "fdinfo/7", "fdinfo/4", "stat", "task/101/syscall"]
WORDS = st.sampled_from(
    [b"0", b"7", b"232", b"270", b"-1", b"0x7", b"0x4", b"0x0", b"0x2000", b"running", b"tfd: ", b" 7 events: ", b"zz",
     b"tty-index:\t", b"State:\tS", b"\nvoluntary_ctxt_switches:\t", b" ", b"\n", b")", b"ep_poll", b"select",
     b"\x7fELF\x02\x01" + bytes(12) + b"\x3e\x00"]
)  # fmt: skip
CONTENT = (
    st.binary(max_size=80) | st.lists(WORDS, max_size=12).map(b" ".join) | st.lists(WORDS, max_size=12).map(b"".join)
)


@given(contents=st.dictionaries(st.sampled_from(FILES), CONTENT, min_size=1, max_size=4))
@examples(150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_nothing_raises(tree: Tree, contents: dict[str, bytes]) -> None:
    """Neither in a Watcher that starts with such files, nor in one that has already found its client."""
    present = [name for name in FILES if (tree.path / "100" / name).exists()]
    good = {name: (tree.path / "100" / name).read_bytes() for name in present}
    before, after = tree.watcher(), tree.watcher()
    assert before.sees
    for name, content in contents.items():
        tree.write(f"100/{name}", content)
    for watcher in (before, after):
        assert {type(watcher.look()) for _ in range(2)} == {Look}
        assert watcher.describe().startswith("client ")
        watcher.close()
    (tree.path / "100/task/101/syscall").unlink(missing_ok=True)
    for name, content in good.items():
        tree.write(f"100/{name}", content)


def test_the_import_is_cheap() -> None:
    """Every relay imports it, and one is started for every terminal."""
    code = (
        "import collections.abc, enum, errno, os, struct, sys, time; before = set(sys.modules);"
        f"sys.path.insert(0, {str(ROOT)!r}); import bridge.terminal.watcher; print(*sorted(set(sys.modules) - before))"
    )
    ran = subprocess.run([sys.executable, "-I", "-c", code], check=True, capture_output=True, text=True)
    assert ran.stdout.split() == ["bridge", "bridge.terminal", "bridge.terminal.procfs", "bridge.terminal.watcher"]
