"""Several programs on one table at the same time, and what the time of an answer tells."""

import statistics
import threading

import pytest
from support.canary import CANARY
from support.databases.program import Program, manage, serving
from support.databases.tables import HOST, Place, scram

pytestmark = pytest.mark.slow

ROUNDS, MOST_ROUNDS = 6, 40


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
def test_of_many_changes_each_is_whole(place: Place) -> None:
    """A program may end: others were first, for as long as it may try. Its change was made in whole then, or not."""
    whole = 0
    for number in range(MOST_ROUNDS):
        whole += changed_at_once(place, f"user{number}", [f"{number} of {one}" for one in range(3)])
        if whole == ROUNDS:
            return
    raise AssertionError(f"only in {whole} of {MOST_ROUNDS} rounds no program ended")


def changed_at_once(place: Place, name: str, secrets: list[str]) -> bool:
    """Have three programs add, change and remove one user; whether all of them have answered."""
    programs = [place.writer(number) for number in (1, 2, 3)]
    said = at_once(programs, *(("tryregister", name, HOST, secret) for secret in secrets))
    found = in_force(place.writer(), name, secrets)
    if "yes" in said:
        assert found == [secrets[said.index("yes")]]
    if "ended" in said:
        assert said.count("yes") <= 1
        assert len(found) <= 1
        return False
    assert sorted(said) == ["no", "no", "yes"]
    news = [f"new {secret}" for secret in secrets]
    said = at_once(programs, *(("setpass", name, HOST, secret) for secret in news))
    assert {*said} <= {"yes", "ended"}
    found = in_force(place.writer(), name, [*secrets, *news])
    assert len(found) == 1
    if "ended" in said:
        assert found[0] in news or "yes" not in said
        return False
    assert found[0] in news
    said = at_once(programs, *[("removeuser", name, HOST)] * 3)
    assert said.count("yes") <= 1
    if "ended" in said:
        return False
    assert sorted(said) == ["no", "no", "yes"]
    assert place.writer(2).ask("isuser", name, HOST) == "no"
    return True


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
    answers: list[str] = []
    while len(answers) < 20 or (said.count("yes") < 2 and all(thread.is_alive() for thread in threads)):
        answers.append(reader.ask("auth", "alice", HOST, CANARY))
    over.set()
    for thread in threads:
        thread.join()
    assert {*answers} == {"yes"}
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
