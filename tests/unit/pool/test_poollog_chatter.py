"""What a program says all the time does not hide what it says for the first time."""

import logging
from collections.abc import Iterable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from support.clock import Clock

from bridge.log.events import log
from bridge.pool.figures import Figures
from bridge.pool.poollog import PoolLog
from bridge.worker.stderrlines import StderrLines


class Scene:
    """The log of one pool, and a program that writes."""

    def __init__(self, logged: list[str]) -> None:
        self.clock = Clock()
        self.pool_log = PoolLog("default", ["/opt/auth"], Figures(), self.clock)
        self._worker = cast("Any", SimpleNamespace(pid=7))
        self._lines = StderrLines([])
        self._logged = logged

    def write(self, *lines: str, told_to_exit: bool = False) -> list[str]:
        """Write these at once; returns those that are logged."""
        before = len(self._logged)
        data = "".join(f"{line}\n" for line in lines).encode()
        self.pool_log.program_wrote(self._worker, self._lines.feed(data, 0), told_to_exit)
        return [line.partition(" stderr=")[2] for line in self._logged[before:]]


@pytest.fixture
def scene(logged: list[str]) -> Iterator[Scene]:
    level = log.level
    log.setLevel(logging.INFO)
    yield Scene(logged)
    log.setLevel(level)


def chatter(numbers: Iterable[int]) -> Iterator[str]:
    return (f"2026-11-29 12:00:{number % 60:02} [{number}] DEBUG asked" for number in numbers)


COMPLAINT = "PHP Warning:  mysqli: server has gone away"


@pytest.mark.parametrize(
    "line",
    ["DEBUG asked {}", "2026-11-29T12:00:{:02} [{}] asked", "asked for user-{}-{}", "ask user {} of {} more words"],
)
def test_a_new_line_is_seen_whatever_is_repeated(scene: Scene, line: str) -> None:
    for second in range(100):
        scene.write(*(line.format(number % 60, second * 50 + number) for number in range(50)))
        scene.clock.now += 1.0
    assert scene.write(COMPLAINT) == [f'"{COMPLAINT}"']
    assert scene.write("something else") == ['"something else"']


def test_a_complaint_is_seen_even_if_all_chatter_is_new(scene: Scene) -> None:
    """With a name in each line."""
    for second in range(100):
        scene.write(*(f"asked for {chr(97 + number)}-{'xyz' * (second % 30)}" for number in range(26)))
        scene.clock.now += 1.0
    assert scene.write(COMPLAINT) == [f'"{COMPLAINT}"']


def test_chatter_is_a_few_lines_a_minute_with_a_count_of_the_others(scene: Scene, logged: list[str]) -> None:
    for _ in range(60):
        scene.write(*chatter(range(50)))
        scene.clock.now += 1.0
    assert 10 <= len(logged) <= 10 + 15 + 5
    counted = sum(int(line.rpartition("suppressed=")[2]) for line in logged if "suppressed=" in line)
    assert 2000 < counted + len(logged) <= 3000


def test_a_flood_of_different_lines_is_limited(scene: Scene, logged: list[str]) -> None:
    words = ("error", "a", "b", "c", "d", "e", "f", "g", "h", "i")
    for first in range(97, 123):
        for second in range(97, 123):
            scene.write(*(f"{chr(first)}{chr(second)} {word}" for word in words))
    assert len(logged) == 40 + 20


def test_most_of_a_page_of_short_lines_is_not_even_looked_at(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[object] = []
    real = scene.pool_log._chatter.sort_of
    monkeypatch.setattr(scene.pool_log._chatter, "sort_of", lambda line: looked.append(line) or real(line))
    scene.write(*["x"] * 2000)
    assert len(looked) == 100
    scene.clock.now += 5.0
    assert scene.write("x") == ["x suppressed=1990"]


def test_what_is_not_logged_anyway_costs_nothing(scene: Scene) -> None:
    """The traceback of one that was told to exit, at info."""
    scene.write(*(f"{chr(97 + number % 26)}{number // 26 * 'x'} error" for number in range(100)), told_to_exit=True)
    assert scene.write(COMPLAINT) == [f'"{COMPLAINT}"']


def test_kinds_are_forgotten(scene: Scene) -> None:
    for number in range(10_000):
        scene.write("x" * (number % 80) + chr(97 + number % 26) * (number % 19))
    assert len(scene.pool_log._chatter._kinds) <= 256
