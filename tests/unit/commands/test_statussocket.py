"""Whatever a daemon says to `status` and `reload`, they end with a line and an exit status."""

import contextlib
import itertools
import json
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from bridge.commands import reload, status, statussocket
from bridge.commands.cli import UsageError

from .test_health import PAGE, page

FORMS = ("--json", "--prometheus", "--")


@contextlib.contextmanager
def daemon(path: Path, said: Iterable[bytes], pause: float = 0.0) -> Iterator[str]:
    """Says this to whoever connects, a piece at a time, until nobody listens any more."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def run() -> None:
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                for piece in said:
                    connection.sendall(piece)
                    time.sleep(pause)

        thread = threading.Thread(target=run)
        thread.start()
        yield str(path)
        thread.join()


def without(name: str) -> bytes:
    told = page()
    del told["pools"]["default"][name]
    return json.dumps(told).encode()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "said",
    [
        b'{"version": 1}',
        without("latency"),
        without("restarts"),
        json.dumps(page(granted="many")).encode(),
        json.dumps(page(usable=10**400)).encode(),
        json.dumps({**PAGE, "started": float("nan")}).encode(),
        json.dumps({**PAGE, "software": "\ud800"}).encode(),
        json.dumps({**PAGE, "pools": []}).encode(),
        b"[" * 100_000,
        b'{"version": 1, "x": ' + b"[" * 100_000,
    ],
    ids=itertools.count(),
)
def test_what_is_no_page(tmp_path: Path, capsys: pytest.CaptureFixture[str], said: bytes, form: str) -> None:
    with daemon(tmp_path / "s", [said]) as path:
        assert status.main([form, path], None) == 3
    told = capsys.readouterr().out
    assert ("_up 0.0" if form == "--prometheus" else "not the status socket") in told


def test_a_page_without_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statussocket, "_LARGEST", 1 << 20)
    with daemon(tmp_path / "s", itertools.repeat(b" " * 4096)) as path:
        assert status.main([path], None) == 3
    assert "not the status socket" in capsys.readouterr().out


def test_a_daemon_that_says_a_little_again_and_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statussocket, "_PATIENCE", 0.3)
    with daemon(tmp_path / "s", itertools.repeat(b" "), pause=0.02) as path:
        assert status.main([path], None) == 3
    assert "no answer within" in capsys.readouterr().out


@pytest.mark.parametrize("said", [b"[" * 60_000 + b"\n", b"[]\n", b"{}\n", b"\xff\n"])
def test_what_is_no_outcome_of_a_reload(tmp_path: Path, said: bytes) -> None:
    with daemon(tmp_path / "s", [said]) as path, pytest.raises(UsageError, match="not the status socket"):
        reload.main([path], None)


def test_an_outcome_without_end(tmp_path: Path) -> None:
    with (
        daemon(tmp_path / "s", itertools.repeat(b" " * 4096)) as path,
        pytest.raises(UsageError, match="not the status"),
    ):
        reload.main([path], None)
