"""XML of ejabberd's and others': XEP-0227 in all its forms, files that include each other, and hostile ones."""

import base64
import io
import os
from pathlib import Path

import pytest
from support import canary

from bridge.programs.hashes import Scheme, Scram
from bridge.programs.importing import ejabberd, piefxis
from bridge.programs.importing.entry import Entry, Found, NotTaken, Unreadable

SECRET = canary.right("alice")
KEY = Scram.of(SECRET, Scheme("SHA-256", 10), b"salt")
XI = "xmlns:xi='http://www.w3.org/2001/XInclude'"


@pytest.fixture(autouse=True)
def _knowing(tmp_path: Path) -> None:
    canary.knows(tmp_path, "passwords as ejabberd exports them")


def read(tmp_path: Path, text: str | bytes) -> list[Found]:
    path = tmp_path / "main.xml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return [*ejabberd.read(str(path))]


def b64(data: bytes, times: int = 1) -> str:
    for _ in range(times):
        data = base64.b64encode(data)
    return data.decode()


def user(inner: str = "", attributes: str = "") -> str:
    return (
        f"<server-data xmlns='urn:xmpp:pie:0' {XI}><host jid='a.example'>"
        f"<user name='alice' {attributes}>{inner}</user></host></server-data>"
    )


def credentials(
    times: int, *, mechanism: str = "SCRAM-SHA-256", iterations: str = "10", key: bytes = KEY.stored_key
) -> str:
    return (
        f"<scram-credentials xmlns='urn:xmpp:pie:0#scram' mechanism='{mechanism}'><iter-count>{iterations}</iter-count>"
        f"<salt>{b64(KEY.salt, times)}</salt><server-key>{b64(KEY.server_key, times)}</server-key>"
        f"<stored-key>\n {b64(key, times)}\n</stored-key></scram-credentials>"
    )


@pytest.mark.parametrize("times", [1, 2])
def test_scram(tmp_path: Path, times: int) -> None:
    """In base64 once, as XEP-0227 has it, or twice, as ejabberd writes it; after a hash that nobody knows."""
    text = user(credentials(times, mechanism="SCRAM-SHA3-512") + "<query><user name='x'/></query>" + credentials(times))
    assert read(tmp_path, text) == [Entry("main.xml line 1", "alice", "a.example", KEY)]


@pytest.mark.parametrize("name", ["sha256,", ""])
def test_scram_in_the_passwords_place(tmp_path: Path, name: str) -> None:
    """As ejabberd 17 to 19 wrote it."""
    key = KEY if name else Scram.of(SECRET, Scheme("SHA-1", 10), b"salt")
    packed = f"scram:{name}{b64(key.stored_key)},{b64(key.server_key)},{b64(key.salt)},10"
    (found,) = read(tmp_path, user(attributes=f"password='{packed}'"))
    assert isinstance(found, Entry)
    assert found.secret == key


def test_plain_ones_among_all_that_they_have(tmp_path: Path) -> None:
    text = (
        f"<server-data xmlns='urn:xmpp:pie:0'><host jid='a.example'>\n<user name='alice' password='{SECRET}&lt;'>"
        "<vCard xmlns='vcard-temp'><host jid='evil.example'/><user name='evil' password='evil'/></vCard></user>"
        "\n<user name='zoë' password='x'/></host><host jid='b.example'><user name='alice' password='y'/></host>"
        "</server-data>"
    )
    found = read(tmp_path, text)
    assert found == [
        Entry("main.xml line 2", "alice", "a.example", SECRET + "<"),
        Entry("main.xml line 3", "zoë", "a.example", "x"),
        Entry("main.xml line 3", "alice", "b.example", "y"),
    ]
    assert read(tmp_path, b"\xff\xfe" + text.encode("utf-16-le")) == found


HERS = credentials(1, key=b"of somebody else, 32 bytes long.")


