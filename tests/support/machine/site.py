"""A machine on which the bridge was installed by the very commands that extauth-bridge-setup(1) tells users to type."""

import re
import shutil
from pathlib import Path

from support import readme
from support.machine.clients import ask
from support.machine.machine import Machine
from support.machine.root import wheels
from support.readme import ROOT

UNIT = "extauth-bridge.service"
SOCKETS = ("extauth-bridge.socket", "extauth-bridge-status.socket")
PASSWORD = "wonder:land"

# What the bundled program says, once `alice` was added as is documented.
TRUTH = {
    f"auth:alice:example.com:{PASSWORD}": "1",
    "auth:alice:example.com:hunter2": "0",
    "isuser:alice:example.com": "1",
    "isuser:mallory:example.com": "0",
}

ENVIRONMENT = "/opt/extauth-bridge"
COMMAND = f"{ENVIRONMENT}/bin/extauth-bridge"
USERS = "/var/lib/extauth-bridge/users.db"

# Installs the software, and nothing else.
SOFTWARE = f"python3 -m venv {ENVIRONMENT} && {ENVIRONMENT}/bin/pip install --quiet --upgrade ."

# Where the checkout is on the machine: README's "in this directory".
CHECKOUT = "/root/checkout"


def recipe(step: str, way: str = "systemd") -> str:
    """The documented commands below the mark for this step, as a script to run in the checkout."""
    return f"cd {CHECKOUT}\n{readme.commands(f'{way}: {step}')}"


class Site:
    """The installed bridge.

    Attributes:
      auth, status: its sockets, to connect to from here.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.auth = machine.path / "run/extauth-bridge/auth.sock"
        self.status = machine.path / "run/extauth-bridge/status.sock"

    def install(self) -> None:
        """What is there before the README's first line, then what it says."""
        self._prepare()
        self.step("install", timeout=120)
        self.step("configure", typed=f"{PASSWORD}\n")
        self.step("start")
        self._config = self.read("/etc/extauth-bridge/auth.toml")

    def install_software(self) -> None:
        """The software alone, for `set_up`."""
        self._prepare()
        self.machine.run(f"cd {CHECKOUT}\n{SOFTWARE}", timeout=120)

    def set_up(self, *arguments: str, check: bool = True) -> str:
        """Run `extauth-bridge setup`; what it printed."""
        return self.machine.run(f"{COMMAND} setup {' '.join(arguments)}", check=check, timeout=60).stdout

    def add_alice(self) -> None:
        """Add the user that `TRUTH` is about."""
        self.machine.run(f"{ENVIRONMENT}/bin/extauth-sqlite {USERS} adduser alice@example.com", typed=f"{PASSWORD}\n")
        self._config = self.read("/etc/extauth-bridge/auth.toml")

    def _prepare(self) -> None:
        checkout = self.machine.path / CHECKOUT[1:]
        for name in ("bridge", "systemd"):
            shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("pyproject.toml", "README.md"):
            shutil.copy(ROOT / name, checkout / name)
        shutil.copytree(wheels(), self.machine.path / "root/wheels")
        self.write("/etc/pip.conf", "[global]\nno-index = true\nfind-links = /root/wheels\n")
        self.step("packages", way="module", timeout=120)

    def step(self, name: str, *, way: str = "systemd", typed: str = "", timeout: float = 30) -> str:
        """Do what is documented for this step; what that printed."""
        return self.machine.run(recipe(name, way), typed=typed, timeout=timeout).stdout

    def put(self, step: str, way: str) -> None:
        """Write the file that readers are told to write in this step."""
        self.write(*readme.file(f"{way}: {step}"))

    def reset(self) -> None:
        """As it was right after the installation: sockets there, daemon not started, nothing changed."""
        self.write("/etc/extauth-bridge/auth.toml", self._config)
        # The sockets too: with them goes what a test that failed may have left waiting in them.
        self.machine.run(
            "systemctl disable --now --quiet extauth-bridge@blue.socket extauth-bridge-status@blue.socket\n"
            f"systemctl stop {' '.join(SOCKETS)} 'extauth-bridge*'\n"
            "rm -rf /run/systemd/system/extauth-bridge*; systemctl daemon-reload\n"
            f"systemctl start {' '.join(SOCKETS)}"
        )

    def read(self, path: str) -> str:
        return (self.machine.path / path[1:]).read_text()

    def write(self, path: str, text: str) -> None:
        """Replace the text of a file, or make a new one with its directory, readable for everybody."""
        file = self.machine.path / path[1:]
        if not file.exists():
            self.machine.run(f"install -m 644 -D /dev/null '{path}'")
        file.write_text(text)

    def drop_in(self, unit: str, text: str) -> None:
        """Change a unit until `reset`; restart it to put that into force."""
        self.write(f"/run/systemd/system/{unit}.d/test.conf", text)
        self.machine.run("systemctl daemon-reload")

    def shipped(self, name: str) -> str:
        """The text of one of our own drop-ins."""
        return (ROOT / "systemd" / "drop-ins" / name).read_text()

    def main_pid(self, unit: str = UNIT) -> int:
        """The daemon's process id on the machine; 0 if there is none."""
        return int(self.machine.show(unit, "MainPID"))

    def processes(self) -> dict[int, str]:
        """All processes of the daemon's user by their pids on the machine, with their command lines."""
        lines = self.machine.run("ps -u extauth-bridge -o pid=,args=", check=False).stdout.splitlines()
        return {int(pid): args for pid, _, args in (line.strip().partition(" ") for line in lines)}

    def settled(self) -> None:
        """Wait until all programs of the pool run: no other one comes by itself."""
        self.machine.until(
            "all programs are up",
            lambda: re.search(r"\b([1-9]\d*) of \1 programs up", self.machine.show(UNIT, "StatusText")),
        )

    def answers(self, truth: dict[str, str] = TRUTH) -> bool:
        """Are all answers right?"""
        return all(ask(self.auth, line) == answer for line, answer in truth.items())


def socket_of(machine: Machine, instance: str) -> Path:
    """The socket of an instance of the template, to connect to from here."""
    return machine.path / f"run/extauth-bridge/{instance}.sock"
