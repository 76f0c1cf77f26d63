"""The form of a log line, and the limits on how many there may be."""

import errno
import logging
import os
import re
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.clock import Clock

from bridge.log.events import describe, event, log
from bridge.log.ratelimit import KEYS, RateLimited
from bridge.log.setup import LONGEST, configure


class Settings:
    def __init__(self, target: str = "stderr", level: str = "debug") -> None:
        self.level = level
        self.target = target


class Reader:
    """What arrives at the other end of a pipe that serves as stderr."""

    def __init__(self, end: int) -> None:
        self._end = end

    def texts(self) -> list[str]:
        """The lines since the last call, without their prefixes."""
        try:
            data = os.read(self._end, 1 << 20)
        except BlockingIOError:
            return []
        assert data.endswith(b"\n")
        return [re.sub(r"^\S+ \w+ extauth-bridge\[\d+\]: ", "", line) for line in data.decode().split("\n")[:-1]]


@pytest.fixture
def said() -> Iterator[Reader]:
    read, write = os.pipe()
    os.set_blocking(read, False)
    configure(Settings(), client_terminal=False, stderr=write, journal="/nowhere", syslog="/nowhere")
    os.close(write)
    yield Reader(read)
    os.close(read)
    for handler in [handler for handler in log.handlers if type(handler).__module__ == "bridge.log.setup"]:
        log.removeHandler(handler)
        handler.close()


# Events


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({}, ""),
        ({"programs": 4, "refused": 12}, " programs=4 refused=12"),
        ({"path": "/etc/auth.toml", "host": "exämple.org"}, " path=/etc/auth.toml host=exämple.org"),
        ({"text": "two words"}, ' text="two words"'),
        ({"text": 'a "quoted" \\ one'}, ' text="a \\"quoted\\" \\\\ one"'),
        ({"text": "it's"}, ' text="it\'s"'),
        ({"text": "a=b"}, ' text="a=b"'),
        ({"text": ""}, ' text=""'),
        ({"text": "a\nb\r\t\x1b[0m\x00"}, ' text="a\\nb\\r\\t\\x1b[0m\\x00"'),
        ({"text": "\x85\u2028\u2029\u202e\ud800\x7f"}, ' text="\\x85\\u2028\\u2029\\u202e\\ud800\\x7f"'),
        ({"seen": b"\x00\x02\xff ok"}, ' seen="\\x00\\x02\\\\xff ok"'),
        ({"seen": bytearray(b"ok")}, " seen=ok"),
        ({"none": None, "yes": True, "rate": 0.5}, " none=None yes=True rate=0.5"),
        ({"a key\n": 1}, ' "a key\\n"=1'),
    ],
)
def test_an_event(fields: dict[str, object], shown: str):
    assert event("pool is back", **fields) == f"pool is back{shown}"


def test_a_field_may_be_called_message():
    assert event("hello", message="x", self="y") == "hello message=x self=y"


def test_a_value_that_cannot_be_shown_does_not_harm():
    class Broken:
        def __str__(self) -> str:
            raise RuntimeError("secret")

    assert event("it", value=Broken()) == "it value=<Broken>"


def test_an_exception_as_a_value_is_described():
    assert event("failed", error=ValueError("secret")) == "failed error=ValueError"
    assert event("failed", error=OSError(errno.ENOENT, "secret", "secret")) == (
        'failed error="FileNotFoundError ENOENT: No such file or directory"'
    )


ESCAPE = re.compile(r"\\(?:x(..)|u(....)|U(........)|(.))")
LETTERS = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\"}


def unquoted(word: str) -> str:
    if not word.startswith('"'):
        return word
    return ESCAPE.sub(
        lambda m: LETTERS[m[4]] if m[4] else chr(int(m[1] or m[2] or m[3], 16)),
        word[1:-1],
    )


WORD = r'"(?:[^"\\]|\\.)*"|[^\s"=]+'

anything = st.text() | st.text("a\"'\\=\n\x1b \u2028\ud800", max_size=20) | st.characters(codec=None)


