"""Programs of their own for some hosts, and a new configuration at SIGHUP."""

import signal
from pathlib import Path

import pytest
from support.programs.bad import CHAMELEON, Journal, habit

from .conftest import Start


@pytest.fixture
def journals(tmp_path: Path) -> dict[str, Journal]:
    """A journal for each program."""
    return {name: Journal(tmp_path / name) for name in ("default", "first", "second")}


def program(journal: Journal, **more: object) -> dict[str, object]:
    """The settings of a pool of one chameleon."""
    return {"program": CHAMELEON, "pool_size": 1, "env": journal.environment, **more}


def test_each_host_has_its_program(start: Start, configure, journals: dict[str, Journal]) -> None:
    """Host names are compared without regard to case, exactly otherwise, and passed on as they came."""
    first, second = program(journals["first"]), program(journals["second"])
    file = configure(**program(journals["default"]), hosts={"First.Example": first, "second.example": second})
    bridge = start("run", file)
    expected = {
        "first": ["first.example", "FIRST.EXAMPLE", "First.Example", "fIRST.eXAMPLE"],
        "second": ["second.example", "SECOND.example"],
        "default": ["example", "sub.first.example", "first.example.", "first.exampl", " first.example", "x"],
    }
    for hosts in expected.values():
        for host in hosts:
            assert bridge.ask(f"isuser:alice:{host}".encode()).verdict == "1"
            assert bridge.ask(f"auth:alice:{host}:pw:first.example".encode()).verdict == "0"
    bridge.wait_for_programs(3)
    bridge.finish()
    for name, hosts in expected.items():
        frames = [(f"isuser:alice:{host}", f"auth:alice:{host}:pw:first.example") for host in hosts]
        assert journals[name].frames() == [line.encode() for pair in frames for line in pair]


def test_without_a_program_only_the_hosts_are_served(start: Start, configure, journals: dict[str, Journal]) -> None:
    bridge = start("run", configure(hosts={"first.example": program(journals["first"])}))
    assert bridge.ask(b"isuser:alice:first.example").verdict == "1"
    for host in (b"second.example", b"first.example.", b"first", b"*", b"default"):
        answer = bridge.ask(b"isuser:alice:" + host)
        assert answer.verdict == "0"
        assert answer.seconds < 1
    bridge.finish()
    assert journals["first"].frames() == [b"isuser:alice:first.example"]


def test_commands_of_a_host(start: Start, configure, journals: dict[str, Journal]) -> None:
    file = configure(
        **program(journals["default"], commands=["isuser"]),
        hosts={
            "first.example": program(journals["first"], commands=["auth", "tryregister"]),
            "second.example": program(journals["second"]),
        },
    )
    bridge = start("run", file)
    for line, verdict in [
        (b"auth:alice:first.example:pw-alice", "1"),
        (b"isuser:alice:first.example", "0"),
        (b"tryregister:nobody:first.example:x", "1"),
        (b"isuser:alice:example.com", "1"),
        (b"auth:alice:example.com:pw-alice", "0"),
        (b"tryregister:nobody:example.com:x", "0"),
        (b"isuser:alice:second.example", "1"),
    ]:
        assert bridge.ask(line).verdict == verdict, line
    bridge.finish()
    assert len(journals["first"].frames()) == 2
    assert len(journals["default"].frames()) == 1


def test_one_hosts_trouble_is_not_anothers(start: Start, configure, journals: dict[str, Journal]) -> None:
    """A hung, a missing and a crashing program beside a good one."""
    file = configure(
        **program(journals["default"]),
        answer_timeout=2.0,
        shutdown_grace=0.2,
        hosts={
            "hung.example": {"program": habit("silent"), "pool_size": 1},
            "missing.example": {"program": "/nonexistent/program", "pool_size": 1},
            "crashing.example": {"program": habit("stillborn", 1), "pool_size": 1},
        },
    )
    bridge = start("run", file)
    assert bridge.ask(b"isuser:alice:example.com").verdict == "1"
    lines = []
    for number in range(40):
        host = ["example.com", "hung.example", "missing.example", "crashing.example"][number % 4]
        lines.append(f"isuser:u{number}:{host}".encode())
    answers = bridge.converse(lines)
    assert [answer.verdict for answer in answers] == ["1", "0", "0", "0"] * 10
    assert max(answer.seconds for answer in answers) < 3.5
    assert bridge.ask(b"isuser:alice:example.com").seconds < 1.5, "it waits for none of them"
    bridge.finish()


