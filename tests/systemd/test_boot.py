"""The units, booted: a real systemd starts, watches, reloads, restarts and stops the installed daemon.

The installation is that of extauth-bridge-setup(1) by hand, command by command. Needs root and debootstrap; the first
run downloads a minimal Debian (see support.machine.root), later ones take it from the cache.
"""

import contextlib
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.machine.clients import AS_PROSODY, Client, Load, Relay, ask
from support.machine.site import PASSWORD, SOCKETS, TRUTH, UNIT, Site, recipe, socket_of

pytestmark = pytest.mark.slow

RELAY = "/etc/prosody/auth.toml"
ALICE = f"auth:alice:example.com:{PASSWORD}"

# Those that take the bundled program no time: it is the bridge that is to be busy.
QUICK = {line: answer for line, answer in TRUTH.items() if line.startswith("isuser:")}


@pytest.fixture(scope="module", autouse=True)
def relay(installed: Site) -> None:
    installed.step("install", way="relay")


# --- Start


def test_units_are_in_order(site: Site) -> None:
    units = f"{UNIT} {' '.join(SOCKETS)} extauth-bridge@blue.service extauth-bridge@blue.socket"
    assert site.machine.run(f"systemd-analyze verify --man=no {units}").stdout == ""
    assert site.machine.run(f"systemctl is-enabled {UNIT} {' '.join(SOCKETS)}").stdout.split() == ["enabled"] * 3
    modes = site.machine.run("cd /run/extauth-bridge; stat -c '%n %U %G %a' . *").stdout.split("\n")
    assert modes[:3] == [". root root 755", "auth.sock root prosody 660", "status.sock root extauth-bridge 660"]


def test_the_first_question_starts_it(site: Site) -> None:
    assert site.main_pid() == 0
    assert ask(site.auth, ALICE) == "1"
    assert site.machine.show(UNIT, "ActiveState") == "active"
    processes = site.processes()
    assert " serve " in processes[site.main_pid()]
    assert any("users.db" in args for args in processes.values())


def test_a_look_at_the_status_starts_it(site: Site) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(site.status))
        site.machine.until("the daemon runs", lambda: site.machine.show(UNIT, "ActiveState") == "active")


def test_the_relay_gets_prosody_its_answers(site: Site) -> None:
    assert site.step("try", way="relay").split() == ["1"]
    assert site.step("ask", typed=f"{PASSWORD}\n").split() == ["granted"]
    relay = Relay(site.machine, RELAY)
    assert {line: relay.ask(line) for line in TRUTH} == TRUTH
    relay.close()
    relay = Relay(site.machine, "/opt/extauth-bridge/bin/extauth-bridge", "connect", "/run/extauth-bridge/auth.sock")
    assert {line: relay.ask(line) for line in TRUTH} == TRUTH
    relay.close()


def test_nobody_else_is_let_in(site: Site) -> None:
    assert site.answers()
    stranger = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups")
    relay = Relay(site.machine, RELAY, user=stranger)
    assert relay.ask(ALICE) == "0"
    relay.close()
    for path in ("/etc/extauth-bridge/auth.toml", "/var/lib/extauth-bridge/users.db"):
        for user in (stranger, AS_PROSODY):
            assert site.machine.run(f"! {' '.join(user)} cat {path}").stdout.endswith("Permission denied\n")


def test_the_status_is_shown(site: Site) -> None:
    assert site.answers()
    shown = site.step("look")
    assert 'Status: "' in shown
    assert "Active: active (running)" in shown
    assert site.machine.show(UNIT, "StatusText")


# --- Change


CONFIG = "/etc/extauth-bridge/auth.toml"


