"""How many programs `bench` tries, and how it ends; tests/blackbox/test_bench.py has real ones."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest

from bridge.bench.phases import Job, Sized
from bridge.bench.tally import Measured
from bridge.commands import bench
from bridge.config.settings import Settings

MEBIBYTE = 2**20

Outcome = Callable[[int], SimpleNamespace]


def sized(programs: int, rate: float) -> SimpleNamespace:
    """What measuring so many programs, of 10 MiB each, leads to."""
    times = {"p50": 0.01, "p95": 0.01, "p99": 0.01, "longest": 0.01}
    counts = {"seconds": 1.0, "answers": 100, "granted": 0, "programs_failed": 0, "complete": True}
    closed = Measured(rate=rate, failures={}, **times, **counts)
    memory = programs * 10 * MEBIBYTE
    found = Sized(programs=programs, startup=0.1, memory=memory, cpu=0.5, cpu_of_all=0.5, closed=closed)
    return SimpleNamespace(sized=found, trouble="", interrupted=False)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, list[int]]]:
    """Runs `bench` with this outcome for each number of programs; returns the exit status, and the numbers tried."""

    def run_with(outcome: Outcome, *options: str, available: int = 0) -> tuple[int, list[int]]:
        tried: list[int] = []

        def load(settings: Settings, job: Job, _show: object) -> SimpleNamespace:
            assert settings.log.verdicts == "none"
            tried.append(job.programs)
            return outcome(job.programs)

        monkeypatch.setattr(bench, "_load", load)
        monkeypatch.setattr(bench.machine, "available", lambda: available)
        return bench.main([*options, "--", "/bin/program"], None), tried

    return run_with


def test_it_goes_on_to_the_most(run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(lambda number: sized(number, number), "--max-pool", "6") == (0, [1, 2, 4, 6])
    assert "More than 6 were not tried (--max-pool)." in capsys.readouterr().out
    assert run(lambda number: sized(number, number)) == (0, [1, 2, 4, 8, 16, 32, 64])


def test_it_says_that_fewer_may_do_unless_told_for_how_many_logins(run, capsys: pytest.CaptureFixture[str]) -> None:
    for options, told in ([], True), (["--logins-per-second", "1"], False):
        run(lambda number: sized(number, number * 10), *options, "--max-pool", "4")
        assert ("Fewer are enough for fewer logins" in capsys.readouterr().out) is told


def test_it_fits_the_terminal(run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    run(lambda number: sized(number, number * 10), available=2**34)
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


@pytest.mark.parametrize("most", ["64", "4"])
def test_it_ends_when_the_rate_does_not_grow(run, capsys: pytest.CaptureFixture[str], most: str) -> None:
    """Also if there would have been no more anyway."""
    assert run(lambda number: sized(number, min(number, 2)), "--max-pool", most) == (0, [1, 2, 4])
    found = capsys.readouterr().out
    assert "4 programs answer hardly more than 2" in found
    assert "pool_size = 2\n" in found


def test_its_questions_are_not_logged_as_logins(run) -> None:
    """`load` sees to it."""
    run(lambda number: sized(number, number), "--max-pool", "1", "--log-verdicts", "all")


def test_it_leaves_memory_to_others(run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(lambda number: sized(number, number), available=100 * MEBIBYTE) == (0, [1, 2, 4])
    assert "too much of the memory" in capsys.readouterr().out


def test_if_more_programs_cannot_be_started_the_fewer_count(run, capsys: pytest.CaptureFixture[str]) -> None:
    trouble = SimpleNamespace(sized=None, trouble="no more connections", interrupted=False)
    assert run(lambda number: sized(number, number) if number < 4 else trouble) == (0, [1, 2, 4])
    out, errors = capsys.readouterr()
    assert errors == "extauth-bridge: /bin/program: with 4 programs: no more connections\n"
    assert "pool_size = 2\n" in out
    assert "More than 2 could not be measured." in out


def test_a_yes_for_nobody_is_told(run, capsys: pytest.CaptureFixture[str]) -> None:
    doubt = "users exist whom nobody has"
    run(lambda number: sized(number, number), "--max-pool", "1")
    assert doubt not in capsys.readouterr().out
    easy = sized(1, 1.0)
    object.__setattr__(easy.sized.closed, "granted", 1)
    run(lambda _number: easy, "--max-pool", "1")
    assert doubt in " ".join(capsys.readouterr().out.split())
