"""Where it happens: a Prosody, what it asks, and the whole of one run through the module or on terminals."""

import os
import random
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import trio

from support import procfs
from support.logins.chaos import Chaos, Daemons
from support.logins.daemon import Daemon, Line, keeper
from support.logins.runs import Crowd
from support.logins.tally import Tally
from support.prosody import terminals
from support.prosody.running import running
from support.prosody.server import Prosody

DIRECT = ("one.example", "two.example")  # on one connection to the daemon
CUT = "three.example"  # on one that can be cut, and with passwords as clients send them


@contextmanager
def _daemon(directory: Path) -> Iterator[Daemon]:
    directory.mkdir()
    daemon = Daemon(directory)
    try:
        daemon.configure()
        daemon.start("alone")
        yield daemon
    finally:
        daemon.close()
        for pid in _left_behind(daemon.state):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _left_behind(state: Path) -> Iterator[int]:
    """Programs that hang or are stopped outlive a daemon that was killed."""
    for pid in (int(one.name) for one in Path("/proc").iterdir() if one.name.isdigit()):
        if procfs.arguments(pid)[-1:] == [str(state)]:
            yield pid


async def _under(chaos: Chaos, pauses: tuple[int, int], crowd: Crowd, logins: int, at_once: int) -> None:
    """The logins while the chaos lasts; then everything gets well again."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(chaos.run, *pauses)
        await crowd.log_in(logins, at_once)
        nursery.cancel_scope.cancel()
    crowd.tally.calm = await crowd.calm()
    await crowd.check_doubtful()


def _check_logs(*logs: str) -> None:
    for text in logs:
        assert "pw:" not in text, "a password is in a log"
        assert "Traceback" not in text and "traceback" not in text, text[-3000:]


async def through_the_module(logins: int, seed: int) -> Tally:
    """So many logins through our module."""
    with running(level="info") as prosody, _daemon(prosody.root / "d") as daemon:
        await daemon.answers()
        chance = random.Random(seed + 2)
        line = Line(prosody.root / "line.sock", daemon.path, chance)
        for host in DIRECT:
            prosody.add_host(host, extauth_bridge_socket=daemon.path)
        prosody.add_host(CUT, extauth_bridge_socket=line.path, extauth_bridge_saslprep=False)
        crowd = Crowd("Through the module", seed, prosody.port, (*DIRECT, CUT), changing=0.01)
        chaos = Daemons(chance, crowd.tally, daemon, line)
        chaos.steps.append(("Prosody's configuration read again", lambda: trio.to_thread.run_sync(prosody.hang_up)))
        async with trio.open_nursery() as nursery:
            await nursery.start(line.run)
            await _under(chaos, (50, 200), crowd, logins, at_once=48)
            nursery.cancel_scope.cancel()
        _check_logs(prosody.log(), daemon.log.read_text(errors="replace"))
    return crowd.tally


OWN, RELAYED, HASTY = "own.example", "relayed.example", "hasty.example"


async def on_terminals(logins: int, seed: int) -> Tally:
    """So many logins through helpers on terminals: one with programs of its own, a relay to the daemon, and one whose
    Prosody gives up before it answers, which must cost logins and never let anybody in."""
    with running(level="info", on_terminals=True) as prosody, _daemon(prosody.root / "d") as daemon:
        await daemon.answers()
        helpers = prosody.root / "helpers.log"
        log = {"target": f"file:{helpers}"}
        (prosody.root / "own").mkdir()
        own = {"program": keeper(daemon.state), "answer_timeout": 1.0, "pool_size": 2, "log": log}
        helper = terminals.helper(prosody.root / "own" / "auth.toml", **own)
        terminals.add_host(prosody, OWN, helper, 1.5)
        terminals.add_host(prosody, HASTY, helper, 0.3)
        (prosody.root / "relay").mkdir()
        relay = {"connect": daemon.path, "log": log}
        terminals.add_host(prosody, RELAYED, terminals.helper(prosody.root / "relay" / "auth.toml", **relay), 5)
        crowd = Crowd("On terminals", seed, prosody.port, (OWN, RELAYED, HASTY), changing=0.02, cut=True)
        chaos = Daemons(random.Random(seed + 2), crowd.tally, daemon, None)
        chaos.programs = lambda: daemon.programs() + _programs_of_helpers(prosody.pid)
        _add_troubles_of_prosody(chaos, prosody)
        await _under(chaos, (5, 30), crowd, logins, at_once=6)
        _check_logs(prosody.log(), *(one.read_text(errors="replace") for one in (daemon.log, helpers)))
    return crowd.tally


def _programs_of_helpers(prosody: int) -> list[int]:
    helpers = [one.pid for one in procfs.children(prosody)]
    return [program.pid for one in helpers for program in procfs.children(one) if not program.is_zombie]


def _add_troubles_of_prosody(chaos: Chaos, prosody: Prosody) -> None:
    """Its signals interrupt a wait for an answer; a module that is loaded anew starts a helper and asks it at once."""

    async def hang_up() -> None:
        prosody.signal(signal.SIGHUP)

    async def child() -> None:
        prosody.signal(signal.SIGCHLD)

    async def load_anew() -> None:
        host = chaos.chance.choice((OWN, RELAYED, HASTY))
        await trio.to_thread.run_sync(prosody.shell, f'module:reload("auth_external_insecure", "{host}")')

    chaos.steps += [
        ("Prosody's configuration read again", hang_up),
        ("Prosody's wait interrupted", child),
        ("a helper started anew", load_anew),
    ]
