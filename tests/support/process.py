"""A bridge under test: the real command on real pipes, seen only from outside.

    bridge = Bridge("run", "--pool-size", 4, "--", *program)
    assert bridge.ask(b"isuser:alice:example.com").verdict == "1"
    bridge.finish()

Every wait is a poll(2) on the bridge's output, log and exit, with a deadline; whatever the bridge prints is
checked to be `0` or `1`, a line each, the moment it comes.
"""

import contextlib
import fcntl
import os
import select
import signal
import socket
import subprocess
import sys
import termios
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from support import canary, procfs

ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-m", "bridge")

# Of the bridge and of all that it starts, so that they are found wherever they went.
MARK = "EXTAUTH_TEST_RUN"

# Generous: reached only by a test that fails.
PATIENCE = 20.0

# A supervisor of the test run itself must not be mistaken for one of the bridge.
FOREIGN = {"JOURNAL_STREAM", "INVOCATION_ID", "NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"}


class Answer(NamedTuple):
    """`seconds` from the moment the line was written in full to the moment its answer was read."""

    verdict: str
    seconds: float


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a command under test: this process's own, the checkout's package first."""
    kept = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    path = os.pathsep.join(filter(None, (str(ROOT), kept.get("PYTHONPATH"))))
    return {**kept, "PYTHONPATH": path, **(extra or {})}


class Bridge:
    """One running bridge.

    Args:
      arguments: those after `extauth-bridge`; converted by `str`.
      env: added to the environment.
      stdin, stdout: descriptors for the child; None makes a pipe with its other end here.
      ends: where stdin or stdout is given, this side's (write, read) descriptors, taken over;
        twice the same one for a socket.
      prepare: called in the child before exec, for signals and limits.
      pass_fds: further descriptors that the bridge inherits.
      command: what to run instead of `python -m bridge`.
    """

    def __init__(
        self,
        *arguments: object,
        env: Mapping[str, str] | None = None,
        stdin: int | None = None,
        stdout: int | None = None,
        ends: tuple[int | None, int | None] = (None, None),
        prepare: Callable[[], None] | None = None,
        pass_fds: Sequence[int] = (),
        cwd: Path | None = None,
        command: Sequence[str] = COMMAND,
    ) -> None:
        self.mark = uuid.uuid4().hex
        self.log = bytearray()
        self.raw = bytearray()  # all that came on stdout
        self.verdicts: list[str] = []
        self._sent_at: list[float] = []
        self._answered_at: list[float] = []
        self._parsed = 0
        self._outgoing = bytearray()
        self._written = 0  # bytes, ever
        self._ends: list[int] = []  # of each line, in bytes ever queued

        theirs: list[int] = []
        self._input, self._output = ends
        if stdin is None:
            stdin, self._input = os.pipe()
            theirs.append(stdin)
        if stdout is None:
            self._output, stdout = os.pipe()
            theirs.append(stdout)
        self._errors: int | None
        self._errors, stderr = os.pipe()
        theirs.append(stderr)
        for mine in (self._input, self._output, self._errors):
            if mine is not None:
                os.set_blocking(mine, False)
        self.child = subprocess.Popen(
            [*command, *map(str, arguments)],
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env=environment({MARK: self.mark, **(env or {})}),
            cwd=cwd or ROOT,
            pass_fds=pass_fds,
            preexec_fn=prepare,  # noqa: PLW1509 (no threads here)
            start_new_session=True,
            restore_signals=prepare is None,
        )
        for descriptor in theirs:
            os.close(descriptor)
        self.pid = self.child.pid
        self._exit = os.pidfd_open(self.pid)

    # --- talking -----------------------------------------------------------------------------------------

    def queue(self, line: bytes, end: bytes = b"\n") -> None:
        """Queue one line for `pump` to send."""
        self._outgoing += line + end
        self._ends.append(self._written + len(self._outgoing))

    def send(self, data: bytes, *, lines: int | None = None, seconds: float = PATIENCE) -> None:
        """Send bytes as they are; `lines`: how many answers they ask for, by default the number of `\\n`."""
        self._outgoing += data
        for _ in range(data.count(b"\n") if lines is None else lines):
            self._ends.append(self._written + len(self._outgoing))
        self.until(lambda: not self._outgoing, "the bridge to read its input", seconds)

    def expect(self, lines: int) -> None:
        """This many lines reach the bridge other than through this class."""
        self._ends += [0] * lines

    def converse(
        self,
        lines: Sequence[bytes],
        *,
        in_flight: int = 200,
        seconds: float = 60,
        every: Callable[[], None] | None = None,
    ) -> list[Answer]:
        """Send lines, at most `in_flight` of them unanswered; returns the answers in order, with their times.

        `every` is called each time something has come back.
        """
        first, given = len(self.verdicts), 0
        assert first == len(self._ends), "an earlier line has no answer yet"
        deadline = time.monotonic() + seconds
        while (done := len(self.verdicts) - first) < len(lines):
            for line in lines[given : done + in_flight]:
                self.queue(line)
                given += 1
            left = deadline - time.monotonic()
            if left < 0 or self._output is None or not self.pump(left):
                raise AssertionError(f"{done} answers to {given} of {len(lines)} lines; {self.tail()}")
            if every is not None and len(self.verdicts) - first > done:
                every()
        return self.answers(first)

    def ask(self, line: bytes, seconds: float = PATIENCE) -> Answer:
        """One line, one answer."""
        return self.converse([line], seconds=seconds)[0]

    def wait_until_up(self) -> None:
        """Wait for the answer to a line that needs no program: later times do not include the start."""
        assert self.ask(b"a line to be refused").verdict == "0"

    def answers(self, first: int = 0) -> list[Answer]:
        """The answers so far, from number `first` on."""
        rows = zip(self.verdicts[first:], self._answered_at[first:], self._sent_at[first:], strict=False)
        return [Answer(verdict, came - sent) for verdict, came, sent in rows]

    @property
    def sent(self) -> int:
        """How many lines have been written in full."""
        return len(self._sent_at)

    @property
    def unread(self) -> int:
        """Bytes of the input, a pipe, that the bridge has not read yet."""
        assert self._input is not None
        return int.from_bytes(fcntl.ioctl(self._input, termios.FIONREAD, b"\0" * 4), sys.byteorder)

    def wait_for_answers(self, count: int, seconds: float = PATIENCE) -> list[Answer]:
        """Wait until `count` answers have come in all."""
        self.until(lambda: len(self.verdicts) >= count, f"{count} answers", seconds)
        return self.answers()

    def watches_input(self) -> bool:
        """Whether it wants to know of input: an epoll instance of it has the pipe that we write to."""
        assert self._input is not None
        pipe = f" ino:{os.fstat(self._input).st_ino:x} "
        infos = Path(f"/proc/{self.pid}/fdinfo")
        descriptors = [number for number, name in procfs.descriptors(self.pid).items() if "eventpoll" in name]
        return any(pipe in (infos / str(number)).read_text() for number in descriptors)

    def close_input(self) -> None:
        """End the input.  What is queued must have been sent."""
        assert not self._outgoing
        if self._input is None:
            return
        if self._input == self._output:
            with socket.socket(fileno=os.dup(self._input)) as both:
                both.shutdown(socket.SHUT_WR)
        else:
            os.close(self._input)
        self._input = None

    def close_output(self) -> None:
        """The reader of the answers goes away."""
        if self._output is not None:
            os.close(self._output)
            self._output = None

    # --- waiting -----------------------------------------------------------------------------------------

    def pump(self, timeout: float, *, read: bool = True) -> bool:
        """Move bytes until something has moved or `timeout` seconds are over; was there anything?

        With `read` false the answers stay where they are.
        """
        wanted: dict[int, int] = {}  # a socket may be the input and the output at once
        if self._errors is not None:
            wanted[self._errors] = select.POLLIN
        if self.child.returncode is None:
            wanted[self._exit] = select.POLLIN
        if self._output is not None and read:
            wanted[self._output] = select.POLLIN
        if self._input is not None and self._outgoing:
            wanted[self._input] = wanted.get(self._input, 0) | select.POLLOUT
        poll = select.poll()
        for descriptor, events in wanted.items():
            poll.register(descriptor, events)
        ready = poll.poll(max(0, timeout) * 1000)
        for descriptor, events in ready:
            if descriptor == self._errors:
                self._drain_errors()
            elif descriptor == self._exit:
                self.child.poll()
            else:
                if descriptor == self._output and events & ~select.POLLOUT:
                    self._receive()
                if descriptor == self._input and events & ~select.POLLIN:
                    self._transmit()
        return bool(ready)

    def until(self, condition: Callable[[], object], what: str, seconds: float = PATIENCE) -> None:
        """Pump until `condition` holds.

        What /proc shows has no descriptor to wait on, so the condition is also checked every 10 ms.
        """
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"waited {seconds} s for {what}; {self.tail()}")
            self.pump(0.01)

    def wait(self, seconds: float = PATIENCE) -> int:
        """Wait for the bridge to exit; its exit status."""
        self.until(lambda: self.child.returncode is not None, "the bridge to exit", seconds)
        self._receive()
        self._drain_errors()
        return self.child.returncode

    def finish(self, seconds: float = PATIENCE) -> None:
        """End the input, and check everything that must hold afterwards."""
        self.until(lambda: not self._outgoing, "the bridge to read its input", seconds)
        canary.look_at_processes()
        self.close_input()
        status = self.wait(seconds)
        assert status == 0, f"exit status {status}; {self.tail()}"
        assert len(self.verdicts) == len(self._ends), f"{len(self.verdicts)} answers, {len(self._ends)} lines"
        self.check_nothing_left()

    def check_nothing_left(self) -> None:
        """The bridge is gone: so are all processes it started, and it left no half line and no traceback."""
        assert self._parsed == len(self.raw), f"half an answer at the end: {bytes(self.raw[self._parsed :])!r}"
        assert b"Traceback" not in self.log, self.tail()
        self.until(lambda: not self.everybody(), "all programs to be gone", 1)

    # --- looking -----------------------------------------------------------------------------------------

    def everybody(self) -> list[int]:
        """The pids of all living processes of this run, in any session and group, except the bridge."""
        return [pid for pid in procfs.having(MARK, self.mark) if pid != self.pid]

    def programs(self) -> list[int]:
        """The pids of the programs: living children of the bridge, but for what trio starts to find a library."""
        own = procfs.process(self.pid)
        living = [child for child in procfs.children(self.pid) if not child.is_zombie]
        return [child.pid for child in living if own is None or child.session != own.session]

    def wait_for_programs(self, count: int, seconds: float = PATIENCE) -> list[int]:
        """Wait until exactly this many programs live and run their own code; returns their pids."""
        pids: list[int] = []

        def settled() -> bool:
            pids[:] = self.programs()
            # In the middle of its execve a process has no arguments at all.
            arguments = [procfs.arguments(pid) for pid in pids]
            return len(arguments) == count and all(words and words[1:3] != ["-m", "bridge"] for words in arguments)

        self.until(settled, f"{count} programs", seconds)
        return pids

    def wait_for_deaths(self, pids: Iterable[int], seconds: float = PATIENCE) -> None:
        """Wait until these processes are gone; a zombie is not gone while the bridge could reap it."""
        pids = list(pids)
        self.until(lambda: not any(map(procfs.process, pids)), f"the end of {pids}", seconds)

    def zombies(self) -> list[int]:
        """Children that have exited and that the bridge has not reaped."""
        return [child.pid for child in procfs.children(self.pid) if child.is_zombie]

    def descriptors(self) -> int:
        """How many descriptors the bridge has open."""
        return len(procfs.descriptors(self.pid))

    def memory(self, field: str = "VmRSS") -> int:
        """KiB, see support.procfs.memory."""
        return procfs.memory(self.pid, field)

    def tail(self) -> str:
        """The end of the log, for a failure's message."""
        return f"exit status {self.child.poll()}, log ends: {bytes(self.log[-1500:]).decode(errors='replace')}"

    # --- signals and the end -----------------------------------------------------------------------------

    def signal(self, number: int) -> None:
        self.child.send_signal(number)

    def destroy(self) -> None:
        """Kill what is left and release everything, at the end of a test, passed or failed."""
        canary.look(self.log, "the log of a bridge")
        canary.look(self.raw, "the answers of a bridge")
        if self.child.poll() is None:
            self.child.kill()
        self.child.wait()
        deadline = time.monotonic() + 5
        while (left := self.everybody()) and time.monotonic() < deadline:
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        for descriptor in {self._input, self._output, self._errors, self._exit}:
            if descriptor is not None:
                os.close(descriptor)

    # --- inside ------------------------------------------------------------------------------------------

    def _drain_errors(self) -> None:
        self._errors = self._drain(self._errors, self.log)

    @staticmethod
    def _drain(descriptor: int | None, into: bytearray) -> int | None:
        """Read what has arrived; returns the descriptor, or None after its end, which poll(2) would report for ever."""
        if descriptor is None:
            return None
        try:
            while data := os.read(descriptor, 65536):
                into += data
        except BlockingIOError:
            return descriptor
        except ConnectionResetError:
            pass
        os.close(descriptor)
        return None

    def _receive(self) -> None:
        self._output = self._drain(self._output, self.raw)
        now = time.monotonic()
        pieces = bytes(self.raw[self._parsed :]).split(b"\n")
        for piece in pieces[:-1]:
            assert piece in (b"0", b"1"), f"the bridge wrote {piece!r}"
            self.verdicts.append(piece.decode())
            self._answered_at.append(now)
            self._parsed += 2
        assert len(self.verdicts) <= len(self._ends), f"{len(self.verdicts)} answers, {len(self._ends)} lines"

    def _transmit(self) -> None:
        assert self._input is not None
        try:
            count = os.write(self._input, self._outgoing[:65536])
        except BlockingIOError:
            return
        except (BrokenPipeError, ConnectionResetError):
            count = len(self._outgoing)  # nobody reads any more; whether that is right, the exit status tells
        del self._outgoing[:count]
        self._written += count
        now = time.monotonic()
        while len(self._sent_at) < len(self._ends) and self._ends[len(self._sent_at)] <= self._written:
            self._sent_at.append(now)
