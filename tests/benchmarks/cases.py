"""What is measured: each case with everything that is measured side by side in it."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from commands import RATE, SOCKET, Commands, Cpus, on

SLOW = 20  # ms that a slow program takes for an answer


@dataclass(frozen=True)
class Column:
    """One figure of the table: shown is sample[key] / scale."""

    key: str
    head: str
    scale: float = 1.0
    digits: int = 0


THOUSANDS = Column("rate", "thousand/s", 1000, 1)
MEGABYTES = Column("bytes_s", "MB/s", 1e6, 1)
P50 = Column("p50_us", "p50 µs")
P99 = Column("p99_us", "p99 µs")
MOST = Column("max_us", "max µs")
LATE = Column("late_p99_us", "asked late, p99 µs")
TRIP = Column("p50_us", "p50 µs", digits=1)
CPU = Column("cpu_us", "CPU µs/line", digits=1)
TIME = Column("ms", "ms", digits=1)
OF_IDEAL = Column("of_ideal", "of the ideal", digits=3)
SPREAD = Column("spread_ms", "p99 - p50 ms", digits=2)
RESIDENT = Column("rss_kb", "MB", 1024, 1)
PER_QUERY = Column("bytes_per_query", "bytes")
WAKEUPS = Column("rest_wakeups", "wake-ups/s", digits=1)
REST_CPU = Column("rest_cpu", "% of a CPU", 0.01, 3)


@dataclass(frozen=True)
class Run:
    """One command of a case; it prints its figures as one line of JSON.

    A command that says RATE gets `share` of the rate that `paced_by`, another run of the case, had in the same
    round. What asks a `daemon` finds it listening.
    """

    who: str
    argv: Sequence[str]
    ideal: float = 0.0  # answers/s that nothing can beat; 0 where there is no such limit
    daemon: Sequence[str] = ()
    paced_by: str = ""
    share: float = 0.0


@dataclass(frozen=True)
class Case:
    """Runs to be compared. The first column is shown with its range and as a share of `reference`'s."""

    name: str
    title: str
    columns: Sequence[Column]
    runs: Sequence[Run]
    reference: str | None = None
    repeats: int = 1  # for every round


def apart() -> Cpus:
    """The client on a CPU of its own."""
    cpus = sorted(os.sched_getaffinity(0))
    return Cpus(cpus[0], cpus[-1])


def full_load(commands: Commands, pool: int) -> Case:
    """Default settings replace a program after some hundred answers, at this rate all the time: the run
    without it shows what that costs. ejabberd's pool is asked by as many processes, one question each."""
    runs = [
        Run("floor", commands.busy(commands.floor(pool))),
        Run("bridge", commands.busy(commands.bridge(pool))),
        Run("bridge --max-requests 0", commands.busy(commands.bridge(pool, "--max-requests", "0"))),
    ]
    if commands.ejabberd:
        runs.append(Run("ejabberd", commands.ejabberd_pool(pool, 64)))
    columns = (THOUSANDS, P50, P99, CPU)
    return Case(f"pool{pool}", f"{pool} programs, 64 lines in flight", columns, runs, "floor")


def one_at_a_time(commands: Commands) -> list[Case]:
    """Where the scheduler puts them decides more than anything else: waking a sleeping CPU takes ten times as
    long as the question itself. So everything gets its place: the client on one CPU and the rest on another,
    which is steady and near to life, then all on one CPU, which shows the work alone; last, nothing is said.
    """

    def case(name: str, title: str, cpus: Cpus | None) -> Case:
        runs = [
            Run("floor", commands.one_by_one(commands.floor(4), cpus)),
            Run("bridge", commands.one_by_one(commands.bridge(4), cpus)),
            Run("direct, Python", commands.direct(cpus)),
            Run("direct, C", commands.one_by_one(commands.program(), cpus, "frames")),
        ]
        return Case(name, f"4 programs, one line at a time, {title}", (THOUSANDS, TRIP, P99), runs, "floor")

    last = apart().command
    return [
        case("single", "the client on a CPU of its own", apart()),
        case("onecpu", "everything on one CPU", Cpus(last, last)),
        case("free", "wherever the scheduler puts them", None),
    ]


