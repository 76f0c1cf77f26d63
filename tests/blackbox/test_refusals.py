"""What is let through: every rule at its limits. What is refused never reaches a program, nor the log."""

import pytest
from support.programs import oracle
from support.programs.bad import CHAMELEON, Journal, habit

from .conftest import Start

GOOD = b"isuser:alice:example.com"


def line_of(length: int) -> bytes:
    """An `auth` line of that many bytes."""
    return b"auth:zq7user:example.com:".ljust(length, b"x")


REFUSED = {
    # commands
    "empty line": b"",
    "only a carriage return": b"\r",
    "unknown command": b"zq7quit",
    "unknown command with fields": b"zq7check:zq7user:example.com:secret",
    "command of ejabberd that is not on the default list": b"removeuser:zq7user:example.com",
    "tryregister": b"tryregister:zq7user:example.com:hunter2",
    "removeuser3": b"removeuser3:zq7user:example.com:hunter2",
    "certauth": b"certauth:zq7user:example.com:hunter2",
    "upper case": b"AUTH:zq7user:example.com:pw-zq7user",
    "mixed case": b"isUser:zq7user:example.com",
    "space before the command": b" isuser:zq7user:example.com",
    "space behind the command": b"isuser :zq7user:example.com",
    "tab before the command": b"\tisuser:zq7user:example.com",
    "byte order mark": b"\xef\xbb\xbfisuser:zq7user:example.com",
    "a prefix of a command": b"aut:zq7user:example.com:pw-zq7user",
    "more than a command": b"isusers:zq7user:example.com",
    "a frame instead of a line": b"\x00\x18isuser:zq7user:example.com",
    # fields
    "command alone": b"auth",
    "command and colon": b"isuser:",
    "only colons": b"auth:::",
    "no host": b"isuser:zq7user",
    "isuser, empty host": b"isuser:zq7user:",
    "isuser, empty user": b"isuser::zq7.example.com",
    "isuser with a third field": b"isuser:zq7user:example.com:secret",
    "isuser with an empty third field": b"isuser:zq7user:example.com:",
    "auth without a secret": b"auth:zq7user:example.com",
    "auth with an empty secret": b"auth:zq7user:example.com:",
    "auth with an empty user": b"auth::example.com:pw-",
    "auth with an empty host": b"auth:zq7user::pw-zq7user",
    "setpass without a secret": b"setpass:zq7user:example.com",
    "setpass with an empty secret": b"setpass:zq7user:example.com:",
    "setpass with an empty user": b"setpass::example.com:zq7",
    # control characters, everywhere
    "NUL in the user": b"isuser:zq7\x00user:example.com",
    "NUL at the end": b"isuser:zq7user:example.com\x00",
    "NUL in the secret": b"auth:zq7user:example.com:pw-zq7user\x00",
    "tab in the secret": b"auth:zq7user:example.com:pw\tzq7user",
    "escape in the host": b"isuser:zq7user:example\x1b.com",
    "unit separator, the last of C0": b"isuser:zq7user\x1f:example.com",
    "delete": b"isuser:zq7user\x7f:example.com",
    "delete in the secret": b"auth:zq7user:example.com:\x7f",
    "first of C1": b"isuser:zq7user\xc2\x80:example.com",
    "next line, of C1": b"auth:zq7user:example.com:pw\xc2\x85zq7user",
    "last of C1": b"isuser:zq7user:example.com\xc2\x9f",
    "C1 in the secret": b"setpass:zq7user:example.com:\xc2\x9bx",
    "carriage return in the user": b"isuser:zq7\ruser:example.com",
    "carriage return in the secret": b"auth:zq7user:example.com:pw\rzq7user",
    "carriage return before the secret": b"auth:zq7user:example.com:\rpw-zq7user",
    "two carriage returns at the end": b"isuser:zq7user:example.com\r\r",
    "vertical tab": b"isuser:zq7user\x0b:example.com",
    "form feed": b"isuser:zq7user\x0c:example.com",
    # encoding
    "lone byte of UTF-8": b"isuser:zq7user\xff:example.com",
    "Latin-1": b"isuser:zq7\xfcser:example.com",
    "Latin-1 secret": b"auth:zq7user:example.com:zq7\xe4\xf6",
    "C1 as one byte": b"isuser:zq7user\x85:example.com",
    "sequence cut at the end": b"auth:zq7user:example.com:zq7\xe2\x82",
    "sequence cut at a colon": b"isuser:zq7user\xe2\x82:example.com",
    "continuation without a start": b"isuser:\x80zq7user:example.com",
    "overlong slash": b"isuser:zq7\xc0\xafuser:example.com",
    "overlong NUL": b"isuser:zq7user\xc0\x80:example.com",
    "overlong colon": b"isuser:zq7user\xc0\xbaexample.com",
    "surrogate": b"isuser:zq7user\xed\xa0\x80:example.com",
    "beyond Unicode": b"isuser:zq7user\xf4\x90\x80\x80:example.com",
    "invalid host": b"isuser:zq7user:ex\xfe",
    # length
    "one byte too long": line_of(4097),
    "one byte too long, by its carriage return inside": line_of(4096) + b"\rx",
    "far too long": line_of(1_000_000),
    "too long and empty": b"a" * 5000,
}

