"""What is measured: each case with everything that is measured side by side in it."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SLOW = 20  # ms that a slow program takes for an answer


@dataclass(frozen=True)
class Column:
    """One figure of the table: shown is sample[key] / scale."""

    key: str
    head: str
    scale: float = 1.0
    digits: int = 0


RATE = Column("rate", "thousand/s", 1000, 1)
P50 = Column("p50_us", "p50 µs")
P99 = Column("p99_us", "p99 µs")
TRIP = Column("p50_us", "p50 µs", digits=1)
TIME = Column("ms", "ms", digits=1)
OF_IDEAL = Column("of_ideal", "of the ideal", digits=3)
SPREAD = Column("spread_ms", "p99 - p50 ms", digits=2)
RESIDENT = Column("rss_kb", "MB", 1024, 1)
PER_QUERY = Column("bytes_per_query", "bytes")


@dataclass(frozen=True)
class Run:
    """One command of a case; it prints its figures as one line of JSON."""

    who: str
    argv: Sequence[str]
    ideal: float = 0.0  # answers/s that nothing can beat; 0 where there is no such limit


@dataclass(frozen=True)
class Case:
    """Runs to be compared. The first column is shown with its range and as a share of `reference`'s."""

    name: str
    title: str
    columns: Sequence[Column]
    runs: Sequence[Run]
    reference: str | None = None
    repeats: int = 1  # for every round


@dataclass(frozen=True)
class Cpus:
    """Where the client and the command under test (with all its programs) run."""

    client: int
    command: int


def on(cpu: int, argv: list[str]) -> list[str]:
    return ["taskset", "--cpu-list", str(cpu), *argv]


@dataclass(frozen=True)
class Commands:
    """The command lines. `build` holds the C programs; `seconds` is how long one run measures."""

    build: Path
    python: str
    helper_mux: str
    seconds: float

    def program(self, delay: int = 0) -> list[str]:
        return [str(self.build / "program"), *([str(delay)] if delay else [])]

    def floor(self, pool: int, delay: int = 0) -> list[str]:
        return [str(self.build / "floor"), str(pool), *self.program(delay)]

    def bridge(self, pool: int, *options: str, delay: int = 0) -> list[str]:
        run = [self.python, "-m", "bridge", "run", "--pool-size", str(pool), *options]
        return [*run, "--", *self.program(delay)]

    def load(self, mode: str, command: list[str], in_flight: int = 1, warm_up: int = 1000, lines: int = 0) -> list[str]:
        """`warm_up` and `lines` are numbers of answers; without `lines` the time counts."""
        until = ["-n", str(lines)] if lines else ["-s", str(self.seconds)]
        return [str(self.build / "load"), mode, "-k", str(in_flight), "-w", str(warm_up), *until, *command]

    def one_by_one(self, command: list[str], cpus: Cpus | None, mode: str = "pipe") -> list[str]:
        if cpus is None:
            return self.load(mode, command)
        return on(cpus.client, self.load(mode, on(cpus.command, command)))

    def busy(self, command: list[str], in_flight: int = 64) -> list[str]:
        return self.load("pipe", command, in_flight, warm_up=10_000)

    def direct(self, cpus: Cpus | None) -> list[str]:
        asking = [self.python, str(Path(__file__).with_name("direct.py")), str(self.seconds)]
        if cpus is None:
            return [*asking, *self.program()]
        return on(cpus.client, [*asking, *on(cpus.command, self.program())])


def full_load(commands: Commands, pool: int) -> Case:
    """Default settings replace a program after some hundred answers, at this rate all the time: the run
    without it shows what that costs."""
    runs = [
        Run("floor", commands.busy(commands.floor(pool))),
        Run("bridge", commands.busy(commands.bridge(pool))),
        Run("bridge --max-requests 0", commands.busy(commands.bridge(pool, "--max-requests", "0"))),
    ]
    return Case(f"pool{pool}", f"{pool} programs, 64 lines in flight", (RATE, P50, P99), runs, "floor")


def one_at_a_time(commands: Commands) -> list[Case]:
    """Where the scheduler puts them decides more than anything else: waking a sleeping CPU takes ten times as
    long as the question itself. So everything gets its place: the client on one CPU and the rest on another,
    which is steady and near to life, then all on one CPU, which shows the work alone; last, nothing is said.
    """
    cpus = sorted(os.sched_getaffinity(0))

    def case(name: str, title: str, cpus: Cpus | None) -> Case:
        runs = [
            Run("floor", commands.one_by_one(commands.floor(4), cpus)),
            Run("bridge", commands.one_by_one(commands.bridge(4), cpus)),
            Run("direct, Python", commands.direct(cpus)),
            Run("direct, C", commands.one_by_one(commands.program(), cpus, "frames")),
        ]
        return Case(name, f"4 programs, one line at a time, {title}", (RATE, TRIP, P99), runs, "floor")

    return [
        case("single", "the client on a CPU of its own", Cpus(cpus[0], cpus[-1])),
        case("onecpu", "everything on one CPU", Cpus(cpus[-1], cpus[-1])),
        case("free", "wherever the scheduler puts them", None),
    ]


