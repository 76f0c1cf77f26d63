"""The table, and the JSON, whose names scripts rely on."""

import json

from bridge.bench.phases import Sized
from bridge.bench.report import as_json, heading, memory, rows
from bridge.bench.sizing import Advice, Stop
from bridge.bench.tally import Measured

CLOSED = Measured(
    seconds=2.0,
    rate=97.512,
    answers=200,
    granted=3,
    p50=0.0204,
    p95=0.0224,
    p99=0.0241,
    longest=1.2345,
    failures={"timeouts": 2},
    programs_failed=1,
    complete=False,
)
SIZED = Sized(programs=4, startup=0.066, memory=3 * 2**20, cpu=0.25, cpu_of_all=0.5, closed=CLOSED)


def test_the_table_is_aligned() -> None:
    line, *notes = rows(SIZED, 0)
    ends = [heading(False).index(name) + len(name) for name in ("programs", "queries/s", "max ms", "memory")]
    assert [line[:end].split()[-1] for end in ends] == ["4", "97.5", "1234", "MiB"]
    assert len(line) == len(heading(False)) <= 80
    assert [note.strip() for note in notes] == [
        "2 failed: no answer in time",
        "programs that failed, and were replaced: 1",
        "interrupted after 2.0 s",
    ]


def test_the_open_loop_has_its_own_line() -> None:
    both = Sized(programs=4, startup=1.5, memory=0, cpu=0, cpu_of_all=0, closed=CLOSED, at_rate=CLOSED)
    lines = [line for line in rows(both, 100.0) if "97.5" in line]
    assert ["closed" in lines[0], "100/s" in lines[1]] == [True, True]
    assert lines[0].index("97.5") == lines[1].index("97.5") == heading(True).index("queries/s") + 5


def test_memory_for_people() -> None:
    assert [memory(size * 2**20) for size in (10, 213, 3072)] == ["10.0 MiB", "213 MiB", "3.0 GiB"]


def test_the_names_in_the_json() -> None:
    advice = Advice(4, True, ("Because.", "And so."))
    found = json.loads(json.dumps(as_json({"program": "/bin/p"}, [SIZED], Stop.GROWTH, "", advice)))
    assert found == {
        "version": 1,
        "program": "/bin/p",
        "sizes": [
            {
                "programs": 4,
                "ready_seconds": 0.066,
                "memory_bytes": 3145728,
                "cpu_used": 0.25,
                "cpu_used_by_all": 0.5,
                "closed": {
                    "seconds": 2.0,
                    "queries_per_second": 97.512,
                    "answers": 200,
                    "granted": 3,
                    "p50_seconds": 0.0204,
                    "p95_seconds": 0.0224,
                    "p99_seconds": 0.0241,
                    "max_seconds": 1.2345,
                    "failures": {"timeouts": 2},
                    "programs_failed": 1,
                    "complete": False,
                },
                "at_rate": None,
            }
        ],
        "stopped": "no growth",
        "trouble": None,
        "advice": {"pool_size": 4, "enough": True, "reason": "Because. And so."},
    }


def test_the_json_without_a_result() -> None:
    found = as_json({}, [], Stop.TROUBLE, "it ended", None)
    assert found == {"version": 1, "sizes": [], "stopped": "trouble", "trouble": "it ended", "advice": None}