ACCEPTED = {
    "right password": b"auth:alice:example.com:pw-alice",
    "carriage return at the end": b"auth:alice:example.com:pw-alice\r",
    "wrong password": b"auth:alice:example.com:wrong",
    "colons in the secret": b"auth:alice:example.com:pw-alice:with:colons::",
    "a secret of colons": b"auth:alice:example.com:::",
    "spaces everywhere": b"auth: al ice :example.com: pw- al ice ",
    "quotes and backslashes": b'auth:al"ice\\n:example.com:pw-al"ice\\n',
    "not ASCII": "auth:älïce:exämple.com:pw-älïce".encode(),
    "beyond 16 bits": "auth:🙂:example.com:pw-🙂".encode(),
    "no-break space, behind the last of C1": "auth:al\u00a0ice:example.com:pw-al\u00a0ice".encode(),
    "line separator": "auth:al\u2028ice:example.com:pw-al\u2028ice".encode(),
    "soft hyphen": "isuser:al\u00adice:example.com".encode(),
    "noncharacter": "isuser:al\ufffeice:example.com".encode(),
    "last character of Unicode": "isuser:\U0010ffff:example.com".encode(),
    "newline, written as backslash n": b"auth:alice:example.com:pw-alice\\nisuser:bob:example.com",
    "shortest": b"isuser:a:b",
    "as long as allowed": line_of(4096),
    "as long as allowed, and a carriage return": line_of(4096) + b"\r",
    "setpass with colons": b"setpass:alice:example.com:a:b:c",
    "lengths around 128": line_of(128),
    "lengths around 256": line_of(256),
    "a length whose low byte is a newline": line_of(2570),
}


def test_nothing_refused_reaches_a_program_or_the_log(start: Start, journal: Journal) -> None:
    """Each refused line alone, and a good one behind it: the answers do not shift."""
    bridge = start(
        *("run", "--pool-size", 2, "--log-level", "debug", "--", *CHAMELEON),
        env=journal.environment,
    )
    for name, line in REFUSED.items():
        assert not oracle.lets_through(line), f"the test itself is wrong: {name}"
        assert bridge.ask(line).verdict == "0", name
        assert bridge.ask(GOOD).verdict == "1", f"after: {name}"
    assert set(journal.frames()) == {GOOD}
    bridge.finish()
    assert b"zq7" not in bridge.log
    assert b"pw-" not in bridge.log
    assert b"xxxx" not in bridge.log


def test_a_burst_of_refusals_keeps_every_answer_in_its_place(start: Start, journal: Journal) -> None:
    bridge = start("run", "--pool-size", 2, "--", *CHAMELEON, env=journal.environment)
    data = b"".join(line + b"\n" + GOOD + b"\n" for line in REFUSED.values())
    bridge.send(data)
    answers = bridge.wait_for_answers(2 * len(REFUSED))
    assert [answer.verdict for answer in answers] == ["0", "1"] * len(REFUSED)
    bridge.finish()
    assert set(journal.frames()) == {GOOD}


@pytest.mark.parametrize("piece", [1, 7, 4096])
def test_lines_in_pieces(start: Start, journal: Journal, piece: int) -> None:
    """The same lines give the same answers, wherever the client's writes happen to end."""
    lines = [line for line in (*REFUSED.values(), *ACCEPTED.values()) if len(line) < 300]
    data = b"".join(line + b"\n" for line in lines)
    bridge = start("run", "--pool-size", 2, "--", *CHAMELEON, env=journal.environment)
    for begin in range(0, len(data), piece):
        bridge.send(data[begin : begin + piece])
    answers = bridge.wait_for_answers(len(lines))
    assert [answer.verdict for answer in answers] == [oracle.best_answer(line) for line in lines]
    bridge.finish()


def test_everything_else_arrives_byte_for_byte(start: Start, journal: Journal) -> None:
    bridge = start("run", "--pool-size", 1, "--", *CHAMELEON, env=journal.environment)
    for name, line in ACCEPTED.items():
        assert oracle.lets_through(line), f"the test itself is wrong: {name}"
        assert bridge.ask(line).verdict == oracle.best_answer(line), name
    bridge.finish()
    assert journal.frames() == [line.removesuffix(b"\r") for line in ACCEPTED.values()]


