"""More questions than programs can answer: what can be served is, the rest is refused early, logins go first."""

import pytest
from support.availability.catalogue import check
from support.availability.stage import Tempo

pytestmark = pytest.mark.slow

SHORT = Tempo(length=0.2, leave=0.03)
"""The figures are those of the scene, but it is not looked at for so long."""


@pytest.mark.parametrize("how", ["known", "first"])
def test_a_healthy_program_is_not_killed_for_a_burst(how: str) -> None:
    """Whoever cannot be served in time is refused as soon as that can be known; the log says it once."""
    check(f"burst-{how}", SHORT)


@pytest.mark.parametrize("how", ["overload", "overload-spares"])
def test_twice_the_load_costs_half_of_it(how: str) -> None:
    check(how, Tempo(scale=0.5, length=0.4, leave=0.03))


@pytest.mark.parametrize("how", ["plain", "tagged", "in-order"])
def test_a_login_goes_before_a_hundred_contacts(how: str) -> None:
    check(f"auth-first-{how}", SHORT)


@pytest.mark.parametrize("client", ["plain", "tagged"])
def test_what_five_want_to_know_is_asked_once(client: str) -> None:
    check(f"contacts-{client}", SHORT)


@pytest.mark.parametrize("client", ["plain", "tagged"])
def test_a_crowd_that_comes_back(client: str) -> None:
    check(f"reconnect-{client}", SHORT)