def terminal(commands: Commands) -> Case:
    """Placed as in `single`. The line helper shows what a terminal costs by itself."""
    cpus = sorted(os.sched_getaffinity(0))
    apart = Cpus(cpus[0], cpus[-1])
    helper = [str(commands.build / "linehelper")]
    raw_helper = ["sh", "-c", 'stty raw && exec "$0"', *helper]
    runs = [
        Run("bridge, pipe", commands.one_by_one(commands.bridge(4), apart)),
        Run("bridge, pty", commands.one_by_one(commands.bridge(4), apart, "pty")),
        Run("line helper, pipe", commands.one_by_one(helper, apart)),
        Run("line helper, pty", commands.one_by_one(raw_helper, apart, "pty")),
    ]
    return Case("pty", "one line at a time, on a pipe and on a pty", (TRIP, P99), runs)


def slow_programs(commands: Commands, pool: int) -> Case:
    """Twice as many lines in flight as programs: none has to wait for the client.

    The number of answers is a multiple of the pool's size because they come in bursts of that size, and a
    burst more or less would be a per cent. One program without a bridge shows how late the machine wakes it.
    """
    each = 1000 / SLOW  # answers/s of one program
    lines = max(round(each * commands.seconds), 10)

    def run(who: str, command: list[str]) -> Run:
        argv = commands.load("pipe", command, 2 * pool, warm_up=4 * pool, lines=lines * pool)
        return Run(who, argv, each * pool)

    runs = [
        run("floor", commands.floor(pool, SLOW)),
        run("bridge", commands.bridge(pool, delay=SLOW)),
        Run("one program", commands.load("frames", commands.program(SLOW), warm_up=4, lines=lines), each),
    ]
    title = f"{pool} programs of {SLOW} ms, {2 * pool} lines in flight"
    return Case(f"slow{pool}", title, (OF_IDEAL, SPREAD), runs)


def peers(commands: Commands, pool: int) -> Case:
    """squid's helper-mux starts as many helpers as there are questions in flight; the others get as many."""
    helper = [str(commands.build / "linehelper")]
    runs = [
        Run("floor", commands.busy(commands.floor(pool), pool)),
        Run("bridge", commands.busy(commands.bridge(pool), pool)),
        Run("helper-mux", commands.load("channels", [commands.helper_mux, *helper], pool)),
    ]
    return Case(f"mux{pool}", f"{pool} programs, {pool} lines in flight", (RATE, P50, P99), runs, "floor")


def starts(commands: Commands) -> list[Case]:
    load, python = str(commands.build / "load"), commands.python
    first = [
        Run("bridge", [load, "first", *commands.bridge(4)]),
        Run("import trio", [load, "exit", python, "-c", "import trio"]),
        Run("floor", [load, "first", *commands.floor(4)]),
    ]
    raw = [
        Run("bridge", [load, "raw", *commands.bridge(4)]),
        Run("bare Python", [load, "exit", python, "-I", "-S", "-c", "pass"]),
    ]
    title = "from fork to the first answer of 4 programs"
    return [
        Case("start", title, (TIME,), first, "import trio", repeats=5),
        Case("raw", "from fork to a raw terminal", (TIME,), raw, repeats=5),
    ]


def memory(commands: Commands) -> list[Case]:
    after = [
        Run("bridge", commands.busy(commands.bridge(4))),
        Run("floor", commands.busy(commands.floor(4))),
    ]
    held = [Run("bridge", commands.load("hold", commands.bridge(4, delay=SLOW), 256, warm_up=50))]
    return [
        Case("memory", "resident memory after full load on 4 programs", (RESIDENT,), after),
        Case("held", "memory for each of 256 lines in flight", (PER_QUERY,), held),
    ]


def all_cases(commands: Commands) -> list[Case]:
    """Every case, in the order of the report. Those with helper-mux are there if it is."""
    cases = [full_load(commands, 4), full_load(commands, 8)]
    cases += [*one_at_a_time(commands), terminal(commands)]
    cases += [slow_programs(commands, pool) for pool in (4, 16, 64)]
    cases += starts(commands) + memory(commands)
    if Path(commands.helper_mux).exists():
        cases += [peers(commands, pool) for pool in (8, 64)]
    return cases
