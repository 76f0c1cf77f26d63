"""Each target finds what it is there for: a mistake made on purpose, one at a time, in a copy of the code."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support import canary

from fuzz.engine import HERE, NAMES

ROOT = HERE.parents[1]
LUA = "prosody/mod_auth_extauth_bridge"

MUTANTS = (
    ("lines", "protocol/lines.py", "len(line) <= self.max_line else", "len(line) <= self.max_line + 1 else"),
    ("lines", "protocol/lines.py", "            self._skipping = False\n            return", "            return"),
    ("lines", "protocol/lines.py", "            line = line[:-1]\n", "            line = line.rstrip(b'\\r')\n"),
    ("lines", "protocol/checks.py", r":[ -9;-~]+:[ -~]+\n|", r":[ -~]+:[ -~]+\n|"),
    (
        "lines",
        "protocol/checks.py",
        '_CONTROL = re.compile("[\\x00-\\x1f\\x7f-\\x9f',
        '_CONTROL = re.compile("[\\x00-\\x1f\\x7f',
    ),
    ("frames", "protocol/frames.py", "len(data) < 4 and", ""),
    ("frames", "protocol/frames.py", "None not in map(verdict_of, replies) and", ""),
    ("frames", "protocol/explain.py", "{command_of(taken.body)}, the", "{taken.body!r}, the"),
    ("generic", "protocol/generic.py", '(b"", b"0", b"1", b"0\\r", b"1\\r")', '(b"", b"0", b"1", b"1\\r", b"1 ")'),
    ("generic", "worker/pieces.py", "else rest or None", "else rest"),
    ("generic", "worker/pieces.py", "if self._codec.may_become_reply(joined):", "if False:"),
    ("generic", "protocol/checks.py", "\\u2028\\u2029", ""),
    ("tagged", "protocol/tagged.py", "        if tag in self.in_use:", "        if False:"),
    ("tagged", "protocol/tagged.py", "if len(self.in_use) < before", "if False and before"),
    ("tagged", "protocol/tagged.py", "or ends.count(", "or False and ends.count("),
    ("tagged", "protocol/tagged.py", "zip(queries, tags, strict", "zip(queries[::-1], tags, strict"),
    ("tagged", "protocol/tagged.py", "tag = take(query, None)", "tag = self._tags.get(query)"),
    ("tagged", "protocol/tagged.py", "if query.deadline <= latest:", "if False:"),
    ("lockstep", "protocol/lockstep.py", "if now - self.since <= BURST:", "if False:"),
    ("lockstep", "protocol/lockstep.py", "if len(lines) > 1 or", "if"),
    ("lockstep", "protocol/lockstep.py", "elif self._terminal and begun < WRITTEN_WHOLE:", "elif False:"),
    ("lockstep", "clients/lockstep.py", "if self._hear():", "if False:"),
    ("lockstep", "clients/lockstep.py", "if query is self._query:", "if True:"),
    ("lockstep", "terminal/gate.py", "if look is Look.ELSEWHERE or", "if"),
    ("config", "config/settings.py", "InvalidValue(type_name(text), ", "InvalidValue(repr(text), "),
    ("config", "config/load.py", "    except RecursionError:", "    except MemoryError:"),
    ("config", "config/load.py", "shown(part) for part", "part for part"),
    ("config", "relay/settings.py", "and 16 <= value <= MAX_LINE", ""),
    ("status", "commands/reload.py", "TypeError, RecursionError)", "TypeError)"),
    ("status", "commands/statustext.py", "{escaped(line)}", "{line}"),
    ("status", "commands/health.py", 'if pool["down"]\n', "if False\n"),
    ("relay", "relay/upstream.py", "self._queries.popleft() for", "self._queries.pop() for"),
    ("relay", "relay/upstream.py", "or size + len(half) > awaited:", ":"),
    ("relay", "relay/upstream.py", '        self._half = b""\n        self._known', "        self._known"),
    ("sqlite", "programs/sqlite.py", "while len(data) < size and (more := ", "if (more := "),
    ("sqlite", "programs/sqlite.py", 'len(fields) or "" in fields', "len(fields)"),
    ("sqlite", "programs/sqlite.py", "return users.exists(user, host)", "return not users.exists(user, host)"),
    ("module", f"{LUA}/protocol.lib.lua", "if not open[tag] or seen[tag] then return", "if not open[tag] then return"),
    ("module", f"{LUA}/protocol.lib.lua", "if #answers + #part > #tags then", "if false then"),
    ("module", f"{LUA}/connection.lib.lua", "<= now then -- perhaps", "<= 0 then --"),
    ("module", f"{LUA}/link.lib.lua", "	self.open[tag] = nil;\n", ""),
)


def test_each_target_has_some() -> None:
    assert {name for name, *_ in MUTANTS} == {*NAMES}


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Search with one piece of the code replaced."""
    copy = tmp_path_factory.mktemp("mutants")
    canary.knows(copy, "sources of tests")
    for part in ("bridge", "tests/fuzz", "tests/support", "tests/prosody"):
        shutil.copytree(ROOT / part, copy / part)

    def search(name: str, file: str, old: str, new: str) -> subprocess.CompletedProcess[str]:
        path: Path = copy / "bridge" / file
        text = path.read_text()
        assert text.count(old) == 1, "which one?"
        path.write_text(text.replace(old, new))
        try:
            argv = [sys.executable, copy / "tests/fuzz/run.py", "--plain", "--seed", "1", "--seconds", "200", name]
            return subprocess.run(argv, cwd=copy, capture_output=True, text=True, timeout=300, check=False)
        finally:
            path.write_text(text)

    return search


@pytest.mark.slow
@pytest.mark.parametrize(("name", "file", "old", "new"), MUTANTS)
def test_a_mistake_is_found(
    search: Callable[..., subprocess.CompletedProcess[str]], name: str, file: str, old: str, new: str
) -> None:
    done = search(name, file, old, new)
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"finding-{name}-" in done.stdout
