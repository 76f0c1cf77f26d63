"""The connection of the Prosody module, in Lua, to any daemon: each query gets one verdict, and a yes or no only if the
daemon said that under this query's tag, in time, on a connection on which it had said nothing wrong.
"""

import contextlib
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import attrs
from support.components import command

import bridge
from fuzz.engine import HERE, Check
from fuzz.source import Source

FOLDER = Path(bridge.__file__).parent / "prosody" / "mod_auth_extauth_bridge"
HELLOS = (b"extauth-bridge:tagged:1\n", b"extauth-bridge:answers:3\n")
WORDS = {b"0": "denied", b"1": "granted", b"2": "unavailable"}
TOKENS = (
    b"1 1\n",
    b"2 0\n",
    b"3 2\n",
    b"1\n",
    b"0\n",
    b"2\n",
    b"1 ",
    b"1",
    b" 1\n",
    b"\n",
    b"1 1\r\n",
    b"01 1\n",
    b"9" * 17,
)

_MODES = ("tagged", "tagged", "tagged", "plain", "silent")
_TIMES = ("0", "0.02", "0.3", "2.5", "4.99", "5", "61")


@contextlib.contextmanager
def target() -> Iterator[Check]:
    with subprocess.Popen(
        [command("lua5.2", "lua5.2"), HERE / "module.lua", HERE.parent, FOLDER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as lua:
        assert lua.stdin is not None and lua.stdout is not None
        to, of = lua.stdin, lua.stdout

        def check(data: bytes) -> list[int]:
            commands = [*script(Source(data))]
            to.write("\n".join([str(len(commands)), *commands]) + "\n")
            to.flush()
            truth = Truth()
            for line in of:
                what, _, rest = line.rstrip("\n").partition(" ")
                if what == "done":
                    truth.done()
                    return [int(number) for number in rest.split()]
                truth.events.append(line)
            raise AssertionError("lua has ended")

        yield check
        to.close()


def script(source: Source) -> Iterator[str]:
    yield f"set mode {source.pick(_MODES)}"
    while source:
        kind = source.below(32)
        if kind < 9:
            yield f"ask {source.below(2)} {0 if source.below(8) else 32 * source.below(256)}"
        elif kind < 18:
            yield f"answer {source.below(8)} {source.below(3)}"
        elif kind < 21:
            yield f"say {source.pick(TOKENS).hex()}"
        elif kind < 24:
            yield f"say {source.take(source.below(12)).hex()}"
        elif kind < 27:
            yield f"pass {source.pick(_TIMES)}"
        elif kind == 27:
            yield "end"
        elif kind == 28:
            yield f"withdraw {source.below(16)}"
        elif kind == 29:
            yield f"set mode {source.pick(_MODES)}"
        elif kind == 30:
            name, value = source.pick((("full", "yes"), ("refuse", "refused"), ("refuse", "timeout"), ("two", "yes")))
            yield f"set {name} {value if source.below(2) else 'none'}"
        else:
            yield "leave" if source.below(2) else f"set part {source.below(9)}"


@attrs.define
class Asked:
    """A query: its line, when its time is over, and what became of it."""

    line: bytes
    deadline: float
    sent: bool = False
    due: str = ""  # what the daemon said of it in time
    verdict: str = ""


@attrs.define
class Wire:
    """One connection: what was sent, and what the daemon has said since its last whole answer."""

    greeting: bytes = b""
    hello: bytes = b""
    half: bytes = b""
    wrong: bool = False
    open: dict[bytes, Asked] = attrs.field(factory=dict)  # by tag; where there are none, by numbers in their order


class Truth:
    """Judges what happened, in its order."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.asked: dict[int, Asked] = {}
        self.wires: dict[str, Wire] = {}
        self.tags: set[bytes] = set()

    def done(self) -> None:
        for event in self.events:
            what, *rest = event.split()
            getattr(self, f"_{what}")(*rest)
        assert all(query.verdict for query in self.asked.values())

    def _wrong(self, *words: str) -> None:
        raise AssertionError(" ".join(words))

    def _asked(self, number: str, _now: str, deadline: str, line: str) -> None:
        self.asked[int(number)] = Asked(bytes.fromhex(line[:-1]), float(deadline))

    def _sent(self, number: str, text: str) -> None:
        data, wire = bytes.fromhex(text[:-1]), self.wires.setdefault(number, Wire())
        if not data:
            return
        assert not wire.wrong, "something behind what was cut off, or wrong"
        if not data.endswith(b"\n"):  # cut off by the stub: after that, nothing may come
            wire.wrong = True
            return
        if not wire.hello:
            assert data in HELLOS
            wire.hello = data
            return
        assert wire.greeting in (b"1\n", b"0\n"), "a question to nobody"
        assert data.count(b"\n") == 1, "not one line"
        line, tag = data[:-1], b"without, number %d" % len(self.tags)
        if wire.hello == HELLOS[0]:
            tag, address, line = line.split(b" ", 2)
            assert tag.isdigit() and len(tag) <= 16 and tag not in self.tags and address == b"-"
        (query,) = (query for query in self.asked.values() if query.line == line)
        assert not query.sent and not query.verdict, "asked twice, or for nobody"
        query.sent = True
        self.tags.add(tag)
        wire.open[tag] = query

    def _said(self, number: str, now: str, text: str) -> None:
        data, wire = bytes.fromhex(text[:-1]), self.wires[number]
        if wire.wrong:
            return
        if not re.fullmatch(rb"[01]\n", wire.greeting):
            wire.greeting += data
            wire.wrong = not re.fullmatch(rb"([01]\n?)?", wire.greeting)
            return
        heard = wire.half + data
        answers = [*self._answers(wire, heard)]
        if wire.wrong:
            return
        wire.half = heard[heard.rfind(b"\n") + 1 :]
        for tag, digit in answers:
            query = wire.open.pop(tag)
            if not query.verdict and float(now) < query.deadline:
                query.due = WORDS[digit]

    def _answers(self, wire: Wire, heard: bytes) -> Iterator[tuple[bytes, bytes]]:
        """The whole answers; one that is wrong, and so is the wire."""
        tagged = wire.hello == HELLOS[0]
        digits = b"012" if tagged or wire.greeting == b"1\n" else b"01"
        open_ones = [*wire.open]
        *whole, half = heard.split(b"\n")
        for answer in whole:
            tag, _, digit = answer.rpartition(b" ") if tagged else (open_ones[0] if open_ones else b"", b"", answer)
            if len(digit) != 1 or digit not in digits or tag not in open_ones:
                wire.wrong = True
                return
            open_ones.remove(tag)
            yield tag, digit
        if half:
            good = re.fullmatch(rb"(\d+)( [012]?)?", half) if tagged else re.fullmatch(rb"[%b]" % digits, half)
            over = not open_ones or (tagged and b" " in half and half.split(b" ")[0] not in open_ones)
            wire.wrong = not good or over or (tagged and len(half.split(b" ")[0]) > 16)

    def _verdict(self, number: str, now: str, word: str) -> None:
        query = self.asked[int(number)]
        assert not query.verdict, "a second verdict"
        assert word in WORDS.values()
        assert word == query.due or word == "unavailable", "the daemon did not say that"
        assert word == (query.due or word), "the daemon's answer was dropped"
        query.verdict = word
