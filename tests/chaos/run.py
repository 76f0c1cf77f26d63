"""A daemon under a steady load while its programs, machine, clients and operator misbehave.  By hand; real children.

    python tests/chaos/run.py [--minutes 5] [--seed N] [--only ACTION...] [--json FILE]

Every answer is held against the truth.  A wrong `1`, an answer too many or to somebody else's question, one that does
not come in time, a login that fails although the trouble is not its own, an effect that outlasts its cause, a process
or descriptor left over, an error or a secret in the log: each is a breach.  Exit status: 0; 1 if there was any.

The same seed chooses the same actions in the same order, and what they do is chosen alike; what the kernel and other
processes make of it is not in our hands.  Without --minutes, each action happens once, alone.
"""

import argparse
import dataclasses
import json
import os
import random
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "benchmarks")]

import report  # noqa: E402 (what is imported from here on needs that path)
from support.chaos.catalogue import ACTIONS  # noqa: E402
from support.chaos.play import Play, Result, Row  # noqa: E402

HEAD = ["action", "what happens", "times", "others asked", "failed", "late", "longest s", "recovery s", "breaches"]


def row(one: Row) -> list[str]:
    figures = [str(one.times), str(one.asked), str(one.failed), str(one.late)]
    return [one.name, one.title, *figures, f"{one.longest:.2f}", f"{one.recovery:.2f}", str(one.breaches)]


def show(result: Result) -> None:
    print(report.table([HEAD, *(row(one) for one in result.rows if one.times)], left=2))
    print()
    for name, why in result.missing.items():
        print(f"{name}: not done, needs {why}")
    steps = sum(one.times for one in result.rows)
    print(
        f"seed {result.seed}: {result.seconds / 60:.1f} minutes, {steps} actions, {result.asked} questions, at most"
        f" {result.most} programs at once; {result.loaded} steps while the machine was too busy to blame"
        " anybody for what was late or refused"
    )
    for breach in result.breaches:
        print(f"BREACH {breach}")
    if result.folder:
        print(f"its files: {result.folder}")
    print("no breach" if not result.breaches else f"{len(result.breaches)} breaches")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=0.0, help="how long (default: each action once)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6), help="default: any")
    parser.add_argument("--only", nargs="+", choices=[*ACTIONS], metavar="ACTION", help=" ".join(ACTIONS))
    parser.add_argument("--json", metavar="FILE", help="write the figures there too")
    return parser.parse_args(arguments)


def main() -> int:
    options = parse()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has its background jobs ignore it
    signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGINT))  # so that nothing is left
    print(f"seed {options.seed}", file=sys.stderr)
    actions = [ACTIONS[name] for name in options.only or ACTIONS]
    play = Play(actions, options.seed, lambda line: print(line, file=sys.stderr, flush=True))
    result = play.run(options.minutes)
    show(result)
    if options.json:
        Path(options.json).write_text(json.dumps(dataclasses.asdict(result), indent=1) + "\n")
    return 1 if result.breaches else 0


if __name__ == "__main__":
    sys.exit(main())
