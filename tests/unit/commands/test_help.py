"""`extauth-bridge help`: every page, with and without anything to show it with."""

import os
import pty
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from support.components import command
from support.process import COMMAND, PATIENCE, environment
from support.readme import README

from bridge.commands import help as help_
from bridge.commands import mdoc
from bridge.commands.cli import COMMANDS, UsageError
from bridge.config.options import KEYS, Key

PAGES = help_.pages()


def run(*words: str, path: str = "", **extra: str) -> subprocess.CompletedProcess[str]:
    """Run `extauth-bridge help`, which finds the commands in `path` only."""
    return subprocess.run(
        [*COMMAND, "help", *words], check=False, capture_output=True, text=True, timeout=PATIENCE,
        env=environment({"PATH": path, **extra}),
    )  # fmt: skip


def on_terminal(tmp_path: Path, scripts: dict[str, str], **extra: str) -> str:
    """What `extauth-bridge help ask` shows on a terminal where just these commands are installed."""
    for name, script in scripts.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    ours, theirs = pty.openpty()
    extra = {"PATH": str(tmp_path), "PAGER": "", **extra}
    process = subprocess.Popen([*COMMAND, "help", "ask"], stdin=theirs, stdout=theirs, env=environment(extra))
    os.close(theirs)
    shown = b""
    try:
        while more := os.read(ours, 65536):
            shown += more
    except OSError:  # EIO: nobody else has it open
        pass
    os.close(ours)
    assert process.wait(PATIENCE) == 0
    return shown.decode().replace("\r\n", "\n")


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_only_what_can_be_rendered(name: str) -> None:
    lines = PAGES[name].read_text().splitlines()
    assert all(line.isascii() and line == line.rstrip() for line in lines)
    macros = {re.split(r"[ ]", line[1:])[0] for line in lines if line.startswith(".") and not line.startswith('.\\"')}
    assert macros - mdoc.INLINE <= mdoc.BLOCKS
    title, section = name.upper().rsplit(".", 1)
    assert mdoc.render(PAGES[name].read_text()).startswith(f"{title}({section})\n")


def words(text: str) -> list[str]:
    """The words of a rendered page, whatever its lines; without bullets, quotes and the line at the top and the end."""
    bare = re.sub(r"[`']|^ +[-o] ", " ", "\n".join(text.strip().splitlines()[1:]), flags=re.MULTILINE)
    return re.sub(r"\s+", " ", bare).split()


@pytest.mark.parametrize("name", PAGES)
def test_it_says_what_mandoc_makes_of_it(name: str, tmp_path: Path) -> None:
    mandoc = command("mandoc", "mandoc")
    page = PAGES[name].read_text()
    done = subprocess.run(
        [mandoc, "-T", "ascii", "-O", "width=200"],
        input=page,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    text = re.sub(r".\x08", "", done.stdout)
    assert words("\n".join(text.rstrip().splitlines()[:-1])) == words(mdoc.render(page))


def test_what_a_display_holds_is_shown_as_it_is() -> None:
    shown = mdoc.render(".Bd -literal -offset indent\na \\-\\-b  \\(aqc\\(aq \\e\n\n  d\n.Ed\n")
    assert shown == "         a --b  'c' \\\n\n           d\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_page(name: str) -> None:
    assert file_for(name) == f"extauth-bridge-{name}.1"


def file_for(topic: str) -> str:
    page = help_.find(topic)
    return page.name if page else ""


@pytest.mark.parametrize(
    ("topic", "page"),
    [
        ("client", "extauth-bridge-client.7"),
        ("extauth-bridge", "extauth-bridge.1"),
        ("extauth-bridge(7)", "extauth-bridge.7"),
        ("extauth-bridge.7", "extauth-bridge.7"),
        ("toml", "extauth-bridge.toml.5"),
        ("extauth-bridge.toml", "extauth-bridge.toml.5"),
        ("extauth-sqlite", "extauth-sqlite.1"),
        *help_.SYNONYMS.items(),
    ],
)
def test_what_is_found(topic: str, page: str) -> None:
    assert file_for(topic) == page


def test_the_readmes_topics_are_found() -> None:
    rows = re.findall(r"^\| `([a-z]+)` \| .*`([\w.-]+)\((\d)\)` \|$", README.read_text(), re.MULTILINE)
    assert len(rows) == 10
    for topic, page, section in rows:
        assert file_for(topic) == f"{page}.{section}"


def test_no_page_is_found_where_there_is_none() -> None:
    with pytest.raises(UsageError, match="no page about 'kerberos': `extauth-bridge help --list` lists them all"):
        help_.main(["kerberos"], None)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("LDAP", "extauth-bridge-howto(7): PROGRAMS TO START FROM"),
        ("generic", "extauth-bridge-howto(7): A PROGRAM WRITTEN FOR PROSODY"),
        ("csv", "extauth-sqlite(1): SYNOPSIS; IMPORT AND EXPORT"),
        ("piefxis", "extauth-sqlite(1): IMPORT AND EXPORT; EXAMPLES"),
    ],
)
def test_pages_that_speak_of_a_word_are_named_those_that_do_most_first(word: str, said: str) -> None:
    done = run(word)
    assert (done.returncode, done.stderr) == (0, "")
    first, empty, most, *_ = done.stdout.splitlines()
    assert (first, empty, most) == (f"No page is called '{word}'. These speak of it:", "", said)


