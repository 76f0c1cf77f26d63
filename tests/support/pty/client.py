"""An emulation of Prosody with lpty 1.2: holds the pty's master, starts the helper, asks as mod_auth_external does.

It is a process of its own, the parent of the helper, and takes commands on stdin, one a line; the first argument is
always the number of the helper (every VirtualHost has its own), texts are in hexadecimal, times in seconds:

    query H TIMEOUT TEXT        as the module asks; says `sent H`, then `reply H TEXT`, `none H why`, `dead H kind code`
    queries H TIMEOUT TEXT…     one after the other without a visit to the main loop; says `replies H RESULT…`
    pieces H GAP TIMEOUT TEXT…  one query, written in pieces with GAP between them
    lazy H SECONDS TIMEOUT TEXT a query, then busy with something else (on the CPU) before it waits
    send H TEXT · read H TIMEOUT · pending H (bytes that could be read, without reading) · start H
    database H PATH             poll(2) on the FIFO at PATH, as a database driver would, until a byte comes
    status H · pid H · master H · slave H · tty H · settings H (of the terminal, JSON)
    hangup H (close the master and the slave) · wait H TIMEOUT (for the end of the helper)
    inherited H                 port and inodes of what the helper inherits

Between commands it sleeps in its main loop (epoll_wait over stdin, a listening socket and a client's socket).
In non-blocking mode (`--no-blocking`) it also waits for the reply there, the master being in the set only meanwhile.
SIGHUP is Prosody's reload: it interrupts the wait for a reply.
"""

import argparse
import contextlib
import fcntl
import json
import os
import pty
import select
import signal
import socket
import struct
import sys
import termios
import time
import traceback
from typing import Any

# Reads of the module are up to this long (lpty's READER_BUFSIZ).
READ_SIZE = 4096


class InterruptedWait(Exception):
    """SIGHUP came while a reply was waited for."""


def say(*words: object) -> None:
    """One line to the test."""
    print(*words, flush=True)


class Helper:
    """One pty and the command on it, as an lpty object has them."""

    def __init__(self, number: int, options: argparse.Namespace) -> None:
        self.number = number
        self.options = options
        # Inherited by the helper, like its slave and everything else here: lpty sets no close-on-exec.
        self.master, self.slave = pty.openpty()
        os.set_inheritable(self.master, True)
        os.set_inheritable(self.slave, True)
        self.pid: int | None = None
        self.exit: tuple[str, int] | None = None

    def prepare_terminal(self) -> None:
        """What lpty does with the terminal in the child, after the fork: too late for a fast parent."""
        settings = termios.tcgetattr(self.slave)
        if not self.options.echo:
            settings[3] &= ~termios.ECHO
        if not self.options.icanon:
            settings[3] &= ~termios.ICANON
            settings[6][termios.VMIN], settings[6][termios.VTIME] = 1, 0
        termios.tcsetattr(self.slave, termios.TCSANOW, settings)

    def start(self, race_with: bytes | None = None) -> None:
        """Fork and execve.  With `race_with`, that is written, and echoed, before the child switches the echo off."""
        ready, go = os.pipe()
        self.exit = None
        self.pid = os.fork()
        if self.pid == 0:
            self.become_helper(ready, go)
        os.close(ready)
        if race_with is not None:
            self.write(race_with)
            # The echo runs in a kernel worker: the child may go on only when it is there to be read.
            if not select.select([self.master], [], [], 10)[0]:
                raise RuntimeError("no echo within 10 s")
        os.close(go)
        # The child is about to switch it off.  One query is raced, or none: the next login is never that quick.
        while not self.options.echo and termios.tcgetattr(self.slave)[3] & termios.ECHO:
            time.sleep(0.0005)

    def become_helper(self, ready: int, go: int) -> None:
        """The child's half of `start`; never returns."""
        try:
            os.close(go)
            os.read(ready, 1)
            os.close(ready)
            if self.options.ctty:
                os.setsid()
                fcntl.ioctl(self.slave, termios.TIOCSCTTY, 0)
            self.prepare_terminal()
            for descriptor in (0, 1, 2):
                os.dup2(self.slave, descriptor)
            if not self.options.ctty:
                os.setsid()
            signal.signal(signal.SIGHUP, signal.SIG_DFL)
            if self.options.echo:  # a terminal emulator is tidier than lpty
                os.closerange(3, 256)
            # No arguments, as lpty: the path alone.
            os.execve(self.options.command, [self.options.command], os.environ)
        except OSError as error:
            os.write(2, f"error: lpty failed to start child process: {error.strerror}".encode())
        finally:
            os._exit(1)

    def poll_exit(self, flags: int = os.WNOHANG) -> bool:
        """Whether the helper runs; notes how it ended."""
        if self.pid is None or self.exit is not None:
            return False
        pid, status = os.waitpid(self.pid, flags)
        if pid == 0:
            return True
        code = os.waitstatus_to_exitcode(status)
        self.exit = ("exit", code) if code >= 0 else ("sig", -code)
        return False

    def ensure(self, line: bytes) -> bool:
        """The module's start of a query; whether `line` has been written already.  Raises LookupError: never again."""
        if self.poll_exit():
            return False
        if self.exit is not None and self.exit != ("exit", 0):
            raise LookupError
        first = self.pid is None
        race = first and self.options.race
        self.start(line if race else None)
        return race

    def write(self, data: bytes) -> None:
        """Everything; lpty's send is one write(2) that the kernel takes whole up to some 60 kB."""
        while data:
            data = data[os.write(self.master, data) :]

    def read(self, timeout: float) -> str:
        """lpty's read(timeout): select(2) with master + 1, one read(2); `reply H TEXT` or `none H why`."""
        try:
            if not select.select([self.master], [], [], timeout)[0]:
                return f"none {self.number} timeout"
        except InterruptedWait:
            return f"none {self.number} interrupted"
        return self.take()

    def take(self) -> str:
        """One read(2)."""
        try:
            return f"reply {self.number} {os.read(self.master, READ_SIZE).hex()}"
        except OSError as error:
            return f"none {self.number} {error.strerror}"

    def query(self, timeout: float, line: bytes) -> str:
        """One query of the module in blocking mode."""
        try:
            written = self.ensure(line)
        except LookupError:
            assert self.exit is not None
            return f"dead {self.number} {self.exit[0]} {self.exit[1]}"
        if not written:
            self.write(line)
        say("sent", self.number)
        return self.read(timeout)


