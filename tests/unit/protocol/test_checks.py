"""Which lines are let through: the rules written down again, in another way, against `checks`."""

import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bridge.protocol.checks import WITH_SECRET, WITHOUT_SECRET, Checks, host_of, secret_of
from bridge.protocol.query import Refusal

ALL = sorted(WITH_SECRET | WITHOUT_SECRET)
DEFAULT = ("auth", "isuser", "setpass")

FIELDS_OF = {
    "auth": "user host secret",
    "setpass": "user host secret",
    "tryregister": "user host secret",
    "removeuser3": "user host secret",
    "certauth": "user host secret",
    "isuser": "user host",
    "removeuser": "user host",
}
"""From the two protocols, not from the code under test."""

CONTROLS = [*range(0x20), 0x7F, *range(0x80, 0xA0)]
ODD = "\u00a0\u00ad\u2028\u2029\u200b\u202e\ufeff\ue000\U000e0001\u0378"
"""Neither printable nor control characters: XMPP decides about those, not the bridge."""

words = st.sampled_from(["", "alice", "example.com", "pä", "x y", " ", "👍", "0", "-", *ODD])
breakers = st.sampled_from([b"", b"", b"", b"\x00", b"\n", b"\x7f", b"\xc2\x85", b"\xff", b"\xed\xa0\x80", b"\xc3"])
commands = st.sampled_from([*ALL, *DEFAULT, "", "AUTH", "auth ", "quit", "is user"])
lines = st.builds(
    lambda command, fields, breaker, at: (
        lambda text: text[: at % (len(text) + 1)] + breaker + text[at % (len(text) + 1) :]
    )(":".join([command, *fields]).encode()),
    commands,
    st.lists(words, max_size=6),
    breakers,
    st.integers(0, 60),
)
allowed = st.sets(st.sampled_from(ALL), min_size=1)


def refused(line: bytes, commands: set[str], allow_empty: bool) -> bool:
    """The table of rules, character by character."""
    try:
        text = line.decode("utf-8", "strict")
    except UnicodeDecodeError:
        return True
    if any(ord(char) in CONTROLS for char in text):
        return True
    command, *fields = text.split(":")
    if command not in commands or command not in FIELDS_OF:
        return True
    wanted = FIELDS_OF[command].split()
    if len(fields) < len(wanted) or (len(fields) > len(wanted) and "secret" not in wanted):
        return True
    user, host, *secret = fields
    if not user or not host:
        return True
    return "secret" in wanted and ":".join(secret) == "" and not allow_empty


def hides_a_question(line: bytes) -> bool:
    """Whether a part of it reads as the beginning of a question, and its command ends behind 60 bytes."""
    for at in range(len(line)):
        command, *fields = line[at:].split(b":")
        known = command.decode(errors="replace").lower() in FIELDS_OF and at + len(command) >= 60
        if known and fields and fields[0]:
            return True
    return False


@given(lines, allowed, st.booleans())
@example(b"auth:a:b:", {"auth"}, True)
@example(b"auth:a:b::", {"auth"}, False)
@example(b"isuser:a:b:", {"isuser"}, True)
def test_the_rules(line: bytes, commands: set[str], allow_empty: bool) -> None:
    refusal = Checks(commands, allow_empty)(line)
    assert (refusal is not None) == refused(line, commands, allow_empty)


@given(st.binary(max_size=40), allowed, st.booleans())
def test_the_rules_for_any_bytes(line: bytes, commands: set[str], allow_empty: bool) -> None:
    refusal = Checks(commands, allow_empty)(line)
    assert (refusal is not None) == refused(line, commands, allow_empty)


@given(lines, st.integers(0, 1100), allowed, st.booleans())
@example("auth:a:b:x\u2028isuser:alice:example.com".encode(), 0, {"auth"}, False)
@example(b"auth:a:b:c", 990, {"auth"}, False)
@example(b"auth:a:b:c", 991, {"auth"}, False)
@example(b"auth:a:b:".ljust(63, b"c") + b"setpass:alice:example.com:", 5, {"auth"}, False)
@example(b"auth:a:b:".ljust(60, b"c") + b"IsUser:alice:h", 0, {"auth"}, False)
@example(b"auth:a:b:".ljust(54, b"c") + b"isuser:alice:h", 0, {"auth"}, False)
@example(b"auth:a:b:".ljust(53, b"c") + b"isuser:alice:h", 0, {"auth"}, False)
@example(b"auth:a:b:".ljust(70, b"c") + b"removeuser:alice", 0, {"auth"}, False)
@example(b"auth:a:b:".ljust(70, b"c") + b"setpass:alice::pw", 0, {"auth"}, False)
@example(b"auth:a:b:".ljust(70, b"c") + b"auth::h:", 0, {"auth"}, False)
@example(b"auth:a:b:".ljust(50, b"c") + b"oauth:token", 0, {"auth"}, False)
@example("auth:a:b:ä".encode().ljust(255, b"c") + b"removeuser3:alice:h", 0, {"auth"}, False)
def test_the_rules_for_a_program_that_reads_lines(
    line: bytes, more: int, commands: set[str], allow_empty: bool
) -> None:
    """It is one line to Node.js, too, and to a program that reads a thousand bytes at a time."""
    line += b"x" * more
    checks = Checks(commands, allow_empty, as_lines=True)
    ends = any(char in line.decode(errors="replace") for char in "\u2028\u2029")
    wrong = refused(line, commands, allow_empty) or ends or len(line) > 1000 or hides_a_question(line)
    assert (checks(line) is not None) == wrong
    assert not (checks.plain([line]) and wrong)
    assert not (checks.plain([b"auth:a:b:c", line, b"isuser:a:b"]) and wrong)