def test_a_word_is_found_from_its_beginning_on() -> None:
    assert "(1)" in help_.mentions("pyth")
    with pytest.raises(UsageError, match="no page about 'ython'"):
        help_.mentions("ython")


@pytest.mark.parametrize(
    ("typed", "meant"), [("statuss", "status"), ("troubelshooting", "troubleshooting"), ("pool_siez", "pool_size")]
)
def test_the_nearest_topic_is_suggested(typed: str, meant: str) -> None:
    with pytest.raises(UsageError, match=f"no page about '{typed}'; did you mean {meant}[?] `extauth-bridge help"):
        help_.main([typed], None)


def test_every_topic_is_found() -> None:
    for topic in help_.topics():
        assert help_.find(topic) is not None or help_.setting(topic)


def test_the_list_names_every_page() -> None:
    listed = [line.split(")")[0].replace("(", ".") for line in run("--list").stdout.splitlines()]
    assert listed == [*PAGES]


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.name)
def test_a_setting_is_explained_alone(key: Key) -> None:
    text = " ".join(help_.setting(key.name).split())
    assert text.startswith(f"{key.name} {key.meaning[0].upper()}{key.meaning[1:]}")
    assert text.count("Default: ") == 1


def test_a_setting_without_a_page_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert help_.main(["pool-max"], None) == 0
    assert capsys.readouterr().out == help_.setting("pool_max")
    assert run().stdout == rendered("extauth-bridge")


def test_in_a_pipe_it_is_plain_text(tmp_path: Path) -> None:
    done = run("ask", path=os.environ["PATH"])
    assert (done.stdout, done.stderr, done.returncode) == (rendered("ask"), "", 0)


def rendered(topic: str) -> str:
    return mdoc.render(PAGES[file_for(topic)].read_text())


def test_on_a_terminal_man_shows_it(tmp_path: Path) -> None:
    [option, path] = on_terminal(tmp_path, {"man": 'echo "$@"'}).split()
    assert (option, Path(path).name) == ("-l", "extauth-bridge-ask.1")


def test_else_mandoc_does(tmp_path: Path) -> None:
    shown = on_terminal(tmp_path, {"man": "exit 1", "mandoc": 'echo "mandoc $1"'})
    assert shown == "mandoc -a\n"


def test_else_a_pager(tmp_path: Path) -> None:
    shown = on_terminal(tmp_path, {}, PAGER=f"{shutil.which('cat')} -n")
    assert shown.startswith("     1\tEXTAUTH-BRIDGE-ASK(1)\n")


def test_else_the_terminal_alone(tmp_path: Path) -> None:
    assert on_terminal(tmp_path, {}) == rendered("ask")


def test_a_reader_need_not_want_all_of_it() -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as closed:
        done = subprocess.run(
            [*COMMAND, "help", "howto"], stdout=closed, stderr=subprocess.PIPE, text=True, timeout=PATIENCE, check=False
        )
    assert (done.returncode, done.stderr) == (0, "")


def test_what_cannot_be_written_is_told() -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*COMMAND, "help"], stdout=full, stderr=subprocess.PIPE, text=True, timeout=PATIENCE, check=False
        )
    assert (done.returncode, done.stderr) == (2, "extauth-bridge: cannot write: No space left on device\n")