class Prosody:
    """The server: its helpers, the descriptors they inherit, its main loop."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.helpers = [Helper(number, options) for number in range(options.helpers)]
        self.waiting: set[int] = set()
        self.buffer = b""
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.user = socket.create_connection(self.listener.getsockname())
        self.session, _ = self.listener.accept()
        self.log = open(os.devnull, "ab")  # noqa: SIM115  (lives as long as the process)
        for thing in (self.listener, self.session, self.log):
            os.set_inheritable(thing.fileno(), True)
        self.epoll: select.epoll | None = None
        if options.loop == "epoll":
            self.epoll = select.epoll()
            for descriptor in self.watched():
                self.epoll.register(descriptor, select.EPOLLIN)
        # Only a wait for a reply may be cut short; a reload in the main loop is harmless.
        signal.signal(signal.SIGHUP, self.reload)
        self.may_interrupt = False

    def watched(self) -> list[int]:
        """What the main loop always looks at."""
        return [0, self.listener.fileno(), self.session.fileno()]

    def reload(self, *_: object) -> None:
        """SIGHUP."""
        if self.may_interrupt:
            self.may_interrupt = False
            raise InterruptedWait

    def run(self) -> None:
        """Serve until end of input."""
        while True:
            if self.epoll is not None:
                ready = [descriptor for descriptor, _ in self.epoll.poll()]
            else:
                ready = select.select(self.watched(), [], [])[0]
            for helper in self.helpers:
                if helper.master in ready and helper.number in self.waiting:
                    self.stop_waiting(helper)
                    say(helper.take())
            if 0 in ready:
                data = os.read(0, 1 << 20)
                if not data:
                    return
                *lines, self.buffer = (self.buffer + data).split(b"\n")
                for line in lines:
                    self.execute(line.decode().split())

    def execute(self, words: list[str]) -> None:
        """One command of the test."""
        name, number, *arguments = words
        helper = self.helpers[int(number)]
        self.may_interrupt = name in ("query", "read")
        result = getattr(self, f"do_{name}")(helper, *arguments)
        self.may_interrupt = False
        if result is not None:
            say(result)

    def start_waiting(self, helper: Helper) -> None:
        """Non-blocking mode: an event for the master, until the reply is there."""
        assert self.epoll is not None
        self.epoll.register(helper.master, select.EPOLLIN)
        self.waiting.add(helper.number)

    def stop_waiting(self, helper: Helper) -> None:
        """Takes the master out of the set."""
        assert self.epoll is not None
        self.epoll.unregister(helper.master)
        self.waiting.discard(helper.number)

    def do_query(self, helper: Helper, timeout: str, text: str) -> str | None:
        line = bytes.fromhex(text)
        if self.options.blocking:
            return helper.query(float(timeout), line)
        if not helper.ensure(line):
            helper.write(line)
        say("sent", helper.number)
        self.start_waiting(helper)
        return None

    def do_queries(self, helper: Helper, timeout: str, *texts: str) -> str:
        results = []
        for text in texts:
            helper.write(bytes.fromhex(text))
            kind, _, rest = helper.read(float(timeout)).split()
            results.append(f"{kind}:{rest}")
        return f"replies {helper.number} {' '.join(results)}"

    def do_pieces(self, helper: Helper, gap: str, timeout: str, *texts: str) -> str:
        began = time.monotonic()
        for number, text in enumerate(texts):
            if number:
                # A deadline, not a sleep of `gap` after each write: the bridge's 50 ms run from the first piece.
                time.sleep(max(0.0, began + number * float(gap) - time.monotonic()))
            helper.write(bytes.fromhex(text))
        return helper.read(float(timeout))

    def do_lazy(self, helper: Helper, seconds: str, timeout: str, text: str) -> str:
        helper.write(bytes.fromhex(text))
        say("sent", helper.number)
        end = time.monotonic() + float(seconds)
        while time.monotonic() < end:
            pass
        return helper.read(float(timeout))

    def do_send(self, helper: Helper, text: str) -> str:
        helper.write(bytes.fromhex(text))
        return f"ok {helper.number}"

    def do_start(self, helper: Helper) -> str:
        helper.start()
        return f"ok {helper.number}"

    def do_read(self, helper: Helper, timeout: str) -> str:
        return helper.read(float(timeout))

    def do_pending(self, helper: Helper) -> str:
        count = struct.unpack("i", fcntl.ioctl(helper.master, termios.FIONREAD, b"\0\0\0\0"))[0]
        return f"pending {helper.number} {count}"

    def do_database(self, helper: Helper, path: str) -> str:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        say("sent", helper.number)
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        poll.poll()
        os.close(descriptor)
        return f"ok {helper.number}"

    def do_status(self, helper: Helper) -> str:
        if helper.pid is None:
            return f"status {helper.number} never"
        if helper.poll_exit():
            return f"status {helper.number} running"
        assert helper.exit is not None
        return f"status {helper.number} {helper.exit[0]} {helper.exit[1]}"

    def do_pid(self, helper: Helper) -> str:
        return f"pid {helper.number} {helper.pid}"

    def do_master(self, helper: Helper) -> str:
        return f"master {helper.number} {helper.master}"

    def do_tty(self, helper: Helper) -> str:
        return f"tty {helper.number} {os.ttyname(helper.slave)}"

    def do_slave(self, helper: Helper) -> str:
        return f"slave {helper.number} {helper.slave}"

    def do_settings(self, helper: Helper) -> str:
        # On Linux a master answers for its slave.
        *flags, characters = termios.tcgetattr(helper.master)
        values: list[Any] = [*flags, [c.hex() if isinstance(c, bytes) else c for c in characters]]
        return f"settings {helper.number} {json.dumps(values, separators=(',', ':'))}"

    def do_hangup(self, helper: Helper) -> str:
        # The last holders of the master and, so that nothing keeps the pair alive, of the slave.
        os.close(helper.master)
        os.close(helper.slave)
        return f"ok {helper.number}"

    def do_wait(self, helper: Helper, timeout: str) -> str:
        assert helper.pid is not None
        with contextlib.suppress(ProcessLookupError):
            descriptor = os.pidfd_open(helper.pid)
            try:
                select.select([descriptor], [], [], float(timeout))
            finally:
                os.close(descriptor)
        return self.do_status(helper)

    def do_inherited(self, helper: Helper) -> str:
        inodes = [os.fstat(thing.fileno()).st_ino for thing in (self.listener, self.session)]
        return f"inherited {helper.number} {self.listener.getsockname()[1]} {inodes[0]} {inodes[1]}"


def main() -> None:
    """Command line: one option for each way in which clients differ."""
    parser = argparse.ArgumentParser()
    parser.add_argument("command")
    parser.add_argument("--helpers", type=int, default=1)
    parser.add_argument("--icanon", action="store_true", help="lpty 1.0 leaves line editing on")
    parser.add_argument("--echo", action="store_true", help="a person's terminal")
    parser.add_argument(
        "--race", action="store_true", help="the first query is written, and echoed, before the echo is off"
    )
    parser.add_argument("--ctty", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--blocking", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--loop", choices=["epoll", "select"], default="epoll")
    options = parser.parse_args()
    try:
        Prosody(options).run()
    except Exception:
        say("broken 0", traceback.format_exc().replace("\n", " | "))
        sys.exit(1)
    # Helpers are left to notice that their master is gone.


if __name__ == "__main__":
    main()
