"""The test's side of a client on a pty: Debian's lpty under Lua (`lua`), or the emulation of lpty 1.2 (`emulation`).

What a read returned is compared whole, as Prosody does: `1` or `0`, one optional `\\r`, one optional `\\n`.  Anything
else, a reply in two pieces too, is garbage to it, and so it is here.
"""

import contextlib
import fcntl
import os
import re
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import attrs

from support.components import command, missing

HERE = Path(__file__).parent
PROSODY_LUA = HERE.parents[1] / "pty" / "prosody.lua"
EMULATION = HERE / "client.py"

# Seconds, far above anything that happens on a loaded machine; reached only when a test fails.
PATIENCE = float(os.environ.get("PTY_TESTS_PATIENCE", "20"))
# What the clients wait for a reply by default: Prosody's external_auth_timeout.
PROSODY_TIMEOUT = 5.0


@attrs.frozen
class Reply:
    """What the client saw for one query."""

    kind: str  # "reply", "none" (timeout or interrupted) or "dead" (the module never starts that helper again)
    text: bytes = b""
    why: str = ""

    @property
    def verdict(self) -> str:
        """`1`, `0`, `none`, `dead`, or `garbage` for what Prosody cannot interpret."""
        if self.kind != "reply":
            return self.kind
        match = re.fullmatch(rb"([01])\r?\n?", self.text)
        return match[1].decode() if match else "garbage"


class Client:
    """One client process with its helpers.  Close it: the clients die by SIGKILL, as a crashed Prosody does."""

    def __init__(self, argv: Sequence[str | os.PathLike[str]], *, blocking: bool = True, **popen: object) -> None:
        self.blocking = blocking
        self.process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, start_new_session=True, **popen
        )
        self.buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Kill the client, and reap it."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()

    # -- the line protocol of both clients --

    def command(self, *words: object) -> None:
        """Send one command."""
        assert self.process.stdin is not None
        self.process.stdin.write(" ".join(map(str, words)).encode() + b"\n")

    def line(self, patience: float = PATIENCE) -> list[str]:
        """The next line the client says, in words; raises TimeoutError after `patience` seconds."""
        assert self.process.stdout is not None
        end = time.monotonic() + patience
        while b"\n" not in self.buffer:
            if not select.select([self.process.stdout], [], [], max(0.0, end - time.monotonic()))[0]:
                raise TimeoutError(f"the client said nothing for {patience} s")
            data = self.process.stdout.read(65536)
            if not data:
                raise EOFError(f"the client ended with status {self.process.wait()}")
            self.buffer += data
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line.decode().split()

    def expect(self, word: str, patience: float = PATIENCE) -> list[str]:
        """The words after `word` and the helper's number."""
        words = self.line(patience)
        assert words[0] == word, f"expected {word}, the client said {' '.join(words)}"
        return words[2:]

    def call(self, name: str, helper: int, *arguments: object) -> list[str]:
        """A command whose answer begins with the same word, or with `ok`."""
        self.command(name, helper, *arguments)
        words = self.line()
        assert words[0] in (name, "ok"), " ".join(words)
        return words[2:]

    # -- queries --

    def begin(self, line: bytes, timeout: float = PROSODY_TIMEOUT, helper: int = 0) -> None:
        """Send a query as the module does, starting the helper if need be; returns when it has been written."""
        self.command("query", helper, timeout, line.hex())
        self.expect("sent")

    def finish(self) -> Reply:
        """The reply to what `begin` sent."""
        return parse(self.line())

    def query(self, line: bytes, timeout: float = PROSODY_TIMEOUT, helper: int = 0) -> Reply:
        """A query and its reply."""
        self.command("query", helper, timeout, line.hex())
        words = self.line()
        return parse(self.line() if words[0] == "sent" else words)

    def ask(self, text: str, timeout: float = PROSODY_TIMEOUT, helper: int = 0) -> str:
        """The verdict on a line given without its newline."""
        return self.query(text.encode() + b"\n", timeout, helper).verdict

    def queries(self, texts: Sequence[str], timeout: float = PROSODY_TIMEOUT, helper: int = 0) -> list[str]:
        """Verdicts on queries the client asks in a row, without going back to its main loop between them."""
        if not texts:
            return []
        self.command("queries", helper, timeout, *((text + "\n").encode().hex() for text in texts))
        words = self.line(PATIENCE + len(texts) * timeout)
        assert words[0] == "replies", " ".join(words)
        replies = []
        for word in words[2:]:
            kind, _, rest = word.partition(":")
            replies.append(parse([kind, str(helper), rest]).verdict)
        return replies

    def send(self, data: bytes, helper: int = 0) -> None:
        """Bytes to the helper, nothing waits for a reply."""
        self.call("send", helper, data.hex())

    def read(self, timeout: float = PROSODY_TIMEOUT, helper: int = 0) -> Reply:
        """One read of the client."""
        self.command("read", helper, timeout)
        return parse(self.line())

    def start(self, helper: int = 0) -> None:
        """Start the helper before the first query (the echo race cannot happen then)."""
        self.call("start", helper)

    def status(self, helper: int = 0) -> str:
        """`running`, `exit 0`, `sig 15`, `never`."""
        return " ".join(self.call("status", helper))

    # -- looking at the client --

    def until_asleep(self) -> None:
        """Return when the client, which has said `sent`, sleeps: in its wait for the reply, there is nothing else."""
        end = time.monotonic() + PATIENCE
        while self.state() != "S":
            if time.monotonic() > end:
                raise TimeoutError("the client never waits")
            time.sleep(0.001)

    def state(self) -> str:
        """The scheduler's letter for the client; everybody may read that."""
        return Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(") ")[2][0]

    def children(self) -> list[int]:
        """Processes the client started that have not been reaped."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(word) for word in path.read_text().split()]

    def tty(self, helper: int = 0) -> str:
        """Path of the terminal."""
        return self.call("tty", helper)[0]

    def until_echo_is_off(self, helper: int = 0) -> None:
        """Return when the child has switched it off: queries from here on do not come back."""
        self._until(helper, lambda terminal: not termios.tcgetattr(terminal)[3] & termios.ECHO, "the echo stays on")

    def until_no_echo(self, line: bytes, first: Reply, helper: int = 0) -> None:
        """Return when all of the first line's echo has been read, if it came back at all, and there will be no other.

        The kernel echoes byte by byte, and a read may come in between.  One that does not wait gets no answer.
        """
        self.until_echo_is_off(helper)
        echo, end = first.text, time.monotonic() + PATIENCE
        while first.verdict == "garbage" and len(echo) < len(line) + 1:
            assert time.monotonic() < end, f"no echo: {echo!r}"
            echo += self.read(0.0, helper).text
        assert first.verdict != "garbage" or echo == line.replace(b"\n", b"\r\n"), "no echo"

    def until_read(self, helper: int = 0) -> None:
        """Return when the helper has read all that was written to it."""

        def is_read(terminal: int) -> bool:
            return not any(fcntl.ioctl(terminal, termios.FIONREAD, bytes(4)))

        self._until(helper, is_read, "the helper does not read")

    def _until(self, helper: int, condition: Callable[[int], bool], otherwise: str) -> None:
        """Wait until this is true of the helper's side of its terminal."""
        terminal = os.open(self.tty(helper), os.O_RDONLY | os.O_NOCTTY)
        end = time.monotonic() + PATIENCE
        try:
            while not condition(terminal):
                if time.monotonic() > end:
                    raise TimeoutError(otherwise)
                time.sleep(0.0005)
        finally:
            os.close(terminal)

    interruption = signal.SIGHUP

    def interrupt(self) -> Reply:
        """A reload while the client waits for the reply to what `begin` sent."""
        self.until_asleep()
        self.process.send_signal(self.interruption)
        return self.finish()


