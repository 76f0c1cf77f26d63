"""What the log says to whoever has to mend something."""

import re
import sys
from pathlib import Path

import pytest

from .conftest import Start

GOOD = b"isuser:alice:example.com"

TRACEBACK = """
import os, struct, sys
try:
    while True:
        (size,) = struct.unpack(">H", sys.stdin.buffer.read(2))
        sys.stdin.buffer.read(size)
        os.write(1, bytes((0, 2, 0, 1)))
except struct.error as error:
    sys.exit(f"struct.error: {error}")  # the last line of its traceback
"""
"""The example that many programs were made from."""


@pytest.mark.parametrize("level", ["info", "debug"])
def test_a_traceback_at_an_orderly_end_is_a_detail(start: Start, level: str) -> None:
    bridge = start(
        *("run", "--pool-size", 1, "--max-requests", 2, "--log-level", level, "--"),
        *(sys.executable, "-I", "-S", "-c", TRACEBACK),
    )
    for _ in range(3):
        assert bridge.ask(GOOD).verdict == "1"
    bridge.finish()
    assert (b"struct.error" in bridge.log) is (level == "debug")


@pytest.mark.parametrize(
    ("options", "command", "told"),
    [
        (["--cwd", "/no/where"], ["/bin/cat"], r'reason="cwd /no/where: No such file or directory \(there is no direc'),
        (
            [],
            ["{folder}/program"],
            r'reason=".*interpreter is missing: #!/no/where/php\)" program=\S+/program',
        ),
        ([], ["cd", "/opt", "&&", "./auth"], r"no shell reads the command, but it has cd, which"),
        (
            [],
            ["/bin/true", "2>>/var/log/hunter2"],
            r'program failed .* hint="no shell reads .* redirection',
        ),
    ],
)
def test_why_there_is_no_program(
    start: Start, tmp_path: Path, options: list[str], command: list[str], told: str
) -> None:
    program = tmp_path / "program"
    program.write_text("#!/no/where/php\n")
    program.chmod(0o755)
    words = [word.format(folder=tmp_path) for word in command]
    bridge = start("run", "--pool-size", 1, *options, "--", *words)
    bridge.until(lambda: re.search(told.encode(), bridge.log), "the reason")
    bridge.finish()
    assert b"hunter2" not in bridge.log
