"""The password that tests send, and a look after each test at everything that was written: it must not be there.

Tests take CANARY for a password, or `right(user)`, which the test programs accept.  After each test it is looked for,
as it is and in the usual encodings, in

  - what was captured of the test's own stdout, stderr and log, and of all that its children inherited these from
  - stdout and stderr of commands (whatever `Popen.communicate` returns), and the logs and answers that stand-ins of
    this directory took (`look`)
  - each message that is logged in this process
  - files, and their names, in directories that the test had made, when it ends or when they are removed; not in those
    that are meant to hold passwords: of KNOWING, and what `knows` was told
  - arguments and environment of the processes that live when the test ends, or when a `Bridge` is finished

and no new core file may lie where a process of the test may leave one.  A test in whose wake something is found fails;
the message names the place, not what is there.  Not looked at: pipes and sockets that a test reads by itself and keeps
to itself, and the memory of processes.
"""

import base64
import contextlib
import functools
import logging
import os
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable, Generator, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

CANARY = "hunter2"

_PREFIX = "pw-"
"""Of every password that a test program accepts."""

KNOWING = {
    "*.toml": "a configuration that a test wrote",
    "users.json": "what the program of the tests on a pty knows",
}
"""Names of files that may hold it, and why."""

_told: dict[str, str] = {}

_MOST = 64 << 20
"""Bytes of a file that are looked at; none of a test's is larger, unless it is sparse."""

_ELF = b"\x7fELF"

_PLACES = (Path(__file__).parents[2], Path("/"))
"""Where the tests run, and programs do."""


def knows(path: Path, why: str) -> None:
    """Say that a file, or all that is in a directory, is meant to hold passwords, and why."""
    _told[str(path)] = why


@contextlib.contextmanager
def meant() -> Generator[None]:
    """What is found meanwhile, or in what pytest captures of this test, is meant to be: the test is about that."""
    before = len(_found)
    yield
    del _found[before:]
    _meant.append(True)


def right(user: str) -> str:
    """The password of this user."""
    return _PREFIX + user