@pytest.mark.parametrize("max_line", [64, 4095, 32767])
def test_max_line_is_a_limit_for_the_line_without_its_end(start: Start, journal: Journal, max_line: int) -> None:
    bridge = start(*("run", "--pool-size", 1, "--max-line", max_line, "--", *CHAMELEON), env=journal.environment)
    longest = b"isuser:alice:".ljust(max_line, b"h")
    for line, verdict in [
        (longest, "1"),
        (longest + b"\r", "1"),
        (longest + b"h", "0"),
        (longest + b"h\r", "0"),
        (longest + b"\r\r", "0"),
        (longest[:-1], "1"),
        (longest * 9, "0"),
        (GOOD, "1"),
    ]:
        assert bridge.ask(line).verdict == verdict, len(line)
    bridge.finish()
    assert journal.frames() == [longest, longest, longest[:-1], GOOD]


def test_a_frame_is_written_at_once_and_alone(start: Start, journal: Journal) -> None:
    """A third of the real programs take one read for one frame."""
    bridge = start(*("run", "--pool-size", 2, "--max-line", 32767, "--", *habit("one_read")), env=journal.environment)
    lengths = [10, 127, 128, 255, 256, 2559, 2815, 4096, 8192, 32767, 11, *range(12, 400)]
    lines = [b"isuser:alice:".ljust(max(length, 14), b"h") for length in lengths]
    answers = bridge.converse(lines, in_flight=64)
    assert [answer.verdict for answer in answers] == ["1"] * len(lines)
    bridge.finish()
    assert not journal.events("broken")


@pytest.mark.parametrize(
    ("rest", "verdicts"),
    [
        (b"isuser:alice:example.com", ["1"]),
        (b"isuser:noalice:example.com", ["0"]),
        (b"bogus", ["0"]),
        (b"auth:alice:example.com:" + b"x" * 9000, ["0"]),
        (b"\n\nisuser:alice:example.com", ["0", "0", "1"]),
        (b"isuser:alice:example.com\n", ["1"]),
        (b"\r\n", ["0"]),
        (b"", []),
    ],
)
def test_the_last_line_counts_without_its_newline(start: Start, rest: bytes, verdicts: list[str]) -> None:
    bridge = start("run", "--pool-size", 1, "--", *CHAMELEON)
    bridge.send(rest, lines=len(verdicts))
    bridge.finish()
    assert bridge.verdicts == verdicts


@pytest.mark.parametrize("allowed", [False, True])
def test_empty_passwords_pass_only_where_allowed(start: Start, journal: Journal, configure, allowed: bool) -> None:
    file = configure(program=CHAMELEON, pool_size=1, allow_empty_password=allowed)
    bridge = start("run", file, env=journal.environment)
    assert bridge.ask(b"setpass:alice:example.com:").verdict == ("1" if allowed else "0")
    assert bridge.ask(b"auth:alice:example.com:").verdict == "0"
    assert bridge.ask(b"auth:alice:example.com").verdict == "0"
    assert bridge.ask(b"auth::example.com:").verdict == "0"
    bridge.finish()
    passed = [b"setpass:alice:example.com:", b"auth:alice:example.com:"]
    assert journal.frames() == (passed if allowed else [])


def test_all_commands_of_ejabberd_can_be_allowed(start: Start, journal: Journal, configure) -> None:
    commands = ["auth", "tryregister", "removeuser", "removeuser3", "certauth"]
    bridge = start("run", configure(program=CHAMELEON, pool_size=1, commands=commands), env=journal.environment)
    for line, verdict in [
        (b"tryregister:nobody:example.com:x:y", "1"),
        (b"tryregister:alice:example.com:x", "0"),
        (b"removeuser:alice:example.com", "1"),
        (b"removeuser:alice:example.com:x", "0"),
        (b"removeuser3:alice:example.com:pw-alice", "1"),
        (b"removeuser3:alice:example.com", "0"),
        (b"certauth:alice:example.com:cert-alice", "1"),
        (b"certauth:alice:example.com:", "0"),
        (b"isuser:alice:example.com", "0"),
        (b"setpass:alice:example.com:x", "0"),
        (b"auth:alice:example.com:pw-alice", "1"),
    ]:
        assert bridge.ask(line).verdict == verdict, line
    bridge.finish()
    assert [frame.split(b":")[0] for frame in journal.frames()] == [
        *(b"tryregister", b"tryregister", b"removeuser", b"removeuser3", b"certauth", b"auth")
    ]


def test_a_program_that_agrees_to_everything_is_never_asked_an_unknown_command(start: Start) -> None:
    bridge = start("run", "--pool-size", 1, "--", *habit("agrees"))
    lines = [b"check:alice:example.com:x", b"auth:alice:example.com:wrong", b"removeuser:alice:example.com"]
    answers = bridge.converse(lines * 5, in_flight=1)
    assert {answer.verdict for answer in answers} == {"0"}
    bridge.finish()
