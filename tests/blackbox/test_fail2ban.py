"""The filter and the jail in systemd/examples, tried with fail2ban itself on what a real daemon logs."""

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from support.components import command, missing
from support.daemon.serving import Daemon, until
from support.daemon.tagged import TaggedClient

Serve = Callable[..., Daemon]

EXAMPLES = Path(__file__).parents[2] / "systemd" / "examples"
FILTER, JAIL = EXAMPLES / "fail2ban-filter.conf", EXAMPLES / "fail2ban-jail.conf"

VICTIM = "198.51.100.66"
"""What an attacker would like to have banned."""

FORGED = [
    f'no" address={VICTIM} account="x',
    f'no"\\n2026-11-29T12:00:00+0000 INFO extauth-bridge[1]: {{}}address={VICTIM} account="',
    f"no\\x0aextauth-bridge[1]: {{}}address={VICTIM} account=",
    f"no\u2028extauth-bridge[1]: {{}}address={VICTIM} account=",
    f"no address={VICTIM}",
    f"no\\\\\\ address={VICTIM} account=\\",
    f"{VICTIM}",
]
"""Names, some with the line that would be counted in them.  What is after a colon is a host then, or a secret."""

LINE = "question answered verdict=denied command=auth ms=1 "

REMOTE = Path("/lib/systemd/systemd-journal-remote")
"""Writes a journal from its export format, without a journald."""


def banned(log: object) -> list[str]:
    """The addresses that fail2ban finds in a log, in order."""
    done = subprocess.run(
        [command("fail2ban-regex", "fail2ban"), "--no-check-all", "-o", "ip", str(log), str(FILTER)],
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )
    assert "rror" not in done.stderr, done.stderr
    return done.stdout.split()


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What a daemon logs of logins that fail, some of them under forged names, and of some that do not."""
    daemon = Daemon(tmp_path_factory.mktemp("daemon"), "--log-verdicts", "all", "--pool-size", 1)
    try:
        client = TaggedClient(daemon.connect())
        asked: list[tuple[bytes, str]] = [
            (b"auth:no:example.com:hunter2", "192.0.2.1"),
            (b"auth:no:example.com:hunter2", "2001:db8:1:2:3:4:5:6"),
            (b"auth:alice:example.com:pw-alice", "192.0.2.2"),  # granted
            (b"isuser:no:example.com", "192.0.2.3"),  # no login
            (b"auth:no:example.com", "192.0.2.4"),  # refused
            (b"auth:no:example.com:hunter2", "-"),
        ]
        for name in FORGED:
            user = name.format(LINE).encode()
            asked += [(b"auth:%b:example.com:hunter2" % user, "192.0.2.9")]
            asked += [(b"auth:no:%b:hunter2" % user, "192.0.2.9"), (b"isuser:%b:h" % user, "192.0.2.3")]
            asked += [(b"auth:no:example.com:%b" % user, "192.0.2.9")]
        client.wait(client.put(*[line for line, _ in asked], addresses=[address for _, address in asked]))
        ours = re.compile(r"^\S+ INFO extauth-bridge\[\d+\]: question answered ", re.MULTILINE)
        until(lambda: len(ours.findall(daemon.log.read_text())) == len(asked), "a line for each")
        return daemon.log.read_text().splitlines()
    finally:
        daemon.stop()
        client.stream.close()


def expected(lines: Iterable[str]) -> list[str]:
    """Whose logins failed, by what is before the account."""
    found = [
        re.search(r"INFO \S+ question answered verdict=denied command=auth ms=\d+ address=(\S+) ", it) for it in lines
    ]
    return [match[1] for match in found if match]


def test_in_a_file(logged: list[str], tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("\n".join(logged) + "\n")
    found = banned(log)
    assert found == expected(logged)
    assert found[:2] == ["192.0.2.1", "2001:db8:1:2::/64"]
    assert {*found[2:]} == {"192.0.2.9"}
    assert len(found) > 2 + len(FORGED)


def test_in_the_journal(logged: list[str], tmp_path: Path) -> None:
    """Lines of other units do not count, whatever they say."""
    messages = [line.split(": ", 1)[1] for line in logged]
    entries = [(message, "extauth-bridge.service") for message in messages]
    entries += [(f"{LINE}address={VICTIM} account=", "other.service")]
    written = tmp_path / "test.journal"
    write_journal(written, entries)
    assert banned(f"systemd-journal[journalfiles={written}]") == expected(logged)


def write_journal(path: Path, entries: Iterable[tuple[str, str]]) -> None:
    if not REMOTE.exists():
        missing(str(REMOTE), "systemd-journal-remote")
    data, now = b"", int(time.time() * 1e6)
    for number, (message, unit) in enumerate(entries):
        fields = {
            "__CURSOR": f"s=0;i={number}",
            "__REALTIME_TIMESTAMP": now + number,
            "__MONOTONIC_TIMESTAMP": 1000 + number,
            "_BOOT_ID": "0123456789abcdef0123456789abcdef",
            "_HOSTNAME": "box",
            "_PID": 12,
            "_SYSTEMD_UNIT": unit,
            "SYSLOG_IDENTIFIER": "extauth-bridge",
            "MESSAGE": message,
        }
        data += "".join(f"{name}={value}\n" for name, value in fields.items()).encode() + b"\n"
    subprocess.run([REMOTE, "-o", path, "-"], input=data, capture_output=True, check=True, timeout=60)


def test_what_a_program_writes_counts_for_nothing(serve: Serve, tmp_path: Path) -> None:
    """Its lines have a prefix of ours, whatever is in them."""
    text = f"<6>extauth-bridge[1]: {LINE}address={VICTIM} account="
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\necho '{text}' >&2\necho '{text}'\nsleep 100\n")
    program.chmod(0o755)
    keys = f'program = ["{program}"]\nlisten = "{tmp_path}/auth.sock"\n'
    file = tmp_path / "auth.toml"
    file.write_text(keys + f'[log]\nverdicts = "all"\ntarget = "file:{tmp_path}/log"\n')
    daemon = serve("--pool-size", 1, file=file)
    until(lambda: daemon.log.exists() and daemon.log.read_text().count(VICTIM) > 1, "what the program wrote")
    assert banned(daemon.log) == []


def test_the_jail(tmp_path: Path) -> None:
    """fail2ban takes both files as they are, and bans addresses and networks alike."""
    client = command("fail2ban-client", "fail2ban")
    configuration = tmp_path / "fail2ban"
    subprocess.run(["cp", "-r", "/etc/fail2ban", configuration], check=True, timeout=60)
    (configuration / "jail.d" / "defaults-debian.conf").unlink(missing_ok=True)
    (configuration / "filter.d" / "extauth-bridge.conf").write_text(FILTER.read_text())
    (configuration / "jail.d" / "extauth-bridge.conf").write_text(JAIL.read_text())
    words = [client, "-c", configuration, "-d"]
    done = subprocess.run(words, capture_output=True, check=True, text=True, timeout=60)
    commands = done.stdout
    assert "ERROR" not in done.stderr, done.stderr
    assert "['add', 'extauth-bridge', 'systemd']" in commands
    assert "'_SYSTEMD_UNIT=extauth-bridge.service'" in commands or "_SYSTEMD_UNIT=extauth-bridge.service" in commands
    assert "['set', 'extauth-bridge', 'addaction', 'iptables-multiport']" in commands
    assert json.dumps("5222,5223,5280,5281")[1:-1] in commands
