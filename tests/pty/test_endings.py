"""How a helper ends: by itself when its client is gone, with status 0 whatever happens, and with nothing left over."""

import contextlib
import os
import signal
import socket
import stat
import time

import pytest
from support import procfs
from support.daemon.serving import until
from support.faults import HANGING
from support.pty.site import BLOCKING, EMULATED, WRONG, Site, all_right, auth, tree, until_gone


@pytest.mark.slow
@pytest.mark.parametrize("name", ["TERM", "HUP", "INT"])
@pytest.mark.parametrize("kind", ["lua", "lpty12", "wrapped"])
def test_signal_ends_it_with_0_and_the_next_query_starts_another(site: Site, kind: str, name: str) -> None:
    client = site.client(kind)
    site.ready(client)
    all_right(client)
    processes = {site.bridge_pid(client), *site.started()}
    site.kill(site.bridge_pid(client), name)
    site.until_ended(client)
    assert client.status() == "exit 0"
    assert not until_gone(processes)
    site.ready(client)
    all_right(client)


@pytest.mark.parametrize("name", ["TERM", "HUP", "INT"])
def test_signal_during_a_slow_start(site: Site, name: str) -> None:
    """Prosody may be told to reload its modules at any moment: the start is no exception to status 0."""
    gate = site.slow_import()
    client = site.emulation("lpty12", command=site.command(before=gate))
    client.start()
    site.until_raw(client)
    site.until_importing()
    site.kill(client.pid(), name)
    site.finish_import()  # it may wait until it has all it needs for an orderly end
    assert client.wait() == "exit 0"
    assert client.pending() == 0


@pytest.mark.parametrize("kind", ["lpty12", "lpty10"])
def test_client_crashes_during_a_slow_start(site: Site, kind: str) -> None:
    gate = site.slow_import()
    client = site.emulation(kind, command=site.command(before=gate))
    client.start()
    site.until_importing()
    processes = set(tree(client.process.pid))
    assert processes
    client.process.kill()
    client.process.wait()
    site.finish_import()
    assert not until_gone(processes)


def test_terminal_is_raw_and_descriptors_are_closed_before_anything_slow(site: Site) -> None:
    gate = site.slow_import()
    client = site.emulation("lpty12", command=site.command(before=gate))
    client.start()
    site.until_importing()
    assert site.is_raw(client)
    port, *inodes = client.call("inherited", 0)
    links = procfs.descriptors(client.pid())
    assert not {f"socket:[{inode}]" for inode in inodes} & set(links.values())
    assert "/dev/ptmx" not in links.values()
    assert port
    site.finish_import()
    all_right(client)


def test_terminal_is_raw_before_the_configuration_is_read(site: Site) -> None:
    reading = site.root / "reading"
    held = f"""
        import os, time
        look = os.stat
        def look_for_ever(path, *arguments, **options):
            if path == {str(site.config)!r}:
                os.close(os.open({str(reading)!r}, os.O_CREAT))
                time.sleep(600)
            return look(path, *arguments, **options)
        os.stat = look_for_ever
    """
    client = site.faulty(held)
    client.start()
    until(reading.exists, "the configuration to be read")
    assert site.is_raw(client)
    assert "/dev/ptmx" not in procfs.descriptors(client.pid()).values()
    os.kill(client.pid(), signal.SIGTERM)
    assert client.wait() == "exit 0"


@pytest.mark.slow
@pytest.mark.parametrize("busy", [False, True], ids=["idle", "asked"])
@pytest.mark.parametrize("kind", ["lpty12", "lpty10", "nonblocking"])
def test_hang_up_is_the_end_of_input(site: Site, kind: str, busy: bool) -> None:
    site.configure(env={"GATED": "slow"}, shutdown_grace=0.3, answer_timeout=1.0)
    client = site.emulation(kind)
    site.ready(client)
    all_right(client)
    processes = set(tree(client.process.pid))
    if busy:
        client.send(auth("slow").encode() + b"\n")
        site.backend.until(auth("slow"))
    client.hangup()
    assert client.wait() == "exit 0"
    assert not until_gone(processes)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in BLOCKING if kind != "wrapped"])
def test_clients_crash_leaves_nothing_and_frees_its_port(site: Site, kind: str) -> None:
    """A program that answers never and ignores the end of its input goes too."""
    site.configure(env={"GATED": "slow"}, shutdown_grace=0.3)
    client = site.client(kind)
    site.ready(client)
    port = 0 if kind == "lua" else int(client.call("inherited", 0)[0])
    client.begin(auth("slow").encode() + b"\n")
    site.backend.until(auth("slow"))
    processes = set(tree(client.process.pid))
    assert len(processes) >= 2
    client.process.kill()
    client.process.wait()
    if port:
        # At once: neither bridge nor programs have it, though they may still be on their way out.
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            other.bind(("127.0.0.1", port))
            other.listen()
    assert not until_gone(processes)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["lua", *EMULATED])