class LuaClient(Client):
    """The real lpty; SIGCHLD interrupts its select(2)."""

    interruption = signal.SIGCHLD

    def __init__(self, path: Path, helpers: int = 1) -> None:
        lua = command("lua5.2", "lua5.2")
        if subprocess.run([lua, "-e", "require 'lpty'"], check=False, capture_output=True).returncode:
            missing("lpty for lua5.2", "lua-lpty")
        super().__init__([lua, PROSODY_LUA, path, str(helpers)])

    def __repr__(self) -> str:
        return "lua"


class Emulation(Client):
    """The emulation; see client.py for its options."""

    def __init__(self, path: Path, *options: str, helpers: int = 1, env: dict[str, str] | None = None) -> None:
        super().__init__(
            [sys.executable, "-I", EMULATION, path, "--helpers", str(helpers), *options],
            blocking="--no-blocking" not in options,
            env=env,
        )

    def pieces(self, gap: float, *pieces: bytes) -> Reply:
        """Write one query in pieces, `gap` seconds apart; the reply."""
        self.command("pieces", 0, gap, PROSODY_TIMEOUT, *(piece.hex() for piece in pieces))
        return self.finish()

    def lazy(self, line: bytes, seconds: float) -> Reply:
        """A query by a client that is busy for some time before it waits for the reply."""
        self.command("lazy", 0, seconds, PROSODY_TIMEOUT, line.hex())
        self.expect("sent")
        return self.finish()

    def pending(self, helper: int = 0) -> int:
        """Bytes that the next read would find."""
        return int(self.call("pending", helper)[0])

    def pid(self, helper: int = 0) -> int:
        """Process id of the helper's command (of the wrapper, if it does not exec)."""
        return int(self.call("pid", helper)[0])

    def settings(self, helper: int = 0) -> str:
        """Everything about the terminal, to be compared."""
        return self.call("settings", helper)[0]

    def hangup(self, helper: int = 0) -> None:
        """Close the master, and live on."""
        self.call("hangup", helper)

    def wait(self, helper: int = 0) -> str:
        """How the helper ended; `running` if it does not within PATIENCE."""
        self.command("wait", helper, PATIENCE)
        return " ".join(self.line(2 * PATIENCE)[2:])

    @contextlib.contextmanager
    def in_database(self, fifo: Path, helper: int = 0) -> Iterator[None]:
        """Meanwhile the client is in poll(2) on something that has nothing to do with its helpers."""
        os.mkfifo(fifo)
        self.command("database", helper, fifo)
        # Opening waits for the client's end; its poll(2) is the only place to sleep after that.
        with open(fifo, "wb", buffering=0) as pipe:
            self.expect("sent")
            self.until_asleep()
            yield
            pipe.write(b".")
            self.expect("ok")


def parse(words: list[str]) -> Reply:
    """`reply H TEXT`, `none H why`, `dead H kind code`."""
    kind, _, *rest = words
    if kind == "reply":
        return Reply(kind, text=bytes.fromhex(rest[0]) if rest else b"")
    assert kind in ("none", "dead"), " ".join(words)
    return Reply(kind, why=" ".join(rest))
