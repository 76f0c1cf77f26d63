"""The lockstep rule against any client, attacker and program at any time, in whole milliseconds.

The oracle keeps what was sent, with times, and works out again at each step what may be a question: a line that
came alone, all of it within 50 ms, with nothing else from 50 ms before its first byte that was not answered.
"""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from support.examples import examples

from bridge.protocol.lockstep import Heard, LockstepRule
from bridge.protocol.query import Refusal

BURST_MS = 50
LIMIT = 12

LINES = [b"isuser:a:b", b"auth:a:b:c", b"", b"x" * LIMIT, b"x" * (LIMIT + 1), b"y" * 40]
pieces = st.one_of(
    st.sampled_from(LINES).map(lambda line: line + b"\n"),
    st.sampled_from(LINES).map(lambda line: line + b"\r\n"),
    st.sampled_from([b"is", b"user:", b"\n", b"a\nb\n", b"a\nb", b"\r", b"\n\n\n"]),
)


class Sent:
    """What the client has sent since there was last neither an open question nor an unfinished line."""

    def __init__(self, terminal: bool) -> None:
        self.terminal = terminal
        self.pieces = 0
        self.data = b""
        self.first = 0  # when its first byte came
        self.complete: int | None = None  # when its first line was whole
        self.last = 0

    def add(self, data: bytes, now: int) -> None:
        if not self.data:
            self.first = now
        self.data += data
        self.pieces += 1
        self.last = now
        if self.complete is None and b"\n" in self.data:
            self.complete = now

    @property
    def is_clean(self) -> bool:
        """One line, alone and in time; in one piece on a terminal, where such short lines are written whole."""
        if self.terminal and self.pieces > 1:
            return False
        whole = self.data.count(b"\n") == 1 and self.data.endswith(b"\n")
        return whole and self.last == self.complete and self.last - self.first <= BURST_MS

    @property
    def line(self) -> bytes | Refusal:
        line = self.data[:-1]
        line = line[:-1] if line.endswith(b"\r") else line
        return line if len(line) <= LIMIT else Refusal.LENGTH


class Clients(RuleBasedStateMachine):
    terminal = False

    def __init__(self) -> None:
        super().__init__()
        self.rule = LockstepRule(LIMIT, self.terminal)
        self.now = 0
        self.sent = Sent(self.terminal)
        self.violation = False
        self.gave_up = 0
        self.opened = 0  # questions so far, by the oracle's count
        self.said: list[Heard] = []  # all that the rule has said
        self.answered: set[int] = set()
        self.asked: list[int] = []  # serials that went to a program, oldest first

    @property
    def time(self) -> float:
        return self.now / 1000

    @property
    def serial(self) -> int:
        """Number of the newest question, from the rule's events."""
        return len(self.said) - self.said.count(Heard.GAVE_UP)

    @property
    def is_open(self) -> bool:
        return self.violation or self.sent.is_clean

    # Multiples of seven: no sum of them is 50, where the rounding of seconds would decide.
    @rule(milliseconds=st.sampled_from([7, 28, 49, 56, 98, 700, 5005]))
    def time_passes(self, milliseconds: int) -> None:
        self.now += milliseconds

    @rule(data=pieces)
    def client_sends(self, data: bytes) -> None:
        before = self.opened
        if self.violation:
            self.sent.add(data, self.now)
        else:
            if self.sent.is_clean and self.now - self.sent.last > BURST_MS:
                self.gave_up += 1
                self.sent = Sent(self.terminal)
            self.sent.add(data, self.now)
            if self.sent.complete is not None and not self.sent.is_clean:
                self.violation = True
            self.opened += self.is_open
        question = self.rule.question
        heard = self.rule.received(data, self.time)
        assert heard or self.rule.question is question, "another question, and nobody is told"
        self.said += heard
        if self.opened != before and not self.violation:
            self.asked.append(self.serial)

    @precondition(lambda self: self.is_open)
    @rule()
    def answer_is_written(self) -> None:
        """Answer as a session does: only the newest question, and a violation only once it has been quiet."""
        if self.violation and self.time < self.rule.quiet_at:
            return
        assert self.serial not in self.answered
        self.answered.add(self.serial)
        self.rule.close()
        self.sent, self.violation = Sent(self.terminal), False

    @precondition(lambda self: self.asked)
    @rule(data=st.data())
    def a_program_answers(self, data: st.DataObject) -> None:
        """A verdict for any query counts only if its question is the open one."""
        serial = self.asked.pop(data.draw(st.integers(0, len(self.asked) - 1)))
        if serial == self.serial and self.rule.question is not None:
            assert not self.violation
            assert self.sent.is_clean
            self.answer_is_written()

    @invariant()
    def what_is_open_is_what_may_be(self) -> None:
        if self.violation:
            assert self.rule.question is Refusal.INJECTION
            assert self.rule.quiet_at == self.sent.last / 1000 + 0.050
        elif self.sent.is_clean:
            assert self.rule.question == self.sent.line
            assert self.rule.since == self.sent.last / 1000
        else:
            assert self.rule.question is None

    @invariant()
    def each_question_is_told_of(self) -> None:
        assert self.serial == self.opened
        assert self.said.count(Heard.GAVE_UP) == self.gave_up
        assert len(self.answered) + self.gave_up <= self.serial


class ClientsOnTerminals(Clients):
    terminal = True


TestClients = Clients.TestCase
TestClientsOnTerminals = ClientsOnTerminals.TestCase
TestClients.settings = TestClientsOnTerminals.settings = examples(120, stateful_step_count=40)
