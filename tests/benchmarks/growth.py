"""What happens while one thing grows: a rate at every step, the floor beside it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from cases import MEGABYTES, THOUSANDS, Case, Column, Run
from commands import Commands

POOL, IN_FLIGHT = 4, 64  # of what does not grow


@dataclass(frozen=True)
class Sweep:
    """Cases in which one number grows, each with the runs `floor` and `bridge`."""

    name: str
    title: str
    unit: str
    column: Column
    steps: Sequence[tuple[int, Case]]

    def only(self, cases: Sequence[Case]) -> "Sweep":
        """The same with no other steps than these cases."""
        return replace(self, steps=[(size, case) for size, case in self.steps if case in cases])


def sweep(
    name: str, title: str, unit: str, steps: Sequence[int], runs: Callable[[int], list[Run]], column: Column = THOUSANDS
) -> Sweep:
    cases = [(step, Case(f"growth-{name}-{step}", title, (column,), runs(step), "floor")) for step in steps]
    return Sweep(name, title, unit, column, cases)


def all_sweeps(commands: Commands) -> list[Sweep]:
    def in_flight(count: int) -> list[Run]:
        return [
            Run("floor", commands.busy(commands.floor(POOL), count)),
            Run("bridge", commands.busy(commands.bridge(POOL), count)),
        ]

    def programs(count: int) -> list[Run]:
        return [
            Run("floor", commands.busy(commands.floor(count), IN_FLIGHT)),
            Run("bridge", commands.busy(commands.bridge(count), IN_FLIGHT)),
        ]

    def line_length(size: int) -> list[Run]:
        return [
            Run("floor", commands.busy(commands.floor(POOL), IN_FLIGHT, "-l", str(size))),
            Run("bridge", commands.busy(commands.bridge(POOL), IN_FLIGHT, "-l", str(size))),
        ]

    def clients(count: int) -> list[Run]:
        return [
            Run("floor", commands.clients(count, 4), daemon=commands.floor_daemon(POOL)),
            Run("bridge", commands.clients(count, 4), daemon=commands.bridge_daemon(POOL)),
        ]

    return [
        sweep("flight", "4 programs, more lines in flight", "lines in flight", (1, 4, 16, 64, 256), in_flight),
        sweep("pool", "64 lines in flight, more programs", "programs", (1, 4, 16, 64), programs),
        sweep("line", "4 programs, 64 in flight, longer lines", "bytes", (20, 100, 1000, 4000), line_length, MEGABYTES),
        sweep("clients", "a daemon, more clients, 4 in flight each", "clients", (1, 8, 32, 128), clients),
    ]
