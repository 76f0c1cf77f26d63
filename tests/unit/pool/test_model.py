from hypothesis import settings
from support.model.machine import Machine

Machine.TestCase.settings = settings(deadline=None, max_examples=300, stateful_step_count=30, derandomize=True)
TestModel = Machine.TestCase