@given(anything, st.dictionaries(anything, anything, max_size=4))
def test_every_event_is_one_printable_line_that_reads_back(message: str, fields: dict[str, str]):
    line = event(message, **fields)
    assert line.isprintable()
    rest = line.removeprefix(event(message))
    found = re.findall(rf" ({WORD})=({WORD})", rest)
    assert "".join(f" {key}={value}" for key, value in found) == rest
    assert [(unquoted(key), unquoted(value)) for key, value in found] == list(fields.items())


@given(st.binary())
def test_any_bytes_make_one_printable_line(data: bytes):
    line = event("seen", data=data)
    assert line.isprintable()
    assert unquoted(line.removeprefix("seen data=")) == data.decode("utf-8", "backslashreplace")


# Exceptions


def raised(error: BaseException) -> BaseException:
    """`error`, raised by this package's code."""

    class Raising:
        def __hash__(self) -> int:
            raise error

    try:
        RateLimited(1, 1.0, float).log(logging.INFO, Raising(), "x")
    except BaseException as caught:
        return caught
    raise AssertionError("nothing was raised")


def test_an_exception_says_what_and_where_but_not_its_arguments():
    assert re.fullmatch(r"ValueError at bridge/log/ratelimit\.py:\d+", describe(raised(ValueError("secret"))))
    assert describe(KeyError("secret")) == "KeyError"


def test_an_oserror_says_its_number_and_the_systems_text_for_it():
    assert describe(OSError(errno.ENOSPC, "secret", "/secret")) == "OSError ENOSPC: No space left on device"
    assert describe(OSError("secret")) == "OSError"
    assert describe(OSError(123456, "secret")) == "OSError"
    assert describe(OSError(["secret"], "secret")) == "OSError"
    assert describe(socket.gaierror(socket.EAI_NONAME, "secret")) == "gaierror"


def test_too_few_descriptors_are_named_with_their_limit() -> None:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    named = f"Too many open files (the limit of descriptors is {limit}: ulimit -n, LimitNOFILE=)"
    assert describe(OSError(errno.EMFILE, "secret")) == f"OSError EMFILE: {named}"


def test_a_group_says_what_is_in_it():
    group = ExceptionGroup("secret", [ValueError("secret"), OSError(errno.EIO, "secret"), KeyError(), TypeError()])
    assert describe(group) == "ExceptionGroup (ValueError; OSError EIO: Input/output error; KeyError; and 1 more)"


def test_the_cause_is_named_and_a_circle_of_causes_ends():
    error, cause = RuntimeError("secret"), BrokenPipeError(errno.EPIPE, "secret")
    error.__cause__ = cause
    assert describe(error) == "RuntimeError from BrokenPipeError EPIPE: Broken pipe"
    cause.__cause__ = error
    assert describe(error).count("RuntimeError") == 2


# Through the logger


def test_a_record_becomes_one_line(said: Reader):
    log.info(event("pool is back", programs=4, share="100%"))
    log.debug("%s of %d", "one", 3)
    assert said.texts() == ["pool is back programs=4 share=100%", "one of 3"]


def test_other_peoples_records_are_one_line_too(said: Reader):
    log.warning("two\nlines \x1b[31m")
    assert said.texts() == ["two\\nlines \\x1b[31m"]


def test_an_accidentally_huge_message_is_cut(said: Reader):
    log.warning("x" * (LONGEST * 100))
    (text,) = said.texts()
    assert len(text.encode()) < 4096
    assert text.endswith("x…")


def test_no_traceback_and_no_arguments_are_logged(said: Reader):
    try:
        raise raised(ValueError("secret")) from OSError(errno.EIO, "secret")
    except ValueError:
        log.exception(event("it failed"), stack_info=True)
    (text,) = said.texts()
    assert re.fullmatch(
        r'it failed error="ValueError at bridge/log/ratelimit\.py:\d+ from OSError EIO: Input/output error"', text
    )


def test_exc_info_without_an_exception_does_not_harm(said: Reader):
    log.error("nothing to see", exc_info=True)
    assert said.texts() == ["nothing to see"]


def test_a_message_that_cannot_be_formatted_is_counted_as_lost(said: Reader):
    log.info("%d", "not a number")
    log.info("next")
    assert said.texts() == ["log lines lost count=1", "next"]


