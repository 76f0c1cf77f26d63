"""Memory and CPU time of programs, from /proc."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.bench import machine

MEBIBYTE = 2**20

FAMILY = """
import os, sys
if os.fork() == 0:
    os.setsid()
    kept = bytearray(os.urandom(1)) * (32 << 20)
    for _ in range(5_000_000): pass
    sys.stdout.write("there\\n"); sys.stdout.flush()
sys.stdin.read()
"""
"""A small program whose child is large, and has worked."""


@pytest.fixture
def family() -> Iterator[int]:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-ISc", FAMILY], start_new_session=True, **pipes) as program:
        assert program.stdout is not None
        assert program.stdin is not None
        assert program.stdout.readline() == b"there\n"
        yield program.pid
        program.stdin.close()


def test_what_a_program_has_started_counts(family: int) -> None:
    """Even if that has a session of its own."""
    assert 32 * MEBIBYTE < machine.memory_of([family]) < 100 * MEBIBYTE


def test_cpu_time_counts_the_family_and_us_and_is_a_part_of_everybodys(family: int) -> None:
    ours, everybodys = machine.cpu_time([family])
    alone, _ = machine.cpu_time([])
    assert alone < ours <= everybodys


def test_there_is_memory() -> None:
    assert machine.available() > 10 * MEBIBYTE


@pytest.mark.parametrize(
    ("limit", "used", "found"),
    [
        ("max", 5, 1000 * 1024),
        (900_000, 600_000, 300_000),
        (2**40, 5, 1000 * 1024),
        (5, 6, 1),
        ("none", 0, 1000 * 1024),
    ],
)
def test_a_containers_limit_counts(tmp_path: Path, limit: object, used: int, found: int) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "cgroup").write_text("0::/here\n")
    (tmp_path / "meminfo").write_text("MemTotal: 12 kB\nMemAvailable: 1000 kB\n")
    if limit != "none":
        (tmp_path / "here").mkdir()
        (tmp_path / "here" / "memory.max").write_text(f"{limit}\n")
        (tmp_path / "here" / "memory.current").write_text(f"{used}\n")
    assert machine.available(str(tmp_path), str(tmp_path)) == found


def test_what_cannot_be_read_counts_as_nothing(tmp_path: Path) -> None:
    assert machine.available(str(tmp_path), str(tmp_path)) == 0
    (tmp_path / "meminfo").write_text("MemTotal: 12 kB\n")
    assert machine.available(str(tmp_path), str(tmp_path)) == 0
    assert machine.memory_of([2**30]) == 0
