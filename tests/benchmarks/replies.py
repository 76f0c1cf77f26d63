"""Whose reply is it?  Many second replies, or many of honest programs, one table.  By hand; needs gcc, Linux.

    python tests/benchmarks/replies.py second [--count 1000] [--quick] [only...]
    python tests/benchmarks/replies.py honest [--count 1000000] [only...]

`second`: so many second replies for each combination of manner, pool, lines in flight, work and gap; --quick leaves
out most lines in flight, works and gaps.  `honest`: so many questions in all, shared by the programs, the slow ones
with a tenth.  `only` picks rows by a part of their name.  Exit status: 0; 1 if one reply was taken for another's, a
second reply was not seen, or an honest program was refused.
"""

import argparse
import itertools
import random
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support.process import Bridge
from support.programs import oracle
from support.programs.bad import Journal
from support.programs.replies import HONEST, MANNERS, Doubles, doubling_lines, honest_lines, tally, verdicts_of

POOLS, IN_FLIGHT, WORK, GAPS = (1, 2, 4), (1, 4, 16, 64), (0, 500, 3000), (0, 60, 200, 1000)
QUICK = ((1, 2, 4), (16,), (0, 3000), (60, 1000))
PIECE = 5000
"""Lines at a time, so that the journal and the list of answers stay short."""


def combinations(quick: bool) -> Iterator[Doubles]:
    """All that `second` tries."""
    for manner, *rest in itertools.product(MANNERS, *(QUICK if quick else (POOLS, IN_FLIGHT, WORK, GAPS))):
        yield Doubles(manner, *rest)


def run_doubles(doubles: Doubles, count: int, folder: Path, dice: random.Random) -> bool:
    """One row of `second`; did everything hold?"""
    place = Path(tempfile.mkdtemp(dir=folder))
    journal = Journal(place / "events")
    settings = ("--pool-size", doubles.pool_size, "--answer-timeout", 60, "--max-requests", 0)
    bridge = Bridge("run", *settings, "--", *doubles.command(folder), env=journal.environment)
    try:
        lines = doubling_lines(count, dice)
        answers = bridge.converse(lines, in_flight=doubles.in_flight, seconds=3600)
        bridge.finish()
    finally:
        bridge.destroy()
    found = tally(lines, verdicts_of(answers), journal)
    caught = found.second - found.uncaught
    print(
        f"{doubles!s:55}{found.second:8}{caught:8}{found.wrong:8}{found.refused:8}{found.doubles_refused:8}", flush=True
    )
    try:
        found.check()
    except AssertionError as error:
        print(f"  {error}")
        return False
    return True


def second(count: int, quick: bool, only: Sequence[str], folder: Path, dice: random.Random) -> bool:
    """The table of second replies."""
    print(f"{'':55}{'second':>8}{'caught':>8}{'wrong':>8}{'right':>8}{'doubles':>8}")
    print(f"{'':55}{'replies':>8}{'':8}{'grants':>8}{'refused':>8}{'refused':>8}")
    held = [run_doubles(row, count, folder, dice) for row in combinations(quick) if wanted(str(row), only)]
    return all(held)


def run_honest(name: str, count: int, folder: Path, dice: random.Random) -> bool:
    """One row of `honest`; did everything hold?"""
    settings = ("--pool-size", 4, "--answer-timeout", 60, "--max-requests", 0, "--max-age", 0)
    bridge = Bridge("run", *settings, "--", *HONEST[name](folder))
    wrong = refused = 0
    try:
        bridge.ask(b"isuser:u:h")
        programs = bridge.wait_for_programs(4)
        for begin in range(0, count, PIECE):
            lines = honest_lines(min(PIECE, count - begin), dice, (0,) * 20 + (4000, 4094, 4095, 4096))
            for line, answer in zip(lines, bridge.converse(lines, in_flight=64, seconds=3600), strict=True):
                wrong += answer.verdict > oracle.best_answer(line)
                refused += answer.verdict < oracle.best_answer(line)
        replaced = len(set(programs) - set(bridge.programs()))
        bridge.finish()
    finally:
        bridge.destroy()
    if replaced:
        print(bytes(bridge.log).decode(errors="replace"))
    print(f"{name:55}{count:10}{wrong:8}{refused:8}{replaced:9}", flush=True)
    return not (wrong or refused or replaced)


def honest(count: int, only: Sequence[str], folder: Path, dice: random.Random) -> bool:
    """The table of honest programs."""
    print(f"{'':55}{'questions':>10}{'wrong':>8}{'refused':>8}{'replaced':>9}")
    shares = {name: 0.1 if "pause" in name else 1.0 for name in HONEST if wanted(name, only)}
    unit = count / (sum(shares.values()) or 1)
    held = [run_honest(name, max(1, round(unit * share)), folder, dice) for name, share in shares.items()]
    return all(held)


def wanted(name: str, only: Sequence[str]) -> bool:
    """Is this row to be run?"""
    return not only or any(part in name for part in only)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["second", "honest"])
    parser.add_argument("only", nargs="*")
    parser.add_argument("--count", type=int)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**9))
    options = parser.parse_intermixed_args()
    print(f"seed {options.seed}")
    dice = random.Random(options.seed)
    with tempfile.TemporaryDirectory(prefix="replies-") as name:
        folder = Path(name)
        if options.what == "second":
            held = second(options.count or 1000, options.quick, options.only, folder, dice)
        else:
            held = honest(options.count or 1_000_000, options.only, folder, dice)
    return 0 if held else 1


sys.exit(main())
