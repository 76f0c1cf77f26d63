"""Why a program cannot be started is said of real files, by the errors the kernel gives for them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.process import environment

from bridge.worker.spawn import start
from bridge.worker.startfault import shell_syntax, why_not_started


@pytest.fixture(autouse=True)
def no_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests may run in one."""
    monkeypatch.delenv("INVOCATION_ID", raising=False)


def why(*argv: object, cwd: object = "/") -> str:
    words = [str(word) for word in argv]
    try:
        process = start(words, str(cwd), {})
    except OSError as error:
        return why_not_started(error, words)
    process.discard()
    pytest.fail("it could be started")


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "program"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_a_directory_is_named_as_that_and_the_program_is_not_blamed(tmp_path: Path, program: Path) -> None:
    nowhere = tmp_path / "no" / "where"
    said = why(program, cwd=nowhere)
    assert said == f"cwd {nowhere}: No such file or directory (there is no directory {tmp_path}/no)"
    assert why(program, cwd=program) == f"cwd {program}: Not a directory"


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"#!/usr/bin/python9\n", "its interpreter is missing: #!/usr/bin/python9"),
        (b"#! /etc/passwd -x\n", "its interpreter cannot be run: #!/etc/passwd"),
        (b"#!/bin/sh\r\necho\r\n", "its #! line ends in a carriage return: save it with Unix line ends"),
        (b"print('hello')\n", "it has no #! line, which names its interpreter"),
        (b"\xef\xbb\xbf#!/bin/sh\n", "a byte order mark comes before its #! line: save it without one"),
        (b"", "it is empty"),
        (b"\x7fELF" + b"\0" * 100, "it was built for another kind of machine"),
    ],
)
def test_a_file_that_is_there(program: Path, content: bytes, cause: str) -> None:
    program.write_bytes(content)
    assert why(program).endswith(f" ({cause})")


def test_a_loader_that_is_not_there(program: Path) -> None:
    """As after a change of libc; here, of the name in /bin/true."""
    code = Path("/bin/true").read_bytes()
    assert b"/ld-linux" in code
    program.write_bytes(code.replace(b"/ld-linux", b"/no-linux"))
    assert why(program).endswith("(its loader is missing: it was built for another system)")


def test_rights(tmp_path: Path, program: Path) -> None:
    program.chmod(0o644)
    assert why(program) == "Permission denied (it is not executable: chmod +x)"
    assert why(tmp_path) == "Permission denied (it is a directory)"


@pytest.mark.skipif(os.geteuid() != 0, reason="root may enter what it likes, and only root can be another user")
def test_a_directory_that_may_not_be_entered(tmp_path: Path, program: Path) -> None:
    tmp_path.chmod(0o700)
    code = f"""
import os
from bridge.worker.startfault import why_not_started
os.setgroups([]); os.setgid(65534); os.setuid(65534)
print(why_not_started(PermissionError(13, "", {str(program)!r}), [{str(program)!r}]))
"""
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Permission denied (user 65534 may not enter /")


def test_a_file_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert why(tmp_path / "program") == "No such file or directory"
    assert why(tmp_path / "a" / "b" / "c").endswith(f" (there is no directory {tmp_path}/a)")
    monkeypatch.setenv("PATH", "/bin")
    assert why("no-such-program") == "No such file or directory (not found in PATH=/bin)"


def test_what_the_sandbox_hides(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "ProtectHome" not in why("/home/nobody-s/auth")
    monkeypatch.setenv("INVOCATION_ID", "0123456789abcdef")
    assert "ProtectHome=yes of a systemd unit hides /home from services" in why("/home/nobody-s/auth")
    assert "hides /home" in why("/bin/true", cwd="/home/nobody-s")
    assert "PrivateTmp=yes of a systemd unit hides /tmp" in why("/tmp/nobody-s/auth")
    assert "hides" not in why("/opt/nobody-s/auth")


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["cd", "/opt/auth", "&&", "./auth"], "cd, which is a shell's own word, operators such as && and |"),
        (["~/auth"], "~"),
        (["~"], "~"),
        (["$HOME/auth"], "a $VARIABLE"),
        (["DB=hunter2", "/opt/auth"], "NAME=VALUE, for which there is env"),
        (["/opt/auth", "2>>/var/log/hunter2"], "redirection such as 2>>"),
        (["/opt/auth", ">", "/dev/null", "2>&1"], "redirection such as 2>>"),
        (["/opt/auth", "$(cat", "hunter2)"], "a $VARIABLE"),
        (["/opt/auth", "${hunter2}"], "a $VARIABLE"),
        (["/opt/auth;", "exit"], None),
        (["/opt/auth", "-x;", "exit"], "a ; at the end of a word"),
        (["/bin/sh", "-c", "cd / && ~/x 2>>$LOG"], None),
        (["/usr/bin/php", "-d", "display_errors=stderr", "/opt/a.php", "pa$$word", "a~b", "a>b"], None),
    ],
)
def test_what_only_a_shell_understands(argv: list[str], told: str | None) -> None:
    """Named by its kind: the words themselves may hold a secret."""
    whole = f'no shell reads the command, but it has {told}: use ["/bin/sh", "-c", "exec ..."]' if told else ""
    assert shell_syntax(argv) == whole


def test_a_command_for_a_shell_that_there_is_none_for() -> None:
    assert "cd, which is a shell's own word" in why("cd", "/opt", "&&", "./auth")
    assert "NAME=VALUE" in why("DB=hunter2", "/opt/auth")
    assert "hunter2" not in why("DB=hunter2", "/opt/auth", "2>>hunter2")


def test_other_errors_are_none_of_the_file() -> None:
    assert "EAGAIN" in why_not_started(BlockingIOError(11, "x"), ["/bin/true"])
    assert "MemoryError" in why_not_started(MemoryError(), ["/bin/true"])