@pytest.mark.parametrize(
    ("level", "heard"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
        ("bogus", ["info", "warning", "error"]),
    ],
)
def test_the_level(capfd: pytest.CaptureFixture[str], said: Reader, level: str, heard: list[str]):
    configure(Settings("stderr", level), client_terminal=False)
    for name in ("debug", "info", "warning", "error"):
        getattr(log, name)(name)
    out, err = capfd.readouterr()
    assert [line.split("]: ")[1] for line in err.splitlines()] == heard
    assert out == ""


def test_nothing_reaches_stderr_before_it_is_configured_or_from_others():
    code = """
import logging, bridge.log.events
bridge.log.events.log.critical("one")
logging.getLogger("bridge").error("%d", "two")
logging.getLogger("trio").error("three", exc_info=ValueError("four"))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == (b"", b"")


def test_importing_it_stays_light():
    code = (
        "import sys, logging; before = {*sys.modules}; import bridge.log.setup, bridge.log.ratelimit; "
        "print(*{*sys.modules} - before)"  # from Python 3.14 on, logging itself imports dataclasses
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=True)
    heavy = {"trio", "attr", "attrs", "socket", "logging.handlers", "logging.config", "asyncio", "dataclasses"}
    assert not heavy & set(done.stdout.decode().split())


# Floods


def test_a_flood_is_held_back_and_counted(said: Reader):
    clock = Clock()
    limited = RateLimited(2, 10.0, clock)
    for number in range(5):
        limited.log(logging.WARNING, "too long", "line refused", number=number)
    assert said.texts() == ["line refused number=0", "line refused number=1"]
    clock.now += 5.0  # one of two in 10 s
    for number in range(5, 8):
        limited.log(logging.WARNING, "too long", "line refused", number=number)
    assert said.texts() == ["line refused number=5 suppressed=3"]
    clock.now += 100.0
    for number in range(8, 11):
        limited.log(logging.WARNING, "too long", "line refused", number=number)
    assert said.texts() == ["line refused number=8 suppressed=2", "line refused number=9"]


def test_what_is_not_even_tried_is_counted(said: Reader):
    clock = Clock()
    limited = RateLimited(2, 10.0, clock)
    assert [limited.log(logging.WARNING, "key", "it") for _ in range(3)] == [True, True, False]
    limited.suppress("key", 40)
    clock.now += 10.0
    assert limited.log(logging.WARNING, "key", "it")
    assert said.texts() == ["it", "it", "it suppressed=41"]


def test_what_does_not_get_through_is_not_looked_at(said: Reader):
    class Counted:
        looked_at = 0

        def __str__(self) -> str:
            self.looked_at += 1
            return "text"

    limited, field = RateLimited(2, 10.0, Clock()), Counted()
    for _ in range(5):
        limited.log(logging.WARNING, "key", "it", field=field)
    assert said.texts() == ["it field=text", "it field=text"]
    assert field.looked_at == 2


def test_each_key_has_its_own_limit(said: Reader):
    limited = RateLimited(1, 10.0, Clock())
    for key in ("one", "two", "one", "two", "three"):
        limited.log(logging.WARNING, key, key)
    assert said.texts() == ["one", "two", "three"]


def test_a_field_called_suppressed_does_not_harm(said: Reader):
    clock = Clock()
    limited = RateLimited(1, 10.0, clock)
    limited.log(logging.WARNING, "key", "it", suppressed="mine")
    limited.log(logging.WARNING, "key", "it", suppressed="mine")
    clock.now += 10.0
    limited.log(logging.WARNING, "key", "it", suppressed="mine")
    assert said.texts() == ["it suppressed=mine", "it suppressed=1"]


def test_of_many_keys_those_in_use_are_remembered(said: Reader):
    limited = RateLimited(1, 10.0, Clock())
    limited.log(logging.WARNING, "kept", "kept")
    for number in range(3 * KEYS):
        limited.log(logging.DEBUG - 1, number, "other")
        limited.log(logging.WARNING, "kept", "kept")
    assert said.texts() == ["kept"]
    limited.log(logging.WARNING, 0, "forgotten")
    limited.log(logging.WARNING, 3 * KEYS - 1, "remembered")
    assert said.texts() == ["forgotten"]
