"""How far an import is: for those who look."""

import contextlib
import os
import pty
import sys

import pytest

from bridge.programs.importing import progress


@pytest.mark.parametrize("rich", [True, False])
def test_progress_on_a_terminal(rich: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bar, or lines where there is no rich; and nothing where nobody looks."""
    ours, theirs = pty.openpty()
    monkeypatch.setattr(progress, "_STDERR", theirs)
    monkeypatch.setattr(progress, "_PAUSE", 0.0)
    monkeypatch.setattr(progress, "_PLAIN_PAUSE", 0.0)
    if not rich:
        monkeypatch.setitem(sys.modules, "rich.console", None)
    with open(theirs, "w", closefd=False) as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        with progress.Progress("hashing", 3) as shown:
            for _ in range(3):
                shown.step()
    os.close(theirs)
    shown_text = read_all(ours)
    assert "hashing" in shown_text
    assert ("3/3" if rich else "3 of 3, 0 s left") in shown_text


def read_all(terminal: int) -> str:
    """What was written to a terminal that nobody has open any more."""
    data = b""
    with contextlib.suppress(OSError):  # which is how that ends
        while more := os.read(terminal, 65536):
            data += more
    os.close(terminal)
    return data.decode()


def test_no_progress_where_nobody_looks(capfd: pytest.CaptureFixture[str]) -> None:
    with progress.Progress("hashing", 3) as shown:
        shown.step()
    assert capfd.readouterr() == ("", "")
