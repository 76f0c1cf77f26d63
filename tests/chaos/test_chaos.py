"""Whatever happens to programs, machine, clients or operator: no wrong `1`, an answer to each, and all is well again.

Each action of `tests/chaos/run.py` once, for a short time, from the same seed.  Three runs side by side: they wait most
of the time.
"""

from concurrent.futures import ProcessPoolExecutor

import pytest
from support.chaos.catalogue import ACTIONS
from support.chaos.play import Play, Result

SEED = 20
TOGETHER = 3


def play(names: list[str]) -> Result:
    said: list[str] = []
    result = Play([ACTIONS[name] for name in names], SEED, said.append, hold=0.6).run(0)
    print("\n".join(said))
    return result


@pytest.mark.slow
def test_each_action_once() -> None:
    with ProcessPoolExecutor(TOGETHER) as pool:
        results = list(pool.map(play, [[*ACTIONS][start::TOGETHER] for start in range(TOGETHER)]))
    assert [breach for result in results for breach in result.breaches] == []
    assert {row.name for result in results for row in result.rows if row.asked} == {
        name for name in ACTIONS if not any(name in result.missing for result in results)
    }
