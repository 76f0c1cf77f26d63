"""Searches for inputs that break a promise, target after target, and says what it took.

    python tests/fuzz/run.py [--seconds 10] [--plain] [--seed N] [--json] [--keep DIRECTORY] [NAME...]
    python tests/fuzz/run.py --input FILE NAME
    python tests/fuzz/run.py --minimise DIRECTORY [NAME...]

With atheris (the extra `fuzz`) it is guided by coverage, without it or with --plain by mutation alone.  The inputs that
are worth keeping start from those of the repository and are lost at the end, but for --keep.  --minimise puts those of
DIRECTORY that add coverage into the repository.  A finding is written to the directory it runs in, as finding-NAME-...:
mend what it shows, then move it to tests/fuzz/corpus/NAME, where the default tests run it for ever.

Exit status: 0; 1 if anything was found; 2 if a search could not be run.
"""

import argparse
import hashlib
import json
import os
import random
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent.parent)]

from fuzz import engine  # noqa: E402  (found where this file is, whatever is installed)

TIMEOUT = 20
"""Seconds that one input may take: a thousand times what any does, but the machine may be busy."""

MEMORY = 2048
"""Megabytes that a search may take: atheris itself has some 200."""


def main() -> int:
    options = _parser().parse_args()
    names = options.names or engine.NAMES
    if options.worker:
        return _work(names[0], options)
    if options.input:
        return _replay(options.input, names[0])
    if options.minimise:
        return max(_minimise(name, options.minimise / name) for name in names)
    plain = options.plain or not engine.can_be_guided()
    if not options.json:
        way = "by mutation alone" if plain else "guided by coverage"
        print(f"{len(names)} targets, {options.seconds:g} s each, {way}")
        print(f"{'target':10} {'executions':>11} {'a second':>9} {'coverage':>9} {'corpus':>7} {'CPU':>9}  findings")
    status = 0
    for name in names:
        told = _run(name, plain, options)
        status = max(status, int(told.pop("status")), bool(told["finding"]))
        print(json.dumps(told) if options.json else _row(told), flush=True)
    return status


def _row(told: dict[str, object]) -> str:
    executions, cpu = int(str(told["executions"])), float(str(told["cpu"]))
    return (
        f"{told['target']:10} {executions:11} {executions / max(cpu, 0.01):9.0f} {told['coverage'] or '-':>9} "
        f"{told['corpus']:7} {cpu:7.1f} s  {told['finding'] or 'none'}"
    )


def _run(name: str, plain: bool, options: argparse.Namespace) -> dict[str, object]:
    """Search in a process of its own; returns what it came to."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as directory:
        kept = options.keep / name if options.keep else Path(directory, "corpus")
        kept.mkdir(parents=True, exist_ok=True)
        argv = [sys.executable, __file__, "--worker", directory, "--keep", str(kept), "--seconds", str(options.seconds)]
        argv += ["--plain"] if plain else []
        argv += ["--seed", str(options.seed)] if options.seed is not None else []
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [*argv, name],
            env={**os.environ, "TMPDIR": directory},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        found = [*Path(directory).glob("finding-*")]
        told = {"target": name, **_figures(done.stdout + done.stderr, kept), "cpu": round(cpu, 1), "finding": ""}
        if found:
            told["finding"] = _keep(found[0], name)
            sys.stderr.write(done.stderr[-4000:])
        elif done.returncode:
            sys.stderr.write(done.stderr[-4000:])
        return {**told, "status": 2 if done.returncode and not found else 0}


def _figures(said: str, kept: Path) -> dict[str, object]:
    """From what libFuzzer prints, or a worker that was not guided."""

    def last(pattern: str) -> int:
        numbers = re.findall(pattern, said)
        return int(numbers[-1]) if numbers else 0

    executions = last(r"stat::number_of_executed_units: +(\d+)") or last(r"(?m)^#(\d+)")
    return {"executions": executions, "coverage": last(r"cov: (\d+)"), "corpus": last(r"corp: (\d+)")}


def _keep(found: Path, name: str) -> str:
    data = found.read_bytes()
    path = Path(f"finding-{name}-{hashlib.sha256(data).hexdigest()[:8]}")
    path.write_bytes(data)
    return str(path)


def _work(name: str, options: argparse.Namespace) -> int:
    """The process of one search."""
    directory, kept = Path(options.worker), options.keep
    module = engine.module_of(name) if options.plain else None
    if module is not None:
        with module.target() as check:
            until = time.monotonic() + options.seconds
            seeds = [*engine.corpus_of(name), *(path.read_bytes() for path in kept.glob("*"))]
            found = engine.search(check, seeds, module.TOKENS, random.Random(options.seed), until=until)
        print(f"#{found.executions} corp: {found.corpus}")
        if found.finding is not None:
            Path(directory, "finding-plain").write_bytes(found.finding.data)
            print(found.finding.said, file=sys.stderr)
        return 0
    words = directory / "words"
    arguments = [f"-max_total_time={options.seconds:g}", f"-max_len={engine.MAX_LEN}", f"-dict={words}"]
    arguments += [f"-artifact_prefix={directory}/finding-", "-print_final_stats=1", f"-timeout={TIMEOUT}"]
    seeds = engine.CORPUS / name
    engine.guided(
        name, words, [*arguments, f"-rss_limit_mb={MEMORY}", str(kept), *([str(seeds)] if seeds.exists() else [])]
    )
    return 0


def _replay(file: Path, name: str) -> int:
    with engine.module_of(name).target() as check:
        check(file.read_bytes())
    print(f"{name}: nothing is wrong with it")
    return 0


def _minimise(name: str, kept: Path) -> int:
    """Add to the repository what takes ways through the code that nothing there does, the most at a time."""
    ours = engine.CORPUS / name
    ours.mkdir(parents=True, exist_ok=True)
    with engine.module_of(name).target() as check:
        reached = set[object]().union(*(engine.reached(check, data) for data in engine.corpus_of(name)))
        others = {path: engine.reached(check, path.read_bytes()) for path in sorted(kept.glob("*"))}
    while others:
        path = max(others, key=lambda path: (len(others[path] - reached), -path.stat().st_size))
        new = others.pop(path) - reached
        if not new:
            break
        reached |= new
        shutil.copy(path, ours / path.name[:12])
    print(f"{name}: {len(reached)} ways, {len([*ours.iterdir()])} inputs")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", choices=[*engine.NAMES, []], help=", ".join(engine.NAMES))
    parser.add_argument("--seconds", type=float, default=10.0, help="for each target")
    parser.add_argument("--plain", action="store_true", help="do not look at coverage")
    parser.add_argument("--seed", type=int, help="of the mutations, with --plain: the same are tried in each run")
    parser.add_argument("--json", action="store_true", help="a line of JSON for each target")
    parser.add_argument("--keep", type=Path, help="where the inputs of former runs are, and those of this one go")
    parser.add_argument("--input", type=Path, help="try only this one")
    parser.add_argument("--minimise", type=Path, help="where the inputs are that --keep kept")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
