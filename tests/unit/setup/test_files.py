"""Files that setup installs: known again, and never overwritten where somebody has changed them."""

import stat

import pytest

from bridge.setup import files
from bridge.setup.files import File, marked
from bridge.setup.host import Host
from bridge.setup.report import Outcome, Report

FILE = File("/etc/systemd/system/x.service", "[Unit]\nDescription=new\n")
OLD = "[Unit]\nDescription=old\n"

# As version 0.1.0 had it, for the README's readers to copy.
BY_HAND = """\
# A user of its own, and not DynamicUser=: an administrator can give files to it.
u extauth-bridge - "Authentication programs for Prosody" /var/lib/extauth-bridge /usr/sbin/nologin
"""


def put(host: Host, *, force: bool = False, dry_run: bool = False) -> list[Outcome]:
    report = Report(dry_run=dry_run)
    files.put(host, report, FILE, force=force)
    return [step.outcome for step in report.steps]


def there(host: Host, text: str) -> None:
    path = host.path(FILE.path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_one_that_is_missing_is_installed_with_its_directory(host: Host) -> None:
    assert put(host) == ["done"]
    path = host.path(FILE.path)
    assert path.read_text() == marked(FILE.text)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert [entry.name for entry in path.parent.iterdir()] == ["x.service"]
    assert put(host) == ["already so"]


@pytest.mark.parametrize("text", [marked(OLD), FILE.text, BY_HAND], ids=["older", "a copy", "0.1"])
def test_what_nobody_has_changed_is_replaced(host: Host, text: str) -> None:
    there(host, text)
    assert put(host, dry_run=True) == ["would do"]
    assert host.path(FILE.path).read_text() == text
    assert put(host) == ["done"]
    assert host.path(FILE.path).read_text() == marked(FILE.text)


@pytest.mark.parametrize(
    "text",
    [marked(OLD) + "X=1\n", marked(OLD).replace("old", "new"), OLD, "", marked(FILE.text) + "\n", BY_HAND + "\n"],
)
def test_what_somebody_has_changed_is_left_alone_and_shown(
    host: Host, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    there(host, text)
    assert put(host) == ["left alone"]
    assert host.path(FILE.path).read_text() == text
    printed = capsys.readouterr().out
    assert f"{FILE.path} is not what setup installs; --force replaces it" in printed
    assert "+++ what setup installs" in printed
    assert put(host, force=True) == ["done"]
    assert put(host) == ["already so"]


@pytest.mark.parametrize(("answer", "outcome"), [("y", "done"), ("", "left alone"), ("n", "left alone")])
def test_a_person_is_asked(host: Host, monkeypatch: pytest.MonkeyPatch, answer: str, outcome: str) -> None:
    there(host, OLD)
    report = Report()
    report.interactive = True
    monkeypatch.setattr("builtins.input", lambda prompt: answer)
    files.put(host, report, FILE, force=False)
    assert [step.outcome for step in report.steps] == [outcome]


def test_a_masked_unit_stays_masked(host: Host) -> None:
    path = host.path(FILE.path)
    path.parent.mkdir(parents=True)
    path.symlink_to("/dev/null")
    assert put(host) == ["left alone"]
    assert path.is_symlink()


@pytest.mark.parametrize(
    ("text", "outcome", "left"),
    [(marked(OLD), "done", False), (FILE.text, "done", False), (OLD, "left alone", True), (None, "already so", False)],
)
def test_what_somebody_has_changed_is_not_removed(host: Host, text: str | None, outcome: str, left: bool) -> None:
    if text is not None:
        there(host, text)
    report = Report()
    files.remove(host, report, FILE)
    assert [step.outcome for step in report.steps] == [outcome]
    assert host.path(FILE.path).exists() == left