def test_sighup_reloads(start: Start, configure, journals: dict[str, Journal]) -> None:
    """Another program, other commands, other hosts; the old program is gone, with every answer given."""
    file = configure(**program(journals["first"]), shutdown_grace=0.5)
    bridge = start("run", file)
    assert bridge.ask(b"isuser:alice:example.com").verdict == "1"
    (old,) = bridge.wait_for_programs(1)
    bridge.queue(b"isuser:slow300-alice:example.com")
    bridge.until(lambda: len(journals["first"].frames()) == 2, "a busy program")

    configure(
        program=habit("denies"),
        pool_size=1,
        shutdown_grace=0.5,
        commands=["auth", "isuser", "removeuser"],
        hosts={"second.example": program(journals["second"])},
        env=journals["default"].environment,
    )
    bridge.signal(signal.SIGHUP)
    # What was in flight is answered by the program that has it.
    assert bridge.wait_for_answers(2)[1].verdict == "1"
    bridge.until(lambda: bridge.ask(b"isuser:alice:example.com").verdict == "0", "the new program", 10)
    assert bridge.ask(b"isuser:alice:second.example").verdict == "1"
    assert bridge.ask(b"removeuser:alice:example.com").verdict == "0"
    assert b"removeuser:alice:example.com" in journals["default"].frames()
    bridge.wait_for_deaths([old], 5)
    bridge.until(lambda: not bridge.zombies(), "no zombies")
    bridge.wait_for_programs(2)
    bridge.finish()


def test_reloads_under_load_lose_nothing(start: Start, configure, journals: dict[str, Journal]) -> None:
    file = configure(**program(journals["first"]), answer_timeout=5.0, shutdown_grace=1.0)
    bridge = start("run", file)
    assert bridge.ask(b"isuser:alice:example.com").verdict == "1"
    descriptors = bridge.descriptors()
    reloaded = [0]

    def reload() -> None:
        if len(bridge.verdicts) // 400 > reloaded[0]:
            reloaded[0] += 1
            name = "second" if reloaded[0] % 2 else "first"
            configure(**program(journals[name]), answer_timeout=5.0, shutdown_grace=1.0)
            bridge.signal(signal.SIGHUP)

    lines = [b"setpass:%s%d:example.com:x" % (b"no" if number % 3 else b"u", number) for number in range(4000)]
    answers = bridge.converse(lines, in_flight=20, every=reload)
    assert [answer.verdict for answer in answers] == ["0" if number % 3 else "1" for number in range(4000)]
    assert reloaded[0] >= 8
    bridge.wait_for_programs(1)
    bridge.until(lambda: bridge.descriptors() <= descriptors, "no more descriptors than before")
    bridge.finish()
    assert sorted(journals["first"].frames() + journals["second"].frames()) == sorted(
        [b"isuser:alice:example.com", *lines]
    )


@pytest.mark.parametrize("by_signal", [False, True], ids=["end of input", "SIGTERM"])
def test_a_reload_while_it_stops(start: Start, configure, journals: dict[str, Journal], by_signal: bool) -> None:
    """SIGHUP comes when the programs have been told to leave: nothing starts again, nothing stays."""
    settings = program(journals["first"]) | {"program": habit("leaves_slowly", 500)}
    bridge = start("run", configure(**settings, shutdown_grace=2.0))
    assert bridge.ask(b"isuser:alice:example.com").verdict == "1"
    configure(**program(journals["second"]), shutdown_grace=2.0)
    if by_signal:
        bridge.signal(signal.SIGTERM)
    else:
        bridge.close_input()
    bridge.until(lambda: journals["first"].events("end"), "the end of the program's input")
    bridge.signal(signal.SIGHUP)
    assert bridge.wait(5) == 0
    bridge.check_nothing_left()