def test_a_reload_is_over_when_the_command_returns(site: Site) -> None:
    """The new file is in force by then, every time; and a signal does the same."""
    assert site.answers()
    daemon = site.main_pid()
    config = site.read(CONFIG)
    loaded = site.machine.journal(UNIT).count("configuration loaded")
    for number, size in enumerate((1, 3, 2), 1):
        site.write(CONFIG, f'pool_size = {size}\ncommands = ["isuser"]\n{config}')
        site.step("reload")
        assert site.machine.journal(UNIT).count("configuration loaded") == loaded + number
        assert f"of {size} programs up" in site.machine.show(UNIT, "StatusText")
        assert site.machine.show(UNIT, "ActiveState") == "active"
    assert ask(site.auth, ALICE) == "0"
    assert ask(site.auth, "isuser:alice:example.com") == "1"
    site.write(CONFIG, config)
    site.machine.run(f"kill -HUP {daemon}")
    site.machine.until("auth is back", lambda: ask(site.auth, ALICE) == "1")
    assert site.main_pid() == daemon


@pytest.mark.parametrize("sandbox", ["", "stricter.conf"])
@pytest.mark.parametrize(
    ("text", "why"),
    [("pool_size = 0\n", "pool_size is 0"), ('program = "/opt/nowhere"\n', "/opt/nowhere: it cannot be started")],
    ids=["file", "program"],
)
def test_a_reload_that_is_refused_fails_and_changes_nothing(site: Site, sandbox: str, text: str, why: str) -> None:
    if sandbox:
        site.drop_in(UNIT, site.shipped(sandbox))
    assert site.answers()
    site.settled()
    daemon, processes = site.main_pid(), site.processes()
    config = site.read(CONFIG)
    site.write(CONFIG, text)
    for command in (recipe("reload"), "/opt/extauth-bridge/bin/extauth-bridge reload"):
        done = site.machine.run(command, check=False)
        assert done.returncode == 1
    assert why in done.stdout, "the second one is typed by somebody"
    assert why in site.machine.show(UNIT, "StatusText")
    assert "extauth-bridge: refused, the old configuration stays: " in site.machine.journal(UNIT)
    site.machine.until("it is over", lambda: site.machine.show(UNIT, "ActiveState") == "active")
    assert site.answers()
    assert site.main_pid() == daemon
    there = site.processes()
    assert processes.items() <= there.items(), "those that ran go on"
    assert {*there.values()} == {*processes.values()}, "there may be more of them by now, but nothing else"
    site.write(CONFIG, f'commands = ["isuser"]\n{config}')
    site.step("reload")
    assert ask(site.auth, ALICE) == "0"


def test_a_reload_may_take_longer_than_a_start(site: Site) -> None:
    """Its program has 4 s to answer the probe, and systemd would give up after 2 s."""
    assert site.answers()
    site.drop_in(UNIT, "[Service]\nTimeoutStartSec=2s\n")  # only now: its own start may take longer
    site.write(CONFIG, 'program = ["/bin/sleep", "60"]\nprobe = "nobody@example.com"\nstart_timeout = 4\n')
    assert site.machine.run(recipe("reload"), check=False).returncode == 1
    assert "configuration refused" in site.machine.journal(UNIT)
    assert "/bin/sleep: " in site.machine.show(UNIT, "StatusText")
    assert "timed out" not in site.machine.journal(UNIT)
    assert site.answers()


def test_an_instance_reloads_too(site: Site) -> None:
    start_blue(site, "echo x", "")
    blue, line = socket_of(site.machine, "blue"), "auth:alice:example.com:x"
    assert ask(blue, line) == "1"
    file = "/etc/extauth-bridge/blue.toml"
    site.write(file, f'commands = ["isuser"]\n{site.read(file)}')
    site.machine.run("systemctl reload extauth-bridge@blue.service")
    assert ask(blue, line) == "0"


def test_an_upgrade_and_a_restart(site: Site) -> None:
    assert site.answers()
    daemon = site.main_pid()
    site.machine.run(recipe("install"), timeout=120)
    site.step("restart")
    assert site.answers()
    assert site.main_pid() not in (0, daemon)


