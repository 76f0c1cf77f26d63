"""The status command in front of any daemon: it says how that is, in each form, and if it cannot tell, that."""

import contextlib
import copy
import io
import json
import math
import queue
import re
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bridge.clients.page import FIELDS, VERSION
from bridge.commands import reload, status
from bridge.commands.cli import UsageError
from fuzz.engine import Check
from fuzz.source import MANY, Source, repeated

FORMS = ("--json", "--prometheus", None, "reload")
SAMPLE = re.compile(
    r'extauth_bridge_\w+(\{(\w+="([^"\\\n]|\\[\\"n])*",?)*\})? (-?\d+(\.\d+)?(e[+-]?\d+)?|nan|-?inf)', re.ASCII
)

_WORDS = (
    "null",
    "0",
    "-1",
    "1e400",
    "NaN",
    "true",
    '""',
    '"x"',
    '"\\ud800"',
    '"\\u001b[2J"',
    "[]",
    "{}",
    "[[]]",
    "1" * 400,
)
TOKENS = tuple(
    word.encode()
    for word in (
        *_WORDS,
        MANY.decode(),
        '{"version":',
        '"pools":',
        ":",
        ",",
        "}",
        "]",
        "[" * 60,
        '{"":' * 20,
        '{"reload": "in force"}\n',
        '{"reload": "refused", "reason": "x"}\n',
        '{"reload": "asked"}\n',
    )
)


@contextlib.contextmanager
def target() -> Iterator[Check]:
    with tempfile.TemporaryDirectory(prefix="fuzz-status-") as directory, _Daemon(Path(directory, "s")) as daemon:

        def check(data: bytes) -> None:
            source = Source(data)
            form = source.pick(FORMS)
            whole = source.below(8)
            said = repeated(source.rest()) if not whole else json.dumps(changed(source)).encode()
            code, told = asked(daemon, said, form)
            judged(said, form, code, told)

        yield check


class _Daemon:
    """Says to each that connects what is next in the queue, and closes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.next: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "_Daemon":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.next.put(None)
        self._thread.join()
        self._listener.close()

    def _run(self) -> None:
        while (said := self.next.get()) is not None:
            connection, _ = self._listener.accept()
            with connection, contextlib.suppress(OSError):
                connection.sendall(said)


def asked(daemon: _Daemon, said: bytes, form: str | None) -> tuple[int, str]:
    """The exit status, and what was printed."""
    daemon.next.put(said)
    if form == "reload":
        return reloaded(daemon)
    raw = io.BytesIO()
    with contextlib.redirect_stdout(io.TextIOWrapper(raw, "utf-8")) as out:
        code = status.main([str(daemon.path), *([form] if form else [])], None)
        out.flush()
    return code, raw.getvalue().decode()


def reloaded(daemon: _Daemon) -> tuple[int, str]:
    """The same of the command that has the daemon reload: in force, refused, or one line why neither."""
    with contextlib.redirect_stderr(io.StringIO()) as err, contextlib.redirect_stdout(io.StringIO()) as out:
        try:
            code = reload.main([str(daemon.path)], None)
        except UsageError as error:
            return 2, f"{error}\n"
    return code, err.getvalue() + out.getvalue()


def judged(said: bytes, form: str | None, code: int, told: str) -> None:
    assert code in range(4) and told.endswith("\n")
    if form == "reload":
        assert code < 3 and told[:-1].isprintable()
        assert code == 2 or (b"in force" if code == 0 else b"refused") in said
        return
    lines = told.split("\n")[:-1]
    page = _page(said)
    if form == "--json":
        assert len(lines) == 1
        shown = json.loads(lines[0])
        assert (list(shown) == ["error"]) == (page is None or code == 3)
    elif form == "--prometheus":
        exposed(lines)
        assert f"extauth_bridge_up {float(code != 3)}" in lines
    else:
        assert all(line.isprintable() for line in lines), "it may not reach a terminal as it is"
        assert lines[0].startswith(("OK: ", "WARNING: ", "CRITICAL: ", "UNKNOWN: ")[code])
    if page is None:
        assert code == 3
    elif _is_sound(page):
        assert code == health(page)


def exposed(lines: list[str]) -> None:
    """Each sample stands below its kind's own header."""
    name = ""
    seen: set[str] = set()
    for line in lines:
        if header := re.match(r"# HELP (extauth_bridge_\w+) .", line):
            name = header[1]
            assert name not in seen
            seen.add(name)
        else:
            assert re.fullmatch(rf"# TYPE {name} (gauge|counter)", line) or (
                SAMPLE.fullmatch(line) and re.match(r"\w+", line)[0] == name  # type: ignore[index]
            )


