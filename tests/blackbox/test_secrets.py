"""Passwords stay between the client and the programs: not in a log, whatever a program prints, nor in /proc."""

import base64
from pathlib import Path

import pytest
from support import procfs
from support.process import Bridge
from support.programs.bad import CHAMELEON, habit, line_habit

from .conftest import Start

# Long enough that no part of them is in a log by chance; and what escaping or cutting may do to them.
SECRETS = {
    "plain": "correct-horse-battery-staple",
    "colons": "wonderland:lookingglass:jabberwocky",
    "colons at the ends": ":wonderland:lookingglass:",
    "not ASCII": "größenwahnsinn-übermütig-🙂-ß",
    "quotes": "quoted\"double'single`back\\slash\\nnewline%20percent",
    "format": "%s%d{0}{secret}%(message)s-zq7xwvu",
    "regular expression": "zq7(.*)+[a-z]{9}?wvu",
    "long": "".join(f"zq7part{number:04}" for number in range(60)),
    "short": "zq7",
}

BABBLERS = [
    habit("tells_before"),
    habit("tells_after"),
    habit("tells_after", 30),
    habit("tells_in_pieces", 20),
    habit("tells_late", 5),
    habit("tells_parts"),
    habit("tells_without_newline"),
    *(habit("tells_far_out", count) for count in (480, 500, 505, 511, 512, 1000)),
]


