"""What has to be reached, each as a share or a difference within a run, never as a bare time of a machine."""

from growth import Sweep
from report import Goal

AT_LEAST, AT_MOST = "at least", "at most"
FLOOR = {"how": "times", "against": "floor"}
IN_ORDER = {"how": "times", "against": "in order"}
MUX = {"how": "times", "against": "helper-mux"}

# What it is about; case, figure and whose; the limit, and against whom.
GOALS = (
    Goal("4 programs, 64 in flight, share of the floor", "pool4", "rate", "bridge", AT_LEAST, 0.75, **FLOOR),
    Goal("8 programs, 64 in flight, share of the floor", "pool8", "rate", "bridge", AT_LEAST, 0.80, **FLOOR),
    Goal(
        "4 programs, 64 in flight, times ejabberd",
        "pool4",
        "rate",
        "bridge",
        AT_LEAST,
        1,
        how="times",
        against="ejabberd",
    ),
    Goal("8 programs, 8 in flight, times helper-mux", "mux8", "rate", "bridge", AT_LEAST, 1.2, **MUX),
    Goal("64 programs, 64 in flight, times helper-mux", "mux64", "rate", "bridge", AT_LEAST, 1.4, **MUX),
    Goal("one by one, share of the floor", "single", "rate", "bridge", AT_LEAST, 0.95, **FLOOR),
    Goal("pty, µs more than a pipe", "pty", "p50_us", "bridge, pty", AT_MOST, 60, "more than", "bridge, pipe"),
    Goal("connect, µs more than run", "pty", "p50_us", "connect, pty", AT_MOST, 40, "more than", "bridge, pty"),
    *(
        Goal(f"{pool} programs of 20 ms, share of the ideal", f"slow{pool}", "of_ideal", "bridge", AT_LEAST, 0.98)
        for pool in (4, 16, 64)
    ),
    *(
        Goal(f"{pool} programs of 20 ms, p99 - p50, ms", f"slow{pool}", "spread_ms", "bridge", AT_MOST, 5)
        for pool in (4, 16, 64)
    ),
    Goal("a daemon, 32 clients, share of the floor", "shared", "rate", "bridge", AT_LEAST, 0.75, **FLOOR),
    Goal("32 tagged clients, times those in order", "tagged32", "rate", "tagged", AT_LEAST, 1, **IN_ORDER),
    Goal("one tagged client of 64 lines, times one in order", "tagged1", "rate", "tagged", AT_LEAST, 1, **IN_ORDER),
    Goal("to a raw terminal, ms more than bare Python", "raw", "ms", "bridge", AT_MOST, 25, "more than", "bare Python"),
    Goal("to the first answer, times import trio", "start", "ms", "bridge", AT_MOST, 1.1, "times", "import trio"),
    *(
        Goal(f"idle, {who}, wake-ups a second", "idle", "rest_wakeups", who, AT_MOST, 2)
        for who in ("pipe", "pty", "daemon")
    ),
    *(
        Goal(f"idle, {who}, % of a CPU", "idle", "rest_cpu", who, AT_MOST, 0.1, scale=0.01)
        for who in ("pipe", "pty", "daemon")
    ),
    Goal("resident memory, MB", "memory", "rss_kb", "bridge", AT_MOST, 30, scale=1024),
    Goal("memory of a line in flight, bytes", "held", "bytes_per_query", "bridge", AT_MOST, 1024),
)

CLIFF = 0.90  # of the step before: less is a cliff


def growth_goal(sweep: Sweep) -> str:
    first, last = sweep.steps[0][0], sweep.steps[-1][0]
    return f"{first} to {last} {sweep.unit}, {sweep.column.head}, worst step"
