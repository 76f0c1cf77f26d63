"""Prosody's tables, read without running them: what Lua itself reads is the same, and what is more is refused."""

import contextlib
import subprocess
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.components import command

from bridge.programs.importing.entry import Defect
from bridge.programs.importing.lua import table, unescaped


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"return {};", {}),
        (b"return {}\n", {}),
        (b'return {\n\t["password"] = "x";\n};\n', {b"password": b"x"}),
        (b"return { a = 'x\"', b = \"it's\" }", {b"a": b'x"', b"b": b"it's"}),
        (b'return { -- a comment = "x"\n  a = 1; -- }\n }', {b"a": 1}),
        (b'return {1, -2.5e1, 0x10; true, [7] = false, x = nil, {"y"}}', None),
        (b'return { ["a"] = "\\65\\066\\x43\\u{20ac}\\z \n D\\\n\\n"; }', {b"a": "ABC\u20acD\n\n".encode()}),
        (b'return {["a;}"]="};";["b"]={["c"]={};};}', {b"a;}": b"};", b"b": {b"c": {}}}),
    ],
)
def test_what_is_a_table(text: bytes, found: dict[object, object] | None) -> None:
    if found is None:
        found = {1: 1, 2: -25.0, 3: 16, 4: True, 7: False, b"x": None}
        assert {key: value for key, value in table(text).items() if not isinstance(value, dict)} == found
    else:
        assert table(text) == found


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"return",
        b"return 1",
        b"return {",
        b'return { a = "x }',
        b'return { a = "x\n" }',
        b"return { a = 'x\\' }",
        b"return { a = os.exit() }",
        b"return { a = f'x' }",
        b'return { a = "x" .. "y" }',
        b"return { a = [[x]] }",
        b"return { [{}] = 1 }",
        b"return { a = 1 b = 2 }",
        b"return {}; os.exit()",
        b"return {} --[[ more",
        b"--[[ x ]] return {}",
        b"os.exit() return {}",
        b"\x1bLuaQ\0",
        b'return { a = "\\256" }',
        b'return { a = "\\q" }',
        b'return { a = "\\xg0" }',
        b'return { a = "\\u{d800}" }',
        b"return { a = 1x }",
        b"return { a = b }",
        b"return " + b"{" * 1000,
        b"return {" + b"a = 1, " * 5 + b"=}",
    ],
)
def test_what_is_none(text: bytes) -> None:
    with pytest.raises(Defect, match=r"^not a file of Prosody's"):
        table(text)


@pytest.mark.parametrize(
    "piece", [b"-", b"--", b"- ", b"--\n", b" ", b"\n", b"'", b"\\", b"\\z ", b"1", b"1e+", b"a", b"[", b"="]
)
@pytest.mark.parametrize("end", [b"\n--[[ x ]]", b"\0", b'"', b""])
def test_whatever_comes_often_takes_no_time(piece: bytes, end: bytes) -> None:
    """With as many as a file may hold; but first with so few that this fails even if each takes twice as long as the
    one before.
    """
    for size in (36, 60_000):
        for begin in (b"", b"return {", b"-- ", b"return { a = '", b'return { a = "'):
            started = time.process_time()
            with contextlib.suppress(Defect):
                table(begin + piece * (size // len(piece)) + end)
            assert time.process_time() - started < 1


@given(st.binary(max_size=60) | st.text("returnl{}[]=;,'\"\\x1\n -", max_size=60).map(str.encode))
def test_anything_is_read_or_refused(data: bytes) -> None:
    for text in (data, b"return {" + data + b"}", b'return { a = "' + data + b'" }'):
        try:
            table(text)
        except Defect as defect:
            assert str(defect).startswith("not a file of Prosody's")


def test_strings_as_lua_reads_them() -> None:
    texts = [
        *(rb"\a\b\f\n\r\t\v\\\"\'", rb"\0\00\000\1234\x7f\xFFg", b"\\\n", rb"a\z   b", b"\xff"),
        rb"\u{7f}\u{0}\u{20ac}\u{10ffff}",
    ]
    line = b'for _, byte in ipairs({("%s"):byte(1, -1)}) do io.write(byte, " ") end print()\n'
    script = b"".join(line % text for text in texts)
    lua = command("lua5.4", "lua5.4")
    done = subprocess.run([lua, "-"], input=script, capture_output=True, check=True, timeout=30)
    assert [bytes(map(int, line.split())) for line in done.stdout.splitlines()] == [*map(unescaped, texts)]
