"""Scenes about mistakes of an operator, programs that never work, and those that may not be killed."""

import functools
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from support import procfs
from support.availability.clients import NotOffered
from support.availability.scene import Scene
from support.availability.stage import Stage, pool_max, troubled
from support.process import COMMAND
from support.programs.bad import PROGRAMS

MISTYPED = {
    "missing": ["/usr/local/bin/no-such-program"],
    "script": [sys.executable, "-I", "-S", "/usr/local/lib/no-such-script.py"],
    "stillborn": troubled(stillborn="yes"),
}
"""Programs that cannot be started, or end as soon as they are."""


async def reload(stage: Stage, *, how: str, kind: str) -> None:
    """The file names a program that does not work; then one that does."""
    await stage.serve(troubled(), pool_size=2)
    await stage.up(2)
    stage.crowd.strangers()
    stage.crowd.others(20)
    await stage.sleep(1)
    programs = set(stage.journal.pids("start"))
    with stage.period() as period:
        stage.configure(MISTYPED[kind], pool_size=2)
        await (refused_command if how == "command" else refused_signal)(stage)
        await stage.watch(5)
        gone = [pid for pid in programs if not procfs.alive(pid)]
    await stage.want_others(period)
    stage.result.want(not gone, f"{len(gone)} of the old programs are gone")
    stage.configure(troubled(work=0.011), pool_size=2)
    if how == "command":
        done = await stage.command("reload", stage.status)
        stage.result.want(done.returncode == 0, f"a good one: exit status {done.returncode}")
    else:
        stage.daemon.process.send_signal(signal.SIGHUP)
    await stage.until(lambda: not any(map(procfs.alive, programs)), "a good one replaces the old programs", 20)
    await stage.aftermath(0)


async def refused_command(stage: Stage) -> None:
    if b"reload [SOCKET]" not in (await stage.command("reload", "--help")).stdout:
        raise NotOffered("the command reload")
    done = await stage.command("reload", stage.status)
    stage.result.want(done.returncode == 1, f"exit status {done.returncode}")
    stage.result.want((done.stdout + done.stderr).strip(), "it does not say why")


async def refused_signal(stage: Stage) -> None:
    stage.daemon.process.send_signal(signal.SIGHUP)
    if await stage.until(lambda: stage.log_lines("configuration (loaded|refused)"), "a word about the reload", 20):
        said = stage.log_lines("configuration (loaded|refused)")[-1]
        stage.result.want("refused" in said, "not refused")


async def reload_slow(stage: Stage, *, probe: bool) -> None:
    """The new programs work, but take longer to start than a question may take."""
    await stage.serve(troubled(), pool_size=2)
    await stage.up(2)
    stage.crowd.strangers()
    stage.crowd.others(20)
    await stage.sleep(1)
    programs = set(stage.journal.pids("start"))
    probing: dict[str, Any] = {"probe": "u1@h"} if probe else {}
    with stage.period() as period:
        stage.configure(troubled(start=stage.scaled(6)), pool_size=2, **probing)
        stage.daemon.process.send_signal(signal.SIGHUP)
        await stage.until(lambda: not any(map(procfs.alive, programs)), "the new programs replace the old ones", 30)
        await stage.watch(5)
    await stage.want_others(period)


async def unkillable(stage: Stage) -> None:
    """Every program hangs, and has changed its user, so that the daemon, who is not root, may not end it."""
    if os.geteuid() != 0 or not (shutil.which("gcc") and shutil.which("setpriv")):
        raise NotOffered("root, gcc and setpriv")
    daemon, other = 54321, 54322
    program = compiled(stage.folder, other)
    for path in (stage.folder, *stage.folder.rglob("*")):
        if path != program:
            os.chown(path, daemon, daemon)
    # A Python below /root stays readable.
    user = ["setpriv", f"--reuid={daemon}", f"--regid={daemon}", "--clear-groups"]
    user += ["--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"]
    await stage.serve([str(program)], command=[*user, *COMMAND], pool_size=2)
    stage.crowd.others()
    await stage.until(lambda: stage.programs >= 2, "two programs", 20)
    await stage.watch(30)
    pids = stage.running()
    users = {procfs.status(pid)["Uid"].split()[0] for pid in pids}
    stage.result.said.append(f"{len(pids)} processes at the end")
    stage.result.want(users == {str(other)}, f"programs of the users {users}")
    stage.want_at_most(pool_max(2))
    stage.crowd.stop()
    stage.stop(may_kill=False)


def compiled(folder: Path, owner: int) -> Path:
    """The program, owned by somebody else and with the setuid bit."""
    folder.chmod(0o755)
    program = folder / "hang_setuid"
    subprocess.run(["gcc", "-O2", "-D_GNU_SOURCE", "-o", program, PROGRAMS / "hang_setuid.c"], check=True, timeout=60)
    os.chown(program, owner, owner)
    program.chmod(0o4755)
    return program


async def crash_loop(stage: Stage, *, option: str, starts: float) -> None:
    """No program works: it ends at its start, or at each question; that must not eat the machine."""
    await stage.serve(troubled(**{option: "yes"}), pool_size=4)
    stage.crowd.strangers()
    stage.crowd.others(40)
    await stage.sleep(2)
    begun, cpu = len(stage.journal.events("start")), cpu_seconds(stage.daemon.process.pid)
    with stage.period() as period:
        await stage.watch(20)
    seconds = period.end - period.begin
    rate = (len(stage.journal.events("start")) - begun) / seconds
    used = (cpu_seconds(stage.daemon.process.pid) - cpu) / seconds
    stage.result.said.append(f"{rate:.1f} starts a second, {used:.0%} of a CPU")
    stage.result.want(rate <= starts, f"{rate:.1f} starts a second")
    stage.result.want(used <= 0.6, f"{used:.0%} of a CPU")
    stage.want_at_most(pool_max(4))


def cpu_seconds(pid: int) -> float:
    """What a process and the children it has reaped have used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


SCENES = (
    *(
        Scene(
            f"reload-{how}-{kind}",
            f"a reload with a program that {what}, by {'the command' if how == 'command' else 'SIGHUP'}; 20/s",
            "refused" + (", exit status 1" if how == "command" else "") + "; 0 failed, 0 late",
            functools.partial(reload, how=how, kind=kind),
        )
        for how in ("command", "signal")
        for kind, what in (
            ("missing", "does not exist"),
            ("script", "is mistyped in its arguments"),
            ("stillborn", "ends at its start"),
        )
    ),
    *(
        Scene(
            f"reload-slow{'-probe' if probe else ''}",
            f"a reload with a program that starts in 6 s, by SIGHUP; {'a' if probe else 'no'} probe; 20/s",
            "0 failed, 0 late",
            functools.partial(reload_slow, probe=probe),
        )
        for probe in (True, False)
    ),
    Scene(
        "unkillable",
        "programs that hang and have changed their user, pool 2, for 30 s",
        f"at most {pool_max(2)} processes",
        unkillable,
    ),
    Scene(
        "crash-start",
        "programs that end at their start, pool 4, 40/s",
        "at most 2 starts a second, 60 % of a CPU",
        functools.partial(crash_loop, option="stillborn", starts=2),
        quiet=False,
    ),
    Scene(
        "crash-work",
        "programs that end at each question, pool 4, 40/s",
        "at most 25 starts a second, 60 % of a CPU",
        functools.partial(crash_loop, option="dies", starts=25),
        quiet=False,
    ),
)
