"""What becomes of what readers find: who is taken, and who is not because nobody knows whose password it is."""

from itertools import permutations

import pytest
from support import canary

from bridge.programs.hashes import Scheme, Scram
from bridge.programs.importing.entry import Entry, NotTaken
from bridge.programs.importing.haul import Haul

SECRET = canary.right("alice")
SCRAM = Scram.of(SECRET, Scheme("SHA-256", 5))
BOB = Entry("bob's", "bob", "a.example", SECRET)
FIRST = Entry("1", "alice", "a.example", SECRET)


def haul(*found: Entry | NotTaken, host: str | None = None) -> Haul:
    made = Haul(host, set())
    made.read(found)
    return made


@pytest.mark.parametrize("host", ["a.example", "A.example"])
@pytest.mark.parametrize("secret", [canary.CANARY, SCRAM], ids=["plain", "hashed"])
def test_of_two_passwords_for_one_name_neither_is_taken(host: str, secret: str | Scram) -> None:
    """One of them is old, and only who has stored them knows which."""
    second, third = Entry("2", "alice", host, secret), Entry("3", "alice", "a.example", SECRET)
    for rows in permutations([FIRST, second, third]):
        taken = haul(BOB, *rows)
        assert [*taken.users] == [("bob", "a.example")]
        assert sorted(problem.where for problem in taken.problems) == ["1", "2", "3"]
    reason = "two passwords for one name: neither is taken"
    assert haul(FIRST, second).problems == [NotTaken("1", reason), NotTaken("2", reason)]


@pytest.mark.parametrize("secret", [SECRET, SCRAM], ids=["plain", "hashed"])
def test_the_same_password_twice_is_no_doubt(secret: str | Scram) -> None:
    taken = haul(*(Entry(str(number), "alice", host, secret) for number, host in enumerate(["A.example", "a.example"])))
    assert taken.users == {("alice", "a.example"): secret}
    assert taken.problems == [NotTaken("1", "a second entry of the same name")]


@pytest.mark.parametrize(
    ("name", "is_asked_for"),
    [
        ("Zo\u00cb", True),
        ("\u212aim", True),  # the sign for kelvin, a k in lower case
        ("\u0130", True),  # two characters in lower case
        ("\U0001f600", True),  # younger than Unicode 3.2, and without a case
        ("\u13a0", False),  # capitals that were none in Unicode 3.2
        ("\u10a0", False),
        ("\u2c62", False),
        ("\u04c0", False),
        ("\u03a3\u0391\u03a3", False),  # whose last letter has a form of its own
        ("stra\u00dfe", False),  # who is asked for as strasse
        ("zoe\u0308", False),  # composed, when it is asked for
        ("\uff41", False),
        ("a\u00adb", False),
        ("\u05e9b", False),  # from right to left, and from left to right
        ("\ue000", False),
    ],
)
def test_a_name_that_no_server_would_ask_for(name: str, is_asked_for: bool) -> None:
    for user, host in ((name, "a.example"), ("alice", name)):
        found = haul(BOB, Entry("1", user, host, SECRET))
        assert len(found.users) == 1 + is_asked_for
        assert ["servers ask for" in problem.reason for problem in found.problems] == ([] if is_asked_for else [True])


def test_only_a_hosts_name_has_labels() -> None:
    """Each may go from left to right or the other way; a user's name goes one way."""
    either, one = "\u4e2d.\u05e9", "\u05d3\u05d5\u05d31.\u05db\u05d4\u05df"
    found = haul(
        Entry("1", either, "a.example", SECRET), Entry("2", "alice", either, SECRET), Entry("3", one, "a", SECRET)
    )
    assert [*found.users] == [("alice", either), (one, "a")]


@pytest.mark.parametrize(
    "other",
    [
        NotTaken("1", "broken", "B.example"),
        Entry("1", "al ice", "b.example", SECRET),
        Entry("1", "alice", "B.example", "x\n"),
    ],
)
def test_of_another_host_nobody_is_wrong(other: Entry | NotTaken) -> None:
    taken = haul(BOB, other, host="a.example")
    assert (len(taken.users), taken.elsewhere, taken.problems) == (1, 1, [])
    assert len(haul(BOB, other).problems) == 1