@pytest.mark.parametrize(
    "written",
    [
        f"<offline-messages><message><user name='alice'>{HERS}</user></message></offline-messages>",
        f"<query>{HERS}</query>",
        HERS.replace("<scram-credentials", "<message><scram-credentials") + "</message>",
        f"<message><scram-credentials><host jid='b.example'><user name='bob' password='{SECRET}'/></host>"
        "<iter-count>1</iter-count><salt>x</salt></scram-credentials></message>",
        "<query><xi:include href='none.xml'/></query>",
        "<query><xi:include href='/etc/passwd'/></query>",
    ],
    ids=["in a user", "in a query", "in a message", "users", "a file", "another's file"],
)
@pytest.mark.parametrize("first", [True, False])
def test_what_others_have_written_to_a_user_is_none_of_its_passwords(tmp_path: Path, written: str, first: bool) -> None:
    """Nor does it spoil them, or have another file read, which would end the whole import."""
    inner = written + credentials(1) if first else credentials(1) + written
    assert read(tmp_path, user(inner)) == [Entry("main.xml line 1", "alice", "a.example", KEY)]
    (found,) = read(tmp_path, user(written))
    assert found == NotTaken("main.xml line 1", "no password is stored")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (user(), "no password is stored"),
        (user(credentials(1, mechanism="SCRAM-MD5")), "an unknown algorithm"),
        (user(credentials(1, iterations="x")), "a number of iterations that is none"),
        (user(credentials(1, iterations="9999999999")), "takes too long"),
        (user(credentials(1, key=b"short")), "wrong length"),
        (user(credentials(1).replace("==", "%")), "not base64"),
        (user("<scram-credentials mechanism='SCRAM-SHA-1'/>"), "a number of iterations that is none"),
        (user(attributes="password='scram:x'"), "a number of iterations that is none"),
    ],
)
def test_what_cannot_be_taken(tmp_path: Path, text: str, reason: str) -> None:
    (found,) = read(tmp_path, text)
    assert isinstance(found, NotTaken)
    assert reason in found.reason


def including(name: str) -> str:
    return f"<server-data xmlns='urn:xmpp:pie:0' {XI}><xi:include href='{name}'/></server-data>"


def test_files_that_it_includes(tmp_path: Path) -> None:
    (tmp_path / "host.xml").write_text(
        f"<host xmlns='urn:xmpp:pie:0' {XI} jid='a.example'><user name='alice' password='x'/>"
        "<xi:include href='more.xml'/></host>"
    )
    (tmp_path / "more.xml").write_text("<user xmlns='urn:xmpp:pie:0' name='bob' password='y'/>")
    assert read(tmp_path, including("host.xml")) == [
        Entry("host.xml line 1", "alice", "a.example", "x"),
        Entry("more.xml line 1", "bob", "a.example", "y"),
    ]


@pytest.mark.parametrize(
    "name",
    ["../x.xml", "/etc/passwd", "file:///x", "sub/x.xml", "..", "", "main.xml", "link.xml", "fifo.xml", "none.xml"],
)
def test_but_none_from_elsewhere(tmp_path: Path, name: str) -> None:
    """Nor itself for ever, nor what would keep us waiting."""
    (tmp_path.parent / "x.xml").write_text(user(attributes="password='x'"))
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "x.xml").write_text(user(attributes="password='x'"))
    (tmp_path / "link.xml").symlink_to("sub/x.xml")
    os.mkfifo(tmp_path / "fifo.xml")
    with pytest.raises(Unreadable):
        read(tmp_path, including(name))


LAUGHS = "<!DOCTYPE x [<!ENTITY a 'ha'>" + "".join(
    f"<!ENTITY {after} '{f'&{before};' * 10}'>" for before, after in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (LAUGHS + "]><server-data><host jid='&i;'/></server-data>", "a document type"),
        ("<!DOCTYPE x SYSTEM 'file:///etc/passwd'><server-data/>", "a document type"),
        ("<html><user name='x' password='y'/></html>", "not an export"),
        (user()[:-5], "unclosed token|no element found"),
        ("<server-data><user name='" + "x" * (9 << 20) + "'/></server-data>", "a tag that does not end"),
        ("<server-data>\0</server-data>", "not well-formed"),
        ("<?xml version='1.0' encoding='no-such'?><server-data/>", "encoding"),
        ("<?xml version='1.0' encoding='shift_jis'?><server-data/>", "encoding"),
        ("<?xml version='1.0' encoding='utf-7'?><server-data/>", "encoding"),
        ("<server-data>&undefined;</server-data>", "undefined entity"),
    ],
    ids=["laughs", "external", "another", "half", "endless", "NUL", "unknown", "Japanese", "UTF-7", "undefined"],
)
def test_what_is_refused_as_a_whole(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(Unreadable, match=reason):
        read(tmp_path, text)


def test_users_come_while_it_is_read(tmp_path: Path) -> None:
    """A large export is not kept in memory."""
    path = tmp_path / "main.xml"
    path.write_text("<host jid='a'>" + "<user name='u' password='x'/>" * 20_000)
    with io.BufferedReader(io.FileIO(path)) as file:
        assert isinstance(next(piefxis.read(file)), Entry)
        assert file.tell() < path.stat().st_size
