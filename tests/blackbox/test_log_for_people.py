"""What the log says to whoever has to mend something."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.daemon.serving import Daemon, read
from support.process import COMMAND, environment
from support.programs.bad import CHAMELEON

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
            ["/bin/true", "2>>/var/log/swordfish"],
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
    assert b"swordfish" not in bridge.log


def test_a_reload_switches_the_verdicts_on_and_off(serve: Callable[..., Daemon], tmp_path: Path) -> None:
    """For a client that is connected, and whatever the level is."""
    file = tmp_path / "auth.toml"

    def write(verdicts: str) -> None:
        keys = f"program = {json.dumps(CHAMELEON)}\npool_size = 1\nstatus_listen = '{tmp_path}/status.sock'\n"
        file.write_text(f"{keys}[log]\nlevel = 'error'\ntarget = 'file:{tmp_path}/log'\nverdicts = '{verdicts}'\n")

    def question(user: str) -> None:
        client.sendall(f"auth:{user}:example.com:hunter2\n".encode())
        assert read(client, 2) == b"0\n"

    write("none")
    client = serve(file=file).connect()
    question("no-one")
    for verdicts, user in (("failed", "no-two"), ("none", "no-three")):
        write(verdicts)
        words = [*COMMAND, "reload", str(tmp_path / "status.sock")]
        subprocess.run(words, env=environment(), check=True, capture_output=True, timeout=60)
        question(user)
    (line,) = (tmp_path / "log").read_text().splitlines()
    assert re.search(r'verdict=denied command=auth ms=\d+ account="no-two@example.com"$', line)