@pytest.mark.slow
@pytest.mark.parametrize("leaving", [0, 500], ids=["gone", "leaving"])
def test_the_end_soon_after_a_reload(start: Start, configure, journals: dict[str, Journal], leaving: int) -> None:
    """The new program answers; the old one is leaving, or has just left, when the input ends."""
    for _ in range(3 if leaving else 4):
        settings = program(journals["first"]) | {"program": habit("leaves_slowly", leaving)}
        bridge = start("run", configure(**settings, shutdown_grace=2.0))
        assert bridge.ask(b"isuser:alice:example.com").verdict == "1"
        configure(program=habit("denies"), pool_size=1, shutdown_grace=2.0)
        bridge.signal(signal.SIGHUP)
        bridge.until(lambda b=bridge: b.ask(b"isuser:alice:example.com").verdict == "0", "the new program", 10)
        bridge.close_input()
        assert bridge.wait(5) == 0
        bridge.check_nothing_left()


@pytest.mark.slow
@pytest.mark.parametrize("first", ["SIGHUP", "end"])
def test_a_reload_and_the_end_at_the_same_time(
    start: Start, configure, journals: dict[str, Journal], first: str
) -> None:
    """Whichever of them is seen first: the bridge ends, and no program of either configuration stays."""
    for milliseconds in range(8):
        file = configure(**program(journals["first"]), shutdown_grace=1.0)
        bridge = start("run", file)
        assert bridge.ask(b"isuser:alice:example.com").verdict == "1"
        configure(**program(journals["second"]), shutdown_grace=1.0)
        if first == "SIGHUP":
            bridge.signal(signal.SIGHUP)
        else:
            bridge.close_input()
        bridge.pump(milliseconds / 1000)
        if first == "SIGHUP":
            bridge.close_input()
        else:
            bridge.signal(signal.SIGHUP)
        assert bridge.wait(4) == 0, f"{milliseconds} ms apart"
        bridge.check_nothing_left()


@pytest.mark.parametrize("how", ["broken", "unknown key", "gone"])
def test_a_broken_file_is_refused(start: Start, configure, journals: dict[str, Journal], how: str) -> None:
    """The old configuration stays, the log says why, and the next good file is taken."""
    file = configure(**program(journals["first"]))
    bridge = start("run", file)
    assert bridge.ask(b"isuser:alice:example.com").verdict == "1"
    (old,) = bridge.wait_for_programs(1)
    if how == "broken":
        file.write_text("program = [\n")
    elif how == "unknown key":
        configure(program=CHAMELEON, pool_sizes=1)
    else:
        file.unlink()
    logged = len(bridge.log)
    bridge.signal(signal.SIGHUP)
    bridge.until(lambda: str(file).encode() in bridge.log[logged:], "a word in the log", 5)
    assert b"Traceback" not in bridge.log
    assert bridge.ask(b"isuser:alice:example.com").verdict == "1"
    assert bridge.programs() == [old]
    configure(program=habit("denies"), pool_size=1)
    bridge.signal(signal.SIGHUP)
    bridge.until(lambda: bridge.ask(b"isuser:alice:example.com").verdict == "0", "the new program", 10)
    bridge.finish()


def test_options_win_after_a_reload_too(start: Start, configure, journals: dict[str, Journal]) -> None:
    file = configure(**program(journals["first"]), max_line=100)
    bridge = start("run", file, "--pool-size", 2, "--max-line", 200)
    long = b"isuser:alice:".ljust(150, b"h")
    assert bridge.ask(long).verdict == "1"
    configure(program=habit("denies"), pool_size=5, max_line=50)
    bridge.signal(signal.SIGHUP)
    bridge.until(lambda: bridge.ask(b"isuser:alice:h").verdict == "0", "the new program", 10)
    bridge.wait_for_programs(2)
    bridge.finish()


def test_sighup_without_a_file_changes_nothing(start: Start) -> None:
    """There is nothing to read again; it is no reason to end either."""
    bridge = start("run", "--pool-size", 2, "--", *CHAMELEON)
    assert bridge.ask(b"isuser:alice:example.com").verdict == "1"
    for _ in range(3):
        bridge.signal(signal.SIGHUP)
        assert bridge.ask(b"isuser:alice:example.com").verdict == "1"
    bridge.wait_for_programs(2)
    bridge.finish()