def forms(word: bytes) -> set[bytes]:
    """How it may have been written: as it is, escaped, in hexadecimal, in base64 wherever it begins, in UTF-16."""
    found = {word, word.hex().encode(), word.hex().upper().encode(), word.hex(" ").encode()}
    found |= {b"".join(pattern % byte for byte in word) for pattern in (rb"\x%02x", rb"\u%04x", b"%%%02x", rb"\%03o")}
    for before in range(3):
        digits = base64.b64encode(bytes(before) + word)
        whole = (before + len(word)) * 8 // 6  # the next digit depends on what follows
        found.add(digits[-(-before * 8 // 6) : whole])
    return found | {word.decode().encode("utf-16-le")}


_FORMS = sorted({form for word in (CANARY, right("alice"), right("bob")) for form in forms(word.encode())})

_LETTER = rb"(?=[ a-z0-9]|[\xc3-\xdf][\x80-\xbf])"
_OTHERS = re.compile(rb"(?<![\w\x80-\xff-])%s%s(?![\w-]*[A-Z])" % (_PREFIX.encode(), _LETTER)).search
"""Anybody's right password.  Not within a word, nor in one with capitals: others' random names hold any letters.  Nor
behind or before what is no text: salts and hashes hold any bytes, one million in twenty these three."""

_found: list[str] = []
_meant: list[bool] = []
_made: list[Path] = []
_seen: dict[str, tuple[int, int]] = {}
_known_cores: set[str] = set()


def also(*passwords: str) -> None:
    """Have further passwords looked for, from now on."""
    _FORMS.extend(form for word in passwords for form in forms(word.encode()) if form not in _FORMS)


def is_in(data: bytes | bytearray) -> bool:
    """Whether a test's password can be read there."""
    for form in _FORMS:  # three times as fast as any(), for each of a flood's messages
        if form in data:
            return True
    return _PREFIX.encode() in data and _OTHERS(data) is not None


def look(data: bytes | bytearray | str | None, place: str) -> None:
    """Fail the test that is running, once it ends, if a password is in `data`."""
    if data and is_in(data.encode(errors="surrogateescape") if isinstance(data, str) else data):
        _found.append(place)


def look_at_processes() -> None:
    """As `look`, at the arguments and the environment of all that this process has started and that still lives."""
    pids = [*_children(os.getpid())]
    for pid in pids:
        pids += _children(pid)
        for name in ("cmdline", "environ"):
            with contextlib.suppress(OSError):  # it has gone, or belongs to somebody else
                words = Path(f"/proc/{pid}/{name}").read_bytes().split(b"\0")
                theirs = [word for word in words if not word.startswith(b"PYTEST_CURRENT_TEST=")]
                look(b"\0".join(theirs), f"/proc/{pid}/{name}")


def _children(pid: int) -> Iterator[int]:
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            yield from map(int, Path(f"/proc/{pid}/task/{task}/children").read_text().split())


def look_below(directory: Path) -> None:
    """As `look`, at all files there, and at their names."""
    for folder, folders, names in os.walk(directory) if str(directory) not in _told else ():
        folders[:] = [name for name in folders if os.path.join(folder, name) not in _told]
        for name in names:
            if os.path.join(folder, name) not in _told and not any(fnmatch(name, pattern) for pattern in KNOWING):
                look(name, f"the name of a file in {folder}")
                with contextlib.suppress(OSError):  # it has gone, or is somebody else's
                    _look_into(os.path.join(folder, name))


def _look_into(path: str) -> None:
    state = os.lstat(path)
    version = (state.st_size, state.st_mtime_ns)
    if not stat.S_ISREG(state.st_mode) or not state.st_size or _seen.get(path) == version:
        return
    _seen[path] = version
    with open(path, "rb") as file:
        data = file.read(_MOST)
    if not data.startswith(_ELF):  # a program that a test compiled: it knows the passwords
        look(data, path)


def _cores() -> set[str]:
    """Core files where those who crash may leave them: in the working directories of tests and of programs."""
    return {f"{place}/{name}" for place in _PLACES for name in os.listdir(place) if name.startswith("core")}


# --- as a plugin of pytest -------------------------------------------------------------------------------


def pytest_configure() -> None:
    """Learn of directories, of what commands print, and of what is logged, without any test's doing."""
    _wrap(tempfile, "mkdtemp", lambda made, *_: _made.append(Path(made)))
    _wrap(pytest.TempPathFactory, "mktemp", lambda made, *_: _made.append(made))
    _wrap(subprocess.Popen, "communicate", _printed)
    shutil.rmtree = _looking(shutil.rmtree)
    if hasattr(tempfile, "_rmtree"):  # newer Pythons have their own
        tempfile._rmtree = _looking(tempfile._rmtree)
    record = logging.getLogRecordFactory()

    def logged(*args: Any, **kwargs: Any) -> logging.LogRecord:
        made = record(*args, **kwargs)
        with contextlib.suppress(TypeError):  # it has no message: its arguments do not fit
            look(made.getMessage(), "a message that was logged")
        return made

    logging.setLogRecordFactory(logged)
    _known_cores.update(_cores())


def _wrap(owner: Any, name: str, after: Callable[..., object]) -> None:
    """Have `after` told what that function returns, and what it was given."""
    function = getattr(owner, name)

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        after(result, *args)
        return result

    setattr(owner, name, wrapped)


def _looking(remove: Any) -> Any:
    """`remove`, which removes a directory, with a look below it first."""

    @functools.wraps(remove)
    def rmtree(path: Any, *args: Any, **kwargs: Any) -> None:
        gone = Path(os.fsdecode(path))
        if any(gone.is_relative_to(made) for made in _made):
            look_below(gone)
            _made[:] = [made for made in _made if not made.is_relative_to(gone)]
        remove(path, *args, **kwargs)

    return rmtree


def _printed(result: tuple[Any, Any], process: subprocess.Popen[Any], *_: object) -> None:
    for data, name in zip(result, ("stdout", "stderr"), strict=True):
        look(data, f"{name} of a command")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, object, object]:
    """Its fixtures end its processes."""
    try:
        return (yield)
    finally:
        look_at_processes()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Function, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """At the end of a test, when all that it made has been written."""
    report = yield
    if call.when == "teardown":
        for title, text in report.sections if not _meant else ():
            look(text, title)
        _meant.clear()
        for directory in _made:
            look_below(directory)
        new = _cores() - _known_cores
        places = [*dict.fromkeys(_found), *(f"a core file: {core}" for core in sorted(new))]
        _known_cores.update(new)
        _found.clear()
        if places:
            report.outcome = "failed"
            report.longrepr = "A password of this test was written:\n" + "\n".join(places)
            report.sections.clear()  # they would show it
        if getattr(item, "funcargs", {}).get("tmp_path") in _made:  # the others may be of more than one test
            _made.remove(item.funcargs["tmp_path"])
    return report
