"""Compiles the benchmark's C programs."""

import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
FLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-D_GNU_SOURCE")

SOURCES = {
    "program": ["program.c"],
    "linehelper": ["linehelper.c"],
    "floor": sorted(f"floor/{path.name}" for path in HERE.glob("floor/*.c")),
    "load": sorted(f"load/{path.name}" for path in HERE.glob("load/*.c")),
}


def build(target: Path, gcc: str = "gcc") -> Path:
    """Compiles everything into the directory `target`, which is made if need be, and returns it.

    Raises subprocess.CalledProcessError if the compiler finds a fault, FileNotFoundError if there is none.
    """
    target.mkdir(parents=True, exist_ok=True)
    for name, sources in SOURCES.items():
        paths = [str(HERE / source) for source in sources]
        # -lutil: openpty lived there before glibc 2.34.
        subprocess.run([gcc, *FLAGS, "-o", str(target / name), *paths, "-lutil"], check=True)
    return target


def library(target: Path, source: str, gcc: str = "gcc") -> Path:
    """Compiles `source` into a shared object in the directory `target`, which is made if need be, and returns it."""
    target.mkdir(parents=True, exist_ok=True)
    made = target / Path(source).with_suffix(".so")
    subprocess.run([gcc, *FLAGS, "-shared", "-fPIC", "-o", str(made), str(HERE / source)], check=True)
    return made
