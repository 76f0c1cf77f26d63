"""Several programs on one table at the same time, and what the time of an answer tells."""

import statistics
import threading

import pytest
from support.canary import CANARY
from support.databases.program import Program, manage, serving
from support.databases.tables import HOST, Place, scram

pytestmark = pytest.mark.slow

ROUNDS = 6


def at_once(programs: list[Program], *questions: tuple[str, ...]) -> list[str]:
    """Ask each one of these, all at the same time."""
    for program, question in zip(programs, questions, strict=True):
        program.put(*question)
    return [program.answer() for program in programs]


CONTENDED = ["own-postgresql", "ejabberd_hosts-mariadb", "prosody-postgresql", "prosody-mariadb"]


@pytest.fixture
def programs(place: Place) -> list[Program]:
    return [place.writer(number) for number in (1, 2, 3)]


@pytest.mark.parametrize("place", CONTENDED, indirect=True)
def test_of_many_changes_each_is_whole(programs: list[Program]) -> None:
    one_of = ["no", "no", "yes"]
    for number in range(ROUNDS):
        name = f"user{number}"
        secrets = [f"{number} of {one}" for one in range(3)]
        said = at_once(programs, *(("tryregister", name, HOST, secret) for secret in secrets))
        assert sorted(said) == one_of
        assert in_force(programs[0], name, secrets) == [secrets[said.index("yes")]]
        secrets = [f"new {secret}" for secret in secrets]
        assert at_once(programs, *(("setpass", name, HOST, secret) for secret in secrets)) == ["yes"] * 3
        assert len(in_force(programs[0], name, secrets)) == 1
        assert sorted(at_once(programs, *[("removeuser", name, HOST)] * 3)) == one_of
        assert programs[1].ask("isuser", name, HOST) == "no"


def in_force(program: Program, name: str, secrets: list[str]) -> list[str]:
    return [secret for secret in secrets if program.ask("auth", name, HOST, secret) == "yes"]


@pytest.mark.parametrize("place", CONTENDED, indirect=True)
def test_a_login_while_the_password_is_set_anew(programs: list[Program]) -> None:
    """It is the same one, so each login is right, whatever part of the change it sees."""
    reader, *writers = programs
    assert reader.ask("tryregister", "alice", HOST, CANARY) == "yes"
    over = threading.Event()
    said: list[str] = []

    def write(program: Program) -> None:
        while not over.is_set() and "ended" not in said:
            said.append(program.ask("setpass", "alice", HOST, CANARY))

    threads = [threading.Thread(target=write, args=(one,)) for one in writers]
    for thread in threads:
        thread.start()
    answers = [reader.ask("auth", "alice", HOST, CANARY) for _ in range(20)]
    over.set()
    for thread in threads:
        thread.join()
    assert answers == ["yes"] * 20
    assert said.count("yes") > 1
    assert "no" not in said  # a program may end: others were first, again and again


# --- time ------------------------------------------------------------------------------------------------

SAMPLES = 15
TOLERANCE = 0.1


def measured(program: Program, names: list[str]) -> dict[str, float]:
    """For each name the nanoseconds of work on a wrong password: the median of many, in turns."""
    taken: dict[str, list[int]] = {name: [] for name in names}
    for _ in range(SAMPLES):
        for name in names:
            before = program.worked()
            assert program.ask("auth", name, HOST, "wrong") == "no"
            taken[name].append(program.worked() - before)
    return {name: statistics.median(times) for name, times in taken.items()}


@pytest.mark.parametrize("place", ["own-postgresql", "ejabberd-postgresql", "prosody-mariadb"], indirect=True)
def test_time_does_not_tell_who_is_a_user(place: Place) -> None:
    """Of the processor, as what else the machine does would hide it, or look like it."""
    names = ["plain", "light", "heavy"]
    words = place.reading
    if place.table == "own":
        names = names[:1]
        words = [words[0], "--scrypt", "12,8,1"]  # 10 ms, beside which nothing else counts
        assert manage(*words, "adduser", f"plain@{HOST}", typed=CANARY).returncode == 0
    else:
        light, heavy = scram(CANARY, "sha1", 4096), scram(CANARY, "sha256", 20000)
        place.put({"plain": CANARY, "light": light, "heavy": heavy})
    with serving(*words) as program:  # it has looked which kinds of hashes there are
        program.ask("auth", "nobody", HOST, "wrong")
        for _ in range(3):
            times = measured(program, [*names, "nobody", "no-one"])
            if max(times.values()) <= (1 + TOLERANCE) * min(times.values()):
                return
        raise AssertionError(f"it tells: {times}")
