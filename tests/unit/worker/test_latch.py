"""A latch is set once; it needs no listeners, and one that comes late is called too."""

from bridge.worker.latch import Latch


def test_those_who_listen_are_called_once_in_their_order() -> None:
    told: list[str] = []
    latch = Latch()
    latch.then(lambda: told.append("first"))
    latch.then(lambda: told.append("second"))
    assert told == []
    latch.set()
    latch.set()
    assert told == ["first", "second"]


def test_nobody_listens_too_late() -> None:
    told: list[str] = []
    latch = Latch()
    latch.set()
    latch.then(lambda: told.append("late"))
    assert told == ["late"]
    latch.set()
    assert told == ["late"]


def test_who_begins_to_listen_while_it_happens_is_called_too() -> None:
    told: list[str] = []
    latch = Latch()
    latch.then(lambda: latch.then(lambda: told.append("inner")))
    latch.set()
    assert told == ["inner"]


def test_nobody_has_to_listen() -> None:
    Latch().set()
