"""A reply that comes too late is nobody's, whatever its program says after it, and whenever.

Each order of what may happen is played with a real Worker on real pipes, in a pool, and for each, every way of dividing
it into what the bridge sees at the same time.
"""

import itertools
from collections import Counter

import pytest
from support.inmemory.pools import made
from support.model.programs import FOREVER, Manner
from support.model.rules import Client
from support.model.site import Site
from support.model.workers import OnPipes

from bridge.protocol.frames import DENIED, GRANTED
from bridge.protocol.query import Query, Verdict
from bridge.worker.stdinpipe import StdinPipe

pytestmark = pytest.mark.slow

LATE, HALF, REST, ASK, READ, DENY = "late reply", "half a second one", "its rest", "next question", "read", "denial"
STEPS = (LATE, HALF, REST, ASK, READ, DENY)


def makes_sense(order: tuple[str, ...]) -> bool:
    """The late reply is the first thing it does, and no reply begins with its rest."""
    return next(step for step in order if step != ASK) == LATE and order.index(HALF) < order.index(REST)


ORDERS = [*filter(makes_sense, itertools.permutations(STEPS))]


class Late:
    """One program whose first question is over, and the next one, which it denies.  Its second reply is a grant."""

    def __init__(self, proven: bool) -> None:
        settings = made(pool_size=1, pool_max=2, answer_timeout=4.0, start_timeout=30.0)
        self.site = Site(settings, OnPipes, Manner(FOREVER))
        self.site.start_error = BlockingIOError(11, "busy")  # nobody takes its place
        self.program = self.site.programs[0]
        self.next: Query | None = None
        if proven:
            self._ask(b"auth:a:h:right-hunter2")
            self.program.read()
            self.program.say(GRANTED)
            self.site.settle()
        first = self._ask(b"auth:b:h:right-hunter2")
        self.program.read()
        self.site.advance(4.5)
        assert first.verdict is Verdict.UNAVAILABLE
        assert self.site.rules.usable(self.program)

    def do(self, step: str) -> None:
        """The bridge does not see it yet."""
        if step == ASK:
            self.next = self.site.ask(Client(self.site), [b"auth:c:h:wrong-hunter2"])[0]
        elif not self.program.is_gone and step == READ:
            self.program.read()
        elif step != READ:
            self.program.say({LATE: GRANTED, HALF: GRANTED[:2], REST: GRANTED[2:], DENY: DENIED}[step])

    def _ask(self, body: bytes) -> Query:
        query = self.site.ask(Client(self.site), [body])[0]
        self.site.settle()
        return query


@pytest.mark.parametrize("proven", [True, False])
@pytest.mark.parametrize("order", ORDERS, ids="-".join)
def test_no_late_reply_answers_the_next_question(order: tuple[str, ...], proven: bool) -> None:
    """The rules of the site say so: whoever is granted was granted by a reply written after the question was read."""
    seen = Counter()
    for looks in itertools.product([False, True], repeat=len(order)):
        late = Late(proven)
        for step, look in zip(order, looks, strict=True):
            late.do(step)
            if look:
                late.site.settle()
        late.site.advance(5.0)
        assert late.next is not None
        seen[late.next.verdict] += 1
        late.site.close()
    read_alone = order.index(ASK) < order.index(READ) < order.index(DENY) < order.index(HALF)
    assert seen[Verdict.DENIED] or not read_alone


def test_it_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a Worker that does not ask whether the question was read before the reply was written."""
    monkeypatch.setattr(StdinPipe, "looks_taken", lambda _: True)
    late = Late(proven=True)
    with pytest.raises(AssertionError, match="which no program said"):
        for step in (LATE, ASK, HALF, REST):
            late.do(step)
            late.site.settle()
    late.site.close()