@pytest.mark.parametrize("command", ALL)
def test_only_commands_that_are_allowed(command: str) -> None:
    fields = b":alice:example.com" + b":secret" * (command in WITH_SECRET)
    others = set(ALL) - {command}
    assert Checks({command}, False)(command.encode() + fields) is None
    assert Checks(others, False)(command.encode() + fields) is Refusal.COMMAND
    assert Checks({command}, False)(command.upper().encode() + fields) is Refusal.COMMAND


def test_the_two_kinds_of_command_are_those_of_the_protocols() -> None:
    with_secret = {name for name, fields in FIELDS_OF.items() if "secret" in fields}
    assert with_secret == WITH_SECRET
    assert set(FIELDS_OF) - with_secret == WITHOUT_SECRET


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"", Refusal.COMMAND),
        (b"auth", Refusal.FIELDS),
        (b"auth:alice", Refusal.FIELDS),
        (b"auth:alice:example.com", Refusal.FIELDS),
        (b"isuser:alice", Refusal.FIELDS),
        (b"isuser:alice:example.com:x", Refusal.FIELDS),
        (b"isuser:alice:example.com:", Refusal.FIELDS),
        (b"auth::example.com:x", Refusal.EMPTY),
        (b"auth:alice::x", Refusal.EMPTY),
        (b"auth:alice:example.com:", Refusal.EMPTY),
        (b"isuser::", Refusal.EMPTY),
        (b"quit", Refusal.COMMAND),
        (b" auth:alice:example.com:x", Refusal.COMMAND),
        (b"auth:alice:example.com:x\n", Refusal.CONTROL),
        (b"auth:alice:example.com:x\r", Refusal.CONTROL),
        (b"auth:ali\x00ce:example.com:x", Refusal.CONTROL),
        (b"auth:alice:example.com:\xc2\x9b31m", Refusal.CONTROL),
        (b"auth:alice:example.com:\xff", Refusal.ENCODING),
        (b"auth:alice:example.com:\xc0\x8a", Refusal.ENCODING),  # a newline, over-long
        (b"auth:alice:example.com:\xed\xa0\x80", Refusal.ENCODING),  # a surrogate
        (b"auth:alice:example.com:\xf4\x90\x80\x80", Refusal.ENCODING),  # above U+10FFFF
    ],
)
def test_reasons(line: bytes, reason: Refusal) -> None:
    assert Checks(DEFAULT, False)(line) is reason


@pytest.mark.parametrize(("code", "field"), [*itertools.product(CONTROLS, range(3))])
def test_no_control_character_anywhere(code: int, field: int) -> None:
    fields = ["alice", "example.com", "secret"]
    fields[field] += chr(code)
    assert Checks(DEFAULT, True)(":".join(["auth", *fields]).encode()) is Refusal.CONTROL


@pytest.mark.parametrize("char", [*ODD, "ä", "\U0010ffff", "\xa0", "~", "'", '"', "\\", "%", "/", "&"])
def test_whatever_else_xmpp_lets_through(char: str) -> None:
    assert Checks(DEFAULT, False)(f"auth:al{char}ice:ex{char}ample:{char}".encode()) is None


@pytest.mark.parametrize("secret", [b":", b"a:b", b"::", b":isuser:bob:example.com", b" ", b"1", b"x" * 32000])
def test_a_secret_is_all_the_rest(secret: bytes) -> None:
    line = b"auth:alice:example.com:" + secret
    assert Checks(DEFAULT, False)(line) is None
    assert secret_of(line) == secret
    assert host_of(line) == b"example.com"


def test_an_empty_secret_only_where_it_is_allowed() -> None:
    for command in sorted(WITH_SECRET):
        line = command.encode() + b":alice:example.com:"
        assert Checks(ALL, False)(line) is Refusal.EMPTY
        assert Checks(ALL, True)(line) is None
        assert secret_of(line) == b""
    assert Checks(ALL, True)(b"auth:alice::") is Refusal.EMPTY
    assert Checks(ALL, True)(b"auth::example.com:") is Refusal.EMPTY


@given(lines)
def test_host_and_secret_of_what_was_let_through(line: bytes) -> None:
    """They return the line's fields; for a malformed line they do not raise."""
    host, secret = host_of(line), secret_of(line)
    if Checks(ALL, True)(line) is None:
        command = line.partition(b":")[0]
        assert host and b":" not in host
        assert bool(line.count(b":") >= 3) == (command.decode() in WITH_SECRET)
        rebuilt = b":".join([command, line.split(b":")[1], host])
        assert line == rebuilt + (b":" + secret if command.decode() in WITH_SECRET else b"")


@given(st.lists(lines | st.sampled_from(Refusal), max_size=6), allowed, st.booleans())
@example([b"auth:a:h:x\nisuser:b:h"], {"auth", "isuser"}, False)
@example([b"auth:a", b"b:h:x"], {"auth"}, False)
@example([b"isuser:a:h", b"auth:a:h:" + bytes(range(0x20, 0x7F))], {"auth", "isuser"}, False)
def test_all_of_them_at_once(some: list[bytes | Refusal], commands: set[str], allow_empty: bool) -> None:
    """What is plain is let through; what is let through is plain unless it has other than ASCII, or an empty secret."""
    checks = Checks(commands, allow_empty)
    fits = [isinstance(line, bytes) and not refused(line, commands, allow_empty=False) for line in some]
    ascii_only = all(isinstance(line, bytes) and line.isascii() for line in some)
    if checks.plain(some):
        assert all(fits)
    else:
        assert not (all(fits) and ascii_only and some)
