"""A real ejabberd on loopback, in a directory of its own, and questions to it; nothing of it outlives its test.

It is started without Debian's script, which would change to the user `ejabberd` and to that user's files, and without
epmd: the node listens on a port of its own.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Self

from support import procfs
from support.components import command, missing
from support.ports import free_ports
from support.process import MARK

PATIENCE = 180.0
"""Seconds; reached only by a test that fails: beside a dozen busy processes ejabberd's start takes a minute."""

ASK = Path(__file__).with_name("ask.escript")


class Ejabberd:
    """A node that serves these hosts, each with an authentication program; stopped at the end of a `with`.

    Args:
      folder: for all its files; created.
      programs: the command of each host.
      pool: how many of each; ejabberd starts as many as there are CPUs if it is not told.
      cached: the hosts whose answers it remembers, as it does by default.
    """

    def __init__(
        self, folder: Path, programs: Mapping[str, Sequence[str]], *, pool: int = 1, cached: Collection[str] = ()
    ) -> None:
        folder.mkdir()
        self.log = folder / "ejabberd.log"
        self.port, distribution = free_ports(2)
        self._mark = uuid.uuid4().hex
        self._open: dict[str, str | None] = {}  # each question's answer, by tag
        self._half = b""
        name = f"witness{os.getpid()}@127.0.0.1"
        file = folder / "ejabberd.yml"
        file.write_text(json.dumps(self._configuration(programs, pool, cached)))  # which is YAML, too
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),  # where the cookie is
            "ERL_LIBS": self.libraries(),
            "ERL_FLAGS": f"-start_epmd false -erl_epmd_port {distribution}",
            "ERL_CRASH_DUMP_BYTES": "0",  # it would hold passwords
            "EJABBERD_CONFIG_PATH": str(file),
            "EJABBERD_LOG_PATH": str(self.log),
            MARK: self._mark,
        }
        local = ["-kernel", "inet_dist_use_interface", "{127,0,0,1}", "-mnesia", "dir", json.dumps(f"{folder}/spool")]
        erl = [command("erl", "ejabberd"), "-noinput", "-name", name, *local, "-s", "ejabberd"]
        with open(folder / "output", "wb") as output:
            self.node = subprocess.Popen(erl, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            self._wait_until_up()
            asking = [command("escript", "ejabberd"), str(ASK), name]
            self._asker = subprocess.Popen(
                asking, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0
            )
            self._read_until(lambda: "up" in self._open)
        except BaseException:
            self.stop()
            raise

    @staticmethod
    def libraries() -> str:
        found = next(Path("/usr/lib").glob("*/ejabberd-*/ebin/ejabberd.beam"), None)
        return str(found.parents[2]) if found else missing("ejabberd", "ejabberd")

    def _configuration(
        self, programs: Mapping[str, Sequence[str]], pool: int, cached: Collection[str]
    ) -> dict[str, object]:
        def host(name: str) -> dict[str, object]:
            program = {"extauth_program": " ".join(programs[name]), "extauth_pool_size": pool}
            return {"auth_method": ["external"], "auth_use_cache": name in cached, **program}

        listener = {"port": self.port, "ip": "127.0.0.1", "module": "ejabberd_c2s", "max_stanza_size": 262144}
        return {
            "hosts": list(programs),
            "listen": [listener],
            "host_config": {name: host(name) for name in programs},
            "modules": {},
        }

    def _wait_until_up(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while not (self.log.exists() and "Start accepting TCP connections" in self.log.read_text()):
            assert self.node.poll() is None, f"ejabberd has gone: {self.log.with_name('output').read_text()}"
            assert time.monotonic() < deadline, "ejabberd does not come up"
            time.sleep(0.02)

    # --- questions ---------------------------------------------------------------------------------------

    def put(self, name: str, *fields: bytes) -> str:
        """Ask what `ejabberd_auth` is asked by ejabberd's sessions; returns the question's tag.

        Args:
          name: of the command that its program would be sent.
          fields: user, host and, where there is one, the secret.
        """
        tag = str(len(self._open))
        self._open[tag] = None
        words = [field.hex() or "-" for field in (*fields, b"")[:3]]
        assert self._asker.stdin is not None
        data = memoryview(f"{tag} {name} {' '.join(words)}\n".encode())
        while data:
            data = data[self._asker.stdin.write(data) :]
        return tag

    def answer(self, tag: str, seconds: float = PATIENCE) -> str:
        """Wait for this answer: `yes`, `no`, `no` and ejabberd's reason, or `failed` if it crashed.

        Raises:
          TimeoutError: there is none yet.
        """
        self._read_until(lambda: self._open[tag] is not None, seconds)
        return self._open[tag] or ""

    def ask(self, name: str, *fields: bytes) -> str:
        """One question, one answer."""
        return self.answer(self.put(name, *fields))

    def _read_until(self, true: Callable[[], bool], seconds: float = PATIENCE) -> None:
        deadline = time.monotonic() + seconds
        assert self._asker.stdout is not None
        while not true():
            left = deadline - time.monotonic()
            if left < 0 or not select.select([self._asker.stdout], [], [], left)[0]:
                raise TimeoutError("ejabberd has not answered")
            data = self._asker.stdout.read(65536)
            assert data, "whoever asks ejabberd has gone"
            *lines, self._half = (self._half + data).split(b"\n")
            for line in lines:
                tag, _, verdict = line.decode().partition(" ")
                self._open[tag] = verdict

    # --- the end -----------------------------------------------------------------------------------------

    def everybody(self) -> list[int]:
        """The pids of all its living processes."""
        return procfs.having(MARK, self._mark)

    def stop(self, leaves: int = 0) -> list[list[str]]:
        """Stop it as its administrator would; returns the commands of what was left and had to be killed.

        Erlang's own helpers end with the node, within moments.

        Args:
          leaves: how many processes are known to stay: all others are waited for, however long they take.
        """
        self.node.terminate()
        try:
            self.node.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.node.kill()
            self.node.wait()
        if hasattr(self, "_asker"):
            self._asker.kill()
            self._asker.communicate()
        deadline = time.monotonic() + (PATIENCE if leaves else 1)
        while len(left := self.everybody()) > leaves and time.monotonic() < deadline:
            time.sleep(0.02)
        commands = [procfs.arguments(pid) for pid in left]
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return commands

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
