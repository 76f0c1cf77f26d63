"""A pool with its supervisor and its programs, against programs, clients and times chosen step by step.

The same machine and the same rules run with the real Worker on real pipes in tests/contract/test_worker_model.py.
"""

import pytest
from hypothesis import settings
from support.model.machine import Machine

STEPS = 30
"""Of an example: enough for some trouble, its consequences, and other trouble meanwhile."""

DEFAULT = settings(deadline=None, max_examples=300, stateful_step_count=STEPS, derandomize=True)
"""The same examples in each run."""


class AnyMachine(Machine):
    """Other examples in each run."""


Machine.TestCase.settings = DEFAULT
AnyMachine.TestCase.settings = settings(deadline=None, max_examples=3000, stateful_step_count=STEPS)

TestModel = Machine.TestCase
TestModelAtLength = pytest.mark.slow(AnyMachine.TestCase)
