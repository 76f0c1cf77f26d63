"""Programs that take longer to start than a question may take, and back ends that stand still: nobody is put out."""

import pytest
from support.availability.catalogue import check
from support.availability.stage import Tempo

pytestmark = pytest.mark.slow

QUICK = Tempo(scale=0.25, length=0.45, leave=0.03)
"""A start-up of 1.5 s and a second to answer: the same as 6 and 4."""


@pytest.mark.parametrize("how", ["even-idle-auth", "random-busy-mix"])
def test_a_renewal_takes_over_only_when_it_is_ready(how: str) -> None:
    check(f"renewal-{how}", QUICK)


def test_all_programs_leave_once() -> None:
    """The new ones are left to finish starting, whoever waits for them."""
    check("leaves", QUICK)


@pytest.mark.parametrize("how", ["6-plain", "6-tagged", "20-plain"])
def test_a_stalled_back_end_costs_no_program(how: str) -> None:
    """Killing them would only add their start-up to the outage."""
    check(f"stall-{how}", QUICK)