def test_inherited_descriptors_are_closed(site: Site, kind: str) -> None:
    """Prosody's listener, the user's socket, its log, the master itself: neither bridge nor program has them."""
    site.configure(pool_size=2)
    client = site.client(kind)
    site.ready(client)
    all_right(client)
    theirs = procfs.descriptors(client.process.pid)
    bridge = site.bridge_pid(client)
    for pid in (bridge, *site.started()):
        mine = procfs.descriptors(pid)
        shared = {link for link in mine.values() if link in theirs.values() and not link.startswith("anon_inode:")}
        terminals = {link for link in shared if link.startswith("/dev/pts/")}
        assert shared - {"/dev/null", theirs[2]} == (terminals if pid == bridge else set()), f"{pid}: {mine}"
    for pid in site.started():
        mine = procfs.descriptors(pid)
        # Beside its three pipes it has the control socket it opened itself.
        assert sorted(mine)[:3] == [0, 1, 2]
        assert all(mine[number].startswith(("pipe:", "socket:")) for number in (0, 1, 2)), mine
        assert len(mine) == 4, mine


def test_user_sees_the_end_of_his_connection_when_the_client_crashes(site: Site) -> None:
    site.configure(env={"GATED": "slow"})
    client = site.emulation("lpty12")
    site.ready(client)
    with socket.create_connection(("127.0.0.1", int(client.call("inherited", 0)[0]))) as user:
        client.process.kill()
        client.process.wait()
        user.settimeout(10)
        with contextlib.suppress(ConnectionResetError):
            assert user.recv(1) == b""


def test_programs_do_not_know_the_terminal(site: Site) -> None:
    site.configure(pool_size=2)
    client = site.emulation("lpty12")
    site.ready(client)
    all_right(client)
    for pid in site.started():
        program = procfs.process(pid)
        assert program is not None
        assert program.terminal == 0
        assert program.session == pid
        assert os.readlink(f"/proc/{pid}/cwd") == "/"
        status = procfs.status(pid)
        assert int(status["SigBlk"], 16) == 0
        assert procfs.environment(pid)["USERS"] == str(site.users)


def test_no_core_file_and_no_secret_in_the_process_list(site: Site) -> None:
    client = site.emulation("lpty12")
    site.ready(client)
    all_right(client)
    pid = site.bridge_pid(client)
    assert procfs.limit(pid, "Max core file size")[0] == "0"
    shown = " ".join(procfs.arguments(pid)) + str(procfs.environment(pid))
    assert not any(secret in shown for secret in site.secrets)


def test_flags_of_the_terminal_are_left_blocking(site: Site) -> None:
    """O_NONBLOCK belongs to the open file, which lpty's slave descriptor in the client shares."""
    client = site.emulation("lpty12")
    before = site.slave_flags(client)
    site.ready(client)
    all_right(client)
    site.kill(site.bridge_pid(client), "TERM")
    assert client.wait() == "exit 0"
    assert site.slave_flags(client) == before


def test_two_signals_end_it_at_once(site: Site) -> None:
    site.configure(env={"GATED": "slow"}, shutdown_grace=30, answer_timeout=30)
    client = site.emulation("lpty12")
    site.ready(client)
    client.begin(auth("slow").encode() + b"\n", 0.2)
    site.backend.until(auth("slow"))
    assert client.finish().verdict == "none"
    processes = set(tree(client.process.pid))
    # Again and again: of two that come before the first was taken in, the kernel keeps one.
    deadline = time.monotonic() + 10
    while client.status() == "running" and time.monotonic() < deadline:
        os.kill(client.pid(), signal.SIGTERM)
        time.sleep(0.05)
    assert client.status() == "exit 0"
    assert not until_gone(processes)


@pytest.mark.slow
def test_one_that_cannot_stop_its_programs_is_ended_by_force_with_0(site: Site) -> None:
    """With any other status Prosody would never start it again."""
    site.configure(shutdown_grace=0.3, answer_timeout=1.0)
    client = site.faulty(HANGING)
    site.ready(client)
    all_right(client)
    processes = set(tree(client.process.pid))
    os.kill(client.pid(), signal.SIGTERM)
    assert client.wait() == "exit 0"
    assert client.pending() == 0, "nothing but answers is ever written there"
    assert not until_gone(processes)
    assert "shutdown forced" in site.log_text()


def test_executable_configuration_file(site: Site) -> None:
    """`#!` makes the file itself the command; Linux runs an interpreter that is a script itself."""
    bridge = site.command(name="extauth-bridge").with_name("extauth-bridge")
    bridge.write_text(bridge.read_text().replace(f"run {site.config}", '"$@"'))
    site.configure()
    site.config.write_text(f"#!{bridge}\n{site.config.read_text()}")
    site.config.chmod(site.config.stat().st_mode | stat.S_IXUSR)
    for kind in ("lua", "lpty12"):
        client = site.client(kind, command=site.config)
        site.ready(client)
        all_right(client)
        assert client.ask(auth("bob", WRONG)) == "0"
