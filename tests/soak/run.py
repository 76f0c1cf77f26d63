"""Plays a week of a busy server as fast as it goes, and compares the end with the beginning. By hand; needs gcc, Linux.

    python tests/soak/run.py [--queries 5000000] [--within 5] [--rounds 200] [--json FILE] [--unhurried]

A real daemon with real programs is asked by a crowd of clients, each question about another account. Programs are
renewed, end, hang, reply twice; configurations are put in force and refused; clients come, go and vanish. Each answer
is checked. In between everything comes to rest, and is measured. At the end, times are measured beside those of a fresh
daemon, in turns, so that the machine's mood is the same for both.
Exit status: 0; 1 if an answer was wrong, anything ended as it must not, or anything grew by more than --within %.
"""

import argparse
import contextlib
import json
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from soak import measure, report
from soak.crowd import Crowd
from soak.hurried import HASTE
from soak.measure import Pace, Size
from soak.place import Place, build, open_crowd
from soak.progress import Progress

RELAYS = 2
SAMPLES, LEAST = 25, 10_000
"""So many samples, with at least so many questions between two; a fifth is the beginning, another one the end."""

RELOAD_EVERY = 10_000
"""Questions: 500 reloads in a week, more than most daemons see in a year."""

PROBATION = 65.0
"""Seconds: for a minute after the last suspect, each question is compared with those of suspects, which takes time."""

RENEWED = 15.0
"""Seconds in which each program of the fresh daemon is replaced once for its age: that costs time there, too, then."""

MOST_REFUSED = 0.05
"""Share of the right ones that may not have been granted: this is a storm on a machine that may have others, too; what
must hold for whom in which trouble is measured by tests/benchmarks/availability.py."""


class Soak:
    """One run."""

    def __init__(self, folder: Path, options: argparse.Namespace, progress: Progress) -> None:
        self.options, self._folder, self._progress = options, folder, progress
        self._program = build(folder)
        self._places: list[Place] = []
        self.faults: Counter[str] = Counter()
        self.place = self._new_place("old")
        self.crowd: Crowd = open_crowd(self.place, RELAYS)
        self.sizes: list[Size] = []
        self.paces: list[Pace] = []
        self.rows: list[report.Row] = []
        self._began = time.monotonic()

    def _new_place(self, name: str) -> Place:
        hurried, lies = not self.options.unhurried, self.options.lie
        self._places.append(Place(self._folder / name, self._program, self.faults, hurried, lies))
        return self._places[-1]

    def run(self) -> None:
        tally, step = self.crowd.tally, max(LEAST, self.options.queries // SAMPLES)
        self._progress.say(
            f"{'questions':>10} {'a second':>9} {'RSS KiB':>8} {'descriptors':>12} {'processes':>10} {'p50 µs':>7}"
        )
        for goal in range(step, self.options.queries + 1, step):
            before, began = tally.asked, time.monotonic()
            self.crowd.storm(goal, self._meanwhile)
            self._sample((tally.asked - before) / (time.monotonic() - began))
        self.rows = report.rows_of_sizes(self.sizes, self.options.within / 100)
        if self.options.rounds:
            self.compare_paces()
        self.close()
        self.faults.update(tally.faults)
        if tally.refused > MOST_REFUSED * tally.granted:
            self.faults[f"{tally.refused} right ones were not granted"] += 1

    def _meanwhile(self) -> None:
        self._progress.so_far(self.crowd.tally.asked)
        if self.crowd.tally.asked // RELOAD_EVERY > self.place.reloads.total():
            self.place.reload()

    def _sample(self, rate: float) -> None:
        self.place.knock()
        size = self._size_at_rest()
        pace = measure.pace(self.place, self.faults)
        self.sizes.append(size)
        self.paces.append(pace)
        asked = self.crowd.tally.asked
        self._progress.say(
            f"{asked:10} {rate:9.0f} {size.rss:8} {size.descriptors:12} {size.processes:10} {pace.p50:7.0f}"
        )

    def _size_at_rest(self) -> Size:
        """What is held while no program is being renewed, which happens every few seconds."""
        while True:
            settled = self.place.settle()
            size = measure.size(self.place)
            if not (settled and self.place.unsettled()):
                return size

    def compare_paces(self) -> None:
        """Measure the old daemon and a fresh one in turns, who is first changing each time."""
        fresh = self._new_place("fresh")
        time.sleep(max(RENEWED, PROBATION / (1 if self.options.unhurried else HASTE)))
        for place in (self.place, fresh):
            place.settle()
        paces: dict[Place, list[Pace]] = {self.place: [], fresh: []}
        both = [self.place, fresh]
        for _ in range(self.options.rounds):
            for place in both:
                paces[place].append(measure.pace(place, self.faults))
            both.reverse()
        old, new = measure.undisturbed(paces[self.place]), measure.undisturbed(paces[fresh])
        self.rows += report.rows_of_paces(new, old, self.options.within / 100)

    def close(self) -> None:
        self.crowd.close()
        while self._places:
            self._places.pop().close()

    @property
    def well(self) -> bool:
        return not self.faults and all(row.holds for row in self.rows)

    def told(self) -> str:
        """The outcome, for a person."""
        tally, place = self.crowd.tally, self.place
        sizes, paces = self.rows[: len(fields(Size))], self.rows[len(fields(Size)) :]
        lines = [
            report.table(sizes, ("beginning", "end")),
            report.table(paces, ("fresh", "old")),
            f"\n{tally.answered} answers to {tally.asked} questions in {time.monotonic() - self._began:.0f} s,"
            f" all checked; {tally.abandoned} were left by clients who went",
            f"{tally.granted} granted, {tally.refused} right ones not granted in time",
            f"{tally.clients.total()} clients; {place.reloads['in force']} reloads in force,"
            f" {place.reloads['refused']} refused",
            *(f"FAULT: {what} ({count} times)" for what, count in self.faults.items()),
            "nothing grew, no answer was wrong" if self.well else "NOT WELL",
        ]
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        return {
            "well": self.well,
            "rows": [asdict(row) | {"holds": row.holds} for row in self.rows],
            "sizes": [asdict(size) for size in self.sizes],
            "paces": [asdict(pace) for pace in self.paces],
            "tally": vars(self.crowd.tally),
            "reloads": self.place.reloads,
            "faults": self.faults,
        }


def parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A week of a busy server.")
    parser.add_argument("--queries", type=int, default=5_000_000)
    parser.add_argument("--within", type=float, default=5.0, metavar="PERCENT", help="by which anything may grow")
    parser.add_argument("--rounds", type=int, default=200, help="of times of the old daemon and a fresh one, in turns")
    parser.add_argument("--json", type=Path, metavar="FILE", help="all samples")
    parser.add_argument("--unhurried", action="store_true", help="leave the daemon's times as they are; see hurried.py")
    parser.add_argument("--lie", action="store_true", help="programs lie now and then, which must be noticed")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    options = parsed(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # leaves nobody behind
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        progress = Progress(options.queries)
        soak = Soak(Path(folder), options, progress)
        with progress.shown(), contextlib.closing(soak):
            soak.run()
        print(soak.told())
        if options.json is not None:
            options.json.write_text(json.dumps(soak.as_json(), indent=1))
        return 0 if soak.well else 1


if __name__ == "__main__":
    sys.exit(main())
