"""What a person reads, and what a script reads."""

import io
import json
import tomllib
from collections.abc import Sequence

import pytest

from bridge.checking.findings import OTHERS, Finding, deviates, error, note, ok, recommended
from bridge.checking.report import Report, as_json, toml
from bridge.config.load import load
from bridge.config.settings import ProgramSettings

LOWER = deviates("lengths", "seen", "meaning", "advice", {"max_line": 127})
HIGHER = deviates("pieces", "seen", "meaning", "advice", {"max_line": 4000, "pool_size": 1})
GRAVE = deviates("colon", "it cuts", "meaning", "advice", grave=True)


def program(**options: object) -> ProgramSettings:
    settings = load(None, options, ["/opt/a b.pl", 'say "x"'])
    assert settings.program is not None
    return settings.program


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def printed(out: io.StringIO, findings: Sequence[Finding]) -> str:
    report = Report(out)
    report.heading("PROGRAM")
    report.trying("trying")
    for finding in findings:
        report.finding(finding)
    report.summary(findings, 'program = ["x"]\n')
    return out.getvalue()


def test_all_that_is_known_of_a_deviation_is_printed() -> None:
    text = printed(io.StringIO(), [ok("start", "quick"), note("isuser", "granted", "none", "look"), LOWER])
    for words in ("ok        start", "note      isuser", "for logins: none", "to do: look", "deviates  lengths"):
        assert words in text
    assert "Nothing deviates" not in text
    assert 'program = ["x"]' in text


def test_all_is_well() -> None:
    assert "Nothing deviates." in printed(io.StringIO(), [ok("start", "quick"), note("isuser", "granted", "none")])


def test_the_gravest_comes_first() -> None:
    text = printed(io.StringIO(), [LOWER, GRAVE, error("program", "x", "y")])
    assert "3 to repair, the gravest first: colon, lengths, program." in text
    assert "Strangers may get in: it cuts" in text


def test_long_texts_are_wrapped_below_each_other() -> None:
    text = printed(io.StringIO(), [deviates("trial", "seen " * 60, "meaning " * 60, "advice " * 60)])
    assert max(map(len, text.splitlines())) <= 110
    assert {line[:35].strip() for line in text.splitlines() if "seen" in line} == {"", "deviates  trial"}


def test_colour_and_progress_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert "\x1b[31mdeviates" in printed(Terminal(), [LOWER])
    assert "\x1b" not in printed(io.StringIO(), [LOWER])
    assert "trying" not in printed(io.StringIO(), [LOWER])
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[31m" not in printed(Terminal(), [LOWER])
    monkeypatch.setenv("TERM", "dumb")
    assert "\x1b" not in printed(Terminal(), [LOWER])


def test_of_two_recommendations_the_careful_one() -> None:
    assert recommended([LOWER, HIGHER]) == recommended([HIGHER, LOWER]) == {"max_line": 127, "pool_size": 1}


def test_the_recommended_configuration_is_one() -> None:
    text = toml(program(cwd="/srv", env=["PASSWORD=geheim"]), [""], [LOWER, HIGHER])
    assert tomllib.loads(text) == {
        "program": ["/opt/a b.pl", 'say "x"'],
        "cwd": "/srv",
        "pool_size": 1,
        "max_line": 127,
    }
    assert "PASSWORD" in text
    assert "geheim" not in text


def test_a_recommended_value_bears_the_reason_of_the_finding_that_asks_for_it() -> None:
    for findings in ([LOWER, HIGHER], [HIGHER, LOWER]):
        assert "max_line = 127  # lengths\n" in toml(program(), [""], findings)


@pytest.mark.parametrize("hopeless", [error("program", "not found", "nobody"), note(OTHERS, "not tried", "unknown")])
def test_nothing_is_recommended_for_what_cannot_work(hopeless: Finding) -> None:
    text = printed(io.StringIO(), [LOWER, hopeless])
    assert "program = " not in text
    assert "Until that is done, there is no configuration to recommend." in text


def test_a_host_s_own_keys_are_in_its_table() -> None:
    text = toml(program(), ["a.example", "b.example"], [LOWER, HIGHER])
    own = {"program": ["/opt/a b.pl", 'say "x"'], "protocol": "ejabberd", "pool_size": 1}
    assert tomllib.loads(text) == {"max_line": 127, "hosts": {"a.example": own, "b.example": own}}


def test_json_has_all_of_it() -> None:
    read = json.loads(as_json([ok("file", "valid")], [(["/bin/x"], [""], [LOWER, GRAVE])], 1))
    assert (read["version"], read["status"], read["file"][0]["level"]) == (1, 1, "ok")
    (one,) = read["programs"]
    assert (one["program"], one["hosts"], one["recommended"]) == (["/bin/x"], [], {"max_line": 127})
    assert one["findings"][0] == {
        "trial": "lengths",
        "level": "deviates",
        "seen": "seen",
        "meaning": "meaning",
        "advice": "advice",
        "settings": {"max_line": 127},
        "grave": False,
    }
    assert one["findings"][1]["grave"] is True
