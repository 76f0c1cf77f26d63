"""What was done, a line for each step."""

import json

import pytest

from bridge.setup.report import Outcome, Report


def some(report: Report) -> list[str]:
    done: list[str] = []
    assert report.step("one", True, lambda: done.append("one"))
    assert not report.step("two", False, lambda: done.append("two"))
    report.add(Outcome.NOTE, "three\x1b[m", "more")
    return done


def test_steps_are_shown_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    assert some(report := Report()) == ["one"]
    assert report.end("Next.") == 0
    assert capsys.readouterr().out == (
        "done        one\nalready so  two\nnote        three\\x1b[m\n            more\n\nNext.\n"
    )


def test_a_dry_run_does_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert some(Report(dry_run=True)) == []
    assert capsys.readouterr().out.startswith("would do    one\nalready so  two\n")


def test_scripts_get_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    some(report := Report(as_json=True))
    report.end("Next.")
    said = json.loads(capsys.readouterr().out)
    assert said["steps"][0] == {"outcome": "done", "what": "one", "details": []}
    assert said["next"] == "Next."


@pytest.mark.parametrize(("outcome", "status"), [(Outcome.NOTE, 0), (Outcome.LEFT, 1), (Outcome.REFUSED, 2)])
def test_the_worst_outcome_is_the_exit_status(outcome: Outcome, status: int) -> None:
    report = Report(as_json=True)
    report.add(outcome, "it")
    report.add(Outcome.DONE, "another")
    assert report.end("") == status


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_colours_are_for_terminals(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], no_color: str, coloured: bool
) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    Report().add(Outcome.DONE, "it")
    assert ("\x1b[32mdone" in capsys.readouterr().out) == coloured
