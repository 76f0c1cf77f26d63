"""What tests keep for the next run: made once, by one at a time; what is mounted there is not removed with it."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.components import command, missing
from support.machine.cache import UNFINISHED, clear, kept, locked, mounts, sealed

# Seconds, generous: reached only by a test that fails.
PATIENCE = 30.0


@pytest.fixture
def treasure(tmp_path: Path) -> Path:
    """A folder of somebody else's, which is to be there afterwards as it is now."""
    (tmp_path / "treasure" / "chest").mkdir(parents=True)
    (tmp_path / "treasure" / "chest" / "gold").write_text("gold")
    return tmp_path / "treasure"


def whole(treasure: Path) -> bool:
    return (treasure / "chest" / "gold").read_text() == "gold"


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[[Path, Path], None]]:
    """Mounts one folder on another; on the same file system, so that no device number tells where it begins."""
    if os.geteuid():
        missing("root, to mount", "sudo")

    def bind(one: Path, other: Path) -> None:
        other.mkdir(parents=True, exist_ok=True)
        done = subprocess.run([command("mount", "mount"), "--bind", one, other], stderr=subprocess.PIPE, check=False)
        if done.returncode:
            missing(f"root with CAP_SYS_ADMIN, to mount ({done.stderr.decode().strip()})", "sudo")

    yield bind
    for place in mounts(tmp_path):
        subprocess.run(["umount", place], check=True)


# --- Clearing away


def test_nothing_that_is_mounted_is_removed(
    tmp_path: Path, treasure: Path, mount: Callable[[Path, Path], None]
) -> None:
    folder, neighbour = tmp_path / UNFINISHED, tmp_path / f"{UNFINISHED}-too"
    (folder / "usr" / "bin").mkdir(parents=True)
    (folder / "usr" / "bin" / "sh").touch()
    mount(treasure, folder / "proc")
    mount(treasure, folder / "proc")  # one upon the other, as two interrupted runs leave them
    mount(treasure, folder / "proc" / "chest")
    mount(treasure, folder / "with space\\and\nmore")
    mount(treasure, folder)
    mount(treasure, neighbour)
    clear(folder)
    assert not folder.exists()
    assert whole(treasure)
    assert mounts(tmp_path) == [str(neighbour)]


def test_what_is_in_use_is_left_alone(tmp_path: Path, treasure: Path, mount: Callable[[Path, Path], None]) -> None:
    folder = tmp_path / UNFINISHED
    (folder / "etc").mkdir(parents=True)
    mount(treasure, folder / "proc")
    mount(treasure, folder / "proc" / "chest")
    inside = os.open(folder / "proc", os.O_RDONLY)
    try:
        with pytest.raises(subprocess.CalledProcessError):
            clear(folder)
        assert (folder / "etc").exists()
        assert whole(treasure)
        assert mounts(folder) == [str(folder / "proc")]
    finally:
        os.close(inside)
    clear(folder)
    assert not folder.exists()
    assert whole(treasure)


def test_no_link_is_followed(tmp_path: Path, treasure: Path) -> None:
    folder = tmp_path / UNFINISHED
    folder.mkdir()
    (folder / "root").symlink_to(treasure)
    clear(folder)
    folder.symlink_to(treasure)
    clear(folder)
    clear(folder)  # that there is none is all right
    assert not folder.is_symlink()
    assert whole(treasure)


def test_nobody_sees_what_a_sealed_command_mounts(
    tmp_path: Path, treasure: Path, mount: Callable[[Path, Path], None]
) -> None:
    """Not while it runs, and not when it was interrupted; all that it had started is gone then too."""
    place = tmp_path / "proc"
    mount(treasure, tmp_path / "may we?")
    script = 'mount --bind "$0" "$1"; sleep 1000 & echo "mounted $(ls "$1")"; wait'
    words = [*sealed(), "sh", "-euc", script, str(treasure), str(place)]
    place.mkdir()
    with subprocess.Popen(words, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        try:
            assert running.stdout.readline() == b"mounted chest\n"
            assert mounts(place) == []
        finally:
            running.kill()
        assert running.stdout.read() == b"", "it ends when the last of them is gone"
    clear(place)
    assert whole(treasure)


# --- Keeping


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EXTAUTH_TEST_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_it_is_made_once_and_again_where_it_is_to_be_another(cache: Path) -> None:
    made: list[Path] = []
    first = kept("thing", ["a", "b"], made.append)
    assert kept("thing", ["a", "b"], made.append) == first
    assert kept("thing", ["a", "c"], made.append) != first
    assert len(made) == 2
    assert all(path.parent == cache for path in made)


def test_what_was_interrupted_is_never_taken_for_finished(cache: Path) -> None:
    def interrupted(target: Path) -> None:
        (target / "half").touch()
        raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            kept("thing", ["a"], interrupted)
        assert os.listdir(cache / UNFINISHED) == ["half"]
    final = kept("thing", ["a"], lambda target: (target / "all").touch())
    assert os.listdir(final) == ["all"]
    assert os.listdir(cache) == [final.name]


def test_an_interrupted_run_is_cleared_away_but_nothing_that_it_had_mounted(
    cache: Path, treasure: Path, mount: Callable[[Path, Path], None]
) -> None:
    mount(treasure, cache / UNFINISHED / "proc")
    final = kept("thing", ["a"], lambda target: (target / "all").touch())
    assert os.listdir(final) == ["all"]
    assert whole(treasure)


def test_one_waits_while_another_makes_it(cache: Path) -> None:
    made: list[Path] = []
    final = kept("thing", ["a"], made.append)
    elsewhere = final.rename(cache / "elsewhere")
    with ThreadPoolExecutor(1) as thread:
        with locked(cache):
            waiting = thread.submit(kept, "thing", ["a"], made.append)
            end = time.monotonic() + PATIENCE
            while not somebody_waits_for(cache):
                assert time.monotonic() < end, "it does not wait"
                time.sleep(0.01)
            elsewhere.rename(final)
        assert waiting.result(PATIENCE) == final
    assert len(made) == 1


def somebody_waits_for(cache: Path) -> bool:
    waiting = [line for line in Path("/proc/locks").read_text().splitlines() if "->" in line]
    return any(line.split()[-3].endswith(f":{cache.stat().st_ino}") for line in waiting)
