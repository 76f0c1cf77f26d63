"""Each target with the inputs of its corpus, which were findings or reach most of its code, and some new ones."""

import random
import subprocess
import sys

import pytest

from fuzz import engine
from fuzz.engine import HERE, NAMES

COUNTS = {
    "config": 500,
    "frames": 4000,
    "generic": 3000,
    "lines": 1000,
    "lockstep": 250,
    "module": 20,
    "relay": 250,
    "sqlite": 250,
    "status": 250,
}
OTHERS = 1000
"""New inputs: together some ten seconds."""


@pytest.mark.parametrize("name", NAMES)
def test_what_was_found_before_and_some_more(name: str) -> None:
    module, seed = engine.module_of(name), random.SystemRandom().getrandbits(32)
    corpus = engine.corpus_of(name)
    assert corpus
    with module.target() as check:
        found = engine.search(check, corpus, module.TOKENS, random.Random(seed), COUNTS.get(name, OTHERS))
    assert found.finding is None, f"seed {seed}"
    assert found.executions >= len(corpus) + COUNTS.get(name, OTHERS)


def test_a_finding_is_made_as_small_as_it_can_be() -> None:
    def check(data: bytes) -> None:
        assert b"a" not in data or b"zz" not in data

    found = engine.search(check, [b"0123456789a"], [b"zz"], random.Random(1), count=10_000)
    assert found.finding is not None
    assert sorted(found.finding.data) == [*b"azz"]


def test_inputs_that_show_something_new_are_kept() -> None:
    """Eight steps, each of which alone leads nowhere."""

    def check(data: bytes) -> list[int]:
        steps = next((number for number, byte in enumerate(data) if byte != number), len(data))
        assert steps < 8
        return [steps]

    tokens = [bytes([number]) for number in range(16)]
    assert engine.search(check, [], tokens, random.Random(1), count=100_000).finding is not None


@pytest.mark.slow
@pytest.mark.parametrize("way", [[], ["--plain"]])
def test_the_command(way: list[str]) -> None:
    """Guided where that is installed."""
    argv = [sys.executable, HERE / "run.py", "--seconds", "1", *way, "frames"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    guided = engine.can_be_guided() and not way
    first, _, row = done.stdout.splitlines()
    assert ("guided by coverage" if guided else "by mutation alone") in first
    name, executions, _, coverage, corpus, *_, findings = row.split()
    assert (name, findings, coverage != "-") == ("frames", "none", guided)
    assert int(executions) > 100 and int(corpus) > 0
