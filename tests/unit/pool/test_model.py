"""A pool with its supervisor and its programs, against programs, clients and times chosen step by step.

The same machine and the same rules run with the real Worker on real pipes in tests/contract/test_worker_model.py.
"""

from support.examples import examples
from support.model.machine import Machine

EXAMPLES = examples(300, stateful_step_count=30, derandomize=True)
"""The same in each run; each has some trouble, its consequences, and other trouble meanwhile."""

TestModel = Machine.TestCase
TestModel.settings = EXAMPLES
