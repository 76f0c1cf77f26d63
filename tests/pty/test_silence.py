"""Nothing but answers is ever written to a client's terminal, and each of them whole: stderr is that terminal too."""

import time

import pytest
from support.pty.driver import Client, Emulation
from support.pty.site import BLOCKING, CLIENTS, HOST, WRONG, Site, all_right, auth

pytestmark = pytest.mark.slow

BROKEN = {
    "no TOML": "program = [",
    "no UTF-8": "program = '\udcff'",
    "empty": "",
    "unknown key": "program = '/bin/true'\npool_sise = 3\n",
    "wrong type": "program = '/bin/true'\npool_size = 'many'\n",
    "out of range": "program = '/bin/true'\npool_size = -1\nanswer_timeout = 1e999\n",
    "unknown log key": "program = '/bin/true'\n[log]\ntarget = 'carrier pigeon'\n",
    "no program": "pool_size = 2\n",
    "missing program": "program = '/nonexistent/program'\n",
    "program is a directory": "program = '/'\n",
    "program that exits": "program = '/bin/false'\nanswer_timeout = 1\n",
    "program that talks": "program = ['/bin/echo', '1']\nanswer_timeout = 1\n",
    "no such directory": "program = '/bin/cat'\ncwd = '/nonexistent'\n",
}

ARGUMENTS = {
    "missing file": ("run", "/nonexistent/bridge.toml"),
    "missing file, no command": ("/nonexistent/bridge.toml",),
    "directory": ("run", "/"),
    "unknown option": ("run", "--no-such-option"),
    "unknown option and file": ("run", "CONFIG", "--no-such-option"),
    "bad value": ("run", "CONFIG", "--pool-size", "banana"),
    "value missing": ("run", "CONFIG", "--pool-size"),
    "too many": ("run", "CONFIG", "CONFIG", "CONFIG"),
    "program nowhere": ("run", "--", "/nonexistent/program"),
    "nothing": ("run",),
}

# Options of the interpreter in the environment, and of the C library: an administrator debugging something.
CHATTY = {"PYTHONWARNINGS": "always", "PYTHONDEVMODE": "1", "PYTHONUNBUFFERED": "1", "PYTHONASYNCIODEBUG": "1"}


def answers_no(client: Client) -> None:
    """Three questions, three times no, and nothing else; the helper lives (or may be started again)."""
    for line in (auth("alice"), f"isuser:alice:{HOST}", auth("bob", WRONG)):
        reply = client.query(line.encode() + b"\n")
        assert reply.kind == "reply", reply
        assert reply.text.strip() == b"0", reply
    if isinstance(client, Emulation):
        assert client.pending() == 0
    assert client.status() in ("running", "exit 0")


@pytest.mark.parametrize("what", BROKEN)
def test_broken_configuration_is_a_no(site: Site, what: str) -> None:
    site.config.write_bytes(BROKEN[what].encode(errors="surrogateescape"))
    client = site.client("lpty12")
    client.start()
    answers_no(client)


@pytest.mark.parametrize("what", ARGUMENTS)
def test_broken_command_line_is_a_no(site: Site, what: str) -> None:
    site.configure()
    words = [str(site.config) if word == "CONFIG" else word for word in ARGUMENTS[what]]
    client = site.client("lpty12", command=site.command(*words))
    client.start()
    answers_no(client)


def test_help_is_not_for_clients(site: Site) -> None:
    client = site.emulation("lpty12", command=site.command("run", "--help"))
    client.start()
    assert client.query(auth("alice").encode() + b"\n", 1.0).verdict in ("none", "0")
    assert client.pending() == 0
    assert client.status() in ("running", "exit 0")


@pytest.mark.parametrize("kind", ["lua", "lpty10", "nonblocking", "wrapped"])
def test_broken_configuration_for_every_client(site: Site, kind: str) -> None:
    site.config.write_text(BROKEN["unknown key"])
    client = site.client(kind)
    client.start()
    client.until_echo_is_off()
    answers_no(client)


@pytest.mark.parametrize(
    "target", ["stderr", "auto", "file:/dev/stderr", "file:/dev/stdout", "file:/dev/tty", "file:/proc/self/fd/2"]
)
def test_log_never_goes_to_the_clients_terminal(site: Site, target: str) -> None:
    site.configure(log={"level": "debug", "target": target}, env={"NOISE": 2000})
    client = site.emulation("lpty12")
    client.start()
    all_right(client)
    assert client.ask(auth("alice", "x\nisuser:bob:nowhere")) == "0"
    assert client.ask("nonsense") == "0"
    all_right(client)
    assert client.pending() == 0
    assert client.status() == "running"


