"""An operator's mistakes, programs that never work and those that may not be killed: all stays as it was."""

import pytest
from support.availability.catalogue import check
from support.availability.stage import Tempo

pytestmark = pytest.mark.slow

SHORT = Tempo(length=0.4, leave=0.03)


@pytest.mark.parametrize("kind", ["missing", "stillborn"])
@pytest.mark.parametrize("how", ["command", "signal"])
def test_a_mistyped_program_is_refused(how: str, kind: str) -> None:
    check(f"reload-{how}-{kind}", SHORT)


def test_a_reload_waits_until_the_new_programs_are_ready() -> None:
    check("reload-slow-probe", Tempo(scale=0.5, length=0.4, leave=0.03))


@pytest.mark.parametrize("how", ["start", "work"])
def test_a_crash_loop_does_not_eat_the_machine(how: str) -> None:
    check(f"crash-{how}", SHORT)


def test_what_may_not_be_killed_does_not_multiply() -> None:
    """Each place stays taken until its process is gone."""
    check("unkillable", Tempo(scale=0.25, leave=0.03))
