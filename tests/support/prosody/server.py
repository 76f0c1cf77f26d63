"""Debian's own Prosody on loopback, with a directory, a configuration and ports of its own.

    prosody = Prosody(root)
    prosody.install(module_directory)
    prosody.start()
    prosody.add_host("h1.example", extauth_bridge_socket="/…/auth.sock")
    prosody.shell('module:reload("auth_extauth_bridge", "h1.example")')
    prosody.stop()

It runs as the user that Debian's package made for it where the test run is root's, else as whoever runs the
tests.  Client connections are not encrypted: for these tests only.  Its log is a file.
"""

import contextlib
import json
import os
import pwd
import signal
import socket
import subprocess
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from support.components import command

MODULE = "auth_extauth_bridge"

# Seconds; reached only by a test that fails.
PATIENCE = 20.0

# What a small server has, and all of Prosody's own that ask about users or change their passwords.
MODULES = (
    *("disco", "roster", "saslauth", "ping", "register", "legacyauth", "vcard", "private", "offline", "blocklist"),
    *("presence", "message", "iq", "admin_socket", "admin_shell", "admin_adhoc"),
)

SERVER = """\
run_as_root = true
pidfile = {pidfile}
data_path = {data}
plugin_paths = {{ {plugins} }}
installer_plugin_path = {plugins}
log = {{ {{ levels = {{ min = "{level}" }}, to = "file", filename = {log}, timestamps = "%H:%M:%S" }} }}
network_backend = "{backend}"
interfaces = {{ "127.0.0.1" }}
c2s_ports = {{ {c2s} }}
component_ports = {{ {component} }}
component_network_backend = "{backend}"
interfaces = {{ "127.0.0.1" }}
c2s_direct_tls_ports = {{ }}
http_ports = {{ {http} }}
https_ports = {{ }}
admin_socket = {admin}
storage = "internal"
authentication = "internal_plain"
c2s_require_encryption = false
allow_unencrypted_plain_auth = true
allow_registration = false
c2s_unauthed_stanza_size_limit = 262144
modules_enabled = {{ {modules} }}
modules_disabled = {{ "s2s", "tls" }}

VirtualHost "localhost"
"""


