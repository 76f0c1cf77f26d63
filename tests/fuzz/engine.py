"""Finds inputs: guided by the coverage of `bridge` if atheris is there, else by mutation alone.

A finding is an input for which a target's check raises.
"""

import contextlib
import importlib
import importlib.util
import random
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import attrs

import bridge

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
BRIDGE = Path(bridge.__file__).parent
NAMES = sorted(path.stem for path in (HERE / "targets").glob("*.py") if path.stem != "__init__")

MAX_LEN = 512
"""Bytes of an input: more is seldom about something else, and slower."""

_FEATURES = 4096
"""The most features that a target can have."""

_ANY = 100
"""Inputs that are kept where nothing tells what is worth it."""

_SMALLER = 5.0
"""Seconds to make a finding smaller."""

Check = Callable[[bytes], Iterable[int] | None]


@attrs.define
class Finding:
    """An input for which a check raised, and what it said."""

    data: bytes
    said: str


@attrs.define
class Found:
    """What a search found: how many inputs it tried, and how many are worth keeping."""

    executions: int = 0
    corpus: int = 0
    finding: Finding | None = None


def module_of(name: str) -> Any:
    return importlib.import_module(f"fuzz.targets.{name}")


def corpus_of(name: str) -> list[bytes]:
    """The inputs that the repository has for a target."""
    return [path.read_bytes() for path in sorted((CORPUS / name).glob("*"))]


def fails(check: Check, data: bytes) -> Finding | None:
    try:
        check(data)
    except Exception as error:
        return Finding(data, f"{type(error).__name__}: {error}")
    return None


def reached(check: Check, data: bytes) -> set[object]:
    """The ways from line to line of `bridge` that an input takes, and its features."""
    ways: set[object] = set()
    last = 0

    def line(frame: FrameType, event: str, _: object) -> Any:
        nonlocal last
        if event == "line":
            ways.add((frame.f_code.co_filename, last, frame.f_lineno))
            last = frame.f_lineno
        return line

    def call(frame: FrameType, _event: str, _: object) -> Any:
        return line if f"{BRIDGE}/" in frame.f_code.co_filename else None

    sys.settrace(call)
    try:
        return ways.union(check(data) or ())
    finally:
        sys.settrace(None)


# --- by mutation ------------------------------------------------------------------------------------------


def search(
    check: Check,
    seeds: Sequence[bytes],
    tokens: Sequence[bytes],
    dice: random.Random,
    count: int | None = None,
    until: float = float("inf"),
) -> Found:
    """Try the seeds, then mutations of them.

    Args:
      count: of mutations.
      until: when to stop, on the monotonic clock.
    """
    found = Found()
    kept, seen = [b"", *seeds], set[int]()
    queue = [*kept]
    while queue or count is None or found.executions < count + len(seeds) + 1:
        data = queue.pop() if queue else mutated(dice.choice(kept), kept, tokens, dice)
        found.executions += 1
        try:
            features = set(check(data) or ())
        except Exception as error:
            found.finding = smaller(check, Finding(data, f"{type(error).__name__}: {error}"))
            break
        if features - seen or (not seen and len(kept) < _ANY and dice.random() < 0.05):
            seen |= features
            kept.append(data)
        if time.monotonic() >= until:
            break
    found.corpus = len(kept) - 1
    return found


def mutated(data: bytes, others: Sequence[bytes], tokens: Sequence[bytes], dice: random.Random) -> bytes:
    """`data` with some changes."""
    for _ in range(dice.choice((1, 1, 2, 3, 5))):
        start = dice.randint(0, len(data))
        end = min(len(data), start + dice.choice((0, 1, 1, 2, 4, 16)))
        how = dice.randrange(6)
        if how == 0:
            new = dice.randbytes(dice.choice((1, 1, 2, 8)))
        elif how == 1:
            new = dice.choice(tokens or (b"\0",))
        elif how == 2:
            other = dice.choice(others)
            at = dice.randint(0, len(other))
            new = other[at : at + dice.choice((1, 4, 16, 64))]
        elif how == 3:
            new = data[start:end] * 2
        elif how == 4 and start < len(data):
            new, end = bytes([(data[start] + dice.choice((-1, 1, 16, 128))) % 256]), start + 1
        else:
            new = b""
        data = data[:start] + new + data[end:]
    return data[:MAX_LEN]


def smaller(check: Check, finding: Finding) -> Finding:
    """The same with as little as it takes: without pieces that are not needed."""
    until, size = time.monotonic() + _SMALLER, max(1, len(finding.data) // 2)
    while time.monotonic() < until:
        for start in range(0, len(finding.data), size):
            without = finding.data[:start] + finding.data[start + size :]
            if without != finding.data and (another := fails(check, without)):
                finding = another
                break
        else:
            if size == 1:
                break
            size //= 2
    return finding


# --- by coverage ------------------------------------------------------------------------------------------


def can_be_guided() -> bool:
    return importlib.util.find_spec("atheris") is not None


def guided(name: str, words: Path, arguments: Sequence[str]) -> None:
    """Have libFuzzer search, as `arguments` say; it prints what it finds, and ends this process.

    Args:
      words: where the tokens are written, in its syntax.
    """
    import atheris

    stack = contextlib.ExitStack()
    with atheris.instrument_imports(include=["bridge"]):
        module = module_of(name)
        check: Check = stack.enter_context(module.target())
    escaped = ["".join(f"\\x{byte:02x}" for byte in token) for token in module.TOKENS]
    words.write_text("".join(f'"{token}"\n' for token in escaped))
    first = atheris._reserve_counter()
    for _ in range(_FEATURES if name == "module" else 0):
        atheris._reserve_counter()

    def one(data: bytes) -> None:
        for feature in check(data[:MAX_LEN]) or ():
            atheris._trace_branch(first + feature)

    atheris.Setup([sys.argv[0], *arguments], one)
    atheris.Fuzz()
