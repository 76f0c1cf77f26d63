"""The exact message for each mistake, none of which holds a secret."""

import traceback
from pathlib import Path

import pytest

from bridge.config.load import load
from bridge.config.settings import ConfigError

COMMAND = "an array of strings or one string split as a shell would, not empty, without NUL"
NO_PROGRAM = 'no program: set program or [hosts."domain"] in a file, or give --program COMMAND or -- PROGRAM'
KNOWN = (
    "program, pool_size, pool_max, answer_timeout, start_timeout, probe, probe_interval, protocol, commands, "
    "max_requests, max_age, max_line, window, client, "
    "allow_empty_password, shutdown_grace, cwd, env, listen, status_listen, socket_mode, max_clients, "
    "allow_users, allow_groups, log.level, log.target, log.verdicts, hosts"
)
HOST_KEYS = "program, pool_size, pool_max, probe, protocol, commands, cwd, env"
COMMANDS = "auth, certauth, isuser, removeuser, removeuser3, setpass, tryregister"
VARIABLE = "one: not empty, without = and NUL"
DOMAIN = "one: not empty, without spaces, controls, : / and @"

IN_FILES = [
    ("pool_size = 0", ", line 1: pool_size is 0, but must be a whole number of programs from 1 to 1024"),
    (
        'program = "p"\n\n  "max_line"=true',
        ", line 3: max_line is true, but must be a whole number of bytes from 16 to 32767",
    ),
    ("answer_timeout = 0", ", line 1: answer_timeout is 0, but must be a number of seconds above 0, at most 3600"),
    ("max_age = nan", ", line 1: max_age is nan, but must be a number of seconds from 0 to 31622400"),
    (
        "window = 0x" + "f" * 5000,
        ", line 1: window is a huge number, but must be a whole number of lines from 1 to 65536",
    ),
    (
        'commands = ["auth", "auht"]',
        f', line 1: commands is ["auth", "auht"], but must be one or more of {COMMANDS}, each once',
    ),
    ('client = "lock\\u001bstep"', r', line 1: client is "lock\x1bstep", but must be auto, lockstep or pipelined'),
    (
        f'[log]\ntarget = "{"x" * 100}"',
        f', line 2: log.target is "{"x" * 57}...", but must be auto, journal, syslog, stderr or file:/absolute/path',
    ),
    ("log = 3", ", line 1: log is 3, but must be a table"),
    ("cwd = 1979-05-27", ", line 1: cwd is a date, but must be an absolute path"),
    ("program = []", f", line 1: program is [], but must be {COMMAND}"),
    ('program = ["a", [1], {x = 1}]', f', line 1: program is ["a", [...], a table], but must be {COMMAND}'),
    ('program = "a \'b"', f', line 1: program is "a \'b", but must be {COMMAND} (No closing quotation)'),
    # unknown keys
    ("pool_sise = 3", ", line 1: unknown key pool_sise; did you mean pool_size?"),
    ('level = "info"', ", line 1: unknown key level; did you mean log.level?"),
    ("nonsense = 3", f", line 1: unknown key nonsense; known keys: {KNOWN}"),
    ('"a\\nb" = 3', f', line 1: unknown key "a\\nb"; known keys: {KNOWN}'),
    ("[log]\nlvel = 3", ", line 2: unknown key log.lvel; did you mean log.level?"),
    ("[log]\nfile = 3", ", line 2: unknown key log.file; known keys: log.level, log.target, log.verdicts"),
    ("[log]\npool_size = 3", ", line 2: unknown key log.pool_size; pool_size belongs above the first [table]"),
    ("[hosts.a]\nprogramm = 3", ", line 2: unknown key hosts.a.programm; did you mean program?"),
    (
        "[hosts.a]\nx = 3",
        ", line 2: unknown key hosts.a.x; known keys: " + HOST_KEYS,
    ),
    ("hosts.a.window = 3", ", line 1: unknown key hosts.a.window; window belongs above the first [table]"),
    ("[hosts.a.envs]\nA='x'", ", line 1: unknown key hosts.a.envs; did you mean env?"),
    ('[hosts.im.b.example]\nprogram = "x"', ', line 1: a domain needs quotes: [hosts."im.b.example"]'),
    (
        "[hosts.a.log]\nlevel = 'info'",
        ", line 1: unknown key hosts.a.log; known keys: " + HOST_KEYS,
    ),
    ('[hosts.im.example.env]\nA = "x"', ': a domain needs quotes: [hosts."im.example"]'),
    (
        "pool_size.a = 1\npool_size.b = 2",
        ": pool_size is a table, but must be a whole number of programs from 1 to 1024",
    ),
    # hosts
    (
        '[hosts."b.example"]\npool_size = 2000',
        ', line 2: hosts."b.example".pool_size is 2000, but must be a whole number of programs from 1 to 1024',
    ),
    ('hosts."b.example" = "p"', ', line 1: hosts."b.example" is "p", but must be a table'),
    ('[hosts."a b"]', f', line 1: hosts."a b" is not a domain, but must be {DOMAIN}'),
    ('[hosts."B.example"]', ', line 1: hosts."b.example" has no program, and there is none to inherit'),
    (
        '[hosts."b.example"]\n[hosts."B.Example"]',
        ', line 2: hosts."B.Example" is the same domain as "b.example", but must be the only one of that name',
    ),
    # no TOML
    (
        "pool_size = 1\npool_size : 2",
        ", line 2: not valid TOML: Expected '=' after a key in a key/value pair (column 11)",
    ),
    ('program = "p', ": not valid TOML: Unterminated string (at end of document)"),
    ("x = " + "[" * 30000, ": not valid TOML: nested too deeply"),
    ("x = " + "9" * 5000, ": not valid TOML: a number with too many digits"),
    ("", f": {NO_PROGRAM}"),
    ("[hosts]", f": {NO_PROGRAM}"),
]