class Prosody:
    """One server.

    Args:
      backend: what its main loop waits with: `epoll` (Prosody's own choice), `select` or `event`.
      system: the root of another Debian, whose Prosody it is; needs root.
      level: of what it logs.
      variables: added to its environment.
      as_ourselves: it runs as whoever runs the tests, even root, as it has to start what lies in the checkout.

    Attributes:
      port: where clients connect; components: where components do; http: where browsers do.
      plugins: the directory of modules that are not Prosody's own.
    """

    def __init__(
        self,
        root: Path,
        backend: str = "epoll",
        system: Path | None = None,
        level: str = "debug",
        *,
        variables: Mapping[str, str] | None = None,
        as_ourselves: bool = False,
    ) -> None:
        self.root = root
        self.system = system
        self.backend = backend
        self.level = level
        self.plugins = root / "plugins"
        self.plugins.mkdir()
        self.data = root / "data"
        self.data.mkdir()
        self.config = root / "prosody.cfg.lua"
        self.logfile = self.data / "prosody.log"
        self.port = self.components = self.http = 0
        self._hosts: dict[str, str] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._variables = dict(variables or {})
        self._user = None if as_ourselves else _prosody_user()
        if self._user is not None:
            os.chown(self.data, self._user.pw_uid, self._user.pw_gid)

    # --- its life ----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start it, and wait until clients can connect."""
        for attempt in range(3):  # another process may have taken a port that was free a moment ago
            self.port, self.components, self.http = _free_ports(3)
            self._write()
            with (self.root / "output").open("ab") as output:
                self._process = subprocess.Popen(
                    [*self._program("prosody"), "-F", "--config", str(self.config)],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    **self._surroundings(),
                )
            if self._listens() or attempt == 2:
                break
            self.stop()
        assert self._listens(), f"Prosody does not come up; {self.tail()}"

    def _surroundings(self) -> dict[str, Any]:
        """What its processes are started with: a directory, an environment, a user."""
        found: dict[str, Any] = {
            "cwd": self.data if self.system is None else "/",
            "start_new_session": True,
            "env": {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "PROSODY_DATADIR": str(self.data), **self._variables},
        }
        if self._user is not None and not self.system:
            found |= {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}
        return found

    def _program(self, name: str) -> list[str]:
        return [command(name, "prosody")] if self.system is None else self._elsewhere(self.system, name)

    def _elsewhere(self, system: Path, name: str) -> list[str]:
        """The same process in another root file system, where our directory has the name that it has here."""
        assert self._user is not None
        steps = f"""
            mount --rbind /dev {system}/dev
            mount -t tmpfs none {system}/tmp
            mkdir -p {system}{self.root}
            mount --bind {self.root} {system}{self.root}
            exec /usr/sbin/chroot --userspec={self._user.pw_uid}:{self._user.pw_gid} {system} /usr/bin/{name} "$@"
        """
        return [command("unshare", "util-linux"), "--mount", "sh", "-euc", steps, "sh"]

    def _listens(self) -> bool:
        """Whether clients can connect, now or before long."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and self._process is not None and self._process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                with socket.socket(socket.AF_UNIX) as admin:
                    admin.connect(str(self._admin))
                return True
            time.sleep(0.02)
        return False

    @property
    def _admin(self) -> Path:
        return self.data / "admin.sock"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def hang_up(self) -> None:
        """SIGHUP, and wait until the configuration has been read again."""
        before = self.log().count("Reloading configuration file")
        self.signal(signal.SIGHUP)
        deadline = time.monotonic() + PATIENCE
        while self.log().count("Reloading configuration file") == before:
            assert time.monotonic() < deadline, "no reload"
            time.sleep(0.01)

    def signal(self, number: int) -> None:
        """Send it to the server."""
        os.kill(self.pid, number)

    def stop(self) -> None:
        """SIGTERM, then SIGKILL for one that hangs."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    # --- configuration -----------------------------------------------------------------------------------

    def _write(self) -> None:
        text = SERVER.format(
            pidfile=_lua(self.data / "prosody.pid"),
            data=_lua(self.data),
            backend=self.backend,
            level=self.level,
            plugins=_lua(self.plugins),
            log=_lua(self.logfile),
            c2s=self.port,
            component=self.components,
            http=self.http,
            admin=_lua(self._admin),
            modules=", ".join(map(_lua, MODULES)),
        )
        self.config.write_text(text + "\n".join(self._hosts.values()))

    def add_host(self, name: str, **options: object) -> None:
        """A virtual host with these options, whose users the module under test knows."""
        lines = [f'VirtualHost "{name}"', '  authentication = "extauth_bridge"']
        lines += [f"  {option} = {_lua(value)}" for option, value in options.items()]
        text = "\n".join(lines) + "\n"
        if self.backend == "event":  # Prosody's own shell does not answer there
            self._hosts[name] = text
            self.stop()
            self.start()
            return
        self.configure_host(name, text)
        said = self.shell(f'host:activate("{name}")')
        assert said == "Result: true", f"{said}; {self.tail()}"
        assert MODULE in self.shell(f'module:list("{name}")').split(), self.tail()

    def configure_host(self, name: str, text: str) -> None:
        """Write the configuration with `text` for this host, and have it read."""
        self._hosts[name] = text
        self._write()
        assert "OK" in self.shell("config:reload()"), self.tail()

    def remove_host(self, name: str) -> None:
        """Drop the host with all that it has open."""
        if self.backend != "event":
            self.shell(f'host:deactivate("{name}")')
        del self._hosts[name]
        self._write()

    # --- asking it ---------------------------------------------------------------------------------------

    def shell(self, line: str, seconds: float = PATIENCE, typed: str = "") -> str:
        """What `prosodyctl shell` would do with this line: all that it says, a line each, the result last.

        `typed` is for Prosody 13, if it asks for a password.
        """
        parser = ElementTree.XMLPullParser(("end",))
        said: list[str] = []
        with socket.socket(socket.AF_UNIX) as admin:
            admin.settimeout(seconds)
            admin.connect(str(self._admin))
            opening = "<stream:stream xmlns='xmpp:prosody.im/admin' xmlns:stream='http://etherx.jabber.org/streams'>"
            admin.sendall(f"{opening}<repl-input>{escape(line)}</repl-input>".encode())
            while data := admin.recv(65536):
                parser.feed(data)
                for _, element in parser.read_events():
                    if element.tag.endswith("}repl-request-input"):
                        answer = f"<repl-requested-input type='password' id={quoteattr(element.get('id', ''))}>"
                        admin.sendall(f"{answer}{escape(typed)}</repl-requested-input>".encode())
                    if element.tag.endswith(("}repl-output", "}repl-result")):
                        said.append(element.text or "")
                    if element.tag.endswith("}repl-result"):
                        return "\n".join(said)
        raise AssertionError(f"the shell hung up on {line!r} after {said}")

    def ctl(self, *words: str, typed: str = "") -> str:
        """What `prosodyctl` says, where somebody types this."""
        done = subprocess.run(
            [*self._program("prosodyctl"), "--config", str(self.config), *words],
            input=typed.encode(),
            capture_output=True,
            check=False,
            timeout=PATIENCE,
            **self._surroundings(),
        )
        return (done.stdout + done.stderr).decode()

    def reload_module(self, host: str) -> str:
        """Unload the module under test and load it again, as an operator does after an update."""
        return self.shell(f'module:reload("{MODULE}", "{host}")')

    def log(self) -> str:
        """The log so far."""
        return self.logfile.read_text(errors="replace") if self.logfile.exists() else ""

    def tail(self) -> str:
        """The end of output and log, for a failure's message."""
        output = self.root / "output"
        said = output.read_text(errors="replace") if output.exists() else ""
        return f"output ends: {said[-1500:]}\nlog ends: {self.log()[-3000:]}"


def _lua(value: object) -> str:
    """A Lua literal: strings, numbers, booleans, lists."""
    if isinstance(value, list | tuple):
        return "{ " + ", ".join(map(_lua, value)) + " }"
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"[{_lua(key)}] = {_lua(item)}" for key, item in value.items()) + " }"
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    return json.dumps(str(value), ensure_ascii=False)


def lua_text(text: str) -> str:
    """A Lua expression for these characters; a short one if they begin with repetitions, as the shell takes no long
    lines."""
    first = text[:8]
    times = 0
    while first and text.startswith(first, times * len(first)):
        times += 1
    rest = text[times * len(first) :] if times > 1 else text
    quoted = '"' + "".join(f"\\{byte:03d}" for byte in rest.encode()) + '"'
    return f"(({lua_text(first)}):rep({times}) .. {quoted})" if times > 1 else quoted


def _prosody_user() -> pwd.struct_passwd | None:
    """Whom Prosody runs as; None for whoever runs the tests."""
    if os.geteuid() != 0:
        return None
    with contextlib.suppress(KeyError):
        return pwd.getpwnam("prosody")
    return None


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listened on a moment ago."""
    with contextlib.ExitStack() as open_sockets:
        found = [open_sockets.enter_context(socket.socket()) for _ in range(count)]
        for one in found:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in found]