def health(page: dict[str, Any]) -> int:
    """What monitoring is told, as the command's help says."""
    pools = page["pools"].values()
    if any(pool["down"] for pool in pools):
        return 2
    few = any(pool["usable"] - pool["stuck"] < pool["pool_size"] for pool in pools)
    ages = [pool[name] for pool in pools for name in ("failure_age", "overload_age")]
    return int(few or bool(page["reloads"]["reason"]) or any(age is not None and age < 300 for age in ages))


# --- pages ------------------------------------------------------------------------------------------------

_VALUES: tuple[Any, ...] = (
    *(None, 0, 1, -1, 2.5, 299.9, 300, 1e308, -(10**400), 10**400, math.inf, -math.inf, math.nan, True, "", "x", "7"),
    *("\x1b[2J", "\u202e", "\ud800", "a\nb", 'a"b\\', [], {}, [None], {"p50": 1}, {"": {}}, [[]], "ready", "é" * 90),
)


def good() -> dict[str, Any]:
    """A page with all that there is."""
    page: dict[str, Any] = {}
    for path, _ in FIELDS:
        *above, last = path.replace("[]", ".0").split(".")
        if last == "POOL":  # what it holds comes next
            continue
        table: Any = page
        for name in above:
            table = table.setdefault(_NAMES.get(name, name), {})
        table[_NAMES.get(last, last)] = _sample(last)
    for pool in page["pools"].values():
        pool["programs"] = [*pool["programs"].values()]
    return page


_NAMES = {"POOL": "default", "COMMAND": "auth", "CAUSE": "ended", "WINDOW": "1m", "REASON": "fields"}


def _sample(name: str) -> Any:
    if name == "version":
        return VERSION
    text = ("software", "file", "reason", "program", "down", "last_error", "error")
    return "" if name in text else "ready" if name == "state" else False if name == "proving" else 1000


def changed(source: Source) -> dict[str, Any]:
    """A good page but for some values, which are others, or missing."""
    page = good()
    while source:
        table: Any = page
        name: Any = source.pick([*table])
        for _ in range(source.below(6)):
            inner = table[name]
            if not isinstance(inner, dict | list) or not inner:
                break
            table, name = inner, source.pick([*inner] if isinstance(inner, dict) else range(len(inner)))
        how = source.below(4)
        if how == 0 and isinstance(table, dict):
            del table[name]
        elif how == 1 and isinstance(table, dict):
            table[source.pick(("x\x1b", 'a"\n\\', "\ud800", "default", "", "15m"))] = copy.deepcopy(table[name])
        else:
            table[name] = copy.deepcopy(source.pick(_VALUES))
        if not page:
            break
    return page


def _page(said: bytes) -> dict[str, Any] | None:
    try:
        page = json.loads(said)
    except (ValueError, RecursionError):
        return None
    return page if isinstance(page, dict) and page.get("version") == VERSION else None


def _is_sound(page: dict[str, Any]) -> bool:
    """Whether it says all, and everything is of its kind.  A path may be no UTF-8, but not a version."""
    return _alike(page, good()) and page["software"] != "\ud800"


def _alike(one: Any, other: Any) -> bool:
    if isinstance(other, dict):
        return isinstance(one, dict) and {*one} == {*other} and all(_alike(one[name], other[name]) for name in other)
    if isinstance(other, list):
        return isinstance(one, list) and all(_alike(item, other[0]) for item in one)
    return type(one) is type(other) and (isinstance(one, str) or abs(one) < 1e9)