@contextlib.contextmanager
def load(site: Site) -> Iterator[tuple[Load, Load]]:
    """Plain clients and relays that ask all the time; the caller judges what they were told.

    Both sides wait longer than usual: on a machine that does other things a daemon may have no CPU for four seconds.
    """
    relay = site.read(RELAY)
    site.write(RELAY, f"{relay}answer_timeout = 20\n")
    site.write(CONFIG, f"answer_timeout = 20\n{site.read(CONFIG)}")
    site.machine.until("it runs", site.answers)
    plain = Load([Client(site.auth) for _ in range(4)], QUICK)
    relays = Load([Relay(site.machine, RELAY) for _ in range(2)], QUICK)
    try:
        yield plain, relays
    finally:
        site.write(RELAY, relay)
        relays.stop()
        plain.stop()


def until_busy(site: Site, *loads: Load) -> None:
    """Return when every client has got some more answers."""
    for one in loads:
        before = one.asked.copy()
        site.machine.until("all ask", lambda one=one, before=before: one.all_asked(40, before))


def test_a_restart_under_load_loses_nothing(site: Site) -> None:
    restarts = 8
    with load(site) as (plain, relays):
        for _ in range(restarts):
            until_busy(site, plain, relays)
            site.step("restart")
        until_busy(site, plain, relays)
    assert plain.wrong == [[]] * 4
    for wrong in relays.wrong:
        # For the question that was on its way the answer is no, which is the truth for half of them anyway.
        assert len(wrong) <= restarts
        assert all(QUICK[line] == "1" for line in wrong)
    assert site.machine.show(UNIT, "NRestarts") == "0"


def test_a_reload_under_load_is_not_noticed(site: Site) -> None:
    with load(site) as (plain, relays):
        config, daemon = site.read(CONFIG), site.main_pid()
        for size in (1, 3, 2, 4):
            before = set(site.processes())
            site.write(CONFIG, f"pool_size = {size}\n{config}")
            site.step("reload")
            site.machine.until("the programs are others", lambda old=before: set(site.processes()) & old == {daemon})
            until_busy(site, plain, relays)
    assert plain.wrong == [[]] * 4
    assert relays.wrong == [[]] * 2
    assert [client.retries for client in plain.clients] == [0] * 4
    assert site.main_pid() == daemon


# --- Failure


def test_a_broken_file_at_the_start_is_forgiven(site: Site) -> None:
    """However long it stays so, and whoever knocks meanwhile: the sockets stay, and once it is repaired all is well."""
    config = site.read("/etc/extauth-bridge/auth.toml")
    site.write("/etc/extauth-bridge/auth.toml", f"nonsense = 1\n{config}")
    waiting = [Client(site.auth) for _ in range(3)]
    began = time.monotonic()
    with ThreadPoolExecutor(3) as threads:
        answers = [threads.submit(client.ask, ALICE) for client in waiting]
        site.machine.until("it has tried", lambda: int(site.machine.show(UNIT, "NRestarts")) >= 3)
        log = site.machine.journal(UNIT)
        assert "auth.toml, line 1: unknown key nonsense" in log
        restarts = int(site.machine.show(UNIT, "NRestarts"))
        assert 3 <= log.count("unknown key") <= restarts + 1
        assert restarts <= time.monotonic() - began, "once a second"
        assert site.machine.show("extauth-bridge.socket", "ActiveState") == "active"
        site.write("/etc/extauth-bridge/auth.toml", config)
        assert [answer.result() for answer in answers] == ["1"] * 3
    for client in waiting:
        client.close()


def test_a_frozen_daemon_is_restarted(site: Site) -> None:
    site.drop_in(UNIT, "[Service]\nWatchdogSec=2s\n")
    assert site.answers()
    daemon = site.main_pid()
    client = Client(site.auth)
    site.machine.run(f"kill -STOP {daemon}")
    assert client.ask(ALICE) == "1"
    client.close()
    assert site.main_pid() not in (0, daemon)
    assert site.machine.show(UNIT, "NRestarts") == "1"
    assert "Watchdog timeout" in site.machine.journal(UNIT)


