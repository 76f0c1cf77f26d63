"""Prints how many people a second log in through Prosody's module, beside Prosody's own `internal_plain`.

    python tests/benchmarks/logins.py [--pairs 9] [--logins 1000] [--thirteen] [--module DIR]

A login is a connection, a stream, its features, SASL PLAIN, a success, and the end of the connection; sixteen are under
way at once.  Behind the module is a daemon with a program that costs next to nothing.  Server, client, daemon and
program share the machine's processors.

Prosody slows down with every session that it still holds: so every pair of rounds has a server of its own, which begins
with now one, now the other of its two hosts, and what counts is the median of the pairs' ratios.  Exit status: 0.
"""

import argparse
import base64
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from pathlib import Path
from select import EPOLLIN, epoll

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS))

import compiling  # noqa: E402 (what is imported from here on needs that path)
import report  # noqa: E402
from support.process import environment  # noqa: E402
from support.prosody.elsewhere import thirteen  # noqa: E402
from support.prosody.server import MODULE, Prosody  # noqa: E402
from support.prosody.site import Site  # noqa: E402

OWN = "localhost"  # the host with `internal_plain`
USER, PASSWORD = "alice", "secret-1"  # the program says yes to what ends in an odd byte
AT_ONCE = 16
WARM_UP = 200  # logins that do not count, on either host
PATIENCE = 20.0  # seconds; reached only by what hangs

STREAM = (
    "<?xml version='1.0'?><stream:stream to='{}' xmlns='jabber:client' "
    "xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>"
)
AUTH = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{}</auth>"


def log_in(port: int, host: str, count: int) -> float:
    """Logins a second of `count` of them; the client costs as little as Python allows."""
    stream = STREAM.format(host).encode()
    auth = AUTH.format(base64.b64encode(f"\0{USER}\0{PASSWORD}".encode()).decode()).encode()
    ready, people = epoll(), dict[int, tuple[socket.socket, bytes]]()

    def begin() -> None:
        one = socket.create_connection(("127.0.0.1", port))
        one.sendall(stream)
        people[one.fileno()] = (one, b"")
        ready.register(one, EPOLLIN)

    started, begun, done = time.perf_counter(), 0, 0
    for _ in range(min(AT_ONCE, count)):
        begin()
        begun += 1
    while done < count:
        events = deque(ready.poll(PATIENCE))
        assert events, "nothing more comes"
        for number, _ in events:
            one, heard = people[number]
            data = one.recv(4096)
            heard += data
            if heard.endswith(b"</stream:features>"):
                people[number] = (one, b"")
                one.sendall(auth)
            elif b"<success" in heard:
                del people[number]
                one.close()
                done += 1
                if begun < count:
                    begin()
                    begun += 1
            else:
                assert data and b"<failure" not in heard, heard
                people[number] = (one, heard)
    return count / (time.perf_counter() - started)


def processor_time(pid: int) -> float:
    """Seconds that a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def round_on(prosody: Prosody, host: str, count: int) -> tuple[float, float]:
    """Logins a second, and the server's microseconds for each."""
    log_in(prosody.port, host, WARM_UP)
    before = processor_time(prosody.pid)
    rate = log_in(prosody.port, host, count)
    return rate, (processor_time(prosody.pid) - before) / count * 1e6


def pair(program: Path, options: argparse.Namespace, *, ours_first: bool) -> dict[str, tuple[float, float]]:
    """A round on each host of a fresh server."""
    root = Path(tempfile.mkdtemp(prefix="xmpp-"))
    root.chmod(0o755)
    prosody = Prosody(root, system=thirteen() if options.thirteen else None, level="info")
    if options.module:
        shutil.copytree(options.module, prosody.plugins / f"mod_{MODULE}")
    else:
        install = [sys.executable, "-m", "bridge", "prosody-module", str(prosody.plugins)]
        subprocess.run(install, env=environment(), check=True, stdout=subprocess.DEVNULL)
    try:
        prosody.start()
        site = Site(prosody)
        site.configure()
        prosody.shell(f'user:create("{USER}@{OWN}", "{PASSWORD}")')
        site.serve([str(program)], level="info")
        order = [("module", site.host), ("internal_plain", OWN)]
        try:
            return {name: round_on(prosody, host, options.logins) for name, host in order[:: 1 if ours_first else -1]}
        finally:
            site.daemon.stop()
    finally:
        prosody.stop()
        shutil.rmtree(root)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=9, help="of rounds, each with a server of its own (default: 9)")
    parser.add_argument("--logins", type=int, default=1000, help="in a round (default: 1000)")
    parser.add_argument("--thirteen", action="store_true", help="Debian 13's Prosody instead of this machine's")
    parser.add_argument("--module", type=Path, metavar="DIR", help="another state of the module")
    return parser.parse_args()


def main() -> None:
    options = parse()
    program = compiling.build(Path(tempfile.mkdtemp(prefix="extauth-logins-"))) / "program"
    rows, ratios = [["pair", "internal_plain /s", "module /s", "ratio", "internal_plain µs", "module µs"]], []
    for number in range(options.pairs):
        found = pair(program, options, ours_first=number % 2 == 0)
        (own, own_cost), (ours, our_cost) = found["internal_plain"], found["module"]
        ratios.append(ours / own)
        rows.append(
            [str(number + 1), f"{own:.0f}", f"{ours:.0f}", f"{ours / own:.2f}", f"{own_cost:.0f}", f"{our_cost:.0f}"]
        )
        print(f"\r{number + 1} of {options.pairs}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    print(report.table(rows))
    print(
        f"\nThe module's rate is {statistics.median(ratios):.2f} of internal_plain's (median of {len(ratios)} pairs)."
    )
    print("µs: the server's own processor time for a login.")


if __name__ == "__main__":
    main()
