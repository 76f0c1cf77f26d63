"""A query and the programs that end with it: when it is asked again, and when it is given up."""

import pytest

from bridge.protocol.query import Query

AUTH, SETPASS = b"auth:alice:example.com:pw-alice", b"setpass:alice:example.com:pw-alice"


class Asker:
    def settled(self, query: Query) -> None:
        """Nothing is settled here."""


@pytest.fixture
def query() -> Query:
    return Query(AUTH, 4.0, Asker())


def test_one_that_was_read_is_asked_once_more(query: Query) -> None:
    assert query.survives(was_read=True, proved=True)
    assert not query.survives(was_read=True, proved=True)


def test_one_that_was_read_and_may_have_changed_something_is_not_asked_again() -> None:
    assert not Query(SETPASS, 4.0, Asker()).survives(was_read=True, proved=True)


@pytest.mark.parametrize("body", [AUTH, SETPASS])
def test_programs_that_end_as_soon_as_they_are_asked_are_tried_a_few_times(body: bytes) -> None:
    query = Query(body, 4.0, Asker())
    tries = [query.survives(was_read=False, proved=False) for _ in range(4)]
    assert tries == [True, True, True, False]


@pytest.mark.parametrize("body", [AUTH, SETPASS])
def test_programs_that_leave_after_they_have_served_are_never_its_fault(body: bytes) -> None:
    query = Query(body, 4.0, Asker())
    assert all(query.survives(was_read=False, proved=True) for _ in range(100))
    assert query.survives(was_read=False, proved=False)