def test_an_idle_daemon_is_left_alone_by_the_watchdog(site: Site) -> None:
    site.drop_in(UNIT, "[Service]\nWatchdogSec=1s\n")
    assert site.answers()
    daemon = site.main_pid()
    first = site.machine.show(UNIT, "WatchdogTimestampMonotonic")

    def pinged_often() -> bool:
        return int(site.machine.show(UNIT, "WatchdogTimestampMonotonic")) > int(first) + 3_000_000

    site.machine.until("it has pinged for 3 s", pinged_often)
    assert site.main_pid() == daemon


def test_a_killed_program_is_replaced(site: Site) -> None:
    assert site.answers()
    site.settled()
    daemon = site.main_pid()
    programs = site.processes().keys() - {daemon}
    site.machine.run(f"kill -KILL {' '.join(map(str, programs))}")

    def replaced() -> bool:
        there = site.processes().keys() - {daemon}
        return len(there) == len(programs) and not there & programs

    site.machine.until("they are replaced", replaced)
    assert site.answers()
    assert site.main_pid() == daemon


GLUTTON = """\
import sys
while head := sys.stdin.buffer.read(2):
    body = sys.stdin.buffer.read(int.from_bytes(head, "big"))
    if b":glutton:" in body:
        hoard = b"x" * (1 << 30)
    sys.stdout.buffer.write(b"\\0\\2\\0\\1")
    sys.stdout.buffer.flush()
"""


def test_a_program_killed_for_memory_takes_nobody_along(site: Site) -> None:
    if "memory" not in site.read("/sys/fs/cgroup/cgroup.controllers").split():
        pytest.skip("no memory controller in the machine's control groups (another hierarchy of the host's has it)")
    site.write("/opt/auth/glutton.py", GLUTTON)
    site.write("/etc/extauth-bridge/hungry.toml", 'program = ["/usr/bin/python3", "/opt/auth/glutton.py"]\n')
    site.drop_in("extauth-bridge@.service", "[Service]\nMemoryMax=256M\nMemorySwapMax=0\n")
    site.machine.run("systemctl start extauth-bridge@hungry.socket")
    path, unit = socket_of(site.machine, "hungry"), "extauth-bridge@hungry.service"
    assert ask(path, "isuser:frugal:example.com") == "1"
    daemon = site.main_pid(unit)
    assert ask(path, "setpass:glutton:example.com:x") == "0"
    assert ask(path, "isuser:frugal:example.com") == "1"
    assert site.main_pid(unit) == daemon
    group = site.machine.show(unit, "ControlGroup")
    assert "oom_kill 1" in site.read(f"/sys/fs/cgroup{group}/memory.events").splitlines()


# --- Sandbox


def test_the_bundled_program_works_in_the_strict_sandbox(site: Site) -> None:
    site.drop_in(UNIT, site.shipped("stricter.conf"))
    assert site.answers()
    assert ask(site.auth, f"setpass:alice:example.com:{PASSWORD}") == "1"


# Says yes to a password that is what the command named in its arguments prints.
COMPARE = """\
import subprocess, sys
while head := sys.stdin.buffer.read(2):
    secret = sys.stdin.buffer.read(int.from_bytes(head, "big")).split(b":", 3)[3]
    printed = subprocess.run(["/bin/sh", "-c", sys.argv[1]], stdout=subprocess.PIPE).stdout.strip()
    sys.stdout.buffer.write(b"\\0\\2\\0\\1" if printed == secret else b"\\0\\2\\0\\0")
    sys.stdout.buffer.flush()
"""


def start_blue(site: Site, command: str, drop_in: str, settings: str = "") -> None:
    """Start the instance that the page has as its example, with a program that asks `command` for the password."""
    site.write("/opt/auth/compare.py", COMPARE)
    program = ["/usr/bin/python3", "/opt/auth/compare.py", command]
    site.write("/etc/extauth-bridge/blue.toml", f"program = {program}\npool_size = 1\n{settings}")
    site.drop_in("extauth-bridge@.service", drop_in)
    site.step("instance")