def pieces(secret: str) -> list[bytes]:
    """The secret, its parts between colons, and other ways to write it: none may be in a log."""
    parts = [secret, *(part for part in secret.split(":") if len(part) >= 6)]
    if len(secret) >= 16:
        parts += [secret[: len(secret) // 2], secret[len(secret) // 2 :]]
    found = [part.encode() for part in parts]
    found += [part.encode("unicode_escape") for part in parts]
    found += [base64.b64encode(secret.encode()), secret.encode().hex().encode()]
    return found


def check_log(log: bytes, secret: str, about: str) -> None:
    for number, piece in enumerate(pieces(secret)):
        # No assertion on the bytes themselves: a failing test would print them.
        found = log.find(piece) >= 0
        assert not found, f"piece {number} of the secret is in the log: {about}"


def questions(secret: str, number: int) -> list[bytes]:
    return [f"{command}:alice{number}:example.com:{secret}".encode() for command in ("auth", "setpass")]


@pytest.mark.parametrize("program", BABBLERS, ids=lambda program: "-".join(program[-2:]))
def test_whatever_a_program_prints(start: Start, program: tuple[str, ...]) -> None:
    bridge = start(
        *("run", "--pool-size", 2, "--answer-timeout", 0.5, "--log-level", "debug", "--", *program),
    )
    for number, secret in enumerate(SECRETS.values()):
        for line in questions(secret, number)[: 1 if "tells_without_newline" in program else 2]:
            bridge.ask(line)
    # What a program prints late is still read before it goes.
    bridge.finish()
    for name, secret in SECRETS.items():
        check_log(bytes(bridge.log), secret, name)
    shown = {"tells_before": b"debug: got", "tells_without_newline": b"fatal: ", "tells_far_out": b". . . "}
    assert shown.get(program[-2], b"debug: ") in bridge.log, "nothing of stderr was logged at all"


def test_one_programs_secret_printed_while_it_answers_the_next_question(start: Start) -> None:
    """It comes 40 ms after its reply, when another secret is in flight."""
    bridge = start("run", "--pool-size", 1, "--log-level", "debug", "--", *habit("tells_after", 40))
    lines = [line for number, secret in enumerate(SECRETS.values()) for line in questions(secret, number)]
    bridge.converse(lines, in_flight=4)
    bridge.finish()
    for name, secret in SECRETS.items():
        check_log(bytes(bridge.log), secret, name)


def test_a_program_that_writes_its_stderr_late(start: Start) -> None:
    """The secrets of all questions in a row come out together, when others are in flight."""
    for count in (5, 64, 300):
        bridge = start("run", "--pool-size", 1, "--log-level", "debug", "--", *habit("tells_late", count))
        lines = [line for number, secret in enumerate(SECRETS.values()) for line in questions(secret, number)]
        bridge.converse(lines * 20, in_flight=4)
        bridge.finish()
        for name, secret in SECRETS.items():
            check_log(bytes(bridge.log), secret, f"{name}, of {count}")
        shown, withheld = b"the password was ***" in bridge.log, b"too many questions" in bridge.log
        assert (shown, withheld) == ((True, False) if count < 100 else (False, True))


WAYS = ["die", "crash", "exits", "partialdie", "twice", "babble", "mute", "garbage7", "garbage0", "hang", "noise2"]


def test_whatever_goes_wrong(start: Start) -> None:
    """Death, garbage, timeouts and refusals are logged, without the question they are about."""
    bridge = start(
        *("run", "--pool-size", 2, "--answer-timeout", 0.3, "--log-level", "debug", "--", *CHAMELEON),
    )
    secret = SECRETS["colons"]
    for way in WAYS:
        bridge.ask(f"auth:{way}-alice:example.com:{secret}".encode())
        bridge.ask(f"setpass:{way}-alice:example.com:{secret}".encode())
    for line in (
        f"AUTH:alice:example.com:{secret}",
        f"auth:alice:example.com:{secret}\x01",
        f"auth:alice::{secret}",
        f"auth::example.com:{secret}",
        f"{secret}",
        f"auth:alice:example.com:{secret}" + "x" * 5000,
        f"isuser:alice:example.com:{secret}",
    ):
        assert bridge.ask(line.encode()).verdict == "0"
    assert bridge.ask(f"auth:alice:example.com:{secret}".encode() + b"\xff").verdict == "0"
    bridge.finish()
    assert bridge.log
    check_log(bytes(bridge.log), secret, "colons")


def test_a_reply_that_holds_the_secret(start: Start) -> None:
    """The wrong reply is logged, so that its cause is found; the question in it is not."""
    secret = SECRETS["plain"]
    bridge = start("run", "--pool-size", 1, "--log-level", "debug", "--", "/bin/cat")
    for line in questions(secret, 0):
        assert bridge.ask(line).verdict == "0"
    bridge.finish()
    assert bridge.log
    check_log(bytes(bridge.log), secret, "echoed")


@pytest.mark.parametrize("secret", ["01021990", "10secretword", "1zq7:(xwvu", "0\u00e4zq7xwvu", "1 zq7xwvu"])
def test_a_secret_that_begins_like_a_reply(start: Start, secret: str) -> None:
    """Nothing is taken from what a program wrote before it is masked."""
    program = line_habit("repeats_secret")
    bridge = start("run", "--protocol", "generic", "--pool-size", 1, "--log-level", "debug", "--", *program)
    for line in questions(secret, 0):
        assert bridge.ask(line).verdict == "0"
    bridge.finish()
    assert b"***" in bridge.log
    check_log(bytes(bridge.log), secret, "digits")
    check_log(bytes(bridge.log), secret[1:], "digits")


def test_a_program_that_is_the_shells_echo(start: Start) -> None:
    """In pieces of the program's own making: line by line on stderr, then on stdout, then it dies."""
    secret = SECRETS["not ASCII"]
    script = 'dd bs=4096 count=1 2>/dev/null | tee /dev/stderr; echo "again" >&2; exit 3'
    bridge = start("run", "--pool-size", 1, "--log-level", "debug", "--", "/bin/sh", "-c", script)
    for line in questions(secret, 0):
        assert bridge.ask(line).verdict == "0"
    bridge.finish()
    check_log(bytes(bridge.log), secret, "echoed")


def test_proc_tells_nothing(start: Start) -> None:
    """Neither the bridge's nor the programs' arguments, names or variables, while a password is in flight."""
    secret = SECRETS["plain"]
    bridge = start("run", "--pool-size", 1, "--answer-timeout", 20, "--", *CHAMELEON)
    bridge.queue(f"auth:slow300-alice:example.com:{secret}".encode())
    (program,) = bridge.wait_for_programs(1)
    bridge.until(lambda: bridge.sent == 1, "the line to be sent")
    for pid in (bridge.pid, program):
        everything = " ".join(procfs.arguments(pid)) + str(procfs.environment(pid))
        everything += Path(f"/proc/{pid}/comm").read_text()
        everything += " ".join(procfs.descriptors(pid).values())
        assert (secret in everything) is False
    bridge.finish()


def test_nothing_is_written_to_a_file(start: Start, tmp_path: Path) -> None:
    """A log file holds what stderr would have held, and stderr is silent."""
    target = tmp_path / "bridge.log"
    bridge = start(
        *("run", "--pool-size", 1, "--log-level", "debug", "--log-target", f"file:{target}", "--"),
        *habit("tells_parts"),
    )
    ask_everything(bridge)
    bridge.finish()
    assert not bridge.log
    log = target.read_bytes()
    assert log
    for name, secret in SECRETS.items():
        check_log(log, secret, name)


def ask_everything(bridge: Bridge) -> None:
    for number, secret in enumerate(SECRETS.values()):
        for line in questions(secret, number):
            bridge.ask(line)
    bridge.ask(b"bogus")
