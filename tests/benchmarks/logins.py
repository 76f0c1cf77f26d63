"""Prints how many people a second log in to Prosody: its own `internal_plain`, our module, and the ways by a terminal.

    python tests/benchmarks/logins.py [--rounds 9] [--logins 1000] [--thirteen] [--module DIR]

A login is a connection, a stream, its features, SASL PLAIN, a success, and the end of the connection; sixteen are under
way at once.  Behind everything but `internal_plain` is a program that costs next to nothing; `relay` asks the daemon of
the module, `terminal` has a pool of its own.  Server, client, daemon and programs share the machine's processors.

Prosody slows down with every session that it still holds: so every round has a server of its own, and each begins with
another one of its hosts.  What counts is the median of the rounds' ratios.  Debian 13's Prosody runs in a root of its
own, where no helper is, so that it has only the first two.  Exit status: 0.
"""

import argparse
import base64
import os
import socket
import statistics
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
from support.prosody import terminals  # noqa: E402
from support.prosody.elsewhere import thirteen  # noqa: E402
from support.prosody.running import running  # noqa: E402
from support.prosody.server import Prosody  # noqa: E402
from support.prosody.site import Site  # noqa: E402

OWN = "localhost"  # the host with `internal_plain`
TIMEOUT = 5  # seconds that Prosody waits for a helper
USER, PASSWORD = "alice", "secret-1"  # the program says yes to what ends in an odd byte
AT_ONCE = 16
WARM_UP = 200  # logins that do not count, on either host
PATIENCE = 20.0  # seconds; reached only by what hangs

STREAM = (
    "<?xml version='1.0'?><stream:stream to='{}' xmlns='jabber:client' "
    "xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>"
)
AUTH = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{}</auth>"


def log_in(port: int, host: str, count: int, *, strict: bool = True) -> float:
    """Logins a second of `count` of them; the client costs as little as Python allows.

    Unless it is `strict`, the last must be granted and no other: a helper that has just been started costs the logins
    for which Prosody reads back what it said itself.
    """
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
            elif b"<success" in heard or (b"</failure>" in heard and not strict and done < count - 1):
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
    log_in(prosody.port, host, WARM_UP, strict=False)
    before = processor_time(prosody.pid)
    rate = log_in(prosody.port, host, count)
    return rate, (processor_time(prosody.pid) - before) / count * 1e6


def helpers(prosody: Prosody, program: Path, daemon: Path) -> dict[str, str]:
    """Hosts that are asked on terminals."""
    hosts = {"terminal": "terminal.example", "relay": "relay.example"}
    for name, settings in (("terminal", {"program": [str(program)]}), ("relay", {"connect": daemon})):
        directory = prosody.root / name
        directory.mkdir()
        log = {"target": f"file:{directory}/log"}
        helper = terminals.helper(directory / "auth.toml", **settings, log=log)
        terminals.add_host(prosody, hosts[name], helper, TIMEOUT)
    return hosts


def one_round(program: Path, options: argparse.Namespace, number: int) -> dict[str, tuple[float, float]]:
    """Each host of a fresh server, first the one whose turn it is."""
    here = not options.thirteen
    with running(
        system=None if here else thirteen(), level="info", module=options.module, on_terminals=here
    ) as prosody:
        site = Site(prosody)
        site.configure()
        prosody.shell(f'user:create("{USER}@{OWN}", "{PASSWORD}")')
        site.serve([str(program)], level="info")
        try:
            hosts = {"internal_plain": OWN, "module": site.host}
            hosts |= helpers(prosody, program, site.socket) if here else {}
            names = list(hosts)
            begin = number % len(names)
            return {name: round_on(prosody, hosts[name], options.logins) for name in names[begin:] + names[:begin]}
        finally:
            site.daemon.stop()


def results(rounds: list[dict[str, tuple[float, float]]]) -> list[list[str]]:
    """A row for each way, beside `internal_plain` in the same round."""
    rows = [["way", "logins/s", "lowest", "highest", "of internal_plain", "lowest", "highest", "server's µs"]]
    for name in sorted(rounds[0], key=["internal_plain", "module", "relay", "terminal"].index):
        rates = [found[name][0] for found in rounds]
        ratios = [found[name][0] / found["internal_plain"][0] for found in rounds]
        row = [name, *(f"{one(rates):.0f}" for one in (statistics.median, min, max))]
        row += [f"{one(ratios):.2f}" for one in (statistics.median, min, max)]
        rows.append([*row, f"{statistics.median(found[name][1] for found in rounds):.0f}"])
    return rows


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9, help="each with a server of its own (default: 9)")
    parser.add_argument("--logins", type=int, default=1000, help="of each way in a round (default: 1000)")
    parser.add_argument("--thirteen", action="store_true", help="Debian 13's Prosody instead of this machine's")
    parser.add_argument("--module", type=Path, metavar="DIR", help="another state of the module")
    return parser.parse_args()


def main() -> None:
    options = parse()
    rounds = []
    with tempfile.TemporaryDirectory(prefix="extauth-logins-") as directory:
        program = compiling.build(Path(directory)) / "program"
        for number in range(options.rounds):
            rounds.append(one_round(program, options, number))
            print(f"\r{number + 1} of {options.rounds}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    print(report.table(results(rounds)))
    ratio = statistics.median(found["module"][0] / found["internal_plain"][0] for found in rounds)
    print(f"\nThe module's rate is {ratio:.2f} of internal_plain's (all are medians of {options.rounds} rounds).")
    print("µs: the server's own processor time for a login.")


if __name__ == "__main__":
    main()