def test_log_that_cannot_be_written_stops_nothing(site: Site) -> None:
    for target in (f"file:{site.root}/missing/log", "file:/", "file:/dev/full"):
        site.configure(log={"level": "debug", "target": target})
        with site.emulation("lpty12") as client:
            client.start()
            for line in (auth("alice"), auth("bob", WRONG), "nonsense", auth("bob", WRONG)):
                # Whether such a configuration counts as broken or not: no is always a safe answer.
                assert client.ask(line) in (("0", "1") if line == auth("alice") else ("0",)), target
            assert client.pending() == 0
            assert client.status() == "running"
        site.clients.remove(client)


def test_log_goes_to_a_stderr_that_is_not_the_terminal(site: Site) -> None:
    elsewhere = site.root / "elsewhere"
    site.configure(log={"level": "debug", "target": "stderr"})
    client = site.client("lpty12", command=site.command(behind=f"2>'{elsewhere}'"))
    client.start()
    all_right(client)
    assert client.ask(auth("alice", "x\nisuser:bob:nowhere")) == "0"
    all_right(client)
    assert "injection" in elsewhere.read_text()
    assert not any(secret in elsewhere.read_text() for secret in site.secrets)


@pytest.mark.parametrize("target", ["file", "stderr"])
def test_program_that_says_much_on_stderr(site: Site, target: str) -> None:
    """Each answer comes with 70 kB of stderr, more than its pipe holds, the password in every kB of it."""
    log = {"level": "debug", "target": f"file:{site.log}" if target == "file" else "stderr"}
    site.configure(env={"NOISE": 70_000}, log=log)
    client = site.emulation("lpty12")
    client.start()
    all_right(client)
    assert client.pending() == 0
    if target == "file":
        site.until_logged("warning")
        assert len(site.log_text()) < 100_000, "a flood in the log"


@pytest.mark.parametrize("kind", ["lua", "lpty12", "nonblocking"])
def test_warnings_of_the_interpreter(site: Site, kind: str) -> None:
    site.configure()
    lines = "\n".join(f"export {name}={value}" for name, value in CHATTY.items())
    client = site.client(kind, command=site.command(before=lines))
    site.ready(client)
    all_right(client)
    assert client.ask("nonsense") == "0"
    assert client.status() == "running"
    if isinstance(client, Emulation):
        assert client.pending() == 0


@pytest.mark.parametrize("code", ["raise ImportError('away')", "1 +", "raise SystemExit(3)", "import os; os.abort"])
def test_broken_installation(site: Site, code: str) -> None:
    """Half an upgrade: a package that the bridge needs is broken. No traceback for the client, no bad exit status."""
    package = site.root / "trio"
    package.mkdir()
    (package / "__init__.py").write_text(code)
    site.configure()
    client = site.emulation("lpty12", command=site.command(before=f"export PYTHONPATH='{site.root}':$PYTHONPATH"))
    client.start()
    reply = client.query(auth("alice").encode() + b"\n", 1.0)
    assert reply.kind == "none" or reply.verdict == "0", reply
    assert client.status() in ("running", "exit 0")
    assert client.pending() == 0


@pytest.mark.parametrize("kind", CLIENTS)
def test_each_answer_comes_in_one_piece(site: Site, kind: str) -> None:
    client = site.client(kind)
    site.ready(client)
    all_right(client, 200)
    assert client.query(auth("alice").encode() + b"\n").text == b"1\n"
    assert client.query(auth("bob", WRONG).encode() + b"\n").text == b"0\n"


@pytest.mark.parametrize("kind", BLOCKING)
def test_end_is_silent(site: Site, kind: str) -> None:
    site.configure(log={"level": "debug", "target": "stderr"})
    client = site.client(kind)
    site.ready(client)
    all_right(client)
    pid = site.bridge_pid(client)
    site.kill(pid, "TERM")
    site.until_ended(client)
    assert client.status() == "exit 0"
    if isinstance(client, Emulation):
        assert client.pending() == 0
    # The next query starts another one on the same terminal; all that it reads there is its own answer.
    assert client.ask(auth("alice")) in (("1", "garbage") if kind == "lua" else ("1",))


def test_nothing_is_said_before_anybody_asks(site: Site) -> None:
    for path in (site.configure(), site.root / "missing.toml"):
        client = site.emulation("lpty12", command=site.command("run", str(path)))
        client.start()
        site.until_raw(client)
        time.sleep(0.5)  # time for a start message, were there one
        assert client.pending() == 0
        assert client.status() == "running"
