"""Thousands of real logins with a known truth table while programs, daemon and connections are broken all the time.

    python tests/prosody/test_ten_thousand.py [--module 10000] [--terminal 1000] [--seed 1] [--times 1]

does all of it and prints what became of each kind of login: about three minutes on two CPUs.  As a test it is shorter.
Exit status: 1 if anybody was let in with a wrong password.
"""

import argparse
import sys
from pathlib import Path

import pytest
import trio

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support.logins.stages import on_terminals, through_the_module
from support.logins.tally import GRANTED, Tally

pytestmark = pytest.mark.slow

MODULE, TERMINAL = 3000, 250  # logins in a test: some 40 s for both of them
SEED = 1

# Of the right logins.  On a machine with little else to do, 99 in 100 are let in through the module and 90 on
# terminals; what an outage costs depends on how soon a daemon is up again.
LET_IN_BY_MODULE, LET_IN_ON_TERMINALS = 0.8, 0.5


def check(tally: Tally, least: float) -> None:
    """Nobody was let in wrongly; most were let in rightly."""
    assert tally.false == [], tally.report()
    assert tally.count(True, GRANTED) >= least * tally.count(True), tally.report()


async def test_through_the_module() -> None:
    tally = await through_the_module(MODULE, SEED)
    print(tally.report())
    check(tally, LET_IN_BY_MODULE)
    assert tally.told_wrong() == 0, tally.report()
    assert tally.count() >= MODULE and tally.broken() >= MODULE / 500


async def test_on_terminals() -> None:
    tally = await on_terminals(TERMINAL, SEED)
    print(tally.report())
    check(tally, LET_IN_ON_TERMINALS)
    assert tally.count() >= TERMINAL and tally.broken() >= TERMINAL / 100


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--module", type=int, default=10000, help="logins through the module (default: 10000)")
    parser.add_argument("--terminal", type=int, default=1000, help="logins on terminals (default: 1000)")
    parser.add_argument("--seed", type=int, default=SEED, help=f"of the first time (default: {SEED})")
    parser.add_argument("--times", type=int, default=1, help="how often, each with the next seed (default: 1)")
    return parser.parse_args()


def main() -> int:
    options, false = parse(), 0
    for seed in range(options.seed, options.seed + options.times):
        for stage, logins in ((through_the_module, options.module), (on_terminals, options.terminal)):
            if logins:
                tally = trio.run(stage, logins, seed)
                print(tally.report(), flush=True)
                false += len(tally.false)
    return 1 if false else 0


if __name__ == "__main__":
    sys.exit(main())