def terminal(commands: Commands) -> Case:
    """Placed as in `single`. The line helper shows what a terminal costs by itself."""
    helper = [str(commands.build / "linehelper")]
    raw_helper = ["sh", "-c", 'stty raw && exec "$0"', *helper]
    place = apart()
    relay = commands.one_by_one(commands.relay(), place, "pty")
    daemon = on(place.command, commands.bridge_daemon(4))
    runs = [
        Run("bridge, pipe", commands.one_by_one(commands.bridge(4), place)),
        Run("bridge, pty", commands.one_by_one(commands.bridge(4), place, "pty")),
        Run("connect, pty", relay, daemon=daemon),
        Run("line helper, pipe", commands.one_by_one(helper, place)),
        Run("line helper, pty", commands.one_by_one(raw_helper, place, "pty")),
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
    ]
    if commands.helper_mux:
        argv = commands.load("channels", [commands.helper_mux, *helper], pool, warm_up=commands.warm_up)
        runs.append(Run("helper-mux", argv))
    columns = (THOUSANDS, P50, P99, CPU)
    return Case(f"mux{pool}", f"{pool} programs, {pool} lines in flight", columns, runs, "floor")


def shared(commands: Commands) -> Case:
    argv = commands.clients(32, 4)
    runs = [
        Run("floor", argv, daemon=commands.floor_daemon(4)),
        Run("bridge", argv, daemon=commands.bridge_daemon(4)),
    ]
    title = "a daemon with 4 programs, 32 clients, 4 lines in flight each"
    return Case("shared", title, (THOUSANDS, P50, P99, CPU), runs, "floor")


def tagged(commands: Commands, clients: int, in_flight: int) -> Case:
    """The same load twice: in order, and with tags and the addresses of those who log in."""

    def run(who: str, mode: str, *more: str) -> Run:
        return Run(who, commands.clients(clients, in_flight, mode, *more), daemon=commands.bridge_daemon(4))

    runs = [run("in order", "socket"), run("tagged", "tagged"), run("tagged, no addresses", "tagged", "-a")]
    asking = "1 client" if clients == 1 else f"{clients} clients"
    title = f"a daemon with 4 programs, {asking}, {in_flight} lines in flight each, in order or tagged"
    return Case(f"tagged{clients}", title, (THOUSANDS, P50, P99, CPU), runs, "in order")


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


def by_the_clock(commands: Commands) -> Case:
    """Lines come at even distances, whatever comes back, at a share of what each answers in a closed loop of 64
    in this very round; a latency begins when its line was due. How late the lines themselves were is shown."""
    runs = []
    for who, command in (("floor", commands.floor(4)), ("bridge", commands.bridge(4))):
        runs.append(Run(who, commands.busy(command)))
        argv = commands.load("open", command, 64, "-r", RATE, warm_up=commands.warm_up)
        runs += [Run(f"{who}, {share:.0%}", argv, paced_by=who, share=share) for share in (0.50, 0.80, 0.95)]
    title = "4 programs, latency in an open loop, by share of the closed loop's rate"
    return Case("open", title, (P99, P50, MOST, LATE, THOUSANDS), runs)


def idle(commands: Commands) -> Case:
    """After a hundred questions and half a second, with the client still there and saying nothing."""
    watch = f"{2.5 * commands.seconds:g}"

    def run(who: str, mode: str, command: list[str], daemon: Sequence[str] = ()) -> Run:
        return Run(who, commands.load(mode, command, 1, "-i", watch, warm_up=0, lines=100), daemon=daemon)

    runs = [
        run("pipe", "pipe", commands.bridge(4)),
        run("pty", "pty", commands.bridge(4)),
        run("daemon", "socket", [SOCKET], commands.bridge_daemon(4)),
    ]
    return Case("idle", f"doing nothing for {watch} s", (WAKEUPS, REST_CPU), runs)


def all_cases(commands: Commands) -> list[Case]:
    """Every case, in the order of the report. Peers are in it where they are installed."""
    cases = [full_load(commands, 4), full_load(commands, 8)]
    cases += [peers(commands, pool) for pool in (8, 64)]
    cases += [*one_at_a_time(commands), terminal(commands)]
    cases += [slow_programs(commands, pool) for pool in (4, 16, 64)]
    cases += [shared(commands), tagged(commands, 32, 4), tagged(commands, 1, 64)]
    cases += [by_the_clock(commands), idle(commands)]
    return cases + starts(commands) + memory(commands)
