"""Readers of other people's files, given damaged ones: users, reasons, or one line that says why not; nothing else."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.examples import examples

from bridge.programs.importing import csvfile, ejabberd, prosody
from bridge.programs.importing.entry import Entry, NotTaken, Unreadable

DUMPS = sorted(Path(__file__).with_name("dumps").iterdir())
KEY = "AAAAAAAAAAAAAAAAAAAAAAAAAAA="
XML = (
    "<?xml version='1.0'?><server-data xmlns='urn:xmpp:pie:0' xmlns:xi='http://www.w3.org/2001/XInclude'>"
    "<host jid='a.example'><user name='alice' password='open sesame'/><user name='bob'>"
    "<scram-credentials mechanism='SCRAM-SHA-1'><iter-count>10</iter-count><salt>AAAA</salt>"
    f"<server-key>{KEY}</server-key><stored-key>{KEY}</stored-key></scram-credentials></user></host></server-data>"
)
CSV = f'user,host,password,hash\nalice,a.example,"open ""sesame",\nbob,a.example,,SCRAM-SHA-1$10:AAAA${KEY}:{KEY}\n'
LUA = f'return {{\n\t["salt"] = "A\\001";\n\t["iteration_count"] = 10;\n\t["stored_key"] = "{"00" * 20}";\n'
LUA += f'\t["server_key"] = "{"00" * 20}";\n}};\n'

SOURCES = {
    **{path.stem: (ejabberd.read, path.read_bytes()) for path in DUMPS},
    "piefxis": (ejabberd.read, XML.encode()),
    "csv": (csvfile.read, CSV.encode()),
    "prosody": (prosody.read, LUA.encode()),
}

edits = st.lists(
    st.tuples(
        st.integers(0, 5000),
        st.integers(0, 30),
        st.sampled_from(
            [b"", b"'", b'"', b"\\", b"\0", b"\xff", b"\n", b";", b"(", b")", b"<", b"&", b"--", b"/*", b"$$"]
        )
        | st.binary(max_size=4),
    ),
    max_size=4,
)


@pytest.mark.parametrize("name", [*SOURCES])
@examples(60)
@given(edits)
def test_damaged_files(name: str, edits: list[tuple[int, int, bytes]]) -> None:
    read, data = SOURCES[name]
    for place, size, new in edits:
        at = place % (len(data) + 1)
        data = data[:at] + new + data[at + size :]
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "a.example", "accounts", "alice.dat")
        path.parent.mkdir(parents=True)
        path.write_bytes(data)
        try:
            found = [*read(directory if name == "prosody" else str(path))]
        except Unreadable as error:
            assert "\n" not in str(error)
            assert "sesame" not in str(error)
            return
    for one in found:
        assert isinstance(one, Entry | NotTaken)
        assert "sesame" not in repr(one)
