"""Nothing that a daemon changes for as long as it runs is a set.

A set that has to grow and cannot raises `MemoryError`, but has taken the item, whose place stays occupied when it is
discarded.  Once all places are, looking for anything that is not there never ends, and no signal handler runs: a daemon
that was short of memory for a moment eats a CPU and ignores SIGTERM.  A dict that cannot grow stays as it is.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.process import environment

import bridge

PACKAGE = Path(bridge.__file__).parent

FOLDERS = ("clients", "loop", "pool", "protocol", "worker")
"""What is used for each query, client or program."""

FEW = {"pool/poolset.py": {"proving", "draining"}, "pool/staff.py": {"_row"}}
"""These grow with a reload only, or never beyond the few items that every set has room for."""


def kept_sets(code: str) -> Iterator[str]:
    """Names of attributes, globals and classes that are sets one can add to."""
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and any(ast.unparse(base).startswith("set") for base in node.bases):
            yield node.name
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.annotation).startswith("set["):
            if isinstance(node.target, ast.Attribute):
                yield node.target.attr
            elif isinstance(node.target, ast.Name) and node in tree.body:
                yield node.target.id


def test_what_grows_is_no_set() -> None:
    found = {
        f"{folder}/{path.name}": sets
        for folder in FOLDERS
        for path in (PACKAGE / folder).glob("*.py")
        if (sets := {*kept_sets(path.read_text())})
    }
    assert found == FEW


def test_sets_are_found() -> None:
    code = (
        "a: set[int] = set()\nclass B(set[int]):\n  def f(self):\n    self.c: set[int] = set()\n    d: set[int] = set()"
    )
    assert {*kept_sets(code)} == {"a", "B", "c"}


SHORT_OF_MEMORY = """
import _testcapi
from bridge.pool.turns import Turns
from bridge.protocol.query import REFUSED, Query

turns = Turns()
for number in range(300):  # each has its turn before all that came later and have less time
    turns.add(Query(b"auth:u%d:h:s" % number, -float(number), REFUSED.asker), back=True)
out = [turns.next()]
for call in range(3000):  # whichever allocation it is that fails, it does so a hundred times
    _testcapi.set_nomemory(call // 100 % 10, call // 100 % 10 + 1)
    try:
        query = turns.next()
    except MemoryError:
        query = None
    _testcapi.remove_mem_hooks()
    if query is not None:
        out.append(query)
print(len(turns), len(out), len({*out}))
"""


def test_a_queue_that_could_not_grow_still_finds_what_it_looks_for() -> None:
    """In another process: no signal would end this one."""
    pytest.importorskip("_testcapi", reason="this Python cannot let allocations fail")
    command = [sys.executable, "-c", SHORT_OF_MEMORY]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "0 300 300\n", done.stderr
