"""What the bridge takes from the kernel, on the kernel of Debian 12: whose reply it is.

The machine that the other tests run on may have a newer one. Needs root and debootstrap; the first run downloads a
minimal Debian and its kernel (see support.machine.root). Later ones take one to two minutes, as two emulated CPUs do.
"""

import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from support.components import command
from support.machine.older_kernel import run_on_older_kernel
from support.programs.bad import PROGRAMS
from support.readme import ROOT

pytestmark = pytest.mark.slow

READS = ("whole", "header", "byte")
WRITES = ("whole", "halves")

Figures = dict[str, Counter[str]]


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> str:
    directory = tmp_path_factory.mktemp("guest")
    twice = directory / "twice"  # static: the guest may have another libc
    build = [command("gcc", "gcc"), "-O2", "-static", "-o", str(twice), str(PROGRAMS / "twice.c")]
    subprocess.run(build, check=True, timeout=60)
    files = {"twice": twice, "bridge": ROOT / "bridge", "guest.py": Path(__file__).with_name("guest.py")}
    return run_on_older_kernel(files, "python3 guest.py /tmp/twice", directory)


@pytest.fixture(scope="module")
def figures(said: str) -> Figures:
    """What guest.py counted, by the kind of run."""
    found: Figures = {}
    for name, what, number in re.findall(r"^(\w.*): (\w.*) (\d+)$", said, re.MULTILINE):
        found.setdefault(name, Counter())[what] = int(number)
    return found


def test_it_is_the_kernel_that_users_have(said: str) -> None:
    assert re.search(r"^kernel 6\.1\.", said, re.MULTILINE), said


def test_no_second_reply_is_taken_for_an_answer(figures: Figures) -> None:
    second = figures["second"]
    assert (second["wrongly granted"], second["wrongly denied"]) == (0, 0), second
    # It says little unless many came, and many of those when the next question was on its way already.
    assert second["failed"] > 0.8 * second["second replies"] > 500, second
    assert second["first replies"] > 100, second


def test_no_early_reply_is_taken_for_the_answer_to_a_first_question(figures: Figures) -> None:
    early = figures["early"]
    assert early == Counter({"failed": early["early replies"], "early replies": early["early replies"]}), early


@pytest.mark.parametrize("writes", WRITES)
@pytest.mark.parametrize("reads", READS)
def test_no_honest_reply_is_refused(figures: Figures, reads: str, writes: str) -> None:
    honest = figures[f"honest {reads} {writes}"]
    assert honest["right"] >= 3000
    assert honest == Counter(right=honest["right"]), honest
