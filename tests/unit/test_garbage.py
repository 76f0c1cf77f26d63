"""What is no longer used is given back soon, however long it has been used."""

import subprocess
import sys

from support.process import ROOT, environment

OLD_GARBAGE = """
import collections, gc, sys, weakref
from bridge.entry import main

class Pool:
    pass

sys.argv = ["extauth-bridge", "--version"]
main()
gc.collect()
gc.freeze()  # as a service does
pool = Pool()
pool.itself, left = pool, weakref.ref(pool)
gc.collect(0)
gc.collect(1)
del pool
recent, made = collections.deque(maxlen=5000), 0
while left() is not None and made < 3_000_000:
    cycle = []
    cycle.append(cycle)
    recent.append(cycle)
    made += 1
print(made)
"""


def test_a_replaced_pool_is_not_kept_for_weeks() -> None:
    """It is a cycle in the collector's oldest generation, where Python alone leaves it for 2 million allocations."""
    command = [sys.executable, "-c", OLD_GARBAGE]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=60, check=True)
    assert int(done.stdout.split()[-1]) < 400_000
