"""Prints what becomes of all other logins when one is in trouble, beside what must hold.  By hand; real children.

    python tests/benchmarks/availability.py [--scenes a,b] [--checkout DIR] [--together 6] [--scale 1] [--json FILE]

`--scenes` are the starts of names: `retry,leaves` runs all that begin with one of these.  Every scene takes its real
time; they are played side by side, most programs only sleep.  Exit status: 0; 1 if something does not hold.
"""

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS))

import report  # noqa: E402 (what is imported from here on needs that path)
from support.availability.catalogue import SCENES, play_all  # noqa: E402
from support.availability.stage import Tempo  # noqa: E402
from support.availability.verdict import Figures, Result  # noqa: E402

HEAD = ["scene", "wanted", "asked", "failed %", "late %", "longest s", "after"]
HEAD += ["starts", "killed", "innocent", "most", "lag s", "holds"]
"""See `Result`; `after`: granted at once, of how many, when the trouble was over."""


def percent(part: int, figures: Figures) -> str:
    return f"{100 * part / max(figures.asked, 1):.1f}"


def row(result: Result) -> list[str]:
    cells = [result.name, result.wanted]
    if result.missing:
        return [*cells, "not offered"]
    if (others := result.others) is None:
        cells += [""] * 4
    else:
        cells += [str(others.asked), percent(others.failed, others), percent(others.late, others)]
        cells += [f"{others.longest:.2f}"]
    after = result.after
    cells.append("" if after is None else f"{after.asked - after.failed - after.late}/{after.asked}")
    cells += map(str, (result.starts, result.kills, result.innocent, result.most))
    return [*cells, f"{result.lag:.2f}", "NO" if result.broken else "yes"]


def print_table(results: Sequence[Result]) -> None:
    print(report.table([HEAD, *map(row, results)], left=2))
    print()
    for result in results:
        print(f"{result.name}: {result.title}")
        if result.said:
            print(f"    {'; '.join(result.said)}")
        print(f"    {result.state}")
    held = sum(not result.broken and not result.missing for result in results)
    missing = sum(bool(result.missing) for result in results)
    print(f"\n{held} of {len(results)} hold, {missing} not offered")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--scenes", default="", metavar="A,B", help="starts of the scenes' names (default: all)")
    parser.add_argument("--checkout", type=Path, default=TESTS.parent, help="the bridge to play with (default: this)")
    parser.add_argument("--together", type=int, default=6, metavar="N", help="scenes side by side (default: 6)")
    parser.add_argument("--scale", type=float, default=1.0, help="of all times, the timeouts too (default: 1)")
    parser.add_argument("--length", type=float, default=1.0, help="of what is only watched (default: 1)")
    parser.add_argument("--json", metavar="FILE", help="write the figures there too")
    return parser.parse_args(arguments)


def main() -> int:
    options = parse()
    names = [name for name in SCENES if name.startswith(tuple(options.scenes.split(",")))]
    if not names:
        sys.exit(f"no scene's name begins with any of {options.scenes}; there are {' '.join(SCENES)}")
    machine = report.machine()
    print(", ".join(f"{key} {value}" for key, value in machine.items()))
    done: list[str] = []

    def tell(result: Result) -> None:
        done.append(result.name)
        print(f"{len(done)} of {len(names)}: {result.name} {result.state}", file=sys.stderr, flush=True)

    tempos = dict.fromkeys(names, Tempo(options.scale, options.length))
    played = play_all(tempos, options.together, tell, options.checkout.resolve())
    results = [played[name] for name in names]
    print_table(results)
    if options.json:
        kept = {"machine": machine, "scenes": [dataclasses.asdict(result) for result in results]}
        Path(options.json).write_text(json.dumps(kept, indent=1) + "\n")
    return 1 if any(result.broken for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