@pytest.mark.parametrize(("text", "error"), IN_FILES)
def test_in_a_file(tmp_path: Path, text: str, error: str) -> None:
    file = tmp_path / "auth.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(str(file), {})
    assert str(caught.value) == f"{file}{error}"


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"pool_size": "x"}, '--pool-size is "x", but must be a whole number of programs from 1 to 1024'),
        ({"pool_size": "2000"}, "--pool-size is 2000, but must be a whole number of programs from 1 to 1024"),
        ({"log.level": "loud"}, '--log-level is "loud", but must be debug, info, warning or error'),
        (
            {"commands": "auth,auth"},
            f'--commands is ["auth", "auth"], but must be one or more of {COMMANDS}, each once',
        ),
        ({"env": ["A"]}, "--env is a string without =, but must be NAME=VALUE"),
        ({"env": {"A": 1}}, "--env A is a whole number, but must be a string without NUL"),
        ({"hosts": ["a"]}, "--hosts is a string without =, but must be DOMAIN=COMMAND"),
        ({"hosts": ["a=b", "a=c"]}, "--hosts is given twice for one domain, but must be given once for each"),
        ({"hosts": ["a=b", "A=c"]}, '--hosts A is the same domain as "a", but must be the only one of that name'),
        ({"hosts": ["a=b 'c"]}, f'--hosts a program is "b \'c", but must be {COMMAND} (No closing quotation)'),
        ({"pool_sise": "2"}, "unknown option --pool-sise; did you mean --pool-size?"),
        ({"log.lvel": "2"}, "unknown option --log-lvel; did you mean --log-level?"),
        ({"hosts": {"a": {}}}, "--hosts a has no program, and there is none to inherit"),
        ({}, NO_PROGRAM),
    ],
)
def test_in_an_option(options: dict[str, object], error: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(None, options)
    assert str(caught.value) == error


@pytest.mark.parametrize("argv", [[""], ["", "a"], ["a\0"], ["a", "\ud800"]])
def test_in_the_program_after_dashes(argv: list[str]) -> None:
    with pytest.raises(ConfigError, match=rf"^the program after -- is \[\".*\"\], but must be {COMMAND}$") as caught:
        load(None, {}, argv)
    assert str(caught.value).isprintable()


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    cases = {
        str(tmp_path): f"{tmp_path}: cannot be read: it must be a regular file, but is a directory",
        "/dev/null": "/dev/null: cannot be read: it must be a regular file, but is a character device",
        f"{tmp_path}/no\nne": f"{tmp_path}/no\\nne: cannot be read: No such file or directory",
        f"{tmp_path}/a\0b": f"{tmp_path}/a\\x00b: cannot be read: its name holds a NUL",
        "": ": cannot be read: No such file or directory",
    }
    for path, error in cases.items():
        with pytest.raises(ConfigError) as caught:
            load(path, {}, ["/bin/p"])
        assert str(caught.value) == error


@pytest.mark.parametrize("data", [b'program = "p"\n# \xe9\n', 'x = 1\nprogram = "\n'.encode("utf-16")])
def test_another_encoding(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "auth.toml"
    file.write_bytes(data)
    line = 2 if data.startswith(b"p") else 1
    with pytest.raises(ConfigError, match=rf"^{file}, line {line}: not UTF-8$"):
        load(str(file), {})


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("# pool_size = 1\npool_size = 0", ", line 2"),
        ("pool_size = 0\r\n", ", line 1"),
        ('"pool_\\u0073ize" = 0', ", line 1"),
        ("[hosts.a]\nprogram = 'x'\npool_size = 1\n[hosts.b]\npool_size = 0", ", line 5"),
        ("[hosts.b] # pool_size = 0\npool_size = 0", ", line 2"),
        ("program = [\n  'pool_size = 1',\n  'x',\n]\npool_size = 0", ", line 5"),
        ("[hosts]\n'b'.pool_size = 0", ", line 2"),
        ("hosts = { b = { pool_size = 0 } }", ", line 1"),
        ("[hosts.b]\r\npool_size = 0\r\n", ", line 2"),
        ("hosts.b = {\tpool_size = 0 }\nhosts.c = { pool_size = 1 }", ", line 1"),
        # where a look at the lines is not enough, no line is better than a wrong one
        ("program = '''\npool_size = 1\n'''\npool_size = 0", ""),
        ('program = """\npool_size = 1\n"""\npool_size = 0', ""),
        ("hosts = { b = { program = '''\n[hosts.b]\npool_size = 0\n''', pool_size = 0 } }", ""),
    ],
)
def test_the_line_of_a_key(tmp_path: Path, text: str, line: str) -> None:
    file = tmp_path / "auth.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(str(file), {})
    key = "hosts.b.pool_size" if "hosts" in text else "pool_size"
    error = f"{key} is 0, but must be a whole number of programs from 1 to 1024"
    assert str(caught.value) == f"{file}{line}: {error}"


