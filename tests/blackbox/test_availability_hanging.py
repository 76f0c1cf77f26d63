"""Logins that make programs hang or end: nobody else waits for them, whatever they name and however many they are."""

import pytest
from support.availability.catalogue import check
from support.availability.stage import Tempo

pytestmark = pytest.mark.slow

SHORT = Tempo(length=0.15, leave=0.03)
"""In real time, since what is far longer than usual does not scale; but for 9 s only."""


@pytest.mark.parametrize("how", ["tagged-2", "tagged-16", "plain-2"])
def test_one_login_that_hangs_again_and_again(how: str) -> None:
    check(f"retry-{how}", SHORT)


def test_as_many_logins_as_programs_hang_once() -> None:
    check("hang-once", Tempo(length=0.3, leave=0.03))


@pytest.mark.parametrize("does", ["hang", "exit"])
@pytest.mark.parametrize("who", ["one-plain", "one-tagged", "one-secrets-tagged"])
def test_four_logins_always_open_of_one_account(does: str, who: str) -> None:
    check(f"{does}-{who}", SHORT)


def test_where_each_death_costs_a_slow_start() -> None:
    check("exit-one-slow-plain", SHORT)


@pytest.mark.parametrize("does", ["hang", "exit"])
@pytest.mark.parametrize("who", ["many-plain", "many-tagged", "everywhere-tagged"])
def test_four_logins_always_open_of_another_account_each_time(does: str, who: str) -> None:
    check(f"{does}-{who}", SHORT)


@pytest.mark.parametrize("how", ["plain-secrets", "tagged"])
def test_whoever_is_named_by_the_attacker_can_log_in(how: str) -> None:
    check(f"victim-{how}", SHORT)