def test_an_instance_with_a_credential(site: Site) -> None:
    site.machine.run("install -m 600 /dev/stdin /etc/extauth-bridge/database.password", typed="hunter2-of-db\n")
    start_blue(site, 'cat "$CREDENTIALS_DIRECTORY/database"', site.shipped("credentials.conf"))
    path = socket_of(site.machine, "blue")
    assert ask(path, "auth:alice:example.com:hunter2-of-db") == "1"
    assert ask(path, "auth:alice:example.com:hunter2") == "0"
    assert site.answers(), "the other daemon is another one"
    assert site.main_pid() != site.main_pid("extauth-bridge@blue.service")


@pytest.mark.parametrize(("drop_in", "answer"), [("", "0"), ("setuid.conf", "1")])
def test_setuid_helpers_need_their_drop_in(site: Site, drop_in: str, answer: str) -> None:
    site.machine.run("install -m 4755 -D /usr/bin/id /opt/auth/id")
    start_blue(site, "/opt/auth/id -u", site.shipped(drop_in) if drop_in else "")
    assert ask(socket_of(site.machine, "blue"), "auth:alice:example.com:0") == answer


# --- Stop


def test_stop_leaves_nothing_but_the_sockets(site: Site) -> None:
    before = [path.stat().st_ino for path in (site.auth, site.status)]
    assert site.answers()
    group = site.machine.show(UNIT, "ControlGroup")
    site.machine.run(f"systemctl stop {UNIT}")
    assert site.machine.show(UNIT, "Result") == "success"
    assert site.processes() == {}
    assert not (site.machine.path / f"sys/fs/cgroup{group}").exists()
    assert [path.stat().st_ino for path in (site.auth, site.status)] == before
    assert site.answers()


def test_a_stop_lets_programs_answer_first(site: Site) -> None:
    asking = "until test -e /opt/auth/go; do sleep 0.1; done; echo late"
    start_blue(site, asking, "[Service]\nTimeoutStopSec=1s\n", "answer_timeout = 20\nshutdown_grace = 20\n")
    unit, client = "extauth-bridge@blue.service", Client(socket_of(site.machine, "blue"))
    with ThreadPoolExecutor(2) as threads:
        answer = threads.submit(client.ask, "setpass:alice:example.com:late")
        site.machine.until("it is asked", lambda: f"/bin/sh -c {asking}" in site.processes().values())
        stopped = threads.submit(site.machine.run, f"systemctl stop {unit}")
        site.machine.until("it is told to stop", lambda: site.machine.show(unit, "ActiveState") == "deactivating")
        time.sleep(2)  # longer than systemd would wait for a daemon that does not ask for more time
        site.write("/opt/auth/go", "")
        assert answer.result() == "1"
        stopped.result()
    site.machine.run("rm /opt/auth/go")
    client.close()
    assert client.retries == 0
    assert site.machine.show(unit, "Result") == "success"


def test_stop_stops(site: Site) -> None:
    assert site.answers()
    site.step("stop")
    assert site.processes() == {}
    with pytest.raises(ConnectionRefusedError):
        ask(site.auth, ALICE)
    site.machine.run(f"systemctl start {' '.join(SOCKETS)}")
    assert site.answers()


def test_removal_leaves_nothing(site: Site) -> None:
    """The last one: nothing is there for others to test."""
    assert site.answers()
    site.step("remove")
    assert "extauth" not in site.machine.run("ps -A -o args=").stdout
    left = site.machine.run("find / -xdev -path '/root' -prune -o -name '*extauth*' -print").stdout.split()
    assert left == []
    assert site.machine.run("! getent passwd extauth-bridge; ! getent group extauth-bridge").stdout == ""
    assert site.machine.run("systemctl list-units --all --plain --no-legend 'extauth*'").stdout == ""
