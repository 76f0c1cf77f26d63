"""The look for passwords after each test finds them wherever one was written, and says nothing of what it has found."""

import base64
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support import canary
from support.process import ROOT, environment

LEAKS = """
import base64, logging, os, subprocess, sys, tempfile
import pytest
from support import canary
from support.canary import CANARY

SLEEP = [sys.executable, "-c", "input(print('up', flush=True) or '')"]

@pytest.fixture
def child():
    started = []
    def start(*words, **environment):
        more = {**os.environ, **environment}
        started.append(subprocess.Popen([*SLEEP, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=more))
        started[0].stdout.readline()  # before, the kernel may not know its arguments
    yield start
    started[0].communicate()

def test_nothing(tmp_path, child):
    child("innocent", HARMLESS="variable")
    (tmp_path / "log").write_text("nothing")
    print("nothing")

def test_stdout():
    print("password", CANARY)

def test_stderr_of_a_child():
    subprocess.run([sys.executable, "-c", "import sys; sys.stderr.write(input())"], input=CANARY.encode(), check=True)

def test_output_of_a_command():
    subprocess.run(["cat"], input=CANARY.encode(), capture_output=True, check=True)

def test_message_that_was_logged():
    logging.getLogger("extauth").warning("asked %s", CANARY)

def test_log_of_a_stand_in():
    canary.look(bytearray(b"asked " + CANARY.encode()), "the log of a bridge")

def test_file(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "log").write_text(CANARY)

def test_name_of_a_file(tmp_path):
    (tmp_path / CANARY).touch()

def test_file_that_was_removed():
    with tempfile.TemporaryDirectory() as name, open(name + "/log", "w") as file:
        file.write(CANARY)

def test_file_while_a_fixture_ends(at_the_end):
    pass

@pytest.fixture
def at_the_end(tmp_path):
    yield
    (tmp_path / "log").write_text(CANARY)

def test_arguments(child):
    child("innocent", CANARY)

def test_environment(child):
    child(SECRET=CANARY)

def test_environment_of_a_grandchild(request):
    command = 'read word; SECRET="$word" /bin/sh -c "echo up; cat; :"; :'
    shell = subprocess.Popen(["/bin/sh", "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    request.addfinalizer(shell.communicate)
    shell.stdin.write(CANARY.encode() + b"\\n")
    shell.stdin.flush()
    assert shell.stdout.readline() == b"up\\n"

def test_core_file(tmp_path):
    canary._PLACES = (tmp_path,)
    (tmp_path / "core.1").touch()
"""

PLACES = {
    "stdout": "Captured stdout call",
    "stderr_of_a_child": "Captured stderr call",
    "output_of_a_command": "stdout of a command",
    "message_that_was_logged": "a message that was logged",
    "log_of_a_stand_in": "the log of a bridge",
    "file": "/sub/log",
    "name_of_a_file": "the name of a file in ",
    "file_that_was_removed": "/log",
    "file_while_a_fixture_ends": "/log",
    "arguments": "/cmdline",
    "environment": "/environ",
    "environment_of_a_grandchild": "/environ",
    "core_file": "a core file: ",
}


FORMS: dict[str, Callable[[bytes], bytes]] = {
    "base64": base64.b64encode,
    "hex": lambda text: text.hex().encode(),
    "hex with spaces": lambda text: text.hex(" ").encode(),
    "bytes": lambda text: b"".join(b"\\x%02x" % byte for byte in text),
    "utf-16": lambda text: text.decode().encode("utf-16-le"),
    "percent": lambda text: b"".join(b"%%%02x" % byte for byte in text),
    "json": lambda text: b"".join(b"\\u%04x" % byte for byte in text),
    "octal": lambda text: b"".join(b"\\%03o" % byte for byte in text),
}