ENV_ERRORS = [
    ('env = { A = "hush", B = 1 }', ", line 1: env.B is a whole number, but must be a string without NUL"),
    ('env = { A = "hush\\u0000" }', ", line 1: env.A is a string, but must be a string without NUL"),
    ('env.A = ["hush"]', ", line 1: env.A is an array, but must be a string without NUL"),
    ('[env]\nB = ""\nA.B = "hush"', ", line 3: env.A is a table, but must be a string without NUL"),
    ('env = ["A=hush"]', ", line 1: env is an array, but must be a table of strings"),
    ('env = "A=hush"', ", line 1: env is a string, but must be a table of strings"),
    ('[[env]]\nA = "hush"', ", line 1: env is an array, but must be a table of strings"),
    ('env."A=hush" = ""', f': env."A=" is not a variable name, but must be {VARIABLE}'),
    ('env."=hush" = ""', f': env."=" is not a variable name, but must be {VARIABLE}'),
    ('[enviroment]\nA = "hush"', f", line 1: unknown key enviroment; known keys: {KNOWN}"),
    ('[envs]\nA = "hush"', ", line 1: unknown key envs; did you mean env?"),
    ('[hosts.a.env]\nA = ["hush"]', ", line 2: hosts.a.env.A is an array, but must be a string without NUL"),
    (
        '[[hosts]]\nenv = { A = "hush" }',
        ", line 1: hosts is [a table], but must be a table of domains, each with a table",
    ),
    ('env.A = "hush\x07"', ", line 1: not valid TOML: Illegal character '\\x07' (column 14)"),
    ('env.A = "hush', ": not valid TOML: Unterminated string (at end of document)"),
    ('env.A = "hush\\q"', ", line 1: not valid TOML: Unescaped '\\' in a string (column 16)"),
    ('env.A = "hush"\nenv.A = "hush"\n', ", line 2: not valid TOML: Cannot overwrite a value (column 15)"),
]


@pytest.mark.parametrize(("text", "error"), ENV_ERRORS)
def test_env_values_are_in_no_error(tmp_path: Path, text: str, error: str) -> None:
    file = tmp_path / "auth.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(str(file), {})
    assert "hush" not in "".join(traceback.format_exception(caught.value))
    # Python's own words on TOML may change with its version; what comes before them may not.
    own_words = error.partition("not valid TOML")[0]
    assert str(caught.value).startswith(f"{file}{own_words}")
    assert own_words != error or str(caught.value) == f"{file}{error}"


@pytest.mark.parametrize("given", [["hush"], ["A=1", "hush"], ["=hush"]])
def test_env_options_are_in_no_error(given: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load(None, {"program": "p", "env": given})
    assert "hush" not in "".join(traceback.format_exception(caught.value))
