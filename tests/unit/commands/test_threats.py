"""The page of threats: none is without a test that shows its defence, and every test that it names exists."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support import canary
from support.process import ROOT, environment

from bridge.commands.help import find
from bridge.commands.mdoc import plain

_OTHERS = {"NAME", "DESCRIPTION", "OUT OF SCOPE", "SEE ALSO"}


def threats() -> dict[str, list[str]]:
    """The tests that the page names, by threat."""
    page = find("threats")
    assert page is not None
    sections = re.split(r"^\.Sh ", plain(page.read_text()), flags=re.MULTILINE)[1:]
    items = [
        item for section in sections if section.split("\n")[0] not in _OTHERS for item in section.split("\n.It ")[1:]
    ]
    return {item.split("\n")[0]: re.findall(r"^\.Pa (tests/\S+::\S+)", item, re.MULTILINE) for item in items}


THREATS = threats()
NAMED = sorted({test for tests in THREATS.values() for test in tests})


def test_there_is_a_section_for_everybody() -> None:
    assert len(THREATS) > 40


@pytest.mark.parametrize("threat", THREATS)
def test_no_threat_is_without_a_test(threat: str) -> None:
    assert THREATS[threat]


@pytest.mark.parametrize("test", NAMED)
def test_a_test_that_is_named_exists(test: str) -> None:
    file, _, name = test.partition("::")
    body = ast.parse((ROOT / file).read_text()).body
    assert name in {one.name for one in body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.slow
def test_they_can_be_collected(tmp_path: Path) -> None:
    """Whatever runs them: none is left out by a file that cannot be imported, or under a name that is no test's."""
    words = ["-m", "pytest", "-q", "--collect-only", "-m", "", "-p", "no:cacheprovider", *NAMED]
    said = tmp_path / "collected"
    canary.knows(said, "what some tests ask is part of their names")
    with said.open("wb") as file:
        done = subprocess.run(
            [sys.executable, *words], cwd=ROOT, stdout=file, timeout=120, check=False, env=environment()
        )
    assert done.returncode == 0, said.read_text()[-2000:]
    collected = {line.partition("[")[0] for line in said.read_text().splitlines() if "::" in line}
    assert collected == set(NAMED)