def test_a_leak_is_found_in_each_place(tmp_path: Path) -> None:
    """And its test fails, and no other, with the place in its message."""
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "test_leaks.py").write_text(LEAKS)
    words = ["-m", "pytest", "-p", "support.canary", "-p", "no:cacheprovider", "--basetemp", inner / "tmp", "-v"]
    paths = f"{ROOT / 'tests'}:{environment()['PYTHONPATH']}"
    done = subprocess.run(
        [sys.executable, *words, inner], cwd=inner, capture_output=True, text=True, timeout=60, check=False,
        env=environment({"PYTHONPATH": paths}),
    )  # fmt: skip
    subprocess.run(["rm", "-rf", inner], check=True)  # not by shutil, or what is there would be this test's
    lines = [line.split("::test_")[1] for line in done.stdout.splitlines() if "::test_" in line and "%]" in line]
    errors = {line.split()[0] for line in lines if " ERROR " in line}
    assert errors == PLACES.keys(), done.stdout
    reports = dict(part.split(" ", 1) for part in done.stdout.split("ERROR at teardown of test_")[1:])
    for name, place in PLACES.items():
        assert place in reports[name].partition("A password of this test was written:\n")[2].split("____")[0], name
    assert any(line.startswith("nothing PASSED") for line in lines)


@pytest.mark.parametrize(
    "written",
    [
        "auth:alice:example.com:{}",
        "['auth', '{}x']",
        "b'{}\\n'",
    ],
)
@pytest.mark.parametrize("word", [canary.CANARY, canary.right("alice"), canary.right("user7")])
def test_it_is_found_in_a_text(word: str, written: str) -> None:
    assert canary.is_in(written.format(word).encode())


@pytest.mark.parametrize("salt", [b"\x9epw-user", b" pw-\xf3", b"\0pw-\0", b":pw-"])
def test_three_bytes_of_a_salt_are_none(salt: bytes) -> None:
    assert not canary.is_in(salt)


@pytest.mark.parametrize("before", ["", "a", "ab", "abc"])
@pytest.mark.parametrize("behind", ["", "x", "xy"])
@pytest.mark.parametrize("how", FORMS.values(), ids=FORMS)
def test_it_is_found_in_every_form(how: Callable[[bytes], bytes], before: str, behind: str) -> None:
    """Wherever it begins: base64 has three ways to write it."""
    assert canary.is_in(how(f"{before}{canary.CANARY}{behind}".encode()))
    assert not canary.is_in(how(f"{before}another{behind}".encode()))


OF_THEIR_OWN = {
    "blackbox/test_ask.py": "the demonstration's, which its help tells everybody",
    "blackbox/test_ask_daemon.py": "those of a daemon that is simulated, which looks for them itself",
    "pty/test_relay.py": "likewise",
    "pty/test_bursts.py": "what the terminal makes of several lines",
    "prosody/test_injection.py": "what XML, SASL and a line make of several lines",
}
"""Files with other passwords, and which."""

WORDS = {
    "right",
    "wrong",
    "another",
    "other",
    "anything",
    "builder",
    "stolen",
    "new:one",
    "whole",
    "hangs",
    "a:b:c",
}
"""Passwords that are words as may be in any log, or that a program goes by: nothing would follow if they were found."""


@pytest.mark.parametrize("file", sorted((ROOT / "tests").rglob("test_*.py")), ids=lambda file: file.name)
def test_questions_of_the_tests_have_it(file: Path) -> None:
    """Each password of five characters and more that is written there in a question."""
    question = r"""\b(?:auth|setpass|tryregister|removeuser3):[^:"'\s{}]+:[^:"'\s{}]+:([^"'\\{}%]{5,})"""
    if str(file.relative_to(ROOT / "tests")) not in OF_THEIR_OWN:
        others = [*filter(alien, re.findall(question, file.read_text()))]
        assert not others, "take support.canary's CANARY, hunter2, in their place, or right(user)"


def alien(password: str) -> bool:
    """Is it a password that nobody looks for?"""
    return not canary.is_in(password.encode()) and password not in WORDS
