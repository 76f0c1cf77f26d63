"""The command lines of everything that is measured."""

import shutil
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOCKET = "{socket}"  # in a command: the path the daemon listens on
RATE = "{rate}"  # in a command: lines a second, known only when something else has been measured

HELPER_MUX = "/usr/lib/squid/helper-mux"  # where Debian's packages have them
EJABBERD = "/usr/lib/*/ejabberd-*/ebin"


@dataclass(frozen=True)
class Cpus:
    """Where the client and the command under test (with all its programs) run."""

    client: int
    command: int


def on(cpu: int, argv: list[str]) -> list[str]:
    return ["taskset", "--cpu-list", str(cpu), *argv]


def ejabberd_modules() -> str | None:
    """The directory of ejabberd's modules, if it is installed and there is something to run them."""
    found = [path.parent for path in Path("/").glob(f"{EJABBERD[1:]}/extauth.beam")]
    return str(found[0]) if found and shutil.which("escript") else None


@dataclass(frozen=True)
class Commands:
    """`build` holds the C programs; `seconds` is how long one run measures. Peers are None where missing."""

    build: Path
    python: str
    seconds: float
    helper_mux: str | None
    ejabberd: str | None

    @property
    def warm_up(self) -> int:
        """Answers before those that count: the first programs' replacements, which come in a row, are over by then."""
        return round(100_000 * min(1.0, self.seconds))

    def program(self, delay: int = 0) -> list[str]:
        return [str(self.build / "program"), *([str(delay)] if delay else [])]

    def floor(self, pool: int, delay: int = 0) -> list[str]:
        return [str(self.build / "floor"), str(pool), *self.program(delay)]

    def floor_daemon(self, pool: int) -> list[str]:
        return [str(self.build / "floor"), "-u", SOCKET, str(pool), *self.program()]

    def bridge(self, pool: int, *options: str, delay: int = 0) -> list[str]:
        run = [self.python, "-m", "bridge", "run", "--pool-size", str(pool), *options]
        return [*run, "--", *self.program(delay)]

    def bridge_daemon(self, pool: int) -> list[str]:
        serve = [self.python, "-m", "bridge", "serve", "--pool-size", str(pool), "--listen", SOCKET]
        return [*serve, "--", *self.program()]

    def relay(self) -> list[str]:
        return [self.python, "-m", "bridge", "connect", SOCKET]

    def load(
        self, mode: str, command: list[str], in_flight: int = 1, *more: str, warm_up: int = 1000, lines: int = 0
    ) -> list[str]:
        """`warm_up` and `lines` are numbers of answers; without `lines` the time counts."""
        until = ["-n", str(lines)] if lines else ["-s", str(self.seconds)]
        return [str(self.build / "load"), mode, "-k", str(in_flight), "-w", str(warm_up), *until, *more, *command]

    def one_by_one(self, command: list[str], cpus: Cpus | None, mode: str = "pipe") -> list[str]:
        if cpus is None:
            return self.load(mode, command)
        return on(cpus.client, self.load(mode, on(cpus.command, command)))

    def busy(self, command: list[str], in_flight: int = 64, *more: str) -> list[str]:
        return self.load("pipe", command, in_flight, *more, warm_up=self.warm_up)

    def clients(self, count: int, in_flight: int, mode: str = "socket", *more: str) -> list[str]:
        """Of a daemon's socket; `mode` is `tagged` for those who speak that protocol."""
        return self.load(mode, [SOCKET], in_flight, "-c", str(count), *more, warm_up=self.warm_up)

    def direct(self, cpus: Cpus | None) -> list[str]:
        asking = [self.python, str(HERE / "direct.py"), str(self.seconds)]
        if cpus is None:
            return [*asking, *self.program()]
        return on(cpus.client, [*asking, *on(cpus.command, self.program())])

    def ejabberd_pool(self, pool: int, callers: int) -> list[str]:
        """Only where `ejabberd` is known."""
        asking = ["escript", str(HERE / "ejabberd.escript"), str(self.ejabberd), str(pool), str(callers)]
        return [*asking, str(self.warm_up), f"{self.seconds:.3f}", *self.program()]
