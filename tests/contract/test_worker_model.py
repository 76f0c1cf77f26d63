"""The model of a pool (`support.model`), with real Workers on real pipes: whatever is in a pipe may be read late."""

import pytest
from support.examples import examples
from support.model.machine import Machine
from support.model.workers import OnPipes

pytestmark = pytest.mark.slow


class OnPipesMachine(Machine):
    launch = OnPipes


OnPipesMachine.TestCase.settings = examples(300, stateful_step_count=30, derandomize=True)

TestModelOnPipes = OnPipesMachine.TestCase
