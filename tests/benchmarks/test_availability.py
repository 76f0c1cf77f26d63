"""The table of what must hold can be printed, and its load measures the daemon, not itself."""

import json
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import trio
from support.availability.clients import TICK, NotOffered, Plain, Tagged, Watch
from support.availability.crowd import Crowd, right

HERE = Path(__file__).resolve().parent


@pytest.mark.slow
def test_the_table_is_printed(tmp_path: Path) -> None:
    """One quick scene; whether it holds is not the matter here."""
    kept = tmp_path / "kept.json"
    argv = [sys.executable, str(HERE / "availability.py"), "--scenes", "auth-first-plain", "--json", str(kept)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode in (0, 1), done.stderr
    (scene,) = json.loads(kept.read_text())["scenes"]
    assert scene["others"]["asked"] == 5
    assert scene["starts"] >= 2
    assert "auth-first-plain: 100 isuser of one login" in done.stdout
    assert f"{int(not scene['broken'])} of 1 hold, 0 not offered" in done.stdout


def answer_one(listener: socket.socket) -> None:
    """A daemon with CPU of its own: answers one question after a tenth of a second."""
    with listener, listener.accept()[0] as client:
        client.recv(4096)
        time.sleep(0.1)
        client.sendall(b"1\n")


async def test_a_generator_that_is_held_up_blames_nobody(tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "socket"))
    listener.listen()
    thread = threading.Thread(target=answer_one, args=(listener,))
    thread.start()
    watch = Watch()
    trio.lowlevel.add_instrument(watch)
    async with trio.open_nursery() as nursery:
        crowd = Crowd(Plain(tmp_path / "socket", watch), nursery, 10)
        nursery.start_soon(crowd.ask, right("alice"), "others")
        await trio.sleep(0.02)
        held_up_since = time.monotonic()
        time.sleep(1.0)  # noqa: ASYNC251 (somebody else has the CPU)
        thread.join()
        await crowd.settled()
    trio.lowlevel.remove_instrument(watch)
    (login,) = crowd.logins
    assert login.granted
    assert login.answered < held_up_since + 2 * TICK
    assert watch.lag > 0.8


async def serve(path: Path, first: bytes, task_status: trio.TaskStatus[None]) -> None:
    """A daemon that answers a client's first line with `first`, and then two tagged ones, the second of them first."""

    async def handle(stream: trio.SocketStream) -> None:
        assert await stream.receive_some(4096) == b"extauth-bridge:tagged:1\n"
        await stream.send_all(first)
        data = b""
        while data.count(b"\n") < 2 and (more := await stream.receive_some(4096)):
            data += more
        for line in reversed(data.splitlines()):
            tag, _address, question = line.split(b" ")
            await stream.send_all(b"%s %d\n" % (tag, b"pw-" in question))

    with trio.socket.socket(trio.socket.AF_UNIX) as listener:
        await listener.bind(str(path))
        listener.listen()
        await trio.serve_listeners(handle, [trio.SocketListener(listener)], task_status=task_status)


async def test_tagged_answers_find_their_questions(tmp_path: Path, nursery: trio.Nursery) -> None:
    await nursery.start(serve, tmp_path / "socket", b"1\n")
    crowd = Crowd(Tagged(tmp_path / "socket", Watch(), nursery), nursery, 10)
    async with trio.open_nursery() as both:
        both.start_soon(crowd.ask, right("alice"), "alice")
        both.start_soon(crowd.ask, b"auth:bob:h:hunter2", "bob")
    assert {login.who: login.verdict for login in crowd.logins} == {"alice": "1", "bob": "0"}


async def test_a_daemon_without_tags_is_known(tmp_path: Path, nursery: trio.Nursery) -> None:
    await nursery.start(serve, tmp_path / "socket", b"0\n")
    with pytest.raises(NotOffered):
        await Tagged(tmp_path / "socket", Watch(), nursery).connect()
