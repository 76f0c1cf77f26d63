"""A password is right if it is the very same, whatever it is made of, and however a server keeps it."""

import time

import pytest
from support import canary
from support.canary import CANARY, right
from support.databases.program import PROMPT, manage, serving
from support.databases.tables import HOST, Place, Scram, scram

from .conftest import FOREIGN, PLACES

pytestmark = pytest.mark.slow

PASSWORDS = (
    *(CANARY, CANARY.upper(), f"{CANARY} ", f" {CANARY}", "hunteŕ2", "hunter\uff12", f"{CANARY}:", f"{CANARY}\u3000"),
    *("' OR 1=1 -- ", "' OR '1'='1", "%", "\\", "\\'", "%s", "😀", "😁", "é", "e\u0301", "x" * 1000, "x" * 1001),
)


def test_a_password_that_was_set_is_the_only_one(place: Place) -> None:
    program = place.writer()
    assert program.ask("tryregister", "alice", HOST, "the first") == "yes"
    for secret in PASSWORDS[::3]:
        assert program.ask("setpass", "alice", HOST, secret) == "yes"
        assert [s for s in PASSWORDS if program.ask("auth", "alice", HOST, s) == "yes"] == [secret]
    assert program.ask("removeuser3", "alice", HOST, "the first") == "no"
    assert program.ask("removeuser3", "alice", HOST, secret) == "yes"


def forms(place: Place, secret: str) -> dict[str, str | Scram]:
    """How that table's server may keep it, if it is a foreign one."""
    algorithms = ("sha1", "sha256") if place.table == "prosody" else ("sha1", "sha256", "sha512")
    return {"plain": secret, **{name: scram(secret, name) for name in algorithms}}


@pytest.mark.parametrize("place", FOREIGN, indirect=True)
def test_each_form_in_which_their_servers_keep_it(place: Place) -> None:
    names = forms(place, CANARY)
    place.put(names)
    before = place.rows()
    known = {value for row in before for value in row if value not in (CANARY, "")}
    known |= {value.partition(":")[2] for value in known} - {""}  # what is kept is no password either
    program = place.reader()
    for name in names:
        accepted = [one for one in (*PASSWORDS, *known) if program.ask("auth", name, HOST, one) == "yes"]
        assert accepted == [CANARY], name
        assert program.ask("isuser", name, HOST) == "yes"
    assert place.rows() == before


@pytest.mark.parametrize("place", FOREIGN, indirect=True)
def test_nobody_changes_a_table_that_is_only_read(place: Place) -> None:
    place.put({"alice": CANARY})
    before = place.rows()
    program = place.reader()
    for question in (("setpass", "alice"), ("tryregister", "bob"), ("removeuser3", "alice")):
        assert program.ask(*question, HOST, CANARY) == "no"
    assert program.ask("removeuser", "alice", HOST) == "no"
    assert program.ask("auth", "alice", HOST, CANARY) == "yes"
    assert place.rows() == before


@pytest.mark.parametrize("place", FOREIGN[:1], indirect=True)
def test_an_administrator_changes_none_by_mistake(place: Place) -> None:
    place.put({"alice": CANARY})
    before = place.rows()
    for words in (["adduser", f"bob@{HOST}"], ["passwd", f"alice@{HOST}"], ["deluser", f"alice@{HOST}"]):
        done = manage(*place.reading, *words, typed="another\n")
        assert done.returncode > 0
        assert done.stderr
    assert place.rows() == before


BROKEN = {
    "ejabberd": (
        "password = '???'",
        "password = 'c2hvcnQ='",
        "password = ''",
        "salt = 'no base64!'",
        "serverkey = ''",
        "salt = ''",
        "iterationcount = 0",
        "iterationcount = -1",
        "iterationcount = 2147483647",
        "password = 'md5:MTIzNDU2Nzg5MDEyMzQ1Ng=='",
    ),
    "prosody": (
        "value = 'not hexadecimal' WHERE \"key\" = 'stored_key'",
        "value = 'ff' WHERE \"key\" = 'stored_key'",
        "value = '' WHERE \"key\" = 'salt'",
        "value = '-1' WHERE \"key\" = 'iteration_count'",
        "value = 'many' WHERE \"key\" = 'iteration_count'",
        "value = '1e3' WHERE \"key\" = 'iteration_count'",
        "value = '99999999999' WHERE \"key\" = 'iteration_count'",
    ),
}
"""What may be wrong with a row."""


@pytest.mark.parametrize("place", [FOREIGN[0], FOREIGN[-1]], indirect=True)
def test_a_broken_row_is_its_users_trouble_only(place: Place) -> None:
    place.put({"alice": CANARY})
    faults = BROKEN["prosody" if place.table == "prosody" else "ejabberd"]
    place.put({f"broken{number}": scram(CANARY, "sha1") for number in range(len(faults))})
    place.sql("\n".join(broken(place, f"broken{number}", fault) for number, fault in enumerate(faults)))
    with serving(*place.reading) as program:
        for number, fault in enumerate(faults):
            began = time.monotonic()
            for secret in (CANARY, "???"):
                assert program.ask("auth", f"broken{number}", HOST, secret, seconds=PROMPT) != "ended", fault
            assert program.ask("auth", f"broken{number}", HOST, "???", seconds=PROMPT) == "no", fault
            assert program.ask("auth", "alice", HOST, CANARY, seconds=PROMPT) == "yes"
            assert time.monotonic() - began < PROMPT


def broken(place: Place, name: str, fault: str) -> str:
    who = f"AND \"user\" = '{name}'" if place.table == "prosody" else f"WHERE username = '{name}'"
    text = f"UPDATE {place.name} SET {fault} {who};"
    return text.replace('"', "`") if place.server.kind == "mariadb" else text


@pytest.mark.parametrize("place", FOREIGN[-1:], indirect=True)
def test_what_prosody_says_of_an_account(place: Place) -> None:
    place.put({"disabled": CANARY, "enabled": CANARY, "hashed": scram(CANARY, "sha1")})
    place.put_prosody("disabled", "disabled", "boolean", "true")
    place.put_prosody("enabled", "disabled", "boolean", "false")
    place.put_prosody("enabled", "role", "string", "prosody:user")
    place.put_prosody("enabled", "created", "number", "1767225600")
    place.put_prosody("private", "password", "string", CANARY, store="private")
    place.put_prosody("elsewhere", "password", "string", CANARY, host="other.example")
    place.put_prosody("empty", "password", "string", "")
    place.put_prosody("hashed", "password", "string", "")
    program = place.reader()
    for name in ("disabled", "private", "elsewhere", "empty"):
        assert program.ask("auth", name, HOST, CANARY) == "no", name
    for name in ("private", "elsewhere"):
        assert program.ask("isuser", name, HOST) == "no", name
    for name in ("enabled", "hashed"):
        assert program.ask("auth", name, HOST, CANARY) == "yes", name
    assert program.ask("auth", "elsewhere", "other.example", CANARY) == "yes"


@pytest.mark.parametrize("place", PLACES[:1], indirect=True)
def test_no_password_is_in_the_programs_own_table(place: Place) -> None:
    assert place.writer().ask("tryregister", "alice", HOST, right("alice")) == "yes"
    assert place.writer().ask("setpass", "alice", HOST, CANARY) == "yes"
    assert any("alice" in row for row in place.rows())
    assert not canary.is_in(repr(place.rows()).encode())
