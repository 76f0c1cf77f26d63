"""The lockstep rule in virtual time: what becomes a question, what is an attack, what was given up."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.protocol.lockstep import BURST, Heard, LockstepRule
from bridge.protocol.query import Refusal

MS = 0.001
JUST_AFTER = math.nextafter(BURST, 1.0)
QUERY = b"auth:alice:example.com:hunter2"
OTHER = b"isuser:bob:example.com"


NOTHING = ()
QUESTION, VIOLATION = (Heard.QUESTION,), (Heard.VIOLATION,)


class Counting(LockstepRule):
    """Counts the events that the rule returns.

    Attributes:
      serial: number of the newest question.
      gave_up: questions that the client gave up on.
    """

    serial = 0
    gave_up = 0

    def received(self, data: bytes, now: float) -> tuple[Heard, ...]:
        return self._count(super().received(data, now))

    def ended(self, now: float) -> tuple[Heard, ...]:
        return self._count(super().ended(now))

    def _count(self, heard: tuple[Heard, ...]) -> tuple[Heard, ...]:
        self.serial += heard.count(Heard.QUESTION) + heard.count(Heard.VIOLATION)
        self.gave_up += heard.count(Heard.GAVE_UP)
        return heard


def heard(rule: LockstepRule, *events: tuple[bytes, float]) -> list[tuple[Heard, ...]]:
    return [rule.received(data, at) for data, at in events]


@pytest.fixture
def rule() -> Counting:
    return Counting(64)


def test_a_burst_is_fifty_milliseconds() -> None:
    assert BURST == 0.050


# --- one line --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_one_line_is_a_question(rule: Counting, end: bytes) -> None:
    assert rule.question is None
    assert heard(rule, (QUERY + end, 7.0)) == [QUESTION]
    assert (rule.question, rule.serial, rule.since) == (QUERY, 1, 7.0)
    rule.close()
    assert rule.question is None


def test_a_line_in_pieces_within_a_burst_is_one_question(rule: Counting) -> None:
    """A long line may take more than one read."""
    pieces = [bytes([byte]) for byte in QUERY + b"\n"]
    results = [rule.received(piece, 0.001 * number) for number, piece in enumerate(pieces)]
    assert set(results[:-1]) == {NOTHING}
    assert results[-1] == QUESTION
    assert rule.question == QUERY


@pytest.mark.parametrize(
    ("gap", "question"), [(0.0, QUERY), (BURST, QUERY), (JUST_AFTER, Refusal.INJECTION), (5.0, Refusal.INJECTION)]
)
def test_pieces_of_one_line_must_come_together(rule: Counting, gap: float, question: bytes | Refusal) -> None:
    """A password is cut at a NUL, newline and all; what comes seconds later is another query, not its rest."""
    rule.received(QUERY[:9], 0.0)
    rule.received(QUERY[9:] + b"\n", gap)
    assert rule.question == question


@pytest.mark.parametrize(
    ("size", "question"), [(1, Refusal.INJECTION), (2047, Refusal.INJECTION), (2048, b"x" * 2148), (2100, b"x" * 2148)]
)
def test_on_a_terminal_a_short_piece_was_a_line_of_its_own(size: int, question: bytes | Refusal) -> None:
    """A line is written to it with one write, and the terminal passes such a write on whole up to 2048 bytes."""
    rule = LockstepRule(4096, terminal=True)
    rule.received(b"x" * size, 0.0)
    rule.received(b"x" * (2148 - size) + b"\n", 0.0)
    assert rule.question == question


def test_on_a_terminal_a_line_of_one_piece_is_a_question() -> None:
    rule = LockstepRule(4096, terminal=True)
    for at in range(3):
        assert heard(rule, (QUERY + b"\n", float(at))) == [QUESTION]
        rule.close()
    assert heard(rule, (QUERY + b"\nx", 9.0)) == [VIOLATION]


def test_the_time_of_a_line_begins_with_its_first_piece(rule: Counting) -> None:
    """Pieces that arrive singly, each soon after the last, do not get around it."""
    for number in range(4):
        rule.received(b"auth", 0.020 * number)
    rule.received(b"\n", 0.080)
    assert rule.question is Refusal.INJECTION


def test_the_time_of_a_line_begins_anew_after_the_one_before(rule: Counting) -> None:
    rule.received(b"aut", 0.0)
    rule.received(b"h\n", BURST)
    rule.close()
    assert heard(rule, (OTHER[:5], 1.0), (OTHER[5:] + b"\n", 1.0 + 49 * MS)) == [NOTHING, QUESTION]
    assert rule.question == OTHER


def test_a_line_cut_at_a_nul_never_joins_the_next_query(rule: Counting) -> None:
    rule.received(b"auth:mallory:example.com:x", 0.0)
    assert heard(rule, (QUERY + b"\n", 5.0)) == [VIOLATION]
    assert rule.question is Refusal.INJECTION
    rule.close()
    assert heard(rule, (OTHER + b"\n", 6.0)) == [QUESTION]
    assert rule.question == OTHER


def test_on_a_terminal_a_line_that_may_be_two_is_a_violation_at_any_time() -> None:
    """Both pieces were read at once, as we stood still meanwhile."""
    rule = LockstepRule(4096, terminal=True)
    for at in (0.0, 1.0, 2.0):
        assert heard(rule, (b"auth:mallory:example.com:xauth:bob:example.com:hunter2\n", at)) == [VIOLATION]
        rule.close()
        assert heard(rule, (b"auth:mallory:example.com:xauth:bob:example.org:hunter2\n", at + 0.5)) == [QUESTION]
        rule.close()


def test_an_over_long_line_is_a_question_that_is_refused(rule: Counting) -> None:
    assert heard(rule, (b"x" * 65 + b"\n", 0.0)) == [QUESTION]
    assert rule.question is Refusal.LENGTH
    rule.close()
    assert heard(rule, (b"x" * 100_000, 1.0), (b"y\n", 1.001)) == [NOTHING, QUESTION]
    assert rule.question is Refusal.LENGTH


def test_a_limit_can_change_between_lines(rule: Counting) -> None:
    rule.limit(4)
    rule.received(QUERY + b"\n", 0.0)
    assert rule.question is Refusal.LENGTH
    rule.close()
    rule.limit(64)
    rule.received(b"a\nb\n", 1.0)  # a violation makes a new reader; it must keep the limit
    rule.close()
    rule.received(QUERY + b"\n", 2.0)
    assert rule.question == QUERY


# --- bursts ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "burst",
    [
        QUERY + b"\n" + OTHER + b"\n",
        QUERY + b"\n" + OTHER,
        QUERY + b"\n\n",
        QUERY + b"\nx",
        b"\n" + QUERY + b"\n",
        b"\n\n",
        b"x" * 100 + b"\n" + OTHER + b"\n",
        (OTHER + b"\n") * 950,
        QUERY + b"\n" + b"y" * 100_000,
    ],
)
def test_more_than_a_line_is_one_violation(rule: Counting, burst: bytes) -> None:
    assert heard(rule, (burst, 0.0)) == [VIOLATION]
    assert (rule.question, rule.serial) == (Refusal.INJECTION, 1)
    assert rule.quiet_at == BURST


@pytest.mark.parametrize("gap", [0.0, MS, BURST])
@pytest.mark.parametrize("more", [OTHER + b"\n", b"\n", b"x"])
def test_bytes_soon_after_a_line_make_it_a_violation(rule: Counting, gap: float, more: bytes) -> None:
    assert heard(rule, (QUERY + b"\n", 0.0), (more, gap)) == [QUESTION, VIOLATION]
    assert (rule.question, rule.serial, rule.gave_up) == (Refusal.INJECTION, 2, 0)


def test_a_violation_is_over_when_it_has_been_quiet(rule: Counting) -> None:
    """All bytes that arrive while it is open belong to it, and postpone its answer."""
    rule.received(b"a\nb\n", 0.0)
    assert heard(rule, (OTHER + b"\n", 0.030), (b"isus", 0.070), (b"er:x\n", 9.0)) == [NOTHING] * 3
    assert (rule.question, rule.serial) == (Refusal.INJECTION, 1)
    assert rule.quiet_at == 9.0 + BURST
    rule.close()
    assert rule.question is None
    assert heard(rule, (QUERY + b"\n", 10.0)) == [QUESTION]


def test_nothing_of_a_violation_is_left_for_the_next_line(rule: Counting) -> None:
    rule.received(QUERY + b"\nisuser:ali", 0.0)
    rule.received(b"ce:example", 0.040)
    rule.close()
    rule.received(b".com\n", 1.0)
    assert rule.question == b".com"


# --- giving up -------------------------------------------------------------------------------------------


def test_a_later_line_is_the_question_now(rule: Counting) -> None:
    assert heard(rule, (QUERY + b"\n", 0.0), (OTHER + b"\n", JUST_AFTER)) == [QUESTION, (Heard.GAVE_UP, *QUESTION)]
    assert (rule.question, rule.serial, rule.gave_up) == (OTHER, 2, 1)


def test_the_beginning_of_a_later_line_voids_the_old_question(rule: Counting) -> None:
    """Nobody waits for the old answer any more, although the new question is incomplete."""
    assert heard(rule, (QUERY + b"\n", 0.0), (OTHER[:4], 1.0)) == [QUESTION, (Heard.GAVE_UP,)]
    assert (rule.question, rule.gave_up) == (None, 1)
    assert heard(rule, (OTHER[4:] + b"\n", 1.0 + 49 * MS)) == [QUESTION]
    assert (rule.question, rule.serial, rule.gave_up) == (OTHER, 2, 1)


def test_a_burst_after_giving_up_is_a_violation(rule: Counting) -> None:
    assert heard(rule, (QUERY + b"\n", 0.0), (OTHER + b"\nx\n", 1.0)) == [QUESTION, (Heard.GAVE_UP, *VIOLATION)]
    assert (rule.question, rule.serial, rule.gave_up) == (Refusal.INJECTION, 2, 1)


def test_it_is_the_newest_line_that_counts(rule: Counting) -> None:
    for number in range(5):
        rule.received(b"isuser:u%d:h\n" % number, float(number))
    assert (rule.question, rule.serial, rule.gave_up) == (b"isuser:u4:h", 5, 4)


# --- the end ---------------------------------------------------------------------------------------------


def test_the_last_line_counts_without_a_line_end(rule: Counting) -> None:
    rule.received(QUERY, 0.0)
    assert rule.ended(9.0) == QUESTION
    assert (rule.question, rule.serial, rule.since) == (QUERY, 1, 9.0)


def test_the_end_changes_nothing_about_an_open_question(rule: Counting) -> None:
    rule.received(QUERY + b"\n", 0.0)
    assert rule.ended(0.001) == NOTHING
    assert (rule.question, rule.serial) == (QUERY, 1)


def test_the_end_after_a_violation_brings_nothing_of_it(rule: Counting) -> None:
    rule.received(QUERY + b"\nisuser:alice:h", 0.0)
    assert rule.ended(0.0) == NOTHING
    assert rule.question is Refusal.INJECTION
    rule.close()
    assert rule.ended(1.0) == NOTHING
    assert rule.question is None


def test_the_end_without_a_line(rule: Counting) -> None:
    assert rule.ended(0.0) == NOTHING
    assert rule.question is None


@given(st.lists(st.tuples(st.binary(max_size=200), st.floats(0, 0.2)), max_size=20))
def test_any_bytes_at_any_time(events: list[tuple[bytes, float]]) -> None:
    """Every new question is reported; it is a whole line or a refusal, and stays the same until the next event."""
    rule, now = Counting(64), 0.0
    for data, step in filter(lambda event: event[0], events):
        now += step
        before, question = rule.serial, rule.question
        result = rule.received(data, now)
        assert rule.question is question or result
        new = tuple(event for event in result if event is not Heard.GAVE_UP)
        assert result in (new, (Heard.GAVE_UP, *new))
        assert rule.serial - before == len(new) == (new != NOTHING)
        assert isinstance(rule.question, bytes) == (new == QUESTION and rule.question is not Refusal.LENGTH)
        if isinstance(rule.question, bytes):
            assert len(rule.question) <= 64
            assert b"\n" not in rule.question
